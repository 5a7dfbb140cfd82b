"""The routing lever against a real API server, Gateway API's definitions and the plant, with Airflow's rights."""

from __future__ import annotations

import json
import time
import urllib.request
from types import SimpleNamespace
from typing import Any

import pytest

from include.levers.request_routing import RequestRouting
from include.levers.request_routing.settings import RoutingSettings
from include.rollout.gates import Outcome, judge_all
from include.rollout.lever import Target
from include.rollout.settings import build
from lab import world as worlds
from tests.lab.conftest import REGION

pytestmark = pytest.mark.lab
LEVER = RequestRouting()
UNDO_SECONDS = 60


@pytest.fixture(scope="module")
def target(world: worlds.LabWorld, region_clients: SimpleNamespace) -> Target:
    """The region as a task sees it."""
    settings = build(RoutingSettings, {"converge_timeout_seconds": 120}, world.estate)
    return Target(REGION, world.estate, "lab-test", settings, region_clients)


def routed(world: worlds.LabWorld) -> dict[str, float] | None:
    """The shares that the plant gives the backends; None while nothing is routed."""
    with urllib.request.urlopen(f"{world.state['plant']}/health", timeout=10) as answer:
        found: dict[str, float] | None = json.load(answer)["regions"][REGION].get("routed")
    return found


def test_the_plant_follows_the_weights_the_gates_pass_and_the_undo_leaves_nothing(
    target: Target, world: worlds.LabWorld
) -> None:
    failed = [f"{check.name}: {check.reason}" for check in LEVER.preflight(target) if not check.passed]
    assert failed == []
    snapshot = LEVER.snapshot(target)
    for stage in LEVER.plan(target).stages:
        applied = LEVER.apply(target, stage)
        weights = stage.settings["weights"]
        assert routed(world) == pytest.approx({name: weight / 10_000 for name, weight in weights.items()})

        def failures(stage: Any = stage, applied: Any = applied) -> list[str]:
            results = judge_all(stage.gates, LEVER.observe(target, stage, 20, applied))
            return [result.reason for result in results if result.outcome is not Outcome.PASS]

        world.processes.wait_until(lambda: not failures(), f"every gate passing, not {failures()}", 90)
    assert LEVER.plan(target).differences == ()
    begun = time.monotonic()
    assert LEVER.rollback(target, snapshot).changed_by_others == ()
    assert time.monotonic() - begun < UNDO_SECONDS * world.processes.stretch
    assert LEVER.verify_restored(target, snapshot) == []
    world.processes.wait_until(lambda: routed(world) is None, "the plant seeing that nothing is routed", 20)
