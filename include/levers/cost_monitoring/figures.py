"""Evidence: what Prometheus has of OpenCost, Kubecost, the dashboard's queries and the rules. No data is None."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from include.clients.prometheus import Sample
from include.estate import Estate
from include.levers import alert_rules
from include.levers.cost_monitoring import rules
from include.levers.cost_monitoring.dashboard import panels
from include.levers.cost_monitoring.wanted import CHARTS, KUBECOST, OPENCOST, MonitoringSettings
from include.levers.dashboards import REGION, Query
from include.levers.node_costs import NodeFact, node_facts, usd_hour
from include.levers.probes import GateWindow, Probe
from include.levers.service import covered, share_covered
from include.levers.world import World as AnyWorld
from include.rollout.gates import Comparison, Figure, Gate

World = AnyWorld[MonitoringSettings]
COVERAGE = 0.95  # share of the nodes that OpenCost must have a price for, and of the scrapes that must succeed


def probes(slot: str, estate: Estate) -> list[Probe]:
    """Does the slot answer, and do its figures agree? Dollars against a target are no gate."""

    def gate(name: str, threshold: float, unit: str, source: str, comparison: Comparison = Comparison.AT_MOST) -> Gate:
        return Gate(name, comparison, threshold, unit, 1, source)

    least = Comparison.AT_LEAST
    if slot == OPENCOST:
        covers = gate("opencost_node_coverage", COVERAGE, "ratio", "nodes that must have a price", least)
        gap = gate("opencost_price_gap", estate.cost.agree_within, "ratio", "estate cost.agree_within")
        return [Probe(covers, node_coverage), Probe(gap, price_gap)]
    if slot == KUBECOST:
        return [Probe(gate("kubecost_up", COVERAGE, "ratio", "scrapes that must succeed", least), kubecost_up)]
    return [
        Probe(gate("dashboard_queries_without_data", 0, "queries", "every panel must show data"), queries_figure),
        Probe(gate("rules_not_loaded", 0, "rules", "every rule must be loaded"), rules_not_loaded),
        Probe(gate("rules_with_errors", 0, "rules", "every rule must evaluate"), rules_with_errors),
    ]


# OpenCost --------------------------------------------------------------------------------------------------------


def node_prices(world: World) -> dict[str, float]:
    """OpenCost's USD an hour by node name."""
    job, region = world.settings.opencost_job, world.target.region
    series = f'max by (node) (node_total_hourly_cost{{job="{job}",region="{region}"}})'
    return {s.labels["node"]: s.value for s in world.prometheus.query(series) if not math.isnan(s.value)}


def node_coverage(world: World, _: GateWindow | None = None) -> Figure | None:
    """Share of the live nodes that OpenCost has a price for; not a number while too many have none.

    A node that has just joined has no price yet: that says nothing about OpenCost.
    """
    nodes = node_facts(world)
    if not nodes:
        return None
    prices = node_prices(world)
    priced = sum(prices.get(node.name, 0) > 0 for node in nodes)
    note = f"{priced} of {len(nodes)} nodes have a price"
    share, source = priced / len(nodes), "node_total_hourly_cost / Nodes"
    if share < COVERAGE:
        return Figure(math.nan, "ratio", 0, source, note)
    return Figure(share, "ratio", len(nodes), source, note)


def price_gap(world: World, _: GateWindow | None = None) -> Figure | None:
    """How far OpenCost's prices are from list and spot prices of the same nodes, as a share; None without either."""
    prices = node_prices(world)
    nodes: list[NodeFact] = [node for node in node_facts(world) if prices.get(node.name, 0) > 0]
    listed, unknown = usd_hour(world, nodes)
    if not nodes or not listed:
        return None
    told = sum(prices[node.name] for node in nodes)
    note = f"OpenCost {told:.4f} USD/h, price book and EC2 {listed:.4f} USD/h for {len(nodes)} nodes"
    source = "node_total_hourly_cost against on-demand list prices and EC2's spot prices"
    return None if unknown else Figure(abs(told - float(listed)) / float(listed), "ratio", len(nodes), source, note)


def prices_missing(world: World) -> list[str]:
    """What keeps the prices from being complete, for a wait."""
    found = node_coverage(world)
    if found is None:
        return ["the cluster has no node"]
    return [] if found.value >= COVERAGE else [f"OpenCost's series in Prometheus: {found.note}"]


# Kubecost --------------------------------------------------------------------------------------------------------


def kubecost_series(world: World) -> str:
    """The series that says whether Kubecost was scraped."""
    return f'up{{job="{world.settings.kubecost_job}",region="{world.target.region}"}}'


