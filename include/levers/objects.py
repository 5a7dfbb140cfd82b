"""Objects that a lever applies as a field manager of its own: what it owns of them, and how they are set back."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from include.clients.kubernetes import KINDS, ConflictError, InvalidError, Kind, NotFoundError, NotServedError
from include.levers.common import Object, World
from include.levers.namespaces import in_one_line
from include.rollout.lever import Difference, Json, differences

MADE_IN_ORDER = ("Namespace", "ServiceAccount", "ClusterRole", "ClusterRoleBinding", "ConfigMap", "Deployment")
EVERYTHING: Any = object()  # nothing is somebody else's
UNKNOWN_KIND = "of a kind that this release does not know: undo it with the release that wrote it"
OF_OTHERS = "set by others"  # in place of a value that is not the lever's to show
MERGE_KEYS = ("name", "containerPort", "port", "mountPath", "topologyKey", "key", "ip", "uid")
ATTEMPTS = 10  # to hand a field back while controllers write to the same object
# Managers that write to every object of their kind: nobody's change of mind.
CONTROLLERS = {"kube-controller-manager", "kube-scheduler", "kubelet", "kwok", "keda", "keda-operator"}


def projection(live: Json, wanted_value: Json, mine: Json = EVERYTHING) -> Json:
    """``live`` with nothing but the fields that ``wanted_value`` has; entries of keyed lists by their key.

    ``mine`` is what the lever has applied of it: a value that is neither wanted nor the lever's own is somebody
    else's, perhaps a secret, and is not shown; an entry of a list that the lever has applied is, wanted or not.
    """
    if isinstance(live, Mapping) and isinstance(wanted_value, Mapping):
        return {
            key: projection(live[key], value, _part(mine, key)) for key, value in wanted_value.items() if key in live
        }
    if isinstance(live, list) and isinstance(wanted_value, list):
        key = merge_key(wanted_value)
        if key:
            return _entries(live, wanted_value, mine, key)
        if len(live) == len(wanted_value) and all(isinstance(item, Mapping) for item in live):
            return [projection(*three) for three in zip(live, wanted_value, _items(mine, len(live)), strict=True)]
    return live if mine is EVERYTHING or live in (wanted_value, mine) else OF_OTHERS


def _entries(live: list[Json], wanted_value: list[Json], mine: Json, key: str) -> list[Json]:
    found = {item[key]: item for item in live if isinstance(item, Mapping) and key in item}
    wanted = {item[key]: item for item in wanted_value}
    own = {item[key]: item for item in mine if key in item} if isinstance(mine, list) else {}
    shown = [
        projection(found[name], item, EVERYTHING if mine is EVERYTHING else own.get(name))
        for name, item in wanted.items()
        if name in found
    ]
    return shown + [item for name, item in own.items() if name not in wanted]


def merge_key(items: Sequence[Json]) -> str | None:
    """The field that tells the entries of a list apart, as the API server merges them; None for any other list."""
    for key in MERGE_KEYS:
        names = [item.get(key) if isinstance(item, Mapping) else None for item in items]
        if names and None not in names and len(set(names)) == len(names):
            return key
    return None


def _part(mine: Json, key: str) -> Json:
    if mine is EVERYTHING:
        return mine
    return mine.get(key) if isinstance(mine, Mapping) else None


def _items(mine: Json, count: int) -> list[Json]:
    return mine if isinstance(mine, list) and len(mine) == count else [mine if mine is EVERYTHING else None] * count


def owned(value: Json, fields: Mapping[str, Any]) -> Json:
    """The part of ``value`` that an entry of managedFields (its ``fieldsV1``) names."""
    inner = {key: sub for key, sub in fields.items() if key != "."}
    if not inner:
        return value
    if isinstance(value, list):
        return [part for item in value if (part := _owned_item(item, inner)) is not None]
    if not isinstance(value, Mapping):
        return value
    return {key[2:]: owned(value[key[2:]], sub) for key, sub in sorted(inner.items()) if key[2:] in value}


def _owned_item(item: Json, fields: Mapping[str, Any]) -> Json:
    for key, sub in fields.items():
        mark = json.loads(key[2:])
        if key.startswith("v:") and item == mark:
            return item
        if key.startswith("k:") and isinstance(item, Mapping) and mark.items() <= item.items():
            return mark | (owned(item, sub) if any(name != "." for name in sub) else {})
    return None


def applied_by(manager: str, live: Object) -> Object | None:
    """The object as ``manager`` last applied it, identity included; None when it never did."""
    entries = live["metadata"].get("managedFields") or []
    fields = next((e["fieldsV1"] for e in entries if e["manager"] == manager and e["operation"] == "Apply"), None)
    if not fields:
        return None
    part: Object = owned(live, fields)
    names = {key: live["metadata"][key] for key in ("name", "namespace") if key in live["metadata"]}
    metadata = {**part.get("metadata", {}), **names}
    return {**part, "apiVersion": live["apiVersion"], "kind": live["kind"], "metadata": metadata}


def others(manager: str, live: Object) -> list[str]:
    """Managers besides ``manager`` that have set fields of the object's content."""
    content = ("f:spec", "f:data", "f:rules", "f:subjects")
    return sorted(
        entry["manager"]
        for entry in live["metadata"].get("managedFields") or []
        if entry["manager"] not in CONTROLLERS | {manager}
        and not entry.get("subresource")
        and any(part in (entry.get("fieldsV1") or {}) for part in content)
    )


