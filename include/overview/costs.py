"""The published cost reports: one line a day, and the whole report of any of them. A revision is read once."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cached_property
from types import SimpleNamespace
from typing import Any, cast

from include.clients.storage import Storage
from include.cost.report.page import document
from include.cost.report.result import TOTAL, Report, Row
from include.cost.report.revisions import folder, key_of, pointer
from include.cost.sources.requests import Requests
from include.cost.table.columns import CostError
from include.cost.targets import Goal
from include.pages.chart import Chart, Limit, column_chart
from include.pages.document import Document
from include.pages.texts import words
from include.rollout.ledger.listing import read_each

Json = Any
SHOWN_DAYS = 90
REPORTS = "reports/day="
_OF_ANOTHER_SHAPE = (CostError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError)


@dataclass(frozen=True)
class CostDay:
    """A day's report as kept: ``raw`` is its report.json, ``key`` the folder of the revision that counts."""

    day: dt.date
    key: str
    revisions: int
    raw: Mapping[str, Json]

    def figure(self, section: str, key: str, metric: str) -> Decimal | None:
        """A figure of the report; None when it is unknown or there is none."""
        value = self._index.get((section, key, metric))
        return None if value is None else Decimal(value)

    @property
    def total(self) -> Decimal | None:
        """The day's cost in USD; None while a component is unknown."""
        return self.figure(TOTAL, "", "usd")

    @property
    def target(self) -> Decimal | None:
        """The day's target in USD."""
        return self.figure(TOTAL, "", "target_usd")

    @property
    def status(self) -> str:
        """provisional, settled or final."""
        return str(self.raw.get("status", ""))

    @property
    def verdict(self) -> str:
        """pass, fail or unknown against the day's target."""
        found = [f["status"] for f in self.raw["figures"] if (f["section"], f["metric"]) == (TOTAL, "over_target_usd")]
        return str(found[0]) if found else "unknown"

    @cached_property
    def components(self) -> dict[str, Decimal | None]:
        """Component -> USD of the day."""
        rows = (f for f in self.raw["figures"] if (f["section"], f["metric"]) == ("component", "usd"))
        return {row["key"]: None if row["value"] is None else Decimal(row["value"]) for row in rows}

    @cached_property
    def _index(self) -> dict[tuple[str, str, str], str | None]:
        return {(f["section"], f["key"], f["metric"]): f["value"] for f in self.raw["figures"]}


@dataclass(frozen=True)
class Costs:
    """The newest days with a report, by time; ``bad`` says by day what can't be read."""

    days: tuple[CostDay, ...] = ()
    every: tuple[dt.date, ...] = ()  # all days that have a report, also older ones
    bad: Mapping[str, str] = field(default_factory=dict)

    def on(self, day: dt.date) -> CostDay | None:
        """The report of a day among them."""
        return next((one for one in self.days if one.day == day), None)


@dataclass
class CostCopy:
    """The reports in memory; what a revision says never changes."""

    store: Storage
    _read: dict[str, Mapping[str, Json]] = field(default_factory=dict)

    def refresh(self, count: int = SHOWN_DAYS) -> Costs:
        """The newest ``count`` days. Raises what the store raises on its LIST."""
        names = {key.removeprefix(REPORTS).partition("/")[0] for key in self.store.keys(REPORTS)}
        every = sorted(day for name in names if (day := _day_of(name)) is not None)
        found = read_each(self.store, self.day, every[-count:])
        days = tuple(one for one in found if isinstance(one, CostDay))
        bad = {name: f"{REPORTS}{name} is no day: take it away" for name in sorted(names) if _day_of(name) is None}
        bad |= {str(day): one for day, one in zip(every[-count:], found, strict=True) if isinstance(one, str)}
        return Costs(days, tuple(every), bad)

    def day(self, day: dt.date) -> CostDay | str | None:
        """The report of a day, what is wrong with it, or None where there is none."""
        try:
            current = pointer(self.store, day)
            if current.current is None:
                return None
            key = key_of(day, current.current)
            if key not in self._read:
                raw = json.loads(self.store.read(f"{key}/report.json"))
                _demand_report(CostDay(day, key, len(current.revisions), raw))
                self._read[key] = raw
        except FileNotFoundError as error:
            return f"{error.args[-1] if error.args else error} is missing: run cost_report for {day} again"
        except _OF_ANOTHER_SHAPE as error:
            return f"{folder(day)} can't be read ({error!r}): run cost_report for {day} again"
        return CostDay(day, key, len(current.revisions), self._read[key])


