"""Which way of paying for CloudFront is cheapest within the latency limits: pure; what is not known is no pass.

Each candidate says what it would cost, whom it would slow, and why it is refused. AWS bills at the rate of the edge
that serves (https://aws.amazon.com/cloudfront/pricing/): with a restricted class viewers outside are served from the
nearest edge of the class, at its rate. When CloudFront now and then serves them from an edge outside after all, it
bills the rate of the least expensive region of the class: that is at most as much, and is left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import NamedTuple

from include.estate.edge import GlobalLatency
from include.levers.cdn_price_class import latency
from include.levers.cdn_price_class.latency import ALL, PRICE_CLASSES, Edge
from include.levers.cdn_price_class.prices import CENT, GB, GB_PER_TB, FlatPlan, Prices
from include.levers.cdn_price_class.usage import Traffic, Usage

P95_SHARE = 0.95
SLOWER_MS = 1.0  # less is not worth a word
ZERO = Decimal(0)


@dataclass(frozen=True)
class Line:
    """One price region of a month's bill: what it serves, and USD for bytes and for requests."""

    region: str
    traffic: Traffic
    usd: tuple[Decimal, Decimal] = (ZERO, ZERO)


class Candidate(NamedTuple):
    """A price class, or a flat-rate plan (``is_plan``), with USD a month and P95 in ms by part and weighted.

    ``fits``: a plan's allowance holds the usage, whatever else speaks against it.
    """

    name: str
    is_plan: bool
    usd_month: Decimal
    p95_ms: Mapping[str, float]
    weighted_ms: float
    slowed: Sequence[Slowed] = ()
    refused: str | None = None
    lines: Sequence[Line] = ()
    fits: bool = True


@dataclass(frozen=True)
class Situation:
    """What is judged: a month's usage, prices, limits, the class of now, and P95 as measured in it (see latency).

    ``against_plans`` are the reasons why this distribution can't be on a flat-rate plan.
    """

    usage: Usage
    prices: Prices
    limits: GlobalLatency
    now: str = ALL
    measured: Mapping[str, float] = field(default_factory=dict)
    against_plans: Sequence[str] = ()
    edges: Sequence[Edge] | None = None


@dataclass(frozen=True)
class Judgement:
    """All candidates, the present class among them, and the class to have: what a lever may write. Plans are offers."""

    candidates: Sequence[Candidate]
    now: Candidate
    chosen: Candidate

    def candidate(self, name: str) -> Candidate:
        """The candidate of that name."""
        return next(one for one in self.candidates if one.name == name)

    @property
    def offer(self) -> Candidate | None:
        """The cheapest flat-rate plan whose allowance holds the usage."""
        plans = [one for one in self.candidates if one.is_plan and one.fits]
        return min(plans, key=lambda one: one.usd_month, default=None)

    def saving(self, candidate: Candidate) -> Decimal:
        """USD a month less than now."""
        return self.now.usd_month - candidate.usd_month


class Slowed(NamedTuple):
    """A part of the world that waits longer: its share of the requests (0..1), and P95 in ms before and after."""

    part: str
    share: float
    ms: tuple[float, float] = (0.0, 0.0)

    def __str__(self) -> str:
        return f"{self.part} ({self.share:.1%} of the requests) from {self.ms[0]:.1f} to {self.ms[1]:.1f} ms"


def judge(case: Situation, least_saving: Decimal = ZERO, only: str | None = None) -> Judgement:
    """Every candidate, and the cheapest class within the limits if it saves ``least_saving`` USD a month; else now's.

    ``only`` is a class that a person insists on: it is chosen whatever the model says of its latency.
    """
    present = _class(case, case.now, None)
    classes = [present if name == case.now else _class(case, name, present) for name in PRICE_CLASSES]
    plans = [_plan(case, plan, present) for plan in case.prices.plans]
    allowed = [one for one in classes if one.refused is None]
    best = min(allowed, key=lambda one: (one.usd_month, one.weighted_ms))
    if only is not None:
        best = next(one for one in classes if one.name == only)
    elif present.usd_month - best.usd_month < max(least_saving, CENT):
        best = present
    return Judgement([*classes, *plans], present, best)


# A price class -------------------------------------------------------------------------------------------------------


def _class(case: Situation, name: str, present: Candidate | None) -> Candidate:
    lines = bill(case.usage, name, case.prices, case.edges)
    usd = sum((part for line in lines for part in line.usd), ZERO).quantize(CENT)
    by_country = {
        country: latency.calibrated(country, name, case.now, case.measured, case.edges)
        for country in case.usage.by_country
    }
    parts, weighted = _by_part(case, by_country), _mean(weights(case.usage), by_country)
    found = Candidate(name, False, usd, parts, weighted, lines=lines)
    if present is None:
        return found
    slowed = _slowed(case, present, found)
    return Candidate(name, False, usd, parts, weighted, slowed, _broken(case.limits, present, found), lines)


def bill(usage: Usage, name: str, prices: Prices, edges: Sequence[Edge] | None = None) -> list[Line]:
    """What each price region would serve and cost in a month, all viewers served from the nearest edge of a class."""
    regions: dict[str, Traffic] = {}
    for country, one in usage.by_country.items():
        region = latency.served(country, name, edges).edge.price_region
        sums = regions.get(region, Traffic())
        regions[region] = Traffic(sums.bytes + one.bytes, sums.requests + one.requests)
    return [_line(region, regions[region], prices) for region in latency.PRICE_REGIONS if region in regions]


