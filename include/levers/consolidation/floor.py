"""The floor right-sized: the seam that the lever calls, which does nothing yet."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal

from include.levers.base import CheckOf
from include.levers.consolidation.settings import ConsolidationSettings, World
from include.levers.node_costs import NodeFact
from include.levers.owned import Item, Report, Thing, identity
from include.levers.probes import Probe
from include.rollout.lever import Check, Difference, Json, Refused, Stage


def facts(world: World) -> dict[str, Json]:
    """What plan and snapshot keep of the floor."""
    del world
    return {}


def things(world: World, found: Mapping[str, Json]) -> Sequence[Thing]:
    """The owned things of the slot."""
    del world, found
    return ()


def thing(key: str, was: Json) -> Thing:
    """The owned thing of a snapshot."""
    del was
    return Item(identity(key))


def is_mine(key: str) -> bool:
    """Whether a thing of a snapshot is the floor's."""
    del key
    return False


def is_floor(node: NodeFact) -> bool:
    """Whether a node is one of the small group."""
    del node
    return False


def stage_needed(world: World, found: Mapping[str, Json]) -> bool:
    """Whether the floor is not of the right size yet."""
    del world, found
    return False


def title(world: World, found: Mapping[str, Json]) -> str:
    """What a person reads of the stage."""
    del world, found
    return "the floor right-sized"


def before_apply(world: World, stage: Stage) -> None:
    """Raises Refused before anything is written."""
    raise Refused(f"{world.place}: {stage.slot} can't be applied by this release")


def settle(world: World, stage: Stage) -> dict[str, Json]:
    """Move the pods and wait; figures for the ledger."""
    del world, stage
    return {}


def probes(world: World) -> Sequence[Probe]:
    """Gates beyond the lever's own."""
    del world
    return ()


def usd_hour_after(world: World) -> Decimal | None:
    """USD an hour of the floor after the slot."""
    del world
    return None


def notes(world: World, found: Mapping[str, Json]) -> Sequence[str]:
    """What an approver should know."""
    del world, found
    return ()


def checks() -> Mapping[str, CheckOf[ConsolidationSettings]]:
    """The floor's preflight checks."""
    return {"floor": _available}


def _available(world: World) -> Iterator[Check]:
    wanted = world.settings.right_size_floor
    reason = "right-sizing the floor is not in this release" if wanted else "the floor stays as it is"
    yield Check("floor", not wanted, reason, "set right_size_floor off" if wanted else "")


def undo(world: World, snapshot: Mapping[str, Json], objects: Mapping[str, Json], report: Report) -> list[str]:
    """The old group grows back, then the small one goes."""
    del world, snapshot, objects, report
    return []


def left(world: World, snapshot: Mapping[str, Json]) -> Sequence[Difference]:
    """What has not come back."""
    del world, snapshot
    return ()
