"""Deadlines of the rollouts: Airflow says when one is missed, people are told once, and the run goes on."""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Mapping
from typing import Any

from airflow.sdk import AsyncCallback, DeadlineAlert, DeadlineReference  # type: ignore[attr-defined]

from include.estate import Estate
from include.notices import deadline_missed
from include.rollout.ledger import WHOLE_RUN, Chain, Step
from include.wiring.clients import open_ledger, run_ended
from include.wiring.notify import notify_of

log = logging.getLogger(__name__)
# In the plugins folder, which every Airflow process has on its path; it runs in the triggerer.
CALLBACK = "deadline_callbacks.tell_of_missed_deadline"
RECORDED_AS = "deadlines"  # the chain's name in the ledger: it belongs to no lever


def deadline_of(estate: Estate | None) -> DeadlineAlert | None:
    """The alert of a rollout's DAG, from the moment that a run is queued; none while the estate can't be read."""
    if estate is None:
        return None
    interval = dt.timedelta(seconds=estate.windows.rollout_deadline_seconds)
    return DeadlineAlert(
        reference=DeadlineReference.DAGRUN_QUEUED_AT, interval=interval, callback=AsyncCallback(CALLBACK)
    )


def tell_missed(context: Mapping[str, Any]) -> bool:
    """Tell of a run that is late, unless it has ended or somebody was told of it. Whether it told.

    ``context`` is the callback's: ``dag_run`` (as the REST API has it) and ``deadline``.
    """
    run = context["dag_run"]
    dag_id, run_id = run["dag_id"], run.get("dag_run_id") or run["run_id"]
    ended = run_ended(f"{dag_id}/{run_id}")
    if ended:
        log.info("%s/%s was late and has ended", dag_id, run_id)
        return False
    due = str(context.get("deadline", {}).get("deadline_time", "a time that Airflow did not say"))
    ledger, chain = open_ledger(), Chain(RECORDED_AS, WHOLE_RUN, dag_id, run_id)
    if ledger.records(chain):
        return False  # the callback may be called twice
    ledger.append_once(chain, Step.OVERDUE, {"due": due})
    state = "still going" if ended is False else "perhaps still going: Airflow's API gave no answer"
    notify_of(deadline_missed(dag_id, run_id, due, state), context)
    return True
