"""The Grafana dashboard of the cost plan: its eight panels, each on series that exist.

The plan's own queries ask for ``akidb_requests_total`` and cost gauges that nothing exports. These use OpenCost's
series, the estate's counters and the recording rules beside this module. Pure functions; equal estates give equal
bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from include.estate import Estate
from include.prices import DAYS_PER_MONTH

UID, TITLE = "akidb-cost", "AkiDB: cost"
REGION, ESTATE = "region", "estate"  # what a query needs: one region's series, or those of all regions
DOLLARS, SHARE = "currencyUSD", "percentunit"  # Grafana's names of the units
MONTH = f"max(akidb:cost_usd_day:total) * {DAYS_PER_MONTH}"
WEEK_13 = 'max(akidb:cost_usd_month:week_13{book="components"})'
TARGET = 'max(akidb:cost_usd_month:target{book="components"})'
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
    """The eight panels in the plan's order; ``job`` is Prometheus' name of the OpenCost scrape."""
    mine = f'job="{job}"'
    akidb = estate.matchers("")
    http, grpc = (f"sum by (region) (rate({metric}{{{akidb}}}[5m]))" for metric, _ in estate.metrics.requests())
    per_million = f"1e6 * akidb:cost_usd_day:region / on (region) (86400 * ({http} + on (region) {grpc}))"
    return [
        _total(),
        PanelSpec(
            "Spot split",
            "short",
            "Nodes by region and capacity type.",
            (Query("sum by (region, capacity_type) (akidb:nodes:count)", "{{region}} {{capacity_type}}"),),
        ),
        PanelSpec(
            "Cost per million requests",
            DOLLARS,
            "Node cost by measured requests, REST and gRPC; the plan's 100 M requests a month are not used.",
            (Query(per_million, "{{region}}"),),
        ),
        _savings(),
        _cpu_use(estate, mine),
        PanelSpec(
            "Cost by service",
            DOLLARS,
            "USD a day of what each Deployment requests or uses; idle capacity belongs to none.",
            (Query(_by_service(mine), "{{region}} {{namespace}}/{{service}}"),),
        ),
        PanelSpec(
            "Interruption rate",
            SHARE,
            f"Notices by spot nodes of 24 h, drills included; the limit is {estate.targets.interruption_rate:.0%}.",
            (Query("max by (region) (akidb:interruption_rate:24h)", "{{region}}"),),
        ),
        _trend(),
    ]


def _total() -> PanelSpec:
    return PanelSpec(
        "Total against week 13",
        DOLLARS,
        "USD a month, each component in its own book: nodes at OpenCost's prices, the others as last known. "
        "Absent while a region or component is unknown.",
        (
            Query(MONTH, "now", ESTATE),
            Query(WEEK_13, "week 13", ESTATE),
            Query(TARGET, "target", ESTATE),
            Query('max(akidb:cost_usd_month:week_13{book="plan"})', "week 13 as the plan has it", ESTATE),
        ),
    )


def _savings() -> PanelSpec:
    return PanelSpec(
        "Savings since week 8",
        DOLLARS,
        "USD a month. Week 8 is the plan's own total, so this mixes books; against week 13 it is like for like.",
        (
            Query(f"max(akidb:cost_usd_month:week_8) - {MONTH}", "since week 8 (plan's figure)", ESTATE),
            Query(f"{WEEK_13} - {MONTH}", "since week 13 (like for like)", ESTATE),
        ),
    )


def _cpu_use(estate: Estate, mine: str) -> PanelSpec:
    allocatable = f"sum by (region) (kube_node_status_allocatable_cpu_cores{{{mine}}})"
    pods = f'namespace="{estate.namespace}",container!=""'
    used = f"sum by (region) (rate(container_cpu_usage_seconds_total{{{pods}}}[5m]))"
    allocated = f"sum by (region) (container_cpu_allocation{{{mine}}})"
    return PanelSpec(
        "CPU use",
        SHARE,
        "Of the CPU that the nodes can allocate: used by AkiDB's containers, and requested or used by all.",
        (
            Query(f"{used} / on (region) {allocatable}", "{{region}} used"),
            Query(f"{allocated} / on (region) {allocatable}", "{{region}} allocated"),
        ),
    )


def _trend() -> PanelSpec:
    return PanelSpec(
        "Daily trend",
        DOLLARS,
        "USD a day, mean of the last 24 hours.",
        (
            Query("max by (region) (avg_over_time(akidb:cost_usd_day:region[1d]))", "{{region}} nodes"),
            Query("max(avg_over_time(akidb:cost_usd_day:total[1d]))", "all components", ESTATE),
            Query(f"{TARGET} / {DAYS_PER_MONTH}", "target", ESTATE),
        ),
    )


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
