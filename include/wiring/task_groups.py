"""The engine's only Airflow module: what every rollout DAG and the rollback DAG are wired from.

A lever's DAG is its docstring (headings: conventions.DOC_HEADINGS) and this::

    @dag(schedule=None, **rollout_arguments("spot_capacity", __doc__, [Tag.ROLLOUT, Tag.SPOT]))
    def day1_spot() -> None:
        rollout("spot_capacity")

    day1_spot()

The lever is registered in ``include/levers``; its module is imported at parse, so it must import nothing heavy at its
top. What the engine does for a lever:

- Regions and ``lever.slots`` become static task groups: ``<region>.<slot>.apply_stage``, ``.await_soak``,
  ``.judge_gates``. A stage of the plan runs in its slot; slots without a stage are skipped. A drill is best a slot.
- The DAG's params are those of ``RolloutSettings`` and of ``lever.settings_type``, each with its description, bounds
  and default; a field without default takes the estate's window of its name.
- ``target.clients`` is :class:`Clients`; ``target.fence()`` raises when the lock was taken over.
- Change window, connections, ledger and lock are the engine's to check; ``lever.preflight`` checks the rest.
- ``apply``: Refused and NotConverged stop the run, which is then rolled back; anything else is retried twice.
- ``observe`` may raise or return None while a source is away: the gate waits up to ``gate_wait_seconds`` for it. What
  is unknown then is rolled back if the gate is for the service's safety; else the run ends red, keeps change and lock,
  and may be judged again by clearing the gate's task.
- A task's limit follows the run's ``converge_timeout_seconds``; undoing is retried for at least 15 minutes.
- The approval's answer goes from its task into the ledger: no state that is set by hand, and no XCom, approves.

With an invalid estate every DAG still loads: a rollout with one failing task that shows what is wrong, the rollback
whole, as it can work from the slices of the estate in the ledger's snapshots.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import functools
import inspect
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.providers.standard.sensors.date_time import DateTimeSensorAsync
from airflow.sdk import Param, TaskGroup, TriggerRule, get_current_context, task
from airflow.sdk.exceptions import (
    AirflowException,
    AirflowFailException,
    AirflowSkipException,
    AirflowTaskTimeout,
    TaskAwaitingInput,
)

from include import levers
from include.estate import Estate, EstateError, load_estate
from include.rollout import decisions, once, rollback, steps
from include.rollout.ledger import WHOLE_RUN, Ledger, LedgerError, Step, open_store, without_secrets
from include.rollout.lever import Lever, NotConverged, Refused
from include.rollout.lock import Leases, LockHeld
from include.rollout.settings import LONGEST_CONVERGENCE, RolloutSettings, form_fields
from include.rollout.steps import NotWanted, OnRecord, Run
from include.wiring.connections import (
    SettingMissingError,
    aws_of,
    base_url,
    connection,
    location_of,
    prometheus_of,
    s3_client,
    storage_at,
)
from include.wiring.conventions import DAG_DEFAULT_ARGS, UNDO_RETRY_ARGS, Tag

if TYPE_CHECKING:
    from include.clients.aws import Aws
    from include.clients.kubernetes import Cluster
    from include.clients.prometheus import Prometheus
    from include.clients.storage import Storage

log = logging.getLogger(__name__)

LEDGER_VARIABLE = "akidb_ledger"
API_CONNECTION = "airflow_api"
API_TIMEOUT = 10.0  # seconds
APPROVAL_TIMEOUT = 24 * 3600  # seconds; of a rollback whose estate can't be read
GATE_POLL = 5.0  # seconds between two looks at a gate that still waits
MOST_WAITS = 4  # so often a lever waits for the world to converge within one write or undo, at most
ClientsFactory = Callable[[str, Estate], Any]


# --- Clients from Airflow connections ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Clients:
    """The clients of one region."""

    kubernetes: Cluster
    prometheus: Prometheus
    aws: Aws
    leases: Leases

    def storage(self, variable: str) -> Storage:
        """The storage that an Airflow Variable names. Raises Refused when the variable is not set."""
        try:
            return storage_at(variable)
        except SettingMissingError as error:
            raise Refused(str(error)) from error

    def location(self, variable: str) -> str:
        """The place that an Airflow Variable names, as a pod may use it. Raises Refused when it is not set."""
        try:
            return location_of(variable)
        except SettingMissingError as error:
            raise Refused(str(error)) from error


class ClusterLeases:
    """The leases of the estate's namespace in a cluster."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self._cluster = cluster
        self._namespace = namespace

    def get(self, name: str) -> Mapping[str, Any] | None:
        """The lease, or None."""
        from include.clients.kubernetes import LEASE

        return self._cluster.get(LEASE, name, self._namespace)

    def create(self, body: Mapping[str, Any]) -> None:
        """Create the lease."""
        self._write(self._cluster.create, body)

    def replace(self, body: Mapping[str, Any]) -> None:
        """Replace the lease."""
        self._write(self._cluster.replace, body)

    def _write(self, write: Callable[[dict[str, Any]], Any], body: Mapping[str, Any]) -> None:
        from include.clients.kubernetes import ConflictError
        from include.rollout.lock import LeaseConflictError

        try:
            write({**body, "metadata": {**body["metadata"], "namespace": self._namespace}})
        except ConflictError as error:
            raise LeaseConflictError(str(error)) from error


