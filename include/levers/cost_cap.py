"""The cost guard's cap as a lever: the CPU limit of one NodePool, taken over from its owner and handed back.

It has no rollout of its own: ``cost_guard`` applies it after an approval, ``rollback`` undoes it like any other change.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from functools import partial
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from include.clients.kubernetes import NODE_POOL, NotServedError
from include.cost.guard.cap import Object, limit_owners, read_situation
from include.cost.guard.decisions import MANAGER, Situation, floor_of
from include.levers import checks
from include.levers.owned import hand_back
from include.levers.world import World, refusals
from include.quantities import cores
from include.rollout.export import Export
from include.rollout.gates import Figure
from include.rollout.lever import Check, Difference, Json, Plan, Refused, Restored, Stage, Target, Undo, kept
from include.rollout.place import PlaceKind

NAME = "cost_cap"
SLOT = "cap"


class CapSettings(BaseModel):
    """Which limit, and what to."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    pool: Annotated[str, Field(min_length=1, description="NodePool to cap")]
    new_cpu: Annotated[str, Field(pattern=r"^\d+$", description="The cap: vCPU that the pool may have")]
    old_cpu: Annotated[
        str | None, Field(description="The limit that the approval was given for; empty: there was none")
    ]
    converge_timeout_seconds: Annotated[int, Field(gt=0, le=600, description="Longest wait for the API server")] = 60


class CostCap:
    """``limits.cpu`` of one NodePool, owned by the field manager ``akidb-cost-guard`` while the cap stands.

    ``target.clients`` needs ``kubernetes`` (Cluster).
    """

    name = NAME
    slots = (SLOT,)
    settings_type = CapSettings
    acts_in = PlaceKind.REGION
    needs = frozenset({"kubernetes"})
    undo_after: tuple[str, ...] = ()

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._now = now

    def preflight(self, target: Target) -> list[Check]:
        """See :class:`include.rollout.lever.Lever`."""
        world = self._world(target)
        reached = checks.guarded("cluster reachable", world, checks.reachable)
        return [*reached, *(checks.guarded("cap", world, _capable) if reached[0].passed else [])]

    def plan(self, target: Target) -> Plan:
        """See :class:`include.rollout.lever.Lever`."""
        world = self._world(target)
        with refusals(world):
            live = _limit_of(_pool(world))
        wanted = target.settings.new_cpu
        changed = () if _same(live) == _same(wanted) else (Difference(_path(world), live, wanted),)
        stages = (Stage(SLOT, f"limits.cpu of NodePool {target.settings.pool} is {wanted}", ()),) if changed else ()
        note = "a cap makes nothing cheaper that runs: it keeps more from being bought"
        known = {_path(world): live}
        return Plan(NAME, target.region, known, changed, stages, None, None, "none", Undo.INSTANT, (note,))

    def snapshot(self, target: Target) -> dict[str, Json]:
        """See :class:`include.rollout.lever.Lever`."""
        world = self._world(target)
        with refusals(world):
            live = _pool(world)
        owners = copy.deepcopy(limit_owners(live or {"metadata": {}}))
        return {"pool": target.settings.pool, "cpu": _limit_of(live), "owners": owners}

    def apply(self, target: Target, stage: Stage) -> dict[str, Json]:  # noqa: ARG002 - a protocol
        """See :class:`include.rollout.lever.Lever`. Refused when the pool needs more than the cap by now."""
        world, settings = self._world(target), target.settings
        with refusals(world):
            now = read_situation(world.cluster, target.region, settings.pool, world.estate.namespace)
            figures = {"pool": settings.pool, "old_cpu": _text(now.limit_cpu), "new_cpu": settings.new_cpu}
            if now.is_pool and now.limit_cpu == Decimal(settings.new_cpu):
                return figures
            if problem := _outdated(now, settings):
                raise Refused(f"{target.region}: {problem}: nothing was changed; let the guard look again")
            target.fence()
            # Forced: the limit belongs to the rollout that built the pool, and the approval is for taking it over.
            world.cluster.apply(_body(settings.pool, settings.new_cpu), MANAGER, force=True)
        return figures

    def observe(
        self,
        target: Target,
        stage: Stage,
        window_seconds: int,
        applied: Mapping[str, Json],
    ) -> dict[str, Figure | None]:
        """See :class:`include.rollout.lever.Lever`. A cap has no gate: it takes nothing away that runs."""
        del target, stage, window_seconds, applied
        return {}

    def evidence(self, target: Target) -> dict[str, Json]:
        """See :class:`include.rollout.lever.Lever`."""
        world = self._world(target)
        found = read_situation(world.cluster, target.region, target.settings.pool, world.estate.namespace)
        return {"limit_cpu": _text(found.limit_cpu), "used_cpu": _text(found.used_cpu)}

    def rollback(self, target: Target, snapshot: Mapping[str, Json]) -> Restored:
        """See :class:`include.rollout.lever.Lever`. The field goes back to the managers that owned it."""
        world = self._world(target)
        with refusals(world):
            live = _pool(world)
            if live is None:
                return Restored((f"NodePool {snapshot['pool']} is gone: nothing to undo",))
            if others := _changed_by_others(world, live, snapshot):
                return Restored((f"limits.cpu of NodePool {snapshot['pool']} left alone",), others)
            if not _owns(live):
                return Restored(("nothing was written, nothing is to be undone",))
            _hand_back(world, live, snapshot)
        return Restored((f"NodePool {snapshot['pool']} has limits.cpu {snapshot['cpu'] or 'none'} again",))

    def verify_restored(self, target: Target, snapshot: Mapping[str, Json]) -> list[Difference]:
        """See :class:`include.rollout.lever.Lever`."""
        world = self._world(target)
        live = _pool(world)
        if live is None:
            return []
        limit = _limit_of(live)
        if _same(limit) != _same(kept(snapshot, "cpu")):
            return [Difference(_path(world), limit, kept(snapshot, "cpu"))]
        return [Difference(f"{_path(world)} owner", MANAGER, None)] if _owns(live) else []

    def export(self, target: Target, plan: Plan) -> Export:
        """The limit, as a patch of the pool."""
        del plan
        return Export(patches=(_body(target.settings.pool, target.settings.new_cpu),))

    def _world(self, target: Target) -> World:
        return World(target, self._now)


