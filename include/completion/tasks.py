"""The tasks that follow day 5's promotion: the window that is validated, and the completion report."""

from __future__ import annotations

import datetime as dt
import logging
from typing import TYPE_CHECKING, Any

from airflow.providers.standard.sensors.date_time import DateTimeSensorAsync
from airflow.sdk import TriggerRule, get_current_context, task
from airflow.sdk.exceptions import AirflowFailException

from include import levers
from include.estate import load_estate
from include.rollout.ledger import Chain, Step
from include.wiring.connections import SettingMissingError, storage_at

if TYPE_CHECKING:
    from include.clients.storage import Storage
    from include.rollout.ledger import Ledger

log = logging.getLogger(__name__)

UNKNOWN = "unknown"
COSTS_VARIABLE = "akidb_costs"
WINDOW_TASK, VALIDATION_TASK = "open_validation_window", "validate_costs"


@task(multiple_outputs=False)
def open_validation_window() -> dict[str, str]:
    """The window to validate: it begins now, with everything promoted, and is as long as the form says."""
    context = get_current_context()
    # The task's own start: a fact of the run that Airflow keeps.
    start = dt.datetime.fromtimestamp(int(context["ti"].start_date.timestamp()), dt.UTC)
    end = start + dt.timedelta(seconds=int(context["params"]["validation_window_seconds"]))
    return {"start": start.isoformat(), "end": end.isoformat()}


def await_validation_window() -> DateTimeSensorAsync:
    """Wait for the window's end in the triggerer: it holds no worker slot."""
    target = f"{{{{ ti.xcom_pull(task_ids='{WINDOW_TASK}')['end'] }}}}"
    return DateTimeSensorAsync(
        task_id="await_validation_window", target_time=target, end_from_trigger=True, execution_timeout=None
    )


# Also after a validation that failed: what is unknown belongs into the report. Never after one that was skipped.
@task(multiple_outputs=False, trigger_rule=TriggerRule.NONE_SKIPPED)
def write_completion_report() -> dict[str, Any]:
    """Write the completion report; dollars may read FAIL in it, an unknown total fails the task once it is written.

    A run that was refused or rolled back opened no window: it fails here too, and writes nothing.
    """
    context = get_current_context()
    ti = context["ti"]
    if ti.xcom_pull(task_ids=WINDOW_TASK) is None:
        raise AirflowFailException(
            "nothing was promoted, so nothing was validated and no report is written: see verdict"
        )
    validated = ti.xcom_pull(task_ids=VALIDATION_TASK) or {}
    try:
        storage = storage_at(COSTS_VARIABLE)
    except SettingMissingError as error:
        raise AirflowFailException(str(error)) from error
    summary = _write(storage, tuple(context["params"]["regions"]), f"{ti.dag_id}/{ti.run_id}", validated.get("key", ""))
    ti.xcom_push(key="report", value=summary)
    log.info("%s\n%s", summary["key"], summary["text"])
    if summary["total"] == UNKNOWN:
        raise AirflowFailException(
            f"the total is unknown: {validated.get('missing') or 'there is no validation'}. The report is written, and "
            f"says so: {summary['key']}. Next: read the task {VALIDATION_TASK}, bring the data, clear it and this task"
        )
    return summary


def _write(storage: Storage, regions: tuple[str, ...], run: str, validation_key: str) -> dict[str, Any]:
    from include.completion import store
    from include.completion.report import build
    from include.rollout.ledger import WHOLE_RUN
    from include.wiring.clients import open_ledger

    ledger, (dag_id, _, run_id) = open_ledger(), run.partition("/")
    chain = store.completion_chain(Chain("", WHOLE_RUN, dag_id, run_id))
    store.put_validated(ledger, storage, chain, validation_key)
    _count_requests(ledger, chain, regions)
    inputs = store.from_ledger(ledger, load_estate(), regions, list(levers.LEVERS))
    pages = store.render(inputs)
    store.put_report(ledger, chain, pages["report.json"])
    total = inputs.validation["total"]["verdict"] if inputs.validation else UNKNOWN
    text = "\n".join(build(inputs)["summary"])
    return {"key": store.keep(storage, run, pages), "total": total, "text": text}


def _count_requests(ledger: Ledger, chain: Chain, regions: tuple[str, ...]) -> None:
    """Put on record how many requests were asked and served since the first run of the week, region by region.

    What can't be counted stays unknown in the report, and must not keep it from being written.
    """
    from include.completion import store
    from include.wiring.counting import requests_of_the_week

    estate, until = load_estate(), dt.datetime.now(dt.UTC).isoformat()
    since = store.began(ledger, estate, regions)
    for region in regions if since else ():
        try:
            figures = requests_of_the_week(region, estate, since, until)
        except Exception as error:  # noqa: BLE001 - see above
            log.warning("%s: the week's requests can't be counted: %s: %s", region, type(error).__name__, error)
            continue
        if figures is not None:
            ledger.append(store.service_chain(chain, region), Step.MEASURED, figures)
