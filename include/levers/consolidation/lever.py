"""The consolidation lever: what it owns, what it waits for, and the order of its way back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

from include.levers import checks, node_checks
from include.levers.base import OBJECTS, Dollars, ManifestLever
from include.levers.consolidation import figures, floor, money, preflight
from include.levers.consolidation.budgets import BudgetWatch
from include.levers.consolidation.emptying import Emptying, cordons_left, lift_cordons
from include.levers.consolidation.pins import Pin, pins
from include.levers.consolidation.reasons import decision_figures
from include.levers.consolidation.rest import await_rest, await_settled
from include.levers.consolidation.settings import (
    BALANCED,
    FLOOR,
    MANAGER,
    NAME,
    POLICIES,
    POOLS,
    SLOTS,
    UNDERUTILIZED,
    ConsolidationSettings,
    World,
)
from include.levers.consolidation.share import has_surplus, restore_spread
from include.levers.consolidation.wanted import PoolPolicy, disruption
from include.levers.nodes import group
from include.levers.owned import Own, Report, Thing, identity, split
from include.levers.probes import Probe
from include.levers.world import refusals
from include.prices import load_aws_book
from include.rollout.export import Export, joined
from include.rollout.lever import Check, Difference, Json, Plan, Stage, Target, Undo

LAST = "last"  # a stage's setting: none comes after it


class Consolidation(ManifestLever[ConsolidationSettings]):
    """Karpenter packs the pools' nodes, carefully at first, then fully; then the floor is right-sized.

    ``target.clients`` needs ``kubernetes`` (Cluster), ``prometheus`` (Prometheus) and ``aws`` (Aws).
    """

    name = NAME
    manager = MANAGER
    slots = SLOTS
    settings_type = ConsolidationSettings
    # What moves the pods goes before what packs them.
    undo_after = ("predictive_scaling", "right_sizing")

    def facts(self, world: World) -> dict[str, Json]:
        """What the floor has to know."""
        return {FLOOR: floor.facts(world)}

    def desired(self, world: World, slot: str, facts: Mapping[str, Json]) -> Sequence[Thing]:
        """How the pools' nodes may be disrupted, and the floor's things. The pins are written and let go in between."""
        if slot == FLOOR:
            return floor.things(world, facts[FLOOR])
        return [*disruption(slot, world.settings), *pins(world)]

    def thing(self, key: str, was: Json) -> Thing:
        """A pin, one of the floor's, or fields of a NodePool."""
        kind, space, name = split(key)
        if kind == "VerticalPodAutoscaler":
            return Pin(name, space or "")
        return floor.thing(key, was) if floor.is_mine(key) else PoolPolicy(identity(key), Own.FIELDS)

    def probes(self, world: World, slot: str) -> Sequence[Probe]:
        """See :func:`figures.probes`."""
        return figures.probes(world, slot)

    def stages(self, world: World, live: Mapping[str, Json]) -> tuple[Stage, ...]:
        """A policy that stands already is not made milder on the way; the last stage lets the recommendations go."""
        slots = [slot for slot in (BALANCED, UNDERUTILIZED) if not (slot == BALANCED and _all_packed(live))]
        if world.settings.right_size_floor and floor.stage_needed(world, live[FLOOR]):
            slots.append(FLOOR)
        return tuple(self.stage(world, slot, live, **{LAST: slot == slots[-1]}) for slot in slots)

    def title(self, world: World, slot: str, live: Mapping[str, Json]) -> str:
        """``akidb-spot and akidb-on-demand: Balanced, a node may be packed 30 s after its last pod``."""
        if slot == FLOOR:
            return floor.title(world, live[FLOOR])
        after = world.settings.consolidate_after_seconds
        return f"{' and '.join(POOLS.names)}: {POLICIES[slot]}, a node may be packed {after} s after its last pod"

    def dollars(self, world: World, live: Mapping[str, Json]) -> Dollars:
        """See :func:`money.predicted`."""
        return money.predicted(world, _evening(world, live))

    def notes(self, world: World, live: Mapping[str, Json]) -> Sequence[str]:
        """What an approver should know besides the differences."""
        settings = world.settings
        lines = [
            f"the cost after is {settings.expected_packing:g} times the cheapest nodes that hold these pods (same "
            "types, domains and zones), and the nodes that are not Karpenter's",
            "neither policy drifts a node: the undo hands the fields back at once, and nodes come as pods ask for them",
        ]
        share = figures.shares(world)["spot_share_pods"]
        if share is not None and settings.most_share_evictions and has_surplus(world):
            lines.append(
                f"{share:.0%} of the pods are on spot: those on demand that the spread would not put there again are "
                "evicted first"
            )
        if evictions := _evening(world, live):
            lines += money.evening_notes(world, evictions)
        if settings.right_size_floor:
            lines += floor.notes(world, live[FLOOR])
        return [*lines, *load_aws_book(world.estate).assumptions]

    def plan(self, target: Target) -> Plan:
        """See :class:`include.rollout.lever.Lever`; the floor's nodes have to grow back, the fields don't."""
        undo, made = Undo.MINUTES if target.settings.right_size_floor else Undo.INSTANT, super().plan(target)
        more = floor.differences(self.world(target), made.live[FLOOR])
        return replace(made, undo=undo, differences=(*made.differences, *more))

    def export(self, target: Target, plan: Plan) -> Export:
        """See :class:`ManifestLever`; with the old group's sizes, which no owned thing gives."""
        return joined([super().export(target, plan), group.export(self.world(target), plan.differences)])

    # A stage -----------------------------------------------------------------------------------------------------

    def apply(self, target: Target, stage: Stage) -> dict[str, Json]:
        """See :class:`include.rollout.lever.Lever`; the disruption budgets are watched from the first write on."""
        world = self.world(target)
        with refusals(world):
            watch, since = BudgetWatch.begin(world), world.now()
            packing = _Packing(world, stage, watch)
            more = self._prepare(world, stage, packing)
        applied = super().apply(target, stage)
        with refusals(world):
            more |= self._finish(world, stage, packing)
            watch.catch_up(world)
            found = decision_figures(world, since)
            now = {**figures.standing(world), **figures.shares(world), "pdb_violations": watch.count}
        seconds = {"started_at": since, "seconds": round(world.now() - since, 1)}
        return {
            **applied,
            **seconds,
            **more,
            **now,
            figures.WATCH: watch.kept(),
            **found,
        }

    def _prepare(self, world: World, stage: Stage, packing: _Packing) -> dict[str, Json]:
        """Hold the recommendations; then the spread over domains, so that what is packed is what shall stand.

        Pods on spot are evened out in the first slot alone, while the nodes still have room for what moves. What it
        costs stands in the plan, and is not what packing has made dearer: the gates compare with the state after it.
        What the careful policy has left is emptied before Karpenter packs fully: one wait for rest then judges both.
        """
        found = figures.standing(world)
        if stage.slot == FLOOR:
            floor.before_apply(world, stage)
        lift_cordons(world)
        held = [pin.name for pin in pins(world) if world.settings.pin_recommendations and pin.write(world)]
        if stage.slot == FLOOR:
            return {"recommendations_held": held, figures.BEFORE: found}
        moved = restore_spread(world, stage.slot == BALANCED and world.settings.even_domains)
        more = {**moved, figures.BEFORE_SPREAD: found} if moved else {}
        # Also after a crash in the middle of it, when no pod is left to move: nodes may be on their way.
        packing.settled()
        before = figures.standing(world)
        if stage.slot == UNDERUTILIZED:
            packing.spares.round()
        return {"recommendations_held": held, **more, figures.BEFORE: before}

    def _finish(self, world: World, stage: Stage, packing: _Packing) -> dict[str, Json]:
        """Wait until the nodes are at rest; the last stage lets the recommendations go."""
        more = floor.settle(world, stage) if stage.slot == FLOOR else {}
        settle = packing.rest()
        if stage.slot == UNDERUTILIZED:
            while packing.spares.round():
                packing.rest()
            more |= packing.spares.figures()
        if stage.settings.get(LAST):
            for pin in pins(world):
                pin.restore(world, None, [])
        return {**more, "settle_seconds": round(settle, 1)}

    def evidence_of(self, world: World) -> dict[str, Json]:
        """See :func:`figures.evidence`."""
        return figures.evidence(world)

    # Back --------------------------------------------------------------------------------------------------------

    def undo(
        self, world: World, snapshot: Mapping[str, Json], objects: Mapping[str, Json], report: Report
    ) -> list[str]:
        """The policy first: nothing is packed from then on. Then the floor grows back, then the pins are let go."""
        mine = {key: was for key, was in objects.items() if floor.is_mine(key)}
        pools = {key: was for key, was in objects.items() if split(key)[0] == "NodePool"}
        rest = {key: was for key, was in objects.items() if key not in mine and key not in pools}
        steps = self.set_back(world, pools, report)
        steps += lift_cordons(world)
        steps += floor.undo(world, snapshot, mine, report)
        return steps + self.set_back(world, rest, report)

    def left(self, world: World, snapshot: Mapping[str, Json]) -> Sequence[Difference]:
        """What of the floor has not come back, and cordons on the pools' nodes."""
        cordons = [Difference(f"Node/{name} cordon", MANAGER, None) for name in cordons_left(world)]
        return [*cordons, *floor.left(world, snapshot)]

    # Checks ------------------------------------------------------------------------------------------------------

    def look(self, world: World) -> list[Check]:
        """In the order in which a person would repair them."""
        served = {"Karpenter's definitions": node_checks.definitions, "pools": preflight.of_the_pools}
        found = checks.several(world, {**served, "workloads": checks.deployed})
        if all(check.passed for check in found):
            found += checks.several(world, preflight.of_the_workloads(world.settings))
            found += checks.several(world, self._of_what_it_writes())
            found += checks.several(world, preflight.OF_THE_NODES)
        return [*found, *checks.several(world, preflight.OF_WHAT_IT_RESTS_ON)]

    def _of_what_it_writes(self) -> Mapping[str, Callable[[World], Iterator[Check]]]:
        return {"objects' owners": self._owners, "manifests accepted": self.dry_run_check}

    def _owners(self, world: World) -> Iterator[Check]:
        yield from self.owner_checks(world, "undo the change", "make the change in {owner}, or")


