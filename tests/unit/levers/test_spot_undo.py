"""The spot lever's way back from its own writes, whole or cut short."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from include.levers.node_costs import SPREAD
from tests.unit.levers.fake_cluster import Crashed, crash_at
from tests.unit.levers.spot_steps import LEVER, Killed, apply_all, stage_of, with_fence
from tests.unit.levers.spot_world import QUEUE_ARN, REGION, World, made_pod


@pytest.fixture
def world() -> World:
    return World()


def test_a_rollback_restores_everything_capacity_first(world: World) -> None:
    snapshot = LEVER.snapshot(world.target)
    apply_all(world)
    to_set_back = [str(difference) for difference in LEVER.verify_restored(world.target, snapshot)]
    assert len(to_set_back) > 10
    assert "NodeGroup desiredSize: 2 -> 5" in to_set_back  # from live to snapshot, as an approver reads it
    world.writes.clear()
    restored = LEVER.rollback(world.target, snapshot)
    assert restored.changed_by_others == ()
    order = [w for w in world.writes if not w.startswith("patch Node")]
    assert order == [
        'resize {"desiredSize": 5, "minSize": 5}',
        "apply Deployment/akidb-rest",
        "apply Deployment/akidb-grpc",
        "delete NodePool/akidb-spot",
        "delete NodePool/akidb-on-demand",
        "delete EC2NodeClass/akidb",
        *(
            f"delete rule akidb-{REGION}-{slug}"
            for slug in ("spot-interruption", "rebalance", "state-change", "health", "capacity-reservation")
        ),
        "set queue MessageRetentionPeriod,Policy,VisibilityTimeout",
    ]
    assert LEVER.verify_restored(world.target, snapshot) == []
    assert LEVER.snapshot(world.target) == snapshot


def test_a_rollback_may_run_twice_and_before_anything_was_written(world: World) -> None:
    snapshot = LEVER.snapshot(world.target)
    LEVER.rollback(world.target, snapshot)
    assert world.writes == []
    apply_all(world)
    LEVER.rollback(world.target, snapshot)
    world.writes.clear()
    LEVER.rollback(world.target, snapshot)
    assert world.writes == []
    assert LEVER.verify_restored(world.target, snapshot) == []


@pytest.mark.parametrize("write", range(1, 31))
def test_a_crash_after_any_write_is_undone_completely(world: World, write: int) -> None:
    snapshot = LEVER.snapshot(world.target)
    crash_at(world.writes, write)
    with pytest.raises(Crashed):
        apply_all(world)
    LEVER.rollback(world.target, snapshot)
    assert LEVER.verify_restored(world.target, snapshot) == []


def test_a_crash_of_the_rollback_is_made_good_by_the_next(world: World) -> None:
    snapshot = LEVER.snapshot(world.target)
    apply_all(world)
    for step in range(9):
        left = iter(range(step, -1, -1))

        def fence(left: Iterator[int] = left) -> None:
            if next(left) == 0:
                raise Killed

        with pytest.raises(Killed):
            LEVER.rollback(with_fence(world, fence), snapshot)
    LEVER.rollback(world.target, snapshot)
    assert LEVER.verify_restored(world.target, snapshot) == []


def test_what_others_changed_is_reported_and_left_alone(world: World) -> None:
    snapshot = LEVER.snapshot(world.target)
    apply_all(world)
    theirs = {"topologyKey": SPREAD, "whenUnsatisfiable": "ScheduleAnyway", "maxSkew": 3}
    spec = world.cluster.objects["Deployment", "akidb", "akidb-rest"]["spec"]["template"]["spec"]
    spec["topologySpreadConstraints"] = [theirs]
    assert world.aws.queue is not None
    world.aws.queue["VisibilityTimeout"] = "90"
    world.aws.scaling["minSize"] = 1
    rule = f"akidb-{REGION}-health"
    world.aws.rules[rule]["pattern"] = '{"source": ["theirs"]}'
    world.cluster.put(made_pod("akidb-rest-0", "akidb-rest", "akidb", "i-1"))
    others = {d.path: (d.before, d.after) for d in LEVER.rollback(world.target, snapshot).changed_by_others}
    assert others == {
        "NodeGroup minSize": (5, 1),
        f"Deployment/akidb-rest spread over {SPREAD}": (None, theirs),
        f"Rule/{rule}": (None, {"pattern": {"source": ["theirs"]}, "targets": [QUEUE_ARN]}),
        "Queue VisibilityTimeout": ("30", "90"),
    }
    assert spec["topologySpreadConstraints"] == [theirs]
    assert world.aws.queue["VisibilityTimeout"] == "90"
    # Under the same paths: what is others' can be told from what is still to be set back.
    assert {difference.path for difference in LEVER.verify_restored(world.target, snapshot)} == set(others)


def test_pools_that_were_there_before_get_their_spec_back(world: World) -> None:
    for slot in ("step_1", "step_2"):
        LEVER.apply(world.target, stage_of(world, slot))
    snapshot = LEVER.snapshot(world.target)
    apply_all(world)
    world.writes.clear()
    LEVER.rollback(world.target, snapshot)
    # On demand first: it takes the domain back before spot gives it up.
    applied = [write for write in world.writes if write.startswith(("apply", "delete"))]
    assert applied == ["apply NodePool/akidb-on-demand", "apply NodePool/akidb-spot"]
    assert LEVER.verify_restored(world.target, snapshot) == []


def test_a_queue_that_the_lever_created_is_deleted(world: World) -> None:
    world.aws.queue = None
    snapshot = LEVER.snapshot(world.target)
    apply_all(world)
    LEVER.rollback(world.target, snapshot)
    assert world.writes[-1] == "delete queue"
    assert LEVER.verify_restored(world.target, snapshot) == []
