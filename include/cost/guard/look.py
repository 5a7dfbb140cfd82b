"""One look of the cost guard: read, decide, and what is kept of it. No Airflow; clients are handed in."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from include.cost.guard import decisions
from include.cost.guard.cap import read_situation, without_owners
from include.cost.table import machine_hours
from include.cost.table.component_cost import component_cost
from include.cost.table.components import UNALLOCATED
from include.cost.table.days import DAY, Window
from include.cost.table.inputs import read_cost_inputs
from include.cost.table.reading import CostInputs
from include.cost.table.store import CostTable
from include.cost.targets import goal_of
from include.estate import Estate
from include.prices import AwsBook

if TYPE_CHECKING:
    from include.clients.kubernetes import Cluster
    from include.clients.prometheus import Prometheus

HOUR = dt.timedelta(hours=1)
REPLICAS_SERIES = "kube_deployment_spec_replicas"


@dataclass(frozen=True)
class GuardClients:
    """Prometheus of each region (an Exception stands for one that is away), and how to reach a cluster."""

    prometheus: Mapping[str, Prometheus | Exception]
    cluster: Callable[[str], Cluster]


@dataclass(frozen=True)
class Look:
    """What one look found."""

    spend: decisions.Spend
    driver: decisions.SpendDriver | None
    situation: decisions.Situation | None
    remedy: decisions.Remedy | None
    why: str

    @property
    def text(self) -> str:
        """For people, Markdown."""
        return decisions.report(self.spend, self.driver, self.remedy, self.why)

    def to_json(self) -> dict[str, Any]:
        """The record."""
        raw = {
            "spend": self.spend.to_json(),
            "driver": self.driver and asdict(self.driver),
            "situation": self.situation and asdict(without_owners(self.situation)),
            "remedy": self.remedy and asdict(self.remedy),
            "why": self.why,
            "text": self.text,
        }
        plain: dict[str, Any] = json.loads(json.dumps(raw, default=str))
        return plain


def look(
    table: CostTable, estate: Estate, book: AwsBook, window: Window, regions: Sequence[str], clients: GuardClients
) -> Look:
    """Measure the window, compare it with budget and history; on a spike name the driver and a remedy."""
    inputs = read_cost_inputs(table, estate, book, window, regions, clients.prometheus)
    past = read_history(clients.prometheus, regions, window.end)
    hours = decisions.hours_of(window.seconds)
    now = machine_hours.allocator_sum(inputs.live.fleets).usd or Decimal(0)
    history = decisions.against_history(now / hours, past, window.end, estate.cost.spike_ratio)
    if not _nodes_known(inputs):
        text = "unknown: the nodes of the window are not known in every region"
        history = decisions.HistoryCheck(decisions.UNKNOWN, now / hours, None, None, history.days, text)
    spend = spend_of(inputs, history, decisions.shape_of(past, window.end))
    if history.verdict != decisions.SPIKE:
        return Look(spend, None, None, None, "no spike")
    driver = find_driver(inputs, clients.prometheus)
    if driver is None:
        return Look(spend, None, None, None, "no group of nodes costs more than at this hour a day before")
    situation = read_situation(clients.cluster(driver.region), driver.region, driver.owner, estate.namespace)
    way, why = decisions.remedy(situation)
    return Look(spend, driver, situation, way, why)


def spend_of(inputs: CostInputs, history: decisions.HistoryCheck, shape: tuple[Decimal, str]) -> decisions.Spend:
    """The rate at which each component of the window costs, against the budget."""
    names = list(inputs.estate.cost.components)
    costs = [component_cost(name, inputs) for name in (*names, UNALLOCATED)]
    targets = {name: goal_of(name, inputs.estate, inputs.book, inputs.regions).target for name in names}
    return decisions.spend_of(costs, targets, inputs.window.end, history, shape)


def _nodes_known(inputs: CostInputs) -> bool:
    covered = {fleet.region for fleet in inputs.live.fleets if fleet.coverage > 0}
    return set(inputs.regions) <= covered


def read_history(
    of_region: Mapping[str, Prometheus | Exception], regions: Sequence[str], end: dt.datetime
) -> dict[dt.datetime, Decimal]:
    """USD an hour of the nodes of all ``regions`` at OpenCost's prices, at this minute of the last 14 days' hours.

    An hour that one region has no value for is left out: a sum without it would read as a cheap hour.
    """
    from include.clients.prometheus import PrometheusError

    sums: dict[float, list[Decimal]] = {}
    first, last = (end - decisions.COMPARED_DAYS * DAY).timestamp(), (end - HOUR).timestamp()
    for region in regions:
        prometheus = of_region[region]
        if isinstance(prometheus, Exception):
            return {}
        try:
            expression = f'sum({machine_hours.PRICE_SERIES}{{region="{region}"}})'
            for series in prometheus.query_range(expression, first, last, HOUR.total_seconds()):
                for at, value in series.points:
                    sums.setdefault(at, []).append(Decimal(repr(value)))
        except PrometheusError:
            return {}
    whole = {at: values for at, values in sums.items() if len(values) == len(regions)}
    return {dt.datetime.fromtimestamp(at, dt.UTC): sum(values, Decimal(0)) for at, values in whole.items()}


def find_driver(inputs: CostInputs, of_region: Mapping[str, Prometheus | Exception]) -> decisions.SpendDriver | None:
    """What costs more than in the same window a day before."""
    window, hours = inputs.window, decisions.hours_of(inputs.window.seconds)
    before: list[machine_hours.Fleet] = []
    then: dict[tuple[str, str], int] = {}
    today: dict[tuple[str, str], int] = {}
    for region, prometheus in of_region.items():
        if not isinstance(prometheus, Exception):
            before.append(machine_hours.read_fleet(prometheus, region, window.start - DAY, window.end - DAY))
            then |= replicas(prometheus, region, inputs.estate.namespace, window.end - DAY)
            today |= replicas(prometheus, region, inputs.estate.namespace, window.end)
    old = decisions.groups_of(before, hours, inputs.book)
    return decisions.name_driver(old, decisions.groups_of(inputs.live.fleets, hours, inputs.book), then, today)


def replicas(prometheus: Prometheus, region: str, namespace: str, at: dt.datetime) -> dict[tuple[str, str], int]:
    """Wanted replicas by (region, deployment)."""
    expression = f'max by (deployment) ({REPLICAS_SERIES}{{region="{region}",namespace="{namespace}"}})'
    found = prometheus.query(expression, at.timestamp())
    return {(region, sample.labels["deployment"]): int(sample.value) for sample in found}
