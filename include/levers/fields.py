"""Fields of Kubernetes objects and their managers, as server-side apply keeps them: pure functions."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from include.clients.kubernetes import owns
from include.rollout.lever import Json

Object = dict[str, Any]
Path = tuple[str, ...]  # the keys that lead to a field: ("spec", "limits", "cpu")
Owner = Sequence[str]  # a manager, its operation and perhaps its subresource: ["helm", "Update"]
EVERYTHING: Any = object()  # nothing is somebody else's
OF_OTHERS = "set by others"  # in place of a value that is not the lever's to show
ATOMIC_MAPS = ("nodeSelector",)  # as the API server owns them: one value, not a field a key
MERGE_KEYS = ("name", "containerPort", "port", "mountPath", "topologyKey", "key", "ip", "uid")
# Managers that write to every object of their kind: nobody's change of mind.
CONTROLLERS = {"kube-controller-manager", "kube-scheduler", "kubelet", "kwok", "keda", "keda-operator"}
OWNER_LABELS = {
    "argocd.argoproj.io/instance": "argocd",
    "kustomize.toolkit.fluxcd.io/name": "flux",
    "helm.toolkit.fluxcd.io/name": "flux",
}
OWNER_ANNOTATIONS = {"argocd.argoproj.io/tracking-id": "argocd", "meta.helm.sh/release-name": "helm"}
OWNER_MANAGERS = {
    "argocd-controller": "argocd",
    "argocd-application-controller": "argocd",
    "kustomize-controller": "flux",
    "helm-controller": "flux",
    "helm": "helm",
    "terraform": "terraform",
    "hashicorp": "terraform",
}


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


# Single fields ---------------------------------------------------------------------------------------------------


def leaves(value: Json, path: Path = ()) -> Iterator[tuple[Path, Json]]:
    """The fields of a body without its identity; a list is one field, as the API server owns an atomic one."""
    whole = bool(path) and path[-1] in ATOMIC_MAPS
    if path in ((), ("metadata",)) or (isinstance(value, Mapping) and value and not whole):
        for key, inner in value.items():
            if (*path, key) not in (("apiVersion",), ("kind",), ("metadata", "name"), ("metadata", "namespace")):
                yield from leaves(inner, (*path, key))
    else:
        yield path, value


def at(value: Json, path: Path) -> Json:
    """The field at ``path``, None where there is none."""
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def set_at(body: Object, path: Path, value: Json) -> None:
    """Set the field at ``path`` of ``body``, what leads to it included."""
    for key in path[:-1]:
        body = body.setdefault(key, {})
    body[path[-1]] = value


def owners_of(live: Object, path: Path) -> list[list[str]]:
    """Everybody who owns the field at ``path``."""
    return [_owner(e) for e in live["metadata"].get("managedFields") or [] if owns(e, _marks(path))]


def _owner(entry: Mapping[str, Any]) -> list[str]:
    subresource = entry.get("subresource")
    return [entry["manager"], entry.get("operation", "Apply"), *([subresource] if subresource else [])]


def handed_back(entries: Sequence[Object], manager: str, given: Mapping[Path, Sequence[Owner]]) -> list[Object]:
    """managedFields in which each field of ``given`` belongs to its owners, and to ``manager`` no more."""
    handed = copy.deepcopy(list(entries))
    for path, owners in given.items():
        for entry in handed:
            if _owner(entry) == [manager, "Apply"]:
                _drop(entry.get("fieldsV1") or {}, _marks(path))
        for owner in owners:
            fields = _entry_of(handed, list(owner))["fieldsV1"]
            for step in _marks(path):
                fields = fields.setdefault(step, {})
    return [entry for entry in handed if entry.get("fieldsV1")]


def _marks(path: Path) -> Path:
    return tuple(f"f:{key}" for key in path)


def _entry_of(entries: list[Object], owner: list[str]) -> Object:
    """An owner's entry; a new one where it owned nothing but what was taken over, and went with that."""
    for entry in entries:
        if _owner(entry) == owner:
            entry.setdefault("fieldsV1", {})
            return entry
    version = next((entry["apiVersion"] for entry in entries if "apiVersion" in entry), None)
    made = dict(zip(("manager", "operation", "subresource"), owner, strict=False))
    made |= {"apiVersion": version} if version else {}
    entries.append({**made, "fieldsType": "FieldsV1", "fieldsV1": {}})
    return entries[-1]


def _drop(fields: dict[str, Any], path: Path) -> None:
    """Remove a path, and what holds nothing else."""
    inner = fields.get(path[0])
    if inner is None:
        return
    if len(path) > 1:
        _drop(inner, path[1:])
    if len(path) == 1 or not inner:
        del fields[path[0]]


def without(body: Object, path: Path) -> Object:
    """``body`` without the field at ``path``, and without what then holds nothing."""
    rest = copy.deepcopy(body)
    _drop(rest, path)
    return rest


# Who manages an object -------------------------------------------------------------------------------------------


def owner_of(thing: Mapping[str, Any]) -> str | None:
    """``argocd``, ``flux``, ``helm`` or ``terraform`` when one of them manages the object, else None."""
    metadata = thing["metadata"]
    labels, annotations = metadata.get("labels") or {}, metadata.get("annotations") or {}
    for key, owner in OWNER_LABELS.items():
        if key in labels:
            return owner
    for key, owner in OWNER_ANNOTATIONS.items():
        if key in annotations:
            return owner
    managed_by = str(labels.get("app.kubernetes.io/managed-by", "")).lower()
    if managed_by in ("helm", "terraform"):
        return managed_by
    managers = [str(entry["manager"]).lower() for entry in metadata.get("managedFields") or []]
    return next((OWNER_MANAGERS[manager] for manager in managers if manager in OWNER_MANAGERS), None)
