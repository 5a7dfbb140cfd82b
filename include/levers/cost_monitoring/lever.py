"""The cost-truth lever: OpenCost, Kubecost, then dashboard and alerts; what it owns, and what it waits for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal

from include.clients.kubernetes import DEPLOYMENT, PROMETHEUS_RULE
from include.levers import checks, workloads
from include.levers.alert_rules import MONITORING
from include.levers.base import OBJECTS, Dollars, ManifestLever
from include.levers.cost_monitoring import figures, rules
from include.levers.cost_monitoring.figures import World
from include.levers.cost_monitoring.wanted import (
    CHARTS,
    DASHBOARD,
    KUBECOST,
    MANAGER,
    OPENCOST,
    SLOTS,
    MonitoringSettings,
    wanted,
)
from include.levers.fields import applied_by, owner_of
from include.levers.owned import Item, by_key
from include.levers.probes import Probe
from include.levers.world import Object, unavailable
from include.prices import PlanBook, load_aws_book
from include.rollout.lever import Check, Json, Stage

PLATFORM = "cost_platform"


class CostMonitoring(ManifestLever[MonitoringSettings]):
    """OpenCost, Kubecost, then dashboard and alerts. What somebody else has installed is checked and left alone.

    ``target.clients`` needs ``kubernetes`` (Cluster), ``prometheus`` (Prometheus) and ``aws`` (Aws, for spot prices).
    """

    name = "cost_monitoring"
    manager = MANAGER
    slots = SLOTS
    settings_type = MonitoringSettings

    def facts(self, world: World) -> dict[str, Json]:
        """Whether the cluster serves PrometheusRule, and which Deployments of this name belong to somebody else."""
        found = {name: world.cluster.get(DEPLOYMENT, name, name) for name in CHARTS}
        foreign = [name for name, thing in found.items() if thing is not None and not applied_by(MANAGER, thing)]
        return {"operator": world.cluster.serves(PROMETHEUS_RULE), "foreign": foreign}

    def desired(self, world: World, slot: str, facts: Mapping[str, Json]) -> Sequence[Item]:
        """The objects of a slot; none where somebody else's Deployment stands."""
        return [] if slot in facts["foreign"] else self._items(world, slot, facts["operator"])

    def since(self, world: World) -> Iterable[Item]:
        """Everything, with the operator and without: it may have come or gone in between."""
        return (item for slot in SLOTS for operator in (True, False) for item in self._items(world, slot, operator))

    def _items(self, world: World, slot: str, operator: bool) -> list[Item]:
        bodies = wanted(slot, world.estate, world.target.region, world.settings, operator)
        return [Item(body) for body in bodies]

    def probes(self, world: World, slot: str) -> Sequence[Probe]:
        """See :func:`figures.probes`."""
        return figures.probes(slot, world.estate)

    def title(self, world: World, slot: str, live: Mapping[str, Json]) -> str:
        """``opencost 1.108.1 (opencost-2.5.29) installed``."""
        if slot == DASHBOARD:
            return "dashboard and budget alerts"
        verb = "checked" if slot in live["foreign"] else "installed"
        return f"{slot} {world.settings.version(slot)} ({world.settings.chart(slot)}) {verb}"

    def dollars(self, world: World, live: Mapping[str, Json]) -> Dollars:
        """The region's share of the platform's price, which is a contract's."""
        book, share = PlanBook(), Decimal(len(world.estate.regions))
        cost = (book.component(PLATFORM).week_14 / share).quantize(Decimal("0.01"))
        there = all(entry is not None for entry in by_key(live[OBJECTS]).values())
        return Dollars(cost if there else Decimal(0), cost, f"{book.name} ({book.date})")

    def notes(self, world: World, live: Mapping[str, Json]) -> Sequence[str]:
        """What the price is, what the alerts rest on, and what is left to its owner."""
        platform = PlanBook().component(PLATFORM).week_14
        found = rules.constants(world.estate, load_aws_book(world.estate), world.settings.scrape())
        shown = ", ".join(f"{name} {c.usd_day:.2f} ({c.basis} {c.as_of})" for name, c in sorted(found.items()))
        lines = [
            f"the platform is {platform} USD a month for the estate, shared by {len(world.estate.regions)} regions; it "
            "is a contract's price, not what these pods cost",
            f"in the alerts, USD a day of what has no live series: {shown}",
        ]
        there = "somebody else's Deployment stands there; it is checked and left alone"
        lines += [f"{name}: {there}" for name in live["foreign"]]
        if not live["operator"]:
            lines.append(f"PrometheusRule is not served: the rules go into a ConfigMap in {MONITORING}")
        return lines

    def settle(self, world: World, stage: Stage) -> None:
        """Wait until the Deployment is there, and Prometheus has what the slot's gates look at."""
        slot = stage.slot
        if slot != DASHBOARD:
            world.await_all(lambda: _deployment_missing(world, slot), f"{slot} becoming available", slot)
        world.await_all(lambda: MISSING[slot](world), f"{slot} in Prometheus")

    def applied(self, world: World, stage: Stage, facts: Mapping[str, Json]) -> dict[str, Json]:
        """Whether the slot is somebody else's."""
        del world
        return {"left_to_its_owner": stage.slot in facts["foreign"]}

    def evidence_of(self, world: World) -> dict[str, Json]:
        """See :func:`figures.evidence`."""
        return figures.evidence(world)

    def checks(self) -> Mapping[str, Callable[[World], Iterator[Check]]]:
        """In the order in which a person would repair them."""
        return {
            "installed already": _installed,
            "objects' owners": lambda world: self.owner_checks(world, "undo the change", "remove it in {owner}, or"),
            "manifests accepted": self.dry_run_check,
            "prices": checks.prices,
            "metrics": _metrics,
        }


