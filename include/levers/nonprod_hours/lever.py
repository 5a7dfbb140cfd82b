"""A namespace to zero and back: what runs in it is taken over by its fields, and handed back with values and owners."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from include.clients.kubernetes import DISRUPTION_BUDGET, KINDS, NAMESPACE, SCALED_OBJECT
from include.levers.base import Dollars, ManifestLever
from include.levers.node_costs import NodeFact
from include.levers.nonprod_hours import state
from include.levers.nonprod_hours.decide import opted_out
from include.levers.nonprod_hours.wanted import (
    ASLEEP,
    MANAGER,
    NonprodSettings,
    NonprodWorld,
    all_of,
    items,
    namespace_of,
)
from include.levers.owned import Report, Thing, identity, read_key, split
from include.levers.pods import replicas_of
from include.levers.probes import Probe
from include.levers.world import readable
from include.rollout.lever import Check, Difference, Json, Refused, Stage, Target, Undo, kept

SLOT = "asleep"
HARM = "set it back while its namespace sleeps"
FIRST = "have {owner} ignore spec.replicas, spec.suspend and KEDA's annotation there, then"


class NonprodHours(ManifestLever[NonprodSettings]):
    """One namespace: CronJobs suspended, ScaledObjects paused, Deployments and StatefulSets without pods.

    It has no rollout of its own: ``nonprod_hours`` applies it by the calendar and wakes by its undo.
    """

    name = "nonprod_hours"
    manager = MANAGER
    slots = (SLOT,)
    settings_type = NonprodSettings
    needs = frozenset({"kubernetes", "aws"})
    undo_class = Undo.MINUTES

    def facts(self, world: NonprodWorld) -> dict[str, Json]:
        """What sleeps, the replicas of what an autoscaler moves, what was not ready before, and the nodes below it."""
        found = namespace_of(world)
        live = {key: read_key(world, key) for key in found.scaled}
        return {
            "asleep": found.asleep,
            "scaled": {key: replicas_of(thing) for key, thing in live.items() if thing},
            "left": found.left,
            "unready": [line.partition(":")[0] for line in state.unready(world, found.asleep)],
            "nodes": state.nodes_of(world, found.asleep),
        }

    def desired(self, world: NonprodWorld, slot: str, facts: Mapping[str, Json]) -> Sequence[Thing]:
        """See :class:`ManifestLever`."""
        del world, slot
        return list(items(facts["asleep"], list(facts["scaled"])))

    def since(self, world: NonprodWorld) -> Iterable[Thing]:
        """What the lever holds of the namespace by now, whether or not it would be put to sleep again."""
        for kind in ASLEEP:
            yield from items([f"{kind} {_path(found)}" for found in all_of(world, KINDS[kind])], ())

    def probes(self, world: NonprodWorld, slot: str) -> Sequence[Probe]:
        """None: what sleeps serves nobody."""
        del world, slot
        return ()

    def stages(self, world: NonprodWorld, live: Mapping[str, Json]) -> tuple[Stage, ...]:
        """One, where there is something to put to sleep."""
        chosen = {"asleep": live["asleep"]}
        return (self.stage(world, SLOT, live, **chosen),) if live["asleep"] else ()

    def facts_for(self, world: NonprodWorld, stage: Stage) -> dict[str, Json]:
        """Only what the plan names: what came after the snapshot has no origin there, and stays."""
        facts = self.facts(world)
        return facts | {"asleep": [key for key in facts["asleep"] if key in stage.settings["asleep"]]}

    def title(self, world: NonprodWorld, slot: str, live: Mapping[str, Json]) -> str:
        """See :class:`ManifestLever`."""
        del slot
        return f"namespace {world.settings.namespace} sleeps: {len(live['asleep'])} objects"

    def dollars(self, world: NonprodWorld, live: Mapping[str, Json]) -> Dollars:
        """Unknown: which nodes go is Karpenter's to decide, and is measured once they have gone."""
        del world, live
        return Dollars(None, None, "none")

    def evidence_of(self, world: NonprodWorld) -> dict[str, Json]:
        """See :class:`ManifestLever`."""
        return state.figures(world)

    def notes(self, world: NonprodWorld, live: Mapping[str, Json]) -> Sequence[str]:
        """See :class:`ManifestLever`."""
        del world
        left = [f"{key} is left as it is: {reason}" for key, reason in live["left"].items()]
        return [*left, "PodDisruptionBudgets hold no scale-down back: nothing is evicted, replicas are taken away"]

    def checks(self) -> Mapping[str, Any]:
        """See :class:`ManifestLever`."""
        return {
            "namespace": may_sleep,
            "objects' owners": partial(self.owner_checks, harm=HARM, first=FIRST),
            "disruption budgets": budgets,
            "manifests accepted": self.dry_run_check,
        }

    # Going to sleep ----------------------------------------------------------------------------------------------

    def before_apply(self, world: NonprodWorld, stage: Stage) -> None:
        """Have KEDA pause before anything goes to zero: it would scale up again what it scales."""
        refuse_production(world)
        facts = self.facts_for(world, stage)
        scalers = [key for key in facts["asleep"] if split(key)[0] == SCALED_OBJECT.name]
        for item in items(scalers, ()):
            item.write(world)
        if scalers:
            world.await_all(lambda: state.unpaused(world, scalers), "pausing KEDA", world.settings.namespace)

    def settle(self, world: NonprodWorld, stage: Stage) -> None:
        """Wait until no pod of what sleeps is left."""
        keys = self.facts_for(world, stage)["asleep"]

        def left() -> list[str]:
            return [f"pod {pod['metadata']['name']} still runs" for pod in state.pods_of(world, keys)]

        world.await_all(left, f"sleep of {world.settings.namespace}", world.settings.namespace)

    def applied(self, world: NonprodWorld, stage: Stage, facts: Mapping[str, Json]) -> dict[str, Json]:
        """The nodes that had these pods: which have gone, what they cost an hour, and which still stand."""
        del stage
        nodes, end = facts["nodes"], world.now() + world.settings.nodes_wait_seconds
        while (left := state.left_of(world, nodes)) and world.now() < end:
            world.sleep(5.0)
        gone = [NodeFact(**node) for name, node in nodes.items() if name not in left]
        after = state.figures(world)
        return {
            "namespace": world.settings.namespace,
            "asleep": facts["asleep"],
            "nodes_gone": sorted(node.name for node in gone),
            "nodes_left": left,
            "usd_hour_gone": state.usd_of(world, gone),
            "nodes_after": after["nodes"],
            "usd_hour_after": after["usd_hour"],
        }

    # Waking ------------------------------------------------------------------------------------------------------

    def undo(
        self, world: NonprodWorld, snapshot: Mapping[str, Json], objects: Mapping[str, Json], report: Report
    ) -> list[str]:
        """Replicas, then the autoscalers, then the CronJobs; returns once the pods are ready as before."""
        grown = list(self._grow(world, kept(snapshot, "scaled"), objects))
        steps = [*grown, *self.set_back(world, objects, report)]
        was_unready = kept(snapshot, "unready")
        keys = [key for key in kept(snapshot, "asleep") if key not in was_unready]
        world.await_all(
            lambda: state.unready(world, keys), f"waking {world.settings.namespace}", world.settings.namespace
        )
        return [*steps, *(f"{key} was not ready before its sleep: not waited for" for key in was_unready if steps)]

    def _grow(self, world: NonprodWorld, scaled: Mapping[str, int], objects: Mapping[str, Json]) -> Iterator[str]:
        """Give what an autoscaler moves its replicas again: at zero none of them would begin."""
        for item in items([key for key in scaled if key in objects], ()):
            live, replicas = read_key(world, item.key), scaled[item.key]
            if live is not None and replicas_of(live) and not _holds(world, live):
                yield f"{item.key} stays at {replicas_of(live)} replicas: it is not held any more"
            if live is None or replicas_of(live) or not _holds(world, live):
                continue
            world.target.fence()
            body = {**identity(item.key), "spec": {"replicas": replicas}}
            world.cluster.apply(body, world.manager, force=True)
            yield f"{item.key} {replicas} replicas, from where its autoscaler goes on"

    def verify_restored(self, target: Target, snapshot: Mapping[str, Json]) -> list[Difference]:
        """See :class:`include.rollout.lever.Lever`. What an autoscaler has moved since it woke is no difference."""
        moved = {f"{key} spec.replicas" for key in kept(snapshot, "scaled")}
        found = super().verify_restored(target, snapshot)
        return [difference for difference in found if difference.path not in moved or not difference.before]


