"""How the days are started: all of them by one run of ``week14``, or each by its own trigger.

Either way a day is one :class:`TriggeredRun` that is followed to its end, with an approval of its own: nothing of a day
is written before it is answered, so that the lab reads how the day finds the world while the question stands.
"""

from __future__ import annotations

import datetime as dt
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from include.levers import LEVERS
from lab.rehearsal.airflow_api import NOT_FOUND, ApiError
from lab.rehearsal.run import FINAL, Listener, RehearsalError, TriggeredRun
from lab.rehearsal.scene import Scene
from lab.rehearsal.strikes import Strike
from lab.rehearsal.week import WEEK, RehearsedRun, run_conf, run_id_of

WEEK_DAG = "week14"
BEGIN_SECONDS = 120  # so long week14 may take from the end of a day to the start of the next
POLL_SECONDS = 1.0


@dataclass
class Trigger:
    """Starts runs in the running Airflow; ``begun`` is the rehearsal's (``time.monotonic()``), who listens is told."""

    scene: Scene
    begun: float
    listener: Listener | None = None

    def start(self, dag: str, levers: Sequence[str], conf: Mapping[str, Any], strike: Strike | None = None
              ) -> TriggeredRun:  # fmt: skip
        """Trigger ``dag``; what is returned is to be followed."""
        run_id = run_id_of(dt.datetime.now(dt.UTC))
        self.scene.client.unpause(dag)
        self.scene.client.trigger(dag, run_id, conf)
        print(f"\ntriggered {dag}: {self.scene.airflow.url}/dags/{dag}/runs/{run_id}", flush=True)
        return self.followed(dag, run_id, levers, strike)

    def followed(self, dag: str, run_id: str, levers: Sequence[str], strike: Strike | None = None) -> TriggeredRun:
        """A run that is there, to be followed."""
        return TriggeredRun(
            dag=dag,
            run_id=run_id,
            levers=levers,
            regions=self.scene.places,
            airflow=self.scene.airflow,
            client=self.scene.client,
            approver=self.scene.approver(),
            ledger=self.scene.ledger(),
            begun=self.begun,
            check_alive=self.scene.check_alive,
            faults=strike,
            listener=self.listener,
            stretch=self.scene.speed.stretch,
        )

    def conf(self, one: RehearsedRun) -> dict[str, Any]:
        """What a run of the week is triggered with on this machine."""
        return run_conf(one, self.scene.settings.regions, self.scene.prometheus, self.scene.speed.stretch)


class Driver(Protocol):
    """Starts the runs of days."""

    def start(self, one: RehearsedRun, more: Mapping[str, Any], strike: Strike | None) -> TriggeredRun:
        """The run, to be followed; ``more`` goes into what it is triggered with."""

    def end(self) -> str:
        """What is left to say when the days are over; empty for nothing."""


def levers_of(one: RehearsedRun) -> list[str]:
    """Whose chains a run of the week writes, its own first."""
    return [one.lever, *LEVERS] if one.several else [one.lever]


@dataclass
class ByDay:
    """Each run by a trigger of its own, when the one before is over."""

    trigger: Trigger

    def start(self, one: RehearsedRun, more: Mapping[str, Any], strike: Strike | None) -> TriggeredRun:
        """See :class:`Driver`."""
        return self.trigger.start(one.dag, levers_of(one), {**self.trigger.conf(one), **more}, strike)

    def end(self) -> str:
        """See :class:`Driver`."""
        return ""


@dataclass
class ByWeek:
    """All days by one run of week14; what it doesn't know (the devices) by a trigger of its own.

    Each day asks for its own approval, and waits for it until the lab has read how the day finds the world.
    """

    trigger: Trigger
    days: Sequence[int]
    run_id: str = ""
    known: frozenset[str] = field(default_factory=frozenset)

    def start(self, one: RehearsedRun, more: Mapping[str, Any], strike: Strike | None) -> TriggeredRun:
        """See :class:`Driver`. Raises RehearsalError when the week ends before the day begins."""
        from include.week.days import DAYS, child_run_id

        self.known = frozenset(day.dag for day in DAYS)
        if one.dag not in self.known:
            return ByDay(self.trigger).start(one, more, strike)
        if not self.run_id:
            self._start_week(more)
        child = child_run_id(self.run_id)
        self._await(one.dag, child)
        return self.trigger.followed(one.dag, child, levers_of(one), strike)

    def _start_week(self, more: Mapping[str, Any]) -> None:
        for dag in {one.dag for number in self.days for one in WEEK[number]} & self.known:
            self.trigger.scene.client.unpause(dag)
        week = self.trigger.start(WEEK_DAG, [WEEK_DAG], week_conf(self.trigger, self.days, self.known, more))
        self.run_id = week.run_id

    def _await(self, dag: str, run_id: str) -> None:
        """Until the child is there."""
        client, pause = self.trigger.scene.client, threading.Event()
        limit = time.monotonic() + BEGIN_SECONDS * self.trigger.scene.speed.stretch
        while not exists(client, dag, run_id):
            self.trigger.scene.check_alive()
            state = client.run_state(WEEK_DAG, self.run_id)
            if state in FINAL or time.monotonic() > limit:
                raise RehearsalError(f"{WEEK_DAG} is {state} and has not started {dag}: read the log of its last task")
            pause.wait(POLL_SECONDS)

    def end(self) -> str:
        """The week's own verdict, once it has one."""
        if not self.run_id:
            return ""
        run = self.trigger.followed(WEEK_DAG, self.run_id, [WEEK_DAG])
        state = run.follow()
        return "" if state == "success" else f"{WEEK_DAG} ended {state}: read the log of its failed task"


def exists(client: Any, dag: str, run_id: str) -> bool:
    """Whether a run is there."""
    try:
        client.run_state(dag, run_id)
    except ApiError as error:
        if error.status == NOT_FOUND:
            return False
        raise
    return True


def week_conf(trigger: Trigger, days: Sequence[int], known: frozenset[str], more: Mapping[str, Any]) -> dict[str, Any]:
    """What week14 is triggered with: each day's own settings without what the week gives to all of them."""
    given = {"regions", "dry_run", "reason"}
    runs = [one for number in days for one in WEEK[number] if one.dag in known]
    settings = {one.dag: {k: v for k, v in trigger.conf(one).items() if k not in given} for one in runs}
    if runs:
        settings[runs[0].dag] |= dict(more)
    return {
        "regions": list(trigger.scene.settings.regions),
        "dry_run": False,
        "reason": "rehearsal",
        "days": list(days),
        "approval": "each day",
        "on_rollback": "stop",
        "settings": settings,
    }
