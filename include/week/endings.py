"""How the days ended, whether the next may begin, and the week's verdict. Pure decisions."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from include.rollout.decisions import Ending, Verdict, rollback_command, trigger_command
from include.week.days import WEEK, Day
from include.week.settings import CONTINUE

# Nothing of the day stands, so that the next day finds what it would have found without it.
_LEFT_NOTHING = frozenset({Ending.ROLLED_BACK, Ending.REJECTED, Ending.REFUSED})
_DONE = frozenset({Ending.PROMOTED, Ending.NOTHING_TO_DO, Ending.EXPORTED})


@dataclass(frozen=True)
class DayEnd:
    """How a day's run ended. ``stands``: the places by lever where its change is; ``seconds`` None when not known."""

    day: int
    dag: str
    run_id: str
    verdict: Ending
    green: bool
    message: str
    left_behind: tuple[str, ...] = ()
    seconds: float | None = None
    stands: Mapping[str, Sequence[str]] = field(default_factory=dict)
    predicted: Mapping[str, str | None] = field(default_factory=dict)
    realised: Mapping[str, str | None] = field(default_factory=dict)

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> DayEnd:
        """The end that is on record."""
        names = ("day", "dag", "run_id", "green", "message", "seconds", "stands", "predicted", "realised")
        found = {name: raw[name] for name in names}
        return cls(verdict=Ending(raw["verdict"]), left_behind=tuple(raw["left_behind"]), **found)

    @property
    def title(self) -> str:
        """What a person calls it."""
        return f"day {self.day} ({self.dag})"


def may_begin(before: Sequence[DayEnd | None], on_rollback: str) -> str | None:
    """Why the next day may not begin, or None: every day before it is promoted, or may be passed over."""
    for end in before:
        if end is None:
            return "a day before it has not ended"
        if end.green:
            continue
        passable = end.verdict in _LEFT_NOTHING and not end.stands and not end.left_behind
        if on_rollback != CONTINUE or not passable:
            return f"{end.title} ended as {end.verdict.value}"
    return None


@dataclass(frozen=True)
class WeekFacts:
    """What the week's verdict is made from.

    ``before`` is the verdict of a run that began no day (a dry run, a rejection, a refusal); ``begun`` are the DAGs
    whose runs it has started; ``gate`` the outcome of the week-15 gate with its reasons, None when it was not judged;
    ``conf`` what the week was triggered with.
    """

    chosen: Sequence[Day]
    ends: Sequence[DayEnd | None]
    before: Verdict
    begun: Sequence[str] = ()
    gate: tuple[str, Sequence[str]] | None = None
    gate_wanted: bool = False
    conf: Mapping[str, Any] = field(default_factory=dict)

    @property
    def ended(self) -> list[DayEnd]:
        """The days that have ended."""
        return [end for end in self.ends if end is not None]

    @property
    def open(self) -> list[Day]:
        """The days that have not ended."""
        return [day for day, end in zip(self.chosen, self.ends, strict=True) if end is None]

    @property
    def wrong(self) -> DayEnd | None:
        """The first day that is not green."""
        return next((end for end in self.ended if not end.green), None)


def week_verdict(facts: WeekFacts) -> Verdict:
    """What each day did, what stands, and the next command. Green only when every chosen day was promoted.

    And when the week-15 gate, where it was asked for, passed.
    """
    if not facts.begun:
        return facts.before
    gate = _gate_problem(facts) if not facts.wrong and not facts.open else None
    green = not facts.wrong and not facts.open and not gate
    lines = [_day_line(end) for end in facts.ended] + [_open_line(day, facts) for day in facts.open]
    lines += [gate] if gate else _gate_passed(facts)
    lines += _stands_lines(facts.ended)
    lines += [] if green else _next_lines(facts, gate)
    left = tuple(f"{end.dag}: {line}" for end in facts.ended for line in end.left_behind)
    return Verdict(_name(facts, gate), green, "\n".join(lines), left)


def _name(facts: WeekFacts, gate_problem: str | None) -> Ending:
    """The verdict of the first day that is not green; one that was promoted and is red all the same is unfinished."""
    if facts.wrong:
        return Ending.UNFINISHED if facts.wrong.verdict in _DONE else facts.wrong.verdict
    if gate_problem and (facts.gate is None or facts.gate[0] == "unknown"):
        return Ending.UNKNOWN
    return Ending.UNFINISHED if facts.open or gate_problem else Ending.PROMOTED


def _open_line(day: Day, facts: WeekFacts) -> str:
    return f"{_title(day)}: {'begun, and its end is not known' if day.dag in facts.begun else 'not begun'}"


def _title(day: Day) -> str:
    return f"day {day.number} ({day.dag})"


def _day_line(end: DayEnd) -> str:
    """The first line of a day's own message says why; the rest is in its run."""
    why = "" if end.green else f": {end.message.splitlines()[0] if end.message else 'no reason on record'}"
    took = "" if end.seconds is None else f" in {end.seconds:.0f} s"
    return f"{end.title}: {end.verdict.value}{took}{why}"


def _stands_lines(ends: Sequence[DayEnd]) -> list[str]:
    standing = [end for end in ends if end.stands]
    if not standing:
        return ["Nothing of this week stands."]
    titles = list(dict.fromkeys(end.day for end in standing))
    what = (f"{lever} in {', '.join(places)}" for end in standing for lever, places in end.stands.items())
    word = "Day" if len(titles) == 1 else "Days"
    verb = "stands" if len(titles) == 1 else "stand"
    return [f"{word} {_and(titles)} {verb}: {'; '.join(what)}."]


def _and(numbers: Sequence[int]) -> str:
    *most, end = [str(number) for number in numbers]
    return f"{', '.join(most)} and {end}" if most else end


def _next_lines(facts: WeekFacts, gate_problem: str | None) -> list[str]:
    if gate_problem:
        return ["Next: bring the data or remove the reason, then clear the task week15.judge_week15 with what follows."]
    wrong, lines = facts.wrong, []
    if wrong and wrong.verdict not in _LEFT_NOTHING:
        lines.append(f"Next for {wrong.title}: its own verdict says what to do (run {wrong.run_id}).")
    first = wrong.day if wrong else facts.open[0].number
    lines.append(f"Next: remove the reason and go on: {week_command(first, facts.conf)}")
    undo = [rollback_command(lever, places) for end in facts.ended for lever, places in end.stands.items()]
    return lines + ([f"Or undo what stands, the newest first: {'; '.join(reversed(undo))}"] if undo else [])


def week_command(first_day: int, conf: Mapping[str, Any]) -> str:
    """The command that goes on with a week from a day."""
    given = {**conf, "first_day": first_day, "dry_run": False}
    return trigger_command(WEEK, json.dumps(given, sort_keys=True))


def _gate_problem(facts: WeekFacts) -> str | None:
    if not facts.gate_wanted:
        return None
    if facts.gate is None:
        return "week-15 gate: unknown: it was not judged; read the log of week15.judge_week15"
    outcome, reasons = facts.gate
    return None if outcome == "pass" else f"week-15 gate: {outcome}: {'; '.join(reasons)}"


def _gate_passed(facts: WeekFacts) -> list[str]:
    return [f"week-15 gate: pass: {'; '.join(facts.gate[1])}"] if facts.gate else []