class _Packing:
    """What a stage waits for, and the spare nodes that it empties; budgets are looked at meanwhile."""

    def __init__(self, world: World, stage: Stage, watch: BudgetWatch) -> None:
        self._world, self._slot, self._look = world, stage.slot, lambda: watch.look(world)
        self.spares = Emptying(world, self.settled)

    def rest(self) -> float:
        """Wait until the nodes are at rest; seconds."""
        return await_rest(self._world, self._slot, self._look)

    def settled(self) -> float:
        """Wait until nothing is on its way; seconds."""
        return await_settled(self._world, self._look)


def _evening(world: World, live: Mapping[str, Json]) -> int:
    """How many pods a run evicts at most to even out all domains: in its slot ``balanced``, which it may not have."""
    return world.settings.most_share_evictions if world.settings.even_domains and not _all_packed(live) else 0


def _all_packed(live: Mapping[str, Json]) -> bool:
    return all(_is_packed(entry) for entry in live[OBJECTS] if split(entry["key"])[0] == "NodePool")


def _is_packed(entry: Mapping[str, Json]) -> bool:
    """Whether a pool has the last policy already."""
    fields = (entry["was"] or {}).get("fields") or []
    return any(
        field["path"][-1] == "consolidationPolicy" and field["was"] == POLICIES[UNDERUTILIZED] for field in fields
    )
