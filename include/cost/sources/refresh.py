"""What a report's day needs from its sources, brought up to date: partitions of the cost table, and requests.

Partitions that are missing or older than their source are made anew and staged under ``staged/<run>/``; they enter the
table when they have been judged. Not only the day itself: also the days that its report looks back at, so that reports
of many days come out the same in whatever order they are made. A source that is away is a problem on record, no zero.
"""

from __future__ import annotations

import datetime as dt
import math
import re
import tempfile
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from include.cost.sources.bill import NoDeliveryError, collect_bill
from include.cost.sources.contracts import contract_rows, contracts_partition
from include.cost.sources.ingest import keep_aside
from include.cost.table.columns import COLUMNS, SOURCES, CostError, Role
from include.cost.table.days import days_read
from include.cost.table.store import CostTable, Facts, facts_of
from include.estate import Estate

if TYPE_CHECKING:
    from include.clients.opencost import OpenCost
    from include.clients.prometheus import Prometheus
    from include.cost.sources.exports import Collected

CONTRACTS, JETSON, AWS = "contracts", "jetson", "aws"
TOGETHER_ROWS = 200_000  # judged as one table, in memory


@dataclass(frozen=True)
class SourceClients:
    """How the sources are reached. Each may raise RuntimeError, which is then the source's problem.

    ``s3`` gives a boto3 client by connection id; ``prometheus`` a region's; ``allocators`` flavour -> region -> client
    of those that are configured.
    """

    s3: Callable[[str], Any]
    prometheus: Callable[[str], Prometheus]
    allocators: Callable[[], Mapping[str, Mapping[str, OpenCost]]]


@dataclass
class Gathered:
    """What was found: keys of staged partitions, source -> why it has nothing, and rows set aside by reason."""

    staged: list[str] = field(default_factory=list)
    problems: dict[str, str] = field(default_factory=dict)
    set_aside: dict[str, int] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


def trailing(day: dt.date, settle_hours: int) -> list[dt.date]:
    """The days before ``day`` whose bill may have changed or settled since they were reported."""
    return [day - dt.timedelta(days=back) for back in range(math.ceil(settle_hours / 24) + 1, 0, -1)]


def gather(
    table: CostTable, day: dt.date, estate: Estate, clients: SourceClients, run: str, now: dt.datetime
) -> Gathered:
    """Stage what is missing or out of date for the report of ``day`` and of the days that trail it.

    ``now`` only leaves out days that have not ended. Raises CostError when the bill's rows match two components.
    """
    days = sorted({one for at in (day, *trailing(day, estate.cost.settle_hours)) for one in days_read(at)})
    ended = [one for one in days if end_of(one) <= now]
    own = [one for one in (*trailing(day, estate.cost.settle_hours), day) if one in ended]
    work = _Gathering(table, estate, clients, f"staged/{re.sub(r'[^A-Za-z0-9_.=-]+', '-', run)}")
    with tempfile.TemporaryDirectory(prefix="akidb-gather-") as folder:
        work.bill(days, Path(folder))
        work.contracts(days, Path(folder))
        work.power(ended, Path(folder))
        work.allocations(own, Path(folder))
    return work.found


def end_of(day: dt.date) -> dt.datetime:
    """The day's end, UTC: when what is measured or fixed counts as received."""
    return dt.datetime(day.year, day.month, day.day, tzinfo=dt.UTC) + dt.timedelta(days=1)


class _Gathering:
    def __init__(self, table: CostTable, estate: Estate, clients: SourceClients, prefix: str) -> None:
        self.table, self.estate, self.clients, self.prefix = table, estate, clients, prefix
        self.found = Gathered()

    def _stage(self, facts: Facts, path: Path) -> None:
        key = f"{self.prefix}/{facts.source}-{facts.day}.parquet"
        self.table.storage.put_file(key, path)
        self.found.staged.append(key)

    # --- The provider's bill ---

    def bill(self, days: Sequence[dt.date], folder: Path) -> None:
        """The exports' days that are newer than their partition, and those that they correct."""
        try:
            bill = collect_bill(self.table, self.estate, days, self.clients.s3, folder)
        except NoDeliveryError:
            self.found.problems[AWS] = "no export has a file for these days: wait for the delivery"
        except CostError:
            raise
        except RuntimeError as error:
            self.found.problems[AWS] = _short(error)
        else:
            if bill.problems:
                self.found.problems[AWS] = "; ".join(bill.problems)
            if bill.made:
                self._stage_bill(bill.made)

    def _stage_bill(self, made: Collected) -> None:
        keep_aside(self.table, made, self.prefix.rpartition("/")[2])
        self.found.set_aside = dict(made.set_aside)
        self.found.warnings = list(made.warnings)
        for facts, path in zip(made.facts, made.paths, strict=True):
            self._stage(facts, path)

    # --- The other sources ---

    def contracts(self, days: Iterable[dt.date], folder: Path) -> None:
        """Days whose partition is missing or is not what the estate says now."""
        for day in days:
            rows = contract_rows(self.estate.cost.contracts, day, self.estate.cost.currency)
            there = self.table.facts(CONTRACTS, day)
            wanted = (len(rows), sum((row["BilledCost"] for row in rows), Decimal(0)))
            if there and (there.rows, there.billed_usd) == wanted:
                continue
            path = folder / f"contracts-{day}.parquet"
            facts = contracts_partition(self.estate, day, end_of(day), path)
            if facts:
                self._stage(facts, path)
            elif there:
                self.table.remove(CONTRACTS, day)

    def power(self, days: Iterable[dt.date], folder: Path) -> None:
        """Days whose energy was not measured, or with a gap; the first region whose Prometheus has them counts."""
        from include.cost.sources.devices import energy_partition

        open_days = [day for day in days if _incomplete(self.table.facts(JETSON, day))]
        for region in self.estate.ordered_regions() if open_days else ():
            try:
                prometheus = self.clients.prometheus(region)
                for day in list(open_days):
                    path = folder / f"jetson-{day}.parquet"
                    facts, _ = energy_partition(prometheus, self.estate, day, end_of(day), path)
                    if facts and _better(facts, self.table.facts(JETSON, day)):
                        self._stage(facts, path)
                        open_days.remove(day)
            except CostError:
                raise
            except RuntimeError as error:
                self.found.problems[JETSON] = _short(error)
                continue
            self.found.problems.pop(JETSON, None)
            break

    def allocations(self, days: Iterable[dt.date], folder: Path) -> None:
        """What the allocators say of the days that have no whole partition of theirs."""
        from include.cost.sources.allocation import allocation_partition

        for flavour, allocators in self.clients.allocators().items():
            for day in days:
                there = self.table.facts(flavour, day)
                if not _incomplete(there):
                    continue
                path = folder / f"{flavour}-{day}.parquet"
                try:
                    facts = allocation_partition(allocators, self.estate, day, end_of(day), path)
                except RuntimeError as error:
                    self.found.problems[flavour] = _short(error)
                    break
                if facts and _better(facts, there):
                    self._stage(facts, path)


