"""What is watched of the edge between rollouts: rules and panels, generated from the estate. Pure functions.

A part of the world is as slow as its slowest probe, and unknown while one of its probes that spoke within the hour is
silent; the weighted P95 is unknown while any part is. An alert says so: what is unknown is never good.
"""

from __future__ import annotations

from include.estate import Estate
from include.estate.edge import Viewers
from include.levers.alert_rules import Rule, alert, named, objects, record
from include.levers.dashboards import PanelSpec, board_json, panels_of
from include.levers.fields import Object
from include.levers.manifests import filled

MANAGER = "akidb-edge-monitoring"
BOARD, RULES, RULES_FILE = "akidb-edge-dashboard", "akidb-edge-rules", "akidb-edge.rules.yaml"
ALERTS, PANELS = "edge_monitoring/alerts.yaml", "edge_monitoring/panels.yaml"
PART, WEIGHTED, LIMIT = "akidb:edge_p95_ms:part", "akidb:edge_p95_ms:weighted", "akidb:edge_p95_ms:limit"
UID, TITLE = "akidb-edge", "AkiDB: edge"


def _values(estate: Estate) -> dict[str, str]:
    latency = estate.edge.latency
    limits = {name: viewers.p95_ms for name, viewers in latency.viewers.items() if viewers.p95_ms is not None}
    return {
        "limits": ", ".join(f"{name} {limit:g} ms" for name, limit in limits.items()),
        "weighted_limit": f"{latency.weighted_p95_ms:g}",
        "probe_metric": latency.probe_metric,
        "cache_hits": latency.cache_hit_metric,
        "cache_limit": f"{latency.cache_hit_percent:g}",
        "power": estate.cost.devices.power_metric,
        "devices": str(estate.cost.devices.count),
    }


def rules(estate: Estate) -> list[Rule]:
    """What is recorded, then what is alerted."""
    viewers = estate.edge.latency.viewers
    recorded = [record(PART, _slowest(estate, group), {"part": name}) for name, group in viewers.items()]
    recorded.append(record(WEIGHTED, _weighted(viewers), {}))
    limited = {name: group.p95_ms for name, group in viewers.items() if group.p95_ms is not None}
    recorded += [record(LIMIT, f"vector({limit:g})", {"part": name}) for name, limit in limited.items()]
    return [*recorded, *(alert(raw) for raw in filled(ALERTS, _values(estate), "edge"))]


def _slowest(estate: Estate, group: Viewers) -> str:
    series = f'{estate.edge.latency.probe_metric}{{country=~"{"|".join(group.countries)}"}}'
    return f"max({series}) unless on () (last_over_time({series}[1h]) unless {series})"


def _weighted(viewers: dict[str, Viewers]) -> str:
    counted = {name: group.share for name, group in viewers.items() if group.share > 0}
    terms = (f'{share:g} * sum({PART}{{part="{name}"}})' for name, share in counted.items())
    return f"({' + '.join(terms)}) / {sum(counted.values()):g}"


def groups(estate: Estate) -> list[Object]:
    """The one group of rules, by a name that tells these very rules."""
    return named("akidb-edge", [("estate", rules(estate))])


def panels(estate: Estate) -> list[PanelSpec]:
    """Latency, cache hit rate, device watts."""
    return panels_of(PANELS, _values(estate))


def wanted(estate: Estate, operator: bool) -> list[Object]:
    """Namespace, dashboard and rules; ``operator`` says whether the cluster serves PrometheusRule."""
    board = {"akidb-edge.json": board_json(TITLE, UID, ("akidb", "edge"), panels(estate))}
    return objects(MANAGER, (BOARD, board), (RULES, RULES_FILE, groups(estate)), operator)
