"""A week of three toy days without Airflow, and the run of a day as its own DAG would see it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from include.clients.storage import Folder
from include.rollout import steps
from include.rollout.ledger import Ledger
from include.rollout.steps import Run
from include.week import planning
from include.week.days import Day, child_run_id
from include.week.run import Week
from tests.dags.several_levers import Alpha, Beta, Gamma, make_worlds
from tests.dags.toy import World, clients_of
from tests.dags.toy_dags import AP, estate_of
from tests.unit.rollout.toy_runs import Clock

DAYS = (Day(1, "toy_day1", ("alpha",)), Day(2, "toy_day2", ("beta",)), Day(3, "toy_day3", ("gamma",)))
TOYS: dict[str, Any] = {"alpha": Alpha, "beta": Beta, "gamma": Gamma}
SETTINGS = {day.dag: {"soak_seconds": 60, "size": 2} for day in DAYS}
LEAD = {"approved": True, "user": "platform-lead", "user_id": "platform-lead"}


@dataclass
class Weeks:
    """Makes weeks and their days' runs in one world and ledger."""

    locks: World
    clock: Clock
    ledger: Ledger

    def week(self, **params: Any) -> Week:
        estate, make = estate_of(AP), clients_of(self.locks)
        given = {"dry_run": False, "regions": [AP], "approval": "once", "settings": SETTINGS, "days": [1, 2, 3]}
        run = Run(
            Alpha(), estate, {**given, **params}, "week14", "manual__1", self.ledger,
            lambda place: make(place, estate), lambda _: None, clock=self.clock,
        )  # fmt: skip
        return Week.of(run, DAYS, lambda name: TOYS[name]())

    def approved(self, answer: dict[str, Any] | None = None, **params: Any) -> Week:
        """A week whose plan was answered and confirmed."""
        week = self.week(**params)
        plan = planning.make_plan(week, {"text": "no planner"}, lambda _: None)
        planning.record_answer(week, {**LEAD, "hash": plan["hash"], **(answer or {})})
        if answer is None:
            planning.confirm_approval(week)
        return week

    def day(self, number: int, run_id: str = child_run_id("manual__1"), **params: Any) -> Run:
        """A day's run as its DAG makes it, planned."""
        week, day = self.week(), DAYS[number - 1]
        run = week.runs(day)[0]
        return dataclasses.replace(run, run_id=run_id, params={**run.params, "dry_run": False, **params})


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def weeks(tmp_path: Path, clock: Clock) -> Weeks:
    return Weeks(make_worlds(tmp_path), clock, Ledger(Folder(tmp_path / "ledger"), clock))


@pytest.fixture
def planned() -> Callable[[Run], str]:
    return lambda run: steps.make_plan(run)["hash"]
