"""Tasks of the DAG ``cost_guard``."""

from __future__ import annotations

import contextlib
import datetime as dt
import functools
import json
from typing import TYPE_CHECKING, Any

from airflow.sdk import Param, TriggerRule, get_current_context, task
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from include.clients.connections import connection, storage_at
from include.cost.validation_tasks import COSTS_VARIABLE, prometheus_clients, window_end
from include.estate import Estate, EstateError, load_estate

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from include.clients.kubernetes import Cluster
    from include.clients.storage import Storage

MEASURE = "measure_spend"


def guard_params(estate: Estate | None = None) -> dict[str, Param]:
    """Parameters of the trigger form; none when the estate can't be read."""
    try:
        estate = estate or load_estate()
    except EstateError:
        return {}
    return {
        "allow_remedy": Param(
            False, type="boolean", description="On a spike ask for an approval to cap the NodePool that drives it"
        ),
        "undo_cap": Param(
            None,
            type=["string", "null"],
            maxLength=300,
            description="Key of a cap's record (guard/...-cap.json): set that NodePool's limit back",
        ),
        "window_seconds": Param(
            900, type="integer", minimum=5, maximum=86_400, description="How far back the spend rate looks, in seconds"
        ),
        "end": Param(
            None,
            type=["string", "null"],
            format="date-time",
            description="When the look is taken; empty: the end of the schedule's hour, or now",
        ),
        "regions": Param(
            estate.ordered_regions(),
            description="Regions to watch",
            **estate.region_choice(),
        ),
    }


def cluster_of(region: str, estate: Estate) -> Cluster:
    """The cluster of a region from its Airflow connection. Raises SettingMissingError when that is missing."""
    from airflow.providers.cncf.kubernetes.hooks.kubernetes import KubernetesHook

    from include.clients.kubernetes import Cluster

    conn_id = estate.region(region).connections.kubernetes
    connection(conn_id, f"regions.{region}.connections.kubernetes")
    return Cluster(KubernetesHook(conn_id=conn_id).get_conn(), name=estate.region(region).cluster)


@task
def set_cap_back() -> str:
    """Undo the cap whose record the param ``undo_cap`` names; skipped without it."""
    from include.cost.guard_live import undo_cap

    key, estate = get_current_context()["params"]["undo_cap"], load_estate()
    if not key:
        raise AirflowSkipException("no cap to undo: the param undo_cap is empty")
    try:
        record = json.loads(storage_at(COSTS_VARIABLE).read(key))
    except FileNotFoundError:
        raise AirflowFailException(f"undo_cap {key!r} does not exist: give the key that the verdict named") from None
    return undo_cap(cluster_of(record["region"], estate), record)


@task(multiple_outputs=False, trigger_rule=TriggerRule.NONE_FAILED)
def measure_spend() -> dict[str, Any]:
    """Measure the spend, compare it with budget and history, name driver and remedy; keeps the record."""
    from include.cost.focus import CostError
    from include.cost.guard_run import Clients, look
    from include.cost.store import CostTable
    from include.cost.validation import Window
    from include.prices import load_aws_book

    context, estate, storage = get_current_context(), load_estate(), storage_at(COSTS_VARIABLE)
    end, regions = window_end(context), list(context["params"]["regions"])
    clients = Clients(prometheus_clients(regions, estate), functools.partial(cluster_of, estate=estate))
    window = Window(end - dt.timedelta(seconds=int(context["params"]["window_seconds"])), end)
    try:
        found = look(CostTable(storage), estate, load_aws_book(estate), window, regions, clients)
    except CostError as error:
        raise AirflowFailException(str(error)) from error
    key = f"guard/{end:%Y-%m-%d}/{end:%Y%m%dT%H%M%SZ}.json"
    record = found.to_json()
    storage.put(key, json.dumps(record, sort_keys=True, indent=1).encode())
    return record | {"key": key, "hash": found.remedy.hash if found.remedy else ""}


