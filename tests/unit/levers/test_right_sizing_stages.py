"""Right-sizing, stage by stage: when it refuses to act, what it waits for, and how it is judged."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

import pytest

from include.rollout.lever import NotConverged, Refused, Stage
from tests.unit.levers.sizing_world import LEVER, NOW, OLD, World, judged, resources_of, stage_of

LATE = dt.datetime.fromtimestamp(NOW - 75, dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
Spoil = Callable[[World], Any]


@pytest.fixture
def world() -> World:
    return World()


def until(world: World, slot: str) -> Stage:
    """Apply every stage before ``slot`` and give that one."""
    stages = LEVER.plan(world.target).stages
    for stage in stages:
        if stage.slot == slot:
            return stage
        LEVER.apply(world.target, stage)
    raise AssertionError(slot)


def test_the_stages_go_from_recommendations_to_new_pods_to_the_canary_to_all(world: World) -> None:
    seen = []
    for stage in LEVER.plan(world.target).stages:
        figures = LEVER.apply(world.target, stage)
        sizes = world.cluster.sizes()
        seen.append(
            (stage.slot, world.modes()["akidb-rest"], sizes["akidb-rest-0"]["cpu"], sizes["akidb-grpc-0"]["cpu"])
        )
    assert seen == [
        ("recommend", "Off", "1", "1"),
        ("new_pods", "Initial", "1", "1"),
        ("in_place_canary", "Initial", "1", "716m"),
        ("in_place_rest", "InPlaceOrRecreate", "716m", "716m"),
    ]
    assert figures["pods"]["akidb-rest"] == {"cpu 716m, memory 1555165137": 15}
    # Limits and templates are as they were.
    live = world.cluster.objects["Deployment", "akidb", "akidb-rest"]
    assert live["spec"]["template"]["spec"]["containers"][0]["resources"]["requests"] == OLD
    assert resources_of(world.cluster.pods("akidb-rest")[0])["limits"] == {"cpu": "2", "memory": "4Gi"}


def test_without_a_recommendation_it_does_not_go_on(world: World) -> None:
    world.cluster.recommends = False
    with pytest.raises(NotConverged, match="VPA akidb-rest has no recommendation: is vpa-recommender running"):
        LEVER.apply(world.target, stage_of(world, "recommend"))


def forget(world: World) -> None:
    world.cluster.recommends = False
    for name in world.estate.workloads:
        world.cluster.vpa(name)["status"] = {}


def disagree(world: World) -> None:
    world.cluster.recommender_scale = 1.2


def unread(world: World) -> None:
    """A recommender that had no answer from Prometheus at its start: an hour of constant use gives the same target."""
    world.cluster.recommender_days = 1 / 24


def starve(world: World) -> None:
    world.prometheus.peak = 4.5 * 2**30


def lose_a_day(world: World) -> None:
    world.prometheus.gap = (NOW - 3 * 86_400, NOW - 2 * 86_400)


@pytest.mark.parametrize("slot", ["new_pods", "in_place_canary", "in_place_rest"])
@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (forget, "VPA akidb-rest has no recommendation: is vpa-recommender running"),
        (
            lambda world: world.lease("vpa-recommender-lease", LATE),
            "vpa-recommender has not renewed its lease in kube-",
        ),
        (
            disagree,
            "container akidb: VPA recommends cpu 859m, our own figure from the same history is 716m, more than 5%",
        ),
        (
            unread,
            "container akidb: the recommender knows less than half of the 1.6 days of samples in Prometheus: its upper "
            "bound is cpu 2 and memory 4Gi, with half of them it would be cpu 1610m and memory 3337Mi: restart it",
        ),
        (
            starve,
            "akidb-rest needs memory 4Gi or more, the most that it may have: raise right_sizing.bounds.akidb-rest.most",
        ),
        (lose_a_day, "its use is not known for 2027-01-12: wait until these days have passed"),
    ],
)
def test_before_it_changes_a_pod_it_refuses_what_it_can_not_act_on(
    world: World, slot: str, spoil: Spoil, message: str
) -> None:
    stage = until(world, slot)
    spoil(world)
    world.cluster.settle()
    before, modes = world.cluster.sizes(), world.modes()
    with pytest.raises(Refused) as refused:
        LEVER.apply(world.target, stage)
    assert message in str(refused.value)
    assert (world.cluster.sizes(), world.modes()) == (before, modes)


def test_thin_data_is_refused_before_anything_is_written(world: World) -> None:
    stage = stage_of(world, "recommend")
    lose_a_day(world)
    with pytest.raises(Refused, match="akidb-rest: its use is not known for 2027-01-12"):
        LEVER.apply(world.target, stage)
    assert world.writes == []


def test_a_webhook_that_does_not_answer_is_seen_by_a_dry_run(world: World) -> None:
    stage = until(world, "new_pods")
    world.cluster.webhook_answers = False
    message = (
        "a new pod of akidb-rest would request cpu 1, memory 2Gi, VPA recommends cpu 716m, memory 1484Mi: is "
        "vpa-admission-controller running"
    )
    with pytest.raises(NotConverged, match=message):
        LEVER.apply(world.target, stage)
    assert not any(write.startswith("create Pod") for write in world.writes)
    assert judged(world, stage)["new_pods_unsized"][0] == "fail"


def test_pods_that_nobody_resizes_are_named_with_what_the_kubelet_says(world: World) -> None:
    stage = until(world, "in_place_canary")
    world.cluster.updates = False
    pod = world.cluster.pods("akidb-grpc")[0]
    waits = {"type": "PodResizeInProgress", "status": "True", "reason": "Error", "message": "cgroup"}
    pod["status"]["conditions"].append(waits)
    message = (
        r"akidb-grpc-0 requests cpu 1, memory 2Gi, recommended is cpu 716m, memory 1484Mi \(PodResizeInProgress Error: "
        r"cgroup\)"
    )
    with pytest.raises(NotConverged, match=message):
        LEVER.apply(world.target, stage)


def test_a_deferred_resize_is_not_one_that_is_done(world: World) -> None:
    world.prometheus.peak = 2.2 * 2**30  # x 1.15: more than the 2 GiB of now
    stage = until(world, "in_place_canary")
    world.cluster.room = False
    with pytest.raises(
        NotConverged, match=r"akidb-grpc-0 has cpu 1, memory 2Gi of the cpu .* \(PodResizePending Deferred"
    ):
        LEVER.apply(world.target, stage)


def test_pods_within_the_bounds_need_not_be_waited_for(world: World) -> None:
    stage = until(world, "in_place_canary")
    world.cluster.updates = False
    LEVER.apply(world.with_settings(wait_within_bounds=False), stage)  # 2Gi is within the bounds of one pod's history
    assert world.cluster.sizes()["akidb-grpc-0"] == OLD


def test_a_workload_that_is_scaled_to_zero_gets_new_pods_only(world: World) -> None:
    world.cluster.objects["Deployment", "akidb", "akidb-rest"]["spec"]["replicas"] = 0
    world.cluster.settle()
    assert "akidb-rest: scaled to zero: new pods only, there is none to resize" in LEVER.plan(world.target).notes
    world.apply_all()
    assert world.modes() == {"akidb-rest": "Initial", "akidb-grpc": "InPlaceOrRecreate"}


def test_a_single_pod_is_left_as_the_updater_leaves_it(world: World) -> None:
    world.cluster.objects["Deployment", "akidb", "akidb-rest"]["spec"]["replicas"] = 1
    world.cluster.settle()
    world.cluster.updates = False
    stage = until(world, "in_place_canary")
    world.cluster.updates = True
    LEVER.apply(world.target, stage)


# Gates ----------------------------------------------------------------------------------------------------------------


def killed(world: World, seconds_ago: float) -> None:
    at = dt.datetime.fromtimestamp(NOW - seconds_ago, dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    ended = {"reason": "OOMKilled", "exitCode": 137, "finishedAt": at}
    status = world.cluster.pods("akidb-grpc")[3]["status"]["containerStatuses"][0]
    status |= {"lastState": {"terminated": ended}, "restartCount": 1}


def evicted(world: World, count: int) -> None:
    at = dt.datetime.fromtimestamp(NOW - 30, dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    for number in range(count):
        metadata = {"name": f"evicted-{number}", "namespace": "akidb"}
        about = {"kind": "Pod", "name": f"akidb-rest-{number}"}
        event = {"kind": "Event", "metadata": metadata, "reason": "EvictedByVPA", "lastTimestamp": at}
        world.cluster.put(event | {"involvedObject": about})


def set_(**fields: Any) -> Spoil:
    def spoil(world: World) -> None:
        for name, value in fields.items():
            setattr(world.prometheus, name, value)

    return spoil


@pytest.mark.parametrize(
    ("spoil", "gate", "outcome", "part"),
    [
        (lambda world: killed(world, 20), "oom_kills", "fail", "akidb-grpc-3 was OOM-killed"),
        (lambda world: killed(world, 90), "oom_kills", "pass", "oom_kills: 0 kills"),
        (set_(counted=2.0), "oom_kills", "fail", "oom_kills: 2 kills"),
        (set_(counted=None), "oom_kills", "pass", "the counter container_oom_events_total is not there"),
        (lambda world: evicted(world, 30), "evictions_hour", "pass", "30 pods"),
        (lambda world: evicted(world, 31), "evictions_hour", "fail", "akidb-rest-0; akidb-rest-1; akidb-rest-2"),
        (set_(throttled=0.06), "throttled_share", "fail", "akidb-rest 6.00%, akidb-grpc 6.00%"),
        (set_(throttled=None), "throttled_share", "unknown", "no data"),
        (set_(cpu_used=0.82, memory_used=1.2 * 2**30), "utilisation_most", "fail", "CPU 115%, memory 83%"),
        (set_(cpu_used=0.3, memory_used=0.6 * 2**30), "utilisation_least", "fail", "CPU 42%, memory 41%"),
        (set_(requests=None), "availability", "unknown", "no data"),
    ],
)
def test_the_last_stage_is_judged_by_what_happens_to_the_pods(
    world: World, spoil: Spoil, gate: str, outcome: str, part: str
) -> None:
    stage = until(world, "in_place_rest")
    LEVER.apply(world.target, stage)
    spoil(world)
    found = judged(world, stage)
    assert (found[gate][0], part in found[gate][1]) == (outcome, True), found[gate]


@pytest.mark.parametrize(("days", "outcome"), [(1 / 24, "fail"), (3.0, "fail"), (5.0, "pass"), (8.0, "pass")])
def test_a_recommender_that_has_not_read_the_history_fails_though_its_target_is_right(
    world: World, days: float, outcome: str
) -> None:
    world.cluster.recommender_days = days
    stage = until(world, "recommend")
    LEVER.apply(world.target, stage)
    found = judged(world, stage)
    assert (found["recommendation_apart"][0], found["histories_unread"][0]) == ("pass", outcome), found


def test_bounds_that_are_capped_in_any_case_do_not_tell_what_the_recommender_knows(world: World) -> None:
    world.cluster.recommender_days = 1 / 24
    stage = until(world, "recommend")
    LEVER.apply(world.target, stage)
    for name in world.estate.workloads:  # a limit, as VPA heeds it, below what half of the history would allow
        (container,) = world.cluster.objects["Deployment", "akidb", name]["spec"]["template"]["spec"]["containers"]
        container["resources"]["limits"] = {"cpu": "900m", "memory": "2Gi"}
    assert judged(world, stage)["histories_unread"][0] == "pass"


def test_a_healthy_region_passes_every_gate_of_every_stage(world: World) -> None:
    for stage in LEVER.plan(world.target).stages:
        LEVER.apply(world.target, stage)
        found = judged(world, stage)
        assert {name: outcome for name, (outcome, _) in found.items()} == dict.fromkeys(found, "pass")


def test_kills_and_service_are_gates_of_its_safety(world: World) -> None:
    stage = stage_of(world, "in_place_canary")
    assert {gate.name for gate in stage.gates if gate.safety} == {
        "oom_kills",
        "p95_ms",
        "p95_ms_grpc",
        "error_ratio",
        "availability",
    }


def test_the_evidence_has_utilisation_requests_and_cost(world: World) -> None:
    before = LEVER.evidence(world.target)
    world.apply_all()
    after = LEVER.evidence(world.target)
    keys = ("utilisation_cpu", "utilisation_memory", "utilisation", "oom_kills", "nodes", "usd_hour")
    assert {key: before[key] for key in keys} == {
        "utilisation_cpu": 0.6,
        "utilisation_memory": 1229 / 2048,
        "utilisation": 1229 / 2048,
        "oom_kills": 0.0,
        "nodes": 5,
        "usd_hour": 1.45,
    }
    assert round(after["utilisation"], 3) == 0.838
    assert before["requested"]["akidb-rest"] == {"pods": 15, "cpu": 15.0, "memory_gib": 30.0}
    assert after["requested"]["akidb-rest"] == {"pods": 15, "cpu": 10.74, "memory_gib": 21.725}
