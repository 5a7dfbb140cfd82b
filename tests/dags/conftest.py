"""Airflow for the DAG tests: a home of its own with a migrated SQLite database, and ``run_dag``.

``run_dag(dag, conf, answer=...)`` runs a DAG by ``dag.test()`` while a thread answers its approval through the API
server's own function, as a person would; ``answer=None`` lets the approval time out, ``marked`` names tasks that
somebody marks successful in place of running them. ``clear`` clears tasks of a finished run as the API does, and
``run_dag(dag, {}, goes_on=run_id)`` then runs what was cleared.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from sqlalchemy.exc import OperationalError

from include import levers
from include.clients.storage import Folder
from include.estate import ESTATE_FILE
from include.rollout.ledger import Ledger
from lab.machine.speed import LONGEST_STRETCH
from tests.dags.toy import World
from tests.dags.toy_dags import START

POLL = 0.1  # seconds
# Of one run. pytest's own limit does not hold here: a task's execution_timeout takes over its alarm and ends it.
MOST_SECONDS = 300 * LONGEST_STRETCH
# Airflow reads these when it is first imported, so they are set before any test module is collected.
_HOME = Path(tempfile.mkdtemp(prefix="akidb-airflow-"))
atexit.register(shutil.rmtree, _HOME, ignore_errors=True)
(_HOME / "no-dags").mkdir()
os.environ |= {
    "AIRFLOW_HOME": str(_HOME),
    "AIRFLOW__CORE__DAGS_FOLDER": str(_HOME / "no-dags"),
    "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    "AIRFLOW__CORE__UNIT_TEST_MODE": "False",
    # Tests give one DAG different regions: what is cleared must be looked up in the DAG that ran.
    "AIRFLOW__CORE__MIN_SERIALIZED_DAG_UPDATE_INTERVAL": "0",
    "AIRFLOW__CORE__PLUGINS_FOLDER": str(Path(__file__).parents[2] / "plugins"),
    # Of the four only the first two may answer and trigger, and the last has no right at all.
    "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": "platform-lead:admin,somebody:admin,looker:viewer,nobody:",
    "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(_HOME / "passwords.json"),
    "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{_HOME}/airflow.db",
    "AIRFLOW__DATABASE__LOAD_DEFAULT_CONNECTIONS": "False",
    "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(_HOME / "logs"),
}


def _open_estate() -> Path:
    """The estate without freeze days and with its change window always open: tests run on any day at any hour."""
    raw = yaml.safe_load(ESTATE_FILE.read_text(encoding="utf-8"))
    raw["governance"]["freeze_days"] = []
    raw["governance"]["change_window"] = {"weekdays": list(range(7)), "from_hour": 0, "to_hour": 24}
    copy = _HOME / "estate.yaml"
    copy.write_text(yaml.safe_dump(raw, sort_keys=False), encoding="utf-8")
    return copy


OPEN_ESTATE = _open_estate()


@pytest.fixture(autouse=True)
def _any_day(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AKIDB_ESTATE", str(OPEN_ESTATE))


@dataclass(frozen=True)
class Finished:
    """What a run left: its state and id, each task's state, the verdict that it pushed, and how long it took."""

    state: str
    run_id: str
    tasks: dict[str, str]
    verdict: dict[str, Any]
    seconds: float

    def ran(self, suffix: str) -> list[str]:
        """Tasks that succeeded and whose id ends so, in the order of their ids."""
        return sorted(name for name, state in self.tasks.items() if state == "success" and name.endswith(suffix))


@pytest.fixture(scope="session")
def airflow_database() -> None:
    make_database()


