"""From a step of the engine to an Airflow task: its run, its reasons on record, its retries, its approval."""

from __future__ import annotations

import contextlib
import datetime as dt
import functools
import inspect
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, cast

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import get_current_context, task
from airflow.sdk.exceptions import (
    AirflowException,
    AirflowFailException,
    AirflowSkipException,
    AirflowTaskTimeout,
    TaskAwaitingInput,
)

from include.estate import Estate, EstateError
from include.notices import approval_wanted, rolled_back
from include.rollout import decisions, rollback, steps
from include.rollout.ledger import WHOLE_RUN, Ledger, LedgerError, Step, without_secrets
from include.rollout.lever import Lever, Levers, NameOnly, NotConverged, Refused
from include.rollout.lock import LockHeld
from include.rollout.place import Place, PlaceKind
from include.rollout.settings import LONGEST_CONVERGENCE
from include.rollout.steps import NotWanted, OnRecord, Run
from include.week.delegation import Delegated, answer_for, not_covered
from include.wiring.conventions import UNDO_RETRY_ARGS
from include.wiring.notify import notify_of

if TYPE_CHECKING:
    pass

from include.wiring.clients import ClientsFactory, open_ledger, run_ended
from include.wiring.outlook import outlook_of
from include.wiring.parameters import refuse_unknown_names

log = logging.getLogger(__name__)


APPROVAL_TIMEOUT = 24 * 3600  # seconds; of a rollback whose estate can't be read


GATE_POLL = 5.0  # seconds between two looks at a gate that still waits
MOST_WAITS = 4  # so often a lever waits for the world to converge within one write or undo, at most


@dataclass(frozen=True)
class Engine:
    """What the tasks of one DAG share; made at parse, used in tasks."""

    estate: Estate | None  # None in a rollback DAG whose estate can't be read: ``problem`` says why
    lever: Lever | None  # None in the rollback DAG, whose lever is a parameter and one of ``levers``
    clients: ClientsFactory
    problem: str = ""
    levers: Levers | None = None

    def run(self) -> Run:
        """The run that the current task belongs to."""
        context = get_current_context()
        ti = context["ti"]
        # The trigger form sends null for a text that was left empty.
        params = {name: "" if value is None else value for name, value in context["params"].items()}
        ledger = open_ledger()
        estate = self.estate or self._estate_on_record(ledger)

        @functools.cache
        def clients(place: Place) -> Any:
            gone = self.levers is not None and place.kind is PlaceKind.REGION and place.name not in estate.regions
            return self.clients(place, self._estate_on_record(ledger) if gone else estate)

        parts: dict[str, Any] = {
            "estate": estate,
            "params": params,
            "dag_id": ti.dag_id,
            "run_id": ti.run_id,
            "ledger": ledger,
            "clients": clients,
            "run_ended": run_ended,
            "links": {"log": ti.log_url},
            "outlook": outlook_of(estate),
        }
        if self.levers is not None:
            named = cast("Lever", NameOnly(str(params["lever"])))
            return rollback.RollbackRun(lever=named, levers=self.levers, **parts)
        assert self.lever is not None
        return Run(lever=self.lever, **parts)

    def _estate_on_record(self, ledger: Ledger) -> Estate:
        """The estate as the snapshots have it. Raises Refused when none has."""
        estate = rollback.estate_on_record(ledger)
        if estate is None:
            reason = self.problem or "a place is not in the estate"
            raise Refused(f"{reason}; and no snapshot in the ledger holds a slice of the estate to work from")
        return estate

    def keep_answer(self, answer: Mapping[str, Any]) -> None:
        """Put an approval's answer on record."""
        steps.record_answer(self.run(), answer)

    def week_answer(self, shown: str) -> Delegated:
        """What a week's one approval says of this run's plan."""
        run = self.run()
        return answer_for(run, [run], shown)


class Records(Protocol):
    """A run, or one of several levers."""

    def record(self, place: str, step: str, figures: Mapping[str, Any]) -> Any:
        """Append a record to the run's chain in a place."""


class Runs(Protocol):
    """Whose tasks belong to a run."""

    def run(self) -> Any:
        """The run that the current task belongs to."""


