"""What a run writes for repositories: the files of an export beside its records, and where they lie on record."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from include.rollout import decisions
from include.rollout.export import export_of, files, index
from include.rollout.ledger import WHOLE_RUN, Step, refuse_secrets, without_secrets
from include.rollout.lever import Json, Plan
from include.rollout.steps.preparing import approved_plans
from include.rollout.steps.run import NotWanted, Run

log = logging.getLogger(__name__)


def write_export(run: Run) -> dict[str, Any]:
    """Write what the plan on record wants in each place as files, put them on record. Changes nothing else.

    Raises NotWanted in a run that applies.
    """
    if not run.settings.exports:
        raise NotWanted("this run applies its plan: deliver is not export")
    plans = approved_plans(run)
    with ThreadPoolExecutor(max_workers=len(plans)) as pool:
        found = dict(zip(run.places, pool.map(lambda plan: _written(run, plan), plans), strict=True))
    run.record(WHOLE_RUN, Step.EXPORT, {"places": found})
    for place, of_place in found.items():
        log.info("%s: %s in %s, sha256 %s", place, ", ".join(of_place["files"]), of_place["folder"], of_place["sha256"])
    return found


def promoted_export(run: Run, place: str) -> dict[str, Json]:
    """The export of the plan that was promoted, or why there is none: it must not stop a promotion."""
    try:
        plan = decisions.confirmed_plan(run.records(place))
        return _written(run, plan) if plan else {"problem": "no confirmed plan is on record"}
    except Exception as error:  # noqa: BLE001 - see above; the reason is put on record
        return {"problem": without_secrets(f"{type(error).__name__}: {error}")}


def _written(run: Run, plan: Plan) -> dict[str, Json]:
    export = export_of(run.lever, run.target(plan.place), plan)
    found = files(export, run.lever.name, plan.place, getattr(run.lever, "manager", ""))
    for name, data in found.items():
        refuse_secrets(data.decode(), name)
    return index(export, found, run.ledger.attach(run.chain(plan.place), "export", found))
