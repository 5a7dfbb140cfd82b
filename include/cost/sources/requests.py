"""Requests that the estate has served on a day, by region, counted from the raw samples of its request counters.

Unknown is never zero: a region whose counters have a gap, or that Prometheus no longer keeps, has no number, and says
how much of the day was covered. A day once counted in full is kept as an input of the reports, so that a report can
still be made again when Prometheus has forgotten the day.
"""

from __future__ import annotations

import datetime as dt
import itertools
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal

from include.clients.prometheus import Prometheus, PrometheusError, Series, counter_increase
from include.clients.storage import Storage
from include.estate import Estate

GAP_SECONDS = 300  # Prometheus itself calls a series gone after this time without a sample
CHUNK_SECONDS = 3600  # of the raw samples that are asked for at once
DAY_SECONDS = 86_400
_SHARE = Decimal("0.0001")
Points = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class RegionRequests:
    """Requests of one region and day; ``requests`` None is unknown. ``coverage`` is the share of the day with samples.

    ``problem`` says why the number is unknown; it is empty when it is known.
    """

    requests: Decimal | None
    coverage: Decimal
    problem: str = ""


@dataclass(frozen=True)
class Requests:
    """The requests of a day by region."""

    day: dt.date
    regions: Mapping[str, RegionRequests]

    @property
    def total(self) -> Decimal | None:
        """All regions together; None when one of them is unknown, or there is none."""
        known = [region.requests for region in self.regions.values() if region.requests is not None]
        return sum(known, Decimal(0)) if known and len(known) == len(self.regions) else None

    def to_json(self) -> bytes:
        """The text that is kept; :meth:`from_json` reads it."""
        regions = {
            name: {
                "requests": None if region.requests is None else str(region.requests),
                "coverage": str(region.coverage),
                "problem": region.problem,
            }
            for name, region in self.regions.items()
        }
        return json.dumps({"day": str(self.day), "regions": regions}, sort_keys=True, indent=1).encode()

    @classmethod
    def from_json(cls, data: bytes) -> Requests:
        """The requests that :meth:`to_json` wrote."""
        raw = json.loads(data)
        regions = {
            name: RegionRequests(
                None if one["requests"] is None else Decimal(one["requests"]), Decimal(one["coverage"]), one["problem"]
            )
            for name, one in raw["regions"].items()
        }
        return cls(dt.date.fromisoformat(raw["day"]), regions)


def key_of(day: dt.date) -> str:
    """Where the requests of a day are kept."""
    return f"requests/day={day}.json"


def kept(storage: Storage, day: dt.date) -> Requests | None:
    """The requests that were counted for the day, or None."""
    try:
        return Requests.from_json(storage.read(key_of(day)))
    except FileNotFoundError:
        return None


def count_day(
    storage: Storage, day: dt.date, estate: Estate, prometheus_of: Callable[[str], Prometheus], now: dt.datetime
) -> Requests:
    """The requests of ``day``: each region that isn't known yet is counted, and what is better than before is kept.

    ``now`` only decides whether the day is over: one that still runs is not kept, since its count would grow.
    """
    before = kept(storage, day)
    found = {}
    for region in estate.ordered_regions():
        old = before.regions.get(region) if before else None
        found[region] = (
            old if old and old.requests is not None else better(old, _count(region, day, estate, prometheus_of))
        )
    counted = Requests(day, found)
    if now >= _start(day) + dt.timedelta(days=1) and counted != before:
        storage.put(key_of(day), counted.to_json())
    return counted


def better(old: RegionRequests | None, new: RegionRequests) -> RegionRequests:
    """The one that knows more: a number before none, then the wider coverage, then the older."""
    if old is None or (old.requests is None and new.requests is not None):
        return new
    if old.requests is not None and new.requests is None:
        return old
    return new if new.coverage > old.coverage else old


def _count(region: str, day: dt.date, estate: Estate, prometheus_of: Callable[[str], Prometheus]) -> RegionRequests:
    try:
        return region_requests(prometheus_of(region), region, day, estate)
    except (PrometheusError, LookupError, RuntimeError) as error:
        return RegionRequests(None, Decimal(0), " ".join(str(error).split()))


def region_requests(prometheus: Prometheus, region: str, day: dt.date, estate: Estate) -> RegionRequests:
    """Count one region's REST and gRPC requests of ``day`` (UTC). Raises PrometheusError when it can't be asked."""
    start = _start(day).timestamp()
    total, coverage, problems = Decimal(0), Decimal(1), []
    for metric, _ in estate.metrics.requests():
        series = raw_day(prometheus, f"{metric}{{{estate.matchers(region)}}}", start)
        share = covered(series, start)
        coverage = min(coverage, share)
        if share < 1:
            problems.append(f"{metric}: " + ("no sample" if not share else f"{share:.2%} of the day has samples"))
        total += Decimal(str(grown(series, start)))
    whole = total.to_integral_value(ROUND_HALF_EVEN)
    return RegionRequests(None if problems else whole, coverage, "; ".join(problems))


def raw_day(prometheus: Prometheus, selector: str, start: float) -> list[Points]:
    """Every sample of the day by series, and those up to GAP_SECONDS before it: what each counter began with."""
    merged: dict[tuple[tuple[str, str], ...], list[tuple[float, float]]] = {}
    for length, end in _chunks(start):
        for series in prometheus.raw(selector, length, end):
            _append(merged, series)
    return [tuple(points) for _, points in sorted(merged.items())]


def _append(merged: dict[tuple[tuple[str, str], ...], list[tuple[float, float]]], series: Series) -> None:
    points = merged.setdefault(tuple(sorted(series.labels.items())), [])
    last = points[-1][0] if points else float("-inf")
    # Older servers include both ends of a range, so that neighbours share a sample.
    points += [(at, value) for at, value in series.points if at > last]


def _chunks(start: float) -> Iterator[tuple[float, float]]:
    yield GAP_SECONDS, start
    for offset in range(CHUNK_SECONDS, DAY_SECONDS + 1, CHUNK_SECONDS):
        yield CHUNK_SECONDS, start + offset


def grown(series: list[Points], start: float) -> float:
    """How much the counters of one day grew together, from the last sample before ``start``; resets are handled."""
    total = 0.0
    for points in series:
        before = [point for point in points if point[0] <= start]
        inside = tuple(point for point in points if point[0] > start)
        # A series that was not there before began with the process: its first value counts too.
        total += counter_increase((*before[-1:], *inside), born=not before)
    return total


def covered(series: list[Points], start: float) -> Decimal:
    """The share of the day that has samples, 0 to 1: silences longer than GAP_SECONDS are gaps."""
    times = sorted({min(max(at, start), start + DAY_SECONDS) for points in series for at, _ in points})
    if not any(at > start for at in times):
        return Decimal(0)
    edges = [start, *times, start + DAY_SECONDS]
    gaps = sum(after - before for before, after in itertools.pairwise(edges) if after - before > GAP_SECONDS)
    # Rounded down: a day with any gap must not read as covered.
    share = Decimal(str(1 - gaps / DAY_SECONDS))
    return share.quantize(_SHARE) if not gaps else min(share.quantize(_SHARE), 1 - _SHARE)


def _start(day: dt.date) -> dt.datetime:
    return dt.datetime(day.year, day.month, day.day, tzinfo=dt.UTC)
