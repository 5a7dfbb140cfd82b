"""What an API server in memory answers: refusals, streams of events, and which objects a query selects."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from types import SimpleNamespace
from typing import Any

from kubernetes.client.exceptions import ApiException

from include.clients.kubernetes import Kind

Object = dict[str, Any]
Key = tuple[str, str, str]  # kind, namespace ("" without), name
Path = tuple[str, ...]  # steps as in fieldsV1: f:spec, k:{"name":"a"}, v:"x"

VERBS = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]


def refusal(status: int, message: str, reason: str = "", **details: Any) -> ApiException:
    """An answer that is an error, with the Status that the API server sends."""
    error = ApiException(status=status, reason=reason or str(status))
    error.body = json.dumps(
        {"kind": "Status", "status": "Failure", "message": message, "reason": reason, "details": details}
    )
    return error


def unknown_path() -> ApiException:
    """The answer for a resource that is not served."""
    error = ApiException(status=404, reason="Not Found")
    error.body = "404 page not found\n"
    return error


class Stream:
    """The answer to a watch: one event a line, for as long as the request asks and the socket's time-out lets it."""

    def __init__(self, lines: Callable[[Stream], Iterator[bytes]]) -> None:
        self._lines = lines(self)
        self.silence = math.inf
        self.connection = SimpleNamespace(sock=self)

    def settimeout(self, seconds: float) -> None:
        """The socket's: no longer without a byte than that."""
        self.silence = seconds

    def __iter__(self) -> Iterator[bytes]:
        return self._lines

    def close(self) -> None:
        """Nothing is open."""


def is_going(thing: Object) -> bool:
    return "deletionTimestamp" in thing["metadata"]


def described(kind: Kind) -> Object:
    group, _, version = kind.api_version.rpartition("/")
    return {
        "resource": kind.plural,
        "responseKind": {"group": group, "version": version, "kind": kind.name},
        "scope": "Namespaced" if kind.namespaced else "Cluster",
        "verbs": VERBS,
    }


def conflict(conflicts: list[tuple[Path, str]], api_version: str) -> ApiException:
    causes = [
        {
            "reason": "FieldManagerConflict",
            "message": f'conflict with "{manager}" using {api_version}',
            "field": path_text(path),
        }
        for path, manager in conflicts
    ]
    text = f"Apply failed with {len(causes)} conflicts"
    return refusal(409, text, "Conflict", causes=causes)


def path_text(path: Path) -> str:
    steps = []
    for step in path:
        if step.startswith("k:"):
            marks = ",".join(f"{k}={json.dumps(v)}" for k, v in json.loads(step[2:]).items())
            steps.append(f"[{marks}]")
        else:
            steps.append(f".{step[2:]}")
    return "".join(steps)


def event_for(event: str, thing: Object, before: Object | None, query: Mapping[str, str]) -> str:
    """The event for a watch with selectors: an object that no longer matches is DELETED for it."""
    now = event != "DELETED" and selected(thing, query)
    was = selected(before if before is not None else thing, query) and event != "ADDED"
    if now:
        return "MODIFIED" if was else "ADDED"
    return "DELETED" if was else ""


def selected(thing: Object, query: Mapping[str, str]) -> bool:
    return has_labels(thing, query.get("labelSelector", "")) and has_fields(thing, query.get("fieldSelector", ""))


def has_labels(thing: Object, selector: str) -> bool:
    labels = thing["metadata"].get("labels") or {}
    for part in re.split(r",(?![^(]*\))", selector) if selector else []:
        if found := re.fullmatch(r"\s*(\S+) (in|notin) \((.*)\)\s*", part):
            among = labels.get(found[1]) in [value.strip() for value in found[3].split(",")]
            wanted = among if found[2] == "in" else not among
        elif "!=" in part:
            key, _, value = part.partition("!=")
            wanted = labels.get(key) != value
        elif "=" in part:
            key, _, value = part.replace("==", "=").partition("=")
            wanted = labels.get(key) == value
        else:
            wanted = (part.removeprefix("!") in labels) != part.startswith("!")
        if not wanted:
            return False
    return True


def has_fields(thing: Object, selector: str) -> bool:
    for part in selector.split(",") if selector else []:
        path, unequal, value = re.fullmatch(r"([^=!]+)(!?)==?(.*)", part).groups()  # type: ignore[union-attr]
        found: Any = thing
        for step in path.split("."):
            found = found.get(step, "") if isinstance(found, dict) else ""
        if (str(found) == value) == bool(unequal):
            return False
    return True


# The client ------------------------------------------------------------------------------------------------------