@contextlib.contextmanager
def recorded(run: Records, place: str = WHOLE_RUN, *, undoing: bool = False) -> Iterator[None]:
    """Put the reason of a step's end on record; retries only where they can help.

    A step that ran into its task's limit has waited for hours already: only one that undoes is tried again, as it is
    while somebody else holds the lock.
    """
    context = get_current_context()
    ti = context["ti"]
    try:
        yield
    except AirflowException:
        raise
    except AirflowTaskTimeout as error:
        limit = context["task"].execution_timeout
        reason = f"not done within {limit}, the limit of its task; its log says what it waited for"
        run.record(place, Step.STOPPED, {"where": ti.task_id, "reason": reason})
        if undoing:
            raise
        raise AirflowFailException(reason) from error
    except NotWanted as unwanted:
        raise AirflowSkipException(str(unwanted)) from None
    except (OnRecord, LedgerError) as error:
        # A ledger that can't be trusted can't take this reason either.
        raise AirflowFailException(str(error)) from error
    except (Refused, NotConverged, EstateError) as error:
        if undoing and isinstance(error, LockHeld) and ti.try_number <= ti.max_tries:
            raise  # such as a rollback of another lever, which gives the lock back when it is done
        run.record(place, Step.STOPPED, {"where": ti.task_id, "reason": without_secrets(str(error))})
        raise AirflowFailException(str(error)) from error
    except Exception as error:
        if ti.try_number > ti.max_tries:
            reason = f"{type(error).__name__}: {error}"
            run.record(place, Step.STOPPED, {"where": ti.task_id, "reason": without_secrets(reason[:2000])})
        raise


def step_task(
    engine: Runs,
    step: Callable[..., Any],
    *arguments: Any,
    place: str = WHOLE_RUN,
    undoing: bool = False,
    **options: Any,
) -> Any:
    """A task that runs ``step(run, *arguments)`` and keeps what it returns as its XCom; undoing is tried longer."""
    decorator: Any = options.pop("decorator", task)
    options |= UNDO_RETRY_ARGS if undoing else {}

    @decorator(  # type: ignore[untyped-decorator]
        task_id=options.pop("task_id", step.__name__), doc_md=inspect.getdoc(step), **options
    )
    def body() -> Any:
        run = engine.run()
        with recorded(run, place, undoing=undoing):
            refuse_unknown_names(get_current_context())
            return step(run, *arguments)

    return body()


def sensor_task(
    engine: Runs, task_id: str, limit: dt.timedelta, place: Callable[[Any], str], step: Any, *rest: Any
) -> Any:
    """A task that looks again and again, without a worker slot between, until ``step(run, *rest)`` returns something.

    ``place`` says of the run where its reasons go on record; ``limit`` is how long it looks at most.
    """

    @task.sensor(
        task_id=task_id,
        mode="reschedule",
        poke_interval=GATE_POLL,
        timeout=limit.total_seconds(),
        doc_md=inspect.getdoc(step),
    )
    def body() -> Any:
        from airflow.sdk import PokeReturnValue

        run = engine.run()
        with recorded(run, place(run)):
            found = step(run, *rest)
        return PokeReturnValue(is_done=found is not None, xcom_value=found)

    return body()


def group_id(name: str) -> str:
    """A place or slot as part of a task id."""
    return name.replace("-", "_")


def failed_tasks() -> list[str]:
    """The tasks of the current run that have failed."""
    ti = get_current_context()["ti"]
    states = ti.get_task_states(dag_id=ti.dag_id, run_ids=[ti.run_id]).get(ti.run_id, {})
    return sorted(task_id for task_id, state in states.items() if state == "failed")


def announce(verdict: decisions.Verdict) -> dict[str, Any]:
    """Show the verdict, tell whom the estate names, and fail the run unless it may be green."""
    summary = {"verdict": verdict.name.value, "message": verdict.message, "left_behind": list(verdict.left_behind)}
    context = get_current_context()
    ti = context["ti"]
    ti.xcom_push(key="verdict", value=summary)
    notify_of(rolled_back(ti.dag_id, ti.run_id, verdict), context)
    if not verdict.green:
        raise AirflowFailException(verdict.message)
    log.info(verdict.message)
    return summary


def write_timeout(converge_seconds: float) -> dt.timedelta:
    """How long a task that writes may take when each wait for the world may take ``converge_seconds``."""
    return dt.timedelta(seconds=MOST_WAITS * converge_seconds + 600)


