"""
## What it does
Reports what a day cost: by component against its target and the baselines of week 13 and week 8, by region, by the
way machines are bought, per million measured requests, the month so far and its projection, what belongs to no
component, how the allocators split the clusters' bill, and what is unusual, with the parts of the bill that moved most.
Tasks: bring the day's sources up to date -> judge them by their quality suites -> write the report -> announce it.

A component without data makes the total unknown, never smaller. A source that is away is on record, and the report says
what is missing. Reports lie in the storage that the Airflow Variable `akidb_costs` names, as Parquet, Markdown, HTML
and JSON; `reports/day=.../current.json` names the revision that counts. How to read them:
docs/reference/cost_reports.md.

## When it runs
Every day at 00:00 UTC for the day before, and for days in the past by Airflow's own backfill:
`airflow backfill create --dag-id cost_report --from-date 2026-11-01 --to-date 2026-11-30`. The bill comes later than
that and settles in two to three days: each run also looks at the four days before its own and revises those reports
that are provisional and whose inputs have changed.

## How to re-run
Clear the run, or backfill its day again with `--reprocess-behavior completed`. Equal inputs give the same report, byte
for byte, and then no new revision. What was deleted comes back. `dry_run` collects and computes all the same, says what
it would write, and neither writes nor announces anything.

## How to undo
Nothing outside its storage is changed. Every revision is kept; to go back, correct the input and run the day again.

## Races
Days may run in any order and at once: a day's partitions are replaced whole, and the pointer of a day moves by
compare-and-set. A run that is killed leaves the old report.

## Owner
platform
"""

from __future__ import annotations

from airflow.sdk import dag
from airflow.timetables.interval import CronDataIntervalTimetable

from include.cost.report.settings import ReportSettings
from include.cost.report.tasks import collect_day, judge_quality, publish, write_report
from include.estate import Estate
from include.wiring.conventions import Tag
from include.wiring.dag import recurring, with_estate

MIDNIGHT = CronDataIntervalTimetable("0 0 * * *", timezone="UTC")


@dag(schedule=MIDNIGHT, **recurring(__doc__, ReportSettings, [Tag.COST], catchup=True, max_active_runs=4))
@with_estate
def cost_report(_: Estate) -> None:
    """Wire the report of a day."""
    reports = write_report()
    judge_quality(collect_day()) >> reports
    publish(reports)


cost_report()
