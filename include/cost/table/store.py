"""Where the cost table lies: one Parquet object a source and day, replaced whole, with its facts inside.

    focus/source=aws/day=2026-11-23.parquet                      the rows
    history/source=aws/day=2026-11-23/<received>-<content>.json  the facts of every version that ever stood there
    lasting/source=aws/day=2026-11-23/until=<day>                how long its charges last, where one outlasts the day
    aside/source=aws/<name>.parquet and .json                    rows and batches that were refused, with the reason
    reach/source=aws/<hash>.json                                 days outside its billing period that a bill has had

Facts and rows can't disagree: the facts are the Parquet file's own metadata.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from include.clients.storage import Storage
from include.cost.table import lasting
from include.cost.table.columns import SOURCES, CostError

FACTS_KEY = "akidb"
_DAY = re.compile(r"day=(\d{4}-\d{2}-\d{2})\.parquet$")


@dataclass(frozen=True)
class Aside:
    """Dollars of a day that nobody knows: of rows that can't count, or that count without a cost that can be read.

    ``amount`` is in ``currency`` as billed; None where it can't be read. ``scope``: provider, accounts and billing
    period, so that a later download of the same takes its place.
    """

    component: str
    reason: str
    rows: int
    currency: str
    amount: Decimal | None
    scope: str

    def __str__(self) -> str:
        amount = "amount unknown" if self.amount is None else f"{self.amount:,.2f} {self.currency}"
        return f"{self.rows} row(s), {amount}: {self.reason}"


@dataclass(frozen=True)
class Facts:
    """What is known of one partition. ``received`` is when the provider wrote it, not when we read it."""

    source: str
    day: dt.date
    rows: int
    billed_usd: Decimal
    rows_set_aside: int
    received: dt.datetime  # aware, UTC
    inputs: tuple[str, ...]  # the files or queries that it was made of, sorted
    invoiced: bool = False  # every row carries an InvoiceId: the provider won't change it any more
    missing_hours: tuple[int, ...] = ()  # hours of the day (UTC) that an hourly source has no row for
    content: str = ""  # SHA-256 over the rows without x_SourceFile and x_SourceRow: two exports agree when equal
    aside: tuple[Aside, ...] = ()  # what makes components unknown; not what stands elsewhere, such as duplicates

    def to_json(self) -> dict[str, Any]:
        """The facts as JSON, dollars as text."""
        raw: dict[str, Any] = json.loads(json.dumps(asdict(self), default=str))
        return raw

    @classmethod
    def from_json(cls, raw: dict[str, Any]) -> Facts:
        """The facts that :meth:`to_json` wrote."""
        return cls(
            **{
                **raw,
                "day": dt.date.fromisoformat(raw["day"]),
                "billed_usd": Decimal(raw["billed_usd"]),
                "received": dt.datetime.fromisoformat(raw["received"]),
                "inputs": tuple(raw["inputs"]),
                "missing_hours": tuple(raw["missing_hours"]),
                "aside": tuple(_aside(one) for one in raw.get("aside", ())),
            }
        )


@dataclass(frozen=True)
class Reach:
    """The days outside its billing period that an export file has, as received, and those that it had before."""

    received: dt.datetime  # aware
    days: tuple[dt.date, ...]
    gone: tuple[dt.date, ...] = ()


def _aside(raw: dict[str, Any]) -> Aside:
    return Aside(**{**raw, "amount": None if raw["amount"] is None else Decimal(raw["amount"])})


def metadata_of(facts: Facts) -> str:
    """The text for the Parquet file's key ``akidb`` (DuckDB: ``KV_METADATA {akidb: '...'}``)."""
    return json.dumps(facts.to_json(), sort_keys=True)


def facts_of(path: Path) -> Facts:
    """The facts inside a partition's file. Raises CostError when it has none or is cut short."""
    import pyarrow.parquet as pq
    from pyarrow import ArrowException

    try:
        metadata = pq.read_metadata(path).metadata or {}
        return Facts.from_json(json.loads(metadata[FACTS_KEY.encode()]))
    except (ArrowException, OSError, KeyError, ValueError, TypeError) as error:
        raise CostError(f"{path.name} is no partition of the cost table ({error}): ingest its day again") from error


