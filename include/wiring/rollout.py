"""What every rollout DAG is wired from.

A lever's DAG is its docstring (headings: conventions.DOC_HEADINGS) and this::

    @dag(schedule=None, **rollout_arguments("spot_capacity", __doc__, [Tag.ROLLOUT, Tag.SPOT]))
    def day1_spot() -> None:
        rollout("spot_capacity")

    day1_spot()

The lever is registered in ``include/levers``; its module is imported at parse, so it must import nothing heavy at its
top. What the engine does for a lever:

- Places (regions unless ``lever.acts_in`` says otherwise) and ``lever.slots`` become static task groups:
  ``<place>.<slot>.apply_stage``, ``.await_soak``, ``.judge_gates``. A stage of the plan runs in its slot; slots without
  a stage are skipped. A drill is best a slot.
- The DAG's params are those of ``rollout_settings`` and of ``lever.settings_type``, each with its description, bounds
  and default; a field without default takes the estate's window of its name.
- ``target.clients`` is :class:`Clients`, which makes what is asked for; preflight refuses a connection that is missing
  of those that ``lever.needs`` names. ``target.fence()`` raises when the lock was taken over.
- Change window, connections, ledger and lock are the engine's to check; ``lever.preflight`` checks the rest.
- ``apply``: Refused and NotConverged stop the run, which is then rolled back; anything else is retried twice.
- ``observe`` may raise or return None while a source is away: the gate waits up to ``gate_wait_seconds`` for it. What
  is unknown then is rolled back if the gate is for the service's safety; else the run ends red, keeps change and lock,
  and may be judged again by clearing the gate's task.
- A task's limit follows the run's ``converge_timeout_seconds``; undoing is retried for at least 15 minutes.
- With ``deliver`` = export the plan becomes files beside the ledger (``write_export``), and nothing else is written.
- The approval's answer goes from its task into the ledger: no state that is set by hand, and no XCom, approves.

Several levers, one after the other behind one approval::

    LEVERS = ("dns_health_checks", "storage_tiering")

    @dag(schedule=None, **rollout_arguments(LEVERS, __doc__, [Tag.ROLLOUT, Tag.EDGE]))
    def day3_edge() -> None:
        rollouts(LEVERS)

- The form has the settings of all of them; one that two levers have must be the same in both.
- Checks, plan, approval and locks are those of all levers at once, then each has a group of its name, in which its
  tasks are as above. It begins when the one before is promoted or had nothing to do, which is a plan without a stage.
- What one lever writes must leave the plans of the later ones as they were: each is made again when its turn comes.
- One that is rolled back, or waits for people, keeps the later ones from beginning; the earlier ones stay promoted.
- Each lever has its chains in the ledger, so that ``rollback`` undoes one of them as well as everything.

With an invalid estate every DAG still loads: a rollout with one failing task that shows what is wrong, the rollback
whole, as it can work from the slices of the estate in the ledger's snapshots.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from airflow.sdk import TaskGroup, TriggerRule, task

from include import levers
from include.estate import Estate
from include.rollout import several, steps
from include.rollout.several import Several
from include.rollout.steps import Run
from include.week.delegation import Delegated, answer_for
from include.wiring.clients import ClientsFactory, clients_for
from include.wiring.dag import estate_or_problem, show_problem, without_copies
from include.wiring.lever_tasks import carry_out, choose_ending
from include.wiring.notify import notice_checks
from include.wiring.tasks import Engine, announce, await_approval, failed_tasks, step_task


def rollout(lever: str, clients: ClientsFactory | None = None, estate: Estate | None = None) -> Any:
    """Wire the rollout of ``lever`` into the current DAG. Tests give their own ``clients`` and ``estate``.

    Returns the task ``promote``, for what is to follow a rollout that was promoted; None when the estate can't be read.
    """
    estate, problem = estate_or_problem(estate)
    if estate is None:
        show_problem(problem)
        return None
    engine = Engine(estate, levers.lever(lever), clients or clients_for)
    lock = step_task(engine, take_locks).as_setup()
    confirm = step_task(engine, steps.confirm_unchanged)
    promote, undone = carry_out(engine, confirm, choose_ending)
    unlock = step_task(engine, steps.release_locks).as_teardown(setups=lock)
    verdict = step_task(engine, give_verdict, task_id="verdict", trigger_rule=TriggerRule.ALL_DONE, retries=1)

    # Nothing is written before the approval, and nothing but what was approved after it.
    _approved(engine, steps, verdict) >> lock >> confirm
    # The locks go last: nobody else may write while this run promotes or undoes.
    [promote, *undone] >> unlock >> verdict
    without_copies(verdict)
    return promote


def rollouts(names: Sequence[str], clients: ClientsFactory | None = None, estate: Estate | None = None) -> None:
    """Wire the rollout of several levers, one after the other, into the current DAG: see the module's docstring.

    Tests give their own ``clients`` and ``estate``.
    """
    estate, problem = estate_or_problem(estate)
    if estate is None:
        show_problem(problem)
        return
    engines = tuple(Engine(estate, levers.lever(name), clients or clients_for) for name in names)
    whole = SeveralEngine(engines)
    lock = step_task(whole, several.lock_places, task_id="take_locks").as_setup()
    confirm = step_task(whole, several.confirm_unchanged)
    ended = _turns(whole, confirm)
    unlock = step_task(whole, several.release_locks).as_teardown(setups=lock)
    verdict = step_task(whole, give_joint_verdict, task_id="verdict", trigger_rule=TriggerRule.ALL_DONE, retries=1)

    _approved(whole, several, verdict) >> lock >> confirm
    ended >> unlock >> verdict
    without_copies(verdict)


def _turns(whole: SeveralEngine, confirm: Any) -> list[Any]:
    """A group for each lever, which begins when all tasks of the one before are over; the last one's last tasks.

    Whether it is a lever's turn is read in the ledger, so that a task that was skipped or marked skips no lever.
    """
    before, rule = [confirm], TriggerRule.ALL_SUCCESS
    for engine in whole.engines:
        assert engine.lever is not None
        name = engine.lever.name
        with TaskGroup(name, tooltip=f"Roll out {name}"):
            turn = step_task(engine, begin_lever, whole, task_id="begin", trigger_rule=rule)
            promote, undone = carry_out(engine, turn, choose_lever_ending)
        before >> turn
        before, rule = [promote, *undone], TriggerRule.ALL_DONE
    return before


def _approved(engine: Engine | SeveralEngine, made_of: Any, verdict: Any) -> Any:
    """Everything before the first write, of the steps in the module ``made_of``. Returns the approval.

    Or files in place of writes, and the ``verdict``: a branch, since whatever it leaves out costs no process.
    """
    preflight = step_task(engine, check_preflight, made_of)
    plan = step_task(engine, made_of.make_plan)
    real = step_task(engine, is_real_run, decorator=task.branch)
    approval = await_approval(engine, "make_plan", engine.week_answer)
    export = step_task(engine, made_of.write_export)
    preflight >> plan >> real >> [approval, export]
    export >> verdict
    return approval


@dataclass(frozen=True)
class SeveralEngine:
    """What the tasks of a DAG of several levers share: the engine of each, in order."""

    engines: tuple[Engine, ...]

    @property
    def estate(self) -> Estate | None:
        """The estate of all of them."""
        return self.engines[0].estate

    def run(self) -> Several:
        """The run that the current task belongs to."""
        return self.around(self.engines[0].run())

    def around(self, run: Run) -> Several:
        """The run of all levers that ``run``, of one of them, belongs to."""
        return Several.of(run, [engine.lever for engine in self.engines if engine.lever is not None])

    def keep_answer(self, answer: Mapping[str, Any]) -> None:
        """Put an approval's answer on record."""
        several.record_answer(self.run(), answer)

    def week_answer(self, shown: str) -> Delegated:
        """What a week's one approval says of the plan of this run's levers."""
        run = self.run()
        return answer_for(run.whole, run.runs, shown)


