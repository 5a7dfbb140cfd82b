"""What an approver may lean on: the safety records beside the ledger, and what the simulation says of the month.

An approval is never stopped by a part that can't be read: the form says that it is not known, and why.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

from include.rollout.decisions import Backing, Outlook
from include.rollout.ledger import WHOLE_RUN, Chain, Ledger, LedgerError, Step, last, without_secrets
from include.rollout.safety import Reading, SafetyRecords, Version, known_version, matrix
from include.rollout.steps.run import Run

log = logging.getLogger(__name__)


def backings(run: Run, plan_hashes: Mapping[str, str]) -> dict[str, Backing]:
    """Each lever's, by name; ``plan_hashes`` are those of the plans that are offered, or that stand."""
    problem = ""
    reading = Reading((), {})
    try:
        reading = SafetyRecords(run.ledger.store).read(plan_hashes)
    except Exception as error:  # noqa: BLE001 - what was proved is then not known; the approval must be asked for
        problem = without_secrets(f"can't be read ({type(error).__name__}: {error})")
        log.warning("safety records: %s", problem)
    versions = {lever: Version(known_version(lever), plan) for lever, plan in plan_hashes.items()}
    cells = matrix(versions, reading.records)
    return {
        lever: Backing(lever, version.code, cells[lever], _outlook(run, lever), problem or _bad(reading, lever))
        for lever, version in versions.items()
    }


def plan_hash_of(ledger: Ledger, chain: Chain) -> str:
    """The hash of the plan that a change was approved with; empty where its records don't say."""
    try:
        plan = last(ledger.records(chain.of(WHOLE_RUN)), Step.PLAN)
    except LedgerError:
        return ""
    return str(plan.figures.get("hash", "")) if plan else ""


def _bad(reading: Reading, lever: str) -> str:
    return "; ".join(why for key, why in reading.bad.items() if f"/{lever}/" in key)


def _outlook(run: Run, lever: str) -> Outlook:
    try:
        return run.outlook(lever)
    except Exception as error:  # noqa: BLE001 - as above
        return Outlook(problem=without_secrets(f"{type(error).__name__}: {error}"))
