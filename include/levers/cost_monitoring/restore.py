"""Back to the snapshot: what was made is deleted, what was changed is set back. Runs again after a crash anywhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from include.clients.kubernetes import CONFIG_MAP, DEPLOYMENT, KINDS, SERVICE, ConflictError
from include.levers.cost_monitoring import live, plan
from include.levers.cost_monitoring.live import World
from include.levers.cost_monitoring.plan import MANAGER, Object
from include.levers.spot_capacity.live import name_of, refusals
from include.rollout.lever import Difference, Restored, differences

OF_EVERY_NAMESPACE = {"kube-root-ca.crt"}  # the ConfigMap that Kubernetes puts into each one


def restore(world: World, snapshot: Mapping[str, Any]) -> Restored:
    """Set every object back that this lever wrote; what others made or changed since is reported."""
    steps: list[str] = []
    others: list[Difference] = []
    deleted: list[str] = []
    with refusals(world):
        for key in reversed(list(snapshot["objects"])):
            world.target.fence()
            done = _restore_object(world, key, snapshot["objects"][key], others)
            if done:
                steps.append(f"{key} {done}")
            if done == "deleted":
                deleted.append(key)
        _await_gone(world, deleted)
    return Restored(tuple(steps) or ("nothing was written, nothing is to be undone",), tuple(others))


def _restore_object(world: World, key: str, was: Mapping[str, Any] | None, others: list[Difference]) -> str | None:
    """Undo one object; returns what was done, or None."""
    found = _read(world, key)
    mine = plan.ours(found) if found else None
    if was is None or (found is None and was["ours"] is None):
        if found and mine:
            return _delete(world, key, found, others)
        if found:
            others.append(Difference(key, None, f"made by {', '.join(live.others(found)) or 'somebody else'}"))
        return None
    if mine == was["ours"]:
        return None
    # Without any field of ours the object stays as its other managers want it.
    body = was["ours"] or _identity(key)
    try:
        world.cluster.apply(body, MANAGER)
    except ConflictError as error:
        others.append(Difference(key, "as before the rollout", f"changed by {', '.join(error.owners.values())}"))
        return None
    return "set back"


def _delete(world: World, key: str, found: Object, others: list[Difference]) -> str | None:
    kind, space, name = split(key)
    if "deletionTimestamp" in found["metadata"]:
        return "deleted"
    if kind == "Namespace":
        held = holds(world, name)
        if held:
            others.append(Difference(key, None, f"holds {', '.join(held)}, so it stays"))
            return None
    elif changed := live.others(found):
        # It was not there before, so it goes all the same.
        others.append(Difference(f"{key} content", None, f"changed by {', '.join(changed)}"))
    world.cluster.delete(KINDS[kind], name, space)
    return "deleted"


def holds(world: World, namespace: str) -> list[str]:
    """What somebody else keeps in a Namespace that would go with it."""
    found = [
        f"{kind.name} {name_of(thing)}"
        for kind in (DEPLOYMENT, SERVICE, CONFIG_MAP)
        for thing in world.cluster.list(kind, namespace)
        if plan.ours(thing) is None and name_of(thing) not in OF_EVERY_NAMESPACE
    ]
    return sorted(found)


def _await_gone(world: World, keys: list[str]) -> None:
    def left() -> list[str]:
        return [f"{key} still exists" for key in keys if _read(world, key)]

    if keys:
        world.await_all(left, "deleting what was made")


def split(key: str) -> tuple[str, str | None, str]:
    """Kind, namespace and name of ``Deployment opencost/opencost``."""
    kind, _, path = key.partition(" ")
    space, _, name = path.rpartition("/")
    return kind, space or None, name


def _read(world: World, key: str) -> Object | None:
    kind, space, name = split(key)
    return world.cluster.get(KINDS[kind], name, space)


def _identity(key: str) -> Object:
    kind, space, name = split(key)
    metadata = {"name": name} | ({"namespace": space} if space else {})
    return {"apiVersion": KINDS[kind].api_version, "kind": kind, "metadata": metadata}


def verify(world: World, snapshot: Mapping[str, Any]) -> list[Difference]:
    """What would still have to be set back, from live to snapshot."""
    found: list[Difference] = []
    for key, was in snapshot["objects"].items():
        now = _read(world, key)
        mine = plan.ours(now) if now else None
        if was is None:
            if now is not None:
                found.append(Difference(key, "exists", None))
        elif mine != was["ours"]:
            found += differences(mine or {}, was["ours"] or {}, key)
    return found
