"""A triggered run is followed to its end: what is printed, answered and measured."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from include.clients.storage import Folder
from include.rollout.ledger import WHOLE_RUN, Chain, Ledger, Step
from lab.rehearsal import run as runs
from lab.rehearsal.airflow import Airflow
from lab.rehearsal.airflow_api import ApiError, Client
from lab.rehearsal.run import RehearsalError, TriggeredRun

REGION, RUN_ID = "us-east-1", "rehearsal_1"
QUESTION = {
    "subject": "rollback: approve plan abc?",
    "body": "Plan abc",
    "response_received": False,
    "task_instance": {"task_id": "await_approval", "state": "awaiting_input"},
}
ASKED_BY = "TaskInstanceKey(dag_id='rollback', task_id='await_approval', run_id='rehearsal_1', try_number=1)"


class FakeClient(Client):
    """A run that goes on by one of ``turns`` each time its state is asked for; the last one stays."""

    def __init__(self, turns: Sequence[Callable[[], str]]) -> None:
        super().__init__("http://unused", "platform-lead", "unused")
        self.turns = list(turns)
        self.waiting: list[dict[str, Any]] = []
        self.troubled: list[dict[str, Any]] = []
        self.logs: dict[str, list[Any]] = {}
        self.answers: list[str] = []

    def run_state(self, dag_id: str, run_id: str) -> str:
        turn = self.turns.pop(0) if len(self.turns) > 1 else self.turns[0]
        return turn()

    def questions(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        return self.waiting

    def troubled_tasks(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        return self.troubled

    def log(self, dag_id: str, run_id: str, task_id: str, map_index: int, try_number: int) -> list[Any]:
        if task_id not in self.logs:
            raise ApiError("GET", f"/{task_id}", 404, "not found")
        return self.logs[task_id]

    def xcom(self, dag_id: str, run_id: str, task_id: str, map_index: int = -1, key: str = "return_value") -> Any:
        raise ApiError("GET", f"/{task_id}", 404 if task_id == "absent" else 403, "no")

    def answer(self, question: Any, option: str) -> None:
        self.answers.append(option)


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "POLL_SECONDS", 0.0)


def followed(folder: Path, client: FakeClient, levers: Sequence[str] = ("everything", "spot_capacity")) -> TriggeredRun:
    clock = iter(dt.datetime(2026, 11, 28, 10, 0, second, tzinfo=dt.UTC) for second in range(60))
    ledger = Ledger(Folder(folder / "ledger"), clock=lambda: next(clock))
    return TriggeredRun(
        dag="rollback",
        run_id=RUN_ID,
        levers=levers,
        regions=[REGION],
        airflow=Airflow(folder, ("platform-lead",)),
        client=client,
        approver=client,
        ledger=ledger,
        begun=runs.time.monotonic(),
        check_alive=lambda: None,
    )


def test_the_undo_prints_a_line_a_step_with_its_lever_and_answers_like_a_person(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def asks() -> str:
        client.waiting = [QUESTION]
        log = run.airflow.processes.logs / "scheduler.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text(f"Received executor event with state success for task instance {ASKED_BY}\n")
        return "running"

    def undoes() -> str:
        client.waiting = []
        place = Chain("spot_capacity", REGION, "rollback", RUN_ID)
        run.ledger.append(place, Step.UNDO)
        run.ledger.append(place, Step.RESTORED, {"complete": True, "remaining": []})
        whole = Chain("everything", WHOLE_RUN, "rollback", RUN_ID)
        run.ledger.append(whole, Step.VERDICT, {"verdict": "rolled back", "message": "rolled back and verified"})
        return "success"

    client = FakeClient([lambda: "queued", asks, undoes])
    run = followed(tmp_path, client)
    assert run.follow() == "success"
    assert client.answers == ["Approve"]
    assert run.answered_at is not None
    printed = [line[11:] for line in capsys.readouterr().out.splitlines() if line.startswith("[")]
    assert printed == [
        "platform-lead approves",
        "us-east-1       spot_capacity      rolling back",
        "us-east-1       spot_capacity      RESTORED: live equals the snapshot  (1 s)",
        "estate          everything         VERDICT   rolled back and verified",
    ]
    assert runs.verdict_of(run.records(WHOLE_RUN), "success", ["rolled back"])[0] == "rolled back"
    assert len(run.records(REGION, "spot_capacity")) == 2


def test_an_answer_waits_until_the_scheduler_knows_of_the_question_but_not_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []

    def asks() -> str:
        client.waiting = [QUESTION]
        seen.append(len(client.answers))
        return "success" if client.answers else "running"

    client = FakeClient([asks])
    run = followed(tmp_path, client)
    run.asked_since = runs.time.monotonic() - 31  # twice as long as on the reference machine, and one second more
    run.stretch = 2.0
    run.follow()
    assert seen == [0, 1]
    run.answered_at, client.answers, run.stretch = None, [], 3.0
    run._answer()
    assert client.answers == []


def test_a_failed_task_is_named_once_with_the_reason_from_its_log(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    failed = {"task_id": "us_east_1.undo_changes", "map_index": -1, "try_number": 1, "state": "up_for_retry"}
    client = FakeClient([lambda: "running", lambda: "running", lambda: "failed"])
    client.troubled = [failed, {**failed, "task_id": "killed", "state": "failed"}, {**failed, "task_id": "verdict"}]
    client.logs["us_east_1.undo_changes"] = [
        {"event": "Filling up the DagBag from /dags/rollback.py", "level": "info"},
        {
            "event": "Task failed with exception",
            "error_detail": [{"exc_type": "KeyError", "exc_value": "'apiVersion'"}],
        },
    ]
    client.logs["killed"] = []
    client.troubled.append({**failed, "task_id": "us_east_1.verify_restored"})
    run = followed(tmp_path, client)
    stop = {"where": "us_east_1.verify_restored", "reason": "2 objects are not back"}
    run.ledger.append(Chain("spot_capacity", REGION, "rollback", RUN_ID), Step.STOPPED, stop)
    run.said[Chain("spot_capacity", REGION, "rollback", RUN_ID)] = 1
    assert run.follow() == "failed"
    log = tmp_path / "airflow/task-logs/dag_id=rollback/run_id=rehearsal_1/task_id=killed/attempt=1.log"
    assert [line[13:] if line.startswith(" ") else line[11:] for line in capsys.readouterr().out.splitlines()] == [
        "task us_east_1.undo_changes failed; it is tried again",
        "KeyError: 'apiVersion'",
        "task killed failed",
        f"its process ended without a trace of why: killed, or lost with its machine; see {log}",
        "task verdict failed; it is tried again",
        "Airflow's API refused GET /verdict: 404 not found",
        "task us_east_1.verify_restored failed; it is tried again",
        "2 objects are not back",
    ]


def test_a_run_that_hangs_is_given_up_after_its_stretched_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "RUN_SECONDS", 0.0)
    run = followed(tmp_path, FakeClient([lambda: "running"]))
    with pytest.raises(RehearsalError, match="rollback has not ended within 0 minutes"):
        run.follow()


def test_what_a_task_has_not_returned_is_none_and_a_refusal_is_an_error(tmp_path: Path) -> None:
    run = followed(tmp_path, FakeClient([lambda: "success"]))
    assert run.value("absent") is None
    with pytest.raises(ApiError, match="403"):
        run.value("forbidden")
