"""Rows between reading and writing: a few go into the table ``staged`` at once; many are first sorted into days.

Sorting into days keeps the file's own columns, which are fewer, so that any number of rows takes one pass over the
input and the memory of one chunk.
"""

from __future__ import annotations

import datetime as dt
import shutil
from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from include.cost.sources.exports.normalise import EXTRA, by_day, normalised
from include.cost.sources.exports.source import ROW, Source
from include.cost.table.columns import COLUMNS
from include.cost.table.sql import literal, quoted

CHUNK_ROWS = 600_000  # rows that are checked, ordered and written at once: about 0.6 GiB
SLICE_ROWS = 1_000_000  # rows that are sorted into days at once
STAGED = "staged"
_NO_DAY = "0000-none"  # sorts before every day


class Staging:
    """The rows of several files, ``expected`` in all; ``days`` limits them."""

    def __init__(
        self, connection: Any, folder: Path, expected: int, currency: str, days: Collection[dt.date] | None
    ) -> None:
        self._connection = connection
        self._folder = folder / "stage"
        self._currency = currency
        self._days = days
        self._on_disk = expected > CHUNK_ROWS
        self._sources: dict[int, Source] = {}
        self._held: dict[str, tuple[str, int]] = {}  # day -> query of the rows that stay, and their number
        self._make_table()

    def add(self, number: int, source: Source) -> None:
        """Take in the rows of file ``number``: all of them, or none when it fails."""
        if not self._on_disk:
            self._insert(number, source, self._days)
            return
        folder = self._folder / str(number)
        folder.mkdir(parents=True)
        try:
            self._sort_into_days(self._countable(source, folder), folder)
        except BaseException:
            shutil.rmtree(folder)
            raise
        self._sources[number] = source

    def remove(self, number: int) -> None:
        """Take the rows of file ``number`` out again."""
        if self._on_disk:
            self._sources.pop(number, None)
            shutil.rmtree(self._folder / str(number), ignore_errors=True)
        else:
            self._connection.execute(f"DELETE FROM {STAGED} WHERE file_no = {number}")

    def hold(self, day: dt.date, query: str, rows: int) -> None:
        """Put ``rows`` rows of ``query`` (COLUMNS and EXTRA), which the table holds for ``day``, beside the files'."""
        self._held[str(day)] = query, rows

    def _countable(self, source: Source, folder: Path) -> Source:
        """The same rows in Parquet, of which a slice can be read: rows of a CSV are known by counting from the top."""
        if not source.is_csv:
            return source
        path = literal(str(folder / "rows.parquet"))
        sql = f"COPY (SELECT * FROM {source.relation}) TO {path} (FORMAT parquet, COMPRESSION lz4)"
        self._connection.execute(sql)
        counted = self._connection.execute(f"SELECT num_rows FROM parquet_file_metadata({path})").fetchone()
        return replace(source, relation=f"read_parquet({path})", rows=int(counted[0]))

    def _sort_into_days(self, source: Source, folder: Path) -> None:
        # A partitioned COPY holds on to memory for every row group until it ends: slices bound that.
        self._connection.execute("SET preserve_insertion_order = false")
        try:
            for first in range(0, source.rows, SLICE_ROWS):
                part = folder / f"{first:012d}"
                part.mkdir()
                rows = f"{ROW} > {first} AND {ROW} <= {first + SLICE_ROWS}"
                query = f"SELECT * FROM ({by_day(source, self._days, _NO_DAY)}) WHERE {rows}"
                self._connection.execute(
                    f"COPY ({query}) TO {literal(str(part))} "
                    "(FORMAT parquet, COMPRESSION lz4, PARTITION_BY (staged_day), OVERWRITE_OR_IGNORE)"
                )
        finally:
            self._connection.execute("SET preserve_insertion_order = true")

    def chunks(self) -> Iterator[str]:
        """The name of a table with the rows of some days, until all were had: as many days as CHUNK_ROWS allows."""
        if not self._on_disk:
            for query, _ in self._held.values():
                self._connection.execute(f"INSERT INTO {STAGED} BY NAME {query}")
            yield STAGED
            return
        for days in self._grouped():
            self._make_table()
            for number, source in self._sources.items():
                if paths := [path for day in days for path in self._parts(str(number), day)]:
                    listed = ", ".join(literal(str(path)) for path in paths)
                    relation = f"read_parquet([{listed}], hive_partitioning=false)"
                    self._insert(number, replace(source, relation=relation), None)
            for day in days:
                if day in self._held:
                    self._connection.execute(f"INSERT INTO {STAGED} BY NAME {self._held[day][0]}")
            yield STAGED

    def _make_table(self) -> None:
        columns = ", ".join(f"{quoted(name)} {kind}" for name, kind in (COLUMNS | EXTRA).items())
        self._connection.execute(f"CREATE OR REPLACE TEMP TABLE {STAGED} ({columns})")

    def _insert(self, number: int, source: Source, days: Collection[dt.date] | None) -> None:
        query = normalised(source, number, self._currency, days)
        self._connection.execute(f"INSERT INTO {STAGED} {query}")

    def _parts(self, number: str, day: str) -> list[Path]:
        return sorted(self._folder.glob(f"{number}/*/staged_day={day}/*.parquet"))

    def _grouped(self) -> Iterator[list[str]]:
        counts = {day: rows for day, (_, rows) in self._held.items()}
        for path in self._parts("*", "*"):
            sql = f"SELECT num_rows FROM parquet_file_metadata({literal(str(path))})"
            day = path.parent.name.partition("=")[2]
            counts[day] = counts.get(day, 0) + int(self._connection.execute(sql).fetchone()[0])
        group: list[str] = []
        for day in sorted(counts):
            if group and sum(counts[held] for held in group) + counts[day] > CHUNK_ROWS:
                yield group
                group = []
            group.append(day)
        if group:
            yield group
