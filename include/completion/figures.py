"""Figures that others can compute again: each names its rule, its records with hashes, and where in them it stands.

tools/verify_ledger.py knows the same rules: ``value`` (one record's), ``min`` and ``max``, ``equal`` (how many records
say so) and ``ratio`` (a sum divided by another, nine digits behind the point).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from include.completion.history import History
from include.rollout.ledger import Record

Json = Any
Path = tuple[str | int, ...]


@dataclass(frozen=True)
class Figure:
    """One figure: ``rule`` over what stands at ``at`` in the records, which are (key, SHA-256)."""

    figure: str
    rule: str
    value: Json
    at: Path
    records: tuple[tuple[str, str], ...]
    more: Mapping[str, Json]

    def to_json(self) -> dict[str, Json]:
        """The figure as the report's JSON has it."""
        plain = {"figure": self.figure, "rule": self.rule, "value": self.value, "at": list(self.at)}
        return {**plain, "records": [list(record) for record in self.records], **self.more}

    @property
    def keys(self) -> tuple[str, ...]:
        """The records that it is made of."""
        return tuple(key for key, _ in self.records)


def value(history: History, name: str, record: Record, at: Path) -> Figure:
    """What one record says."""
    return _figure(history, name, "value", [record], at, _at(record, at))


def least(history: History, name: str, records: Sequence[Record], at: Path) -> Figure:
    """The smallest of what the records say; at least one is needed."""
    return _figure(history, name, "min", records, at, min(_at(record, at) for record in records))


def equal(history: History, name: str, records: Sequence[Record], at: Path, wanted: Json) -> Figure:
    """How many of the records say ``wanted``."""
    count = sum(_at(record, at) == wanted for record in records)
    return _figure(history, name, "equal", records, at, count, {"is": wanted})


def ratio(history: History, name: str, records: Sequence[Record], at: Path, by: Path) -> Figure | None:
    """The sum of what stands at ``at`` by the sum of what stands at ``by``; None where that is nothing."""
    total, whole = (sum(Decimal(str(_at(record, path))) for record in records) for path in (at, by))
    if not whole:
        return None
    return _figure(history, name, "ratio", records, at, f"{total / whole:.9f}", {"by": list(by)})


def _figure(
    history: History,
    name: str,
    rule: str,
    records: Sequence[Record],
    at: Path,
    found: Json,
    more: Mapping[str, Json] | None = None,
) -> Figure:
    keys = [record.address for record in records]
    return Figure(name, rule, found, at, tuple((key, history.hashes[key]) for key in keys), more or {})


def _at(record: Record, at: Path) -> Json:
    """What stands at a path of a record; paths begin with ``figures`` or ``step``, as in the record's JSON."""
    if at[0] != "figures":
        return getattr(record, str(at[0]))
    found: Json = record.figures
    for step in at[1:]:
        found = found[step]
    return found
