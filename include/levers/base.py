"""A lever out of what it owns: live state, plan, snapshot, apply, evidence and undo are written here, once.

A lever says what it wants in each slot (:meth:`ManifestLever.desired`), by which gates it is judged
(:meth:`ManifestLever.probes`), what it costs and what a person should know. What is not declarative has a method of
its own that does nothing here: waiting, a drill, a drain, a longer way back.
"""

from __future__ import annotations

import abc
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Generic

from include.levers import checks
from include.levers.namespaces import held_by_others
from include.levers.owned import Item, Own, Report, Thing, await_gone, by_key, identity, listed, read
from include.levers.probes import Probe, measured
from include.levers.world import Object, Settings, World, name_of, refusals
from include.rollout.export import Export, joined
from include.rollout.gates import Figure
from include.rollout.lever import Check, Difference, Json, Plan, Restored, Stage, Target, Undo, kept
from include.rollout.place import PlaceKind

OBJECTS = "objects"  # the part of a snapshot that holds the owned things
NOTHING_WRITTEN = "nothing was written, nothing is to be undone"
CheckOf = Callable[[World[Settings]], Iterator[Check]]


@dataclass(frozen=True)
class Dollars:
    """Predicted USD a month, None where a price is not known, and the price book that they come from."""

    before: Decimal | None
    after: Decimal | None
    book: str


