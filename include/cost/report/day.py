"""What a day's report knows: each component's cost on the days that it looks at, and why one is unknown."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Sequence
from decimal import ROUND_HALF_EVEN, Decimal

from include.cost.report.figures import Figures
from include.cost.report.result import Row
from include.cost.sources.requests import Requests
from include.cost.table.bill import AWS
from include.cost.table.columns import CostError
from include.cost.table.component_cost import bill_reading, sources_of
from include.cost.table.components import UNALLOCATED
from include.cost.table.days import day_window, days_shown
from include.cost.table.reading import CostInputs, Lack, Reading
from include.cost.table.settling import PROVISIONAL, settling_of
from include.cost.table.store import CostTable, Facts
from include.cost.targets import UNKNOWN, Goal, goal_of
from include.estate import Estate
from include.prices import AwsBook, PriceBookError, load_aws_book

PLACES = Decimal(1).scaleb(-12)


class ReportDay:
    """The state that the sections of one report share."""

    def __init__(
        self,
        table: CostTable,
        day: dt.date,
        estate: Estate,
        requests: Requests | None,
        as_of: dt.datetime | None,
        figures: Figures,
    ) -> None:
        self.day, self.estate, self.requests, self.figures = day, estate, requests, figures
        self._table, book = table, load_aws_book(estate)
        self.facts = {source: facts for (source, at), facts in figures.bill.facts.items() if at == day}
        self.facts |= figures.allocated
        self.as_of = _as_of(self.facts.values(), as_of, day)
        received = table.history(AWS, day) if AWS in self.facts else []
        self._history = [one for one in received if self.as_of is None or one.received <= self.as_of]
        self.status = PROVISIONAL
        if AWS in self.facts:
            self.status = settling_of(self.facts[AWS], self._history, estate.cost.settle_hours)
        self.sums = figures.by_component()
        self.begun_before = figures.begun_before(day)
        self.goals = {name: _goal(name, estate, book) for name in estate.cost.components}
        self.names = [*estate.cost.components, UNALLOCATED]
        self._read(book)

    def _read(self, book: AwsBook) -> None:
        days = days_shown(self.day)
        inputs = CostInputs(
            estate=self.estate,
            book=book,
            window=day_window(self.day),
            regions=tuple(self.estate.regions),
            bill=self.figures.bill,
            history=self._received,
            table_only=True,
        )
        readings = {name: {at: bill_reading(name, inputs, day_window(at)) for at in days} for name in self.names}
        self.readings = {name: of_days[self.day] for name, of_days in readings.items()}
        reasons = {name: why_unknown(reading) for name, reading in self.readings.items()}
        self.unknown = {name: reason for name, reason in reasons.items() if reason}
        self.costs = {name: {at: one.whole for at, one in of_days.items()} for name, of_days in readings.items()}
        self.totals = {at: sum_all(self.costs[name][at] for name in self.names) for at in days}

    def _received(self, source: str, day: dt.date) -> Sequence[Facts]:
        return self._history if (source, day) == (AWS, self.day) else self._table.history(source, day)

    def sources(self, name: str) -> tuple[str, ...]:
        """The sources that a component's figures come from."""
        return sources_of(name, self.estate)

    @property
    def since(self) -> dt.datetime | None:
        """When the newest figures first stood as they are: a later export with equal rows adds nothing."""
        found = []
        for source, facts in self.facts.items():
            received = facts.received
            for one in reversed(self._history if source == AWS else []):
                if one.content != facts.content:
                    break
                received = min(received, one.received)
            found.append(received)
        return max(found, default=None)

    def row(
        self,
        section: str,
        key: str,
        metric: str,
        value: Decimal | int | None,
        unit: str = "USD",
        status: str = "",
        sources: Iterable[str] | None = None,
    ) -> Row:
        """A figure of the report; ``sources`` defaults to all of the day, ``status`` to the bill's."""
        used = [name for source in sorted(self.facts if sources is None else sources) for name in self._used(source)]
        number = None if value is None else Decimal(value).quantize(PLACES, ROUND_HALF_EVEN)
        status = status or (UNKNOWN if number is None else self.status)
        return Row(section, key, metric, number, unit, status, tuple(used))

    def _used(self, source: str) -> Iterator[str]:
        """The source's partitions behind a figure: those whose charges last into the day, and the day's own."""
        if source in self.figures.allocated:
            yield _partition(self.figures.allocated[source])
        for at in (*self.begun_before.get(source, ()), self.day):
            if facts := self.figures.bill.facts.get((source, at)):
                yield _partition(facts)


def _partition(facts: Facts) -> str:
    return f"{facts.source}/{facts.day}#{facts.content[:12]}"


def why_unknown(reading: Reading) -> str:
    """Why the table doesn't tell all of the component's cost of the reading's day; empty when it does."""
    day, (source, detail) = reading.window.start.date(), reading.lacking
    if reading.lack is Lack.NO_DATA:
        return f"source {source} has no data for {day}"
    if reading.lack is Lack.SET_ASIDE:
        return f"rows of source {source} can't count for it on {day}: {detail}"
    if reading.lack is Lack.HOURS:
        return f"source {source} misses hour(s) {detail} of {day} (UTC)"
    return f"source {source} has no row for it on {day}" if reading.lack is Lack.NO_ROW else ""


def _as_of(facts: Iterable[Facts], as_of: dt.datetime | None, day: dt.date) -> dt.datetime | None:
    newest = max((one.received for one in facts), default=None)
    if as_of is None or newest is None:
        return as_of or newest
    if as_of < newest:
        raise CostError(
            f"as_of {as_of.isoformat()} is before what the table holds of {day} (received {newest.isoformat()}), and "
            "older rows are not kept: leave as_of out, or read the older revision of the report"
        )
    return as_of


def _goal(name: str, estate: Estate, book: AwsBook) -> Goal:
    try:
        return goal_of(name, estate, book, list(estate.regions))
    except PriceBookError as error:
        raise CostError(f"cost.components.{name}: {error}") from error


def sum_all(values: Iterable[Decimal | None]) -> Decimal | None:
    """The sum; None when one of them is unknown."""
    found = list(values)
    return None if None in found else sum_known(found)


def sum_known(values: Iterable[Decimal | None]) -> Decimal:
    """The sum of those that are known."""
    return sum((value for value in values if value is not None), Decimal(0))
