"""The steps of a rollout and of a rollback: each reads the ledger and the live world, acts, and records what it did.

Every step may run again after a crash at any point. They raise Refused (or NotConverged) when retrying can't help;
anything else may be retried. Imports no Airflow: include/wiring turns them into tasks.
"""

from include.rollout.steps.backing import backings, plan_hash_of
from include.rollout.steps.ending import conclude, decide, own_snapshot, promote, record_verdict
from include.rollout.steps.exporting import promoted_export, write_export
from include.rollout.steps.locks import (
    acquire,
    check_not_undone,
    check_ours,
    lock_again,
    lock_places,
    places_kept,
    record_approval,
    release_locks,
    undone_by,
    unlock_places,
)
from include.rollout.steps.preparing import (
    answer_on_record,
    approved_plans,
    check_approval,
    check_preflight,
    confirm_unchanged,
    judge_checks,
    lever_checks,
    links_of,
    make_plan,
    missing_clients,
    plan_again,
    record_answer,
    record_plan,
    resumed_by,
    whole_run_checks,
    window_check,
)
from include.rollout.steps.run import NotWanted, OnRecord, Run, each_place, evidence
from include.rollout.steps.stages import apply_stage, judge_gates, put_snapshot, take_snapshot
from include.rollout.steps.undoing import undo_changes, verify_restored

__all__ = [
    "NotWanted",
    "OnRecord",
    "Run",
    "acquire",
    "answer_on_record",
    "apply_stage",
    "approved_plans",
    "backings",
    "check_approval",
    "check_not_undone",
    "check_ours",
    "check_preflight",
    "conclude",
    "confirm_unchanged",
    "decide",
    "each_place",
    "evidence",
    "judge_checks",
    "judge_gates",
    "lever_checks",
    "links_of",
    "lock_again",
    "lock_places",
    "make_plan",
    "missing_clients",
    "own_snapshot",
    "places_kept",
    "plan_again",
    "plan_hash_of",
    "promote",
    "promoted_export",
    "put_snapshot",
    "record_answer",
    "record_approval",
    "record_plan",
    "record_verdict",
    "release_locks",
    "resumed_by",
    "take_snapshot",
    "undo_changes",
    "undone_by",
    "unlock_places",
    "verify_restored",
    "whole_run_checks",
    "window_check",
    "write_export",
]