def clients_for(region: str, estate: Estate) -> Clients:
    """The clients of a region from its Airflow connections. Raises Refused naming a connection that is missing."""
    from airflow.providers.cncf.kubernetes.hooks.kubernetes import KubernetesHook

    from include.clients.kubernetes import Cluster

    conn_id = estate.region(region).connections.kubernetes
    try:
        connection(conn_id, f"regions.{region}.connections.kubernetes")
        aws, prometheus = aws_of(region, estate), prometheus_of(region, estate)
    except SettingMissingError as error:
        raise Refused(str(error)) from error
    cluster = Cluster(KubernetesHook(conn_id=conn_id).get_conn(), name=estate.region(region).cluster)
    return Clients(cluster, prometheus, aws, ClusterLeases(cluster, estate.namespace))


def open_ledger() -> Ledger:
    """The ledger at the place that the Airflow Variable ``akidb_ledger`` names."""
    from airflow.sdk import Variable

    location = Variable.get(LEDGER_VARIABLE, default=None)
    if not location:
        raise Refused(
            f"Airflow Variable {LEDGER_VARIABLE!r} is not set: set it to an absolute path or s3://connection@bucket/prefix"
        )
    return Ledger(open_store(location, s3_client))


def run_ended(holder: str) -> bool | None:
    """Whether the run ``dag_id/run_id`` has ended, from Airflow's REST API; None when it can't tell."""
    import requests

    dag_id, _, run_id = holder.partition("/")
    try:
        conn = connection(API_CONNECTION, "asked whether a lock's holder has ended")
        url = base_url(conn)
        login = {"username": conn.login, "password": conn.password}
        answer = requests.post(f"{url}/auth/token", json=login, timeout=API_TIMEOUT)
        answer.raise_for_status()
        headers = {"Authorization": f"Bearer {answer.json()['access_token']}"}
        place = f"{url}/api/v2/dags/{dag_id}/dagRuns/{quote(run_id, safe='')}"
        answer = requests.get(place, headers=headers, timeout=API_TIMEOUT)
        answer.raise_for_status()
    except (requests.RequestException, SettingMissingError) as error:
        log.warning("can't tell whether %s has ended: %s", holder, error)
        return None
    return answer.json()["state"] in {"success", "failed"}


