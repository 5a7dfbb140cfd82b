"""The thread that answers approvals: what keeps it from answering ends the test, and a busy database doesn't."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from tests.dags import conftest
from tests.dags.toy import World
from tests.dags.toy_dags import AP, QUICK, Runner, estate_of, rollout_dag

waiting = conftest.waiting


def test_a_database_that_is_busy_for_a_moment_is_asked_again(
    world: World, run_dag: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = itertools.count()

    def busy_at_first(dag_id: str) -> Any:
        if next(looks) < 3:
            raise OperationalError("SELECT", {}, Exception("database is locked"))
        return waiting(dag_id)

    monkeypatch.setattr(conftest, "waiting", busy_at_first)
    assert run_dag(rollout_dag(world, estate_of(AP)), QUICK, answer="Reject").verdict["verdict"] == "rejected"


def test_a_problem_of_the_one_who_answers_ends_the_run_which_would_wait_for_ever(
    world: World, run_dag: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(dag_id: str) -> Any:
        raise ValueError(f"{dag_id} can't be asked")

    monkeypatch.setattr(conftest, "waiting", broken)
    with pytest.raises(ValueError, match="toy_rollout can't be asked"):
        run_dag(rollout_dag(world, estate_of(AP)), QUICK)
    assert waiting("toy_rollout") == []


def test_a_run_that_takes_too_long_ends(world: World, run_dag: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conftest, "MOST_SECONDS", 1.0)
    monkeypatch.setattr(conftest, "waiting", lambda dag_id: [])
    with pytest.raises(AssertionError, match="the run has not ended after 1 s"):
        run_dag(rollout_dag(world, estate_of(AP)), QUICK)
