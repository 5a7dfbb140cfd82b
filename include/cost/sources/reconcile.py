"""Does an ingest account for every dollar: what the files bill = what was kept + what was set aside, by currency."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from include.cost.sources.exports.bare import BareSum


@dataclass(frozen=True)
class Reconciliation:
    """The three sums by currency. ``difference`` is what the files have beyond the other two; empty when nothing is."""

    files: Mapping[str, Decimal]
    kept: Mapping[str, Decimal]
    aside: Mapping[str, Mapping[str, Decimal | None]]  # reason -> currency -> amount; None: it can't be read
    rows: tuple[int, int, int]  # of the files, kept, set aside
    difference: Mapping[str, Decimal]
    left_out: tuple[str, ...]

    @property
    def adds_up(self) -> bool:
        """Whether rows and dollars of all files are accounted for."""
        return not self.difference and self.rows[0] == self.rows[1] + self.rows[2] and not self.left_out


def reconcile(
    bare: BareSum,
    kept: Decimal,
    rows: int,
    aside: Mapping[str, Mapping[str, Decimal | None]],
    rows_aside: int,
    currency: str,
) -> Reconciliation:
    """Compare them. What can't be read has no amount on either side: it is accounted for by its rows."""
    left = dict(bare.amounts)
    left[currency] = left.get(currency, Decimal(0)) - kept
    for amounts in aside.values():
        for name, amount in amounts.items():
            left[name] = left.get(name, Decimal(0)) - (amount or Decimal(0))
    difference = {name: amount for name, amount in sorted(left.items()) if amount}
    return Reconciliation(
        bare.amounts, {currency: kept}, aside, (bare.rows, rows, rows_aside), difference, bare.left_out
    )


def lines_of(found: Reconciliation) -> list[str]:
    """The same for people."""
    files, kept, aside = found.rows
    lines = [
        f"files      {amounts_text(found.files)} ({files} rows)",
        f"kept       {amounts_text(found.kept)} ({kept} rows)",
        *(f"set aside  {amounts_text(amounts)}: {reason}" for reason, amounts in sorted(found.aside.items())),
        f"set aside  {aside} rows in all",
        *(f"left out   {name}: it can't be read" for name in found.left_out),
    ]
    if found.adds_up:
        return [*lines, "adds up: files = kept + set aside"]
    return [*lines, f"DOES NOT ADD UP: the files have {amounts_text(found.difference) or 'other rows'} more than that"]


def amounts_text(amounts: Mapping[str, Decimal | None]) -> str:
    """Amounts by currency, such as ``1.00 USD, 50.00 EUR``."""
    return ", ".join(f"{'unknown' if usd is None else f'{usd:,.2f}'} {name}" for name, usd in amounts.items())
