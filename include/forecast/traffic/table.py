"""Where the traffic lies: one Parquet object a region and day, replaced whole, with its facts inside.

    region=us-east-1/day=2026-11-23.parquet              1,440 rows: timestamp (UTC start of minute), qps, region
    aside/region=us-east-1/day=2026-11-23-<content>.parquet and .json   a day that was refused, and the reason

A minute that was not observed is null, never zero. The keys are relative to the place of the Airflow Variable
``akidb_traffic``.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import json
import re
import struct
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

    from include.clients.storage import Storage

STEP = 60  # seconds
MINUTES = 1440
FACTS_KEY = "akidb"
_DAY = re.compile(r"day=(\d{4}-\d{2}-\d{2})\.parquet$")


class TrafficError(RuntimeError):
    """Traffic can't be read or kept; the message names the region, day or file and the remedy."""


@dataclass(frozen=True)
class Day:
    """One day of a region. ``qps`` has a value for each minute from 00:00 UTC, None where not observed.

    ``until`` is how many minutes could be observed: 1,440, or fewer for a day that is not over.
    """

    region: str
    day: dt.date
    qps: tuple[float | None, ...]
    until: int = MINUTES

    @cached_property
    def observed(self) -> int:
        """Minutes with a value."""
        return sum(value is not None for value in self.qps)

    @property
    def complete(self) -> bool:
        """Whether the day is over; one with gaps is."""
        return self.until == MINUTES

    @property
    def longest_gap(self) -> int:
        """The longest run of minutes without a value, among those that could be observed."""
        runs = (len(list(run)) for gone, run in groupby(self.qps[: self.until], lambda v: v is None) if gone)
        return max(runs, default=0)

    @property
    def age(self) -> int:
        """Minutes between the last value and the last minute that could be observed."""
        last = max((minute for minute, value in enumerate(self.qps) if value is not None), default=-1)
        return self.until - 1 - last

    @cached_property
    def content(self) -> str:
        """SHA-256 over region, day, length and values: equal exports have equal content."""
        packed = struct.pack(f"<{len(self.qps)}d", *(float("nan") if v is None else v for v in self.qps))
        return hashlib.sha256(f"{self.region}/{self.day}/{self.until}/".encode() + packed).hexdigest()


@dataclass(frozen=True)
class DayFacts:
    """What is known of a stored day without reading its rows."""

    region: str
    day: dt.date
    complete: bool
    until: int
    observed: int
    longest_gap: int
    content: str
    expression: str  # SHA-256 of the queries that the day was read with

    @classmethod
    def of(cls, day: Day, expression: str) -> DayFacts:
        """The facts of ``day``, read with the queries whose hash is ``expression``."""
        return cls(day.region, day.day, day.complete, day.until, day.observed, day.longest_gap, day.content, expression)

    @property
    def whole(self) -> bool:
        """Whether every minute of the day was observed: nothing can be added to it."""
        return self.complete and self.observed == MINUTES


def day_start(day: dt.date) -> int:
    """00:00 UTC of ``day`` in Unix seconds."""
    return int(dt.datetime.combine(day, dt.time(), dt.UTC).timestamp())


def key_of(region: str, day: dt.date) -> str:
    """The key of a day's object."""
    return f"region={region}/day={day}.parquet"


def write_day(day: Day, facts: DayFacts, path: Path) -> None:
    """Write ``day`` as Parquet. Equal days give equal bytes."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    start = day_start(day.day)
    columns = {
        "timestamp": pa.array(
            [(start + minute * STEP) * 1000 for minute in range(MINUTES)], pa.timestamp("ms", tz="UTC")
        ),
        "qps": pa.array(day.qps, pa.float64()),
        "region": pa.array([day.region] * MINUTES, pa.string()),
    }
    text = json.dumps(asdict(facts), sort_keys=True, default=str)
    table = pa.table(columns).replace_schema_metadata({FACTS_KEY: text})
    pq.write_table(table, path, compression="zstd")


def facts_of(path: Path) -> DayFacts:
    """The facts inside a day's file. Raises TrafficError when it has none or is cut short."""
    import pyarrow.parquet as pq
    from pyarrow import ArrowException

    try:
        raw = json.loads((pq.read_metadata(path).metadata or {})[FACTS_KEY.encode()])
        return DayFacts(**{**raw, "day": dt.date.fromisoformat(raw["day"])})
    except (ArrowException, OSError, KeyError, ValueError, TypeError) as error:
        raise TrafficError(f"{path.name} is no day of traffic ({error}): export it again with force") from error


