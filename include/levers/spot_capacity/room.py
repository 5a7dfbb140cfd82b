"""Room on nodes: what pods request, what nodes have free, how many nodes more are needed. Pure functions.

CPU is in cores, memory in MiB.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from include.levers.common import Object
from include.quantities import cores, mebibytes

PODS = 110  # how many pods a node takes where it doesn't say so: the kubelet's own default
OVER = ("Succeeded", "Failed")  # phases of a pod that needs its node no more


@dataclass(frozen=True)
class Room:
    """Free room of a node, or what a pod takes of it."""

    cpu: Decimal
    memory: Decimal
    pods: int = 1

    def holds(self, other: Room) -> bool:
        """Whether ``other`` fits."""
        return self.cpu >= other.cpu and self.memory >= other.memory and self.pods >= other.pods

    def without(self, other: Room) -> Room:
        """What is left when ``other`` is taken."""
        return Room(self.cpu - other.cpu, self.memory - other.memory, self.pods - other.pods)


def requested(spec: Mapping[str, Object]) -> Room:
    """What the scheduler counts for a pod spec: its containers, or a larger init container, and the overhead."""
    starting = spec.get("initContainers") or []
    sidecars = [c for c in starting if c.get("restartPolicy") == "Always"]
    running = _sum([*(spec.get("containers") or []), *sidecars])
    beside = _sum(sidecars)
    for container in starting:
        alone = _sum([container]) if container not in sidecars else Room(Decimal(0), Decimal(0))
        running = Room(max(running.cpu, alone.cpu + beside.cpu), max(running.memory, alone.memory + beside.memory))
    overhead = spec.get("overhead") or {}
    return Room(running.cpu + cores(overhead.get("cpu", 0)), running.memory + mebibytes(overhead.get("memory", 0)))


def _sum(containers: Iterable[Object]) -> Room:
    cpu, memory = Decimal(0), Decimal(0)
    for container in containers:
        resources = container.get("resources") or {}
        # A limit without a request is the request, as the API server has it.
        asked = {**(resources.get("limits") or {}), **(resources.get("requests") or {})}
        cpu += cores(asked.get("cpu", 0))
        memory += mebibytes(asked.get("memory", 0))
    return Room(cpu, memory)


def allocatable(node: Object) -> Room:
    """What a node offers to pods."""
    offered = node["status"]["allocatable"]
    return Room(cores(offered["cpu"]), mebibytes(offered["memory"]), int(offered.get("pods", PODS)))


def free_room(node: Object, pods: Iterable[Object]) -> Room:
    """What the pods that stand on a node leave of it."""
    left = allocatable(node)
    for pod in pods:
        if pod["spec"].get("nodeName") == node["metadata"]["name"] and pod.get("status", {}).get("phase") not in OVER:
            left = left.without(requested(pod["spec"]))
    return left


def fresh_needed(pods: Sequence[Room], rooms: Sequence[Room], fresh: Room) -> int | None:
    """How many nodes with ``fresh`` room the pods need beyond ``rooms``: largest first, each where it fits first.

    None when a pod is larger than a fresh node: no number of them would do.
    """
    left, added = list(rooms), 0
    for pod in sorted(pods, key=lambda pod: (pod.memory, pod.cpu), reverse=True):
        place = next((n for n, room in enumerate(left) if room.holds(pod)), None)
        if place is None:
            if not fresh.holds(pod):
                return None
            left.append(fresh)
            added += 1
            place = len(left) - 1
        left[place] = left[place].without(pod)
    return added
