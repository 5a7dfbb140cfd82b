"""Which days outside its billing period a delivered file has charges of: those that it corrects."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable

from include.cost.sources.exports import normalise
from include.cost.sources.exports.keys import period_of
from include.cost.sources.exports.source import SourceFile, guarded, open_source
from include.cost.table.columns import CostError


def days_outside(files: Iterable[SourceFile]) -> dict[str, set[dt.date]]:
    """Key -> days, of files whose keys name a period. A file that can't be read is left out: it counts for nothing."""
    import duckdb

    found = {}
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        for file in files:
            period = period_of(file.key)
            try:
                source = open_source(connection, file)
                query = normalise.days(source)
                days = guarded(file, lambda query=query: connection.execute(query).fetchall())
            except CostError:
                continue
            found[file.key] = {day for (day,) in days if day and (day.year, day.month) != period}
    return found