def is_real_run(run: Run | Several) -> list[str]:
    """A dry run stops here, a real one goes on to the approval, one that exports writes its files."""
    settings = run.settings
    return ["write_export"] if settings.exports else ["await_approval"] if settings.changes else []


def check_preflight(run: Run | Several, made_of: Any) -> None:
    """Everything that can be known to be wrong before anything is written, the estate's notifiers among it."""
    made_of.check_preflight(run, notice_checks(run.estate))


def take_locks(run: Run) -> None:
    """Take the locks of all selected places, or of none."""
    steps.lock_places(run, run.places, steps.answer_on_record(run), take_over=False)


def begin_lever(run: Run, whole: SeveralEngine) -> None:
    """Begin a lever when it is its turn: its plan, made again, must still be the one that was approved."""
    several.begin(whole.around(run), run)


def choose_lever_ending(run: Run) -> list[str]:
    """Promote the lever, roll back the places that it touched, or leave everything as it is while a gate is unknown."""
    return choose_ending(run, f"{run.lever.name}.") if several.has_begun(run) else []


def give_verdict(run: Run) -> dict[str, Any]:
    """Say how the run ended, what was left behind and what to do next; fails the run unless it may be green."""
    return announce(steps.conclude(run, steps.answer_on_record(run), failed_tasks()))


def give_joint_verdict(run: Several) -> dict[str, Any]:
    """Say how each lever ended and what to do next; fails the run unless each was promoted or had nothing to do."""
    return announce(several.conclude(run, failed_tasks()))
