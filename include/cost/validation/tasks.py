"""Tasks of the validation: of the DAG ``cost_validation``, and ``validate_costs`` for day 5 of the rollout."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow.providers.standard.sensors.date_time import DateTimeSensorAsync
from airflow.sdk import Param, get_current_context, task
from airflow.sdk.exceptions import AirflowFailException

from include.cost.tasks import COSTS_VARIABLE, prometheus_clients, window_end
from include.estate import Estate, EstateError, load_estate
from include.wiring.connections import connection, s3_client, storage_at

if TYPE_CHECKING:
    from include.clients.storage import Storage
    from include.cost.table.days import Window
    from include.cost.validation.verdicts import Validation

REVALIDATE_DAYS = 45  # AWS invoices a month within a few days after its end


def validation_params(estate: Estate | None = None) -> dict[str, Param]:
    """Parameters of the trigger form; none when the estate can't be read."""
    try:
        estate = estate or load_estate()
    except EstateError:
        return {}
    window = estate.windows.validation_window_seconds
    return {
        "validation_window_seconds": Param(
            window, type="integer", minimum=5, maximum=31 * 86_400, description="Length of the window in seconds"
        ),
        "end": Param(
            None,
            type=["string", "null"],
            format="date-time",
            description="End of the window; empty: the end of the schedule's day, or now when triggered by hand",
        ),
        "regions": Param(
            estate.ordered_regions(),
            description="Regions whose nodes are counted and compared with their own baseline",
            **estate.region_choice(),
        ),
    }


@task(multiple_outputs=False)
def plan_window() -> dict[str, str]:
    """Start and end of the window to validate, from the params or the schedule."""
    window = _window(get_current_context())
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
    context = get_current_context()
    summary = _fresh(_given(window) or _window(context), context)
    if summary["missing"]:
        context["ti"].xcom_push(key="return_value", value=summary)
        raise AirflowFailException(_missing_text(summary))
    return summary


@task(multiple_outputs=False)
def record_validation(window: dict[str, str]) -> dict[str, Any]:
    """Validate the window and keep the record; the verdict is for ``give_verdict`` to show."""
    return _fresh(_given(window), get_current_context())


@task(multiple_outputs=False)
def revalidate_earlier(window: dict[str, str]) -> list[str]:
    """Validate earlier windows again that are not final yet; keys of the records that stand for them now."""
    from include.cost.table.days import Window
    from include.cost.validation.records import newest_of_all, open_windows

    storage, estate = storage_at(COSTS_VARIABLE), load_estate()
    records = newest_of_all(storage)
    keys = []
    for name in open_windows(records, dt.datetime.fromisoformat(window["end"]), REVALIDATE_DAYS):
        raw = records[name]
        earlier = Window(*(dt.datetime.fromisoformat(raw["window"][edge]) for edge in ("start", "end")))
        keys.append(run(earlier, raw["regions"], estate, storage)["key"])
    return keys


@task(retries=0)
def give_verdict(summary: dict[str, Any]) -> str:
    """Show the verdict. Dollars may honestly fail and leave the run green; a total that nobody knows fails it."""
    if summary["missing"]:
        raise AirflowFailException(_missing_text(summary))
    return str(summary["text"])


# --- What the tasks share ---------------------------------------------------------------------------------------------


def _fresh(window: Window, context: Any) -> dict[str, Any]:
    """Bring the bill's missing days into the table, then validate the window."""
    from include.cost.table.columns import CostError
    from include.cost.table.store import CostTable
    from include.cost.validation.bill import bring_bill

    estate, storage = load_estate(), storage_at(COSTS_VARIABLE)
    try:
        problems = bring_bill(CostTable(storage), estate, window, _s3)
    except CostError as error:
        raise AirflowFailException(str(error)) from error
    return run(window, _regions(context), estate, storage, problems)


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
    again = f'{{"end": "{window["end"]}", "validation_window_seconds": {window["seconds"]}}}'
    return (
        f"the total of {window['start']} to {window['end']} is unknown:\n{summary['missing']}\n"
        f"Kept as {summary['key']}. Next: bring the data (cost_report ingests the bill), then "
        f"`airflow dags trigger cost_validation --conf '{again}'`"
    )


def _regions(context: Any) -> list[str]:
    return list(context["params"].get("regions") or load_estate().ordered_regions())


def _given(window: dict[str, str] | None) -> Any:
    from include.cost.table.days import Window

    if window is None:
        return None
    return Window(dt.datetime.fromisoformat(window["start"]), dt.datetime.fromisoformat(window["end"]))


def _window(context: Any) -> Window:
    from include.cost.table.columns import CostError
    from include.cost.table.days import Window

    params = context["params"]
    seconds = int(params.get("validation_window_seconds") or load_estate().windows.validation_window_seconds)
    end = window_end(context)
    try:
        return Window(end - dt.timedelta(seconds=seconds), end)
    except CostError as error:
        raise AirflowFailException(str(error)) from error
