"""The completion report once more, from a ledger alone: such as after everything was undone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from include.completion.store import from_ledger, put_report, render
from include.estate import Estate
from include.rollout.ledger import Chain, Ledger


def write(
    ledger: Ledger, estate: Estate, out: Path, regions: Sequence[str] = (), chain: Chain | None = None
) -> list[Path]:
    """Write report.json, report.md and report.html into ``out``; with a ``chain`` the report goes on record too.

    Returns the files.
    """
    pages = render(from_ledger(ledger, estate, list(regions) or estate.ordered_regions()))
    if chain is not None:
        put_report(ledger, chain, pages["report.json"])
    out.mkdir(parents=True, exist_ok=True)
    for name, data in pages.items():
        (out / name).write_bytes(data)
    return [out / name for name in pages]
