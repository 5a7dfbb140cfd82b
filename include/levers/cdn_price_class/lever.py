"""CloudFront's price class: as few of the dear edge locations as the latency limits allow, once for the estate."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal

from include.clients.probes import ProbesError
from include.levers import cloudfront, edge_gates
from include.levers.base import OBJECTS, Dollars, ManifestLever
from include.levers.cdn_price_class import latency, month, prices
from include.levers.cdn_price_class.decide import Candidate, Judgement, Situation, against_plans, judge
from include.levers.cdn_price_class.month import World
from include.levers.cdn_price_class.owned import FIELD, price_class
from include.levers.cdn_price_class.settings import CdnSettings
from include.levers.cloudfront import DISTRIBUTIONS
from include.levers.owned import Report, Thing, by_key
from include.levers.probes import Probe, over_stage
from include.levers.service import error_gate
from include.rollout.gates import Figure
from include.rollout.lever import Check, Difference, Json, Refused, Stage, Undo, kept
from include.rollout.place import Place, PlaceKind

SLOT = "price_class"
NAME, CHOSEN = "distribution", "chosen"


class CdnPriceClass(ManifestLever[CdnSettings]):
    """The price class of the estate's distribution. ``target.clients``: ``aws``, ``probes``, ``of`` (a region's)."""

    name, slots, settings_type = "cdn_price_class", (SLOT,), CdnSettings
    acts_in, needs, undo_class = PlaceKind.ESTATE, frozenset({"aws", "probes"}), Undo.MINUTES
    first_check = ("CloudFront reachable", cloudfront.deployed_check)

    _seen: tuple[World, str, Judgement] | None = None  # what one plan is made of is read once

    def facts(self, world: World) -> dict[str, Json]:
        """The distribution's id, and the class to have. No figures: they move between plan and approval."""
        name, judged = self.judged(world)
        return {NAME: name, CHOSEN: judged.chosen.name}

    def judged(self, world: World) -> tuple[str, Judgement]:
        """The distribution's id, and every candidate for it, judged by what is known now."""
        if self._seen is None or self._seen[0] is not world:
            name, chosen = cloudfront.distribution(world, world.estate.edge.cdn.alias).id, world.settings
            judged = judge(situation(world, name), Decimal(chosen.cdn_least_saving_usd), chosen.only)
            self._seen = world, name, judged
        return self._seen[1:]

    def desired(self, world: World, slot: str, facts: Mapping[str, Json]) -> Sequence[Thing]:
        """One field of one document."""
        del world, slot
        return [price_class(facts[NAME], facts[CHOSEN])]

    def thing(self, key: str, was: Json) -> Thing:
        """The price class of a snapshot; what the lever wrote last is on the distribution's tag."""
        del was
        return price_class(key.partition(" ")[2])

    def since(self, world: World) -> Iterable[Thing]:
        """Nothing: the snapshot names the distribution, and no other is written."""
        del world
        return ()

    def stages(self, world: World, live: Mapping[str, Json]) -> tuple[Stage, ...]:
        """None where the present class is the best one, unless a person insists on a class."""
        if world.settings.only is None and live[CHOSEN] == _class_of(live):
            return ()
        return (self.stage(world, SLOT, live, **{CHOSEN: live[CHOSEN]}),)

    def facts_for(self, world: World, stage: Stage) -> dict[str, Json]:
        """The class that was approved, on the distribution that has the alias."""
        name = cloudfront.distribution(world, world.estate.edge.cdn.alias).id
        return {NAME: name, CHOSEN: stage.settings[CHOSEN]}

    def title(self, world: World, slot: str, live: Mapping[str, Json]) -> str:
        """``Distribution E1 (cdn.akidb.example): PriceClass_All -> PriceClass_200``."""
        del slot
        alias = world.estate.edge.cdn.alias
        return f"{DISTRIBUTIONS.kind} {live[NAME]} ({alias}): {_class_of(live)} -> {live[CHOSEN]}"

    def settle(self, world: World, stage: Stage) -> None:
        """Wait until every edge location has it."""
        del stage
        cloudfront.await_deployed(world, cloudfront.distribution(world, world.estate.edge.cdn.alias).id)

    def undo(
        self, world: World, snapshot: Mapping[str, Json], objects: Mapping[str, Json], report: Report
    ) -> list[str]:
        """Set the class back, and wait until every edge location has it."""
        del snapshot
        steps = self.set_back(world, objects, report)
        late = [cloudfront.deployed_after_undo(world, name) for name in _names(objects)]
        return [*steps, *(line for line in late if line)]

    def left(self, world: World, snapshot: Mapping[str, Json]) -> Sequence[Difference]:
        """A change that is set back but not deployed is not undone."""
        names = _names(by_key(kept(snapshot, OBJECTS)))
        return [found for name in names for found in cloudfront.undeployed(world, name)]

    def probes(self, world: World, slot: str) -> Sequence[Probe]:
        """P95 of every part of the world, the cache hit rate, and the errors of every region."""
        del slot
        errors = error_gate(world.estate)
        return [*edge_gates.edge_gates(world.estate), over_stage(errors.gate, _worst_of(errors.measure))]

    def dollars(self, world: World, live: Mapping[str, Json]) -> Dollars:
        """The distribution's egress and requests by list price."""
        del live
        _, judged = self.judged(world)
        book = f"CloudFront list prices ({prices.load().date})"
        return Dollars(judged.now.usd_month, judged.chosen.usd_month, book)

    def notes(self, world: World, live: Mapping[str, Json]) -> Sequence[str]:
        """What each candidate would save, whom it would slow, and why it is refused."""
        del live
        _, judged = self.judged(world)
        lines = [_said(judged, one) for one in judged.candidates if not one.is_plan and one is not judged.now]
        stale = stale_prices(world.now())
        verdict = f"{judged.chosen.name} stays: no other class saves enough within the limits"
        first = [verdict] if judged.chosen is judged.now else []
        return [*first, *lines, _offered(judged), *([stale] if stale else [])]

    def evidence_of(self, world: World) -> dict[str, Json]:
        """Dollars, class and latency as they are now."""
        _, judged = self.judged(world)
        figures = {"usd_month": float(judged.now.usd_month), "price_class": judged.now.name}
        return figures | edge_gates.latency_evidence(world)

    def checks(self) -> Mapping[str, Callable[[World], Iterator[Check]]]:
        """Would a write lose nothing, is the usage known, and will the gates have data?"""
        return {"distribution's fields": cloudfront.fields_check, "usage": _known, "probes": edge_gates.measurable}


