"""The end of a week: its verdict, put on record with the heads of the days' chains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from include.rollout import decisions, steps
from include.rollout.decisions import Verdict
from include.rollout.ledger import WHOLE_RUN, Step, last
from include.rollout.settings import build
from include.week.endings import WeekFacts, week_verdict
from include.week.progress import day_end, has_begun
from include.week.run import Week
from include.week.settings import WeekSettings

_PER_RUN = frozenset({"dry_run", "first_day"})  # what the command that goes on says itself


def conclude(week: Week, failed_tasks: Sequence[str]) -> Verdict:
    """How the week ended, on record. Raises Refused naming what is wrong in the form."""
    chosen = week.chosen
    begun = [day for day in chosen if has_begun(week, day)]
    facts = WeekFacts(
        chosen=chosen,
        ends=[day_end(week, day) for day in chosen],
        before=_before_the_first(week, failed_tasks),
        begun=[day.dag for day in begun],
        gate=_gate(week),
        gate_wanted=week.settings.week15_gate,
        conf=_conf(week),
    )
    verdict = week_verdict(facts)
    steps.record_verdict(week.whole, verdict, [day.chain(week.child_run_id) for day in begun])
    return verdict


def _before_the_first(week: Week, failed: Sequence[str]) -> Verdict:
    """A dry run, a rejection or a refusal, from the week's own chain."""
    answer = last(week.records, Step.ANSWER)
    given = None if answer is None else answer.figures
    by_place = {WHOLE_RUN: week.records}
    facts = decisions.RunFacts(week.whole.chain(), week.settings.dry_run, (), (), by_place, given, failed)
    return decisions.verdict(facts)


def _gate(week: Week) -> tuple[str, Sequence[str]] | None:
    found = week.figures_of(Step.WATCHED)
    return None if found is None else (found["outcome"], [result["reason"] for result in found["results"]])


def _conf(week: Week) -> Mapping[str, Any]:
    """What the run was triggered with, as far as it is not the form's default."""
    usual = build(WeekSettings, {"regions": week.estate.ordered_regions()}, week.estate).model_dump(mode="json")
    given = week.settings.model_dump(mode="json")
    return {name: value for name, value in given.items() if name not in _PER_RUN and value != usual[name]}
