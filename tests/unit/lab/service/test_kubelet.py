"""What is written for KWOK and about kills: groups, when a write is worth it, and an API server that is away."""

from __future__ import annotations

import pytest

from lab.machine.again import UnavailableError
from lab.service.consumption import Consumption, Kill, Meter, PodUsage
from lab.service.kubelet import (
    Group,
    Kubelet,
    conditions_body,
    differs,
    event_body,
    groups,
    killed_patch,
    ready_patch,
    usage_body,
)
from lab.service.pods import Container, Pod
from lab.service.usage import MIB

AT = "2026-11-24T10:00:00Z"


def usage(name: str, cores: float, mib: float, workload: str = "rest", namespace: str = "akidb") -> PodUsage:
    pod = Pod("", "n1", True, False, False, name, namespace, name, workload, True, (Container("c"),))
    return PodUsage(pod, {"c": Meter(cores=cores, memory_bytes=mib * MIB)})


def consumption(*usages: PodUsage) -> Consumption:
    found = Consumption()
    found.pods = {one.pod.uid: one for one in usages}
    return found


def group(*pods: str, cores: int = 600, mib: int = 1229) -> Group:
    return Group("akidb", pods, (("c", cores, mib * MIB),))


KILL = Kill(usage("rest-a", 1, 1).pod, "c", 4429.4 * MIB, 4096 * MIB, 3, "2026-11-24T09:00:00Z")


class FakeCluster:
    """Keeps what is written; away while ``away``."""

    def __init__(self, *left: str) -> None:
        self.found: dict[str, Group | None] = dict.fromkeys(left)
        self.reported: list[tuple[Kill, str]] = []
        self.ready: list[tuple[Kill, str]] = []
        self.away = False

    def _answer(self) -> None:
        if self.away:
            raise UnavailableError("gone")

    def usages(self) -> list[str]:
        self._answer()
        return list(self.found)

    def apply_usage(self, name: str, group: Group) -> None:
        self._answer()
        self.found[name] = group

    def delete_usage(self, name: str) -> None:
        self._answer()
        del self.found[name]

    def report(self, kill: Kill, at: str) -> None:
        self._answer()
        self.reported.append((kill, at))

    def report_ready(self, kill: Kill, at: str) -> None:
        self._answer()
        self.ready.append((kill, at))


class Clock:
    """Seconds that the test sets."""

    def __init__(self) -> None:
        self.now = 1_795_514_400.0  # AT

    def __call__(self) -> float:
        return self.now


def test_pods_of_a_workload_share_an_object_and_one_that_differs_has_its_own() -> None:
    found = groups(
        [
            usage("b", 0.6, 1229),
            usage("a", 0.6, 1229.2),
            usage("x", 0.6, 3000),
            usage("k", 0.0001, 0.1, "", "kube-system"),
        ]
    )
    assert found == {
        "akidb.rest": group("a", "b"),
        "akidb.x.own": group("x", mib=3000),
        "kube-system.": Group("kube-system", ("k",), (("c", 1, MIB),)),
    }


@pytest.mark.parametrize(
    ("wanted", "worth"),
    [
        (group("a"), False),
        (group("a", cores=606), False),  # 1 %
        (group("a", cores=607), True),
        (group("a", mib=1216), True),
        (group("a", "b"), True),
    ],
)
def test_a_write_is_worth_it_when_pods_change_or_a_value_by_more_than_a_hundredth(wanted: Group, worth: bool) -> None:
    assert differs(group("a"), wanted) is worth


def test_kwok_finds_the_pods_by_name_and_plain_values() -> None:
    assert usage_body("akidb.rest", group("a", "b"))["spec"] == {
        "selector": {"matchNamespaces": ["akidb"], "matchNames": ["a", "b"]},
        "usages": [
            {"containers": ["c"], "usage": {"cpu": {"value": "600m"}, "memory": {"value": str(1229 * MIB)}}},
        ],
    }


def test_it_writes_what_changed_at_most_every_two_seconds_and_deletes_what_is_left_over() -> None:
    cluster, clock = FakeCluster("akidb.old"), Clock()
    kubelet = Kubelet(cluster, clock)
    kubelet.show(consumption(usage("a", 0.6, 1229)))
    kubelet.step()
    assert cluster.found == {"akidb.rest": group("a")}
    assert kubelet.calls == 3
    kubelet.show(consumption(usage("a", 0.7, 1229)))
    clock.now += 1.9
    kubelet.step()
    assert kubelet.calls == 3
    clock.now += 0.2
    kubelet.step()
    kubelet.step()
    assert cluster.found == {"akidb.rest": group("a", cores=700)}
    assert kubelet.calls == 4


def test_kills_wait_while_the_api_server_is_away_and_keep_their_time() -> None:
    cluster, clock = FakeCluster(), Clock()
    kubelet = Kubelet(cluster, clock)
    cluster.away = True
    kubelet.killed([KILL])
    with pytest.raises(UnavailableError):
        kubelet.step()
    clock.now += 100
    cluster.away = False
    kubelet.step()
    kubelet.step()
    assert cluster.reported == [(KILL, AT)]
    assert cluster.ready == []
    clock.now += 1
    kubelet.step()
    kubelet.step()
    assert cluster.reported == [(KILL, AT)]
    assert cluster.ready == [(KILL, "2026-11-24T10:01:41Z")]


def test_a_kill_shows_as_a_restart_from_running_to_running() -> None:
    ended = {"reason": "OOMKilled", "exitCode": 137, "startedAt": "2026-11-24T09:00:00Z", "finishedAt": AT}
    at = "/status/containerStatuses/0/"
    assert [(op["op"], op["path"].removeprefix(at), op["value"]) for op in killed_patch(KILL, AT)] == [
        ("test", "name", "c"),
        ("add", "ready", False),
        ("add", "restartCount", 3),
        ("add", "lastState", {"terminated": ended}),
        ("add", "state", {"running": {"startedAt": AT}}),
    ]
    conditions = conditions_body(KILL, AT, ready=False)["status"]["conditions"]
    assert [(c["type"], c["status"]) for c in conditions] == [("Ready", "False"), ("ContainersReady", "False")]
    assert conditions[0]["message"] == "containers with unready status: [c]"


def test_a_restarted_container_is_ready_and_nothing_else_of_it_changes() -> None:
    assert [op["path"].rsplit("/", 1)[1] for op in ready_patch(KILL)] == ["name", "ready"]
    conditions = conditions_body(KILL, AT, ready=True)["status"]["conditions"]
    ready = {"status": "True", "lastTransitionTime": AT, "reason": None, "message": None}
    assert conditions == [{"type": name, **ready} for name in ("Ready", "ContainersReady")]


def test_the_event_says_how_much_was_held_and_what_the_limit_is() -> None:
    event = event_body(KILL, AT)
    message = "Memory cgroup out of memory: container c held 4429 MiB, its limit is 4096 MiB"
    assert (event["reason"], event["message"]) == ("OOMKilling", message)
    assert event["involvedObject"]["fieldPath"] == "spec.containers{c}"
    full = Kill(KILL.pod, "c", 1229 * MIB, None, 1)
    assert event_body(full, AT)["message"].endswith("held 1229 MiB, its node's memory was exhausted")
