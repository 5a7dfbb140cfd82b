"""The steps of a rollout and of a rollback: each reads the ledger and the live world, acts, and records what it did.

Every step may run again after a crash at any point. They raise Refused (or NotConverged) when retrying can't help;
anything else may be retried. Imports no Airflow: include/wiring turns them into tasks.
"""

from include.rollout.steps.ending import conclude, decide, own_snapshot, promote, record_verdict
from include.rollout.steps.locks import check_ours, lock_again, lock_places, release_locks, undone_by, unlock_places
from include.rollout.steps.preparing import (
    answer_on_record,
    check_approval,
    check_preflight,
    confirm_unchanged,
    make_plan,
    missing_clients,
    record_answer,
)
from include.rollout.steps.run import NotWanted, OnRecord, Run, each_place, evidence
from include.rollout.steps.stages import apply_stage, judge_gates, put_snapshot, take_snapshot
from include.rollout.steps.undoing import undo_changes, verify_restored

__all__ = [
    "NotWanted",
    "OnRecord",
    "Run",
    "answer_on_record",
    "apply_stage",
    "check_approval",
    "check_ours",
    "check_preflight",
    "conclude",
    "confirm_unchanged",
    "decide",
    "each_place",
    "evidence",
    "judge_gates",
    "lock_again",
    "lock_places",
    "make_plan",
    "missing_clients",
    "own_snapshot",
    "promote",
    "put_snapshot",
    "record_answer",
    "record_verdict",
    "release_locks",
    "take_snapshot",
    "undo_changes",
    "undone_by",
    "unlock_places",
    "verify_restored",
]
