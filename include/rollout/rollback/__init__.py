"""The steps of the rollback DAG: they know the ledger and the live world only, and need no rollout DAG.

What to undo comes from the ledger, also where a region has left the estate or the estate can't be read: then the slice
of the estate in the snapshot stands in. What can't be undone at all is named in the plan and makes the verdict red.
"""

from include.rollout.rollback.describing import describe
from include.rollout.rollback.ending import conclude
from include.rollout.rollback.estates import estate_on_record
from include.rollout.rollback.finding import choose, find_changes
from include.rollout.rollback.locking import release_locks, take_locks
from include.rollout.rollback.run import Found, RollbackRun, Undoing, anything_to_do, found, list_places, records_of
from include.rollout.rollback.undoing import undo_changes, verify_restored

__all__ = [
    "Found",
    "RollbackRun",
    "Undoing",
    "anything_to_do",
    "choose",
    "conclude",
    "describe",
    "estate_on_record",
    "find_changes",
    "found",
    "list_places",
    "records_of",
    "release_locks",
    "take_locks",
    "undo_changes",
    "verify_restored",
]