def make_database() -> None:
    """A migrated database with the bundle of the DAGs."""
    from airflow.api_fastapi.app import create_auth_manager
    from airflow.dag_processing.bundles.manager import DagBundlesManager
    from airflow.utils.db import initdb

    initdb()
    DagBundlesManager().sync_bundles_to_db()
    create_auth_manager()


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setenv("AIRFLOW_VAR_AKIDB_LEDGER", str(tmp_path / "ledger"))
    monkeypatch.setitem(levers.LEVERS, "toy", "tests.dags.toy:Toy")
    path = tmp_path / "world.json"
    regions = {region: {"size": 1} for region in START}
    path.write_text(json.dumps({"regions": regions, "faults": {}, "leases": {}, "events": []}))
    return World(path)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(Folder(tmp_path / "ledger"))


@pytest.fixture
def run_dag(airflow_database: None) -> Callable[..., Finished]:
    return run_once


# A DAG object keeps the params of its last run in this process: build a new one for every run.
def run_once(
    dag: Any,
    conf: dict[str, Any],
    answer: str | None = "Approve",
    user: str = "platform-lead",
    before_answer: Callable[[], Any] = lambda: None,
    marked: str | None = None,
    goes_on: str | None = None,
) -> Finished:
    from airflow.dag_processing.dagbag import DagBag, sync_bag_to_db

    # dag.test() looks up the alerts of a DAG that succeeds as if it came from the database, which it doesn't: Airflow
    # would raise "'dict' object has no attribute 'hex'".
    dag.deadline = None
    bag = DagBag(str(_HOME / "no-dags"))
    bag.bag_dag(dag)
    sync_bag_to_db(bag, "dags-folder", None)
    done = threading.Event()
    problems: list[Exception] = []
    thread = threading.Thread(target=_answer, args=(dag.dag_id, answer, user, before_answer, done, problems))
    thread.start()
    end = time.monotonic() + MOST_SECONDS

    def is_worth_waiting_for() -> None:
        if problems:
            raise problems[0]
        assert time.monotonic() < end, f"the run has not ended after {MOST_SECONDS:.0f} s"

    try:
        with quick_polls(is_worth_waiting_for), existing_run(goes_on):
            run = dag.test(run_conf=conf, mark_success_pattern=marked)
    except BaseException:
        _close(dag.dag_id)
        raise
    finally:
        done.set()
        thread.join()
    if problems:
        raise problems[0]
    return _finished(run)


@contextlib.contextmanager
def quick_polls(check: Callable[[], None] = lambda: None) -> Iterator[None]:
    """dag.test() looks for runnable tasks once a second, also to pass a skip on: let it look more often.

    ``check`` is called with every look, and may raise: a run without an answer would never end.
    """
    sleep = time.sleep
    main = threading.main_thread()

    def shorter(seconds: float) -> None:
        if threading.current_thread() is not main:
            return sleep(seconds)
        check()
        return sleep(min(seconds, POLL))

    time.sleep = shorter
    try:
        yield
    finally:
        time.sleep = sleep


def _shown_id(ti: Any) -> str:
    """The task's id, and for a mapped one what the interface shows in place of its index."""
    return ti.task_id if ti.map_index < 0 else f"{ti.task_id}[{ti.rendered_map_index or ti.map_index}]"


@contextlib.contextmanager
def existing_run(run_id: str | None) -> Iterator[None]:
    """``dag.test()`` always makes a new run: let it go on with one whose tasks were cleared, as a scheduler does."""
    from airflow.models import dagrun
    from sqlalchemy import select

    def existing(*, dag: Any, session: Any, **_: Any) -> Any:
        # By its DAG too: all days of a week share one run id.
        query = select(dagrun.DagRun).where(dagrun.DagRun.dag_id == dag.dag_id, dagrun.DagRun.run_id == run_id)
        run = session.scalar(query)
        run.dag, run.state = dag, "running"
        session.commit()
        return run

    make = dagrun.get_or_create_dagrun
    dagrun.get_or_create_dagrun = make if run_id is None else existing
    try:
        yield
    finally:
        dagrun.get_or_create_dagrun = make


