"""Snapshots of the spot lever that an earlier release wrote to the ledger (files as they lie there) are undone."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.unit.levers.spot_steps import LEVER, apply_all, stage_of
from tests.unit.levers.spot_world import World

SNAPSHOTS = Path(__file__).parent / "old_snapshots"


def written(name: str) -> dict[str, Any]:
    snapshot: dict[str, Any] = json.loads((SNAPSHOTS / f"{name}.json").read_text(encoding="utf-8"))
    return snapshot


@pytest.mark.parametrize(
    ("name", "steps"), [("spot_capacity_2026_11", ()), ("spot_capacity_2026_11_two_steps", ("step_1", "step_2"))]
)
def test_a_snapshot_of_the_release_before_the_house_is_undone_and_proved(name: str, steps: tuple[str, ...]) -> None:
    world, snapshot = World(), written(name)
    for slot in steps:
        stage = stage_of(world, slot)
        # A stage of that release knows the spot pool's types alone: both pools have them.
        known = {key: value for key, value in stage.settings.items() if key != "on_demand_types"}
        LEVER.apply(world.target, replace(stage, settings=known))
    assert LEVER.snapshot(world.target) == snapshot  # the release writes today what that one wrote
    apply_all(world)
    assert LEVER.verify_restored(world.target, snapshot) != []
    assert LEVER.rollback(world.target, snapshot).changed_by_others == ()
    assert LEVER.verify_restored(world.target, snapshot) == []
    assert LEVER.snapshot(world.target) == snapshot
