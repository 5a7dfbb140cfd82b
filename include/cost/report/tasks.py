"""Tasks of the DAG ``cost_report``."""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from airflow.sdk import Asset, Param, get_current_context, task
from airflow.sdk.exceptions import AirflowFailException

from include.estate import Estate, load_estate
from include.wiring.connections import (
    SettingMissingError,
    connection,
    http_access,
    prometheus_of,
    s3_client,
    storage_at,
)

if TYPE_CHECKING:
    from include.clients.opencost import OpenCost
    from include.cost.sources.refresh import SourceClients
    from include.cost.table.store import CostTable

COSTS_VARIABLE = "akidb_costs"
FOCUS, REPORT = Asset("cost/focus"), Asset("cost/report")  # an event's extra holds the key, nothing else
PARAMS = {
    "day": Param(
        None,
        type=["string", "null"],
        format="date",
        description="Report this day (YYYY-MM-DD, UTC); empty: the day of the run's data interval",
    ),
    "as_of": Param(
        None,
        type=["string", "null"],
        format="date-time",
        description="Judge whether the bill has settled as of this time; empty: when its newest export was received",
    ),
}


@task(multiple_outputs=False)
def collect_day() -> dict[str, Any]:
    """Stage the day's missing or outdated partitions and count its requests; a source that is away is on record."""
    from include.cost.sources.refresh import gather
    from include.cost.sources.requests import count_day

    estate, table, day, now = load_estate(), _table(), _day(), dt.datetime.now(dt.UTC)
    with _final():
        found = gather(table, day, estate, _clients(estate), get_current_context()["run_id"], now)
        requests = count_day(table.storage, day, estate, lambda region: prometheus_of(region, estate), now)
    away = {f"requests {name}": one.problem for name, one in requests.regions.items() if one.problem}
    problems = found.problems | away
    return {"staged": found.staged, "problems": problems, "set_aside": found.set_aside, "warnings": found.warnings}


@task(multiple_outputs=False)
def judge_quality(collected: dict[str, Any]) -> list[str]:
    """Let the partitions that pass their suite into the table; one that fails is kept aside and fails the run."""
    from include.cost.sources.refresh import admit

    with _final():
        facts = admit(_table(), collected["staged"], load_estate())
    return [f"{one.source}/{one.day}" for one in facts]


@task(multiple_outputs=False)
def write_report() -> list[dict[str, Any]]:
    """Report the day, and again the days before whose report is provisional and whose inputs have changed."""
    from include.cost.report.publish import due_again, report_day

    estate, table, day = load_estate(), _table(), _day()
    with _final():
        done = [report_day(table, day, estate, _as_of())]
        done += [report_day(table, one, estate) for one in due_again(table, day, estate)]
    return [
        {"day": str(one.day), "key": one.key, "status": one.status, "new": one.new, "changes": one.changes}
        for one in done
    ]


@task(outlets=[FOCUS, REPORT], multiple_outputs=False)
def publish(reports: list[dict[str, Any]]) -> str:
    """Tell whoever waits for the table or the report; the events carry keys only."""
    events, day = get_current_context()["outlet_events"], reports[0]["day"]
    events[FOCUS].extra = {"key": f"focus/day={day}"}
    events[REPORT].extra = {"key": reports[0]["key"]}
    return str(reports[0]["key"])


# --- What the tasks share ---------------------------------------------------------------------------------------------


def _table() -> CostTable:
    from include.cost.table.store import CostTable

    return CostTable(storage_at(COSTS_VARIABLE))


def _day() -> dt.date:
    context: Any = get_current_context()
    given, interval = context["params"].get("day"), context.get("data_interval_start")
    if given:
        return dt.date.fromisoformat(str(given))
    if interval is None:
        raise AirflowFailException("a run without a logical date has no day: trigger it with the param day")
    return dt.datetime.fromtimestamp(interval.timestamp(), dt.UTC).date()


def _as_of() -> dt.datetime | None:
    given = get_current_context()["params"].get("as_of")
    if not given:
        return None
    at = dt.datetime.fromisoformat(str(given))
    return at if at.tzinfo else at.replace(tzinfo=dt.UTC)


@contextlib.contextmanager
def _final() -> Iterator[None]:
    """Trying again doesn't cure wrong input."""
    from include.cost.table.columns import CostError

    try:
        yield
    except CostError as error:
        raise AirflowFailException(str(error)) from error


def _clients(estate: Estate) -> SourceClients:
    from include.cost.sources.refresh import SourceClients

    return SourceClients(s3_client, lambda region: prometheus_of(region, estate), lambda: _allocators(estate))


def _allocators(estate: Estate) -> dict[str, dict[str, OpenCost]]:
    """The allocators that have an Airflow connection, such as ``opencost_us_east_1``."""
    from include.clients.opencost import FLAVOURS, OpenCost
    from include.cost.sources.allocation import connection_of

    found: dict[str, dict[str, OpenCost]] = {flavour: {} for flavour in FLAVOURS}
    for flavour, clients in found.items():
        for region in estate.regions:
            try:
                conn = connection(connection_of(flavour, region), f"the {flavour} of {region}")
            except SettingMissingError:
                continue
            access = http_access(conn)
            clients[region] = OpenCost(access.url, flavour, access=access)
    return {flavour: clients for flavour, clients in found.items() if clients}
