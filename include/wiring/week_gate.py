"""The week-15 gate as tasks: a window that is waited for in the triggerer, then judged."""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from airflow.providers.standard.sensors.date_time import DateTimeSensorAsync
from airflow.sdk import TaskGroup, TriggerRule, get_current_context
from airflow.sdk.exceptions import AirflowFailException

from include.rollout import decisions
from include.rollout.gates import MINIMUM_COVERAGE, Figure, Outcome
from include.rollout.ledger import WHOLE_RUN, Step, without_secrets
from include.rollout.lever import Target
from include.rollout.place import Place
from include.rollout.steps import NotWanted
from include.week import week15
from include.week.progress import day_end
from include.week.run import Week
from include.wiring.tasks import step_task

if TYPE_CHECKING:
    from include.levers.world import World

log = logging.getLogger(__name__)
GROUP = "week15"
Measure = Callable[[Week, dt.datetime, dt.datetime], Figure | None]


class Weeks(Protocol):
    """Whose tasks belong to a week."""

    def run(self) -> Week:
        """The week that the current task belongs to."""


def wire_gate(engine: Weeks, ended: Any, measures: Mapping[str, Measure]) -> Any:
    """Wire the gate behind the last day. Returns its last task."""
    with TaskGroup(GROUP, tooltip="A window under the limits before the week counts"):
        opened = step_task(engine, open_window, trigger_rule=TriggerRule.ALL_DONE)
        end = f"{{{{ ti.xcom_pull(task_ids='{opened.operator.task_id}')['end'] }}}}"
        wait = DateTimeSensorAsync(
            task_id="await_window", target_time=end, end_from_trigger=True, execution_timeout=None
        )
        judged = step_task(engine, judge_week15, opened.operator.task_id, measures)
    ended >> opened >> wait >> judged
    return judged


def open_window(run: Week) -> dict[str, str]:
    """Begin the window, with every chosen day promoted. Skipped where the form does not ask for the gate."""
    if not run.settings.week15_gate or run.settings.dry_run:
        raise NotWanted("the form does not ask for the week-15 gate")
    ends = [day_end(run, day) for day in run.chosen]
    if not all(end is not None and end.green for end in ends):
        raise NotWanted("not every day was promoted: there is nothing to watch")
    start = run.whole.clock()
    end = start + dt.timedelta(seconds=run.settings.week15_window_seconds)
    return {"start": start.isoformat(), "end": end.isoformat()}


def judge_week15(run: Week, opened: str, measures: Mapping[str, Measure]) -> dict[str, Any]:
    """Judge cost, P95, incidents and availability over the window; fails unless all pass. Unknown is no pass."""
    window = get_current_context()["ti"].xcom_pull(task_ids=opened)
    start, end = (dt.datetime.fromisoformat(window[edge]) for edge in ("start", "end"))
    targets = run.estate.targets
    limits = week15.gates(targets.p95_ms, targets.availability)
    found = {name: _measured(name, measure, run, start, end) for name, measure in measures.items()}
    outcome, results = week15.judge(found, limits, MINIMUM_COVERAGE)
    rows = decisions.results_json(results)
    figures = {"start": start.isoformat(), "end": end.isoformat(), "outcome": outcome.value, "results": rows}
    run.record(WHOLE_RUN, Step.WATCHED, figures)
    reasons = [result.reason for result in results]
    if outcome is not Outcome.PASS:
        raise AirflowFailException(f"week-15 gate: {outcome.value}: {'; '.join(reasons)}")
    return {"outcome": outcome.value, "reasons": reasons}


def _measured(name: str, measure: Measure, run: Week, start: dt.datetime, end: dt.datetime) -> Figure | None:
    """The figure, or None where it can't be had: that is unknown, and never a pass."""
    try:
        return measure(run, start, end)
    except Exception as error:  # noqa: BLE001 - a source that is away is missing evidence
        log.warning("week-15 gate: no %s: %s", name, without_secrets(f"{type(error).__name__}: {error}"))
        return None


def _cost(run: Week, start: dt.datetime, end: dt.datetime) -> Figure | None:
    """The pace of the window in the plan's book, from a validation that is kept like every other."""
    import json

    from include.cost.table.days import Window
    from include.cost.tasks import COSTS_VARIABLE
    from include.cost.validation.tasks import run as validate
    from include.wiring.connections import storage_at

    storage = storage_at(COSTS_VARIABLE)
    whole_seconds = Window(start.replace(microsecond=0), end.replace(microsecond=0))
    kept = validate(whole_seconds, list(run.settings.regions), run.estate, storage)
    lines = json.loads(storage.read(kept["key"]))["lines"]
    return week15.cost_figure(week15.plan_pace(lines), week15.least_coverage(lines), kept["key"])


def _p95(run: Week, start: dt.datetime, end: dt.datetime) -> Figure | None:
    """The worst P95 of a protocol in a region."""
    from include.levers import service

    found = {}
    for region, world in _worlds(run, end).items():
        for gate in service.latency_gates(run.estate):
            found[f"{region} {gate.gate.name}"] = gate.measure(world, (end - start).total_seconds())
    return week15.worst(found, highest=True)


def _availability(run: Week, start: dt.datetime, end: dt.datetime) -> Figure | None:
    """The lowest availability of a region."""
    from include.levers import service

    seconds = (end - start).total_seconds()
    found = {region: service.judged_availability(world, seconds) for region, world in _worlds(run, end).items()}
    return week15.worst(found, highest=False)


def _worlds(run: Week, end: dt.datetime) -> dict[str, World]:
    """Each region as the service's measures see it at the window's end."""
    from include.levers.world import World

    places = [Place.named(region) for region in run.settings.regions]
    targets = [Target(place, run.estate, run.whole.run_id, None, run.whole.clients(place)) for place in places]
    return {target.place.name: World(target, now=end.timestamp) for target in targets}


def _incidents(run: Week, start: dt.datetime, end: dt.datetime) -> Figure:
    """What had to be undone in the window, by the ledger."""
    undone = [r for r in run.whole.ledger.undone_since(start) if dt.datetime.fromisoformat(r.time) <= end]
    return week15.incident_figure([f"{r.lever} in {r.place} undone by {r.dag_id}/{r.run_id}" for r in undone])


MEASURES: Mapping[str, Measure] = {
    week15.COST: _cost,
    week15.P95: _p95,
    week15.INCIDENTS: _incidents,
    week15.AVAILABILITY: _availability,
}
