"""The predictive-scaling lever: what it owns, what it waits for, and the order of its way back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from functools import partial

from include.clients.kubernetes import DEPLOYMENT
from include.levers import checks, scaling_checks
from include.levers.autoscalers import OWNER, own_scaled_object, scaled_key, scaling_problems
from include.levers.base import OBJECTS, Dollars, ManifestLever
from include.levers.node_costs import node_facts
from include.levers.owned import Item, Report, by_key, identity, read, split
from include.levers.predictive_scaling import figures, preflight, restore
from include.levers.predictive_scaling.figures import World
from include.levers.predictive_scaling.money import replicas_of_week, usd_hours
from include.levers.predictive_scaling.wanted import (
    DEPLOYMENT_NAME,
    MANAGER,
    NAME,
    PREDICTIVE,
    PREDICTOR,
    REACTIVE,
    SLOTS,
    PredictiveSettings,
    has_forecast,
    models_of,
    wanted,
)
from include.levers.probes import Probe
from include.levers.replicas import all_replicas, replicas_missing, restore_replicas
from include.levers.workloads import replicas_of
from include.levers.world import Object, deployments, refusals, unavailable
from include.prices import load_aws_book, usd_month
from include.rollout.lever import Check, Difference, Json, Stage, Target


class PredictiveScaling(ManifestLever[PredictiveSettings]):
    """The predictor, then autoscaling by requests, then the forecast's trigger on top of it.

    ``target.clients`` needs ``kubernetes`` (Cluster), ``prometheus`` (Prometheus), ``aws`` (Aws, for spot prices),
    ``storage`` and ``location`` (of the Airflow Variable ``akidb_models``).
    """

    name = NAME
    manager = MANAGER
    slots = SLOTS
    settings_type = PredictiveSettings

    def facts(self, world: World) -> dict[str, Json]:
        """``replicas`` of each Deployment; None while this lever's autoscaler moves them."""
        scaled = {name for name in world.estate.workloads if own_scaled_object(world, name) is not None}
        found = deployments(world).items()
        return {"replicas": {name: None if name in scaled else replicas_of(deployment) for name, deployment in found}}

    def desired(self, world: World, slot: str, facts: Mapping[str, Json]) -> Sequence[Item]:
        """The predictor's objects, or a ScaledObject for each workload. Without a forecast only the second slot's."""
        del facts
        bodies = wanted(slot, world.estate, world.target.region, world.settings, models_of(world.target))
        return [Item(body, wanted=slot == REACTIVE or world.settings.use_forecast) for body in bodies]

    def since(self, world: World) -> Iterable[Item]:
        """A workload may have come; the other objects are the same for every estate. Names alone: none need stand."""
        return [Item(identity(scaled_key(world.estate, workload))) for workload in world.estate.workloads]

    def probes(self, world: World, slot: str) -> Sequence[Probe]:
        """See :func:`figures.probes`."""
        return figures.probes(slot, world.estate, world.settings)

    def stages(self, world: World, live: Mapping[str, Json]) -> tuple[Stage, ...]:
        """A forecast's trigger that stands already is not taken out on the way."""
        entries = [by_key(live[OBJECTS]).get(scaled_key(world.estate, name)) for name in world.estate.workloads]
        stands = all(entry is not None and has_forecast(entry["ours"]) for entry in entries)
        slots = SLOTS if world.settings.use_forecast else [REACTIVE]
        skipped = stands and world.settings.use_forecast
        return tuple(self.stage(world, slot, live) for slot in slots if not (skipped and slot == REACTIVE))

    def title(self, world: World, slot: str, live: Mapping[str, Json]) -> str:
        """``akidb-rest and akidb-grpc: 2 to 20 replicas each by requests, 280 a second and replica``."""
        del live
        estate, settings, names = world.estate, world.settings, " and ".join(world.estate.workloads)
        if slot == PREDICTOR:
            pods = estate.predictive_scaling.predictor.replicas
            return f"{pods} pods of {settings.predictor_image} serve the forecast"
        if slot == PREDICTIVE:
            return f"{names}: the forecast of the next {settings.lead_minutes} min may add replicas"
        span = f"{settings.min_replicas} to {settings.max_replicas} replicas"
        return f"{names}: {span} each by requests, {estate.qps_per_replica():g} a second and replica"

    def dollars(self, world: World, live: Mapping[str, Json]) -> Dollars:
        """The nodes now, and in proportion to the replicas that the estate's week takes."""
        del live
        book, week = load_aws_book(world.estate), replicas_of_week(world.estate, world.settings)
        replicas, mean = sum(all_replicas(world).values()), Decimal(sum(week)) / len(week)
        hours = usd_hours(book, world.target.region, node_facts(world), replicas, mean)
        before, after = (None if usd is None else usd_month(usd) for usd in hours)
        return Dollars(before, after, f"{book.name} ({book.date})")

    def notes(self, world: World, live: Mapping[str, Json]) -> Sequence[str]:
        """What the week takes, what becomes of the replicas, and how the forecast alone is taken out."""
        week = replicas_of_week(world.estate, world.settings)
        start = ", ".join(f"{name} {count}" for name, count in live["replicas"].items() if count is not None)
        lines = [
            f"the plan's week at demand scale {world.estate.demand_scale():.2f} needs {min(week)} to {max(week)} "
            f"replicas, {Decimal(sum(week)) / len(week):.1f} on average; the cost after is in proportion to them"
        ]
        if not any(node.node_pool for node in node_facts(world)):
            lines.append("no node follows the replicas before day 1: the node group keeps its size")
        if start:
            lines.append(f"the replicas are the autoscaler's from then on; a rollback sets them back: {start}")
        lines += FORECAST_NOTES if world.settings.use_forecast else ()
        return [*lines, *load_aws_book(world.estate).assumptions]

    def apply(self, target: Target, stage: Stage) -> dict[str, Json]:
        """See :class:`include.rollout.lever.Lever`; with the replicas before and after."""
        world = self.world(target)
        with refusals(world):
            before = all_replicas(world)
        return super().apply(target, stage) | {"replicas_before": before}

    def applied(self, world: World, stage: Stage, facts: Mapping[str, Json]) -> dict[str, Json]:
        """The replicas once the stage works."""
        del stage, facts
        return {"replicas_after": all_replicas(world)}

    def settle(self, world: World, stage: Stage) -> None:
        """Wait until the predictor's forecast is seen, or the autoscaling works and its pods are there."""
        if stage.slot == PREDICTOR:
            world.await_all(lambda: predictor_missing(world), f"{DEPLOYMENT_NAME} and its forecast")
        else:
            triggers = 2 if stage.slot == PREDICTIVE else 1
            world.await_all(lambda: scaling_missing(world, triggers), "the autoscaling", world.estate.namespace)

    def evidence_of(self, world: World) -> dict[str, Json]:
        """See :func:`figures.evidence`."""
        return figures.evidence(world)

    def undo(
        self, world: World, snapshot: Mapping[str, Json], objects: Mapping[str, Json], report: Report
    ) -> list[str]:
        """The forecast's trigger goes first, within seconds; then autoscaling and replicas, then the predictor."""
        scaled = {key: was for key, was in objects.items() if split(key)[0] == OWNER}
        rest = {key: was for key, was in objects.items() if key not in scaled}
        steps = restore.take_forecast_out(world, scaled) + self.set_back(world, scaled, report)
        restore.await_no_autoscaler(world, scaled)
        wanted_replicas = restore.replicas_to_restore(world, snapshot, scaled)
        steps += restore_replicas(world, wanted_replicas, partial(restore.requests, world))
        return steps + self.set_back(world, rest, report)

    def left(self, world: World, snapshot: Mapping[str, Json]) -> Sequence[Difference]:
        """Replicas, and autoscalers that still move them."""
        return replicas_missing(world, restore.kept_replicas(snapshot))

    def look(self, world: World) -> list[Check]:
        """In the order in which a person would repair them; of the workloads only where KEDA and they are there."""
        found = checks.several(world, {"KEDA": scaling_checks.keda_serves, "workloads": checks.deployed})
        if all(check.passed for check in found):
            found += checks.several(world, self._of_the_workloads(world.settings))
        return [*found, *checks.several(world, OF_WHAT_IT_RESTS_ON)]

    def _of_the_workloads(self, settings: PredictiveSettings) -> Mapping[str, Callable[[World], Iterator[Check]]]:
        least, most = settings.min_replicas, settings.max_replicas
        return {
            "replicas": lambda world: scaling_checks.replicas_within(world, least, most),
            "rollout": checks.rollouts,
            "quota": lambda world: scaling_checks.quota_for(world, most),
            "autoscalers": scaling_checks.nobody_else_scales,
            "objects' owners": self._owners,
            "manifests accepted": self.dry_run_check,
            "disruption budget": lambda world: scaling_checks.budgets_from(world, least),
        }

    def _owners(self, world: World) -> Iterator[Check]:
        things: dict[str, Object | None] = {f"Deployment {name}": found for name, found in deployments(world).items()}
        items = (item for slot in SLOTS for item in self.desired(world, slot, {}) if item.wanted)
        bodies = {item.key: item.body for item in items}
        things |= {key: read(world, body) for key, body in bodies.items()}
        harm, first = "set its fields and replicas back", "leave them out in {owner}, then"
        yield from checks.owners(world, things, harm, first, bodies)


