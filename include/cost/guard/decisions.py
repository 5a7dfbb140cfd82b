"""The cost guard's decisions: is this hour expensive, why, and the mildest remedy that can't take capacity away.

Measured against two things: the day's budget (targets of all components) and the fleet's own history at this hour.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal
from typing import Any

from include.cost.table.components import CENTRAL_DC
from include.cost.table.machine_hours import HOUR, Fleet, price_of
from include.cost.table.reading import Reading
from include.cost.table.record import plain
from include.pages.texts import CENT, usd
from include.prices import DAYS_PER_MONTH, AwsBook

NORMAL, SPIKE, UNKNOWN = "normal", "spike", "unknown"
COMPARED_DAYS = 14
MIN_DAYS = 7  # days of the same hour, below which nobody can say what is usual
MADS = 3  # a spike is also this many median deviations away
CAP, ROLLBACK = "cap", "rollback"
HEADROOM = Decimal("0.1")  # of what runs, above the floor of a cap; at least one node for a replacement
MANAGER = "akidb-cost-guard"


# --- Is it a spike? ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class HistoryCheck:
    """The rate against the same hour of earlier days, USD an hour. Verdict: normal, spike or unknown."""

    verdict: str
    now: Decimal
    median: Decimal | None
    deviation: Decimal | None  # median absolute deviation
    days: int
    text: str


def same_hour(past: Mapping[dt.datetime, Decimal], at: dt.datetime) -> tuple[list[Decimal], str]:
    """The values of ``past`` at this hour of the day, of the same kind of day when there are enough of those."""
    first = at - dt.timedelta(days=COMPARED_DAYS)
    hours = {when: value for when, value in past.items() if when.hour == at.hour and first <= when < at}
    alike = [value for when, value in hours.items() if (when.weekday() < 5) == (at.weekday() < 5)]
    if len(alike) >= MIN_DAYS:
        return alike, f"{'weekdays' if at.weekday() < 5 else 'weekend days'} at {at:%H} h"
    return list(hours.values()), f"all days at {at:%H} h"


def against_history(now: Decimal, past: Mapping[dt.datetime, Decimal], at: dt.datetime, ratio: float) -> HistoryCheck:
    """A spike is above ``ratio`` x the median of this hour and more than 3 median deviations above it."""
    values, kind = same_hour(past, at)
    if len(values) < MIN_DAYS:
        text = f"unknown: {len(values)} of {MIN_DAYS} days of history at this hour"
        return HistoryCheck(UNKNOWN, now, None, None, len(values), text)
    median = statistics.median(values)
    deviation = statistics.median([abs(value - median) for value in values])
    high = now > Decimal(str(ratio)) * median and now > median + MADS * deviation
    verdict = SPIKE if high else NORMAL
    text = f"{verdict}: {now:.4f} USD/h against a median of {median:.4f} +- {deviation:.4f} ({len(values)} {kind})"
    return HistoryCheck(verdict, now, median, deviation, len(values), text)


def shape_of(past: Mapping[dt.datetime, Decimal], at: dt.datetime) -> tuple[Decimal, str]:
    """This hour's usual share of an average hour, for the budget of the nodes; flat (1) without enough history."""
    values, kind = same_hour(past, at)
    mean = sum(past.values(), Decimal(0)) / len(past) if past else Decimal(0)
    if len(values) < MIN_DAYS or mean <= 0:
        return Decimal(1), "flat over the day: too little history for a shape"
    factor = statistics.median(values) / mean
    return factor, f"x {factor:.3f} for {kind}"


