"""Tasks of the validation: of the DAG ``cost_validation``, and ``validate_costs`` for day 5 of the rollout."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow.providers.standard.sensors.date_time import DateTimeSensorAsync
from airflow.sdk import get_current_context, task
from airflow.sdk.exceptions import AirflowFailException

from include.cost.tasks import COSTS_VARIABLE, prometheus_clients, window_end
from include.cost.validation.settings import ValidationSettings
from include.estate import Estate, load_estate
from include.wiring.connections import connection, s3_client, show_dry_run, storage_at
from include.wiring.parameters import settings_of_run

if TYPE_CHECKING:
    from include.clients.storage import Storage
    from include.cost.table.days import Window
    from include.cost.validation.verdicts import Validation

REVALIDATE_DAYS = 45  # AWS invoices a month within a few days after its end


@task(multiple_outputs=False)
def plan_window() -> dict[str, str]:
    """Start and end of the window to validate, from the params or the schedule."""
    window = _window()
    return {"start": window.start.isoformat(), "end": window.end.isoformat()}


def await_window() -> DateTimeSensorAsync:
    """Wait for the end of a window that lies ahead; holds no worker slot."""
    target = "{{ ti.xcom_pull(task_ids='plan_window')['end'] }}"
    return DateTimeSensorAsync(
        task_id="await_window", target_time=target, end_from_trigger=True, execution_timeout=None
    )


@task(multiple_outputs=False)
def validate_costs(window: dict[str, str] | None = None) -> dict[str, Any]:
    """Validate the window (default: the one that ends now) and keep the record; an unknown total fails the task.

    XCom: key of the record, total, verdicts by component, text (Markdown). It is there also when the task fails.
    """
    summary = _fresh(_given(window) or _window())
    if summary["missing"]:
        get_current_context()["ti"].xcom_push(key="return_value", value=summary)
        raise AirflowFailException(_missing_text(summary))
    return summary


@task(multiple_outputs=False)
def record_validation(window: dict[str, str]) -> dict[str, Any]:
    """Validate the window and keep the record; the verdict is for ``give_verdict`` to show."""
    return _fresh(_given(window))


@task(multiple_outputs=False)
def revalidate_earlier(window: dict[str, str]) -> list[str]:
    """Validate earlier windows again that are not final yet; keys of the records that stand for them now.

    A dry run does it with the bill that is stored: what ``record_validation`` has read it kept to itself.
    """
    from include.cost.table.days import Window
    from include.cost.validation.records import newest_of_all, open_windows

    storage, estate = _storage(), load_estate()
    records = newest_of_all(storage)
    keys = []
    for name in open_windows(records, dt.datetime.fromisoformat(window["end"]), REVALIDATE_DAYS):
        raw = records[name]
        earlier = Window(*(dt.datetime.fromisoformat(raw["window"][edge]) for edge in ("start", "end")))
        keys.append(run(earlier, raw["regions"], estate, storage)["key"])
    show_dry_run(storage)
    return keys


@task(retries=0)
def give_verdict(summary: dict[str, Any]) -> str:
    """Show the verdict. Dollars may honestly fail and leave the run green; a total that nobody knows fails it."""
    if summary["missing"]:
        raise AirflowFailException(_missing_text(summary))
    return "\n".join(filter(None, (summary["text"], summary["dry_run"])))


# --- What the tasks share ---------------------------------------------------------------------------------------------


def _storage() -> Storage:
    """The storage of costs; a dry run's keeps what is written to itself."""
    return storage_at(COSTS_VARIABLE, dry_run=settings_of_run(ValidationSettings).dry_run)


def _fresh(window: Window) -> dict[str, Any]:
    """Bring the bill's missing days into the table, then validate the window."""
    from include.cost.table.columns import CostError
    from include.cost.table.store import CostTable
    from include.cost.validation.bill import bring_bill

    estate, storage = load_estate(), _storage()
    try:
        problems = bring_bill(CostTable(storage), estate, window, _s3)
    except CostError as error:
        raise AirflowFailException(str(error)) from error
    regions = list(settings_of_run(ValidationSettings).regions)
    summary = run(window, regions, estate, storage, problems)
    return summary | {"dry_run": show_dry_run(storage)}


def _s3(conn_id: str) -> Any:
    connection(conn_id, "cost.exports")
    return s3_client(conn_id)


def run(
    window: Window, regions: list[str], estate: Estate, storage: Storage, problems: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Validate a window, judge the result's table, keep the record; returns what the XCom says."""
    from include.cost.table.columns import CostError
    from include.cost.table.inputs import read_cost_inputs
    from include.cost.table.store import CostTable
    from include.cost.validation.readings import validate
    from include.cost.validation.records import keep
    from include.prices import load_aws_book

    for region in regions:
        estate.region(region)
    try:
        clients = prometheus_clients(regions, estate)
        inputs = read_cost_inputs(CostTable(storage), estate, load_aws_book(estate), window, regions, clients, problems)
        validation = validate(inputs)
        record = validation.to_json() | {"quality": _judged(validation, estate)}
        return _summary(keep(storage, validation.name, record), record)
    except CostError as error:
        raise AirflowFailException(str(error)) from error


def _judged(validation: Validation, estate: Estate) -> dict[str, Any]:
    from include.cost.table.columns import CostError
    from include.quality.judge import QualityError, judge

    judgement = judge("validation", validation.rows(), components=list(estate.cost.components))
    try:
        judgement.demand(validation.name)
    except QualityError as error:
        raise CostError(str(error)) from error
    return judgement.record


def _summary(key: str, record: Mapping[str, Any]) -> dict[str, Any]:
    from include.cost.validation.page import document
    from include.cost.validation.records import what_is_missing
    from include.pages.document import to_markdown

    return {
        "key": key,
        "window": record["window"],
        "total": record["total"],
        "verdicts": {line["component"]: line["verdict"] for line in record["lines"]},
        "findings": record["findings"],
        "missing": what_is_missing(record),
        "text": to_markdown(document(record)),
    }


def _missing_text(summary: Mapping[str, Any]) -> str:
    window = summary["window"]
    kept = "Dry run: not kept" if summary["dry_run"] else "Kept"
    again = f'{{"end": "{window["end"]}", "validation_window_seconds": {window["seconds"]}}}'
    return (
        f"the total of {window['start']} to {window['end']} is unknown:\n{summary['missing']}\n"
        f"{kept} as {summary['key']}. Next: bring the data (cost_report ingests the bill), then "
        f"`airflow dags trigger cost_validation --conf '{again}'`"
    )


def _given(window: dict[str, str] | None) -> Any:
    from include.cost.table.days import Window

    if window is None:
        return None
    return Window(dt.datetime.fromisoformat(window["start"]), dt.datetime.fromisoformat(window["end"]))


def _window() -> Window:
    from include.cost.table.columns import CostError
    from include.cost.table.days import Window

    settings = settings_of_run(ValidationSettings)
    end = window_end(get_current_context(), settings.end)
    try:
        return Window(end - dt.timedelta(seconds=settings.validation_window_seconds), end)
    except CostError as error:
        raise AirflowFailException(str(error)) from error
