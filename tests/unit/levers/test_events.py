"""A queue and the rules that feed it as owned things: written once, set back where they are still the lever's."""

from __future__ import annotations

from typing import Any

import pytest

from include.levers import world as levers_world
from include.levers.events import EventRule, Queue, queue_arn, write_rule
from include.levers.owned import Thing
from include.rollout.lever import Difference, Refused
from tests.unit.levers.spot_world import NOW, QUEUE_ARN, REGION, World

NAME = f"akidb-{REGION}"
BODY = {"pattern": {"source": ["aws.health"]}, "targets": [QUEUE_ARN]}
THEIRS = {"pattern": {"source": ["theirs"]}, "targets": [QUEUE_ARN]}
RULE = EventRule("akidb-health", BODY)
QUEUE = Queue(NAME, {"VisibilityTimeout": "60", "Policy": "{}"}, {"CostCenter": "akidb"})


@pytest.fixture
def fake() -> World:
    return World()


def world_of(fake: World) -> levers_world.World[Any]:
    return levers_world.World(fake.target, lambda: NOW, "team")


# Rules -----------------------------------------------------------------------------------------------------------


def test_a_rule_is_written_once_and_goes_with_the_undo(fake: World) -> None:
    world, thing = world_of(fake), RULE
    assert (thing.entry(world), thing.unnamed(world)) == (None, [])
    assert thing.differences(None) == [Difference("Rule/akidb-health", None, BODY)]
    assert thing.write(world, dry_run=True) is False
    assert fake.writes == []
    assert [thing.write(world), thing.write(world)] == [True, False]
    assert (thing.entry(world), thing.unnamed(world), thing.differences(BODY)) == (BODY, [None], [])
    assert thing.unrestored(world, None) == [Difference("Rule/akidb-health", BODY, None)]
    assert thing.restore(world, None, []) == "deleted"
    assert (thing.restore(world, None, []), thing.unrestored(world, None)) == (None, [])


def test_a_rule_that_was_there_gets_its_pattern_back(fake: World) -> None:
    world = world_of(fake)
    write_rule(world, RULE.name, THEIRS)
    assert RULE.differences(THEIRS) == [Difference("Rule/akidb-health pattern.source", ["theirs"], ["aws.health"])]
    RULE.write(world)
    assert RULE.restore(world, THEIRS, []) == "set back"
    assert RULE.unrestored(world, THEIRS) == []


@pytest.mark.parametrize("rule", [RULE, EventRule(RULE.name)])
def test_a_rule_that_is_not_as_this_release_writes_it_stays_and_is_reported(fake: World, rule: EventRule) -> None:
    world, report = world_of(fake), list[Difference]()
    write_rule(world, rule.name, THEIRS)
    assert (rule.unnamed(world), rule.restore(world, None, report)) == ([], None)
    assert report == [Difference("Rule/akidb-health", None, THEIRS)]
    assert rule.entry(world) == THEIRS


def test_a_rule_that_somebody_still_needs_stays(fake: World) -> None:
    world, report = world_of(fake), list[Difference]()
    RULE.write(world)
    assert RULE.restore(world, None, report, lambda _: ["Deployment other/x"]) is None
    assert report == [Difference("Rule/akidb-health", None, BODY)]


def test_a_target_that_eventbridge_does_not_take_is_refused(fake: World) -> None:
    failed = {"FailedEntryCount": 1, "FailedEntries": [{"ErrorMessage": "no such queue"}]}
    fake.aws._events_put_targets = lambda **_: failed  # type: ignore[method-assign]
    with pytest.raises(Refused, match="EventBridge rule akidb-health: no such queue"):
        RULE.write(world_of(fake))


# The queue -------------------------------------------------------------------------------------------------------


def test_the_arn_of_a_queue_is_known_before_there_is_one(fake: World) -> None:
    assert queue_arn(world_of(fake), NAME) == QUEUE_ARN
    fake.aws.queue = None
    assert queue_arn(world_of(fake), NAME) == QUEUE_ARN


def test_a_queue_that_was_not_there_goes_unless_somebody_needs_it(fake: World) -> None:
    world, report, thing = world_of(fake), list[Difference](), QUEUE
    fake.aws.queue = None
    assert (thing.entry(world), thing.unnamed(world)) == (None, [])
    assert thing.differences(None) == [Difference("Queue", None, {"VisibilityTimeout": "60", "Policy": "{}"})]
    assert [thing.write(world), thing.write(world)] == [True, False]
    live = {"VisibilityTimeout": "60", "Policy": "{}"}
    assert thing.restore(world, None, report, lambda _: ["a pool"]) is None
    assert report == [Difference("Queue", None, live)]
    assert thing.unrestored(world, None) == [Difference("Queue", live, None)]
    assert thing.restore(world, None, report) == "deleted"
    assert (thing.restore(world, None, report), thing.unrestored(world, None)) == (None, [])


def test_attributes_that_are_still_the_levers_are_set_back_and_others_reported(fake: World) -> None:
    world, report = world_of(fake), list[Difference]()
    was = QUEUE.entry(world)
    assert was == {"VisibilityTimeout": "30", "Policy": None}
    QUEUE.write(world)
    assert fake.aws.queue is not None
    fake.aws.queue["VisibilityTimeout"] = "90"
    assert QUEUE.restore(world, was, report) == "set back"
    assert report == [Difference("Queue VisibilityTimeout", "30", "90")]
    assert QUEUE.unrestored(world, was) == [Difference("Queue VisibilityTimeout", "90", "30")]
    assert QUEUE.entry(world) == {"VisibilityTimeout": "90", "Policy": None}


def test_a_queue_that_is_gone_is_reported(fake: World) -> None:
    world, report = world_of(fake), list[Difference]()
    fake.aws.queue = None
    assert QUEUE.restore(world, {"VisibilityTimeout": "30"}, report) is None
    assert report == [Difference("Queue", {"VisibilityTimeout": "30"}, None)]


def test_both_are_owned_things() -> None:
    things: list[Thing] = [QUEUE, RULE]
    assert [(thing.key, thing.wanted) for thing in things] == [("Queue", True), ("Rule/akidb-health", True)]