def _line(region: str, served: Traffic, prices: Prices) -> Line:
    usd = prices.egress_usd(region, served.bytes), prices.requests_usd(region, served.requests)
    return Line(region, served, usd)


def weights(usage: Usage) -> dict[str, float]:
    """Each country's share of the requests (of the bytes where no requests are known)."""
    total = usage.total
    if total.requests:
        return {country: one.requests / total.requests for country, one in usage.by_country.items()}
    even = 1 / len(usage.by_country)
    return {country: one.bytes / total.bytes if total.bytes else even for country, one in usage.by_country.items()}


def part_of(country: str, limits: GlobalLatency) -> str:
    """The part of the world that a country's viewers count for: the estate's, or else the continent's."""
    known = (name for name, viewers in limits.viewers.items() if country in viewers.countries)
    return next(known, latency.country(country).part)


def _mean(shares: Mapping[str, float], by_country: Mapping[str, float]) -> float:
    return sum(share * by_country[country] for country, share in shares.items())


def _by_part(case: Situation, by_country: Mapping[str, float]) -> dict[str, float]:
    """For each part of the world the P95 that 95 % of its requests keep, each country taken at its own."""
    shares, parts = weights(case.usage), {country: part_of(country, case.limits) for country in by_country}
    found = {}
    for part in sorted({*parts.values()}):
        own = sorted((by_country[country], shares[country]) for country in by_country if parts[country] == part)
        found[part] = _quantile(own)
    return found


def _quantile(own: Sequence[tuple[float, float]]) -> float:
    total, sums = sum(share for _, share in own), 0.0
    for value, share in own:
        sums += share
        if sums >= P95_SHARE * total - 1e-12:
            return value
    return own[-1][0]


def _slowed(case: Situation, present: Candidate, found: Candidate) -> list[Slowed]:
    shares: dict[str, float] = {}
    for country, share in weights(case.usage).items():
        part = part_of(country, case.limits)
        shares[part] = shares.get(part, 0.0) + share
    pairs = ((part, present.p95_ms[part], after) for part, after in found.p95_ms.items())
    return [Slowed(part, shares[part], (old, new)) for part, old, new in pairs if new - old >= SLOWER_MS]


def _broken(limits: GlobalLatency, present: Candidate, found: Candidate) -> str | None:
    """The limits that a candidate breaks, but for those that are broken now and no worse with it."""
    checked = [("weighted", limits.weighted_p95_ms, present.weighted_ms, found.weighted_ms)]
    for part, after in found.p95_ms.items():
        limit = limits.viewers[part].p95_ms if part in limits.viewers else None
        if limit is not None:
            checked.append((part, limit, present.p95_ms[part], after))
    said = [
        f"P95 {name} {after:.1f} ms is not below {limit:g} ms"
        for name, limit, before, after in checked
        if not after < limit and after - before >= SLOWER_MS
    ]
    return "; ".join(said) or None


# Flat-rate plans -----------------------------------------------------------------------------------------------------


def _plan(case: Situation, plan: FlatPlan, present: Candidate) -> Candidate:
    """A plan at its price. It has every edge location, so that nobody is slower than in class All."""
    every = present if case.now == ALL else _class(case, ALL, None)
    above = _above(case.usage.total, plan)
    refused, weighted = "; ".join([*above, *case.against_plans]) or None, every.weighted_ms
    return Candidate(plan.name, True, plan.usd_month, every.p95_ms, weighted, refused=refused, fits=not above)


def _above(total: Traffic, plan: FlatPlan) -> list[str]:
    most, said = plan.allowance, []
    if total.bytes > most.bytes:
        tb, allowed = (Decimal(size) / GB / GB_PER_TB for size in (total.bytes, most.bytes))
        said.append(f"{tb:.2f} TB a month is above its {allowed:.4g} TB")
    if total.requests > most.requests:
        said.append(f"{total.requests / 1e6:,.1f} M requests a month are above its {most.requests / 1e6:,g} M")
    return said


def against_plans(config: Mapping[str, object]) -> list[str]:
    """Why a distribution (DistributionConfig) can't be on a flat-rate plan as it is, in AWS's own terms."""
    behaviours = [config.get("DefaultCacheBehavior") or {}, *_items(config, "CacheBehaviors")]
    origins = _items(config, "Origins")
    certificate = config.get("ViewerCertificate") or {}
    found = {
        "Lambda@Edge is associated": any(_items(b, "LambdaFunctionAssociations") for b in behaviours),
        "it is a staging distribution": bool(config.get("Staging")),
        "it has a staging distribution (continuous deployment)": bool(config.get("ContinuousDeploymentPolicyId")),
        "it is a multi-tenant distribution": config.get("ConnectionMode") == "tenant-only",
        "real-time logs are on": any(_of(b, "RealtimeLogConfigArn") for b in behaviours),
        "a cache behaviour uses ForwardedValues": any(_of(b, "ForwardedValues") for b in behaviours),
        "an origin uses an origin access identity": any(
            _of(_of(o, "S3OriginConfig") or {}, "OriginAccessIdentity") for o in origins
        ),
        "its certificate is IAM's": bool(_of(certificate, "IAMCertificateId")),
    }
    return [f"not on a plan: {reason}" for reason, holds in found.items() if holds]


def _of(value: object, key: str) -> object:
    return value.get(key) if isinstance(value, Mapping) else None


def _items(value: object, key: str) -> list[object]:
    items = _of(_of(value, key) or {}, "Items")
    return list(items) if isinstance(items, Sequence) else []
