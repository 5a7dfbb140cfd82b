"""Export files -> partitions of source ``aws``: read, check, set aside, allocate, order and write, day by day."""

from __future__ import annotations

import datetime as dt
import hashlib
import tempfile
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

from include.cost.components import UNALLOCATED, check_components, component_sql, matches_sql
from include.cost.exports import normalise, rules, write
from include.cost.exports.source import Source, SourceFile, guarded, open_source
from include.cost.exports.stage import Stage
from include.cost.focus import COLUMNS, LONGEST_DAY_HOURS, MOST_HOURS, CostError
from include.cost.sql import literal, quoted
from include.cost.store import Facts
from include.estate import Estate

SOURCE = "aws"
MEMORY_LIMIT = "1100MB"  # of DuckDB; with Python, Arrow and one chunk in flight the process stays below 2 GiB
THREADS = 2
_LENGTH = "ChargePeriodEnd - ChargePeriodStart"


@dataclass
class Collected:
    """What came of a batch of exports. Money in US dollars.

    ``paths`` and ``facts`` belong together, by day. ``set_aside`` counts rows by reason, ``aside_files`` holds them.
    ``refused`` names the files that could not be used at all, with the reason.
    """

    facts: list[Facts] = field(default_factory=list)
    paths: list[Path] = field(default_factory=list)
    components: dict[str, Decimal] = field(default_factory=dict)
    unallocated_usd: Decimal = Decimal(0)
    set_aside: dict[str, int] = field(default_factory=dict)
    aside_files: list[tuple[str, Path]] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """Rows that count."""
        return sum(facts.rows for facts in self.facts)

    @property
    def rows_set_aside(self) -> int:
        """Rows that don't."""
        return sum(self.set_aside.values())

    @property
    def billed_usd(self) -> Decimal:
        """The sum of BilledCost over the rows that count."""
        return sum((facts.billed_usd for facts in self.facts), Decimal(0))


def collect(
    export_files: Sequence[SourceFile],
    estate: Estate,
    days: Collection[dt.date] | None,
    folder: Path,
    standing: Collection[dt.date] = (),
) -> Collected:
    """Normalise ``export_files`` into one partition file a day in ``folder`` (which exists).

    ``days`` limits the work to these days. ``standing`` are days that the table holds already: where the files cover
    such a day (or one of ``days``) and have no row of it, its partition is written empty. A file that can't be read is
    named in ``refused`` and the others are used. Raises CostError when a row matches two components.
    """
    made = Collected()
    with _connection(folder) as (connection, scratch):
        sources = _open(connection, export_files, made)
        _rank_by_format(sources)
        expected = sum(source.rows for source in sources if source)
        stage = Stage(connection, scratch, expected, estate.cost.currency, days)
        _fill(stage, sources, made)
        rules.make_files(connection, sources)
        if not any(sources):
            return made
        run = _Run(connection, estate, sources, folder, made)
        run.look_around()
        for chunk in stage.chunks():
            run.handle(chunk)
        run.add_empty(days, standing)
    return made


@contextmanager
def _connection(folder: Path) -> Iterator[tuple[Any, Path]]:
    import duckdb

    with tempfile.TemporaryDirectory(dir=folder, prefix=".work-") as scratch, duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute(f"SET threads = {THREADS}")
        connection.execute(f"SET memory_limit = '{MEMORY_LIMIT}'")
        connection.execute(f"SET temp_directory = {literal(scratch)}")
        normalise.prepare(connection)
        yield connection, Path(scratch)


def _hourly_days(connection: Any, kept: str) -> set[dt.date]:
    """Days of which the bill tells hours apart: most of their hours have hourly usage, or most usage is hourly.

    One hourly row, such as a late correction, doesn't make an hourly bill of a daily one.
    """
    hourly, daily = f"{_LENGTH} <= INTERVAL 1 HOUR", f"{_LENGTH} > INTERVAL 1 HOUR"
    rows = connection.execute(
        f"SELECT day FROM {kept} WHERE ChargeCategory = 'Usage' AND {_LENGTH} > INTERVAL 0 HOUR "
        f"AND {_LENGTH} <= INTERVAL {LONGEST_DAY_HOURS} HOUR GROUP BY day "
        f"HAVING count(*) FILTER ({hourly}) > count(*) FILTER ({daily}) "
        f"OR count(DISTINCT date_part('hour', ChargePeriodStart)) FILTER ({hourly}) >= {MOST_HOURS}"
    ).fetchall()
    return {day for (day,) in rows}


