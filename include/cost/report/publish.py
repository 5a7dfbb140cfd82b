"""The report of a day, made and published; without Airflow."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Mapping
from typing import Any

from include.cost.report.compute import compute_report
from include.cost.report.files import files_of, table_of
from include.cost.report.result import Report
from include.cost.report.revisions import Published, ReportPointer, pointer, publish
from include.cost.sources.refresh import trailing
from include.cost.sources.requests import kept
from include.cost.table.bill import ALLOCATIONS, BILLS
from include.cost.table.columns import CostError
from include.cost.table.components import UNALLOCATED
from include.cost.table.days import days_read
from include.cost.table.settling import PROVISIONAL
from include.cost.table.store import CostTable
from include.estate import Estate


def report_day(table: CostTable, day: dt.date, estate: Estate, as_of: dt.datetime | None = None) -> Published:
    """Compute the report of ``day`` from what the storage holds and publish it; equal content makes no new revision.

    Raises CostError when the inputs disagree or the report fails its own quality suite; the old report stands then.
    """

    def make(_: ReportPointer) -> tuple[Mapping[str, bytes], Mapping[str, Any]]:
        inputs = fingerprint(table, day, estate)
        report = compute_report(table, day, estate, kept(table.storage, day), as_of)
        demand_quality(report, estate)
        received = report.as_of.isoformat() if report.as_of else None
        return files_of(report), {"status": report.status, "as_of": received, "inputs": inputs}

    return publish(table.storage, day, make)


def due_again(table: CostTable, day: dt.date, estate: Estate) -> list[dt.date]:
    """The days before ``day`` whose report is provisional and whose inputs have changed since."""
    found = []
    for one in trailing(day, estate.cost.settle_hours):
        current = pointer(table.storage, one).current
        if current and current["status"] == PROVISIONAL and current["inputs"] != fingerprint(table, one, estate):
            found.append(one)
    return found


def fingerprint(table: CostTable, day: dt.date, estate: Estate) -> str:
    """SHA-256 over everything that the report of ``day`` is made of: equal inputs make an equal report."""
    wanted = [(source, at) for source in BILLS for at in table.with_lasting(source, days_read(day))]
    wanted += [(source, day) for source in ALLOCATIONS]
    facts = (table.facts(source, at) for source, at in wanted)
    requests = kept(table.storage, day)
    parts = [
        [one.to_json() for one in facts if one],
        [one.to_json() for one in table.history("aws", day)],
        requests.to_json().decode() if requests else None,
        estate.model_dump(mode="json"),
    ]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def demand_quality(report: Report, estate: Estate) -> None:
    """Judge the report by its own suite. Raises CostError with the failed expectation."""
    from include.quality.judge import QualityError, judge

    judgement = judge("cost_report", table_of(report).to_pylist(), components=[*estate.cost.components, UNALLOCATED])
    try:
        judgement.demand(f"the report of {report.day}")
    except QualityError as error:
        raise CostError(str(error)) from error