# Names -----------------------------------------------------------------------------------------------------------


def key_of(body: Object) -> str:
    """``Deployment opencost/opencost``: kind, namespace and name."""
    metadata = body["metadata"]
    space = f"{metadata['namespace']}/" if "namespace" in metadata else ""
    return f"{body['kind']} {space}{metadata['name']}"


def split(key: str) -> tuple[str, str | None, str]:
    """Kind, namespace and name of ``Deployment opencost/opencost``."""
    kind, _, path = key.partition(" ")
    space, _, name = path.rpartition("/")
    return kind, space or None, name


def identity(key: str) -> Object:
    """The object with nothing but its name."""
    kind, space, name = split(key)
    metadata = {"name": name} | ({"namespace": space} if space else {})
    return {"apiVersion": KINDS[kind].api_version, "kind": kind, "metadata": metadata}


def read(world: World, body: Object) -> Object | None:
    """The live object of ``body``'s name; None when it does not exist or its kind isn't served."""
    metadata = body["metadata"]
    try:
        return world.cluster.get(KINDS[body["kind"]], metadata["name"], metadata.get("namespace"))
    except NotServedError:  # without its definition no object of it stands
        return None


def read_key(world: World, key: str) -> Object | None:
    """The live object that ``key`` names."""
    return read(world, identity(key))


# A snapshot's objects --------------------------------------------------------------------------------------------


def listed(objects: Mapping[str, Object | None]) -> list[Object]:
    """The objects of a snapshot as it is kept: ``{"key": ..., "was": ...}`` in the order in which they are made.

    A list, because the ledger sorts the keys of a mapping, and what is deleted first depends on that order.
    """
    return [{"key": key, "was": was} for key, was in objects.items()]


def by_key(snapshot: Sequence[Object] | Mapping[str, Object | None]) -> dict[str, Object | None]:
    """The objects of a snapshot by key, in the order in which they are made.

    A mapping is a snapshot of an older release, sorted by the ledger: it is brought into an order that is safe.
    """
    if isinstance(snapshot, Mapping):
        return {key: snapshot[key] for key in sorted(snapshot, key=_rank)}
    return {entry["key"]: entry["was"] for entry in snapshot}


def with_own(
    world: World, manager: str, objects: Mapping[str, Object | None], bodies: Iterable[Object]
) -> dict[str, Object | None]:
    """The objects of a snapshot, and with None those of ``bodies`` that ``manager`` has made and it does not name.

    A run that resumes an unfinished one keeps its snapshot, in which a workload or operator that came since is missing.
    """
    since: dict[str, Object | None] = {}
    for body in bodies:
        if key_of(body) not in objects and (found := read(world, body)) and applied_by(manager, found):
            since[key_of(body)] = None
    return {**objects, **since}


def _rank(key: str) -> tuple[int, str]:
    kind = split(key)[0]
    return (MADE_IN_ORDER.index(kind) if kind in MADE_IN_ORDER else len(MADE_IN_ORDER), key)


