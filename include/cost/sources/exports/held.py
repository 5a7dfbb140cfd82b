"""What the table holds already and keeps: rows that no download at hand takes the place of."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from include.cost.sources.exports.downloads import SCOPE_TEXT, matches, scoped
from include.cost.sources.exports.keys import export_of, period_of
from include.cost.sources.exports.normalise import EXTRA
from include.cost.sources.exports.source import SourceFile
from include.cost.table.columns import COLUMNS
from include.cost.table.sql import literal, quoted
from include.cost.table.store import Aside, Facts, facts_of

_PERIOD = "CAST(date_trunc('month', coalesce(BillingPeriodStart, ChargePeriodStart)) AS DATE)"


@dataclass
class Held:
    """The partitions that the table has, by day. ``replaced`` are the days of which a download takes rows away."""

    connection: Any
    paths: Mapping[dt.date, Path]
    files: dict[int, str] = field(default_factory=dict)  # negative numbers -> x_SourceFile
    replaced: set[dt.date] = field(default_factory=set)

    @classmethod
    def opened(cls, connection: Any, paths: Collection[Path]) -> Held:
        """The partitions in ``paths``, as they are needed."""
        held = cls(connection, {facts_of(path).day: path for path in paths})
        if held.paths:
            sql = f"SELECT DISTINCT x_SourceFile FROM {held._read(held.paths)} ORDER BY ALL"
            keys = [row[0] for row in connection.execute(sql).fetchall()]
            held.files = {-1 - number: key for number, key in enumerate(keys)}
            connection.execute("CREATE OR REPLACE TEMP TABLE held_files (file_no INTEGER, key VARCHAR)")
            for number, key in held.files.items():
                connection.execute("INSERT INTO held_files VALUES (?, ?)", [number, key])
        return held

    @property
    def relation(self) -> str:
        """All rows (COLUMNS, day, period); "" without any."""
        return self._read(self.paths) if self.files else ""

    def facts(self, day: dt.date) -> Facts | None:
        """The facts of the day's partition."""
        return facts_of(self.paths[day]) if day in self.paths else None

    def kept(self, new: Collection[SourceFile]) -> dict[dt.date, tuple[str, int]]:
        """Day -> query (COLUMNS and EXTRA) and number of the rows that stay beside the files in ``new``.

        What an older delivery of the same export and billing period brought goes whole, whatever the new one has. Needs
        the table ``spoken``. Learns ``replaced``.
        """
        if not self.files:
            return {}
        delivered = {(export_of(file.key), period_of(file.key)) for file in new if file.delivery}
        gone = [key for key in self.files.values() if (export_of(key), period_of(key)) in delivered]
        spoken = f"EXISTS (SELECT 1 FROM spoken s WHERE s.place > 0 AND {matches('s', 'r')})"
        stays = f"NOT {spoken}" + (f" AND r.x_SourceFile NOT IN ({_texts(gone)})" if gone else "")
        rows = scoped(self._read(self.paths))
        sql = f"SELECT day, count(*), count(*) FILTER (NOT ({stays})) FROM {rows} r GROUP BY day ORDER BY day"
        found = {}
        for day, number, going in self.connection.execute(sql).fetchall():
            if going:
                self.replaced.add(day)
            if number > going:
                found[day] = self._query(day, stays, {file.key for file in new}), int(number - going)
        return found

    def aside(self, day: dt.date) -> list[Aside]:
        """What the table holds aside for the day and no download at hand speaks of."""
        facts = self.facts(day)
        if not facts or not facts.aside:
            return []
        sql = f"SELECT DISTINCT {SCOPE_TEXT} FROM spoken WHERE place > 0 AND ? BETWEEN first AND last"
        spoken = {row[0] for row in self.connection.execute(sql, [day]).fetchall()}
        return [one for one in facts.aside if one.scope not in spoken]

    def _query(self, day: dt.date, stays: str, new: Collection[str]) -> str:
        facts = self.facts(day)
        assert facts
        columns = [quoted(name) for name in COLUMNS if name != "x_SourceFile"]
        # A file of the same name that held something else: its rows keep a name of their own.
        other = literal(f"@{facts.received:%Y%m%dT%H%M%SZ}")
        named = f"CASE WHEN x_SourceFile IN ({_texts(new)}) THEN x_SourceFile || {other} ELSE x_SourceFile END"
        empty = ", ".join(f"NULL AS {name}" for name in EXTRA if name not in {"file_no", "day", "period"})
        return (
            f"SELECT {', '.join(columns)}, {named} AS x_SourceFile, file_no, day, period, {empty} "
            f"FROM {scoped(self._read([day]))} r JOIN held_files f ON f.key = r.x_SourceFile WHERE {stays}"
        )

    def _read(self, days: Collection[dt.date]) -> str:
        files = ", ".join(literal(str(self.paths[day])) for day in sorted(days))
        return (
            f"(SELECT *, CAST(ChargePeriodStart AS DATE) AS day, {_PERIOD} AS period "
            f"FROM read_parquet([{files}], hive_partitioning=false))"
        )


def _texts(values: Collection[str]) -> str:
    return ", ".join(literal(value) for value in sorted(values)) or "NULL"
