"""A drill as the engine sees it: planned, snapshotted, carried out under the lock, judged, and always set back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from include.clients.kubernetes import KubernetesError
from include.levers import service
from include.levers.base import OBJECTS, Dollars, ManifestLever
from include.levers.game_day.drills import DRILLS, Drill
from include.levers.game_day.settings import MANAGER, NAME, SLOT, DrillName, GameDaySettings, World
from include.levers.game_day.things import Cordon, Outage
from include.levers.game_day.watch import carry_out, look
from include.levers.owned import Report, Thing, split
from include.levers.pods import incomplete
from include.levers.probes import GateWindow, Probe, over_stage
from include.levers.world import standing
from include.rollout.gates import Comparison, Figure, Gate
from include.rollout.lever import Check, Json, Refused, Stage, Target, Undo

SOURCE = "the drill's hypothesis"
ALLOWED = "allowed"


class GameDay(ManifestLever[GameDaySettings]):
    """One drill in one region of an estate that is not production.

    ``target.clients`` needs ``kubernetes``, ``prometheus`` and ``aws``, and ``outages`` where the estate names a hook.
    It has no rollout of its own: the DAG of its name always sets back what it changed, and so does ``rollback``.
    """

    name = NAME
    manager = MANAGER
    slots = (SLOT,)
    settings_type = GameDaySettings
    undo_class = Undo.MINUTES

    def facts(self, world: World) -> dict[str, Json]:
        """What the drill acts on."""
        return drill_of(world).facts(world)

    def facts_for(self, world: World, stage: Stage) -> dict[str, Json]:
        """Those of the plan: the drill itself changes what it reads."""
        del world
        return dict(stage.settings["facts"])

    def desired(self, world: World, slot: str, facts: Mapping[str, Json]) -> Sequence[Thing]:
        """See :class:`ManifestLever`."""
        del slot
        return drill_of(world).things(world, facts)

    def since(self, world: World) -> Iterable[Thing]:
        """See :class:`ManifestLever`. What can't be looked at now keeps nothing from coming back."""
        try:
            return super().since(world)
        except (KubernetesError, Refused):
            return ()

    def thing(self, key: str, was: Json) -> Thing:
        """Cordons and outages besides objects and fields."""
        kind, _, name = split(key)
        if kind in ("Node", "Outage"):
            return Cordon(name) if kind == "Node" else Outage(name)
        return super().thing(key, was)

    def probes(self, world: World, slot: str) -> Sequence[Probe]:
        """The hypothesis, and the service's errors and availability where the drill leaves the metrics alone."""
        del slot
        drill, estate = drill_of(world), world.estate
        served = (service.error_gate(estate), service.availability_gate(estate)) if drill.needs_metrics else ()
        return [*_hypothesis(world, drill), *(over_stage(found.gate, found.measure) for found in served)]

    def stages(self, world: World, live: Mapping[str, Json]) -> tuple[Stage, ...]:
        """One. Raises Refused where no drill is allowed, or this one can't be done."""
        refuse_production(world)
        facts = {key: value for key, value in live.items() if key != OBJECTS}
        problem, remedy = drill_of(world).problem(facts)
        if problem:
            raise Refused(f"{world.place}: {world.settings.drill}: {problem}; {remedy}")
        return (self.stage(world, SLOT, live, facts=facts),)

    def title(self, world: World, slot: str, live: Mapping[str, Json]) -> str:
        """See :class:`ManifestLever`."""
        del slot, live
        return f"drill {world.settings.drill} for {world.settings.fault_seconds} s"

    def dollars(self, world: World, live: Mapping[str, Json]) -> Dollars:
        """Unknown: a drill saves nothing, and what its nodes cost is Karpenter's to decide."""
        del world, live
        return Dollars(None, None, "none")

    def notes(self, world: World, live: Mapping[str, Json]) -> Sequence[str]:
        """Hypothesis, stop condition, and the nodes that are hit."""
        drill, settings = drill_of(world), world.settings
        hits = [f"{s.node} gets its notice after {s.after:g} s: {s.why}" for s in drill.strikes(live)]
        return [
            f"Hypothesis: {drill.hypothesis}",
            f"Stop condition: fewer than {settings.stop_ready_share:.0%} of the pods are ready",
            "Whatever it changes is set back at its end, and by rollback when it is cut short",
            *hits,
        ]

    def checks(self) -> Mapping[str, Any]:
        """See :class:`ManifestLever`."""
        return {"game days": may_drill, "drill": lambda world: drill_of(world).checks(world), "pods": all_is_well}

    def before_apply(self, world: World, stage: Stage) -> None:
        """See :class:`ManifestLever`: the estate's word is asked again before the first write."""
        del stage
        refuse_production(world)

    def applied(self, world: World, stage: Stage, facts: Mapping[str, Json]) -> dict[str, Json]:
        """The timeline: what is written stands meanwhile."""
        del stage
        return carry_out(world, drill_of(world), facts)

    def evidence_of(self, world: World) -> dict[str, Json]:
        """Nodes and pods as they are."""
        return look(world, _ONLY_LOOKS, {}, 0.0).to_json()

    def undo(
        self, world: World, snapshot: Mapping[str, Json], objects: Mapping[str, Json], report: Report
    ) -> list[str]:
        """Set back what was taken, and wait until it works again."""
        del snapshot
        steps = self.set_back(world, objects, report)
        workloads, drill = world.estate.workloads, drill_of(world)

        def left() -> list[str]:
            return [*drill.back(world, list(objects)), *incomplete(standing(world, workloads))]

        world.await_all(left, f"the end of {world.settings.drill}", world.estate.namespace)
        return steps

    def expects(self, target: Target) -> Drill:
        """The drill that a run is about."""
        return drill_of(self.world(target))


