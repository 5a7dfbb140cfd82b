"""Runs of the toy lever without Airflow: what several tests of the steps begin with."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from include import levers
from include.rollout import decisions, rollback, steps
from include.rollout.lever import Refused, Restored, Target
from include.rollout.rollback import RollbackRun
from include.rollout.steps import Run
from tests.dags.toy import Toy

US, EU, AP = "us-east-1", "eu-central-1", "ap-northeast-1"
APPROVED = {"approved": True, "user": "platform-lead"}


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = dt.datetime(2026, 11, 24, 10, tzinfo=dt.UTC)

    def __call__(self) -> dt.datetime:
        self.now += dt.timedelta(milliseconds=1)
        return self.now

    def move(self, seconds: float) -> None:
        self.now += dt.timedelta(seconds=seconds)


def recorded(run: Run, region: str) -> list[str]:
    """The steps that a run has on record in a region."""
    return [record.step for record in run.records(region)]


def start(run: Run) -> None:
    """Everything before the first write."""
    steps.check_preflight(run)
    steps.make_plan(run)
    steps.lock_places(run, run.places, APPROVED, take_over=False)
    steps.confirm_unchanged(run)


def roll_out(run: Run, region: str, clock: Clock, *slots: str) -> None:
    for slot in slots:
        steps.apply_stage(run, region, slot)
        clock.move(61)
        steps.judge_gates(run, region, slot)


def promoted(run: Run, run_id: str, size: int, **more: Any) -> Run:
    """A run that has grown every selected region to ``size`` in one step, is promoted and has ended."""
    rollout = replace(run, run_id=run_id, params={**run.params, "size": size, **more})
    start(rollout)
    for region in rollout.places:
        steps.take_snapshot(rollout, region)
        steps.apply_stage(rollout, region, "step_1")
        passed = {"gate": "health", "outcome": "pass", "reason": "health: 1 ratio"}
        rollout.record(region, "gate", {"slot": "step_1", "title": "one step", "outcome": "pass", "results": [passed]})
        rollout.record(region, "promoted", {})
    steps.unlock_places(rollout, rollout.places)
    return rollout


class OnCluster(Toy):
    """A lever that asks for a cluster."""

    needs = frozenset({"kubernetes"})


class Without:
    """Clients of a place of which one can't be made; ``kubernetes`` takes the lock with it."""

    def __init__(self, name: str, reason: str) -> None:
        self.missing = {name, "leases"} if name == "kubernetes" else {name}
        self.reason = reason

    def __getattr__(self, name: str) -> Any:
        if name in self.missing:
            raise Refused(self.reason)
        return None


class First(Toy):
    """Another lever of the same world, whose change is undone before that of the second."""

    name = "first"

    def rollback(self, target: Target, snapshot: Mapping[str, Any]) -> Restored:
        target.clients.world.event(self.name)
        return super().rollback(target, snapshot)


class Second(First):
    """The lever that declares it."""

    name = "second"
    undo_after = ("first",)


def undoing(base: Run, run_id: str = "undo", /, **more: Any) -> RollbackRun:
    """A run of the rollback DAG: everything, everywhere, approved, unless ``more`` says otherwise."""
    params = {"lever": "everything", "regions": [], "run": "", "dry_run": False, "emergency": False, "reason": ""}
    params |= {"accept": False} | more
    fields = {field.name: getattr(base, field.name) for field in dataclasses.fields(base)}
    fields |= {"lever": Named(str(params["lever"])), "dag_id": "rollback", "run_id": run_id, "params": params}
    return RollbackRun(**fields | {"levers": levers})


class Named:
    """What stands in the rollback DAG for a lever: a name."""

    def __init__(self, name: str) -> None:
        self.name = name


def roll_back(undo: RollbackRun) -> decisions.Verdict:
    """All steps of the rollback DAG. A region that fails is left to the verdict."""
    plan = rollback.find_changes(undo)
    answer = {"approved": True, "user": "platform-lead", "hash": plan["hash"]}
    rollback.take_locks(undo, answer)
    failed = []
    for region in rollback.list_places(undo):
        for step in (rollback.undo_changes, rollback.verify_restored):
            try:
                step(undo, region)
            except Exception:  # noqa: BLE001 - a failed task
                failed.append(f"{step.__name__} {region}")
    with contextlib.suppress(RuntimeError):  # a region that is away keeps its lock
        rollback.release_locks(undo)
    return rollback.conclude(undo, answer, failed)
