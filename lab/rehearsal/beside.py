"""The recurring DAGs that days build on, run beside the days before: for yesterday, as the night's schedule would."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from lab.machine.processes import tail
from lab.rehearsal.airflow import Airflow
from lab.rehearsal.run import RehearsalError
from lab.rehearsal.week import BEFORE, beside_conf

BESIDE_SECONDS = 900
EDGE_DAY = 3


def needed(days: Sequence[int]) -> list[str]:
    """The recurring DAGs that ``days`` build on, in their order."""
    return [dag for number in days for dag in BEFORE.get(number, ())]


def around_edge(days: Sequence[int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The days whose DAGs may run from the start on, and those that build on the bill of an edge that day 3 changes."""
    if EDGE_DAY not in days:
        return tuple(days), ()
    return tuple(day for day in days if day <= EDGE_DAY), tuple(day for day in days if day > EDGE_DAY)


@dataclass
class Beside:
    """Runs in one thread, one after the other; ``runs`` are their seconds once they have ended."""

    pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(max_workers=1))
    runs: dict[str, Future[float]] = field(default_factory=dict)

    def start(self, airflow: Airflow, days: Sequence[int], regions: Sequence[str]) -> None:
        """Run what ``days`` need; returns at once."""
        for dag in needed(days):
            self.runs[dag] = self.pool.submit(_run, airflow, dag, regions)

    def add(self, airflow: Airflow, dag: str, regions: Sequence[str]) -> None:
        """Run one more recurring DAG, after those that were asked for."""
        self.runs[dag] = self.pool.submit(_run, airflow, dag, regions)

    def failure(self, airflow: Airflow, dag: str) -> str:
        """Until a recurring DAG that was added has ended: why it failed, or nothing."""
        if dag not in self.runs:
            return ""
        airflow.processes.wait_until(self.runs[dag].done, f"the end of {dag}", BESIDE_SECONDS)
        error = self.runs[dag].exception()
        return "" if error is None else str(error)

    def wait_for(self, airflow: Airflow, number: int) -> dict[str, float]:
        """Until what day ``number`` builds on is there: seconds by what took them. Raises RehearsalError."""
        started = time.monotonic()
        seconds = {}
        for dag in BEFORE.get(number, ()):
            airflow.processes.wait_until(self.runs[dag].done, f"the end of {dag}", BESIDE_SECONDS)
            seconds[f"{dag} beside"] = self.runs[dag].result()
        if number in BEFORE:
            seconds[f"waited before day {number}"] = round(time.monotonic() - started, 1)
        return seconds

    def stop(self) -> None:
        """Start nothing more; what runs is Airflow's to end."""
        self.pool.shutdown(wait=False, cancel_futures=True)


def _run(airflow: Airflow, dag: str, regions: Sequence[str]) -> float:
    started = time.monotonic()
    yesterday = dt.datetime.now(dt.UTC).date() - dt.timedelta(days=1)
    process = airflow.run_at_once(dag, yesterday, beside_conf(dag, regions))
    if process.wait():
        log = airflow.processes.logs / f"{dag}.log"
        raise RehearsalError(f"{dag} failed; the end of {log}:\n{tail(log)}")
    return round(time.monotonic() - started, 1)