# --- What drives it? --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Group:
    """Nodes of one kind: ``nodes`` is their mean number, ``usd_hour`` what they cost an hour."""

    region: str
    owner: str  # NodePool or node group
    instance_type: str
    capacity: str
    nodes: Decimal
    usd_hour: Decimal

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What makes two groups the same."""
        return self.region, self.owner, self.instance_type, self.capacity


@dataclass(frozen=True)
class SpendDriver:
    """What grew most between two moments; ``deployment`` is the one whose replicas grew most, "" when none did."""

    region: str
    owner: str
    instance_type: str
    capacity: str
    usd_hour_more: Decimal
    nodes_more: Decimal
    deployment: str
    replicas_more: int

    @property
    def text(self) -> str:
        """One sentence."""
        text = (
            f"{self.region}: {self.owner or 'nodes without owner'} {self.instance_type} ({self.capacity}) costs "
            f"{self.usd_hour_more:.4f} USD/h more, {self.nodes_more:.1f} nodes more"
        )
        return text + (f"; {self.deployment} has {self.replicas_more} replicas more" if self.deployment else "")


def groups_of(fleets: Iterable[Fleet], hours: Decimal, book: AwsBook) -> list[Group]:
    """The fleets of a window of ``hours`` by owner, type and capacity; what has no price counts as OpenCost's."""
    sums: dict[tuple[str, str, str, str], list[Decimal]] = defaultdict(lambda: [Decimal(0), Decimal(0)])
    for use in (use for fleet in fleets for use in fleet.uses):
        price = price_of(use, book)
        total = sums[use.region, use.owner, use.instance_type, str(use.capacity or "unknown")]
        total[0] += use.hours / hours
        total[1] += (use.allocator_usd if price is None else use.hours * price) / hours
    return [Group(*key, nodes, dollars) for key, (nodes, dollars) in sorted(sums.items())]


def name_driver(
    before: Sequence[Group],
    now: Sequence[Group],
    replicas_before: Mapping[tuple[str, str], int],
    replicas_now: Mapping[tuple[str, str], int],
) -> SpendDriver | None:
    """The group that costs most more than before; None when none does. Replicas by (region, deployment)."""
    old = {group.key: group for group in before}
    grown = []
    for group in now:
        earlier = old.get(group.key)
        more = group.usd_hour - (earlier.usd_hour if earlier else 0)
        if more > 0:
            grown.append((more, group, group.nodes - (earlier.nodes if earlier else 0)))
    if not grown:
        return None
    more, group, nodes = max(grown, key=lambda entry: (entry[0], entry[1].key))
    deployment, replicas = _grown_most(group.region, replicas_before, replicas_now)
    return SpendDriver(*group.key, more, nodes, deployment, replicas)


def _grown_most(
    region: str, before: Mapping[tuple[str, str], int], now: Mapping[tuple[str, str], int]
) -> tuple[str, int]:
    # A deployment that nobody knew before can't be said to have grown: its count then is unknown, not zero.
    more = [(count - before[key], key[1]) for key, count in now.items() if key[0] == region and key in before]
    count, name = max(more, default=(0, ""))
    return (name, count) if count > 0 else ("", 0)


# --- What can be done? ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Situation:
    """A region's NodePool as it stands. CPU in vCPU of node capacity, as ``spec.limits`` counts it.

    ``is_pool``: False when the driver's nodes belong to a node group or to nobody. ``waiting_cpu`` is the capacity
    that the current replicas still need and have no node for.
    """

    region: str
    pool: str
    is_pool: bool
    limit_cpu: Decimal | None  # None: no limit
    used_cpu: Decimal
    waiting_cpu: Decimal
    largest_node_cpu: Decimal
    owners: Mapping[str, Any] | None = None  # managedFields entries that own the limit, for the undo


