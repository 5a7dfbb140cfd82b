"""What the week's DAG is wired from: each day is a run of its own DAG, started and awaited here.

A day's run has an id that follows from the week's: a task that is tried again, or goes on after the scheduler was
killed, finds the run that is there. Whether it is a day's turn, how one ended and who approved is read in the ledger.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.providers.standard.triggers.external_task import DagStateTrigger
from airflow.sdk import BaseOperator, TaskGroup, TriggerRule, get_current_context, task
from airflow.sdk.exceptions import AirflowFailException

from include import levers
from include.estate import Estate
from include.rollout.lever import Check
from include.week import ending, planning, progress
from include.week.days import DAYS, Day
from include.week.run import Week
from include.week.settings import ONCE
from include.wiring.clients import ClientsFactory, clients_for
from include.wiring.dag import estate_or_problem, show_problem, without_copies
from include.wiring.notify import notice_checks
from include.wiring.tasks import Engine, announce, await_approval, failed_tasks, recorded, step_task
from include.wiring.week_gate import MEASURES, Measure, wire_gate
from include.wiring.week_planner import planner_of

POLL = 5.0  # seconds between two looks at a day's run
ENDS = ("success", "failed")


@dataclass(frozen=True)
class WeekEngine:
    """What the tasks of the week share; made at parse, used in tasks."""

    engine: Engine
    days: tuple[Day, ...]

    @property
    def estate(self) -> Estate | None:
        """The estate."""
        return self.engine.estate

    def run(self) -> Week:
        """The week that the current task belongs to."""
        return Week.of(self.engine.run(), self.days, levers.lever)

    def keep_answer(self, answer: Mapping[str, Any]) -> None:
        """Put the week's answer on record."""
        planning.record_answer(self.run(), answer)


def week(
    days: Sequence[Day] = DAYS,
    clients: ClientsFactory | None = None,
    estate: Estate | None = None,
    measures: Mapping[str, Measure] = MEASURES,
) -> None:
    """Wire the week of ``days`` into the current DAG; ``measures`` are those of the week-15 gate, by gate.

    Tests give their own of each.
    """
    estate, problem = estate_or_problem(estate)
    if estate is None:
        show_problem(problem)
        return
    any_lever = levers.lever(days[0].levers[0])
    engine = WeekEngine(Engine(estate, any_lever, clients or clients_for), tuple(days))
    preflight = step_task(engine, check_preflight)
    plan = step_task(engine, make_plan)
    real = step_task(engine, is_real_week, decorator=task.short_circuit, ignore_downstream_trigger_rules=False)
    choose = step_task(engine, choose_approval, decorator=task.branch)
    approval = await_approval(engine, "make_plan")
    go = TriggerRule.NONE_FAILED_MIN_ONE_SUCCESS
    confirm = step_task(engine, planning.confirm_approval, trigger_rule=go)
    ended = _every_day(engine, confirm)
    judged = wire_gate(engine, ended, measures)
    verdict = step_task(engine, give_week_verdict, task_id="verdict", trigger_rule=TriggerRule.ALL_DONE, retries=1)

    # Nothing is triggered before the plan of all days; with one approval for all, not before that.
    preflight >> plan >> real >> choose >> [approval, confirm]
    approval >> confirm
    [ended, judged] >> verdict
    without_copies(verdict)


def _every_day(engine: WeekEngine, confirm: Any) -> Any:
    """A group for each day's run, which begins when the one before has ended. Returns the last one's end.

    Whether it is a day's turn is read in the ledger, so that a task that was skipped or marked skips no day.
    """
    before, rule = confirm, TriggerRule.ALL_SUCCESS
    for day in engine.days:
        with TaskGroup(day.dag, tooltip=f"Day {day.number}"):
            start = StartDay(engine=engine, day=day, task_id="start", trigger_rule=rule)
            end = AwaitDay(engine=engine, day=day, task_id="await_end", trigger_rule=TriggerRule.ALL_DONE)
        before >> start >> end
        before, rule = end, TriggerRule.ALL_DONE
    return before