def limit_by_settings(context: Any) -> None:
    """Let the task's limit follow the run's own converge_timeout_seconds: the DAG's parse does not know it yet."""
    converge = context["params"].get("converge_timeout_seconds")
    if converge:
        context["task"].execution_timeout = write_timeout(float(converge))


WRITE_LIMIT: Mapping[str, Any] = {
    "execution_timeout": write_timeout(LONGEST_CONVERGENCE),
    "pre_execute": limit_by_settings,
}


class PlanApproval(ApprovalOperator):
    """An approval that hands its answer, with the hash of the plan that was shown, to ``keep``.

    Neither a state that somebody sets by hand nor an XCom that somebody writes is an answer: this task alone receives
    what a respondent chose, and whoever writes afterwards reads what was kept. A run of the week may have been approved
    with all of it: then ``delegated`` gives the answer from the ledger, or why somebody has to be asked again.
    """

    def __init__(
        self,
        *,
        plan_task: str,
        keep: Callable[[Mapping[str, Any]], None],
        delegated: Callable[[str], Delegated] | None = None,
        **arguments: Any,
    ) -> None:
        super().__init__(**arguments)
        self._keep = keep
        self._plan_task = plan_task
        self._delegated = delegated

    def execute(self, context: Any) -> Any:
        """Ask, and remember what was shown: the plan may be made again while somebody reads it."""
        shown = context["ti"].xcom_pull(task_ids=self._plan_task)["hash"]
        delegated = self._delegated(shown) if self._delegated else Delegated()
        if delegated.answer is not None:
            self._keep(delegated.answer)
            log.info("approved by %s through %s", delegated.answer["user"], delegated.answer["through"])
            return None
        if delegated.reasons:
            self.body = f"{not_covered(delegated.reasons)}\n\n{self.body}"
        notify_of(
            approval_wanted(context["ti"].dag_id, context["ti"].run_id, str(self.subject), str(self.body)), context
        )
        try:
            return super().execute(context)
        except TaskAwaitingInput as parked:
            parked.kwargs = {**(parked.kwargs or {}), "shown": shown}
            raise

    def execute_complete(self, context: Any, event: dict[str, Any], shown: str = "") -> Any:
        """Keep who answered what (``user`` None: nobody did in time), then skip or go on."""
        if "error" not in event:
            user = event["responded_by_user"] or {}
            answer = {"approved": event["chosen_options"] == [self.APPROVE], "hash": shown}
            self._keep(answer | {"user": user.get("name"), "user_id": user.get("id")})
        return super().execute_complete(context, event)


class Asking(Protocol):
    """Whose approvers are asked, and who keeps what they answer."""

    @property
    def estate(self) -> Estate | None:
        """None where it can't be read: then anybody may answer."""

    def keep_answer(self, answer: Mapping[str, Any]) -> None:
        """Keep ``approved``, ``user``, ``user_id`` and ``hash``."""


def await_approval(
    engine: Asking, plan_task: str, delegated: Callable[[str], Delegated] | None = None, **options: Any
) -> Any:
    """The approval of the plan that ``plan_task`` left in its XCom; nobody's answer counts as Reject.

    ``delegated`` asks whether the week was approved with this run; ``options`` are the operator's.
    Without an estate anybody may answer in the form; who may approve is then checked when the locks are taken.
    """
    estate = engine.estate
    plan = f"ti.xcom_pull(task_ids='{plan_task}')"
    people = [{"id": name, "name": name} for name in estate.governance.approvers] if estate else []
    timeout = estate.windows.approval_timeout_seconds if estate else APPROVAL_TIMEOUT
    return PlanApproval(
        plan_task=plan_task,
        keep=engine.keep_answer,
        delegated=delegated,
        task_id="await_approval",
        subject=f"{{{{ dag.dag_id }}}}: approve plan {{{{ {plan}['hash'] }}}}?",
        body=f"Plan {{{{ {plan}['hash'] }}}}\n\n{{{{ {plan}['text'] }}}}",
        defaults="Reject",
        assigned_users=cast("Any", people) or None,
        response_timeout=dt.timedelta(seconds=timeout),
        # The answer is waited for by response_timeout; a person's Reject is an answer, not a failure to retry.
        execution_timeout=None,
        retries=0,
        **options,
    )