# --- From an Airflow task to a step -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Engine:
    """What the tasks of one DAG share; made at parse, used in tasks."""

    estate: Estate | None  # None in a rollback DAG whose estate can't be read: ``problem`` says why
    lever: Lever | None  # None in the rollback DAG, whose lever is a parameter
    clients: ClientsFactory
    problem: str = ""

    def run(self) -> Run:
        """The run that the current task belongs to."""
        context = get_current_context()
        ti = context["ti"]
        # The trigger form sends null for a text that was left empty.
        params = {name: "" if value is None else value for name, value in context["params"].items()}
        ledger = open_ledger()
        estate = self.estate or self._estate_on_record(ledger)

        @functools.cache
        def clients(region: str) -> Any:
            there = region in estate.regions or self.lever is not None
            return self.clients(region, estate if there else self._estate_on_record(ledger))

        return Run(
            lever=self.lever or cast("Lever", _Named(str(params["lever"]))),
            estate=estate,
            params=params,
            dag_id=ti.dag_id,
            run_id=ti.run_id,
            ledger=ledger,
            clients=clients,
            run_ended=run_ended,
            links={"log": ti.log_url},
        )

    def _estate_on_record(self, ledger: Ledger) -> Estate:
        """The estate as the snapshots have it. Raises Refused when none has."""
        estate = rollback.estate_on_record(ledger)
        if estate is None:
            reason = self.problem or "a region is not in the estate"
            raise Refused(f"{reason}; and no snapshot in the ledger holds a slice of the estate to work from")
        return estate

    def keep_answer(self, answer: Mapping[str, Any]) -> None:
        """Put an approval's answer on record."""
        steps.record_answer(self.run(), answer)


@dataclass(frozen=True)
class _Named:
    """Stands in the rollback DAG for the choice "everything", which is no lever but names the run's own chain."""

    name: str


@contextlib.contextmanager
def recorded(run: Run, region: str = WHOLE_RUN, *, undoing: bool = False) -> Iterator[None]:
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
        run.record(region, Step.STOPPED, {"where": ti.task_id, "reason": reason})
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
        run.record(region, Step.STOPPED, {"where": ti.task_id, "reason": without_secrets(str(error))})
        raise AirflowFailException(str(error)) from error
    except Exception as error:
        if ti.try_number > ti.max_tries:
            reason = f"{type(error).__name__}: {error}"
            run.record(region, Step.STOPPED, {"where": ti.task_id, "reason": without_secrets(reason[:2000])})
        raise


