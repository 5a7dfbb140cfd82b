"""Export files -> partitions of source ``aws``: read, check, set aside, allocate, order and write, day by day."""

from __future__ import annotations

import datetime as dt
import tempfile
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from include.cost.sources.exports import cur, focus, normalise
from include.cost.sources.exports.batch import Batch
from include.cost.sources.exports.collected import Collected
from include.cost.sources.exports.downloads import Relation
from include.cost.sources.exports.held import Held
from include.cost.sources.exports.source import Format, Source, SourceFile, guarded, open_source
from include.cost.sources.exports.stage import Staging
from include.cost.table.columns import CostError
from include.cost.table.sql import literal
from include.estate import Estate

MEMORY_LIMIT = "1100MB"  # of DuckDB; with Python, Arrow and one chunk in flight the process stays below 2 GiB
THREADS = 2


def collect(
    export_files: Sequence[SourceFile],
    estate: Estate,
    days: Collection[dt.date] | None,
    folder: Path,
    standing: Collection[Path] = (),
    stated: Relation | None = None,
) -> Collected:
    """Normalise ``export_files`` into one partition file a day in ``folder`` (which exists).

    ``days`` limits the work to these days; where the files cover one and have no row of it, its partition is written
    empty. ``standing`` are partitions of the table: rows of theirs stay that no file speaks of. ``stated`` is what a
    person says of files that hold the same. A file that can't be read is named in ``refused``; its delivery counts for
    nothing, other files are used. Raises CostError when a row matches two components, or when it can't be told whether
    a file is a part of a download or a later one.
    """
    made = Collected()
    with _connection(folder) as (connection, scratch):
        sources = _open(connection, export_files, made)
        _rank_by_format(sources)
        expected = sum(source.rows for source in sources if source)
        stage = Staging(connection, scratch, expected, estate.cost.currency, days)
        _fill(stage, sources, made, estate.cost.currency)
        _drop_halves(stage, sources, export_files, made)
        if not any(sources):
            return made
        batch = Batch(connection, estate, sources, folder, made, Held.opened(connection, standing))
        batch.look_around(stage, days, stated, export_files)
        for chunk in stage.chunks():
            batch.handle(chunk, days)
        batch.add_empty(days)
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


def _fill(stage: Staging, sources: list[Source | None], made: Collected, currency: str) -> None:
    """Stage the files that can be read."""
    for number, source in enumerate(sources):
        if source is None:
            continue
        try:
            guarded(source.file, partial(stage.add, number, source))
        except CostError as error:
            made.refused[source.file.key] = str(error)
            sources[number] = None
        else:
            made.warnings += _warned(source, currency)


def _drop_halves(stage: Staging, sources: list[Source | None], files: Sequence[SourceFile], made: Collected) -> None:
    """Half a delivery isn't one: with the part that can't be read the others go."""
    broken = {(file.rank, file.delivery) for file in files if file.delivery and file.key in made.refused}
    for number, source in enumerate(sources):
        if source and (source.file.rank, source.file.delivery) in broken:
            stage.remove(number)
            sources[number] = None


def _warned(source: Source, currency: str) -> Iterator[str]:
    layout = focus if source.format is Format.FOCUS else cur
    if not source.fields.has(layout.CURRENCY):
        yield f"{source.file.key} has no column {layout.CURRENCY}: its amounts are taken for {currency}, the estate's"
