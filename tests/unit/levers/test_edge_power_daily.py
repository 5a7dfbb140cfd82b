"""The schedule of a day: from Prometheus to the devices, the canary first; and the measurement on the canary."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from include.clients.devices import Ran
from include.clients.prometheus import Series
from include.levers.edge_power.daily import load_days, plan_day, refuse_offline_canary, text_of, write_schedule
from include.levers.edge_power.measuring import Measuring, measure
from include.levers.edge_power.modes import Table, table_from
from include.rollout.lever import NotConverged, Refused
from jetson_tasks import paths
from tests.unit.levers.power_world import CLOCK, LEVER, MEASURED, World

TABLE: Table = table_from(MEASURED)
DAY = dt.date(2026, 11, 29)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def night_and_day() -> Any:
    """40 QPS until 08:00, then 250."""
    return np.where(np.arange(1440) < 480, 40, 250).astype(np.float32)


class History:
    """A day of samples of two devices, the first with a negative one, and of one that the estate doesn't name."""

    def query_range(self, expression: str, start: float, end: float, step: float) -> list[Series]:
        assert (expression, end - start, step) == ("jetson_load_qps", 14 * 86400 - 60, 60)
        last = end - 86400 + 60
        points = tuple((last + 60 * n, float(q)) for n, q in enumerate(night_and_day()))
        broken = (*points[:10], (points[10][0], -1.0), *points[11:])
        return [
            Series({"device": name}, found)
            for name, found in (("jetson01", broken), ("jetson02", points), ("x", points))
        ]


def test_days_are_read_minute_by_minute_and_what_is_missing_is_no_number(world: World) -> None:
    found = load_days(History(), world.estate.edge.power, DAY)  # type: ignore[arg-type]
    assert list(found) == list(world.estate.edge.power.devices)
    assert found["jetson02"].shape == (14, 1440)
    assert (found["jetson02"][13, 0], found["jetson02"][13, 1439], found["jetson01"][13, 9]) == (40, 250, 40)
    assert np.isnan(found["jetson01"][13, 10])
    assert np.isnan(found["jetson03"]).all()


def test_a_day_is_planned_by_the_measured_table_and_a_device_without_load_has_none(world: World) -> None:
    power = world.estate.edge.power
    plans = plan_day(load_days(History(), power, DAY), TABLE, power)  # type: ignore[arg-type]
    second = plans[1]
    # 250 QPS need 278 at 90 %: the next mode comes seven minutes early, since a rush may.
    assert second.entries == [{"minute": 0, "mode": "15W"}, {"minute": 473, "mode": "25W"}]
    assert (second.source, plans[2].entries, plans[2].source) == ("yesterday", [], "no load is known")
    assert text_of([second.to_json()], DAY) == "power modes on 2026-11-29\njetson02: 00:00 15W, 07:53 25W"


def planned(name: str = "jetson01", *modes: tuple[int, str]) -> dict[str, Any]:
    entries = [{"minute": minute, "mode": mode} for minute, mode in modes or ((0, "15W"), (480, "25W"))]
    return {"device": name, "entries": entries, "source": "yesterday", "wh_wall": 240.0}


def test_a_schedule_is_a_new_generation_beside_the_policy_and_once_is_enough(world: World) -> None:
    world.apply_all()
    line = write_schedule(world.lever_world, planned(), TABLE)
    assert line == "jetson01: 2 modes in the day, from yesterday, 240.0 Wh"
    desired = json.loads(world.devices["jetson01"].read(paths.DESIRED) or b"")
    assert (desired["generation"], desired["expires_at"]) == (2, CLOCK.at + 48 * 3600)
    assert desired["schedule"][1] == {"minute": 480, "mode": "25W"}
    assert desired["policy"]["table"][0]["capacity_qps"] == 220
    load = {"prometheus": "http://prometheus.example:9090", "query": 'jetson_load_qps{device="jetson01"}'}
    assert desired["policy"]["load"] == load  # the address as Airflow has it, where the estate names none
    assert write_schedule(world.lever_world, planned(), TABLE) == "jetson01: has it already"
    assert LEVER.plan(world.target).differences == ()  # the rollout still stands as it was