def _incomplete(facts: Facts | None) -> bool:
    return facts is None or bool(facts.missing_hours)


def _better(new: Facts, old: Facts | None) -> bool:
    """A measurement that covers less than the one that stands must not take its place: a server forgets."""
    return old is None or len(new.missing_hours) < len(old.missing_hours)


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:500]


# --- From the stage into the table ------------------------------------------------------------------------------------


def admit(table: CostTable, staged: Sequence[str], estate: Estate) -> list[Facts]:
    """Judge staged partitions by their suite and put those that pass into the table; returns their facts.

    One that fails is kept aside with the failed expectation, and CostError names it when all have been judged. What
    is staged no more was admitted by an earlier try.
    """
    facts, failures = [], []
    for key in _passed_together(table, staged, estate):
        with table.storage.local(key) as path:
            facts.append(table.replace(path))
        table.storage.delete(key)
    for key in _there(table, staged):
        with table.storage.local(key) as path:
            name = key.rpartition("/")[2].removesuffix(".parquet")
            problem = judged([path], _source(key), estate, _day(key))
            if problem:
                table.set_aside(_source(key), name, problem, path)
                failures.append(f"{name}: {problem}")
            else:
                facts.append(table.replace(path))
        table.storage.delete(key)
    if failures:
        raise CostError("refused and kept aside, correct the source and run again: " + "; ".join(failures))
    return facts


def _passed_together(table: CostTable, staged: Sequence[str], estate: Estate) -> list[str]:
    """The keys of the sources whose partitions pass as one table: one judgement is much quicker than sixty."""
    from contextlib import ExitStack

    passed: list[str] = []
    for source in SOURCES:
        keys = [key for key in _there(table, staged) if _source(key) == source]
        with ExitStack() as stack:
            paths = [stack.enter_context(table.storage.local(key)) for key in keys]
            rows = sum(facts_of(path).rows for path in paths)
            if paths and rows <= TOGETHER_ROWS and not judged(paths, source, estate):
                passed += keys
    return passed


def _there(table: CostTable, staged: Collection[str]) -> list[str]:
    folders = {key.rpartition("/")[0] for key in staged}
    return [key for folder in sorted(folders) for key in table.storage.keys(f"{folder}/") if key in staged]


def judged(paths: Sequence[Path], source: str, estate: Estate, day: dt.date | None = None) -> str:
    """What the quality suite finds wrong with the partitions in ``paths`` together; empty when nothing is."""
    from include.quality.judge import judge

    table = _together(paths)
    if not len(table):
        return ""  # a day that the provider has taken back
    about: dict[str, Any] = {"columns": list(COLUMNS), "currency": estate.cost.currency}
    about |= {"day": day} if day else {}
    if SOURCES[source] is Role.ALLOCATION:
        return "; ".join(judge("allocation", table, regions=list(estate.regions), **about).failures)
    return "; ".join(judge("focus", table, **about).failures)


def _together(paths: Sequence[Path]) -> Any:
    """The partitions as one pyarrow table. A trace is unique in its day only: a contract is one row for all of them."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    tables = []
    for path in paths:
        table = pq.read_table(path)
        place = table.schema.get_field_index("x_SourceFile")
        traced = pc.binary_join_element_wise(str(facts_of(path).day), table.column(place).cast(pa.string()), " ")
        tables.append(table.set_column(place, "x_SourceFile", traced) if len(paths) > 1 else table)
    return pa.concat_tables(tables)


def _source(key: str) -> str:
    return key.rpartition("/")[2].partition("-")[0]


def _day(key: str) -> dt.date:
    return dt.date.fromisoformat(key.rpartition("/")[2].partition("-")[2].removesuffix(".parquet"))
