"""One triggered run of a DAG, followed to its end: its answers, its faults, and a line for each new record."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from include.rollout.ledger import WHOLE_RUN, Chain, Ledger, Record, Step, last
from lab.rehearsal import report as texts
from lab.rehearsal.airflow import Airflow
from lab.rehearsal.airflow_api import NOT_FOUND, ApiError, Client
from lab.rehearsal.reasons import reason

RUN_SECONDS = 45 * 60  # a run that takes longer hangs
POLL_SECONDS = 1.0
# Airflow 3.3 fails a task that is answered before the scheduler has heard of its process's end. People are slower.
HANDED_OVER = (
    "Received executor event with state success for task instance "
    "TaskInstanceKey(dag_id='{}', task_id='{}', run_id='{}'"
)
LONGEST_HAND_OVER_SECONDS = 15.0
REASON_LINES, REASON_WIDTH = 12, 800  # of a failed task; the log holds all of it
FINAL = {"success", "failed"}


class RehearsalError(RuntimeError):
    """The rehearsal can't go on; the message says what happened and what to do."""


class Reacting(Protocol):
    """A fault: told of all records of the run so far, by place."""

    def react(self, chains: Mapping[str, Sequence[Record]]) -> None:
        """Strike or lift what is due."""


class Listener(Protocol):
    """Who is told of each new record."""

    def saw(self, record: Record) -> None:
        """Take it over."""


def handed_over(scheduler_log: str, dag_id: str, task_id: str, run_id: str) -> bool:
    """Whether the scheduler has heard that the process of a task that waits for an answer has ended."""
    return HANDED_OVER.format(dag_id, task_id, run_id) in scheduler_log


def verdict_of(records: Sequence[Record], state: str, green: Sequence[str]) -> tuple[str, str]:
    """Name and message of the verdict from the run's own chain; without one the run is unfinished.

    A verdict of ``green`` counts only when Airflow says that the run succeeded.
    """
    record = last(records, Step.VERDICT)
    if record is None:
        return "unfinished", f"the run ended {state} without a verdict: read the log of its last failed task"
    name = str(record.figures["verdict"])
    if name in green and state != "success":
        return "unfinished", f"the verdict says {name} but the run ended {state}: read the log of its failed task"
    return name, str(record.figures["message"])


def by_place(chains: Mapping[Chain, Sequence[Record]]) -> dict[str, list[Record]]:
    """The records of all levers by place, by time."""
    found: dict[str, list[Record]] = {}
    for chain, records in chains.items():
        found.setdefault(chain.place, []).extend(records)
    return {place: sorted(records, key=lambda record: record.time) for place, records in found.items()}


def shown_reason(text: str) -> list[str]:
    """The lines of a failed task's reason that a person reads."""
    lines = [line[:REASON_WIDTH] for line in text.splitlines() if line.strip()]
    more = len(lines) - REASON_LINES
    return lines if more <= 0 else [*lines[:REASON_LINES], f"and {more} more lines in its log"]


