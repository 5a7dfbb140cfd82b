"""Power modes of the devices: asked of the canary, then of the others, judged, and undone. The agent itself runs."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from include.levers import devices, lever
from include.levers.devices import OFFLINE, device_of
from include.levers.edge_power.figures import usd_month
from include.rollout.gates import judge_all
from include.rollout.lever import NotConverged, Refused, Undo
from jetson_tasks import bundle, paths
from tests.unit.jetson_tasks.device_world import SAMPLES
from tests.unit.levers.power_world import CLOCK, LEVER, World


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def with_mode(world: World, mode: str) -> Any:
    settings = world.target.settings.model_copy(update={"power_mode": mode})
    return replace(world.target, settings=settings)


def outcomes(world: World, slot: int) -> dict[str, str]:
    stage = LEVER.plan(world.target).stages[slot]
    return {r.gate.name: r.outcome.value for r in judge_all(stage.gates, LEVER.observe(world.target, stage, 60, {}))}


ALL_PASS = dict.fromkeys(("unserved_qps", "devices_not_as_asked", "devices_pending", "watts_to_measured"), "pass")


# Plan and preflight ---------------------------------------------------------------------------------------------------


def test_it_is_registered_and_acts_on_the_devices() -> None:
    found = lever("edge_power")
    assert (found.name, str(LEVER.acts_in), LEVER.needs) == ("edge_power", "devices", frozenset({"devices"}))


def test_the_plan_names_what_changes_on_each_device_the_measured_modes_and_the_dollars(world: World) -> None:
    plan = LEVER.plan(world.target)
    shown = [str(d) for d in plan.differences if d.path.startswith("Device jetson01")]
    assert shown[:3] == [
        "Device jetson01.active: false -> true",
        f"Device jetson01.agent: absent -> {bundle.version()[:12]}",
        "Device jetson01.enabled: false -> true",
    ]
    assert [(stage.slot, stage.title) for stage in plan.stages] == [
        ("canary", "jetson01 follow their load"),
        ("rest", "jetson02, jetson03, jetson04, jetson05 follow their load"),
    ]
    # At 120 QPS MAXN_SUPER draws 12.09 W and 15W 8.71 W, five devices, 75 % efficient, 730.5 h, 0.15 USD/kWh.
    assert (plan.usd_month_before, plan.usd_month_after) == (Decimal("8.85"), Decimal("6.36"))
    assert "15W was measured: 5.0 W idle, 11.8 W full, 220 QPS" in plan.notes
    assert (plan.undo, LEVER.plan(world.target).hash()) == (Undo.MINUTES, plan.hash())


def test_dollars_are_for_the_wall_socket() -> None:
    assert usd_month(7.5, 5, 0.75, Decimal("0.15")) == Decimal("5.48")


def test_without_a_measurement_the_plan_is_refused_with_the_remedy(world: World) -> None:
    world.costs.delete(world.estate.edge.power.measured)
    message = "nothing was measured: devices/measured.json does not exist in akidb_costs; labels are no data"
    with pytest.raises(Refused, match=message):
        LEVER.plan(world.target)
    (check,) = LEVER.preflight(world.target)
    assert (check.passed, check.remedy) == (False, "trigger measure_devices, then start again")


def test_an_old_measurement_warns(world: World) -> None:
    old = json.loads(world.costs.read(world.estate.edge.power.measured)) | {"measured_at": CLOCK.at - 200 * 86400}
    world.costs.put(world.estate.edge.power.measured, json.dumps(old).encode())
    assert LEVER.plan(world.target).notes[-1].endswith("200 days ago: measure again")


def failed(world: World) -> dict[str, tuple[str, str]]:
    return {c.name: (c.reason, c.remedy) for c in LEVER.preflight(world.target) if not c.passed}


def test_preflight_names_another_unit_another_device_and_modes_that_are_out_of_reach(world: World) -> None:
    assert failed(world) == {}
    world.devices["jetson02"].files.replace(paths.UNIT, "[Service]\nUser=root\n")
    world.devices["jetson03"].files.replace(paths.HOSTNAME, "jetson04\n")
    world.devices["jetson05"].mode = "7W"
    found = failed(world)
    assert found["unit of jetson02"][0] == f"{paths.UNIT} differs from this release"
    assert found["device jetson03"][0] == "the connection of jetson03 leads to jetson04: correct its host"
    assert found["modes of jetson05"][0] == "15W, 25W, MAXN_SUPER need a reboot from 7W"


def test_an_offline_canary_is_refused_and_another_device_is_pending(world: World) -> None:
    world.devices["jetson03"].offline = True
    assert failed(world) == {}
    world.devices["jetson01"].offline = True
    assert list(failed(world)) == ["device jetson01"]


def test_an_answer_of_nvpmodel_without_a_mode_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "PAUSE_SECONDS", 0)
    conf = SAMPLES["orin_nano_super"].read_bytes()
    answers = iter(["", "NVPM WARN: power mode is not set!", "NV Power Mode: 25W\n1\n"])
    device: Any = SimpleNamespace(
        name="jetson01", read=lambda _: conf, run=lambda *_: SimpleNamespace(status=0, out=next(answers), err="")
    )
    assert devices.mode_of(device) == "25W"


# Apply and gates ------------------------------------------------------------------------------------------------------


def test_the_canary_is_written_first_and_alone_and_twice_is_once(world: World) -> None:
    first, last = LEVER.plan(world.target).stages
    LEVER.apply(world.target, first)
    assert {name for name, state in world.state().items() if state["active"]} == {"jetson01"}
    once = world.state()
    LEVER.apply(world.target, first)
    assert world.state() == once
    assert outcomes(world, 0) == ALL_PASS
    assert LEVER.apply(world.target, last)["pending"] == []
    assert outcomes(world, 1) == ALL_PASS
    assert LEVER.plan(world.target).differences == ()


def test_a_device_follows_its_load_after_its_dwell_time(world: World) -> None:
    world.apply_all()
    CLOCK.sleep(301)
    device = world.devices["jetson01"]
    device.agent.step()
    assert device.mode == "15W"
    device.load = 290.0
    device.agent.step()
    assert device.mode == "MAXN_SUPER"  # 290 is above 90 % of what 25W serves
    assert outcomes(world, 0) == ALL_PASS


def test_requests_above_the_measured_capacity_fail_a_safety_gate(world: World) -> None:
    world.apply_all()
    device = world.devices["jetson01"]
    device.load = 350.0
    device.agent.step()
    stage = LEVER.plan(world.target).stages[0]
    served = judge_all(stage.gates, LEVER.observe(world.target, stage, 60, {}))[0]
    assert (served.outcome.value, served.gate.safety) == ("fail", True)
    assert "jetson01 lacks 20" in served.reason


def test_a_load_that_is_unknown_is_no_pass(world: World) -> None:
    world.apply_all()
    device = world.devices["jetson01"]
    device.load = None
    device.agent.step()
    assert outcomes(world, 0)["unserved_qps"] == "unknown"


def test_watts_far_above_the_measured_ones_fail(world: World) -> None:
    world.apply_all()
    world.devices["jetson01"].draws = 1.4
    assert outcomes(world, 0)["watts_to_measured"] == "fail"


def test_a_device_that_answers_another_mode_than_asked_is_named(world: World) -> None:
    world.devices["jetson01"].answers = "15W"
    target = with_mode(world, "25W")
    stage = LEVER.plan(target).stages[0]
    message = "jetson01 is not as it was asked: mode 25W was asked for and the device answers 15W"
    with pytest.raises(NotConverged, match=message):
        LEVER.apply(target, stage)


def test_a_mode_that_needs_a_reboot_makes_the_undo_one(world: World) -> None:
    plan = LEVER.plan(with_mode(world, "7W"))
    assert plan.undo is Undo.REBOOT
    before, snapshot = world.state(), LEVER.snapshot(world.target)
    for stage in plan.stages:
        LEVER.apply(with_mode(world, "7W"), stage)
    assert {state["mode"] for state in world.state().values()} == {"7W"}
    assert LEVER.rollback(world.target, snapshot).changed_by_others == ()
    assert (LEVER.verify_restored(world.target, snapshot), world.state()) == ([], before)


# Offline devices ------------------------------------------------------------------------------------------------------


def test_an_offline_device_is_pending_and_its_gate_unknown_not_failed(world: World) -> None:
    world.devices["jetson04"].offline = True
    plan = LEVER.plan(world.target)
    assert "jetson04 is offline: pending, this run leaves it as it is and ends red" in plan.notes
    assert plan.stages[1].title == "jetson02, jetson03, jetson05 follow their load"
    for stage in plan.stages:
        figures = LEVER.apply(world.target, stage)
    assert figures["pending"] == ["jetson04"]
    found = judge_all(plan.stages[1].gates, LEVER.observe(world.target, plan.stages[1], 60, {}))
    assert {r.gate.name: r.outcome.value for r in found} == ALL_PASS | {"devices_pending": "unknown"}
    assert not next(r for r in found if r.gate.name == "devices_pending").gate.safety


def test_a_device_that_comes_back_after_the_plan_is_not_written_to_since_no_snapshot_knows_it(world: World) -> None:
    world.devices["jetson04"].offline = True
    stages = LEVER.plan(world.target).stages
    world.devices["jetson04"].offline = False
    before = world.devices["jetson04"].state()
    for stage in stages:
        assert LEVER.apply(world.target, stage)["pending"] in ([], ["jetson04"])
    assert world.devices["jetson04"].state() == before
    results = judge_all(stages[1].gates, LEVER.observe(world.target, stages[1], 60, {}))
    assert {r.gate.name: r.outcome.value for r in results}["devices_pending"] == "unknown"


def test_an_undo_sets_the_others_back_and_does_not_end_while_a_device_is_offline(world: World) -> None:
    before, snapshot = world.state(), LEVER.snapshot(world.target)
    world.apply_all()
    world.devices["jetson02"].offline = True
    with pytest.raises(NotConverged, match="Device jetson02 is offline: its undo is pending until it is back"):
        LEVER.rollback(world.target, snapshot)
    assert {name for name, state in world.state().items() if state["active"]} == {"jetson02"}
    assert [str(d) for d in LEVER.verify_restored(world.target, snapshot)] == ["Device jetson02: offline -> pending"]
    world.devices["jetson02"].offline = False
    LEVER.rollback(world.target, snapshot)
    assert (LEVER.verify_restored(world.target, snapshot), world.state()) == ([], before)


def test_a_device_that_dies_in_the_middle_of_a_switch_is_undone_once_it_is_back(world: World) -> None:
    before, snapshot, target = world.state(), LEVER.snapshot(world.target), with_mode(world, "25W")
    world.devices["jetson01"].dies_in_switch = True
    with pytest.raises(Exception, match="jetson01 can't be reached"):
        LEVER.apply(target, LEVER.plan(target).stages[0])
    world.devices["jetson01"].offline = world.devices["jetson01"].dies_in_switch = False
    assert LEVER.rollback(world.target, snapshot).changed_by_others == ()
    assert (LEVER.verify_restored(world.target, snapshot), world.state()) == ([], before)


def test_a_device_that_was_offline_in_the_snapshot_and_is_asked_something_now_is_never_called_restored(
    world: World,
) -> None:
    world.devices["jetson05"].offline = True
    snapshot = LEVER.snapshot(world.target)
    assert snapshot["objects"][4] == {"key": "Device jetson05", "was": OFFLINE}
    world.devices["jetson05"].offline = False
    world.apply_all()
    others = LEVER.rollback(world.target, snapshot).changed_by_others
    (left,) = LEVER.verify_restored(world.target, snapshot)
    assert str(left) == "Device jetson05: asked -> not known: it was offline when the snapshot was taken"
    assert others == (left,)


# Undo -----------------------------------------------------------------------------------------------------------------


def test_a_mode_that_somebody_set_by_hand_stays_and_is_reported(world: World) -> None:
    snapshot, device = LEVER.snapshot(world.target), world.devices["jetson03"]
    world.apply_all()
    device.active, device.mode = False, "15W"
    (theirs,) = LEVER.rollback(world.target, snapshot).changed_by_others
    assert (str(theirs), device.mode) == ("Device jetson03.mode: MAXN_SUPER -> 15W", "15W")


def test_a_second_rollouts_undo_brings_back_what_the_first_asked_for(world: World) -> None:
    first = LEVER.snapshot(world.target)
    start = world.state()
    world.apply_all()
    between, target = world.state(), with_mode(world, "25W")
    second = json.loads(json.dumps(LEVER.snapshot(target)))
    for stage in LEVER.plan(target).stages:
        LEVER.apply(target, stage)
    assert {state["mode"] for state in world.state().values()} == {"25W"}
    LEVER.rollback(target, second)
    assert LEVER.verify_restored(target, second) == []
    assert {n: s | {"mode": "", "agent": ""} for n, s in world.state().items()} == {
        n: s | {"mode": "", "agent": ""} for n, s in between.items()
    }
    LEVER.rollback(world.target, first)
    assert (LEVER.verify_restored(world.target, first), world.state()) == ([], start)


def test_a_former_agent_comes_back_from_the_snapshot_alone(world: World) -> None:
    device = world.devices["jetson01"]
    former = bundle.agent_bytes() + b"\n"
    device.put(paths.AGENT, former)
    device.active = device.enabled = True
    snapshot = json.loads(json.dumps(LEVER.snapshot(world.target)))
    world.apply_all()
    assert device.read(paths.AGENT) == bundle.agent_bytes()
    LEVER.rollback(world.target, snapshot)
    assert (device.read(paths.AGENT), device.active, device.enabled) == (former, True, True)
    assert LEVER.verify_restored(world.target, snapshot) == []


def test_a_rollback_needs_no_measurement(world: World) -> None:
    before, snapshot = world.state(), LEVER.snapshot(world.target)
    world.apply_all()
    world.costs.delete(world.estate.edge.power.measured)
    LEVER.rollback(world.target, snapshot)
    assert (LEVER.verify_restored(world.target, snapshot), world.state()) == ([], before)


def test_every_write_is_fenced(world: World) -> None:
    def lost() -> None:
        raise Refused("the lock was taken over")

    before = world.state()
    with pytest.raises(Refused, match="the lock was taken over"):
        LEVER.apply(replace(world.target, fence=lost), LEVER.plan(world.target).stages[0])
    assert world.state() == before


def test_a_device_that_has_left_the_estate_is_named(world: World) -> None:
    look: Callable[[], Any] = lambda: device_of(world.lever_world, "jetson09")  # noqa: E731
    with pytest.raises(Refused, match=r"device jetson09 is not in edge\.power\.devices of estate\.yaml: add it again"):
        look()