# What is judged ------------------------------------------------------------------------------------------------------


def situation(world: World, name: str) -> Situation:
    """A distribution's month, class, limits, and what probes measure now. Raises Refused for what is missing."""
    config, _ = DISTRIBUTIONS.read(world, name)
    now = None if config is None else config.get(FIELD)
    if config is None or now not in latency.PRICE_CLASSES:
        raise Refused(
            f"{world.place}: {DISTRIBUTIONS.kind} {name} has price class {now}, wanted one of "
            f"{', '.join(latency.PRICE_CLASSES)}: a multi-tenant distribution has none"
        )
    limits, used = world.estate.edge.latency, month.usage(world, name)
    return Situation(used, prices.load(), limits, now, measured(world), against_plans(config))


def measured(world: World) -> dict[str, float]:
    """P95 in ms by country, and by part of the world (its slowest probe), as fresh probes say. Raises Refused."""
    limits = world.estate.edge.latency
    try:
        results = edge_gates.fresh(world.target.clients.probes.results(), world.now(), limits.oldest_seconds)
    except ProbesError as error:
        raise Refused(f"{world.place}: {error}") from error
    found = {one.country: one.p95_ms for one in results if one.p95_ms is not None}
    parts = {part: edge_gates.p95_of(results, world.estate, part) for part in limits.viewers}
    return found | {part: figure.value for part, figure in parts.items() if figure is not None}


def stale_prices(now: float) -> str | None:
    """What to warn of at ``now`` (Unix seconds): a price table that is older than a year."""
    return prices.load().stale(dt.datetime.fromtimestamp(now, dt.UTC).date())


def _known(world: World) -> Iterator[Check]:
    name = cloudfront.distribution(world, world.estate.edge.cdn.alias).id
    used = month.usage(world, name)
    total, stale = used.total, stale_prices(world.now())
    said = f"{used.rows} rows of logs, {len(used.by_country)} countries; {total.bytes / 2**40:.2f} TB and "
    yield Check("usage", True, f"{said}{total.requests / 1e6:,.1f} M requests a month")
    if stale:
        yield Check("prices", True, f"warning: {stale}")


def _worst_of(measure: Callable[[World, float], Figure | None]) -> Callable[[World, float], Figure | None]:
    """The measure in every region, of which the worst counts; unknown in one is unknown."""

    def worst(world: World, seconds: float) -> Figure | None:
        found = {name: measure(_in(world, name), seconds) for name in world.estate.ordered_regions()}
        known = [replace(figure, note=f"{name}: {figure.note}") for name, figure in found.items() if figure]
        return max(known, key=lambda figure: figure.value) if len(known) == len(found) else None

    return worst


def _in(world: World, region: str) -> World:
    clients = world.target.clients.of(region)
    return replace(world, target=replace(world.target, place=Place.named(region), clients=clients))


def _class_of(live: Mapping[str, Json]) -> Json:
    (entry,) = by_key(live[OBJECTS]).values()
    return next(field["was"] for field in (entry or {})["fields"] if field["path"] == [FIELD])


def _names(objects: Iterable[str]) -> list[str]:
    return [key.partition(" ")[2] for key in objects]


def _offered(judged: Judgement) -> str:
    """The flat-rate plans in one line: what they would save, and why nothing is bought."""
    if judged.offer is None:
        return "no flat-rate plan has an allowance for so much"
    bound = "no DAG buys a plan, and leaving one takes until the end of its billing period"
    return f"flat-rate plan {_said(judged, judged.offer)}; {bound}"


def _said(judged: Judgement, one: Candidate) -> str:
    saving = judged.saving(one)
    money = f"saves {saving:,.2f}" if saving >= 0 else f"costs {-saving:,.2f} more"
    line = f"{one.name} {money} USD a month ({one.usd_month:,.2f})"
    if one.slowed:
        line += f"; slows {', '.join(map(str, one.slowed))}"
    if one.refused and one is judged.chosen:
        return f"{line}; chosen by hand although the model says: {one.refused}. The gates decide"
    return f"{line}; refused: {one.refused}" if one.refused else line