MISSING = {OPENCOST: figures.prices_missing, KUBECOST: figures.kubecost_missing, DASHBOARD: figures.view_missing}


def _deployment_missing(world: World, name: str) -> list[str]:
    found = world.cluster.get(DEPLOYMENT, name, name)
    called = f"{name}/{name}"
    if found is None:
        return [f"Deployment {called} does not exist"]
    asleep = f"Deployment {called}: 0 of 0 pods of the current template available"
    return unavailable(found, called) if found["spec"].get("replicas", 1) else [asleep]


# Preflight -------------------------------------------------------------------------------------------------------


def _installed(world: World) -> Iterator[Check]:
    for name in CHARTS:
        found = world.cluster.get(DEPLOYMENT, name, name)
        if found is None:
            yield Check(f"{name} installed", True, f"Deployment {name}/{name} is absent and will be made")
        elif found["spec"].get("paused"):
            yield from checks.report(f"{name} installed", workloads.rollout_findings(found), "")
        elif applied_by(MANAGER, found) is not None:
            yield Check(f"{name} installed", True, f"Deployment {name}/{name} is this lever's own")
        else:
            yield _foreign(world, name, found)


def _foreign(world: World, name: str, found: Object) -> Check:
    """A Deployment of somebody else must be the pinned version: its figures are what the estate is judged by."""
    labels = found["metadata"].get("labels") or {}
    pins = {"helm.sh/chart": world.settings.chart(name), "app.kubernetes.io/version": world.settings.version(name)}
    wrong = [f"{key} is {labels.get(key)}, pinned is {want}" for key, want in pins.items() if labels.get(key) != want]
    owner = owner_of(found) or "somebody else"
    if not wrong:
        return Check(f"{name} installed", True, f"{owner}'s Deployment {name}/{name} is {pins['helm.sh/chart']}")
    reason = f"{owner}'s Deployment {name}/{name}: {'; '.join(wrong)}"
    remedy = f"change it in {owner}, or set {name}_chart_version, {name}_version and {name}_image to what it is"
    return Check(f"{name} installed", False, reason, remedy)


def _metrics(world: World) -> Iterator[Check]:
    metrics, region = world.estate.metrics, world.target.region
    ours = world.estate.matchers(region)
    pods = f'namespace="{world.estate.namespace}",region="{region}"'
    selectors = {
        "http_requests": f"{metrics.http_requests}{{{ours}}}",
        "grpc_requests": f"{metrics.grpc_requests}{{{ours}}}",
        "container CPU": f"container_cpu_usage_seconds_total{{{pods}}}",
        "Karpenter": f'up{{job="karpenter",region="{region}"}}',
    }
    yield from checks.series_exist(world, selectors)