@dataclass(frozen=True)
class Remedy:
    """What may be done, mildest first. ``floor_cpu`` is what the cap may never be below."""

    kind: str
    region: str
    pool: str
    old_cpu: str | None
    new_cpu: str | None
    floor_cpu: str | None
    text: str

    @property
    def hash(self) -> str:
        """Names this very remedy in the approval."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:12]


def floor_of(situation: Situation) -> Decimal:
    """vCPU that the pool needs: what runs now and what the current replicas still wait for."""
    return situation.used_cpu + situation.waiting_cpu


def remedy(situation: Situation) -> tuple[Remedy | None, str]:
    """The mildest remedy and why; None with the reason when there is none.

    A cap of the pool at what it needs plus headroom (a tenth, at least its largest node, so that an interrupted node
    can be replaced before it goes) only stops growth; where it would change nothing, the last plan is returned to.
    """
    floor = floor_of(situation)
    cap = Decimal(math.ceil(floor + max(situation.largest_node_cpu, situation.used_cpu * HEADROOM)))
    if not situation.is_pool:
        reason = f"{situation.pool or 'the nodes'} is no NodePool: there is no limit to cap"
    elif situation.largest_node_cpu <= 0:
        return None, f"{situation.region}: {situation.pool} has no node, so it can't be what costs more"
    elif situation.limit_cpu is not None and cap >= situation.limit_cpu:
        reason = f"a cap at {cap} vCPU would change nothing: the limit is {situation.limit_cpu} already"
    else:
        return _cap(situation, cap, floor), "the cap stops further growth and takes nothing away"
    choice = f'{{"lever": "spot_capacity", "regions": ["{situation.region}"]}}'
    command = f"airflow dags trigger rollback --conf '{choice}'"
    text = f"Return {situation.region} to its last plan: `{command}` (it shows what it would undo, and asks). {reason}"
    return Remedy(ROLLBACK, situation.region, situation.pool, None, None, None, text), reason


def _cap(situation: Situation, cap: Decimal, floor: Decimal) -> Remedy:
    old = None if situation.limit_cpu is None else f"{situation.limit_cpu.normalize():f}"
    text = (
        f"Cap NodePool {situation.pool} in {situation.region}: limits.cpu {old or 'none'} -> {cap:f}. It runs "
        f"{situation.used_cpu:f} vCPU, its replicas wait for {situation.waiting_cpu:f} more (floor {floor:f})"
    )
    return Remedy(CAP, situation.region, situation.pool, old, f"{cap:f}", f"{floor:f}", text)


# --- The result -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Spend:
    """One look at the spend, USD an hour. ``over_budget`` is None when a component or a target is unknown."""

    at: dt.datetime
    rates: Mapping[str, Decimal | None]
    total: Decimal | None
    budget: Decimal | None
    budget_text: str
    over_budget: bool | None
    history: HistoryCheck
    unknown: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """For the record, dollars as text."""
        raw: dict[str, Any] = json.loads(json.dumps(asdict(self), default=plain))
        return raw


def spend_of(
    costs: Sequence[Reading],
    targets: Mapping[str, Decimal | None],
    at: dt.datetime,
    history: HistoryCheck,
    shape: tuple[Decimal, str],
) -> Spend:
    """The spend at ``at`` as a rate, what no component takes included, against the budget of this hour.

    Budget: each of ``targets`` (USD a month, by component) / 30.4 / 24; central_dc's with the ``shape`` of its usual
    day, since nodes follow the traffic.
    """
    rates = {cost.component: _rate(cost) for cost in costs}
    budget: Decimal | None = Decimal(0)
    for name, target in targets.items():
        factor = shape[0] if name == CENTRAL_DC else Decimal(1)
        budget = None if budget is None or target is None else budget + target / DAYS_PER_MONTH / 24 * factor
    unknown = tuple(name for name, rate in rates.items() if rate is None)
    total = None if unknown else sum((rate for rate in rates.values() if rate is not None), Decimal(0))
    over = None if total is None or budget is None else total > budget
    return Spend(at, rates, total, budget, shape[1], over, history, unknown)


def _rate(cost: Reading) -> Decimal | None:
    """All dollars of the component, an hour."""
    daily = cost.per_day
    return None if daily is None or daily[1] is None else (daily[0] + daily[1]) / 24


def report(spend: Spend, driver: SpendDriver | None, way: Remedy | None, why: str) -> str:
    """What the guard saw, as Markdown."""
    rate = usd(spend.total) if spend.total is not None else f"unknown ({', '.join(spend.unknown)} without data)"
    lines = [
        f"Spend at {spend.at:%Y-%m-%d %H:%M} UTC: {rate} USD/h; budget of the hour {usd(spend.budget)} "
        f"({spend.budget_text}): {_budget_word(spend)}.",
        f"Nodes against their history: {spend.history.text}.",
    ]
    lines += [f"- {name}: {usd(value)} USD/h" for name, value in spend.rates.items()]
    if spend.history.verdict == SPIKE:
        lines.append(f"Driver: {driver.text if driver else 'no group of nodes costs more than a day before'}.")
        lines.append(f"Remedy: {way.text if way else 'none'} ({why}).")
    return "\n".join(lines)


def _budget_word(spend: Spend) -> str:
    if spend.over_budget is None:
        return "can't be compared"
    assert spend.total is not None
    assert spend.budget is not None
    gap = abs(spend.total - spend.budget).quantize(CENT)
    return f"{gap} {'over' if spend.over_budget else 'below'} it"


def hours_of(seconds: int) -> Decimal:
    """Hours of a window."""
    return Decimal(seconds) / HOUR