def _capable(world: World) -> Any:
    pool = world.settings.pool
    if _pool(world) is None:
        yield Check("cap", False, f"NodePool {pool} does not exist", "let the guard look again")
    else:
        yield Check("cap", True, f"NodePool {pool} exists")


def _outdated(now: Situation, settings: CapSettings) -> str | None:
    """Why an approved cap must not be applied any more, or None."""
    if not now.is_pool:
        return f"NodePool {settings.pool} is gone"
    if now.limit_cpu != _same(settings.old_cpu):
        made = f"the approved cap was made for {settings.old_cpu or 'none'}"
        return f"limits.cpu of NodePool {settings.pool} is {_text(now.limit_cpu) or 'none'} now, {made}"
    if floor_of(now) > Decimal(settings.new_cpu):
        needs = f"needs {floor_of(now):.2f} vCPU by now"
        return f"NodePool {settings.pool} {needs}, more than the cap of {settings.new_cpu}"
    return None


def _pool(world: World) -> Object | None:
    try:
        return world.cluster.get(NODE_POOL, world.settings.pool)
    except NotServedError:  # Karpenter was uninstalled, and its pools with it
        return None


def _path(world: World) -> str:
    return f"NodePool {world.settings.pool} spec.limits.cpu"


def _limit_of(live: Object | None) -> str | None:
    limit = (live or {}).get("spec", {}).get("limits", {}).get("cpu")
    return None if limit is None else str(limit)


def _text(cpu: Decimal | None) -> str | None:
    return None if cpu is None else f"{cpu.normalize():f}"


def _same(cpu: str | None) -> Decimal | None:
    return None if cpu is None else cores(cpu)


def _body(pool: str, cpu: str | None) -> Object:
    spec = {} if cpu is None else {"limits": {"cpu": cpu}}
    return {"apiVersion": NODE_POOL.api_version, "kind": NODE_POOL.name, "metadata": {"name": pool}, "spec": spec}


def _owns(live: Object) -> bool:
    return any(entry["manager"] == MANAGER for entry in live["metadata"].get("managedFields") or [])


def _changed_by_others(world: World, live: Object, snapshot: Mapping[str, Json]) -> tuple[Difference, ...]:
    limit = _limit_of(live)
    # The cap's figure alone does not make it the guard's: somebody may have made the pool again with it.
    ours = _owns(live) and _same(limit) == _same(world.settings.new_cpu)
    if ours or _same(limit) == _same(kept(snapshot, "cpu")):
        return ()
    return (Difference(_path(world), kept(snapshot, "cpu"), limit),)


def _hand_back(world: World, live: Object, snapshot: Mapping[str, Json]) -> None:
    # Giving a field up in server-side apply brings back neither its old value nor its owner.
    pool, cpu = kept(snapshot, "pool"), kept(snapshot, "cpu")
    if _same(_limit_of(live)) != _same(cpu):
        world.target.fence()
        world.cluster.apply(_body(pool, cpu), MANAGER, force=True)
    hand_back(world, NODE_POOL, pool, None, partial(handed_back, owners=kept(snapshot, "owners")))


def handed_back(entries: Sequence[Object], owners: Sequence[Object]) -> list[Object]:
    """managedFields without the guard's entry, the CPU limit owned again by those who owned it before."""
    others = [copy.deepcopy(entry) for entry in entries if entry["manager"] != MANAGER]
    for owner in owners:
        for entry in others:
            if (entry["manager"], entry["operation"]) == (owner["manager"], owner["operation"]):
                limits = entry.setdefault("fieldsV1", {}).setdefault("f:spec", {}).setdefault("f:limits", {})
                limits.setdefault("f:cpu", {})
    return others
