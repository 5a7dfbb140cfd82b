"""The Grafana dashboard of the cost plan: its eight panels and those of right-sizing, each on series that exist.

The panels stand in include/manifests/cost_monitoring/panels.yaml. Pure functions; equal estates give equal bytes.
"""

from __future__ import annotations

from include.estate import Estate
from include.levers.dashboards import PanelSpec, board_json, panels_of
from include.levers.utilisation import requests_and_use
from include.prices import DAYS_PER_MONTH

UID, TITLE = "akidb-cost", "AkiDB: cost"
DEPLOYMENT_OF_POD = "(.+)-[a-z0-9]{6,10}-[a-z0-9]{5}"


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
    return panels_of("cost_monitoring/panels.yaml", values)


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
    """The dashboard as Grafana loads it."""
    return board_json(TITLE, UID, ("akidb", "cost"), panels(estate, job))
