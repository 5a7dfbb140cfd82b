"""The desired state: what is accepted, and every field that is refused by name."""

from __future__ import annotations

import json
from typing import Any

import pytest

from jetson_tasks.desired import ModeFigures, RefusedState, parse
from tests.unit.jetson_tasks.device_world import NOW, POLICY, TABLE, desired, document

DAY = 86400
MIDNIGHT = NOW - NOW % DAY
SCHEDULE = [{"minute": 0, "mode": "15W"}, {"minute": 510, "mode": "25W"}, {"minute": 1320, "mode": "15W"}]


def test_a_fixed_mode_needs_no_clock() -> None:
    found = desired()
    assert (found.base(NOW), found.needs_clock, found.modes()) == ("15W", False, ["MAXN_SUPER", "15W"])


@pytest.mark.parametrize(
    ("minute", "mode"), [(0, "15W"), (509, "15W"), (510, "25W"), (1319, "25W"), (1320, "15W"), (1439, "15W")]
)
def test_a_schedule_gives_the_mode_of_the_minute_of_the_utc_day(minute: int, mode: str) -> None:
    found = desired(mode=None, schedule=SCHEDULE)
    assert found.base(MIDNIGHT + minute * 60 + 59) == mode
    assert found.needs_clock


def test_watts_are_linear_between_idle_and_full() -> None:
    row = ModeFigures("25W", 17.0, 300.0, 5.0)
    assert [row.watts_at(load) for load in (0, 150, 300, 900)] == [5.0, 11.0, 17.0, 17.0]
    assert ModeFigures("25W", 17.0, 300.0).watts_at(0) == 17.0


def test_every_mode_that_is_named_is_listed_once() -> None:
    found = desired(mode=None, schedule=SCHEDULE, policy=POLICY)
    assert found.modes() == ["MAXN_SUPER", "15W", "25W"]


def with_policy(**changes: Any) -> dict[str, Any]:
    return {"mode": None, "policy": {**POLICY, **changes}}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"generation": 0}, "generation is 0: it must be a whole number from 1 to 9007199254740992"),
        ({"generation": True}, "generation is True: it must be a whole number from 1 to 9007199254740992"),
        ({"generation": 1.5}, "generation is 1.5: it must be a whole number from 1 to 9007199254740992"),
        ({"issued_at": "now"}, "issued_at is 'now': it must be a number from 0 to 1e+12"),
        ({"expires_at": NOW}, f"expires_at {NOW} is not after issued_at {NOW}"),
        ({"safe_mode": ""}, "safe_mode is '': it must be a text"),
        ({"safe_mode": " "}, "safe_mode is ' ': it must be a text"),
        ({"mode": "\ud800"}, "mode is '\\ud800': it must be a text"),
        ({"issued_at": 10**400}, f"issued_at is {10**400}: it must be a number from 0 to 1e+12"),
        ({"mode": 15}, "mode is 15: it must be a text"),
        ({"mode": None}, "none of mode, schedule and policy is given: give one"),
        ({"schedule": SCHEDULE}, "mode and schedule are both given: leave one out"),
        ({"mod": "15W"}, "the desired state lacks nothing and has unknown mod"),
        ({"safe_mode": None}, "the desired state lacks safe_mode and has unknown nothing"),
        ({"reboot": 1}, "reboot is 1: it must be true or false"),
        (
            {"mode": None, "schedule": SCHEDULE, "reboot": True},
            "reboot is allowed with a fixed mode alone: set reboot to false, or give mode without policy",
        ),
        ({"mode": None, "schedule": []}, "schedule is []: it must be a list with at least one entry"),
        (
            {"mode": None, "schedule": SCHEDULE[1:]},
            "schedule has minutes [510, 1320]: the first must be 0 and each later than the one before",
        ),
        (
            {"mode": None, "schedule": [SCHEDULE[0], SCHEDULE[2], SCHEDULE[1]]},
            "schedule has minutes [0, 1320, 510]: the first must be 0 and each later than the one before",
        ),
        (
            {"mode": None, "schedule": [{"minute": 1440, "mode": "15W"}]},
            "minute is 1440: it must be a whole number from 0 to 1439",
        ),
        ({"mode": None, "schedule": ["15W"]}, "schedule[0] is '15W': it must be an object with minute, mode"),
        (with_policy(utilisation=1.1), "utilisation is 1.1: it must be a number from 0.01 to 1"),
        (with_policy(utilisation=float("nan")), "utilisation is nan: it must be a number from 0.01 to 1"),
        (with_policy(hysteresis=-1), "hysteresis is -1: it must be a number from 0 to 1"),
        (with_policy(dwell_seconds=1.5), "dwell_seconds is 1.5: it must be a whole number from 0 to 86400"),
        (with_policy(load={}), "policy.load is {}: give prometheus and query, or file and metric"),
        (with_policy(load={"file": "/a"}), "policy.load lacks metric and has unknown nothing"),
        (with_policy(table=[TABLE[0], TABLE[0]]), "policy.table names a mode twice: 15W, 15W"),
        (
            with_policy(table=[{"mode": "15W", "watts": 15}]),
            "policy.table[0] lacks capacity_qps and has unknown nothing",
        ),
        (with_policy(table=[{**TABLE[0], "watts_idle": 13}]), "watts_idle is 13: it must be a number from 0.1 to 12"),
        (
            {"mode": "7W", "policy": POLICY},
            "policy.table has no figures of 7W: measure it, or leave it out",
        ),
        ({"format": 2}, "format is 2: this agent reads 1; install the agent of the writer"),
    ],
)
def test_a_wrong_field_is_refused_by_name(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(RefusedState) as refused:
        desired(**changes)
    assert str(refused.value) == message


def test_what_is_no_json_or_no_object_is_refused() -> None:
    with pytest.raises(RefusedState, match=r"^the desired state is no JSON \(.*\): write it again$"):
        parse("{")
    with pytest.raises(RefusedState, match=r"^the desired state is no JSON \("):
        parse("[" * 100_000)
    with pytest.raises(RefusedState, match=r"^the desired state is \[\]: it must be an object with format, device"):
        parse("[]")


def test_the_document_is_kept_as_it_came() -> None:
    assert parse(json.dumps(document(policy=POLICY))).document == document(policy=POLICY)
