"""Tasks of the DAG ``cost_guard``."""

from __future__ import annotations

import datetime as dt
import functools
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow.sdk import Param, TriggerRule, get_current_context, task
from airflow.sdk.exceptions import AirflowFailException

from include.cost.tasks import COSTS_VARIABLE, prometheus_clients, window_end
from include.estate import Estate, EstateError, load_estate
from include.wiring.connections import connection, storage_at

if TYPE_CHECKING:
    from include.clients.kubernetes import Cluster

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


@task(multiple_outputs=False)
def measure_spend() -> dict[str, Any]:
    """Measure the spend, compare it with budget and history, name driver and remedy; keeps the record."""
    from include.cost.guard.look import GuardClients, look
    from include.cost.table.columns import CostError
    from include.cost.table.days import Window
    from include.cost.table.store import CostTable
    from include.prices import load_aws_book

    context, estate, storage = get_current_context(), load_estate(), storage_at(COSTS_VARIABLE)
    end, regions = window_end(context), list(context["params"]["regions"])
    clients = GuardClients(prometheus_clients(regions, estate), functools.partial(cluster_of, estate=estate))
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


def change_of(found: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Region and settings of the lever ``cost_cap`` for a look's record whose remedy is a cap."""
    way = found["remedy"]
    return way["region"], {"pool": way["pool"], "new_cpu": way["new_cpu"], "old_cpu": way["old_cpu"]}


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
    if not cap or not cap["figures"]:
        return "Nothing was changed. Next: trigger cost_guard with allow_remedy, or follow the remedy by hand."
    figures = cap["figures"]
    return (
        f"Capped: NodePool {figures['pool']} in {cap['region']} has limits.cpu {figures['new_cpu']} "
        f"(was {figures['old_cpu'] or 'none'}). "
        f'Undo: trigger rollback with {{"lever": "cost_cap", "regions": ["{cap["region"]}"], "dry_run": false}}.'
    )