_ONLY_LOOKS = DRILLS[DrillName.FORECAST_OUTAGE]  # it has nothing of its own to look at


def drill_of(world: World) -> Drill:
    """The drill of the settings."""
    return DRILLS[world.settings.drill]


def _hypothesis(world: World, drill: Drill) -> Iterator[Probe]:
    settings = world.settings
    held = Gate("least_ready_share", Comparison.AT_LEAST, settings.hold_ready_share, "ratio", 1, SOURCE, safety=True)
    yield Probe(held, lambda _, window: _figure(window, "least_ready_share", "ratio"))
    back = Gate("recovered_seconds", Comparison.AT_MOST, settings.recover_seconds, "s", 1, SOURCE, safety=True)
    yield Probe(back, lambda _, window: _recovered(window))
    if drill.name is DrillName.COST_SPIKE:
        cap = Gate("over_the_cap", Comparison.AT_MOST, 0, "vCPU", 1, "the guard's cap", safety=True)
        yield Probe(cap, lambda _, window: _over_the_cap(window))


def _figure(window: GateWindow, name: str, unit: str) -> Figure | None:
    found, looks = window.applied.get(name), int(window.applied.get("looks") or 0)
    return None if found is None else Figure(float(found), unit, looks, "looks at nodes and pods")


def _recovered(window: GateWindow) -> Figure | None:
    """One that was not well at the last look has taken longer than was watched."""
    figure = _figure(window, "recovered_seconds", "s")
    if figure is None and "watched_seconds" in window.applied:
        return Figure(float("inf"), "s", int(window.applied["looks"]), "looks at nodes and pods", "not well at the end")
    return figure


def _over_the_cap(window: GateWindow) -> Figure | None:
    figure = _figure(window, "measured_max", "vCPU")
    cap = float(window.stage.settings["facts"]["cap"])
    note = None if figure is None else f"{figure.value:g} of {cap:g} vCPU"
    return figure and Figure(max(0.0, figure.value - cap), "vCPU", figure.samples, "Nodes of the pool", note or "")


def refuse_production(world: World) -> None:
    """Raise Refused unless the estate's file says that game days are allowed in it."""
    if world.estate.governance.game_days != ALLOWED:
        raise Refused(
            f"{world.place}: game days are refused in the estate {world.estate.name} (governance.game_days is "
            f"{world.estate.governance.game_days}): drill in the lab, or set it to allowed in the file of an estate "
            "that is not production"
        )


def may_drill(world: World) -> Iterator[Check]:
    """May a drill be done in this estate at all?"""
    refuse_production(world)
    yield Check("game days", True, f"governance.game_days of {world.estate.name} is {ALLOWED}")


def all_is_well(world: World) -> Iterator[Check]:
    """A drill begins where nothing is missing: what comes after could not be told from what was before."""
    found = look(world, _ONLY_LOOKS, {}, 0.0)
    reason = f"{found.ready} of {found.wanted} pods are ready, {found.waiting} wait for a node"
    yield Check("pods", found.well, reason, "let the service settle, then start again")
