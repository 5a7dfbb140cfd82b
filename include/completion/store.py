"""Where the completion report finds its inputs and is kept: ``completion/<dag>--<run>/report.{json,md,html}``."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping, Sequence
from typing import Any

from include.clients.storage import Storage
from include.completion.report import History, Inputs
from include.cost.report.revisions import key_of, pointer
from include.estate import Estate
from include.rollout.ledger import Ledger, run_key

COMMITMENTS = "commitments/"
REPORTS = "reports/day="


def read_inputs(
    ledger: Ledger, storage: Storage, estate: Estate, regions: Sequence[str], levers: Sequence[str], validation_key: str
) -> Inputs:
    """Everything that the report is made of; what is not kept is left out, and reads unknown in the report."""
    return Inputs(
        estate=estate,
        regions=tuple(region for region in estate.ordered_regions() if region in regions),
        history=History.read(ledger, levers, regions),
        validation=_validation(storage, validation_key),
        validation_key=validation_key,
        report_key=_newest_report(storage),
        commitments_key=next(reversed([k for k in storage.keys(COMMITMENTS) if k.endswith(".json")]), ""),
    )


def _validation(storage: Storage, key: str) -> dict[str, Any] | None:
    if not key:
        return None
    record: dict[str, Any] = json.loads(storage.read(key))
    return record


def _newest_report(storage: Storage) -> str:
    """The folder of the newest day's report that counts, empty without one."""
    days = sorted({key.removeprefix(REPORTS)[:10] for key in storage.keys(REPORTS)}, reverse=True)
    for text in days:
        day = dt.date.fromisoformat(text)
        current = pointer(storage, day).current
        if current is not None:
            return key_of(day, current)
    return ""


def keep(storage: Storage, run: str, pages: Mapping[str, bytes]) -> str:
    """Write the report's files, the JSON last: with it the report is complete. Returns the JSON's key."""
    dag_id, _, run_id = run.partition("/")
    folder = f"completion/{dag_id}--{run_key(run_id)}"
    for name in sorted(pages, key=lambda name: (name.endswith(".json"), name)):
        storage.put(f"{folder}/{name}", pages[name])
    return f"{folder}/report.json"
