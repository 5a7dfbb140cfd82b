"""Decisions of a rollout as pure functions: what to show for approval, whether to go on, and what to say at the end.

They see plans and ledger records only; reading, writing and Airflow are the caller's.
"""

from include.rollout.decisions.plans import approval_problem, changed_since, failed_checks, plan_text, plans_hash
from include.rollout.decisions.progress import (
    Decision,
    Records,
    attempt,
    check_may_apply,
    confirmed_plan,
    confirmed_stages,
    decide,
    failure,
    has_passed,
    is_final,
    last_of_slot,
    results_json,
    stage_in,
    standing_gate,
    undecided,
    waits_for_people,
)
from include.rollout.decisions.undone import Undone, rollback_verdict
from include.rollout.decisions.verdicts import (
    Ending,
    RunFacts,
    Verdict,
    left_behind,
    rollback_command,
    stop_line,
    verdict,
)

__all__ = [
    "Decision",
    "Ending",
    "Records",
    "RunFacts",
    "Undone",
    "Verdict",
    "approval_problem",
    "attempt",
    "changed_since",
    "check_may_apply",
    "confirmed_plan",
    "confirmed_stages",
    "decide",
    "failed_checks",
    "failure",
    "has_passed",
    "is_final",
    "last_of_slot",
    "left_behind",
    "plan_text",
    "plans_hash",
    "results_json",
    "rollback_command",
    "rollback_verdict",
    "stage_in",
    "standing_gate",
    "stop_line",
    "undecided",
    "verdict",
    "waits_for_people",
]
