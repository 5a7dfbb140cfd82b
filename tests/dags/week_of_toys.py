"""A week of three toy days, each a DAG of one toy lever, and what runs them inside ``dag.test()`` of the week.

``dag.test()`` has no scheduler: the run that the week has triggered waits in the database. What the week defers to is
the trigger that waits for that run, so that run is carried out before the trigger looks, as a scheduler would.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from include.rollout.ledger import Chain, Ledger, Record
from include.week.days import Day, child_run_id
from tests.dags import several_levers as toys
from tests.dags.conftest import Finished, run_once
from tests.dags.toy import World, clients_of
from tests.dags.toy_dags import AP, estate_of

DAYS = (Day(1, "toy_day1", ("alpha",)), Day(2, "toy_day2", ("beta",)), Day(3, "toy_day3", ("gamma",)))
QUICK = {"soak_seconds": 1, "gate_window_seconds": 1, "gate_wait_seconds": 0, "size": 2}
REAL = {"dry_run": False, "days": [1, 2, 3], "settings": {day.dag: QUICK for day in DAYS}}
ONCE = {**REAL, "approval": "once"}


def week_dag(locks: World, measures: Any = None) -> Any:
    from airflow.sdk import DAG

    from include.wiring.dag import week_arguments
    from include.wiring.week import week

    estate = estate_of(AP)
    with DAG("week14", schedule=None, **week_arguments(__doc__, estate)) as dag:
        week(DAYS, clients_of(locks), estate, **({"measures": measures} if measures else {}))
    return dag


def day_dag(day: Day, locks: World) -> Any:
    from airflow.sdk import DAG

    from include.wiring.conventions import Tag
    from include.wiring.dag import rollout_arguments
    from include.wiring.rollout import rollout

    estate = estate_of(AP)
    with DAG(day.dag, schedule=None, **rollout_arguments(day.levers, __doc__, [Tag.ROLLOUT], estate)) as dag:
        rollout(day.levers[0], clients_of(locks), estate)
    return dag


class Weeks:
    """Runs the week; every run of a day that it triggers is run too, answered as ``answers`` says by DAG."""

    def __init__(self, locks: World, ledger: Ledger) -> None:
        self.locks = locks
        self.ledger = ledger
        self.answers: dict[str, str] = {}
        self.runs: list[Finished] = []
        self.before_day: Callable[[str], Any] = lambda dag_id: None

    def __call__(self, conf: dict[str, Any], answer: str | None = "Approve", **options: Any) -> Finished:
        self.register()
        return run_once(options.pop("dag", None) or week_dag(self.locks), conf, answer, **options)

    def register(self) -> None:
        """Make the days' DAGs known to Airflow, none of them paused."""
        for day in DAYS:
            _register(day_dag(day, self.locks))

    def run_day(self, dag_id: str, run_id: str) -> None:
        """What a scheduler does with a run that is queued."""
        day = next(day for day in DAYS if day.dag == dag_id)
        if _state(dag_id, run_id) != "queued":
            return
        self.before_day(dag_id)
        conf = _conf(dag_id, run_id)
        answer = self.answers.get(dag_id, "Approve")
        self.runs.append(run_once(day_dag(day, self.locks), conf, answer, goes_on=run_id))
        # A run that has not ended would let the trigger wait for ever.
        assert _state(dag_id, run_id) in {"success", "failed"}, f"{dag_id} {run_id} has not ended"

    def records(self, run: Finished) -> list[Record]:
        """The week's own chain."""
        return self.ledger.records(Chain("week14", "estate", "week14", run.run_id))

    def steps(self, run: Finished) -> list[str]:
        return [record.step for record in self.records(run)]

    def of_day(self, run: Finished, number: int) -> list[Record]:
        """The chain of a day's run as a whole."""
        return self.ledger.records(DAYS[number - 1].chain(child_run_id(run.run_id)))

    def sizes(self) -> list[int]:
        return [size for sizes in toys.sizes(self.locks).values() for size in sizes]


def make_weeks(folder: Path, ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> Weeks:
    """Three toy levers, their world, and a trigger that runs a day's run before it looks at it."""
    from airflow.providers.standard.triggers.external_task import DagStateTrigger
    from airflow.sdk.definitions import dag as dag_module

    from include import levers

    monkeypatch.setenv("AIRFLOW_VAR_AKIDB_LEDGER", str(folder / "ledger"))
    for name in toys.LEVERS:
        monkeypatch.setitem(levers.LEVERS, name, f"tests.dags.several_levers:{name.title()}")
    weeks = Weeks(toys.make_worlds(folder), ledger)
    look = dag_module._run_inline_trigger

    def run_then_look(trigger: Any, ti: Any) -> Any:
        if isinstance(trigger, DagStateTrigger):
            for run_id in trigger.run_ids or ():
                weeks.run_day(trigger.dag_id, run_id)
        return look(trigger, ti)

    monkeypatch.setattr(dag_module, "_run_inline_trigger", run_then_look)
    return weeks


def _register(dag: Any) -> None:
    """Make the DAG known to Airflow and let it run."""
    from airflow.dag_processing.dagbag import DagBag, sync_bag_to_db
    from airflow.models.dag import DagModel
    from airflow.utils.session import create_session

    bag = DagBag("/nonexistent", safe_mode=False)
    bag.bag_dag(dag)
    sync_bag_to_db(bag, "dags-folder", None)
    with create_session() as session:
        session.get(DagModel, dag.dag_id).is_paused = False


def pause(dag_id: str) -> None:
    from airflow.models.dag import DagModel
    from airflow.utils.session import create_session

    with create_session() as session:
        session.get(DagModel, dag_id).is_paused = True


def runs_of(dag_id: str) -> list[str]:
    """The ids of a DAG's runs."""
    from airflow.models.dagrun import DagRun
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        return list(session.scalars(select(DagRun.run_id).where(DagRun.dag_id == dag_id)))


def _state(dag_id: str, run_id: str) -> str:
    return str(_column(dag_id, run_id, "state"))


def _conf(dag_id: str, run_id: str) -> dict[str, Any]:
    conf: dict[str, Any] = _column(dag_id, run_id, "conf")
    return conf


def _column(dag_id: str, run_id: str, name: str) -> Any:
    from airflow.models.dagrun import DagRun
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        run = session.scalar(select(DagRun).where(DagRun.dag_id == dag_id, DagRun.run_id == run_id))
        return getattr(run, name)
