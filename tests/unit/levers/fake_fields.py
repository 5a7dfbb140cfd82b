"""Fields of objects as an API server tells them apart: managedFields, merge patches, JSON patches."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from typing import Any

from tests.unit.levers.fake_answers import refusal

Object = dict[str, Any]
Key = tuple[str, str, str]  # kind, namespace ("" without), name
Path = tuple[str, ...]  # steps as in fieldsV1: f:spec, k:{"name":"a"}, v:"x"

# The keys of the API's lists that are maps, by the field's name; any other list is one value.
KEYS: Mapping[str, tuple[str, ...]] = {
    "containers": ("name",),
    "initContainers": ("name",),
    "env": ("name",),
    "volumes": ("name",),
    "imagePullSecrets": ("name",),
    "volumeMounts": ("mountPath",),
    "topologySpreadConstraints": ("topologyKey", "whenUnsatisfiable"),
    "ownerReferences": ("uid",),
    "hostAliases": ("ip",),
}
ATOMIC_MAPS = ("selector", "nodeSelector", "matchLabels", "labelSelector")
OMITTED_WHEN_EMPTY = ("labels", "annotations", "nodeSelector", "tolerations", "taints", "env", "args", "finalizers")
IDENTITY = {("f:apiVersion",), ("f:kind",), ("f:metadata", "f:name"), ("f:metadata", "f:namespace")}


# Fields ----------------------------------------------------------------------------------------------------------


def keys_of(field: str, items: list[Any]) -> tuple[str, ...]:
    """The keys of a list that is a map; none when it is one value."""
    if field == "ports" and items and isinstance(items[0], dict):
        return ("containerPort", "protocol") if "containerPort" in items[0] else ("port", "protocol")
    return KEYS.get(field, ())


def mark_of(item: Object, keys: tuple[str, ...]) -> str:
    """``k:{"name":"a"}`` of one item; a protocol that is not given is TCP."""
    found = {key: item.get(key, "TCP" if key == "protocol" else None) for key in keys}
    return "k:" + json.dumps({k: v for k, v in found.items() if v is not None}, separators=(",", ":"))


def leaves(value: Any, path: Path = (), atomic: bool = False) -> dict[Path, Any]:
    """Each field by its path, an item of a keyed list also by itself."""
    field = path[-1][2:] if path else ""
    if isinstance(value, dict) and value and field not in ATOMIC_MAPS and not atomic:
        return {p: v for key, inner in value.items() for p, v in leaves(inner, (*path, f"f:{key}")).items()}
    if isinstance(value, list) and value and isinstance(value[0], dict) and (keys := keys_of(field, value)):
        found: dict[Path, Any] = {}
        for item in value:
            inner = (*path, mark_of(item, keys))
            found[inner] = None  # the item itself
            found |= leaves(item, inner) if item else {}
        return found
    return {path: value}


def fields_v1(paths: set[Path]) -> Object:
    """managedFields' form of a set of paths."""
    tree: Object = {}
    for path in sorted(paths):
        place = tree
        for step in path:
            place = place.setdefault(step, {})
        if path[-1].startswith("k:"):
            place["."] = {}
    return tree


def paths_of(fields: Mapping[str, Any], path: Path = ()) -> set[Path]:
    """The paths of managedFields' form."""
    if not fields:
        return {path} if path else set()
    found = set()
    for step, inner in fields.items():
        found |= {path} if step == "." else paths_of(inner, (*path, step))
    return found


def _matching(items: list[Any], step: str) -> Object | None:
    mark = json.loads(step[2:])
    return next(
        (i for i in items if all(i.get(k, "TCP" if k == "protocol" else None) == v for k, v in mark.items())), None
    )


def put_at(thing: Any, path: Path, value: Any) -> None:
    """Set one field, the way to it included."""
    for step, following in zip(path, (*path[1:], ""), strict=True):
        last = following == ""
        if step.startswith("k:"):
            found = _matching(thing, step)
            if found is None:
                found = json.loads(step[2:])
                thing.append(found)
            thing = found
        elif last:
            if not (is_empty(step[2:], value) and isinstance(thing.get(step[2:]), type(value))):
                thing[step[2:]] = copy.deepcopy(value)
        else:
            thing = thing.setdefault(step[2:], [] if following.startswith("k:") else {})


def is_empty(field: str, value: Any) -> bool:
    """Whether the value says nothing about the map or keyed list that is there."""
    return (value == {} and field not in ATOMIC_MAPS) or (value == [] and field in KEYS)


def is_key(path: Path) -> bool:
    """Whether the field is a key of its list's item: it goes with the item."""
    return len(path) > 1 and path[-2].startswith("k:") and path[-1][2:] in json.loads(path[-2][2:])


def drop_at(thing: Any, path: Path) -> None:
    """Remove one field or item."""
    for step in path[:-1]:
        thing = _matching(thing, step) if step.startswith("k:") else thing.get(step[2:])
        if thing is None:
            return
    if path[-1].startswith("k:"):
        found = _matching(thing, path[-1])
        if found is not None:
            thing.remove(found)
    else:
        thing.pop(path[-1][2:], None)


def without_empty(value: Any) -> Any:
    """The value as Go writes it: empty fields of the omitted ones are not there."""
    if isinstance(value, list):
        return [without_empty(item) for item in value]
    if not isinstance(value, dict):
        return value
    kept = {key: without_empty(inner) for key, inner in value.items()}
    return {
        k: v
        for k, v in kept.items()
        if v is not None and not (k in OMITTED_WHEN_EMPTY and not v) and not (k == "unschedulable" and v is False)
    }


def merge(target: Object, patch: Mapping[str, Any]) -> None:
    """RFC 7386."""
    for key, value in patch.items():
        if value is None:
            target.pop(key, None)
        elif isinstance(value, dict) and isinstance(target.get(key), dict):
            merge(target[key], value)
        else:
            target[key] = copy.deepcopy(value)


def json_patch(target: Object, operations: list[Object]) -> None:
    """The operations of RFC 6902 that a lever sends: add, replace, remove, test."""
    for operation in operations:
        *way, last = [part.replace("~1", "/").replace("~0", "~") for part in operation["path"].split("/")[1:]]
        place: Any = target
        for part in way:
            place = place[int(part)] if isinstance(place, list) else place[part]
        if operation["op"] == "test":
            found = place[int(last)] if isinstance(place, list) else place.get(last)
            if found != operation["value"]:
                raise refusal(422, f"test of {operation['path']} failed", "Invalid")
        elif isinstance(place, list):
            if operation["op"] == "remove":
                del place[int(last)]
            elif operation["op"] == "replace":
                place[int(last)] = operation["value"]
            else:
                place.insert(len(place) if last == "-" else int(last), operation["value"])
        elif operation["op"] == "remove":
            del place[last]
        else:
            place[last] = operation["value"]


# Answers ---------------------------------------------------------------------------------------------------------
