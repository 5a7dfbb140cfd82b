"""``python -m include.cost ingest FILE...``: what an export holds, by component, and what had to be set aside."""

from __future__ import annotations

import argparse
import datetime as dt
import json
import sys
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

from include.clients.storage import Folder
from include.cost.exports import Collected, Format, SourceFile
from include.cost.focus import CostError
from include.cost.ingest import ingest
from include.cost.store import CostTable
from include.estate import EstateError, load_estate

GOOD, REFUSED, WRONG_USE = 0, 1, 2
EPILOG = """\
Formats, told by their columns: FOCUS 1.0 to 1.2, AWS CUR 2.0, legacy AWS CUR; Parquet, CSV or CSV.gz.
Several files add up; lines that two files have count once, and a line that a later FILE has with another cost counts as
it has it: name older files first. Where two formats cover a day of an account, the format named first counts.
JSON: rows and rows_set_aside (they add up to the rows read), billed_usd, days, first_day, last_day, components and
unallocated_usd (dollars as numbers with up to 8 decimals; a component without rows is left out), set_aside (reason ->
rows), files_set_aside (file -> reason).
Exit status: 0 good, 1 a file could not be read, 2 wrong use.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    options = _parser().parse_args(arguments)
    missing = [str(path) for path in options.files if not path.is_file()]
    if missing:
        print(f"{missing[0]} is no file: correct the path", file=sys.stderr)
        return WRONG_USE
    try:
        estate = load_estate(options.estate)
        table = CostTable(Folder(options.into.resolve())) if options.into else None
        made = ingest(_sources(options.files, options.format), estate, None, table)
    except (CostError, EstateError) as error:
        print(error, file=sys.stderr)
        return WRONG_USE
    for reason in made.refused.values():
        print(reason, file=sys.stderr)
    print(json.dumps(summary(made), indent=1) if options.json else readable(made))
    return REFUSED if made.refused else GOOD


def summary(made: Collected) -> dict[str, Any]:
    """What came of it as JSON; see EPILOG."""
    days = [facts.day.isoformat() for facts in made.facts if facts.rows]
    return {
        "rows": made.rows,
        "rows_set_aside": made.rows_set_aside,
        "billed_usd": _number(made.billed_usd),
        "days": len(days),
        "first_day": min(days, default=None),
        "last_day": max(days, default=None),
        "components": {name: _number(usd) for name, usd in sorted(made.components.items())},
        "unallocated_usd": _number(made.unallocated_usd),
        "set_aside": dict(sorted(made.set_aside.items())),
        "files_set_aside": dict(sorted(made.refused.items())),
        "missing_hours": {
            facts.day.isoformat(): list(facts.missing_hours) for facts in made.facts if facts.missing_hours
        },
    }


def readable(made: Collected) -> str:
    """The same as a table to read."""
    found = summary(made)
    lines = [
        f"{found['rows']} rows of {found['days']} days ({found['first_day']} to {found['last_day']}), "
        f"{found['rows_set_aside']} set aside",
        *(f"  {name:<40} {usd:>14,.2f} USD" for name, usd in found["components"].items()),
        f"  {'unallocated':<40} {found['unallocated_usd']:>14,.2f} USD",
        f"  {'total':<40} {found['billed_usd']:>14,.2f} USD",
        *(f"set aside: {rows} rows, {reason}" for reason, rows in found["set_aside"].items()),
        *(
            f"{day} has no hourly usage at {', '.join(map(str, hours))} h"
            for day, hours in found["missing_hours"].items()
        ),
    ]
    return "\n".join(lines)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m include.cost", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    command = commands.add_parser(
        "ingest",
        help="read exports, show their costs by component",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument("files", metavar="FILE", type=Path, nargs="+")
    command.add_argument("--json", action="store_true", help="print JSON")
    command.add_argument(
        "--into", metavar="FOLDER", type=Path, help="keep the rows in this cost table; default: nowhere"
    )
    command.add_argument("--estate", metavar="FILE", type=Path, help="default: include/estate.yaml")
    command.add_argument("--format", type=Format, choices=list(Format), help="default: told by the columns")
    return parser


def _sources(paths: Sequence[Path], given: Format | None) -> list[SourceFile]:
    names = [path.name for path in paths]
    return [
        SourceFile(
            path.name if names.count(path.name) == 1 else str(path),
            path,
            dt.datetime.fromtimestamp(path.stat().st_mtime, dt.UTC).replace(microsecond=0),
            given,
        )
        for path in paths
    ]


def _number(usd: Decimal) -> float:
    return float(round(usd, 8))


if __name__ == "__main__":
    sys.exit(main())
