"""
## What it does
Asks once a week what a commitment would save. From 30 days of hourly use (the bill; where that covers less than 95 % of
the hours, the nodes in Prometheus) it takes the on-demand remainder after spot, by region and instance family, and
finds for each offer (Reserved Instance, Savings Plan; 1 and 3 years, no upfront) the quantity that saves most on the
hourly curve, with coverage, utilisation, break-even hours and saving a month. It lists what is committed and unused,
what a commitment sized by the use before spot would strand, and compares list prices with Google Cloud and Azure
(pilot). Discounts and other clouds' prices are dated rows of `include/price_book`; assumptions are marked as such.

## When it runs
Weekly, and by hand for any 30 days.

## How to re-run
Trigger it with the same `end`: equal inputs give an equal record, in the place of the old one.

## How to undo
Nothing to undo: it buys nothing, it only reads and writes its page under `commitments/`.

## Races
Runs for different weeks touch different records.

## Owner
platform
"""

from __future__ import annotations

import datetime as dt

from airflow.sdk import dag
from airflow.timetables.interval import CronDataIntervalTimetable

from include.cost.commitments.tasks import analyse_commitments, commitments_params
from include.estate import EstateError, load_estate
from include.wiring.conventions import DAG_DEFAULT_ARGS, Tag
from include.wiring.dag import show_problem


@dag(
    schedule=CronDataIntervalTimetable("@weekly", timezone="UTC"),
    start_date=dt.datetime(2026, 11, 1, tzinfo=dt.UTC),
    catchup=False,
    max_active_runs=1,
    default_args=DAG_DEFAULT_ARGS,
    params=commitments_params(),
    tags=[Tag.RECURRING, Tag.COST],
    doc_md=__doc__,
)
def commitments() -> None:
    """Wire the analysis."""
    try:
        load_estate()
    except EstateError as error:
        show_problem(str(error))
        return
    analyse_commitments()


commitments()
