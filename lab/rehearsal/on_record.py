"""What a rehearsal puts on record: the service's figures in the ledger, safety and prediction errors beside it."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping
from typing import Any

from include.clients.storage import Folder
from include.rollout.ledger import WHOLE_RUN, Chain, Step, last
from include.rollout.safety import Fault, Outcome, SafetyRecords, proved
from lab.rehearsal import against
from lab.rehearsal.faults import RESTORED, FaultResult
from lab.rehearsal.folders import ledger_folder
from lab.rehearsal.results import Results
from lab.rehearsal.scene import Scene
from lab.rehearsal.signing import signed_ledger
from lab.rehearsal.week import run_id_of

SERVICE, DAG, SOURCE = "service", "rehearsal", "rehearsal"
PREDICTIONS = "predictions"
FAULT_OF = {"api-outage": "api-server"}  # where the matrix calls it otherwise


def measured(scene: Scene, figures: Mapping[str, Mapping[str, Any]]) -> None:
    """Append what was measured of the service, by place, each in a chain of this rehearsal."""
    ledger, run_id = signed_ledger(scene.settings.folder), run_id_of(dt.datetime.now(dt.UTC))
    for place, found in figures.items():
        ledger.append(Chain(SERVICE, place, DAG, run_id), Step.MEASURED, dict(found))


def keep_safety(scene: Scene, results: Results) -> None:
    """A record of the fault, and one for each lever that the undo of everything has brought back."""
    records = SafetyRecords(Folder(ledger_folder(scene.settings.folder)))
    if results.fault is not None and results.fault.as_expected:
        _keep_fault(records, scene, results.fault)
    for lever, found in (results.ended.get("undo") or {}).get("by_lever", {}).items():
        if found["restored"] and found["seconds"] is not None:
            records.add(_proved(scene, lever, "undo", RESTORED, found["seconds"]))


def _keep_fault(records: SafetyRecords, scene: Scene, found: FaultResult) -> None:
    fault = FAULT_OF.get(found.fault, found.fault)
    records.add(_proved(scene, found.lever, fault, found.outcome, found.seconds, found.place))


def _proved(scene: Scene, lever: str, fault: str, outcome: str, seconds: float | None, place: str = "") -> Any:
    plan = plan_hash(scene, lever)
    return proved(lever, Fault(fault), Outcome(outcome), seconds, plan_hash=plan, source=SOURCE, place=place)


def plan_hash(scene: Scene, lever: str) -> str:
    """The hash of the newest plan of a lever that this rehearsal has approved; empty without one."""
    ledger = scene.ledger()
    plans = [last(ledger.records(chain), Step.PLAN) for chain in ledger.chains(lever, WHOLE_RUN)]
    known = [plan for plan in plans if plan is not None and plan.figures.get("hash")]
    return str(max(known, key=lambda plan: plan.time).figures["hash"]) if known else ""


def keep_predictions(scene: Scene, results: Results) -> None:
    """How far each lever's prediction was off, beside the ledger."""
    store, now = Folder(ledger_folder(scene.settings.folder)), dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
    for lever, found in results.levers.items():
        text = json.dumps(against.prediction(lever, found, now, SOURCE), sort_keys=True, indent=1)
        store.put(f"{PREDICTIONS}/{lever}.json", text.encode())