def _day_of(name: str) -> dt.date | None:
    """The day that a folder of reports is named after."""
    try:
        return dt.date.fromisoformat(name)
    except ValueError:
        return None


def _demand_report(one: CostDay) -> None:
    """Look at all that the pages show of a report, so that one of another shape spoils its own day alone."""
    report_of(one, Costs())
    dict(one.raw["targets"])
    str(one.verdict)


# --- Pictures ---------------------------------------------------------------------------------------------------------


def cost_chart(costs: Costs) -> Chart | None:
    """What each component cost on every day, stacked, against the newest target; None without a day."""
    if not costs.days:
        return None
    names = _by_size(costs.days)
    stacks = {words(name): [float(day.components.get(name) or 0) for day in costs.days] for name in names}
    target = next((day.target for day in reversed(costs.days) if day.target is not None), None)
    first, newest = costs.days[0].day, costs.days[-1].day
    return column_chart(
        "Cost by day",
        [f"{one.day.day} {one.day:%b}" for one in costs.days],
        stacks,
        "USD a day",
        limit=None if target is None else Limit("target", float(target)),
        unknown=[n for n, one in enumerate(costs.days) if one.total is None],
        rest="unallocated",
        description=f"What each component cost on {len(costs.days)} days, {first} to {newest}, stacked.",
    )


def _by_size(days: Sequence[CostDay]) -> list[str]:
    sizes: dict[str, Decimal] = {}
    for day in days:
        for name, usd in day.components.items():
            sizes[name] = sizes.get(name, Decimal(0)) + abs(usd or Decimal(0))
    return sorted((name for name in sizes if sizes[name]), key=lambda name: (name == "unallocated", -sizes[name], name))


# --- The report of a day ----------------------------------------------------------------------------------------------


def day_document(one: CostDay, costs: Costs) -> Document:
    """The day's report as the report itself is drawn; its pictures look back on the other days that are kept."""
    return document(report_of(one, costs))


def report_of(one: CostDay, costs: Costs) -> Report:
    """The report that report.json was made of; targets keep their book, and what a partition was read from is lost."""
    raw = one.raw
    rows = tuple(
        Row(f["section"], f["key"], f["metric"], None if f["value"] is None else Decimal(f["value"]), f["unit"],
            f["status"], tuple(f["sources"]))
        for f in raw["figures"]
    )  # fmt: skip
    inputs = [SimpleNamespace(**part | {"billed_usd": Decimal(part["billed_usd"])}) for part in raw["inputs"]]
    requests = raw["requests"]
    return Report(
        day=one.day,
        as_of=None,
        status=raw["status"],
        since=dt.datetime.fromisoformat(raw["since"]) if raw["since"] else None,
        rows=rows,
        unknown=raw["unknown"],
        inputs=cast("Any", tuple(inputs)),
        requests=Requests.from_json(json.dumps(requests).encode()) if requests else None,
        goals={name: Goal(goal["book"], None, None, goal["derived"]) for name, goal in raw["targets"].items()},
        history=_history(one, costs),
    )


def _history(one: CostDay, costs: Costs) -> dict[str, dict[dt.date, Decimal | None]]:
    before = [day for day in costs.days if day.day < one.day] + [one]
    names = {name for day in before for name in day.components}
    history: dict[str, dict[dt.date, Decimal | None]] = {
        name: {day.day: day.components.get(name) for day in before} for name in sorted(names)
    }
    return history | {TOTAL: {day.day: day.total for day in before}}
