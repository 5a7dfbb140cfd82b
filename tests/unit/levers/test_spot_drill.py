"""The interruption drill: one notice, on record before it is sent, and how soon its node is replaced."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from include.rollout.lever import NotConverged, Refused
from tests.unit.levers.fake_cluster import Crashed, crash_at
from tests.unit.levers.spot_steps import LEVER, Killed, spread_out, stage_of
from tests.unit.levers.spot_world import NOW, World


@pytest.fixture
def world() -> World:
    return World()


# The drill -----------------------------------------------------------------------------------------------------------


def test_the_drill_sends_one_notice_and_remembers_it(world: World) -> None:
    for slot in ("step_1", "step_2", "step_3"):
        LEVER.apply(world.target, stage_of(world, slot))
    figures = LEVER.apply(world.target, stage_of(world, "interruption_drill"))
    assert (figures["node"], figures["pods_on_node"], figures["cordon_s"]) == ("d1-akidb-spot-1", 4, 0.0)
    (notice,) = world.aws.notices
    assert notice["detail-type"] == "EC2 Spot Instance Interruption Warning"
    assert notice["detail"] == {"instance-id": "d1-akidb-spot-1", "instance-action": "terminate"}
    assert (notice["id"], notice["time"]) == (figures["drill_id"], "2027-01-15T08:00:00Z")
    record = world.cluster.objects["ConfigMap", "akidb", "akidb-interruption-drills"]["data"]
    assert record == {figures["drill_id"]: str(NOW)}


def test_a_karpenter_that_does_not_react_is_named(world: World) -> None:
    LEVER.apply(world.target, stage_of(world, "step_1"))
    stage = stage_of(world, "interruption_drill")
    world.cluster.reacts = False
    LEVER.apply(world.target, stage_of(world, "step_2"))
    LEVER.apply(world.target, stage_of(world, "step_3"))
    with pytest.raises(NotConverged, match="is Karpenter's setting interruptionQueue akidb-ap-northeast-1"):
        LEVER.apply(world.target, stage)


def test_no_drill_without_a_spot_node(world: World) -> None:
    world.cluster.capacity = "on-demand"
    for slot in ("step_1", "step_2", "step_3"):
        LEVER.apply(world.target, stage_of(world, slot))
    with pytest.raises(Refused, match="no spot node to drill on: all of them fell back to on demand"):
        LEVER.apply(world.target, stage_of(world, "interruption_drill"))


# The drill's record --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("moment", ["before it is sent", "after it was sent", "before it is measured"])
def test_a_drill_that_was_cut_short_sends_one_notice_and_is_no_interruption(world: World, moment: str) -> None:
    spread_out(world)
    stage, call = stage_of(world, "interruption_drill"), world.aws.call

    def dies(service: str, operation: str, **given: Any) -> Any:
        if operation == "send_message" and moment == "before it is sent":
            raise Killed
        answer = call(service, operation, **given)
        if operation == "send_message" and moment == "after it was sent":
            raise Killed
        return answer

    world.aws.call = dies  # type: ignore[method-assign]
    if moment == "before it is measured":
        crash_at(world.writes, 3)  # the record, the notice, the record with its figure
    with pytest.raises((Killed, Crashed)):
        LEVER.apply(world.target, stage)
    record = world.cluster.objects["ConfigMap", "akidb", "akidb-interruption-drills"]["data"]
    assert len(record) == 1  # on record before it was sent
    world.aws.call = call  # type: ignore[method-assign]
    figures = LEVER.apply(world.target, stage)
    assert len(world.aws.notices) == 1
    assert list(world.cluster.objects["ConfigMap", "akidb", "akidb-interruption-drills"]["data"]) == [
        figures["drill_id"]
    ]
    # A moment that nobody has watched is not known, and no guess.
    assert figures["cordon_s"] == (None if moment == "after it was sent" else 0.0)


def test_another_run_has_a_drill_of_its_own(world: World) -> None:
    spread_out(world)
    stage = stage_of(world, "interruption_drill")
    first = LEVER.apply(world.target, stage)
    assert LEVER.apply(world.target, stage)["drill_id"] == first["drill_id"]
    world.cluster.settle()
    other = LEVER.apply(replace(world.target, run_id="another"), stage)
    assert other["drill_id"] != first["drill_id"]
    assert len(world.aws.notices) == 2


def test_a_node_that_has_gone_while_nobody_looked_got_its_notice(world: World) -> None:
    spread_out(world)
    stage, call = stage_of(world, "interruption_drill"), world.aws.call

    def dies(service: str, operation: str, **given: Any) -> Any:
        call(service, operation, **given)
        raise Killed

    world.aws.call = lambda s, o, **g: (dies if o == "send_message" else call)(s, o, **g)  # type: ignore[method-assign]
    with pytest.raises(Killed):
        LEVER.apply(world.target, stage)
    world.aws.call = call  # type: ignore[method-assign]
    (gone,) = (notice["detail"]["instance-id"] for notice in world.aws.notices)
    world.cluster.objects["Node", "", gone]["spec"]["taints"] = [{"key": "karpenter.sh/disrupted"}]
    world.cluster.settle()
    assert ("Node", "", gone) not in world.cluster.objects
    figures = LEVER.apply(world.target, stage)
    assert (figures["node"], figures["cordon_s"], len(world.aws.notices)) == (gone, None, 1)
