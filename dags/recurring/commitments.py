"""
## What it does
Asks once a week what a commitment would save. From 30 days of hourly use (the bill; where that covers less than 95 % of
the hours, the nodes in Prometheus) it takes the on-demand remainder after spot, by region and instance family, and
finds for each offer (Reserved Instance, Savings Plan; 1 and 3 years, no upfront) the quantity that saves most on the
hourly curve, with coverage, utilisation, break-even hours and saving per month. It lists what is committed and unused,
what a commitment sized by the use before spot would strand, and compares list prices with Google Cloud and Azure
(pilot). Discounts and other clouds' prices are dated rows of `include/price_book`; assumptions are marked as such.

## When it runs
Weekly, and by hand for any 30 days.

## How to re-run
Trigger it with the same `end`: equal inputs give an equal record, in the place of the old one. `dry_run` shows the page
and keeps nothing.

## How to undo
Nothing to undo: it buys nothing, it only reads and writes its page under `commitments/`.

## Races
Runs for different weeks touch different records.

## Owner
platform
"""

from __future__ import annotations

from airflow.sdk import dag
from airflow.timetables.interval import CronDataIntervalTimetable

from include.cost.commitments.settings import CommitmentsSettings
from include.cost.commitments.tasks import analyse_commitments
from include.estate import Estate
from include.wiring.conventions import Tag
from include.wiring.dag import recurring, with_estate

WEEKLY = CronDataIntervalTimetable("@weekly", timezone="UTC")


@dag(schedule=WEEKLY, **recurring(__doc__, CommitmentsSettings, [Tag.COST]))
@with_estate
def commitments(_: Estate) -> None:
    """Wire the analysis."""
    analyse_commitments()


commitments()
