"""Tasks of the DAG ``cost_guard``."""

from __future__ import annotations

import datetime as dt
import functools
import json
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow.sdk import TriggerRule, get_current_context, task
from airflow.sdk.exceptions import AirflowFailException

from include.cost.guard.settings import GuardSettings
from include.cost.tasks import COSTS_VARIABLE, prometheus_clients, window_end
from include.estate import Estate, load_estate
from include.notices import budget_passed
from include.wiring.connections import connection, storage_at
from include.wiring.notify import notify_of
from include.wiring.parameters import settings_of_run

if TYPE_CHECKING:
    from include.clients.kubernetes import Cluster

log = logging.getLogger(__name__)
MEASURE, PLAN = "measure_spend", "plan_remedy"


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

    settings, estate = settings_of_run(GuardSettings), load_estate()
    storage = storage_at(COSTS_VARIABLE, dry_run=settings.dry_run)
    end, regions = window_end(get_current_context(), settings.end), list(settings.regions)
    clients = GuardClients(prometheus_clients(regions, estate), functools.partial(cluster_of, estate=estate))
    window = Window(end - dt.timedelta(seconds=settings.window_seconds), end)
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
    """Whether there is a cap to ask for and the form allows it; a dry run asks for nothing."""
    settings = settings_of_run(GuardSettings)
    return settings.allow_remedy and not settings.dry_run and is_cap(found)


def is_cap(found: Mapping[str, Any]) -> bool:
    """Whether the remedy in a look's record is a cap."""
    way = found["remedy"]
    return bool(way and way["kind"] == "cap")


def change_of(found: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Region and settings of the lever ``cost_cap`` for a look's record whose remedy is a cap."""
    way = found["remedy"]
    return way["region"], {"pool": way["pool"], "new_cpu": way["new_cpu"], "old_cpu": way["old_cpu"]}


def change_to_show(found: Mapping[str, Any]) -> tuple[str, dict[str, Any]] | None:
    """What a dry run shows the plan of; None in any other run, and where the remedy is no cap."""
    return change_of(found) if settings_of_run(GuardSettings).dry_run and is_cap(found) else None


@task(trigger_rule=TriggerRule.ALL_DONE, retries=0)
def give_verdict() -> str:
    """Show what the guard saw. A spike fails the run, capped or not; so does a spend that nobody knows.

    In a dry run a spike fails nothing: what would be done about it is shown.
    """
    ti = get_current_context()["ti"]
    found, cap = ti.xcom_pull(task_ids=MEASURE), ti.xcom_pull(task_ids="apply_remedy")
    if not found:
        raise AirflowFailException(f"the spend was not measured: see task {MEASURE}")
    dry_run = settings_of_run(GuardSettings).dry_run
    if found["spend"]["history"]["verdict"] == "spike" and not dry_run:
        done = _what_was_done(cap)
        notify_of(budget_passed(ti.run_id, str(found["text"]), done), get_current_context())
        raise AirflowFailException(f"{found['text']}\n{done} Record: {found['key']}")
    if found["spend"]["unknown"]:
        raise AirflowFailException(f"{found['text']}\nNext: see cost_validation for what is missing. {found['key']}")
    return _rehearsed(found, ti.xcom_pull(task_ids=PLAN)) if dry_run else str(found["text"])


def _rehearsed(found: Mapping[str, Any], plan: str | None) -> str:
    capped = f" and, with allow_remedy, ask for an approval of this cap:\n{plan}" if plan else ""
    text = f"{found['text']}\nDry run: nothing was written. It would keep the record {found['key']}{capped}"
    log.info(text)
    return text


def _what_was_done(cap: dict[str, Any] | None) -> str:
    if not cap or not cap["figures"]:
        return "Nothing was changed. Next: trigger cost_guard with allow_remedy, or follow the remedy by hand."
    figures = cap["figures"]
    return (
        f"Capped: NodePool {figures['pool']} in {cap['region']} has limits.cpu {figures['new_cpu']} "
        f"(was {figures['old_cpu'] or 'none'}). "
        f'Undo: trigger rollback with {{"lever": "cost_cap", "regions": ["{cap["region"]}"], "dry_run": false}}.'
    )
