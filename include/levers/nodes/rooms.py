"""The room that nodes have left, and how many pods of a kind find a place in it: pure functions."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from include.levers.nodes.requests import Requests, pod_requests, read_quantities
from include.levers.nodes.scheduling import (
    HOST,
    NAME_FIELD,
    Labels,
    exclusive_keys,
    hard_skews,
    labels_of,
    tolerates,
    wants,
)
from include.levers.world import Object


@dataclass
class Room:
    """What a node has left for pods; ``free`` is in base units by resource."""

    name: str
    labels: Labels
    taints: Sequence[Mapping[str, Any]]
    free: dict[str, Decimal]

    def fits(self, requests: Requests) -> bool:
        """Whether one more pod with these requests fits."""
        return self.free.get("pods", Decimal(1)) >= 1 and all(
            self.free.get(name, Decimal(0)) >= value for name, value in requests.items() if value
        )

    def take(self, requests: Requests) -> None:
        """Count one more pod."""
        for name, value in {**requests, "pods": Decimal(1)}.items():
            if name in self.free:
                self.free[name] -= value


def room_of(node: Object, pods: Iterable[Object]) -> Room:
    """The room that a node has beside ``pods``."""
    metadata, spec = node["metadata"], node["spec"]
    name = str(metadata["name"])
    labels = {HOST: name, NAME_FIELD: name, **labels_of(node)}
    taints = [taint for taint in spec.get("taints") or [] if taint["key"] != "node.kubernetes.io/unschedulable"]
    room = Room(name, labels, taints, read_quantities(node.get("status", {}).get("allocatable")))
    for pod in pods:
        room.take(pod_requests(pod["spec"]))
    return room


def takes_pods(node: Object) -> bool:
    """Whether a node is ready and not cordoned."""
    conditions = node.get("status", {}).get("conditions") or []
    ready = any((c["type"], c["status"]) == ("Ready", "True") for c in conditions)
    ending = bool(node["metadata"].get("deletionTimestamp"))
    return ready and not ending and not node["spec"].get("unschedulable")


@dataclass(frozen=True)
class Crowd:
    """Equal pods that need a place: ``skews`` are hard spread constraints (topology key: largest skew)."""

    name: str
    count: int
    requests: Requests
    spec: Mapping[str, Any]
    skews: Mapping[str, int]
    exclusive: Sequence[str] = ()


def crowd_of(name: str, count: int, requests: Requests, template: Mapping[str, Any], ignored: str = "") -> Crowd:
    """The crowd of ``count`` pods made from a pod template; the spread over the key ``ignored`` is left out."""
    spec, labels = template["spec"], template["metadata"].get("labels") or {}
    return Crowd(name, count, requests, spec, hard_skews(spec, ignored), exclusive_keys(spec, labels))


def place(crowds: Iterable[Crowd], rooms: Iterable[Room]) -> dict[str, int]:
    """How many pods of each crowd find a place, those that are spread hard first; the rooms stay as they are."""
    left = copy.deepcopy(list(rooms))
    order = sorted(crowds, key=lambda crowd: not (crowd.skews or crowd.exclusive))
    return {crowd.name: _place(crowd, left) for crowd in order}


def _place(crowd: Crowd, rooms: list[Room]) -> int:
    keys = [*crowd.skews, *crowd.exclusive]
    # A node that lacks a topology key takes no pod that is spread over it.
    usable = [
        room
        for room in rooms
        if wants(crowd.spec, room.labels)
        and tolerates(crowd.spec, room.taints)
        and all(key in room.labels for key in keys)
    ]
    if not keys:
        return _fill(crowd, usable)
    counts = {key: dict.fromkeys((room.labels[key] for room in usable), 0) for key in keys}
    for placed in range(crowd.count):
        open_rooms = [room for room in usable if room.fits(crowd.requests) and _allowed(crowd, room, counts)]
        if not open_rooms:
            return placed
        chosen = min(open_rooms, key=lambda room: [counts[key][room.labels[key]] for key in keys])
        chosen.take(crowd.requests)
        for key in counts:
            counts[key][chosen.labels[key]] += 1
    return crowd.count


def _fill(crowd: Crowd, rooms: Sequence[Room]) -> int:
    placed = 0
    for room in rooms:
        while placed < crowd.count and room.fits(crowd.requests):
            room.take(crowd.requests)
            placed += 1
    return placed


def _allowed(crowd: Crowd, room: Room, counts: Mapping[str, Mapping[str, int]]) -> bool:
    for key, skew in crowd.skews.items():
        if counts[key][room.labels[key]] + 1 - min(counts[key].values()) > skew:
            return False
    return all(counts[key][room.labels[key]] == 0 for key in crowd.exclusive)


def by_node(pods: Iterable[Object]) -> dict[str, list[Object]]:
    """The pods that run on each node."""
    found: dict[str, list[Object]] = {}
    for pod in pods:
        if pod["spec"].get("nodeName"):
            found.setdefault(pod["spec"]["nodeName"], []).append(pod)
    return found
