"""The Grafana dashboard of the cost plan: its eight panels and those of right-sizing, each on series that exist.

The panels stand in include/manifests/cost_monitoring/panels.yaml. Pure functions; equal estates give equal bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from include.estate import Estate
from include.levers.manifests import filled
from include.levers.utilisation import requests_and_use
from include.prices import DAYS_PER_MONTH

UID, TITLE = "akidb-cost", "AkiDB: cost"
REGION, ESTATE = "region", "estate"  # what a query needs: one region's series, or those of all regions
DEPLOYMENT_OF_POD = "(.+)-[a-z0-9]{6,10}-[a-z0-9]{5}"


@dataclass(frozen=True)
class Query:
    """One query of a panel. ``scope``: REGION gives a series with the label region, ESTATE needs every region."""

    expression: str
    legend: str
    scope: str = REGION


@dataclass(frozen=True)
class PanelSpec:
    """One panel: ``unit`` is Grafana's name of it, ``note`` what a reader must know of the figures."""

    title: str
    unit: str
    note: str
    queries: tuple[Query, ...]


def panels(estate: Estate, job: str = "opencost") -> list[PanelSpec]:
    """The plan's eight panels in its order, then those of right-sizing; ``job`` is Prometheus' name of OpenCost."""
    mine, akidb = f'job="{job}"', estate.matchers("")
    http, grpc = (f"sum by (region) (rate({metric}{{{akidb}}}[5m]))" for metric, _ in estate.metrics.requests())
    pods = f'namespace="{estate.namespace}",container!=""'
    values = {
        "job": mine,
        "http": http,
        "grpc": grpc,
        "allocatable": f"sum by (region) (kube_node_status_allocatable_cpu_cores{{{mine}}})",
        "used": f"sum by (region) (rate(container_cpu_usage_seconds_total{{{pods}}}[5m]))",
        "by_service": _by_service(mine),
        **requests_and_use(estate, mine),
        "interruption_limit": f"{estate.targets.interruption_rate:.0%}",
        "month": f"max(akidb:cost_usd_day:total) * {DAYS_PER_MONTH}",
        "week_13": 'max(akidb:cost_usd_month:week_13{book="components"})',
        "target": 'max(akidb:cost_usd_month:target{book="components"})',
        "days": str(DAYS_PER_MONTH),
    }
    return [_spec(raw) for raw in filled("cost_monitoring/panels.yaml", values)]


def _spec(raw: Mapping[str, Any]) -> PanelSpec:
    asked = (Query(q["expr"], q["legend"], ESTATE if q.get("estate") else REGION) for q in raw["queries"])
    return PanelSpec(raw["title"], raw["unit"], raw["note"], tuple(asked))


def _by_service(mine: str) -> str:
    def part(allocation: str, price: str) -> str:
        named = f'label_replace({allocation}, "service", "$1", "pod", "{DEPLOYMENT_OF_POD}")'
        on_node = f"on (region, node) group_left () max by (region, node) ({price}{{{mine}}})"
        return f"sum by (region, namespace, service) ({named} * {on_node})"

    cpu = part(f"container_cpu_allocation{{{mine}}}", "node_cpu_hourly_cost")
    memory = part(f"container_memory_allocation_bytes{{{mine}}} / 2^30", "node_ram_hourly_cost")
    return f"24 * ({cpu} + on (region, namespace, service) {memory})"


def queries(estate: Estate, job: str = "opencost") -> list[tuple[str, str]]:
    """(panel, PromQL) of every query."""
    return [(panel.title, query.expression) for panel in panels(estate, job) for query in panel.queries]


def dashboard_json(estate: Estate, job: str = "opencost") -> str:
    """The dashboard as Grafana's sidecar or provisioning loads it; sorted keys, no clock, no ids of an instance."""
    # A second of imports that a DAG's parse must not pay.
    from grafana_foundation_sdk.builders.dashboard import Dashboard, DatasourceVariable
    from grafana_foundation_sdk.cog.encoder import JSONEncoder

    source = DatasourceVariable("datasource").label("Prometheus").type("prometheus")
    board = Dashboard(TITLE).uid(UID).tags(["akidb", "cost"]).timezone("utc").refresh("1m").time("now-7d", "now")
    board = board.readonly().with_variable(source)
    for place, spec in enumerate(panels(estate, job)):
        board = board.with_panel(_panel(spec, place))
    return str(JSONEncoder(sort_keys=True, indent=1, ensure_ascii=False).encode(board.build())) + "\n"


def _panel(spec: PanelSpec, place: int) -> Any:
    from grafana_foundation_sdk.builders import prometheus, timeseries
    from grafana_foundation_sdk.models.dashboard import DataSourceRef, GridPos

    source = DataSourceRef(type_val="prometheus", uid="${datasource}")
    panel = timeseries.Panel().title(spec.title).description(spec.note).unit(spec.unit).datasource(source)
    # No data shows as such: a line drawn over a gap, or a zero, would be an invented figure.
    panel = panel.no_value("unknown").id(place + 1).grid_pos(GridPos(h=8, w=12, x=12 * (place % 2), y=8 * (place // 2)))
    for letter, query in zip("ABCDEFGH", spec.queries, strict=False):
        target = prometheus.Dataquery().ref_id(letter).expr(query.expression).legend_format(query.legend)
        panel = panel.with_target(target.datasource(source))
    return panel
