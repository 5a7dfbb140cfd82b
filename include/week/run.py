"""One run of the week: its chain in the ledger, its settings, and the runs of its days as they will be."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from include.estate import Estate
from include.rollout.ledger import WHOLE_RUN, Record
from include.rollout.lever import Json, Lever, NameOnly
from include.rollout.settings import build
from include.rollout.steps import Run
from include.week.days import WEEK, Day, child_run_id
from include.week.settings import WeekSettings


@dataclass(frozen=True)
class Week:
    """A run of the week. ``whole`` is on record as ``week14``; ``levers`` gives a lever by its name."""

    whole: Run
    days: tuple[Day, ...]
    levers: Callable[[str], Lever]

    @classmethod
    def of(cls, run: Run, days: Sequence[Day], levers: Callable[[str], Lever]) -> Week:
        """The week that ``run``, of any lever, carries out."""
        stand_in: Any = NameOnly(WEEK)
        return cls(replace(run, lever=stand_in), tuple(days), levers)

    @property
    def settings(self) -> WeekSettings:
        """What the form says. Raises Refused naming the field that is wrong."""
        return build(WeekSettings, self.whole.params, self.estate)

    @property
    def estate(self) -> Estate:
        """The estate."""
        return self.whole.estate

    @property
    def chosen(self) -> list[Day]:
        """The rollouts of this run, in order. Raises Refused naming what is wrong in the form."""
        return self.settings.chosen(self.days)

    @property
    def child_run_id(self) -> str:
        """The run id of every day."""
        return child_run_id(self.whole.run_id)

    @property
    def records(self) -> list[Record]:
        """The week's own records."""
        return self.whole.records(WHOLE_RUN)

    def record(self, place: str, step: str, figures: Mapping[str, Json], **links: str) -> Record:
        """Append a record to the week's chain."""
        return self.whole.record(place, step, figures, **links)

    def of_day(self, day: Day) -> list[Lever]:
        """The levers of a day."""
        return [self.levers(name) for name in day.levers]

    def conf(self, day: Day) -> dict[str, Any]:
        """What the day's DAG is triggered with."""
        return self.settings.conf(day, self.of_day(day), self.estate)

    def values(self, day: Day) -> dict[str, Any]:
        """Every value of the day's form."""
        return self.settings.values(day, self.of_day(day), self.estate)

    def runs(self, day: Day) -> list[Run]:
        """The day's run as each of its levers will see it."""
        values = self.values(day)
        found = [
            replace(self.whole, lever=lever, params=values, dag_id=day.dag, run_id=self.child_run_id)
            for lever in self.of_day(day)
        ]
        for run in found:
            run.settings  # noqa: B018 - refuses a region that the estate doesn't have
        return found

    def figures_of(self, step: str, day: Day | None = None) -> Mapping[str, Json] | None:
        """The figures of the last record of a step, of a day if one is given; None when there is none."""
        found = (r.figures for r in reversed(self.records) if r.step == step)
        return next((f for f in found if day is None or f.get("dag") == day.dag), None)