class ManifestLever(abc.ABC, Generic[Settings]):
    """One change to one part of the estate, as :class:`include.rollout.lever.Lever` wants it.

    ``manager`` is the field manager of everything that it writes in a cluster. ``facts`` in the methods below are the
    parts of the live state that are no owned things (:meth:`facts`): read once, kept in the snapshot beside them.
    """

    name: str
    manager: str = ""
    slots: Sequence[str]
    settings_type: type[Any]
    acts_in: PlaceKind = PlaceKind.REGION
    needs: frozenset[str] = frozenset({"kubernetes", "prometheus", "aws"})  # of ``target.clients``
    undo_after: tuple[str, ...] = ()
    undo_class: Undo = Undo.MINUTES
    # The check without which no other is made, with its name.
    first_check: tuple[str, Callable[[Any], Iterator[Check]]] = ("cluster reachable", checks.reachable)

    def __init__(self, now: Callable[[], float] = time.time, sleep: Callable[[float], None] = time.sleep) -> None:
        self._now, self._sleep = now, sleep

    # What a lever gives ----------------------------------------------------------------------------------------

    @abc.abstractmethod
    def desired(self, world: World[Settings], slot: str, facts: Mapping[str, Json]) -> Sequence[Thing]:
        """What the lever owns in a slot, in the order in which it is made; no write, no clock.

        The same things whatever the settings: what this run does not write has ``wanted=False``, so that a later run
        of the lever is undone from this one's snapshot too. A thing of two slots is wanted as the later one has it.
        """

    @abc.abstractmethod
    def probes(self, world: World[Settings], slot: str) -> Sequence[Probe]:
        """The gates of a slot with their measures."""

    @abc.abstractmethod
    def title(self, world: World[Settings], slot: str, live: Mapping[str, Json]) -> str:
        """What a person reads of a slot's stage."""

    @abc.abstractmethod
    def dollars(self, world: World[Settings], live: Mapping[str, Json]) -> Dollars:
        """What the part of the estate costs now and after."""

    @abc.abstractmethod
    def evidence_of(self, world: World[Settings]) -> dict[str, Json]:
        """Figures of the live world for the report's before/after columns."""

    def facts(self, world: World[Settings]) -> dict[str, Json]:
        """What the live state holds besides the owned things."""
        del world
        return {}

    def notes(self, world: World[Settings], live: Mapping[str, Json]) -> Sequence[str]:
        """What an approver should know besides the differences."""
        del world, live
        return ()

    def checks(self) -> Mapping[str, CheckOf[Settings]]:
        """The preflight checks by the name that one has when it can't be made."""
        return {}

    # What is not declarative -------------------------------------------------------------------------------------

    def stages(self, world: World[Settings], live: Mapping[str, Json]) -> tuple[Stage, ...]:
        """The stages of a run: here every slot, since what stands already is looked at again by its gates."""
        return tuple(self.stage(world, slot, live) for slot in self.slots)

    def before_apply(self, world: World[Settings], stage: Stage) -> None:
        """Whatever comes before the first write of a stage; raises Refused to stop it."""

    def facts_for(self, world: World[Settings], stage: Stage) -> dict[str, Json]:
        """The facts by which a stage is written; here the live ones, whatever has come since the plan."""
        del stage
        return self.facts(world)

    def settle(self, world: World[Settings], stage: Stage) -> None:
        """Wait until what a stage wrote works; raises NotConverged."""

    def applied(self, world: World[Settings], stage: Stage, facts: Mapping[str, Json]) -> dict[str, Json]:
        """More of a stage for the ledger than its time and the number of things written."""
        del world, stage, facts
        return {}

    def since(self, world: World[Settings]) -> Iterable[Thing]:
        """What a run that resumed the snapshot's may have made without its being named there."""
        return self.everything(world, self.facts(world))

    def thing(self, key: str, was: Json) -> Thing:
        """The owned thing that a snapshot calls ``key``; ``was`` is its entry."""
        return Item(identity(key), Own(was.get("own", Own.OBJECT)) if was else Own.OBJECT)

    def undo(
        self, world: World[Settings], snapshot: Mapping[str, Json], objects: Mapping[str, Json], report: Report
    ) -> list[str]:
        """Set everything back; returns what was done. Here: the owned things, the last made first."""
        del snapshot
        return self.set_back(world, objects, report)

    def left(self, world: World[Settings], snapshot: Mapping[str, Json]) -> Sequence[Difference]:
        """What would have to be set back besides the owned things."""
        del world, snapshot
        return ()

    # The contract, written once ----------------------------------------------------------------------------------

    def preflight(self, target: Target) -> list[Check]:
        """See :class:`include.rollout.lever.Lever`."""
        world = checks.once(self.world(target))
        name, reachable = self.first_check
        reached = checks.guarded(name, world, reachable)
        return reached if not all(check.passed for check in reached) else [*reached, *self.look(world)]

    def look(self, world: World[Settings]) -> list[Check]:
        """The checks of a place that answers."""
        return checks.several(world, self.checks())

    def plan(self, target: Target) -> Plan:
        """See :class:`include.rollout.lever.Lever`."""
        world = self.world(target)
        with refusals(world):
            live = self.read(world)
            dollars, entries = self.dollars(world, live), by_key(live[OBJECTS])
            things = [thing for thing in self.everything(world, live) if thing.wanted]
            return Plan(
                lever=self.name,
                place=target.place.name,
                live=live,
                differences=tuple(d for thing in things for d in thing.differences(entries[thing.key])),
                stages=self.stages(world, live),
                usd_month_before=dollars.before,
                usd_month_after=dollars.after,
                price_book=dollars.book,
                undo=self.undo_class,
                notes=tuple(self.notes(world, live)),
            )

    def snapshot(self, target: Target) -> dict[str, Json]:
        """See :class:`include.rollout.lever.Lever`."""
        world = self.world(target)
        with refusals(world):
            return self.read(world)

    def apply(self, target: Target, stage: Stage) -> dict[str, Json]:
        """See :class:`include.rollout.lever.Lever`."""
        world = self.world(target)
        started = world.now()
        with refusals(world):
            self.before_apply(world, stage)
            facts = self.facts_for(world, stage)
            wanted = [thing for thing in self.desired(world, stage.slot, facts) if thing.wanted]
            for thing in wanted:
                thing.write(world)
            self.settle(world, stage)
            more = self.applied(world, stage, facts)
        seconds = round(world.now() - started, 1)
        return {"started_at": started, "seconds": seconds, OBJECTS: len(wanted)} | more

    def observe(
        self, target: Target, stage: Stage, window_seconds: int, applied: Mapping[str, Json]
    ) -> dict[str, Figure | None]:
        """See :class:`include.rollout.lever.Lever`."""
        world = self.world(target)
        return measured(world, self.probes(world, stage.slot), stage, window_seconds, applied)

    def evidence(self, target: Target) -> dict[str, Json]:
        """See :class:`include.rollout.lever.Lever`."""
        return self.evidence_of(self.world(target))

    def rollback(self, target: Target, snapshot: Mapping[str, Json]) -> Restored:
        """See :class:`include.rollout.lever.Lever`."""
        world = self.world(target)
        others: Report = []
        with refusals(world):
            steps = self.undo(world, snapshot, self.to_restore(world, snapshot), others)
        return Restored(tuple(steps) or (NOTHING_WRITTEN,), tuple(others))

    def verify_restored(self, target: Target, snapshot: Mapping[str, Json]) -> list[Difference]:
        """See :class:`include.rollout.lever.Lever`."""
        world = self.world(target)
        objects = self.to_restore(world, snapshot)
        found = [d for key, was in objects.items() for d in self.thing(key, was).unrestored(world, was)]
        return [*found, *self.left(world, snapshot)]

    def export(self, target: Target, plan: Plan) -> Export:
        """See :func:`include.rollout.export.export_of`: all that a run writes, as it is after the last slot."""
        world, entries = self.world(target), by_key(plan.live[OBJECTS])
        with refusals(world):
            things = [thing for thing in self.everything(world, plan.live) if thing.wanted]
            return joined(thing.export(world, entries.get(thing.key)) for thing in things)

    # What it is made of ------------------------------------------------------------------------------------------

    def world(self, target: Target) -> World[Settings]:
        """The target with its clients typed, for this lever's field manager."""
        return World(target, self._now, self.manager, self._sleep)

    def stage(self, world: World[Settings], slot: str, live: Mapping[str, Json], **settings: Json) -> Stage:
        """The stage of a slot, with the gates of its probes."""
        gates = tuple(probe.gate for probe in self.probes(world, slot))
        return Stage(slot, self.title(world, slot, live), gates, settings)

    def everything(self, world: World[Settings], facts: Mapping[str, Json]) -> list[Thing]:
        """All that the lever owns, as it is after the last slot, in the order in which it is made."""
        found: dict[str, Thing] = {}
        for slot in self.slots:
            for thing in self.desired(world, slot, facts):
                if thing.wanted or thing.key not in found:
                    found[thing.key] = thing
        return list(found.values())

    def read(self, world: World[Settings]) -> dict[str, Json]:
        """The live state of everything that the lever may write, JSON: also what a snapshot keeps."""
        facts = self.facts(world)
        entries = {thing.key: thing.entry(world) for thing in self.everything(world, facts)}
        return {**facts, OBJECTS: listed(entries)}

    def to_restore(self, world: World[Settings], snapshot: Mapping[str, Json]) -> dict[str, Json]:
        """The snapshot's things by key, and those that were made since and that it does not name."""
        objects = by_key(kept(snapshot, OBJECTS))
        unnamed = {t.key: found[0] for t in self.since(world) if t.key not in objects and (found := t.unnamed(world))}
        return {**objects, **unnamed}

    def set_back(self, world: World[Settings], objects: Mapping[str, Json], report: Report) -> list[str]:
        """Set owned things back, the last made first, and wait until what was deleted is gone."""
        steps, deleted = [], []

        def held(found: Object) -> Sequence[str]:
            is_space = found["kind"] == "Namespace"
            return held_by_others(world, world.manager, name_of(found), objects) if is_space else []

        for key in reversed(list(objects)):
            world.target.fence()
            done = self.thing(key, objects[key]).restore(world, objects[key], report, held)
            if done:
                steps.append(f"{key} {done}")
            if done == "deleted":
                deleted.append(key)
        await_gone(world, deleted)
        return steps

    def owner_checks(self, world: World[Settings], harm: str, first: str) -> Iterator[Check]:
        """Nobody whom the estate does not name may manage what the lever writes; see :func:`checks.owners`."""
        items = [thing for thing in self.everything(world, self.facts(world)) if isinstance(thing, Item)]
        items = [item for item in items if item.wanted and item.body["kind"] != "Namespace"]
        bodies = {item.key: item.body for item in items}
        live = {key: read(world, body) for key, body in bodies.items()}
        yield from checks.owners(world, live, harm, first, bodies)

    def dry_run_check(self, world: World[Settings]) -> Iterator[Check]:
        """Does the API server accept what the lever would write?"""
        things = [thing for thing in self.everything(world, self.facts(world)) if thing.wanted]
        tried = ", ".join(thing.key for thing in things if thing.write(world, dry_run=True)) or "nothing to write"
        yield Check("manifests accepted", True, f"the API server's dry run accepts {tried}")
