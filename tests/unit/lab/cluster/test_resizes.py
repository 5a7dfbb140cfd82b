"""Resizes in place as a kubelet decides them: room on the node, who comes first, and what the pod then shows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from lab.cluster.resizes import PENDING, RegionResizes, decide, waits

NOW = "2026-11-29T07:00:00Z"
NODE = {"n1": {"cpu": "4", "memory": "8Gi"}}


def resources(cpu: str, memory: str = "1Gi") -> dict[str, Any]:
    return {"requests": {"cpu": cpu, "memory": memory}, "limits": {"cpu": "2", "memory": "4Gi"}}


def pod(name: str, has: str, wants: str | None = None, **changes: Any) -> dict[str, Any]:
    shown = {"name": "akidb", "allocatedResources": resources(has)["requests"], "resources": resources(has)}
    made: dict[str, Any] = {
        "metadata": {"name": name, "namespace": "akidb", "generation": 2},
        "spec": {"nodeName": "n1", "containers": [{"name": "akidb", "resources": resources(wants or has)}]},
        "status": {"phase": "Running", "conditions": [{"type": "Ready"}], "containerStatuses": [shown]},
    }
    for part, values in changes.items():
        made[part] |= values
    return made


class FakePods:
    """Pods whose status is patched as RFC 6902 says; a test that does not hold leaves the pod as it is."""

    def __init__(self, *pods: dict[str, Any]) -> None:
        self.held = {item["metadata"]["name"]: item for item in pods}
        self.nodes: Mapping[str, Any] = NODE

    def pods(self) -> list[Any]:
        return list(self.held.values())

    def allocatable(self) -> dict[str, Any]:
        return dict(self.nodes)

    def patch_status(self, namespace: str, name: str, patch: list[dict[str, Any]]) -> None:
        for step in patch:
            *parents, last = step["path"].strip("/").split("/")
            place: Any = self.held[name]
            for part in parents:
                place = place[int(part)] if isinstance(place, list) else place[part]
            key: Any = int(last) if isinstance(place, list) and last != "-" else last
            if step["op"] == "test" and place[key] != step["value"]:
                return
            if step["op"] == "remove":
                del place[key]
            if step["op"] == "add":
                place.append(step["value"]) if last == "-" else place.__setitem__(key, step["value"])

    def shown(self, name: str) -> tuple[str, str]:
        """CPU that the container was given, and why it waits for other."""
        status = self.held[name]["status"]
        waiting = [c["reason"] for c in status["conditions"] if c["type"] == PENDING]
        return status["containerStatuses"][0]["resources"]["requests"]["cpu"], " ".join(waiting)


def region(*pods: dict[str, Any]) -> tuple[RegionResizes, FakePods]:
    cluster = FakePods(*pods)
    return RegionResizes("ap-northeast-1", cluster, lambda: NOW), cluster


def test_a_resize_that_fits_is_shown_with_its_limits_and_only_once() -> None:
    resizes, cluster = region(pod("a", "1", "1500m"), pod("b", "2"))
    assert resizes.step() == ["a resized"]
    status = cluster.held["a"]["status"]["containerStatuses"][0]
    assert status["resources"] == resources("1500m")
    assert status["allocatedResources"] == {"cpu": "1500m", "memory": "1Gi"}
    assert resizes.step() == []


def test_a_resize_for_which_room_lacks_is_deferred_and_happens_when_another_pod_has_gone() -> None:
    resizes, cluster = region(pod("a", "1", "1500m"), pod("b", "3"))
    text = "Node didn't have enough resource: cpu, requested: 1500, used: 3000, capacity: 4000"
    assert resizes.step() == [f"a Deferred: {text}"]
    assert cluster.held["a"]["status"]["conditions"][-1] == {
        "type": PENDING,
        "status": "True",
        "reason": "Deferred",
        "message": text,
        "observedGeneration": 2,
        "lastTransitionTime": NOW,
    }
    assert cluster.shown("a") == ("1", "Deferred")
    assert resizes.step() == []
    del cluster.held["b"]
    assert resizes.step() == ["a resized"]
    assert cluster.shown("a") == ("1500m", "")


def test_a_resize_that_the_node_could_not_hold_alone_is_infeasible() -> None:
    resizes, cluster = region(pod("a", "1", "5"))
    assert resizes.step() == [
        "a Infeasible: Node didn't have enough capacity: cpu, requested: 5000, capacity: 4000",
    ]
    assert cluster.shown("a") == ("1", "Infeasible")


def test_a_smaller_request_goes_first_and_makes_room() -> None:
    resizes, cluster = region(pod("a", "1", "2"), pod("b", "3", "2"))
    assert resizes.step() == ["b resized", "a resized"]
    assert cluster.shown("a") == ("2", "")


def test_a_higher_priority_goes_first() -> None:
    important = pod("b", "1", "2500m")
    important["spec"]["priority"] = 1000
    resizes, cluster = region(pod("a", "1", "2500m"), important)
    assert resizes.step()[0] == "b resized"
    assert cluster.shown("a") == ("1", "Deferred")


def test_who_asks_for_less_again_is_no_longer_deferred() -> None:
    resizes, cluster = region(pod("a", "1", "1500m"), pod("b", "3"))
    resizes.step()
    cluster.held["a"]["spec"]["containers"][0]["resources"] = resources("500m")
    assert resizes.step() == ["a resized"]
    assert cluster.shown("a") == ("500m", "")


def test_a_running_pod_that_shows_no_resources_gets_them_shown() -> None:
    bare = pod("a", "1")
    bare["status"]["containerStatuses"] = [{"name": "akidb"}]
    resizes, cluster = region(bare)
    assert resizes.step() == ["a resized"]
    assert cluster.shown("a") == ("1", "")


@pytest.mark.parametrize(
    ("changes", "waiting"),
    [
        ({}, True),
        ({"status": {"phase": "Pending"}}, False),
        ({"metadata": {"deletionTimestamp": NOW}}, False),
        ({"status": {"containerStatuses": []}}, False),
    ],
)
def test_only_what_runs_and_stays_is_resized(changes: dict[str, Any], waiting: bool) -> None:
    assert waits(pod("a", "1", "2", **changes)) is waiting


def test_the_same_amount_written_differently_is_no_resize() -> None:
    assert not waits(pod("a", "1", "1000m"))


def test_an_ended_pod_takes_no_room_and_a_pod_without_status_takes_its_request() -> None:
    fresh = pod("c", "1500m", status={"phase": "Pending", "containerStatuses": []})
    others = [pod("b", "3", status={"phase": "Failed"}), fresh]
    assert [what for _, what, _ in decide([pod("a", "1", "2500m"), *others], NODE, NOW)] == ["resized"]
    assert [what for _, what, _ in decide([pod("a", "1", "2600m"), *others], NODE, NOW)] == [
        "Deferred: Node didn't have enough resource: cpu, requested: 2600, used: 1500, capacity: 4000"
    ]


def test_a_pod_of_a_node_that_is_gone_is_left_alone() -> None:
    assert decide([pod("a", "1", "2")], {}, NOW) == []


def test_a_patch_that_was_overtaken_changes_nothing_and_is_decided_again() -> None:
    resizes, cluster = region(pod("a", "1", "2"))
    ((_, _, patch),) = decide(cluster.pods(), NODE, NOW)
    cluster.held["a"]["status"]["containerStatuses"][0]["name"] = "other"
    cluster.patch_status("akidb", "a", patch)
    assert cluster.shown("a") == ("1", "")
    cluster.held["a"]["status"]["containerStatuses"][0]["name"] = "akidb"
    assert resizes.step() == ["a resized"]
