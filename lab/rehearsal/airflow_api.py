"""A thin client of Airflow's public REST API that survives slow and lost answers.

Every request here may be sent twice: reads and updates by nature, a triggered run because its id is the caller's, an
answer because its state is looked at before it is sent again. So a read time-out, a broken connection or an overloaded
server (5xx, such as a locked database) costs time only, up to ``patience``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import requests
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_random_exponential

NOT_FOUND = requests.codes.not_found
TIMEOUT_SECONDS = 30.0  # for one answer
PATIENCE_SECONDS = 180.0  # for one request with all its repetitions
LONGEST_PAUSE_SECONDS = 10.0
# What a response that never came whole looks like; requests has no common class for these.
LOST = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)


class AirflowError(RuntimeError):
    """Airflow could not be started, or its API refused a request; the message says which and why."""


class ApiError(AirflowError):
    """The REST API refused a request; ``status`` is the HTTP status."""

    def __init__(self, method: str, path: str, status: int, reason: str) -> None:
        super().__init__(f"Airflow's API refused {method} {path}: {status} {reason[:500]}")
        self.status = status


class OverloadedError(ApiError):
    """The server failed (5xx): what is asked again may well succeed."""


class UnansweredError(AirflowError):
    """No whole answer came within the client's patience."""


def _problem(method: str, path: str, response: requests.Response) -> ApiError:
    kind = OverloadedError if response.status_code >= requests.codes.server_error else ApiError
    return kind(method, path, response.status_code, response.text)


@dataclass
class Client:
    """The API as one user. ``timeout`` (of one answer) and ``patience`` (of a request) are in seconds."""

    url: str
    user: str
    password: str = field(repr=False)
    timeout: float = TIMEOUT_SECONDS
    patience: float = PATIENCE_SECONDS
    longest_pause: float = LONGEST_PAUSE_SECONDS
    _session: requests.Session = field(default_factory=requests.Session, repr=False)

    def request(self, method: str, path: str, **arguments: Any) -> Any:
        """Send a request to ``/api/v2<path>``, again while no whole answer comes, and return its JSON.

        It may reach the server twice: see the module. Raises ApiError with the server's reason, or UnansweredError.
        """
        again = Retrying(
            retry=retry_if_exception_type((*LOST, OverloadedError)),
            stop=stop_after_delay(self.patience),
            wait=wait_random_exponential(multiplier=0.5, max=self.longest_pause),
            reraise=True,
        )
        try:
            return again(self.send, method, path, **arguments)
        except LOST as error:
            raise UnansweredError(
                f"Airflow's API did not answer {method} {path} within {self.patience:.0f} s "
                f"({type(error).__name__}): see api-server.log; a machine that does much else needs a quieter hour"
            ) from error

    def send(self, method: str, path: str, **arguments: Any) -> Any:
        """Send a request once. Raises ApiError, OverloadedError, or one of LOST."""
        if "Authorization" not in self._session.headers:
            self._login()
        for again in (True, False):
            response = self._session.request(method, f"{self.url}/api/v2{path}", timeout=self.timeout, **arguments)
            if response.status_code == requests.codes.unauthorized and again:
                self._login()  # the token has expired
                continue
            break
        if not response.ok:
            raise _problem(method, path, response)
        return response.json() if response.content else None

    def _login(self) -> None:
        login = {"username": self.user, "password": self.password}
        response = self._session.request("POST", f"{self.url}/auth/token", json=login, timeout=self.timeout)
        if response.status_code != requests.codes.created:
            raise _problem("POST", "/auth/token", response)
        self._session.headers["Authorization"] = f"Bearer {response.json()['access_token']}"

    def put(self, path: str, body: Mapping[str, Any], name: str) -> None:
        """Create the object of ``body`` in the collection ``path``, or update the one called ``name``."""
        try:
            self.request("POST", path, json=dict(body))
        except ApiError as error:
            if error.status != requests.codes.conflict:
                raise
            self.request("PATCH", f"{path}/{name}", json=dict(body))

    def import_errors(self) -> list[dict[str, Any]]:
        """DAG files that don't load: ``filename`` and ``stack_trace`` each."""
        found: list[dict[str, Any]] = self.request("GET", "/importErrors", params={"limit": 100})["import_errors"]
        return found

    def dag_ids(self) -> set[str]:
        """The DAGs that have been parsed so far."""
        return {dag["dag_id"] for dag in self.request("GET", "/dags", params={"limit": 100})["dags"]}

    def unpause(self, dag_id: str) -> None:
        """Let the scheduler run ``dag_id``."""
        self.request("PATCH", f"/dags/{dag_id}", json={"is_paused": False})

    def trigger(self, dag_id: str, run_id: str, conf: Mapping[str, Any]) -> None:
        """Start the run ``run_id``, which nobody else starts, with ``conf``; one that exists is ours already."""
        body = {"dag_run_id": run_id, "logical_date": None, "conf": dict(conf)}
        try:
            self.request("POST", f"/dags/{dag_id}/dagRuns", json=body)
        except ApiError as error:
            if error.status != requests.codes.conflict:
                raise

    def run_state(self, dag_id: str, run_id: str) -> str:
        """queued, running, success or failed."""
        state: str = self.request("GET", f"/dags/{dag_id}/dagRuns/{run_id}")["state"]
        return state

    def xcom(self, dag_id: str, run_id: str, task_id: str, map_index: int = -1, key: str = "return_value") -> Any:
        """The value that a task has returned."""
        return self.request(
            "GET",
            f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/xcomEntries/{key}",
            params={"map_index": map_index},
        )["value"]

    def log(self, dag_id: str, run_id: str, task_id: str, map_index: int, try_number: int) -> list[Any]:
        """The lines of one try's log: mappings with ``event``, or texts where Airflow could not read them as such."""
        page = self.request(
            "GET",
            f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/logs/{try_number}",
            params={"map_index": map_index, "full_content": True},
        )
        lines: list[Any] = page["content"]
        return lines

    def troubled_tasks(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        """Task instances that have failed or wait for another try."""
        page = self.request(
            "GET",
            f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances",
            params={"state": ["failed", "up_for_retry"], "limit": 100},
        )
        found: list[dict[str, Any]] = page["task_instances"]
        return found

    def questions(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        """What the run asks a person: subject, body, options, and the task instance that waits."""
        page = self.request("GET", f"/dags/{dag_id}/dagRuns/{run_id}/hitlDetails", params={"limit": 100})
        found: list[dict[str, Any]] = page["hitl_details"]
        return found

    def answer(self, question: Mapping[str, Any], option: str) -> None:
        """Answer one of ``questions``; one that this user has answered so already is left alone.

        Raises ApiError when this user may not, or when somebody else has answered it.
        """
        task = question["task_instance"]
        path = (
            f"/dags/{task['dag_id']}/dagRuns/{task['dag_run_id']}/taskInstances/{task['task_id']}"
            f"/{task['map_index']}/hitlDetails"
        )
        try:
            self.request("PATCH", path, json={"chosen_options": [option], "params_input": {}})
        except ApiError as error:
            if error.status != requests.codes.conflict or not self._answered(self.request("GET", path), option):
                raise

    def _answered(self, detail: Mapping[str, Any], option: str) -> bool:
        """Whether the answer on record is this user's: the one that was sent, and whose receipt was lost."""
        by = (detail.get("responded_by_user") or {}).get("name")
        return bool(detail.get("response_received")) and detail.get("chosen_options") == [option] and by == self.user