@task.short_circuit(ignore_downstream_trigger_rules=False)
def is_remedy_wanted(found: dict[str, Any]) -> bool:
    """Whether there is a cap to ask for and the param allows it."""
    way = found["remedy"]
    return bool(get_current_context()["params"]["allow_remedy"] and way and way["kind"] == "cap")


def keep_answer(answer: Mapping[str, Any]) -> None:
    """Keep who answered what, beside the record of the look: the approval's own task alone writes it."""
    found = get_current_context()["ti"].xcom_pull(task_ids=MEASURE)
    storage_at(COSTS_VARIABLE).put(_answer_key(found["key"]), json.dumps(answer, sort_keys=True, indent=1).encode())


def _answer_key(key: str) -> str:
    return f"{key.removesuffix('.json')}-answer.json"


def _is_approved(storage: Storage, found: Mapping[str, Any], approvers: Sequence[str]) -> bool:
    """Whether an approver's answer to this very remedy was kept; a state that was set by hand is none."""
    try:
        answer = json.loads(storage.read(_answer_key(found["key"])))
    except FileNotFoundError:
        return False
    may = not approvers or answer["user_id"] in approvers
    return bool(answer["approved"] and answer["hash"] == found["hash"] and may)


@task(multiple_outputs=False)
def apply_remedy(found: dict[str, Any]) -> dict[str, Any]:
    """Cap the pool's CPU limit and keep what it was; refused when the pool has changed since the look."""
    from include.cost.focus import CostError
    from include.cost.guard import Remedy
    from include.cost.guard_live import apply_cap, prepare_cap

    estate, storage = load_estate(), storage_at(COSTS_VARIABLE)
    way, key = Remedy(**found["remedy"]), f"{found['key'].removesuffix('.json')}-cap.json"
    if not _is_approved(storage, found, estate.governance.approvers):
        raise AirflowFailException(
            "no approver's answer to this remedy was kept: a task that was marked by hand approves nothing; clear "
            "await_approval and have it approved. Nothing was changed"
        )
    cluster = cluster_of(way.region, estate)
    try:
        # Kept before the first write, and never replaced: a retry would take the guard itself for the owner.
        with contextlib.suppress(FileExistsError):
            record = prepare_cap(cluster, way, estate.namespace)
            storage.create(key, json.dumps(record, sort_keys=True, indent=1).encode())
        kept: dict[str, Any] = json.loads(storage.read(key))
        apply_cap(cluster, kept, estate.namespace)
    except CostError as error:
        raise AirflowFailException(str(error)) from error
    return {"key": key, **kept}


@task(trigger_rule=TriggerRule.ALL_DONE, retries=0)
def give_verdict() -> str:
    """Show what the guard saw. A spike fails the run, capped or not; so does a spend that nobody knows."""
    ti = get_current_context()["ti"]
    found, cap = ti.xcom_pull(task_ids=MEASURE), ti.xcom_pull(task_ids="apply_remedy")
    if not found:
        raise AirflowFailException(f"the spend was not measured: see task {MEASURE}")
    if found["spend"]["history"]["verdict"] == "spike":
        raise AirflowFailException(f"{found['text']}\n{_what_was_done(cap)} Record: {found['key']}")
    if found["spend"]["unknown"]:
        raise AirflowFailException(f"{found['text']}\nNext: see cost_validation for what is missing. {found['key']}")
    return str(found["text"])


def _what_was_done(cap: dict[str, Any] | None) -> str:
    if not cap:
        return "Nothing was changed. Next: trigger cost_guard with allow_remedy, or follow the remedy by hand."
    return (
        f"Capped: NodePool {cap['pool']} in {cap['region']} has limits.cpu {cap['new_cpu']} (was {cap['old_cpu']}). "
        f'Undo: trigger cost_guard with {{"undo_cap": "{cap["key"]}"}}.'
    )
