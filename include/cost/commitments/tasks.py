"""Tasks of the DAG ``commitments``."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

from airflow.sdk import get_current_context, task
from airflow.sdk.exceptions import AirflowFailException

from include.cost.commitments.settings import CommitmentsSettings
from include.cost.tasks import COSTS_VARIABLE, prometheus_clients, window_end
from include.estate import Estate, load_estate
from include.wiring.connections import show_dry_run, storage_at
from include.wiring.parameters import settings_of_run

if TYPE_CHECKING:
    from include.cost.commitments.analysis import Unused
    from include.cost.table.machine_hours import MachineUse
    from include.cost.table.store import CostTable


@task(multiple_outputs=False)
def analyse_commitments() -> dict[str, Any]:
    """Analyse 30 days of hourly use and keep record and page; too little data fails the task with how much there is."""
    from include.cost.commitments.analysis import DAYS, analyse
    from include.cost.commitments.offers import load_clouds, load_offers
    from include.cost.commitments.page import document
    from include.cost.table.columns import CostError
    from include.cost.table.record import encode
    from include.cost.table.store import CostTable
    from include.pages.document import to_html, to_markdown
    from include.prices import load_aws_book

    settings, estate = settings_of_run(CommitmentsSettings), load_estate()
    storage = storage_at(COSTS_VARIABLE, dry_run=settings.dry_run)
    end = window_end(get_current_context(), settings.end).replace(hour=0, minute=0, second=0, microsecond=0)
    start, book = end - dt.timedelta(days=DAYS), load_aws_book(estate)
    try:
        use, source = read_use(CostTable(storage), estate, start, end)
        unused = read_unused(CostTable(storage), start, end)
        record = analyse(use, source, load_offers(), unused, load_clouds(), estate, book).to_json()
        record["quality"] = _judged(use, estate)
    except CostError as error:
        raise AirflowFailException(str(error)) from error
    key, page = f"commitments/{end:%Y-%m-%d}", document(record)
    text = to_markdown(page)
    storage.put(f"{key}.html", to_html(page).encode())
    storage.put(f"{key}.md", text.encode())
    storage.put(f"{key}.json", encode(record))
    return {"key": f"{key}.json", "text": text, "dry_run": show_dry_run(storage)}


def read_use(table: CostTable, estate: Estate, start: dt.datetime, end: dt.datetime) -> tuple[MachineUse, str]:
    """Hourly use from the bill; where that covers too little, from the nodes in Prometheus, if these cover more."""
    from include.cost.commitments.analysis import MIN_COVERAGE
    from include.cost.table.machine_hours import hourly_use, live_use
    from include.prices import load_aws_book

    days = [(start + dt.timedelta(days=n)).date() for n in range((end - start).days)]
    with table.files(days, ["aws"]) as files:
        billed = hourly_use(files, start, end)
    if billed.coverage >= MIN_COVERAGE:
        return billed, "the bill"
    live = live_use(prometheus_clients(estate.regions, estate), start, end, load_aws_book(estate))
    return (live, "node-hours in Prometheus") if live.coverage > billed.coverage else (billed, "the bill")


def read_unused(table: CostTable, start: dt.datetime, end: dt.datetime) -> list[Unused]:
    """Commitments that were paid and not used, from the bill."""
    from include.cost.commitments.analysis import Unused
    from include.cost.table.days import Window
    from include.cost.table.machine_hours import unused_commitments

    days = [(start + dt.timedelta(days=n)).date() for n in range((end - start).days)]
    with table.files(table.with_lasting("aws", days), ["aws"]) as files:
        return [Unused(*row) for row in unused_commitments(files, Window(start, end))]


def _judged(use: MachineUse, estate: Estate) -> dict[str, Any]:
    from dataclasses import asdict

    from include.cost.table.columns import CostError
    from include.quality.judge import QualityError, judge

    regions = sorted({row.region for row in use.rows} | set(estate.regions))
    judgement = judge("hourly_use", [asdict(row) for row in use.rows] or _no_rows(), regions=regions)
    try:
        judgement.demand("hourly use")
    except QualityError as error:
        raise CostError(str(error)) from error
    return judgement.record


def _no_rows() -> Any:
    import pandas as pd

    return pd.DataFrame(columns=["hour", "region", "instance_type", "capacity", "hours", "usd"])
