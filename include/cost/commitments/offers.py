"""Ways to commit and other clouds' prices: dated tables, each row with its source."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from include.cost.table.columns import CostError

OFFERS_FILE = Path(__file__).parents[2] / "price_book" / "commitments.csv"
CLOUDS_FILE = Path(__file__).parents[2] / "price_book" / "other_clouds.csv"
COMPUTE = "compute"  # scope of a Savings Plan that counts in every family and region


@dataclass(frozen=True)
class Offer:
    """A way to commit. ``discount`` below on demand, 0..1; ``scope``: family or compute."""

    kind: str
    term_years: int
    payment: str
    scope: str
    discount: Decimal
    date: str
    status: str
    source: str

    @property
    def name(self) -> str:
        """Such as ``savings_plan 1y no upfront (compute)``."""
        return f"{self.kind} {self.term_years}y {self.payment} ({self.scope})"


@dataclass(frozen=True)
class CloudPrice:
    """A machine of another cloud that could stand in for one of ``like_region``; None: price not known."""

    cloud: str
    machine: str
    arch: str
    vcpu: int
    memory_gib: int
    region: str
    like_region: str
    term: str
    usd_hour: Decimal | None
    date: str
    date_kind: str
    status: str
    source: str


def load_offers(path: Path = OFFERS_FILE) -> list[Offer]:
    """The ways to commit. Raises CostError with the file and line."""
    return [
        Offer(**{**raw, "term_years": int(raw["term_years"]), "discount": _share(raw["discount"])})
        for raw in _rows(path, Offer)
    ]


def load_clouds(path: Path = CLOUDS_FILE) -> list[CloudPrice]:
    """List prices of other clouds. Raises CostError with the file and line."""
    return [
        CloudPrice(
            **{
                **raw,
                "vcpu": int(raw["vcpu"]),
                "memory_gib": int(raw["memory_gib"]),
                "usd_hour": Decimal(raw["usd_hour"]) if raw["usd_hour"] else None,
            }
        )
        for raw in _rows(path, CloudPrice)
    ]


def _share(text: str) -> Decimal:
    value = Decimal(text)
    if not 0 < value < 1:
        raise ValueError(f"discount {text} is no share between 0 and 1")
    return value


def _rows(path: Path, kind: type[Any]) -> Iterable[Any]:
    lines = [(n, line) for n, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)]
    body = [(n, line) for n, line in lines if line and not line.startswith("#")]
    wanted = list(kind.__dataclass_fields__)
    reader = csv.DictReader(line for _, line in body)
    if list(reader.fieldnames or []) != wanted:
        raise CostError(f"{path.name}: columns are {reader.fieldnames}: they must be {', '.join(wanted)}")
    for raw, (number, _) in zip(reader, body[1:], strict=True):
        if None in raw or None in raw.values() or not raw["date"] or not raw["source"]:
            raise CostError(f"{path.name} line {number}: needs {len(wanted)} values, date and source among them")
        yield raw