FORECAST_NOTES = (
    "the forecast only adds: requests decide the least, and without a fresh and sure forecast it adds nothing",
    "to take the forecast's trigger out alone, run this again with use_forecast off: one apply a Deployment, "
    "seconds, and the autoscaling stays",
)
OF_WHAT_IT_RESTS_ON: Mapping[str, Callable[[World], Iterator[Check]]] = {
    "champion": preflight.champion,
    "prices": checks.prices,
    "metrics": preflight.metrics,
    "Prometheus for KEDA": lambda world: scaling_checks.asked_without_login(
        world, world.settings.prometheus_endpoint, world.settings.endpoint_needs_no_login
    ),
}


def predictor_missing(world: World) -> list[str]:
    """What keeps the predictor from being available and its forecast from being seen."""
    found = world.cluster.get(DEPLOYMENT, DEPLOYMENT_NAME, world.estate.namespace)
    if found is None:
        return [f"Deployment {DEPLOYMENT_NAME} does not exist"]
    return unavailable(found) or figures.forecast_missing(world)


def scaling_missing(world: World, triggers: int) -> list[str]:
    """What keeps the autoscaling from working with so many triggers, and the pods from being there."""
    wrong = [line for lines in scaling_problems(world, triggers).values() for line in lines]
    return wrong or [line for found in deployments(world).values() for line in unavailable(found)]