def _holds(world: NonprodWorld, live: Json) -> bool:
    item = next(items([f"{live['kind']} {_path(live)}"], ()))
    return bool(item.unnamed(world))


def _path(thing: Json) -> str:
    return f"{thing['metadata']['namespace']}/{thing['metadata']['name']}"


def refuse_production(world: NonprodWorld) -> None:
    """Raise Refused for the estate's own namespace and the cluster's."""
    space = world.settings.namespace
    if space == world.estate.namespace or space.startswith("kube-"):
        what = "production" if space == world.estate.namespace else "the cluster's own"
        raise Refused(f"{world.place}: namespace {space} is {what}: it never sleeps; take it out of nonprod.namespaces")


def may_sleep(world: NonprodWorld) -> Iterator[Check]:
    """Does the namespace exist, may it sleep, and is it not production?"""
    refuse_production(world)
    space = world.settings.namespace
    live = world.cluster.get(NAMESPACE, space)
    if live is None:
        yield Check(
            "namespace", False, f"namespace {space} does not exist", "correct nonprod.namespaces in estate.yaml"
        )
    elif label := opted_out(live):
        yield Check("namespace", False, f"namespace {space} stays awake: {label}", "take the label off")
    else:
        yield Check("namespace", True, f"namespace {space} exists and is not production")


def budgets(world: NonprodWorld) -> Iterator[Check]:
    """PodDisruptionBudgets, which a scale-down does not ask."""
    found = readable(lambda: all_of(world, DISRUPTION_BUDGET))
    count = "can't be read" if found is None else f"{len(found)} found"
    yield Check("disruption budgets", True, f"{count}: they hold evictions back, not a scale-down")
