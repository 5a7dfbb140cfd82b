"""Tasks of the DAG ``cost_report``."""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from airflow.sdk import Asset, get_current_context, task
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from include.cost.report.settings import ReportSettings
from include.estate import Estate, load_estate
from include.wiring.connections import (
    SettingMissingError,
    connection,
    http_access,
    prometheus_of,
    s3_client,
    show_dry_run,
    storage_at,
)
from include.wiring.parameters import settings_of_run

if TYPE_CHECKING:
    from include.clients.opencost import OpenCost
    from include.cost.sources.refresh import SourceClients
    from include.cost.table.store import CostTable

COSTS_VARIABLE = "akidb_costs"
FOCUS, REPORT = Asset("cost/focus"), Asset("cost/report")  # an event's extra holds the key, nothing else


@task(multiple_outputs=False)
def collect_day() -> dict[str, Any]:
    """Stage the day's missing or outdated partitions and count its requests; a source that is away is on record."""
    settings = settings_of_run(ReportSettings)
    # What a dry run keeps to itself would not reach the next task: write_report then does it all.
    return {"staged": [], "problems": {}} if settings.dry_run else _collect(_table(), _day(settings))


@task(multiple_outputs=False)
def judge_quality(collected: dict[str, Any]) -> list[str]:
    """Let the partitions that pass their suite into the table; one that fails is kept aside and fails the run."""
    return _admit(_table(), collected)


@task(multiple_outputs=False)
def write_report() -> list[dict[str, Any]]:
    """Report the day, and again the days before whose report is provisional and whose inputs have changed."""
    from include.cost.report.publish import due_again, report_day

    settings, estate = settings_of_run(ReportSettings), load_estate()
    table, day = _table(dry_run=settings.dry_run), _day(settings)
    if settings.dry_run:
        _admit(table, _collect(table, day))
    with _final():
        done = [report_day(table, day, estate, settings.as_of)]
        done += [report_day(table, one, estate) for one in due_again(table, day, estate)]
    show_dry_run(table.storage)
    return [
        {"day": str(one.day), "key": one.key, "status": one.status, "new": one.new, "changes": one.changes}
        for one in done
    ]


@task(outlets=[FOCUS, REPORT], multiple_outputs=False)
def publish(reports: list[dict[str, Any]]) -> str:
    """Tell whoever waits for the table or the report; the events carry keys only. A dry run tells nobody."""
    if settings_of_run(ReportSettings).dry_run:
        raise AirflowSkipException(f"dry run: nobody is told of {reports[0]['key']}, which was not written")
    events, day = get_current_context()["outlet_events"], reports[0]["day"]
    events[FOCUS].extra = {"key": f"focus/day={day}"}
    events[REPORT].extra = {"key": reports[0]["key"]}
    return str(reports[0]["key"])


# --- What the tasks share ---------------------------------------------------------------------------------------------


def _table(*, dry_run: bool = False) -> CostTable:
    from include.cost.table.store import CostTable

    return CostTable(storage_at(COSTS_VARIABLE, dry_run=dry_run))


def _collect(table: CostTable, day: dt.date) -> dict[str, Any]:
    from include.cost.sources.refresh import gather
    from include.cost.sources.requests import count_day

    estate, now = load_estate(), dt.datetime.now(dt.UTC)
    with _final():
        found = gather(table, day, estate, _clients(estate), get_current_context()["run_id"], now)
        requests = count_day(table.storage, day, estate, lambda region: prometheus_of(region, estate), now)
    away = {f"requests {name}": one.problem for name, one in requests.regions.items() if one.problem}
    problems = found.problems | away
    return {"staged": found.staged, "problems": problems, "set_aside": found.set_aside, "warnings": found.warnings}


def _admit(table: CostTable, collected: dict[str, Any]) -> list[str]:
    from include.cost.sources.refresh import admit

    with _final():
        facts = admit(table, collected["staged"], load_estate())
    return [f"{one.source}/{one.day}" for one in facts]


def _day(settings: ReportSettings) -> dt.date:
    interval = get_current_context().get("data_interval_start")
    if settings.day:
        return settings.day
    if interval is None:
        raise AirflowFailException("a run without a logical date has no day: trigger it with the param day")
    return dt.datetime.fromtimestamp(interval.timestamp(), dt.UTC).date()


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