class StartDay(TriggerDagRunOperator):
    """Starts a day's run, or leaves it alone when it is there: the task may be tried again at any point."""

    def __init__(self, *, engine: WeekEngine, day: Day, **arguments: Any) -> None:
        super().__init__(
            trigger_dag_id=day.dag,
            logical_date=None,
            # Only for two tries at the same moment: whoever comes second has nothing to do.
            skip_when_already_exists=True,
            fail_when_dag_is_paused=True,
            openlineage_inject_parent_info=False,
            doc_md="Start the day's run, unless an earlier day stopped the week. One that is there already is adopted.",
            **arguments,
        )
        self._engine = engine
        self._day = day

    def execute(self, context: Any) -> None:
        """Put the day on record, then start its run."""
        run = self._engine.run()
        with recorded(run):
            self.conf = progress.begin_day(run, self._day)
        self.trigger_run_id = run.child_run_id
        if context["ti"].get_dr_count(dag_id=self._day.dag, run_ids=[run.child_run_id]):
            self.log.info("%s is there already: this week goes on with it", run.child_run_id)
            return
        super().execute(context)


class AwaitDay(BaseOperator):
    """Waits in the triggerer for the end of a day's run, and puts on record how it ended."""

    def __init__(self, *, engine: WeekEngine, day: Day, **arguments: Any) -> None:
        doc = "Wait for the day's run, which holds no worker slot, and put its verdict, seconds and dollars on record."
        super().__init__(doc_md=doc, execution_timeout=None, **arguments)
        self._engine = engine
        self._day = day

    def execute(self, context: Any) -> None:
        """Wait, if the day was begun and its run is there."""
        run = self._engine.run()
        with recorded(run):
            progress.demand_begun(run, self._day)
        ids = [run.child_run_id]
        if not context["ti"].get_dr_count(dag_id=self._day.dag, run_ids=ids):
            raise AirflowFailException(f"{self._day.dag} has no run {ids[0]}: read the log of {self._day.dag}.start")
        trigger = DagStateTrigger(dag_id=self._day.dag, states=list(ENDS), run_ids=ids, poll_interval=POLL)  # type: ignore[arg-type]
        self.defer(trigger=trigger, method_name="conclude")

    def conclude(self, context: Any, event: Any = None) -> dict[str, Any]:
        """Put on record how the run ended. Fails unless it was promoted."""
        del event  # how the run stands now, not when the trigger looked
        run = self._engine.run()
        state = context["ti"].get_dagrun_state(self._day.dag, run.child_run_id)
        with recorded(run):
            end = progress.end_day(run, self._day, str(getattr(state, "value", state)))
        if not end.green:
            raise AirflowFailException(f"{end.title} ended as {end.verdict.value}: {end.message}")
        return {"verdict": end.verdict.value, "seconds": end.seconds}


def check_preflight(run: Week) -> None:
    """Check every day before the first: settings, connections, notifiers, DAGs, and the first day's own checks."""
    planning.check_preflight(run, [*notice_checks(run.estate), *_dag_checks(run)])


def _dag_checks(run: Week) -> list[Check]:
    """Whether each day's DAG is there and not paused; a dry run triggers none."""
    return [] if run.settings.dry_run else [_dag_check(day.dag) for day in run.chosen]


def _dag_check(dag_id: str) -> Check:
    try:
        paused = get_current_context()["ti"].get_dag(dag_id).is_paused
    except Exception as error:  # noqa: BLE001 - the API's error is the reason
        return Check(dag_id, passed=False, reason=f"the DAG is not there ({error})", remedy="see its import errors")
    reason = "the DAG is paused: its run would never start" if paused else "the DAG is not paused"
    return Check(dag_id, passed=not paused, reason=reason, remedy=f"airflow dags unpause {dag_id}")


def make_plan(run: Week) -> dict[str, str]:
    """Plan every day on the live state, with the planner's waterfall. Returns the hash and the approver's text."""
    waterfall, planned = planner_of(run)
    return planning.make_plan(run, waterfall, planned)


def is_real_week(run: Week) -> bool:
    """A dry run stops here: it has shown checks, plans and waterfall, and triggers nothing."""
    return not run.settings.dry_run


def choose_approval(run: Week) -> str:
    """Ask once for all days, or leave it to each day."""
    return "await_approval" if run.settings.approval == ONCE else "confirm_approval"


def give_week_verdict(run: Week) -> dict[str, Any]:
    """Say how each day ended, what stands and what to do next; fails the run unless every chosen day was promoted."""
    return announce(ending.conclude(run, failed_tasks()))