def _open(connection: Any, files: Sequence[SourceFile], made: Collected) -> list[Source | None]:
    sources: list[Source | None] = []
    for file in files:
        try:
            sources.append(open_source(connection, file))
        except CostError as error:
            made.refused[file.key] = str(error)
            sources.append(None)
    return sources


def _rank_by_format(sources: list[Source | None]) -> None:
    """Files without a delivery (a person names them) have no order among formats: the one named first counts."""
    order = list(dict.fromkeys(source.format for source in sources if source))
    for number, source in enumerate(sources):
        if source and not source.file.delivery:
            ranked = replace(source.file, rank=source.file.rank + order.index(source.format))
            sources[number] = replace(source, file=ranked)


def _fill(stage: Stage, sources: list[Source | None], made: Collected) -> None:
    for number, source in enumerate(sources):
        if source is None:
            continue
        try:
            guarded(source.file, partial(stage.add, number, source))
        except CostError as error:
            made.refused[source.file.key] = str(error)
            sources[number] = None


class _Run:
    """The state that the chunks of one call share."""

    def __init__(
        self, connection: Any, estate: Estate, sources: Sequence[Source | None], folder: Path, made: Collected
    ) -> None:
        self._hourly_days: set[dt.date] = set()
        self._connection = connection
        self._estate = estate
        self._sources = [source for source in sources if source]
        self._numbers = {number: source.file for number, source in enumerate(sources) if source}
        self._numbered = [(source, number) for number, source in enumerate(sources) if source]
        self._folder = folder
        self._made = made
        self._bounds: tuple[dt.date, dt.date] | None = None  # first and last day of the files
        self._has_superseded = False
        self._aside_by_day: dict[dt.date | None, int] = defaultdict(int)
        self._refused_days: set[dt.date] = set()  # with rows that were refused for what they say

    def look_around(self) -> None:
        """Learn what the files cover as a whole, whatever days are asked for."""
        deliveries = {(source.file.rank, source.file.delivery) for source in self._sources if source.file.delivery}
        if len(deliveries) > 1:
            covers = [(normalise.coverage(s, number), s) for s, number in self._numbered if s.file.delivery]
            self._has_superseded = rules.make_superseded(self._connection, covers)
        query = " UNION ALL ".join(normalise.bounds(source) for source in self._sources)
        first, last = self._connection.execute(f"SELECT min(a), max(b) FROM ({query}) AS t (a, b)").fetchone()
        self._bounds = (first, last) if first else None

    def handle(self, relation: str) -> None:
        """Check, allocate and write the rows of one chunk."""
        ranks = {source.file.rank for source in self._sources}
        dropped = rules.make_dropped(self._connection, relation, len(ranks) > 1, self._has_superseded)
        self._set_aside(relation, dropped)
        kept = f"(SELECT *, '{SOURCE}' AS source FROM {self._billed(relation, dropped)})"
        self._hourly_days |= _hourly_days(self._connection, kept)
        facts = self._facts(kept)
        self._made.facts += facts
        self._made.paths += write.write_days(self._connection, kept, facts, self._folder)

    def _billed(self, relation: str, dropped: int) -> str:
        counted = rules.left(relation) if dropped else f"(SELECT * FROM {relation} WHERE reason IS NULL)"
        if not rules.make_covered(self._connection, relation):
            return counted
        return (
            "(SELECT c.* REPLACE (coalesce(p.billed, c.BilledCost) AS BilledCost) "
            f"FROM {counted} c LEFT JOIN covered_costs p ON c.file_no = p.file_no AND c.x_SourceRow = p.row)"
        )

    def _set_aside(self, relation: str, dropped: int) -> None:
        columns = ", ".join(quoted(name) for name in COLUMNS)
        refused = f"SELECT reason, detail, day, {columns} FROM {relation} WHERE reason IS NOT NULL"
        if dropped:
            refused += (
                f" UNION ALL SELECT d.why, NULL, day, {columns} FROM {relation} r "
                "JOIN dropped d ON d.file_no = r.file_no AND d.row = r.x_SourceRow WHERE r.reason IS NULL"
            )
        self._connection.execute(f"CREATE OR REPLACE TEMP TABLE aside AS {refused}")
        sql = "SELECT reason, day, count(*) FROM aside GROUP BY ALL ORDER BY reason, day"
        reasons = set()
        for reason, day, rows in self._connection.execute(sql).fetchall():
            self._made.set_aside[reason] = self._made.set_aside.get(reason, 0) + int(rows)
            self._aside_by_day[day] += int(rows)
            reasons.add(reason)
            if day and reason not in rules.REPEATED:
                self._refused_days.add(day)
        for reason in sorted(reasons):
            path = self._folder / f"aside-{len(self._made.aside_files)}.parquet"
            self._connection.execute(
                f"COPY (SELECT * FROM aside WHERE reason = {literal(reason)} ORDER BY x_SourceFile, x_SourceRow) "
                f"TO {literal(str(path))} (FORMAT parquet, COMPRESSION zstd)"
            )
            self._made.aside_files.append((reason, path))

    def _facts(self, kept: str) -> list[Facts]:
        estate = self._estate
        traced = {"x_SourceFile", "x_SourceRow"}
        content = ", ".join(quoted(name) for name in COLUMNS if name not in traced)
        hourly = f"ChargeCategory = 'Usage' AND {_LENGTH} > INTERVAL 0 HOUR AND {_LENGTH} <= INTERVAL 1 HOUR"
        hour = "CAST(1 AS UBIGINT) << date_part('hour', ChargePeriodStart)"
        rows = self._connection.execute(
            f"SELECT day, {component_sql(estate)} AS component, count(*), sum(BilledCost), "
            f"bool_and(InvoiceId IS NOT NULL), bit_or(CASE WHEN {hourly} THEN {hour} END), list(DISTINCT file_no), "
            f"sum(hashed), bit_xor(hashed), max({matches_sql(estate)}) FROM (SELECT *, "
            f"CAST(hash({content}) AS HUGEINT) AS hashed FROM {kept}) "
            "GROUP BY day, component ORDER BY day, component"
        ).fetchall()
        if any(row[-1] > 1 for row in rows):
            check_components(self._connection, kept, estate)
        days: dict[dt.date, list[Any]] = defaultdict(list)
        for day, component, *numbers in rows:
            self._allocate(component, numbers[1])
            days[day].append(numbers)
        return [self._fact(day, parts) for day, parts in days.items()]

    def _allocate(self, component: str, billed: Decimal) -> None:
        if component == UNALLOCATED:
            self._made.unallocated_usd += billed
        else:
            self._made.components[component] = self._made.components.get(component, Decimal(0)) + billed

    def _fact(self, day: dt.date, parts: Sequence[Sequence[Any]]) -> Facts:
        files = [self._numbers[number] for number in sorted({number for part in parts for number in part[4]})]
        hours, mixed = 0, 0
        for part in parts:
            hours |= int(part[3] or 0)
            mixed ^= int(part[6])
        rows = sum(int(part[0]) for part in parts)
        digest = f"{rows} {sum(int(part[5]) for part in parts)} {mixed}"
        return Facts(
            source=SOURCE,
            day=day,
            rows=rows,
            billed_usd=sum((part[1] for part in parts), Decimal(0)),
            rows_set_aside=self._aside_by_day[day],
            received=max(file.received for file in files).astimezone(dt.UTC),
            inputs=tuple(sorted({file.key for file in files})),
            invoiced=all(part[2] for part in parts),
            missing_hours=self._missing(day, hours, files),
            content=hashlib.sha256(digest.encode()).hexdigest(),
        )

    def _missing(self, day: dt.date, hours: int, files: Sequence[SourceFile]) -> tuple[int, ...]:
        """Hours without hourly usage, of a day that has some and is complete: others are before and after it.

        A delivery holds its billing period from the first hour, and a day that ended a day before it was written.
        """
        if not hours or self._bounds is None or day not in self._hourly_days:
            return ()
        first, last = self._bounds
        if all(file.delivery for file in files):
            written = max(file.received for file in files).astimezone(dt.UTC).date()
            is_complete = day < last or written - day > dt.timedelta(days=1)
        else:
            is_complete = first < day < last
        return tuple(hour for hour in range(24) if not hours >> hour & 1) if is_complete else ()

    def add_empty(self, days: Collection[dt.date] | None, standing: Collection[dt.date]) -> None:
        """Days that the files cover without a row: what the table holds for them is gone from the bill.

        A day whose rows were all refused isn't empty but unknown: what stands there stays.
        """
        if self._bounds is None:
            return
        files = [source.file for source in self._sources]
        first, last = self._bounds
        first = first.replace(day=1) if all(file.delivery for file in files) else first
        have = {facts.day for facts in self._made.facts} | self._refused_days
        for day in sorted(set(standing if days is None else days) - have):
            if first <= day <= last:
                facts = Facts(
                    source=SOURCE,
                    day=day,
                    rows=0,
                    billed_usd=Decimal(0),
                    rows_set_aside=self._aside_by_day[day],
                    received=max(file.received for file in files).astimezone(dt.UTC),
                    inputs=tuple(sorted(file.key for file in files)),
                    content=hashlib.sha256(b"0 0 0").hexdigest(),
                )
                self._made.facts.append(facts)
                self._made.paths.append(write.write_empty(facts, self._folder))
