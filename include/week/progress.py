"""One day after the other: whether its turn has come, its run on record before it starts, and how it ended."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from include.rollout.decisions import Ending
from include.rollout.ledger import WHOLE_RUN, Record, Step, last
from include.rollout.lever import Plan
from include.rollout.steps import NotWanted
from include.week.coverage import change
from include.week.days import Day
from include.week.endings import DayEnd, may_begin
from include.week.planning import refuse_without_plan
from include.week.run import Week

_DONE = frozenset({Ending.PROMOTED, Ending.NOTHING_TO_DO, Ending.EXPORTED})


def begin_day(week: Week, day: Day) -> dict[str, Any]:
    """Put on record that the day's run is about to start; what its DAG is triggered with.

    Raises NotWanted when the day is not chosen, it is a dry run, or a day before it stopped the week; Refused without
    the week's approval where that is for all days.
    """
    if day not in week.chosen:
        raise NotWanted(f"day {day.number} ({day.dag}) is not chosen")
    if week.settings.dry_run:
        raise NotWanted("a dry run carries out no day")
    before = week.chosen[: week.chosen.index(day)]
    if reason := may_begin([day_end(week, one) for one in before], week.settings.on_rollback):
        raise NotWanted(f"{day.dag} is not begun: {reason}")
    refuse_without_plan(week)
    week.record(WHOLE_RUN, Step.BEGUN, {"day": day.number, "dag": day.dag, "run_id": week.child_run_id})
    return week.conf(day)


def has_begun(week: Week, day: Day) -> bool:
    """Whether this run of the week has begun the day, whatever the state of a task."""
    return week.figures_of(Step.BEGUN, day) is not None


def demand_begun(week: Week, day: Day) -> None:
    """Raise NotWanted unless this run of the week has begun the day."""
    if not has_begun(week, day):
        raise NotWanted(f"{day.dag} was not begun")


def end_day(week: Week, day: Day, state: str) -> DayEnd:
    """Put on record how a day's run ended: verdict, seconds and dollars from its own chains; ``state`` is Airflow's."""
    own = week.whole.ledger.records(day.chain(week.child_run_id))
    figures = {"day": day.number, "dag": day.dag, "run_id": week.child_run_id, "state": state}
    figures |= _verdict(day, last(own, Step.VERDICT), state)
    figures |= {"seconds": _seconds(own), "stands": _standing(week, day), **_dollars(week, day)}
    week.record(WHOLE_RUN, Step.ENDED, figures)
    return DayEnd.from_json(figures)


def _verdict(day: Day, found: Record | None, state: str) -> dict[str, Any]:
    """The verdict that the day's run left. One that was promoted may be red all the same, as day 5's validation is."""
    if found is None:
        return _without_verdict(day, state)
    name, message = found.figures["verdict"], found.figures["message"]
    done = name in _DONE
    if done and state != "success":
        message = f"a task after the promotion failed, see the log of {day.dag}\n{message}"
    left = found.figures["left_behind"]
    return {"verdict": name, "green": done and state == "success", "message": message, "left_behind": left}


def _without_verdict(day: Day, state: str) -> dict[str, Any]:
    message = f"the run ended as {state} and left no verdict in the ledger; read the log of {day.dag}"
    return {"verdict": Ending.UNFINISHED.value, "green": False, "message": message, "left_behind": []}


def _seconds(own: Sequence[Record]) -> float | None:
    """From the first record of a run to its last verdict."""
    verdict = last(own, Step.VERDICT)
    if verdict is None:
        return None
    begun, ended = (dt.datetime.fromisoformat(record.time) for record in (own[0], verdict))
    return round((ended - begun).total_seconds(), 1)


def _standing(week: Week, day: Day) -> dict[str, list[str]]:
    """Where the changes of a day's run stand, by lever."""
    places = {run.lever.name: run.ledger.touched(run.chain(), run.places) for run in week.runs(day)}
    return {lever: found for lever, found in places.items() if found}


def _dollars(week: Week, day: Day) -> dict[str, Any]:
    """The predicted and the realised change of the monthly cost by lever, as text; None where nobody knows."""
    predicted, realised = {}, {}
    for run in week.runs(day):
        plan = last(run.records(WHOLE_RUN), Step.PLAN)
        plans = [Plan.from_json(raw) for raw in plan.figures["plans"].values()] if plan else []
        predicted[run.lever.name] = _text(change(plans) if plans else None)
        changes = [_realised(run.records(place)) for place in run.places]
        known = [found for found in changes if found is not None]
        realised[run.lever.name] = _text(sum(known, Decimal(0)) if len(known) == len(changes) and known else None)
    return {"predicted": predicted, "realised": realised}


def _realised(records: Sequence[Record]) -> Decimal | None:
    """What the live world of a place costs after the promotion less what it cost at the snapshot."""
    before, after = last(records, Step.SNAPSHOT), last(records, Step.PROMOTED)
    if before is None or after is None:
        return None
    pair = [_usd_month(figures) for figures in (before.figures["before"], after.figures["after"])]
    return None if pair[0] is None or pair[1] is None else pair[1] - pair[0]


def _usd_month(evidence: Mapping[str, Any]) -> Decimal | None:
    from include.prices import usd_month

    if evidence.get("usd_month") is not None:
        return Decimal(str(evidence["usd_month"]))
    if evidence.get("usd_hour") is not None:
        return usd_month(Decimal(str(evidence["usd_hour"])))
    return None


def _text(usd: Decimal | None) -> str | None:
    return None if usd is None else str(usd)


def day_end(week: Week, day: Day) -> DayEnd | None:
    """How a day of this run ended; None when it has not, or when it was begun again since."""
    ours = [r for r in week.records if r.step in {Step.BEGUN, Step.ENDED} and r.figures["dag"] == day.dag]
    if not ours or ours[-1].step == Step.BEGUN:
        return None
    return DayEnd.from_json(ours[-1].figures)
