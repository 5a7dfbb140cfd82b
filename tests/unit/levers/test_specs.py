"""Karpenter's objects as owned things: the whole spec is the lever's, and goes back whole."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from include.clients.kubernetes import NODE_POOL
from include.levers import world as levers_world
from include.levers.node_costs import SPREAD
from include.levers.nodes.specs import LEFT, Spec
from include.levers.owned import Thing
from include.rollout.lever import Difference
from tests.unit.levers.spot_world import NOW, World

OLD: dict[str, Any] = {
    "limits": {"cpu": "1"},
    "template": {"spec": {"requirements": [{"key": SPREAD, "operator": "In", "values": ["d9"]}]}},
}
NEW = OLD | {"limits": {"cpu": "2"}}
HEAD = {"apiVersion": "karpenter.sh/v1", "kind": "NodePool", "metadata": {"name": "p"}}
THING: Thing = Spec(NODE_POOL, "p", HEAD | {"spec": NEW})


@pytest.fixture
def fake() -> World:
    return World()


def world_of(fake: World, manager: str = "team") -> levers_world.World[Any]:
    return levers_world.World(fake.target, lambda: NOW, manager)


def make(fake: World, spec: dict[str, Any], manager: str = "team") -> None:
    fake.cluster.apply(copy.deepcopy(HEAD | {"spec": spec}), manager, force=True)


def test_a_pool_that_was_not_there_is_made_and_deleted(fake: World) -> None:
    world = world_of(fake)
    assert (THING.entry(world), THING.unnamed(world)) == (None, [])
    assert THING.differences(None) == [Difference("NodePool/p spec", None, NEW)]
    assert THING.write(world, dry_run=True)
    assert THING.entry(world) is None
    assert THING.write(world)
    assert (THING.entry(world), THING.unnamed(world), THING.differences(NEW)) == (NEW, [None], [])
    assert THING.unrestored(world, None) == [Difference("NodePool/p spec", NEW, None)]
    assert THING.restore(world, None, []) == "deleted"
    assert (THING.restore(world, None, []), THING.unrestored(world, None)) == (None, [])


def test_a_pool_that_was_there_gets_its_spec_back_also_where_it_is_gone(fake: World) -> None:
    world = world_of(fake)
    make(fake, OLD)
    assert THING.differences(OLD) == [Difference("NodePool/p spec.limits.cpu", "1", "2")]
    THING.write(world)
    assert THING.restore(world, OLD, []) == "set back"
    assert THING.entry(world) == OLD
    del fake.cluster.objects["NodePool", "", "p"]
    assert THING.restore(world, OLD, []) == "set back"
    assert THING.entry(world) == OLD


def test_a_spec_that_others_have_changed_stays_and_is_reported(fake: World) -> None:
    world, report = world_of(fake), list[Difference]()
    make(fake, NEW)
    theirs = NEW | {"limits": {"cpu": "9"}}
    make(fake, theirs, "kubectl-edit")
    assert THING.unnamed(world_of(fake, "another")) == []
    assert THING.restore(world, OLD, report) == LEFT
    assert report == [Difference("NodePool/p spec", OLD, theirs)]
    # What the lever has made goes all the same: it was not there before.
    assert THING.restore(world, None, report) == "deleted"
    assert report[1:] == [Difference("NodePool/p spec", None, theirs)]


def test_a_pool_that_somebody_needs_stays(fake: World) -> None:
    world, report = world_of(fake), list[Difference]()
    THING.write(world)
    assert THING.restore(world, None, report, lambda _: ["Job a/b", "Pod c/d"]) == LEFT
    assert report == [Difference("NodePool/p spec", None, "needed by Job a/b; Pod c/d")]


def test_a_pool_whose_definition_is_gone_is_reported(fake: World) -> None:
    world, report = world_of(fake), list[Difference]()
    fake.cluster.unserved = {"nodepools"}
    assert (THING.restore(world, OLD, report), THING.restore(world, None, report)) == (None, None)
    assert report == [Difference("NodePool/p spec", OLD, None)]