@dataclass
class TriggeredRun:
    """A triggered run. ``levers`` are those whose chains it writes, its own (the verdict's) first, in ``regions`` and
    other places; moments are ``time.monotonic()``; ``stretch`` multiplies the limits.
    """

    dag: str
    run_id: str
    levers: Sequence[str]
    regions: Sequence[str]
    airflow: Airflow
    client: Client
    approver: Client
    ledger: Ledger
    begun: float
    check_alive: Callable[[], None]
    faults: Reacting | None = None
    listener: Listener | None = None
    stretch: float = 1.0
    said: dict[Chain, int] = field(default_factory=dict)
    failed_tasks: set[tuple[str, int, int]] = field(default_factory=set)
    asked_since: float | None = None
    answered_at: float | None = None

    def records(self, region: str, lever: str = "") -> list[Record]:
        """The run's records of one region so far, of its own lever unless another is named."""
        return self.ledger.records(Chain(lever or self.levers[0], region, self.dag, self.run_id))

    def value(self, task_id: str, key: str = "return_value") -> Any:
        """What a task of the run has returned; None when it has not."""
        try:
            return self.client.xcom(self.dag, self.run_id, task_id, key=key)
        except ApiError as error:
            if error.status == NOT_FOUND:
                return None
            raise

    def follow(self) -> str:
        """Until the run has ended; returns Airflow's state of it. Raises RehearsalError when it takes too long."""
        pause = threading.Event()
        started, limit = time.monotonic(), RUN_SECONDS * self.stretch
        while True:
            self.check_alive()
            state = self.client.run_state(self.dag, self.run_id)
            self._say_new()
            self._answer()
            self._say_failed_tasks()
            if state in FINAL:
                return state
            if time.monotonic() - started > limit:
                raise RehearsalError(
                    f"{self.dag} has not ended within {limit / 60:.0f} minutes; see {self.airflow.url}"
                )
            pause.wait(POLL_SECONDS)

    def _chains(self) -> dict[Chain, list[Record]]:
        """Every chain that the run may write, with its records so far."""
        return {
            Chain(lever, region, self.dag, self.run_id): self.records(region, lever)
            for lever in self.levers
            for region in (WHOLE_RUN, *self.regions)
        }

    def _say(self, text: str) -> None:
        print(f"[{time.monotonic() - self.begun:6.0f} s] {text}", flush=True)

    def _say_new(self) -> None:
        chains = self._chains()
        if self.faults is not None:
            self.faults.react(by_place(chains))
        fresh = []
        for chain, records in chains.items():
            fresh += [(r, texts.seconds_of(r, records[: r.sequence - 1])) for r in records[self.said.get(chain, 0) :]]
            self.said[chain] = len(records)
        for record, seconds in sorted(fresh, key=lambda pair: pair[0].time):
            if self.listener is not None:
                self.listener.saw(record)
            elapsed = time.monotonic() - self.begun
            if line := texts.line_of(record, elapsed, seconds, with_lever=len(self.levers) > 1):
                print(line, flush=True)

    def _answer(self) -> None:
        if self.answered_at is not None:
            return
        waiting = [q for q in self.client.questions(self.dag, self.run_id) if not q["response_received"]]
        waiting = [q for q in waiting if q["task_instance"]["state"] in {"awaiting_input", "deferred"}]
        if not waiting:
            return
        if self.asked_since is None:
            self.asked_since = time.monotonic()
            print(f"\n{waiting[0]['subject']}\n\n{waiting[0].get('body') or ''}\n", flush=True)
        waited = time.monotonic() - self.asked_since
        if not self._handed_over(waiting[0]) and waited < LONGEST_HAND_OVER_SECONDS * self.stretch:
            return
        # Before it is sent: what is measured from here may not begin after the first task that the answer starts.
        answered_at = time.monotonic()
        self.approver.answer(waiting[0], "Approve")
        self.answered_at = answered_at
        self._say(f"{self.approver.user} approves\n")

    def _handed_over(self, question: Mapping[str, Any]) -> bool:
        """Whether the scheduler knows that the asking task has ended its process; only its log tells."""
        task = str(question["task_instance"]["task_id"])
        return handed_over(self.airflow.scheduler_log(), self.dag, task, self.run_id)

    def _say_failed_tasks(self) -> None:
        for task in self.client.troubled_tasks(self.dag, self.run_id):
            key = (str(task["task_id"]), int(task["map_index"]), int(task["try_number"]))
            if key in self.failed_tasks:
                continue
            self.failed_tasks.add(key)
            again = "; it is tried again" if task["state"] == "up_for_retry" else ""
            self._say(f"task {key[0]} failed{again}")
            for line in shown_reason(self._reason(key)):
                print(f"             {line}", flush=True)

    def _reason(self, key: tuple[str, int, int]) -> str:
        try:
            lines = self.client.log(self.dag, self.run_id, *key)
        except ApiError as error:
            return self._reason_on_record(key[0]) or str(error)
        return reason(lines, str(self.airflow.task_log(self.dag, self.run_id, *key)))

    def _reason_on_record(self, task_id: str) -> str:
        """Why a task stopped in the ledger's words; empty when it did not get to say so."""
        stops = [record for records in self._chains().values() if (record := last(records, Step.STOPPED))]
        return next((str(stop.figures.get("reason")) for stop in stops if stop.figures.get("where") == task_id), "")