def kubecost_up(world: World, window: GateWindow) -> Figure | None:
    """Share of the scrapes in the window that Kubecost answered, from its first answer on."""
    points = sorted(
        point for series in world.prometheus.raw(kubecost_series(world), window.recent) for point in series.points
    )
    first = next((n for n, (_, value) in enumerate(points) if value == 1), None)
    if first is None:
        return None
    answered = [value for _, value in points[first:]]
    figure = Figure(sum(answered) / len(answered), "ratio", len(answered), kubecost_series(world))
    return covered(figure, share_covered((at for at, _ in points), world.now(), window.recent))


def kubecost_missing(world: World) -> list[str]:
    """What keeps Kubecost from being seen, for a wait."""
    series = kubecost_series(world)
    value = world.prometheus.value(f"max({series})")
    return [] if value == 1 else [f"{series} {'has no sample' if value is None else f'is {value:g}'}"]


# Dashboard -------------------------------------------------------------------------------------------------------


def regions_reporting(world: World) -> set[str]:
    """The regions whose node prices this Prometheus has."""
    samples = world.prometheus.query("count by (region) (akidb:cost_usd_day:region)")
    return {sample.labels.get("region", "") for sample in samples}


def demanded(world: World) -> list[tuple[str, Query]]:
    """The panels' queries that must have data: those of all regions together only once every region reports."""
    whole = set(world.estate.regions) <= regions_reporting(world)
    every = [
        (spec.title, query) for spec in panels(world.estate, world.settings.opencost_job) for query in spec.queries
    ]
    return [(title, query) for title, query in every if whole or query.scope == REGION]


def without_data(world: World) -> tuple[list[str], int]:
    """The panels with a query that gives nothing for this region, and how many queries were asked."""
    asked = demanded(world)
    empty = [
        f"{title}: {query.legend}"
        for title, query in asked
        if not _answers(world, query, world.prometheus.query(query.expression))
    ]
    return empty, len(asked)


def _answers(world: World, query: Query, samples: Sequence[Sample]) -> bool:
    mine = [s for s in samples if query.scope != REGION or s.labels.get("region") == world.target.region]
    return any(math.isfinite(sample.value) for sample in mine)


def queries_figure(world: World, _: GateWindow | None = None) -> Figure:
    """How many of the dashboard's queries have no data: zero, or not a number and without samples.

    A series may be one evaluation late: what is missing now says nothing about the dashboard yet.
    """
    empty, asked = without_data(world)
    source = "Prometheus, each panel's query"
    if empty:
        return Figure(math.nan, "queries", 0, source, f"without data: {'; '.join(empty)}")
    return Figure(0, "queries", asked, source, f"{asked} queries have data")


# Rules -----------------------------------------------------------------------------------------------------------


def wanted_rules(world: World) -> list[tuple[str, str]]:
    """(group, rule) of every rule that this region must have."""
    return alert_rules.names(rules.groups(world.estate, world.target.region, world.settings.scrape()))


def rules_not_loaded(world: World, _: GateWindow | None = None) -> Figure:
    """How many of the region's rules Prometheus has not loaded; without samples while it has none at all."""
    return alert_rules.not_loaded(world, wanted_rules(world))


def rules_with_errors(world: World, _: GateWindow | None = None) -> Figure | None:
    """How many of the region's loaded rules failed at their last evaluation; None before the first one of each."""
    return alert_rules.with_errors(world, wanted_rules(world))


def view_missing(world: World) -> list[str]:
    """What keeps dashboard and alerts from being complete, for a wait."""
    return alert_rules.missing(world, wanted_rules(world)) or [f"no data: {text}" for text in without_data(world)[0]]


# The report ------------------------------------------------------------------------------------------------------


def evidence(world: World) -> dict[str, Any]:
    """What OpenCost and the rules say of the region now; None where they say nothing."""
    region = world.target.region
    prices, nodes = node_prices(world), node_facts(world)
    listed, _ = usd_hour(world, nodes)
    return {
        "nodes": len(nodes),
        "nodes_priced_by_opencost": sum(prices.get(node.name, 0) > 0 for node in nodes),
        "usd_hour_opencost": sum(prices[n.name] for n in nodes if n.name in prices) if prices else None,
        "usd_hour": None if listed is None else float(listed),
        "usd_day_total": world.prometheus.value("max(akidb:cost_usd_day:total)"),
        "interruption_rate_24h": world.prometheus.value(f'max(akidb:interruption_rate:24h{{region="{region}"}})'),
        "rules_loaded": rules_not_loaded(world).value == 0,
        "versions": {name: world.settings.version(name) for name in CHARTS},
    }