def _task(
    engine: Engine,
    step: Callable[..., Any],
    *arguments: Any,
    region: str = WHOLE_RUN,
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
        with recorded(run, region, undoing=undoing):
            return step(run, *arguments)

    return body()


def group_id(name: str) -> str:
    """A region or slot as part of a task id."""
    return name.replace("-", "_")


def _failed_tasks() -> list[str]:
    ti = get_current_context()["ti"]
    states = ti.get_task_states(dag_id=ti.dag_id, run_ids=[ti.run_id]).get(ti.run_id, {})
    return sorted(task_id for task_id, state in states.items() if state == "failed")


def _announce(verdict: decisions.Verdict) -> dict[str, Any]:
    """Show the verdict, and fail the run unless it may be green."""
    summary = {"verdict": verdict.name, "message": verdict.message, "left_behind": list(verdict.left_behind)}
    get_current_context()["ti"].xcom_push(key="verdict", value=summary)
    if not verdict.green:
        raise AirflowFailException(verdict.message)
    log.info(verdict.message)
    return summary


# --- The rollout ------------------------------------------------------------------------------------------------------


def rollout_arguments(
    lever: str, doc_md: str | None, tags: Sequence[Tag], estate: Estate | None = None
) -> dict[str, Any]:
    """Arguments of ``@dag`` for a rollout of ``lever``, but its schedule: one run at a time, params with bounds."""
    arguments: dict[str, Any] = {
        "catchup": False,
        "max_active_runs": 1,
        "default_args": DAG_DEFAULT_ARGS,
        "doc_md": doc_md,
        "tags": [tag.value for tag in tags],
    }
    estate, _ = _estate_or_problem(estate)
    if estate is not None:
        models = (RolloutSettings, levers.lever(lever).settings_type)
        arguments["params"] = {k: v for model in models for k, v in params_from(model, estate).items()}
    return arguments


def params_from(model: type[Any], estate: Estate) -> dict[str, Param]:
    """Airflow params for every field of a settings model, with its description, bounds and default."""
    fields = form_fields(model, estate)
    return {name: Param(schema.pop("default"), **_form(schema)) for name, schema in fields.items()}


def _form(schema: Mapping[str, Any]) -> dict[str, Any]:
    # Airflow's form offers a choice of several from "examples".
    items = schema.get("items", {})
    return {**schema, "examples": items["enum"]} if "enum" in items else dict(schema)


def _estate_or_problem(estate: Estate | None) -> tuple[Estate | None, str]:
    try:
        return estate or load_estate(), ""
    except EstateError as error:
        return None, str(error)


def show_problem(message: str) -> None:
    """The only task of a DAG whose estate can't be read: it fails with what is wrong."""

    @task(retries=0, doc_md="The estate can't be read. Retrying can't help: correct the file that the message names.")
    def read_estate() -> None:
        raise AirflowFailException(message)

    read_estate()


def rollout(lever: str, clients: ClientsFactory | None = None, estate: Estate | None = None) -> Any:
    """Wire the rollout of ``lever`` into the current DAG. Tests give their own ``clients`` and ``estate``.

    Returns the task ``promote``, for what is to follow a rollout that was promoted; None when the estate can't be read.
    """
    estate, problem = _estate_or_problem(estate)
    if estate is None:
        show_problem(problem)
        return None
    engine = Engine(estate, levers.lever(lever), clients or clients_for)
    preflight = _task(engine, steps.check_preflight)
    plan = _task(engine, steps.make_plan)
    real = _task(engine, is_real_run, decorator=task.short_circuit, ignore_downstream_trigger_rules=False)
    approval = await_approval(engine, "make_plan")
    lock = _task(engine, take_locks).as_setup()
    confirm = _task(engine, steps.confirm_unchanged)
    decide = _task(engine, choose_ending, decorator=task.branch, trigger_rule=TriggerRule.ALL_DONE)
    promote = _task(engine, steps.promote)
    unlock = _task(engine, steps.release_locks).as_teardown(setups=lock)
    verdict = _task(engine, give_verdict, task_id="verdict", trigger_rule=TriggerRule.ALL_DONE, retries=1)

    # Nothing is written before the approval, and nothing but what was approved after it.
    preflight >> plan >> real >> approval >> lock >> confirm
    after: list[Any] = []
    for region in estate.ordered_regions():
        snapshot, last_gate = _region(engine, region)
        confirm >> snapshot
        # The other regions follow in parallel once the canary's last gate has passed (or the canary is not selected).
        after[:1] >> snapshot if after else None
        after.append(last_gate)
    after >> decide
    # Regions touched in parallel are undone in parallel, then the canary that was touched first.
    undone: list[Any] = []
    with TaskGroup("rollback", tooltip="Undo what this run touched"):
        for region in reversed(estate.ordered_regions()):
            undo, verify = _undo(engine, region)
            decide >> undo
            if region == estate.canary_region and undone:
                undone >> undo
            undone.append(verify)
    # The locks go last: nobody else may write while this run promotes or undoes.
    decide >> promote >> unlock
    undone >> unlock >> verdict
    return promote


def _region(engine: Engine, region: str) -> tuple[Any, Any]:
    """Snapshot, then every slot in order. Returns the snapshot task and the last gate."""
    assert engine.lever is not None
    go_on = TriggerRule.NONE_FAILED_MIN_ONE_SUCCESS
    with TaskGroup(group_id(region), tooltip=f"Roll out in {region}"):
        snapshot = _task(engine, steps.take_snapshot, region, region=region, trigger_rule=go_on)
        gate: Any = None
        for slot in engine.lever.slots:
            with TaskGroup(group_id(slot)):
                applied = _task(
                    engine, steps.apply_stage, region, slot, region=region, trigger_rule=go_on, **WRITE_LIMIT
                )
                target = f"{{{{ ti.xcom_pull(task_ids='{applied.operator.task_id}')['soak_until'] }}}}"
                # Ends in the triggerer: a soak holds no worker slot, and costs one process start.
                soak = DateTimeSensorAsync(
                    task_id="await_soak", target_time=target, end_from_trigger=True, execution_timeout=None
                )
                judged = _gate(engine, region, slot)
            # A snapshot before the first write; the stage before must have passed its gate or not be in the plan.
            snapshot >> applied >> soak >> judged
            if gate is not None:
                gate >> applied
            gate = judged
    return snapshot, gate


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


def _gate(engine: Engine, region: str, slot: str) -> Any:
    @task.sensor(
        task_id="judge_gates",
        mode="reschedule",
        poke_interval=GATE_POLL,
        timeout=dt.timedelta(days=8).total_seconds(),
        doc_md=inspect.getdoc(steps.judge_gates),
    )
    def judge_gates() -> Any:
        from airflow.sdk import PokeReturnValue

        run = engine.run()
        with recorded(run, region):
            judged = steps.judge_gates(run, region, slot)
        return PokeReturnValue(is_done=judged is not None, xcom_value=judged)

    return judge_gates()


def _undo(engine: Engine, region: str) -> tuple[Any, Any]:
    """Undo a region and verify it. Both look into the ledger themselves, so that they also work when decide failed."""
    with TaskGroup(group_id(region)):
        undo = _task(
            engine, undo_changes, region,
            region=region, undoing=True, trigger_rule=TriggerRule.ALL_DONE, **WRITE_LIMIT,
        )  # fmt: skip
        # Also after a failed undo: what is left behind belongs into the verdict.
        verify = _task(
            engine, verify_restored, region, region=region, undoing=True, trigger_rule=TriggerRule.NONE_SKIPPED
        )
        undo >> verify
    return undo, verify


class PlanApproval(ApprovalOperator):
    """An approval that hands its answer, with the hash of the plan that was shown, to ``keep``.

    Neither a state that somebody sets by hand nor an XCom that somebody writes is an answer: this task alone receives
    what a respondent chose, and whoever writes afterwards reads what was kept.
    """

    def __init__(self, *, plan_task: str, keep: Callable[[Mapping[str, Any]], None], **arguments: Any) -> None:
        super().__init__(**arguments)
        self._keep = keep
        self._plan_task = plan_task

    def execute(self, context: Any) -> Any:
        """Ask, and remember what was shown: the plan may be made again while somebody reads it."""
        shown = context["ti"].xcom_pull(task_ids=self._plan_task)["hash"]
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


def await_approval(engine: Engine, plan_task: str) -> Any:
    """The approval of the plan that ``plan_task`` left in its XCom; nobody's answer counts as Reject.

    Without an estate anybody may answer in the form; who may approve is then checked when the locks are taken.
    """
    estate = engine.estate
    plan = f"ti.xcom_pull(task_ids='{plan_task}')"
    people = [{"id": name, "name": name} for name in estate.governance.approvers] if estate else []
    timeout = estate.windows.approval_timeout_seconds if estate else APPROVAL_TIMEOUT
    return PlanApproval(
        plan_task=plan_task,
        keep=engine.keep_answer,
        task_id="await_approval",
        subject=f"{{{{ dag.dag_id }}}}: approve plan {{{{ {plan}['hash'] }}}}?",
        body=f"Plan {{{{ {plan}['hash'] }}}}\n\n{{{{ {plan}['text'] }}}}",
        defaults="Reject",
        assigned_users=cast("Any", people) or None,
        response_timeout=dt.timedelta(seconds=timeout),
        # The answer is waited for by response_timeout; a person's Reject is an answer, not a failure to retry.
        execution_timeout=None,
        retries=0,
    )


def is_real_run(run: Run) -> bool:
    """A dry run stops here; a real one goes on to the approval."""
    return not run.settings.dry_run


def take_locks(run: Run) -> None:
    """Take the locks of all selected regions, or of none."""
    steps.lock_regions(run, run.regions, steps.answer_on_record(run), take_over=False)


def choose_ending(run: Run) -> list[str]:
    """Promote, roll back the touched regions, or leave everything as it is while a gate is unknown."""
    decision = steps.decide(run)
    if decision["promote"]:
        return ["promote"]
    if decision.get("unknown"):
        return []
    return [f"rollback.{group_id(region)}.undo_changes" for region in decision["touched"]]


def undo_changes(run: Run, region: str) -> None:
    """Set the region back to this run's snapshot."""
    steps.undo_changes(run, region, steps.own_snapshot(run, region))


def verify_restored(run: Run, region: str) -> None:
    """Compare the region with this run's snapshot."""
    steps.verify_restored(run, region, steps.own_snapshot(run, region))


def give_verdict(run: Run) -> dict[str, Any]:
    """Say how the run ended, what was left behind and what to do next; fails the run unless it may be green."""
    return _announce(steps.conclude(run, steps.answer_on_record(run), _failed_tasks()))


# --- A change of a recurring job --------------------------------------------------------------------------------------


def change_once(
    lever: str,
    plan_task: str,
    task_id: str,
    choose: Callable[[dict[str, Any]], tuple[str, dict[str, Any]]],
    planned: Any,
) -> tuple[Any, Any]:
    """Wire a change that a recurring job proposes: its approval, and the task that makes it. Returns both.

    ``planned`` is the XCom of ``plan_task``, with ``hash`` and ``text`` for the approver; ``choose`` gives the region
    and the lever's settings from it.
    """
    estate = load_estate()
    engine = Engine(estate, levers.lever(lever), lambda region, estate: clients_for(region, estate))

    @task(task_id=task_id, multiple_outputs=False, doc_md=inspect.getdoc(once.change))
    def make_change(found: dict[str, Any]) -> dict[str, Any]:
        region, settings = choose(found)
        run = once.acting(engine.run(), settings)
        with recorded(run, region):
            return {"region": region, "figures": once.change(run, region, found["hash"])}

    approval, change = await_approval(engine, plan_task), make_change(planned)
    approval >> change
    return approval, change


# --- The rollback DAG -------------------------------------------------------------------------------------------------


def rollback_arguments(doc_md: str | None, estate: Estate | None = None) -> dict[str, Any]:
    """Arguments of ``@dag`` for the rollback DAG, but its schedule."""
    arguments: dict[str, Any] = {
        "catchup": False,
        "max_active_runs": 1,
        "default_args": DAG_DEFAULT_ARGS,
        "doc_md": doc_md,
        "tags": [Tag.OPERATIONS.value],
    }
    estate, _ = _estate_or_problem(estate)
    # Not bound to the estate's regions: what stands in a region that has left the estate must be undone too.
    regions: dict[str, Any] = {"type": "array", "items": {"type": "string"}, "uniqueItems": True}
    if estate is not None:
        regions["examples"] = estate.ordered_regions()
    reason = "Why; needed for an emergency, kept in the ledger"
    which = "Run id, or dag_id/run_id, to undo; empty for the last change of the lever, or all of everything"
    accept = "Close what remains, what others have changed and what is out of reach: it no longer counts as standing"
    arguments["params"] = {
        "lever": Param(
            rollback.EVERYTHING,
            type="string",
            enum=[rollback.EVERYTHING, *levers.LEVERS],
            description="What to undo",
        ),
        "regions": Param([], description="Where to undo it; empty is wherever something stands", **regions),
        "run": Param("", type=["string", "null"], maxLength=300, description=which),
        "dry_run": Param(True, type="boolean", description="Only show what would be undone; nothing is written"),
        "emergency": Param(False, type="boolean", description="Skip the approval; the reason is required"),
        "accept": Param(False, type="boolean", description=accept),
        "reason": Param("", type=["string", "null"], maxLength=500, description=reason),
    }
    return arguments


def roll_back(clients: ClientsFactory | None = None, estate: Estate | None = None) -> None:
    """Wire the rollback into the current DAG. Tests give their own ``clients`` and ``estate``.

    Its regions come from the ledger when it runs: the graph is the same for every estate, also for one that can't be
    read.
    """
    estate, problem = _estate_or_problem(estate)
    engine = Engine(estate, None, clients or clients_for, problem)
    find = _task(engine, rollback.find_changes)
    choose = _task(engine, choose_path, decorator=task.branch)
    approval = await_approval(engine, "find_changes")
    lock = _task(engine, take_locks_over, trigger_rule=TriggerRule.NONE_FAILED_MIN_ONE_SUCCESS).as_setup()
    # A task of its own: what follows a setup directly may not also run after a failure, as verify must.
    regions = _task(engine, rollback.list_regions)
    # Each change brings the settings of its own run: their upper bound is all that is known at parse.
    timeout = write_timeout(LONGEST_CONVERGENCE)
    undo = _for_each_region(engine, rollback.undo_changes, regions, execution_timeout=timeout)
    # Also after an undo that failed: what is left behind belongs into the verdict.
    verify = _for_each_region(engine, rollback.verify_restored, regions, trigger_rule=TriggerRule.NONE_SKIPPED)
    unlock = _task(engine, release_rollback_locks).as_teardown(setups=lock)
    verdict = _task(engine, give_rollback_verdict, task_id="verdict", trigger_rule=TriggerRule.ALL_DONE, retries=1)

    # An emergency goes straight to the lock; everything else needs the approval.
    find >> choose >> [approval, lock]
    approval >> lock
    # Every region by itself and at once: one that fails does not keep the others.
    lock >> regions >> undo >> verify >> unlock >> verdict


def _for_each_region(engine: Engine, step: Callable[[Run, str], None], regions: Any, **options: Any) -> Any:
    """A task mapped over the regions that ``regions`` returns, each shown by its name."""

    @task(
        task_id=step.__name__,
        doc_md=inspect.getdoc(step),
        map_index_template="{{ region }}",
        **{**UNDO_RETRY_ARGS, **options},
    )
    def body(region: str) -> None:
        get_current_context()["region"] = region  # type: ignore[typeddict-unknown-key]
        run = engine.run()
        with recorded(run, undoing=True):
            step(run, region)

    return body.expand(region=regions)


def choose_path(run: Run) -> list[str]:
    """A dry run stops here; an emergency goes straight to the locks, which stop a rollout that is about to write."""
    if run.params["dry_run"]:
        return []
    if run.params["emergency"]:
        return ["take_locks_over"]
    return ["await_approval"] if rollback.anything_to_do(run) else []


def take_locks_over(run: Run) -> None:
    """Take the locks of the selected regions from whoever holds them: that run writes nothing more."""
    rollback.take_locks(run, steps.answer_on_record(run))


def release_rollback_locks(run: Run) -> None:
    """Give up the locks that this run holds."""
    rollback.release_locks(run)


def give_rollback_verdict(run: Run) -> dict[str, Any]:
    """Say what was restored, what was left behind and what to do next; fails the run unless everything is back."""
    return _announce(rollback.conclude(run, steps.answer_on_record(run), _failed_tasks()))