class TrafficTable:
    """The days of traffic in a storage."""

    def __init__(self, storage: Storage) -> None:
        self.storage = storage

    def facts(self, region: str, day: dt.date) -> DayFacts | None:
        """The facts of a stored day, or None. A damaged file is none: it is exported again."""
        with contextlib.suppress(FileNotFoundError, TrafficError), self.storage.local(key_of(region, day)) as path:
            return facts_of(path)
        return None

    def days(self, region: str) -> list[dt.date]:
        """The stored days of a region, in order."""
        matches = (_DAY.search(key) for key in self.storage.keys(f"region={region}/"))
        return [dt.date.fromisoformat(match[1]) for match in matches if match]

    def put(self, day: Day, expression: str) -> DayFacts:
        """Store ``day`` in the place of the one that may be there; returns its facts."""
        facts = DayFacts.of(day, expression)
        with tempfile.TemporaryDirectory(prefix="akidb-") as folder:
            path = Path(folder) / "day.parquet"
            write_day(day, facts, path)
            self.storage.put_file(key_of(day.region, day.day), path)
        return facts

    def set_aside(self, day: Day, expression: str, reasons: Sequence[str]) -> tuple[str, bool]:
        """Keep a refused day with the reasons; returns its key and whether it was new (the same one is kept once)."""
        key = f"aside/region={day.region}/day={day.day}-{day.content[:12]}"
        with tempfile.TemporaryDirectory(prefix="akidb-") as folder:
            path = Path(folder) / "day.parquet"
            write_day(day, DayFacts.of(day, expression), path)
            self.storage.put_file(f"{key}.parquet", path)
        body = {"region": day.region, "day": str(day.day), "reasons": list(reasons), "observed": day.observed}
        try:
            self.storage.create(f"{key}.json", json.dumps(body, sort_keys=True).encode())
        except FileExistsError:
            return key, False
        return key, True

    def aside(self, region: str) -> dict[str, list[str]]:
        """What was set aside for a region: key -> reasons."""
        keys = (key for key in self.storage.keys(f"aside/region={region}/") if key.endswith(".json"))
        return {key.removesuffix(".json"): json.loads(self.storage.read(key))["reasons"] for key in keys}

    def series(self, region: str, first: dt.date, last: dt.date) -> pd.Series[Any]:
        """QPS of every minute of ``first`` to ``last`` (both whole); NaN where not observed or no day is stored.

        Raises TrafficError for a damaged file.
        """
        import pandas as pd
        import pyarrow.parquet as pq
        from pyarrow import ArrowException

        index = pd.date_range(str(first), periods=((last - first).days + 1) * MINUTES, freq="min", tz="UTC")
        series = pd.Series(float("nan"), index=index, name="qps")
        for number in range((last - first).days + 1):
            day = first + dt.timedelta(days=number)
            try:
                with self.storage.local(key_of(region, day)) as path:
                    values = pq.read_table(path, columns=["qps"], partitioning=None)["qps"].to_numpy()
                    series.iloc[number * MINUTES : (number + 1) * MINUTES] = values
            except FileNotFoundError:
                continue
            except (ArrowException, ValueError) as error:
                raise TrafficError(
                    f"{key_of(region, day)} is damaged ({error}): run traffic_export for {day} with force"
                ) from error
        return series


def days_between(values: Mapping[int, float], region: str, first: dt.date, count: int, end: int) -> list[Day]:
    """``count`` days from ``first``. ``values`` is QPS by start of minute; what starts at or after ``end`` can't be
    observed yet."""
    found = []
    for number in range(count):
        day = first + dt.timedelta(days=number)
        start = day_start(day)
        until = min(MINUTES, max(0, (end - start) // STEP))
        qps = tuple(values.get(start + m * STEP) if m < until else None for m in range(MINUTES))
        found.append(Day(region, day, qps, until))
    return found
