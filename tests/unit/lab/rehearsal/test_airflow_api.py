"""The REST client against answers that are slow, lost, refused or come too late: nothing is done twice or given up."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import requests

from lab.rehearsal.airflow_api import ApiError, Client, UnansweredError

Answer = tuple[int, Any] | Exception


class Session(requests.Session):
    """Answers the login, and every other request by ``answers`` in their order; the last one stays."""

    def __init__(self, *answers: Answer) -> None:
        super().__init__()
        self.answers = list(answers)
        self.sent: list[tuple[str, str, Any]] = []
        self.logins = 0

    def request(self, method: str, url: str, **arguments: Any) -> requests.Response:  # type: ignore[override]
        path = url.removeprefix("http://airflow")
        if path == "/auth/token":
            self.logins += 1
            return response(201, {"access_token": "t"})
        self.sent.append((method, path.removeprefix("/api/v2"), arguments.get("json")))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return response(*answer)


def response(status: int, body: Any) -> requests.Response:
    made = requests.Response()
    made.status_code = status
    made._content = json.dumps(body).encode()
    return made


def client(*answers: Answer, patience: float = 60.0) -> Client:
    return Client(
        "http://airflow", "platform-lead", "unused", patience=patience, longest_pause=0.0, _session=Session(*answers)
    )


def sent(of: Client) -> list[tuple[str, str, Any]]:
    assert isinstance(of._session, Session)
    return of._session.sent


LOST = [
    requests.ReadTimeout("Read timed out. (read timeout=30.0)"),
    requests.ConnectionError("Remote end closed connection without response"),
    requests.exceptions.ChunkedEncodingError("Connection broken"),
    (500, "database is locked"),
    (503, "busy"),
]


@pytest.mark.parametrize("lost", LOST, ids=lambda lost: type(lost).__name__ if isinstance(lost, Exception) else lost[0])
def test_a_lost_answer_is_asked_for_again(lost: Answer) -> None:
    asked = client(lost, lost, lost, (200, {"state": "running"}))
    assert asked.run_state("d", "r") == "running"
    assert sent(asked) == [("GET", "/dags/d/dagRuns/r", None)] * 4


def test_what_is_never_answered_ends_at_the_limit_with_a_message() -> None:
    asked = client(requests.ReadTimeout("slow"), patience=0.0)
    with pytest.raises(UnansweredError) as error:
        asked.run_state("d", "r")
    assert str(error.value) == (
        "Airflow's API did not answer GET /dags/d/dagRuns/r within 0 s (ReadTimeout): see api-server.log; "
        "a machine that does much else needs a quieter hour"
    )
    refused = client((500, "no such table"), patience=0.0)
    with pytest.raises(ApiError, match=r'Airflow\'s API refused GET /dags/d/dagRuns/r: 500 "no such table"'):
        refused.run_state("d", "r")


@pytest.mark.parametrize("status", [400, 403, 404, 409, 422])
def test_a_refusal_is_not_asked_for_again(status: int) -> None:
    asked = client((status, "no"))
    with pytest.raises(ApiError) as refusal:
        asked.run_state("d", "r")
    assert refusal.value.status == status
    assert len(sent(asked)) == 1


def test_an_expired_token_is_renewed_once() -> None:
    asked = client((401, ""), (200, {"state": "queued"}))
    assert asked.run_state("d", "r") == "queued"
    assert asked._session.logins == 2  # type: ignore[attr-defined]


TRIGGERED = ("POST", "/dags/d/dagRuns", {"dag_run_id": "r", "logical_date": None, "conf": {"dry_run": False}})


def test_a_run_is_triggered_by_an_id_so_that_a_lost_answer_starts_no_second_one() -> None:
    asked = client(requests.ReadTimeout("slow"), (409, "exists"))
    asked.trigger("d", "r", {"dry_run": False})
    assert sent(asked) == [TRIGGERED, TRIGGERED]


def test_a_run_that_is_refused_is_an_error() -> None:
    with pytest.raises(ApiError, match="400"):
        client((400, "gate_wait_seconds: 7200 is greater than 3600")).trigger("d", "r", {})


QUESTION = {"task_instance": {"dag_id": "d", "dag_run_id": "r", "task_id": "await_approval", "map_index": -1}}
PLACE = "/dags/d/dagRuns/r/taskInstances/await_approval/-1/hitlDetails"
APPROVE = ("PATCH", PLACE, {"chosen_options": ["Approve"], "params_input": {}})


def detail(option: str, user: str, received: bool = True) -> dict[str, Any]:
    by = {"id": user, "name": user} if received else None
    return {"response_received": received, "chosen_options": [option] if received else None, "responded_by_user": by}


def test_an_answer_whose_receipt_was_lost_counts_when_it_is_on_record() -> None:
    asked = client(requests.ReadTimeout("slow"), (409, "answered"), (200, detail("Approve", "platform-lead")))
    asked.answer(QUESTION, "Approve")
    assert sent(asked) == [APPROVE, APPROVE, ("GET", PLACE, None)]


@pytest.mark.parametrize(
    "found", [detail("Reject", "platform-lead"), detail("Approve", "somebody"), detail("", "", received=False)]
)
def test_the_answer_of_somebody_else_is_not_taken_for_ours(found: dict[str, Any]) -> None:
    with pytest.raises(ApiError, match="409"):
        client((409, "answered"), (200, found)).answer(QUESTION, "Approve")


def test_who_may_not_answer_is_told_so() -> None:
    with pytest.raises(ApiError, match="403"):
        client((403, "not a respondent")).answer(QUESTION, "Approve")


def test_what_was_created_before_the_answer_was_lost_is_updated() -> None:
    asked = client(requests.ConnectionError("reset"), (409, "exists"), (200, None))
    asked.put("/variables", {"key": "v", "value": "1"}, "v")
    body = {"key": "v", "value": "1"}
    assert sent(asked) == [("POST", "/variables", body), ("POST", "/variables", body), ("PATCH", "/variables/v", body)]


@pytest.mark.parametrize(
    ("ask", "body", "found"),
    [
        (lambda c: c.import_errors(), {"import_errors": [{"filename": "a"}]}, [{"filename": "a"}]),
        (lambda c: c.dag_ids(), {"dags": [{"dag_id": "a"}, {"dag_id": "b"}]}, {"a", "b"}),
        (lambda c: c.xcom("d", "r", "t"), {"value": 3}, 3),
        (lambda c: c.log("d", "r", "t", -1, 1), {"content": [{"event": "e"}]}, [{"event": "e"}]),
        (lambda c: c.troubled_tasks("d", "r"), {"task_instances": [{"task_id": "t"}]}, [{"task_id": "t"}]),
        (lambda c: c.questions("d", "r"), {"hitl_details": [QUESTION]}, [QUESTION]),
    ],
)
def test_every_read_survives_a_slow_answer(ask: Callable[[Client], Any], body: Any, found: Any) -> None:
    assert ask(client(requests.ReadTimeout("slow"), (200, body))) == found


def test_a_client_does_not_show_its_password() -> None:
    assert "s3cret" not in repr(Client("http://127.0.0.1:1", "admin", "s3cret"))