def clear(dag_id: str, call: dict[str, Any]) -> list[str]:
    """Send the body of a clearTaskInstances call, as the UI and a person's curl do; returns the cleared tasks."""
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
    from airflow.api_fastapi.core_api.datamodels.task_instances import ClearTaskInstancesBody
    from airflow.api_fastapi.core_api.routes.public.task_instances import post_clear_task_instances
    from airflow.models.dagbag import DBDagBag
    from airflow.utils.session import create_session

    person = SimpleAuthManagerUser(username="platform-lead", role="admin")
    with create_session() as session:
        cleared = post_clear_task_instances(dag_id, DBDagBag(), ClearTaskInstancesBody(**call), session, person)
        return sorted(ti.task_id for ti in cleared.task_instances)


def _finished(run: Any) -> Finished:
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session

    with create_session() as session:
        tasks = {_shown_id(ti): str(ti.state) for ti in run.get_task_instances(session=session)}
        query = XComModel.get_many(run_id=run.run_id, dag_ids=run.dag_id, task_ids="verdict", key="verdict")
        found = session.execute(query).scalars().first()
        verdict = XComModel.deserialize_value(found) if found else {}
    seconds = (run.end_date - run.start_date).total_seconds()
    return Finished(str(run.state), run.run_id, tasks, verdict, seconds)


def _answer(
    dag_id: str,
    answer: str | None,
    user: str,
    before_answer: Callable[[], Any],
    done: threading.Event,
    problems: list[Exception],
) -> None:
    """Answer (or let time out) whatever waits for an answer, until the run is done."""
    prepared = set[tuple[str, str]]()
    while not done.wait(0.2):
        try:
            for run_id, task_id in waiting(dag_id):
                if (run_id, task_id) not in prepared:
                    before_answer()
                    prepared.add((run_id, task_id))
                if answer is None:
                    _time_out()
                else:
                    respond(dag_id, run_id, task_id, answer, user)
        except OperationalError:
            continue  # the run is writing, and SQLite lets one write at a time: answer at the next look
        except Exception as problem:  # noqa: BLE001 - raised by the test
            problems.append(problem)
            return


def waiting(dag_id: str) -> list[tuple[str, str]]:
    """(run id, task id) of what waits for an answer; what was answered already is let go on.

    ``dag.test()`` writes a task's state once more after it was parked: over that of an answer that came in between,
    which on a busy machine it does.
    """
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.session import create_session
    from sqlalchemy import select
    from sqlalchemy.orm import joinedload

    with create_session() as session:
        query = select(TaskInstance).where(TaskInstance.dag_id == dag_id, TaskInstance.state == "awaiting_input")
        parked = session.scalars(query.options(joinedload(TaskInstance.hitl_detail))).all()
        answered = [ti for ti in parked if ti.hitl_detail.response_received]
        for ti in answered:
            ti.state = "scheduled"
        return [(ti.run_id, ti.task_id) for ti in parked if ti not in answered]


def _close(dag_id: str) -> None:
    """Fail what waits for an answer: no later run of the DAG shall find it."""
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.session import create_session
    from sqlalchemy import update

    with create_session() as session:
        parked = update(TaskInstance).where(TaskInstance.dag_id == dag_id, TaskInstance.state == "awaiting_input")
        session.execute(parked.values(state="failed"))


def respond(dag_id: str, run_id: str, task_id: str, answer: str, user: str) -> None:
    """Answer an approval as ``user``, with the check of who may."""
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
    from airflow.api_fastapi.core_api.datamodels.hitl import UpdateHITLDetailPayload
    from airflow.api_fastapi.core_api.routes.public.hitl import update_hitl_detail
    from airflow.utils.session import create_session

    payload = UpdateHITLDetailPayload(chosen_options=[answer], params_input={})
    with create_session() as session:
        person = SimpleAuthManagerUser(username=user, role="admin")
        update_hitl_detail(dag_id, run_id, task_id, payload, person, session)


def _time_out() -> None:
    """What the scheduler does with an approval whose time is over; dag.test() has no scheduler."""
    from airflow.jobs.job import Job
    from airflow.jobs.scheduler_job_runner import SchedulerJobRunner

    SchedulerJobRunner(Job()).check_awaiting_input_timeouts()