# Back to a snapshot ----------------------------------------------------------------------------------------------


def restore_object(
    world: World,
    manager: str,
    key: str,
    was: Mapping[str, Any] | None,
    report: list[Difference],
    held: Callable[[Object], Sequence[str]] | None = None,
) -> str | None:
    """Undo what ``manager`` did to one object; returns ``deleted``, ``set back`` or None for nothing.

    ``was`` is None for an object that did not exist, else has under ``ours`` what the manager had applied before.
    What others made or changed goes into ``report``; ``held`` says what keeps an object from being deleted.
    """
    if split(key)[0] not in KINDS:
        report.append(Difference(key, "as before the rollout", UNKNOWN_KIND))
        return None
    found = read_key(world, key)
    mine = applied_by(manager, found) if found else None
    ours = was.get("ours") if was else None
    if was is None or (found is None and ours is None):
        if found and mine:
            return _delete(world, manager, key, found, report, held)
        if found:
            made = ", ".join(others(manager, found)) or "somebody else"
            report.append(Difference(key, None, f"made by {made}"))
        return None
    if mine == ours:
        return None
    # Without any field of ours the object stays as its other managers want it.
    body = ours or identity(key)
    try:
        world.cluster.apply(body, manager)
    except ConflictError as error:
        report.append(Difference(key, "as before the rollout", f"changed by {', '.join(error.owners.values())}"))
        return None
    except (InvalidError, NotFoundError, NotServedError) as error:  # what one object lacks now stops no other
        report.append(Difference(key, "as before the rollout", f"can't be made again: {error}"))
        return None
    return "set back"


def _delete(
    world: World,
    manager: str,
    key: str,
    found: Object,
    report: list[Difference],
    held: Callable[[Object], Sequence[str]] | None,
) -> str | None:
    if "deletionTimestamp" in found["metadata"]:
        return "deleted"
    if held and (holds := held(found)):
        report.append(Difference(key, None, f"holds {in_one_line(holds)}, so it stays"))
        return None
    if found["kind"] != "Namespace" and (changed := others(manager, found)):
        # It was not there before, so it goes all the same.
        report.append(Difference(f"{key} content", None, f"changed by {', '.join(changed)}"))
    kind, space, name = split(key)
    world.cluster.delete(KINDS[kind], name, space)
    return "deleted"


def await_gone(world: World, keys: Sequence[str]) -> None:
    """Wait until none of the objects exists. Raises NotConverged naming those that do."""

    def left() -> list[str]:
        return [f"{key} still exists" for key in keys if read_key(world, key)]

    if keys:
        world.await_all(left, "deleting what was made")


def unrestored(world: World, manager: str, was_by_key: Mapping[str, Any]) -> list[Difference]:
    """What would still have to be set back, from live to snapshot."""
    found: list[Difference] = []
    for key, was in was_by_key.items():
        if split(key)[0] not in KINDS:
            found.append(Difference(key, "not known", UNKNOWN_KIND))
            continue
        now = read_key(world, key)
        mine = applied_by(manager, now) if now else None
        if was is None:
            if now is not None:
                found.append(Difference(key, "exists", None))
        elif mine != was.get("ours"):
            found += differences(mine or {}, was.get("ours") or {}, key)
    return found


# Owners ----------------------------------------------------------------------------------------------------------


def hand_back(
    world: World, kind: Kind, name: str, namespace: str | None, change: Callable[[list[Object]], list[Object]]
) -> None:
    """Give fields back to who owned them: ``change`` gives an object's managedFields as they are to be.

    No value changes and nothing restarts. Raises ConflictError when others write to the object all the time.
    """
    for left in reversed(range(ATTEMPTS)):
        live = world.cluster.get(kind, name, namespace)
        entries = live["metadata"].get("managedFields") or [] if live else []
        handed = change(entries)
        if live is None or handed == entries:
            return
        world.target.fence()
        # With its version in it a patch is refused when somebody was faster, such as a controller with the status: what
        # was written in between would lose its owner.
        version = live["metadata"].get("resourceVersion")
        try:
            body = {"metadata": {"resourceVersion": version, "managedFields": handed}}
            world.cluster.patch(kind, name, body, namespace)
        except ConflictError:
            if not left:
                raise
        else:
            return
