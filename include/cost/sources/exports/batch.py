"""A batch of export files: its rows are checked, allocated and written chunk by chunk."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections import defaultdict
from collections.abc import Collection, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

from include.cost.sources.exports import cur, downloads, focus, normalise, rules, write
from include.cost.sources.exports.collected import Collected
from include.cost.sources.exports.downloads import SCOPE_TEXT, Relation, scoped
from include.cost.sources.exports.held import Held
from include.cost.sources.exports.keys import covers, period_of
from include.cost.sources.exports.source import Source, SourceFile
from include.cost.sources.exports.stage import Staging
from include.cost.table.columns import COLUMNS, LONGEST_DAY_HOURS, MONEY, MOST_HOURS
from include.cost.table.components import UNALLOCATED, check_components, component_sql, matches_sql
from include.cost.table.sql import literal, quoted
from include.cost.table.store import Aside, Facts
from include.estate import Estate

SOURCE = "aws"
_LENGTH = "ChargePeriodEnd - ChargePeriodStart"


class Batch:
    """The state that the chunks of one call share."""

    def __init__(
        self,
        connection: Any,
        estate: Estate,
        sources: Sequence[Source | None],
        folder: Path,
        made: Collected,
        held: Held,
    ) -> None:
        self._hourly_days: set[dt.date] = set()
        self._connection = connection
        self._estate = estate
        self._numbered = [(number, source) for number, source in enumerate(sources) if source]
        self._files = {number: source.file for number, source in self._numbered}
        self._folder = folder
        self._made = made
        self._held = held
        self._bounds: tuple[dt.date, dt.date] | None = None  # first and last day of the files
        self._blocked: set[dt.date] = set()
        self._aside: dict[dt.date | None, list[Aside]] = defaultdict(list)
        self._aside_rows: dict[dt.date | None, int] = defaultdict(int)

    def look_around(
        self, stage: Staging, days: Collection[dt.date] | None, stated: Relation | None, given: Sequence[SourceFile]
    ) -> None:
        """Learn what the files cover as a whole, whatever days are asked for, and what the table keeps beside them."""
        currency = self._estate.cost.currency
        places = downloads.place(self._connection, self._numbered, self._held.relation, currency, stated)
        rules.make_files(self._connection, self._numbered, places)
        query = " UNION ALL ".join(normalise.bounds(source) for _, source in self._numbered)
        first, last = self._connection.execute(f"SELECT min(a), max(b) FROM ({query}) AS t (a, b)").fetchone()
        self._bounds = (first, last) if first else None
        for day, (rows, number) in self._held.kept(list(self._files.values())).items():
            if days is not None or day in self._held.replaced or (first and first <= day <= last):
                stage.hold(day, rows, number)
        # A day is never made without the part of a delivery that can't be read, unless the older one stands.
        broken = [file for file in given if file.delivery and file not in self._files.values()]
        self._blocked = {
            day for day in days or () if day not in self._held.paths and any(covers(file.key, day) for file in broken)
        }

    def handle(self, relation: str, days: Collection[dt.date] | None) -> None:
        """Check, allocate and write the rows of one chunk."""
        self._leave_alone(relation, days)
        dropped = rules.make_dropped(self._connection, relation)
        self._set_aside(relation)
        kept = f"(SELECT *, '{SOURCE}' AS source FROM {self._billed(relation, dropped)})"
        self._hourly_days |= _hourly_days(self._connection, kept)
        facts = self._facts(kept)
        self._made.facts += facts
        self._made.paths += write.write_days(self._connection, kept, facts, self._folder)

    def _leave_alone(self, relation: str, days: Collection[dt.date] | None) -> None:
        """Take out what isn't to be written: days of half deliveries, and days that the files say nothing about."""
        if self._blocked:
            self._connection.execute(f"DELETE FROM {relation} WHERE day IN ({_dates(self._blocked)})")
        if days is None and self._held.files:
            self._connection.execute(
                f"DELETE FROM {relation} WHERE file_no < 0 AND day NOT IN ({_dates(self._held.replaced)}) "
                f"AND day NOT IN (SELECT day FROM {relation} WHERE file_no >= 0 AND day IS NOT NULL)"
            )

    def _billed(self, relation: str, dropped: int) -> str:
        counted = rules.left(relation) if dropped else f"(SELECT * FROM {relation} WHERE reason IS NULL)"
        if not rules.make_covered(self._connection, relation):
            return counted
        return (
            "(SELECT c.* REPLACE (coalesce(p.billed, c.BilledCost) AS BilledCost) "
            f"FROM {counted} c LEFT JOIN covered_costs p ON c.file_no = p.file_no AND c.x_SourceRow = p.row)"
        )

    # --- Rows that don't count ---

    def _set_aside(self, relation: str) -> None:
        columns = ", ".join(quoted(name) for name in COLUMNS)
        own = literal(self._estate.cost.currency)
        self._connection.execute(
            "CREATE OR REPLACE TEMP TABLE aside AS SELECT *, "
            f"CASE WHEN reason = 'currency missing' THEN 'no currency' ELSE coalesce(BillingCurrency, {own}) END "
            f"AS currency, {component_sql(self._estate)} AS component FROM {scoped(_refused(relation, columns))}"
        )
        sql = (
            f"SELECT day, reason, currency, component, {SCOPE_TEXT} AS scope, count(*), "
            f"CAST(sum(BilledCost) AS {MONEY}) FROM aside GROUP BY ALL ORDER BY ALL"
        )
        reasons = set()
        for day, reason, currency, component, scope, rows, amount in self._connection.execute(sql).fetchall():
            self._made.set_aside[reason] = self._made.set_aside.get(reason, 0) + int(rows)
            amounts = self._made.aside_amounts.setdefault(reason, {})
            known = [one for one in (amounts.get(currency), amount) if one is not None]
            amounts[currency] = sum(known, Decimal(0)) if known else None
            self._aside_rows[day] += int(rows)
            reasons.add(reason)
            if reason not in rules.REPEATED:
                self._aside[day].append(Aside(component, reason, int(rows), currency, amount, scope))
        for reason in sorted(reasons):
            path = self._folder / f"aside-{len(self._made.aside_files)}.parquet"
            self._connection.execute(
                f"COPY (SELECT reason, detail, day, {columns} FROM aside WHERE reason = {literal(reason)} "
                f"ORDER BY x_SourceFile, x_SourceRow) TO {literal(str(path))} (FORMAT parquet, COMPRESSION zstd)"
            )
            self._made.aside_files.append((reason, path))

    def _unread(self, kept: str) -> None:
        """Values that can't be read in rows that count; where the cost is one, the component's isn't known."""
        costs = [
            one.label
            for _, source in self._numbered
            for one in source.fields.unread
            if one.name in focus.COSTS | cur.COSTS
        ]
        found = self._connection.execute(
            f"SELECT day, unread, {component_sql(self._estate)}, {SCOPE_TEXT}, count(*) "
            f"FROM {scoped(kept)} WHERE unread IS NOT NULL GROUP BY ALL ORDER BY ALL"
        )
        for day, label, component, scope, rows in found.fetchall():
            self._made.unread[label] = self._made.unread.get(label, 0) + int(rows)
            if label in costs:
                self._made.costs_unread += int(rows)
                reason = f"{label} can't be read"
                self._aside[day].append(Aside(component, reason, int(rows), self._estate.cost.currency, None, scope))

    # --- Rows that count ---

    def _facts(self, kept: str) -> list[Facts]:
        estate = self._estate
        traced = {"x_SourceFile", "x_SourceRow"}
        content = ", ".join(quoted(name) for name in COLUMNS if name not in traced)
        hourly = f"ChargeCategory = 'Usage' AND {_LENGTH} > INTERVAL 0 HOUR AND {_LENGTH} <= INTERVAL 1 HOUR"
        hour = "CAST(1 AS UBIGINT) << date_part('hour', ChargePeriodStart)"
        rows = self._connection.execute(
            f"SELECT day, {component_sql(estate)} AS component, file_no < 0 AS is_held, count(*), sum(BilledCost), "
            f"bool_and(InvoiceId IS NOT NULL), bit_or(CASE WHEN {hourly} THEN {hour} END), list(DISTINCT file_no), "
            f"sum(hashed), bit_xor(hashed), count(unread), max({matches_sql(estate)}) FROM (SELECT *, "
            f"CAST(hash({content}) AS HUGEINT) AS hashed FROM {kept}) "
            "GROUP BY day, component, is_held ORDER BY day, component, is_held"
        ).fetchall()
        if any(row[-1] > 1 for row in rows):
            check_components(self._connection, kept, estate)
        if any(row[-2] for row in rows):
            self._unread(kept)
        days: dict[dt.date, list[Any]] = defaultdict(list)
        for day, component, is_held, *numbers in rows:
            if not is_held:
                self._count(day, component, int(numbers[0]), numbers[1])
            days[day].append(numbers)
        return [self._fact(day, parts) for day, parts in days.items()]

    def _count(self, day: dt.date, component: str, rows: int, billed: Decimal) -> None:
        made = self._made
        made.days[day] = made.days.get(day, 0) + rows
        made.billed_usd += billed
        if component == UNALLOCATED:
            made.unallocated_usd += billed
        else:
            made.components[component] = made.components.get(component, Decimal(0)) + billed

    def _fact(self, day: dt.date, parts: Sequence[Sequence[Any]]) -> Facts:
        numbers = {number for part in parts for number in part[4]}
        files = [self._files[number] for number in sorted(numbers) if number >= 0]
        stands = self._held.facts(day) if any(number < 0 for number in numbers) else None
        hours, mixed = 0, 0
        for part in parts:
            hours |= int(part[3] or 0)
            mixed ^= int(part[6])
        rows = sum(int(part[0]) for part in parts)
        digest = f"{rows} {sum(int(part[5]) for part in parts)} {mixed}"
        # A delivery of the day's period without a row of it says something too.
        silent = [file for file in self._files.values() if file.delivery and covers(file.key, day)]
        received = [file.received.astimezone(dt.UTC) for file in (*files, *silent)]
        received += [stands.received] if stands else []
        keys = {self._held.files[number] if number < 0 else self._files[number].key for number in numbers}
        return Facts(
            source=SOURCE,
            day=day,
            rows=rows,
            billed_usd=sum((part[1] for part in parts), Decimal(0)),
            received=max(received),
            inputs=tuple(sorted(keys)),
            invoiced=all(part[2] for part in parts),
            missing_hours=self._missing(day, hours, files) if files or not stands else stands.missing_hours,
            content=hashlib.sha256(digest.encode()).hexdigest(),
            **self._doubts(day),
        )

    def _doubts(self, day: dt.date) -> dict[str, Any]:
        """What was set aside for the day; a row without a readable day may belong to any of its billing period."""
        month = str(day.replace(day=1))
        anywhere = [one for one in self._aside[None] if one.scope.rpartition("/")[2] in {"", month}]
        aside = [*self._aside[day], *anywhere, *self._held.aside(day)]
        return {"rows_set_aside": self._aside_rows[day], "aside": tuple(aside)}

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

    def add_empty(self, days: Collection[dt.date] | None) -> None:
        """Days that the files cover without a row: what the table holds for them is gone from the bill.

        A day whose rows were all refused isn't empty but unknown: what stands there stays.
        """
        refused = {day for day, aside in self._aside.items() if day and aside}
        have = {facts.day for facts in self._made.facts} | refused | self._blocked
        for day in sorted((self._held.replaced if days is None else set(days)) - have):
            files = [file for file in self._files.values() if covers(file.key, day)]
            if day in self._held.replaced or self._covers(day, files):
                used = files or list(self._files.values())
                facts = Facts(
                    source=SOURCE,
                    day=day,
                    rows=0,
                    billed_usd=Decimal(0),
                    received=max(file.received for file in used).astimezone(dt.UTC),
                    inputs=tuple(sorted(file.key for file in used)),
                    content=hashlib.sha256(b"0 0 0").hexdigest(),
                    **self._doubts(day),
                )
                self._made.facts.append(facts)
                self._made.paths.append(write.write_empty(facts, self._folder))

    def _covers(self, day: dt.date, files: Sequence[SourceFile]) -> bool:
        """Whether the files, which are of the day's billing period, tell that it has no row."""
        if self._bounds is None or not files:
            return False
        first, last = self._bounds
        if all(file.delivery for file in files):
            # A fee of next month may stand in it already: days that haven't come are not empty.
            last = min(last, max(file.received for file in files).astimezone(dt.UTC).date())
            first = day if any(period_of(file.key) for file in files) else first.replace(day=1)
        return first <= day <= last


def _refused(relation: str, columns: str) -> str:
    """The rows that can't count; one that a later download has again is its own no more, whatever is wrong with it."""
    return (
        f"(SELECT coalesce(d.why, r.reason) AS reason, CASE WHEN d.why IS NULL THEN r.detail END AS detail, r.day, "
        f"r.period, '{SOURCE}' AS source, {columns} FROM {relation} r LEFT JOIN dropped d "
        "ON d.file_no = r.file_no AND d.row = r.x_SourceRow WHERE r.reason IS NOT NULL OR d.why IS NOT NULL)"
    )


def _dates(days: Collection[dt.date]) -> str:
    # A null in the list would make NOT IN unknown for every row.
    return ", ".join(f"DATE '{day}'" for day in sorted(days)) or "DATE '0001-01-01'"


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