def test_a_schedule_is_undone_with_the_rollout(world: World) -> None:
    before, snapshot = world.state(), LEVER.snapshot(world.target)
    world.apply_all()
    write_schedule(world.lever_world, planned(), TABLE)
    LEVER.rollback(world.target, snapshot)
    assert (LEVER.verify_restored(world.target, snapshot), world.state()) == ([], before)


def test_nothing_is_written_without_a_rollout_a_load_or_a_device_that_answers(world: World) -> None:
    before = world.state()
    assert "no rollout has asked it" in write_schedule(world.lever_world, planned(), TABLE)
    assert world.state() == before
    world.apply_all()
    nothing = planned() | {"entries": [], "source": "no load is known"}
    assert write_schedule(world.lever_world, nothing, TABLE) == (
        "jetson01: left alone, no load is known: its policy alone decides"
    )
    world.devices["jetson01"].offline = True
    line = write_schedule(world.lever_world, planned(), TABLE)
    assert line == "jetson01: PENDING, it is offline"
    with pytest.raises(Refused, match="nothing is written to the others before the canary"):
        refuse_offline_canary([line])


def test_a_schedule_under_which_a_device_can_not_serve_is_taken_back(world: World) -> None:
    world.apply_all()
    device = world.devices["jetson01"]
    device.load = 350.0
    with pytest.raises(
        NotConverged, match=r"unserved is 20 QPS \(jetson01 lacks 20\): its former schedule was written"
    ):
        write_schedule(world.lever_world, planned(), TABLE)
    desired = json.loads(device.read(paths.DESIRED) or b"")
    assert ("schedule" in desired, desired["generation"]) == (False, 3)


def test_an_unknown_load_is_no_pass_for_a_schedule(world: World) -> None:
    world.apply_all()
    world.devices["jetson01"].load = None
    with pytest.raises(NotConverged, match="unserved is unknown"):
        write_schedule(world.lever_world, planned(), TABLE)


# Measuring ------------------------------------------------------------------------------------------------------------


ASKED = Measuring(60, 20, "akidb-bench", ("15W", "25W"))


def answer_with(world: World, monkeypatch: pytest.MonkeyPatch, ran: Ran) -> list[tuple[str, ...]]:
    """What the canary's agent answers to ``measure``; the commands that it was given."""
    device, made = world.devices["jetson01"], []
    real = device.run

    def run(*command: str, stdin: str = "", seconds: float | None = None) -> Ran:
        if "measure" not in command:
            return real(*command, stdin=stdin)
        assert device.read(paths.AGENT) is not None
        made.append(command)
        return ran

    monkeypatch.setattr(device, "run", run)
    return made


def test_a_measurement_is_kept_and_leaves_nothing_on_a_device_that_had_no_agent(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.costs.delete(world.estate.edge.power.measured)
    before = world.state()
    made = answer_with(world, monkeypatch, Ran(0, json.dumps(MEASURED), ""))
    _, table = measure(world.lever_world, "jetson01", ASKED)
    assert table == TABLE
    command = " ".join(made[0])
    assert command.endswith("measure --seconds 60 --settle 20 --bench akidb-bench --modes 15W,25W")
    assert world.state() == before
    assert json.loads(world.costs.read(world.estate.edge.power.measured)) == MEASURED


def test_a_measurement_without_figures_is_refused_and_keeps_the_old_one(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = world.state()
    nothing = {**MEASURED, "modes": [{"mode": "15W", "watts_idle": 5.0, "watts_full": None, "capacity_qps": None}]}
    answer_with(world, monkeypatch, Ran(0, json.dumps(nothing), ""))
    with pytest.raises(Refused, match="no power mode has measured watts and capacity"):
        measure(world.lever_world, "jetson01", ASKED)
    answer_with(world, monkeypatch, Ran(2, "", "mode 9W is not one of this device"))
    with pytest.raises(NotConverged, match="measuring jetson01 ended with 2: mode 9W is not one of this device"):
        measure(world.lever_world, "jetson01", ASKED)
    assert world.state() == before
    assert json.loads(world.costs.read(world.estate.edge.power.measured)) == MEASURED