class CostTable:
    """The cost table in a storage."""

    def __init__(self, storage: Storage) -> None:
        self.storage = storage

    def replace(self, path: Path) -> Facts:
        """Put the partition in ``path`` (Parquet with facts) in the place of its day's; returns its facts."""
        facts = facts_of(path)
        _known(facts.source)
        received = facts.received.strftime("%Y%m%dT%H%M%SZ")
        record = f"history/source={facts.source}/day={facts.day}/{received}-{facts.content[:12]}.json"
        # The record first: a partition without its record would hide that two exports agreed.
        with contextlib.suppress(FileExistsError):
            self.storage.create(record, metadata_of(facts).encode())
        lasting.mark(self.storage, facts.source, facts.day, path)
        self.storage.put_file(_key(facts.source, facts.day), path)
        return facts

    def remove(self, source: str, day: dt.date) -> None:
        """Take a partition out; its history stays."""
        self.storage.delete(_key(source, day))

    def facts(self, source: str, day: dt.date) -> Facts | None:
        """The facts of a day's partition, or None when the source has none for it."""
        with contextlib.suppress(FileNotFoundError), self.storage.local(_key(source, day)) as path:
            return facts_of(path)
        return None

    def history(self, source: str, day: dt.date) -> list[Facts]:
        """The facts of every version that stood there, by the time of receipt."""
        keys = self.storage.keys(f"history/source={source}/day={day}/")
        return [Facts.from_json(json.loads(self.storage.read(key))) for key in keys]

    def days(self, source: str) -> list[dt.date]:
        """The days that the source has a partition for, in order."""
        matches = (_DAY.search(key) for key in self.storage.keys(f"focus/source={_known(source)}/"))
        return [dt.date.fromisoformat(match[1]) for match in matches if match]

    def with_lasting(self, source: str, days: Sequence[dt.date]) -> list[dt.date]:
        """``days`` and, before them, those whose partition has a charge that lasts into them."""
        found = lasting.days_into(self.storage, _known(source), min(days))
        if found is None:
            self._mark_all(source)
            found = lasting.days_into(self.storage, source, min(days)) or []
        return [*found, *days]

    def _mark_all(self, source: str) -> None:
        for day in self.days(source):
            with self.files([day], [source]) as files:
                for path in files:
                    lasting.mark(self.storage, source, day, path)
        lasting.set_looked(self.storage, source)

    @contextlib.contextmanager
    def files(self, days: Sequence[dt.date], sources: Sequence[str] = tuple(SOURCES)) -> Iterator[list[Path]]:
        """Local files of the partitions that exist, by source and day, for the length of the block."""
        with contextlib.ExitStack() as stack:
            found = []
            for source in sources:
                for day in sorted(days):
                    with contextlib.suppress(FileNotFoundError):
                        found.append(stack.enter_context(self.storage.local(_key(source, day))))
            yield found

    def set_aside(self, source: str, name: str, reason: str, rows: Path | None = None) -> str:
        """Keep a refused batch: ``rows`` (Parquet, may be None when unreadable) with the reason; returns its key.

        The same batch under the same name is kept once: a retry adds nothing.
        """
        key = f"aside/source={_known(source)}/{re.sub(r'[^A-Za-z0-9_.=-]+', '-', name)}"
        content = hashlib.sha256(rows.read_bytes()).hexdigest() if rows else ""
        if rows:
            self.storage.put_file(f"{key}.parquet", rows)
        self.storage.put(f"{key}.json", json.dumps({"reason": reason, "content": content}, sort_keys=True).encode())
        return key

    def reach(self, source: str, bill: str) -> Reach | None:
        """What is remembered of the deliveries of ``bill``."""
        with contextlib.suppress(FileNotFoundError):
            raw = json.loads(self.storage.read(_reach(source, bill)))
            days, gone = (tuple(map(dt.date.fromisoformat, raw[name])) for name in ("days", "gone"))
            return Reach(dt.datetime.fromisoformat(raw["received"]), days, gone)
        return None

    def keep_reach(self, source: str, bill: str, reach: Reach) -> None:
        """Remember it, so that a delivery need not be fetched to learn which days it corrects."""
        raw = json.dumps({"bill": bill, **asdict(reach)}, default=str, sort_keys=True)
        self.storage.put(_reach(source, bill), raw.encode())

    def aside(self, source: str) -> dict[str, str]:
        """What was set aside for a source: key -> reason."""
        keys = (k for k in self.storage.keys(f"aside/source={source}/") if k.endswith(".json"))
        return {key.removesuffix(".json"): json.loads(self.storage.read(key))["reason"] for key in keys}


def _known(source: str) -> str:
    if source not in SOURCES:
        raise CostError(f"source {source!r} is not known: use one of {', '.join(SOURCES)}")
    return source


def _reach(source: str, bill: str) -> str:
    return f"reach/source={_known(source)}/{hashlib.sha256(bill.encode()).hexdigest()[:32]}.json"


def _key(source: str, day: dt.date) -> str:
    return f"focus/source={_known(source)}/day={day}.parquet"
