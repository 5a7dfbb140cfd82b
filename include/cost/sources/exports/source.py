"""One export file: what it is, whether it can be read, and its rows as SQL."""

from __future__ import annotations

import csv
import datetime as dt
import enum
import gzip
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from include.cost.sources.exports import cur, focus
from include.cost.sources.exports.fields import Fields
from include.cost.table.columns import CostError
from include.cost.table.sql import literal

ROW = "_row"  # 1 is the first row after the header
_AGAIN = "\x1f"  # before the number of a column whose name stands there in another case


class Format(enum.StrEnum):
    """The layouts that can be read."""

    FOCUS = "focus-1.2"  # 1.0 and 1.1 too: they have fewer columns
    CUR_2 = "cur-2.0"
    CUR = "cur"


@dataclass(frozen=True)
class SourceFile:
    """One file of an export. ``received`` (aware) is when the provider wrote it.

    Files of one ``delivery`` add up, and a newer delivery of the same export replaces an older one. Without a delivery
    ("") a person named the file: see downloads.py. ``rank``: where two exports cover the same day of an account, the
    lower one counts.
    """

    key: str  # stands in x_SourceFile
    path: Path
    received: dt.datetime
    format: Format | None = None  # None: by its columns
    delivery: str = ""
    rank: int = 0


@dataclass(frozen=True)
class Source:
    """A file that was opened: its format, fields and a relation with its columns and ``_row``."""

    file: SourceFile
    format: Format
    fields: Fields
    relation: str
    rows: int  # exact for Parquet, an estimate from the size for CSV
    is_csv: bool


def open_source(connection: Any, file: SourceFile) -> Source:
    """Read names and types of the file's columns. Raises CostError when it can't be read or is no known export."""
    kind = _kind(file)
    if kind == "parquet":
        relation, rows, labels = _parquet(connection, file)
    else:
        relation, rows, labels = _csv(file, is_gzip=kind == "gzip")
    described = guarded(file, lambda: connection.execute(f"DESCRIBE SELECT * FROM {relation}").fetchall())
    fields = _fields([(name, str(kind_)) for name, kind_, *_ in described if name != ROW], labels)
    found = file.format or detect(file.key, fields.columns)
    _require(file.key, found, fields.columns)
    return Source(file, found, fields, relation, rows, is_csv=kind != "parquet")


def _fields(described: Sequence[tuple[str, str]], labels: Sequence[str]) -> Fields:
    """The columns by canonical name; ``labels`` are their names in the file, in the same order.

    Tags whose keys differ in upper and lower case are two: the second has a number in its canonical name.
    """
    columns: dict[str, tuple[str, str]] = {}
    named: dict[str, str] = {}
    for (name, kind), label in zip(described, labels, strict=True):
        canonical = cur.canonical(label).lower()
        place = canonical if canonical not in columns else f"{canonical}{_AGAIN}{len(columns)}"
        columns[place], named[place] = (name, kind), label
    return Fields(columns, named)


def detect(name: str, columns: Iterable[str]) -> Format:
    """The format that has these columns (canonical names). Raises CostError naming what is missing."""
    known = set(columns)
    lacks_focus = [column for column in focus.REQUIRED if column.lower() not in known]
    lacks_cur = [column for column in cur.REQUIRED if column not in known]
    if not lacks_focus:
        return Format.FOCUS
    if not lacks_cur:
        return Format.CUR_2 if cur.is_version_2(known) else Format.CUR
    nearest, lacks = min(("FOCUS", lacks_focus), ("AWS CUR", lacks_cur), key=lambda pair: len(pair[1]))
    raise CostError(
        f"{name} is no export that can be read; as {nearest} it lacks {', '.join(lacks)}: "
        "export FOCUS 1.2 or CUR 2.0 with these columns"
    )


def guarded(file: SourceFile, read: Any) -> Any:
    """The answer of ``read``; DuckDB's errors become CostError naming the file."""
    import duckdb

    try:
        return read()
    except duckdb.OutOfMemoryException:
        raise
    except (duckdb.Error, OSError) as error:
        short = " ".join(str(error).split())[:300]
        raise CostError(f"{file.key} can't be read ({short}): fetch it again from the provider") from error


def _kind(file: SourceFile) -> str:
    try:
        with file.path.open("rb") as stream:
            magic = stream.read(4)
    except OSError as error:
        raise CostError(f"{file.key} can't be read ({error.strerror}): correct the path") from error
    if not magic:
        raise CostError(f"{file.key} is empty: fetch it again from the provider")
    if magic == b"PAR1":
        return "parquet"
    if magic.startswith(b"PK"):
        raise CostError(f"{file.key} is a zip archive: unpack it and give the CSV in it")
    return "gzip" if magic.startswith(b"\x1f\x8b") else "csv"


def _parquet(connection: Any, file: SourceFile) -> tuple[str, int, list[str]]:
    import pyarrow.parquet as pq

    path = literal(str(file.path))
    sql = f"SELECT num_rows FROM parquet_file_metadata({path})"
    rows = guarded(file, lambda: connection.execute(sql).fetchone())[0]
    numbered = f"read_parquet({path}, file_row_number=true, hive_partitioning=false)"
    relation = f"(SELECT * EXCLUDE (file_row_number), file_row_number + 1 AS {ROW} FROM {numbered})"
    return relation, int(rows), guarded(file, lambda: list(pq.read_schema(file.path).names))


def _csv(file: SourceFile, is_gzip: bool) -> tuple[str, int, list[str]]:
    labels = _header(file, is_gzip)
    names = _distinct(labels)
    columns = ", ".join(f"{literal(name)}: 'VARCHAR'" for name in names)
    # Nothing is guessed from the rows: a column of text NULLs or of zero-led account ids would change its type.
    read = (
        f"read_csv({literal(str(file.path))}, header=true, auto_detect=false, delim=',', quote='\"', escape='\"', "
        f"compression={literal('gzip' if is_gzip else 'none')}, columns={{{columns}}})"
    )
    size = file.path.stat().st_size
    return f"(SELECT *, row_number() OVER () AS {ROW} FROM {read})", size // (20 if is_gzip else 200), labels


def _distinct(labels: Sequence[str]) -> list[str]:
    """The names as a relation can have them: SQL doesn't tell ``Name`` from ``name``."""
    names: list[str] = []
    for label in labels:
        is_taken = label.lower() in {name.lower() for name in names}
        names.append(f"{label}{_AGAIN}{len(names)}" if is_taken else label)
    return names


def _header(file: SourceFile, is_gzip: bool) -> list[str]:
    opener = gzip.open if is_gzip else open
    try:
        with opener(file.path, "rt", encoding="utf-8-sig", newline="") as stream:
            names = next(csv.reader(stream), [])
    except (OSError, EOFError, UnicodeDecodeError, csv.Error) as error:
        raise CostError(f"{file.key} can't be read ({error}): fetch it again from the provider") from error
    seen = [name if name.startswith(cur.TAG_GROUPS) else name.lower() for name in names]  # keys of tags have case
    twice = sorted({name for name in seen if seen.count(name) > 1})
    if twice or not all(names):
        what = f"the column {twice[0]!r} twice" if twice else "a column without a name"
        raise CostError(f"{file.key} has {what} in its header: export it again with each column once")
    return names


def _require(name: str, found: Format, columns: Iterable[str]) -> None:
    known = set(columns)
    required = focus.REQUIRED if found is Format.FOCUS else cur.REQUIRED
    lacks = [column for column in required if column.lower() not in known]
    if lacks:
        raise CostError(f"{name} is read as {found} and lacks {', '.join(lacks)}: export it with these columns")
