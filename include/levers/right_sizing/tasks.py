"""Tasks of the DAG ``right_sizing_tune``: they read, propose, ask and keep; none of them changes a workload."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow.sdk import get_current_context, task
from airflow.sdk.exceptions import AirflowFailException

from include.cost.guard.tasks import cluster_of
from include.cost.tasks import COSTS_VARIABLE, prometheus_clients, window_end
from include.estate import Estate, load_estate
from include.levers.right_sizing.settings import TuneSettings
from include.wiring.connections import SettingMissingError, show_dry_run, storage_at
from include.wiring.parameters import settings_of_run
from include.wiring.tasks import await_approval

if TYPE_CHECKING:
    from include.levers.right_sizing.tune import Observed

log = logging.getLogger(__name__)
PROPOSE = "propose_bounds"
FOLDER = "right_sizing"  # of the records below the Variable ``akidb_costs``


@task(multiple_outputs=False)
def propose_bounds() -> dict[str, Any]:
    """Propose new bounds of every sized workload from its use, with dollars and risk; keeps the proposal.

    Too little data keeps a workload's bounds, with the reason. A region that can't be read fails the task.
    """
    from include.levers.right_sizing.tune import text_of, to_record

    settings, estate = settings_of_run(TuneSettings), load_estate()
    storage = storage_at(COSTS_VARIABLE, dry_run=settings.dry_run)
    end = window_end(get_current_context(), settings.end)
    record = to_record(_proposals(estate, settings, end.timestamp()), end.isoformat())
    text = text_of(record)
    storage.put(_key(record["hash"], "proposal"), json.dumps(record, sort_keys=True, indent=1).encode())
    log.info(text)
    return record | {"text": text, "dry_run": show_dry_run(storage)}


def _proposals(estate: Estate, settings: TuneSettings, now: float) -> list[Any]:
    from include.levers.right_sizing.observe import bounds_of
    from include.levers.right_sizing.tune import propose

    observed = [one for region in settings.regions for one in _region(estate, region, now, settings.days)]
    by_workload: dict[str, list[Observed]] = {}
    for one in observed:
        by_workload.setdefault(one.workload, []).append(one)
    most = estate.right_sizing.max_throttled
    return [propose(found, bounds_of(estate, workload), most) for workload, found in by_workload.items()]


def _region(estate: Estate, region: str, now: float, days: int) -> list[Observed]:
    from include.levers.right_sizing.observe import observe
    from include.prices import load_aws_book

    prometheus = prometheus_clients([region], estate)[region]
    try:
        if isinstance(prometheus, SettingMissingError):
            raise prometheus
        return observe(prometheus, cluster_of(region, estate), estate, region, load_aws_book(estate), now, days)
    except SettingMissingError as error:
        raise AirflowFailException(str(error)) from error


@task.short_circuit(ignore_downstream_trigger_rules=False)
def is_approval_wanted(found: dict[str, Any]) -> bool:
    """Whether there is a change to ask for; a dry run asks for nothing."""
    return not settings_of_run(TuneSettings).dry_run and any(one["changes"] for one in found["proposals"])


@dataclass(frozen=True)
class Asker:
    """Whom the proposal is shown to, and where the answer is kept."""

    estate: Estate

    def keep_answer(self, answer: Mapping[str, Any]) -> None:
        """Keep an answer beside the proposal that was shown."""
        storage_at(COSTS_VARIABLE).put(_key(answer["hash"], "answer"), json.dumps(dict(answer)).encode())


def ask(estate: Estate) -> Any:
    """The approval of the proposal; nobody's answer counts as Reject."""
    return await_approval(Asker(estate), PROPOSE)


@task
def keep_proposal(found: dict[str, Any]) -> str:
    """Keep the approved proposal, and say what its owner does with it. Fails without an answer of an approver."""
    from include.levers.right_sizing.tune import estate_part, next_steps
    from include.rollout.decisions import approval_problem

    storage, estate = storage_at(COSTS_VARIABLE), load_estate()
    try:
        answer = json.loads(storage.read(_key(found["hash"], "answer")))
    except FileNotFoundError:
        answer = None
    if problem := approval_problem(answer, [found["hash"]], estate.governance.approvers):
        raise AirflowFailException(f"{problem}. Nothing is kept without an approval of the proposal")
    steps = next_steps(found, list(settings_of_run(TuneSettings).regions))
    record = {name: found[name] for name in ("as_of", "hash", "proposals")}
    record |= {"approved_by": answer["user"], "bounds": estate_part(found), "next_steps": steps}
    key = _key(found["hash"], "approved")
    storage.put(key, json.dumps(record, sort_keys=True, indent=1).encode())
    log.info(steps)
    return f"{key}\n{steps}"


def _key(plan_hash: str, what: str) -> str:
    return f"{FOLDER}/{plan_hash}/{what}.json"
