"""Alert rules and a dashboard of the edge, which stay after a promotion and go with an undo.

They stand in the canary region's cluster: its Prometheus has the probes', CloudFront's and the devices' series.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal

from include.clients.kubernetes import PROMETHEUS_RULE
from include.levers import alert_rules, checks
from include.levers.base import Dollars, ManifestLever
from include.levers.edge_monitoring import watch
from include.levers.edge_settings import EdgeSettings
from include.levers.owned import Item
from include.levers.probes import Probe, at_once
from include.levers.world import World as AnyWorld
from include.rollout.gates import Comparison, Figure, Gate
from include.rollout.lever import Check, Json, Stage

(WATCH,) = SLOTS = ("watch",)


class WatchSettings(EdgeSettings):
    """Everything that is watched is the estate's to say."""


World = AnyWorld[WatchSettings]


class EdgeMonitoring(ManifestLever[WatchSettings]):
    """Rules and dashboard of the edge. ``target.clients`` needs ``kubernetes`` (Cluster) and ``prometheus``."""

    name, manager, slots, settings_type = "edge_monitoring", watch.MANAGER, SLOTS, WatchSettings
    needs = frozenset({"kubernetes", "prometheus"})
    undo_after = ("cost_monitoring",)  # which keeps its own dashboard in the same Namespace

    def facts(self, world: World) -> dict[str, Json]:
        """Whether the cluster serves PrometheusRule."""
        return {"operator": world.cluster.serves(PROMETHEUS_RULE)}

    def desired(self, world: World, slot: str, facts: Mapping[str, Json]) -> Sequence[Item]:
        """The objects, in the canary region alone."""
        del slot
        return _items(world, facts["operator"]) if _is_here(world) else []

    def since(self, world: World) -> Iterable[Item]:
        """Everything, with the operator and without, wherever the canary is by now."""
        return [item for operator in (True, False) for item in _items(world, operator)]

    def stages(self, world: World, live: Mapping[str, Json]) -> tuple[Stage, ...]:
        """None in any other region."""
        return super().stages(world, live) if _is_here(world) else ()

    def title(self, world: World, slot: str, live: Mapping[str, Json]) -> str:
        """What a person reads."""
        del slot, live
        count = sum("alert" in rule for rule in watch.rules(world.estate))
        return f"{count} alerts and {len(watch.panels(world.estate))} panels of the edge"

    def probes(self, world: World, slot: str) -> Sequence[Probe]:
        """Every rule is loaded and evaluates, every panel has data."""
        del world, slot

        def none_of(name: str, unit: str, source: str) -> Gate:
            return Gate(name, Comparison.AT_MOST, 0, unit, 1, source)

        return [
            at_once(none_of("edge_rules_not_loaded", "rules", "every rule must be loaded"), _not_loaded),
            at_once(none_of("edge_rules_with_errors", "rules", "every rule must evaluate"), _with_errors),
            at_once(none_of("edge_panels_without_data", "panels", "every panel must show data"), _without_data),
        ]

    def dollars(self, world: World, live: Mapping[str, Json]) -> Dollars:
        """Rules and a dashboard cost nothing."""
        del world, live
        return Dollars(Decimal(0), Decimal(0), "none: rules and a dashboard")

    def notes(self, world: World, live: Mapping[str, Json]) -> Sequence[str]:
        """Where it stands, and where a person finds what to do."""
        del live
        if not _is_here(world):
            return (f"nothing to do: the edge is watched in {world.estate.canary_region}",)
        return ("what to do about each alert: docs/how-to/edge_alerts.md",)

    def settle(self, world: World, stage: Stage) -> None:
        """Wait until the rules work and the panels have data."""
        del stage
        wanted = _rules(world)
        world.await_all(lambda: alert_rules.missing(world, wanted) or _empty(world), "the edge's rules in Prometheus")

    def evidence_of(self, world: World) -> dict[str, Json]:
        """How many of the rules are loaded."""
        wanted = _rules(world)
        return {"rules": len(wanted) - int(_not_loaded(world).value) if _is_here(world) else 0}

    def checks(self) -> Mapping[str, Callable[[World], Iterator[Check]]]:
        """In the order in which a person would repair them."""
        return {
            "objects' owners": lambda world: self.owner_checks(world, "undo the change", "remove it in {owner}, or"),
            "manifests accepted": self.dry_run_check,
            "series of the edge": _series,
        }


def _is_here(world: World) -> bool:
    return world.target.region == world.estate.canary_region


def _items(world: World, operator: bool) -> list[Item]:
    return [Item(body) for body in watch.wanted(world.estate, operator)]


def _rules(world: World) -> list[tuple[str, str]]:
    return alert_rules.names(watch.groups(world.estate))


def _not_loaded(world: World) -> Figure:
    return alert_rules.not_loaded(world, _rules(world))


def _with_errors(world: World) -> Figure | None:
    return alert_rules.with_errors(world, _rules(world))


def _empty(world: World) -> list[str]:
    """The panels' queries that give nothing."""
    every = [(panel.title, query) for panel in watch.panels(world.estate) for query in panel.queries]
    found = {(title, query.legend): world.prometheus.query(query.expression) for title, query in every}
    return [
        f"no data: {title}: {legend}"
        for (title, legend), samples in found.items()
        if not any(math.isfinite(sample.value) for sample in samples)
    ]


def _without_data(world: World) -> Figure:
    """Panels that show nothing: zero, or not a number, since a series that is late says nothing about the panel."""
    empty, count = _empty(world), len(watch.panels(world.estate))
    if empty:
        return Figure(math.nan, "panels", 0, "Prometheus, each panel's query", "; ".join(empty))
    return Figure(0, "panels", count, "Prometheus, each panel's query")


def _series(world: World) -> Iterator[Check]:
    if not _is_here(world):
        yield Check("series of the edge", True, f"not needed here: {world.estate.canary_region} watches the edge")
        return
    latency = world.estate.edge.latency
    named = {
        "probes": latency.probe_metric,
        "cache hit rate": latency.cache_hit_metric,
        "device watts": world.estate.cost.devices.power_metric,
    }
    yield from checks.series_exist(world, named)
