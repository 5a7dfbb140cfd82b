"""Which node takes which pod: requests, taints, room, and where equal pods find a place."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from include.levers.nodes.requests import pod_requests, shown
from include.levers.nodes.rooms import Crowd, Room, crowd_of, place, room_of, takes_pods
from include.levers.nodes.scheduling import exclusive_keys, tolerates
from tests.unit.levers import spot_world
from tests.unit.levers.spot_world import Object, container

GIB = Decimal(2**30)
ZONE = "topology.kubernetes.io/zone"
HOST = "kubernetes.io/hostname"


def init(cpu: str, always: bool = False) -> Object:
    return container(cpu, "1Gi") | ({"restartPolicy": "Always"} if always else {})


@pytest.mark.parametrize(
    ("spec", "cpu", "memory"),
    [
        ({"containers": [container("1", "2Gi"), container("500m", "1Gi")]}, "1.5", 3),
        ({"containers": [{"resources": {"limits": {"cpu": 2, "memory": "2Gi"}}}]}, "2", 2),
        # An init container runs alone, a sidecar (restarted always) beside all that follow.
        ({"containers": [container("1", "2Gi")], "initContainers": [init("3")]}, "3", 2),
        ({"containers": [container("1", "2Gi")], "initContainers": [init("1", always=True)]}, "2", 3),
        ({"containers": [container("1", "2Gi")], "initContainers": [init("1", always=True), init("2")]}, "3", 3),
        ({"containers": [container("1", "2Gi")], "initContainers": [init("2"), init("1", always=True)]}, "2", 3),
        ({"containers": [container("1", "2Gi")], "overhead": {"cpu": "250m"}}, "1.25", 2),
        ({"containers": [container("1", "2Gi")], "resources": {"requests": {"cpu": "4"}}}, "4", 2),
    ],
)
def test_a_pod_requests_what_the_scheduler_counts(spec: Object, cpu: str, memory: int) -> None:
    assert pod_requests(spec) == {"cpu": Decimal(cpu), "memory": memory * GIB}


def test_a_pod_without_requests_requests_nothing() -> None:
    assert pod_requests({"containers": [{"name": "a"}]}) == {}
    assert shown({}) == "cpu none, memory none"


@pytest.mark.parametrize(
    ("toleration", "tolerated"),
    [
        ({"key": "team", "operator": "Equal", "value": "search", "effect": "NoSchedule"}, True),
        ({"key": "team", "value": "search"}, True),
        ({"key": "team", "operator": "Exists"}, True),
        ({"operator": "Exists"}, True),
        ({"key": "team", "value": "other"}, False),
        ({"key": "team", "operator": "Exists", "effect": "NoExecute"}, False),
        ({"key": "other", "operator": "Exists"}, False),
    ],
)
def test_a_taint_is_tolerated_as_kubernetes_says(toleration: Object, tolerated: bool) -> None:
    taint = {"key": "team", "value": "search", "effect": "NoSchedule"}
    assert tolerates({"tolerations": [toleration]}, [taint]) is tolerated
    assert tolerates({}, [taint]) is False
    assert tolerates({}, [{**taint, "effect": "PreferNoSchedule"}]) is True


def test_a_room_is_what_other_pods_leave() -> None:
    node = spot_world.group_node("i-1")
    node["status"]["allocatable"] = {"cpu": "7910m", "memory": "14Gi", "pods": "3"}
    daemon = {"spec": {"nodeName": "i-1", "containers": [container("910m", "2Gi")]}}
    room = room_of(node, [daemon])
    assert room.free == {"cpu": Decimal(7), "memory": 12 * GIB, "pods": Decimal(2)}
    requests = {"cpu": Decimal(1), "memory": 2 * GIB}
    for _ in range(2):
        assert room.fits(requests)
        room.take(requests)
    assert not room.fits(requests)  # the node takes no more pods, whatever they ask for


@pytest.mark.parametrize(
    ("spec", "status", "metadata", "takes"),
    [
        ({}, "True", {}, True),
        ({"unschedulable": True}, "True", {}, False),
        ({}, "False", {}, False),
        ({}, "Unknown", {}, False),
        ({}, "True", {"deletionTimestamp": "2027-01-15T07:59:50Z"}, False),
    ],
)
def test_a_node_that_is_cordoned_away_or_ending_takes_no_pods(
    spec: Object, status: str, metadata: Object, takes: bool
) -> None:
    node = spot_world.group_node("i-1")
    node["spec"] |= spec
    node["metadata"] |= metadata
    node["status"]["conditions"] = [spot_world.condition("Ready", status)]
    assert takes_pods(node) is takes


def rooms(*zones: str, pods: int = 6) -> list[Room]:
    """A node in each of the zones, with room for so many pods of one CPU."""
    return [Room(f"i-{n}", {ZONE: z, HOST: f"i-{n}"}, (), {"cpu": Decimal(pods)}) for n, z in enumerate(zones)]


def crowd(name: str, count: int, cpu: str = "1", exclusive: Any = (), **skews: int) -> Crowd:
    return Crowd(
        name, count, {"cpu": Decimal(cpu)}, {}, {ZONE if k == "zone" else HOST: v for k, v in skews.items()}, exclusive
    )


@pytest.mark.parametrize(
    ("crowds", "where", "placed"),
    [
        ([crowd("a", 15), crowd("b", 15)], rooms(*"aabbc"), {"a": 15, "b": 15}),
        ([crowd("a", 15), crowd("b", 15)], rooms(*"aabb"), {"a": 15, "b": 9}),
        # 2, 2 and 1 nodes: 5 pods each of both in every zone, and the third has room for 6 only.
        ([crowd("a", 15, zone=1), crowd("b", 15, zone=1)], rooms(*"aabbc"), {"a": 15, "b": 5}),
        ([crowd("a", 15, zone=3), crowd("b", 15, zone=3)], rooms(*"aabbc"), {"a": 15, "b": 9}),
        ([crowd("b", 15), crowd("a", 15, zone=1)], rooms(*"aabbc"), {"a": 15, "b": 15}),
        ([crowd("a", 10, host=1)], rooms(*"abc", pods=3), {"a": 9}),
        ([crowd("a", 5, exclusive=(HOST,))], rooms(*"abc"), {"a": 3}),
        ([crowd("a", 5, exclusive=(ZONE,))], rooms(*"aabb"), {"a": 2}),
        ([crowd("a", 2, cpu="4"), crowd("b", 2, cpu="2")], rooms("a", pods=6), {"a": 1, "b": 1}),
        ([crowd("a", 2)], [], {"a": 0}),
    ],
)
def test_pods_are_placed_within_their_hard_constraints(
    crowds: list[Crowd], where: list[Room], placed: dict[str, int]
) -> None:
    before = [dict(room.free) for room in where]
    assert place(crowds, where) == placed
    assert [room.free for room in where] == before


def test_a_node_without_the_label_or_with_a_taint_takes_none() -> None:
    bare = [Room("i-1", {}, (), {"cpu": Decimal(6)})]
    assert place([crowd("a", 1, zone=1)], bare) == {"a": 0}
    tainted = [Room("i-1", {}, [{"key": "x", "effect": "NoSchedule"}], {"cpu": Decimal(6)})]
    assert place([crowd("a", 1)], tainted) == {"a": 0}


def test_a_port_of_the_host_is_taken_once_a_node() -> None:
    spec = {"containers": [{"ports": [{"containerPort": 80}, {"containerPort": 9, "hostPort": 9}]}]}
    assert exclusive_keys(spec, {}) == [HOST]
    assert exclusive_keys({"containers": [{"ports": [{"containerPort": 80}]}]}, {}) == []


def test_a_crowd_takes_its_constraints_from_the_template() -> None:
    constraints = [
        {"topologyKey": ZONE, "whenUnsatisfiable": "DoNotSchedule", "maxSkew": 2},
        {"topologyKey": ZONE, "whenUnsatisfiable": "DoNotSchedule"},
        {"topologyKey": HOST, "whenUnsatisfiable": "ScheduleAnyway"},
        {"topologyKey": "own", "whenUnsatisfiable": "DoNotSchedule"},
    ]
    alone = {"topologyKey": HOST, "labelSelector": {"matchLabels": {"app": "a"}}}
    others = {"topologyKey": ZONE, "labelSelector": {"matchLabels": {"app": "b"}}}
    affinity = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [alone, others]}}
    template = {
        "metadata": {"labels": {"app": "a"}},
        "spec": {"topologySpreadConstraints": constraints, "affinity": affinity},
    }
    made = crowd_of("a", 3, {}, template, ignored="own")
    assert (made.skews, made.exclusive) == ({ZONE: 1}, [HOST])
