"""What all DAGs have in common: default arguments, tags and the headings of their documentation. Imports no Airflow."""

from __future__ import annotations

import datetime as dt
import enum
import logging
from collections.abc import Mapping
from typing import Any

DOC_HEADINGS = ("What it does", "When it runs", "How to re-run", "How to undo", "Races", "Owner")
OWNER = "platform"


class Tag(enum.StrEnum):
    """Tags of the DAGs; every DAG carries one of the families rollout, recurring or operations."""

    ROLLOUT = "rollout"
    RECURRING = "recurring"
    OPERATIONS = "operations"
    SPOT = "spot"
    COST = "cost"
    FORECAST = "forecast"
    EDGE = "edge"


def log_failure(context: Mapping[str, Any]) -> None:
    """Name the failed task and where to look next; the run's verdict says what was left behind."""
    instance = context["task_instance"]
    logging.getLogger(__name__).error(
        "%s failed in %s/%s; its own message and, in a rollout, the task 'verdict' say what was left behind",
        instance.task_id,
        instance.dag_id,
        instance.run_id,
    )


DAG_DEFAULT_ARGS: dict[str, Any] = {
    "owner": OWNER,
    # Two quick retries carry a task over a killed process or a restarting API server.
    "retries": 2,
    "retry_delay": dt.timedelta(seconds=5),
    "execution_timeout": dt.timedelta(hours=1),
    "on_failure_callback": log_failure,
}
# Steps that undo: quick retries first, and together at least 15 minutes, so that neither a restarting API server nor a
# throttled account leaves a region half undone. The pauses are at least 5, 10, 20, 40, 80, 160, 240, 240 and 240 s.
UNDO_RETRY_ARGS: dict[str, Any] = {
    "retries": 9,
    "retry_delay": dt.timedelta(seconds=5),
    "retry_exponential_backoff": 2.0,
    "max_retry_delay": dt.timedelta(minutes=4),
}
