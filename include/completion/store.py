"""Where the completion report finds its inputs and is kept.

It is made of the ledger alone. What stands elsewhere (the validation, the cost report, the commitments) is put on
record first, in the chain of ``completion``. The report lies at ``completion/<dag>--<run>/report.{json,md,html}`` of
the costs' storage, and its JSON beside the ledger's chains, at ``reports/<dag>--<run>.json``, its hash on record.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping, Sequence
from typing import Any

from include.clients.storage import Storage
from include.completion import page
from include.completion.history import COMPLETION, SERVICE, History
from include.completion.report import build, encode
from include.completion.scorecard import Inputs
from include.cost.report.revisions import key_of as report_key
from include.cost.report.revisions import pointer
from include.estate import Estate
from include.rollout.ledger import WHOLE_RUN, Chain, Everything, Ledger, Record, Step, digest, run_key
from include.rollout.place import DEVICES, ESTATE_WIDE

COMMITMENTS = "commitments/"
REPORTS = "reports/day="
FORTNIGHT = dt.timedelta(days=14)  # the week, and its repetitions
_NO_LEVERS = frozenset({COMPLETION, SERVICE})


def put_validated(ledger: Ledger, storage: Storage, chain: Chain, validation_key: str) -> Record:
    """Put on record what was validated, and where the cost report and the analysis of commitments lie."""
    analyses = [key for key in storage.keys(COMMITMENTS) if key.endswith(".json")]
    found: dict[str, Any] = {"key": validation_key, "cost_report": _newest_report(storage)}
    found["commitments"] = analyses[-1] if analyses else ""
    if validation_key:
        record = json.loads(storage.read(validation_key))
        found |= {"total": record["total"], "lines": record["lines"]}
    return ledger.append(completion_chain(chain), Step.VALIDATED, found)


def completion_chain(chain: Chain) -> Chain:
    """The chain of the completion report of a run."""
    return Chain(COMPLETION, WHOLE_RUN, chain.dag_id, chain.run_id)


def service_chain(chain: Chain, region: str) -> Chain:
    """The chain of a run that holds how the service did in a region."""
    return Chain(SERVICE, region, chain.dag_id, chain.run_id)


def began(ledger: Ledger, estate: Estate, regions: Sequence[str]) -> str:
    """When the first run of the last fortnight began, undone ones too: their requests count. "" without a run."""
    history = from_ledger(ledger, estate, regions).history
    runs = [run.began for run in history.region_runs()]
    if not runs:
        return ""
    earliest = dt.datetime.fromisoformat(max(runs)) - FORTNIGHT
    return min(moment for moment in runs if dt.datetime.fromisoformat(moment) >= earliest)


def from_ledger(ledger: Ledger, estate: Estate, regions: Sequence[str], levers: Sequence[str] | None = None) -> Inputs:
    """Everything that the report is made of; what is not on record reads unknown. ``levers`` None: all on record."""
    found = ledger.everything()
    chosen = [region for region in estate.ordered_regions() if region in regions]
    names = levers_on_record(found) if levers is None else levers
    history = History.of(found, names, [*chosen, ESTATE_WIDE, DEVICES])
    validated = history.validated[-1] if history.validated else None
    figures: Mapping[str, Any] = validated.figures if validated else {}
    return Inputs(
        estate=estate,
        regions=tuple(chosen),
        history=history,
        validation=figures if "total" in figures else None,
        validation_key=str(figures.get("key", "")),
        report_key=str(figures.get("cost_report", "")),
        commitments_key=str(figures.get("commitments", "")),
        validated=validated if "total" in figures else None,
    )


def levers_on_record(found: Everything) -> list[str]:
    """The levers that have a chain in a place, and those whose runs got no further than their plan, in order."""
    return sorted({path.split("/")[0] for path in found.chains} - _NO_LEVERS)


def _newest_report(storage: Storage) -> str:
    """The folder of the newest day's report that counts, empty without one."""
    days = sorted({key.removeprefix(REPORTS)[:10] for key in storage.keys(REPORTS)}, reverse=True)
    for text in days:
        day = dt.date.fromisoformat(text)
        current = pointer(storage, day).current
        if current is not None:
            return report_key(day, current)
    return ""


def render(inputs: Inputs) -> dict[str, bytes]:
    """The report's files by name."""
    report = build(inputs)
    return {
        "report.json": encode(report),
        "report.md": page.to_markdown(report).encode(),
        "report.html": page.to_html(report).encode(),
    }


def put_report(ledger: Ledger, chain: Chain, data: bytes) -> Record:
    """Put the report's JSON beside the ledger's chains, once its hash is on record: none stands there that is not."""
    name = f"reports/{chain.dag_id}--{run_key(chain.run_id)}.json"
    record = ledger.append(completion_chain(chain), Step.REPORTED, {"report": name, "sha256": digest(data)})
    ledger.put_beside(name, data)
    return record


def keep(storage: Storage, run: str, pages: Mapping[str, bytes]) -> str:
    """Write the report's files, the JSON last: with it the report is complete. Returns the JSON's key."""
    dag_id, _, run_id = run.partition("/")
    folder = f"completion/{dag_id}--{run_key(run_id)}"
    for name in sorted(pages, key=lambda name: (name.endswith(".json"), name)):
        storage.put(f"{folder}/{name}", pages[name])
    return f"{folder}/report.json"
