"""What waits for a person, as Airflow's own API lists it for whoever looks at the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

Json = Any
WAITING = frozenset({"awaiting_input", "deferred", "running", "queued"})  # states of a task that still wants an answer


@dataclass(frozen=True)
class Approval:
    """A question that Airflow asks. ``path`` is the page of its answer, below Airflow's own address."""

    dag_id: str
    run_id: str
    task_id: str
    map_index: int
    subject: str
    since: str
    assigned: tuple[str, ...]

    @property
    def path(self) -> str:
        """Such as ``/dags/day1_spot/runs/<run>/tasks/await_approval/required_actions``."""
        mapped = f"/mapped/{self.map_index}" if self.map_index >= 0 else ""
        parts = (quote(part, safe="") for part in (self.dag_id, self.run_id, self.task_id))
        return "/dags/{}/runs/{}/tasks/{}".format(*parts) + f"{mapped}/required_actions"


@dataclass(frozen=True)
class Pending:
    """The open questions, the oldest first, and why they can't be told ("" when they can)."""

    approvals: tuple[Approval, ...] = ()
    problem: str = ""

    def by_dag(self) -> dict[str, int]:
        """How many wait, by DAG."""
        counts: dict[str, int] = {}
        for one in self.approvals:
            counts[one.dag_id] = counts.get(one.dag_id, 0) + 1
        return counts


def pending_of(answer: Mapping[str, Json]) -> Pending:
    """What ``GET /dags/~/dagRuns/~/hitlDetails`` said. An answer of another shape is a problem, never "nothing"."""
    try:
        found = [_approval(raw) for raw in answer["hitl_details"] if _waits(raw)]
    except (KeyError, TypeError) as error:
        return Pending(problem=f"Airflow's list of required actions has another form than 3.3's: {error!r} is missing")
    return Pending(tuple(sorted(found, key=lambda one: (one.since, one.dag_id, one.run_id))))


def _waits(raw: Mapping[str, Json]) -> bool:
    return not raw.get("response_received") and raw["task_instance"].get("state") in WAITING


def _approval(raw: Mapping[str, Json]) -> Approval:
    task = raw["task_instance"]
    users: Sequence[Mapping[str, Json]] = raw.get("assigned_users") or ()
    return Approval(
        dag_id=str(task["dag_id"]),
        run_id=str(task["dag_run_id"]),
        task_id=str(task["task_id"]),
        map_index=int(task.get("map_index", -1)),
        subject=str(raw["subject"]),
        since=str(raw.get("created_at") or ""),
        assigned=tuple(str(user.get("name") or user.get("id")) for user in users),
    )
