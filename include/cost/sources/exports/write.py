"""Sorted rows of the cost table into one Parquet file a day, with the day's facts inside."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from include.cost.sources.exports.stage import CHUNK_ROWS
from include.cost.table.columns import AMOUNT, COLUMNS, MONEY, ORDER_BY, TIME
from include.cost.table.sql import quoted
from include.cost.table.store import FACTS_KEY, Facts, metadata_of

if TYPE_CHECKING:
    import pyarrow as pa

GROUP_ROWS = 131_072  # rows of a row group: fixed, so that equal rows give equal bytes
WRITERS = 2


def write_days(connection: Any, relation: str, facts: Sequence[Facts], folder: Path) -> list[Path]:
    """Write the rows of ``relation`` (COLUMNS) to ``<folder>/<day>.parquet``; ``facts`` by day hold their numbers.

    Every row must belong to one of the days, and ``facts`` must be in order.
    """
    columns = ", ".join(quoted(name) for name in COLUMNS)
    order = ", ".join(f"{quoted(name)} NULLS FIRST" for name in ORDER_BY)
    query = f"SELECT {columns} FROM {relation} ORDER BY {order}"
    total = sum(fact.rows for fact in facts)
    if total > CHUNK_ROWS:
        reader = connection.sql(query).to_arrow_reader(GROUP_ROWS)
        return [_write(folder, fact, groups) for fact, groups in _streamed(reader, facts)]
    table = connection.sql(query).to_arrow_table().cast(schema())
    starts = [sum(fact.rows for fact in facts[:number]) for number in range(len(facts))]
    with ThreadPoolExecutor(WRITERS) as pool:
        slices = [table.slice(start, fact.rows) for start, fact in zip(starts, facts, strict=True)]
        return list(pool.map(lambda pair: _write(folder, pair[0], _groups(pair[1])), zip(facts, slices, strict=True)))


def schema() -> pa.Schema:
    """The table's columns as an Arrow schema."""
    import pyarrow as pa

    kinds = {
        MONEY: pa.decimal128(28, 12),
        AMOUNT: pa.decimal128(28, 10),
        TIME: pa.timestamp("us", "UTC"),
        "VARCHAR": pa.string(),
        "BIGINT": pa.int64(),
    }
    return pa.schema([(name, kinds[kind]) for name, kind in COLUMNS.items()])


def path_of(folder: Path, day: dt.date) -> Path:
    """The file of a day."""
    return folder / f"{day}.parquet"


def write_empty(facts: Facts, folder: Path) -> Path:
    """A partition without rows."""
    return _write(folder, facts, iter(()))


def _groups(table: pa.Table) -> Iterator[pa.Table]:
    for start in range(0, table.num_rows, GROUP_ROWS):
        yield table.slice(start, GROUP_ROWS)


def _streamed(reader: Any, facts: Sequence[Facts]) -> Iterator[tuple[Facts, Iterator[pa.Table]]]:
    """Each day with its row groups, which must be used up before the next day is asked for."""
    import pyarrow as pa

    held = pa.table({name: [] for name in COLUMNS}).cast(schema())

    def take(rows: int) -> Iterator[pa.Table]:
        nonlocal held
        while rows:
            wanted = min(rows, GROUP_ROWS)
            while held.num_rows < wanted:
                held = pa.concat_tables([held, pa.Table.from_batches([next(reader)]).cast(schema())])
            yield held.slice(0, wanted)
            held = held.slice(wanted)
            rows -= wanted

    for fact in facts:
        yield fact, take(fact.rows)


def _write(folder: Path, facts: Facts, groups: Iterator[pa.Table]) -> Path:
    import pyarrow.parquet as pq

    path = path_of(folder, facts.day)
    with pq.ParquetWriter(path, schema(), compression="zstd", store_schema=False) as out:
        out.add_key_value_metadata({FACTS_KEY: metadata_of(facts)})
        for group in groups:
            # One piece of memory: how rows came in pieces would show in the pages.
            out.write_table(group.combine_chunks(), row_group_size=GROUP_ROWS)
    return path
