"""``python -m include.cost ingest FILE...``: what an export holds, by component, and what had to be set aside."""

from __future__ import annotations

import argparse
import datetime as dt
import json
import sys
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

from include.clients.storage import Folder
from include.cost.sources.exports import Collected, Format, Relation, SourceFile
from include.cost.sources.exports.bare import bare_sum
from include.cost.sources.ingest import ingest
from include.cost.sources.reconcile import Reconciliation, amounts_text, lines_of, reconcile
from include.cost.table.columns import CostError
from include.cost.table.store import CostTable
from include.estate import EstateError, load_estate

GOOD, INCOMPLETE, WRONG_USE = 0, 1, 2
EPILOG = """\
Formats, told by their columns: FOCUS 1.0 to 1.2, AWS CUR 2.0, legacy AWS CUR; Parquet, CSV or CSV.gz.
Name older files first. Files of other accounts, billing periods or days add up. Two files that hold the same account,
billing period and time are either parts of one download, which add up, or the later one takes the place of the earlier
from its first day to its last. Parts share no charge (at most a tenth), or are numbered (x-00001, x-00002); a later
download has at least four fifths of the charges once more, whatever they cost now. What is neither is refused: say
--parts or --later. Where two formats cover a day of an account, the format named first counts. Equal rows of a file are
two charges, unless the provider has numbered its lines.
--into: the same rule between the files and what the table holds. Other accounts, billing periods and days stay as they
are. Nothing is kept when a file can't be read.
JSON: rows and rows_set_aside (they add up to the rows read), billed_usd, days, first_day, last_day, components and
unallocated_usd (dollars as numbers with up to 8 decimals; a component without rows is left out), set_aside (reason ->
rows), set_aside_amounts (reason -> currency -> amount; null: none can be read), unread (field -> values of rows that
count), files_set_aside (file -> reason), warnings; with --reconcile: reconcile.
Exit status: 0 good; 1 a file, an amount or a cost could not be read, rows are set aside whose dollars count nowhere, or
the sums of --reconcile don't add up; 2 wrong use.
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
        files = _sources(options.files, options.format)
        made = ingest(files, estate, table, options.stated)
    except (CostError, EstateError) as error:
        print(error, file=sys.stderr)
        return WRONG_USE
    for text in (*made.refused.values(), *made.warnings):
        print(text, file=sys.stderr)
    found = _reconciled(files, made, estate.cost.currency) if options.reconcile else None
    print(json.dumps(summary(made, found), indent=1) if options.json else readable(made, found))
    is_whole = not (made.refused or made.lost or made.costs_unread) and (found is None or found.adds_up)
    return GOOD if is_whole else INCOMPLETE


def _reconciled(files: Sequence[SourceFile], made: Collected, currency: str) -> Reconciliation:
    bare = bare_sum(files, currency)
    return reconcile(bare, made.billed_usd, made.rows, made.aside_amounts, made.rows_set_aside, currency)


def summary(made: Collected, found: Reconciliation | None = None) -> dict[str, Any]:
    """What came of it as JSON; see EPILOG."""
    days = [day.isoformat() for day in made.days]
    result = {
        "rows": made.rows,
        "rows_set_aside": made.rows_set_aside,
        "billed_usd": _number(made.billed_usd),
        "days": len(days),
        "first_day": min(days, default=None),
        "last_day": max(days, default=None),
        "components": {name: _number(usd) for name, usd in sorted(made.components.items())},
        "unallocated_usd": _number(made.unallocated_usd),
        "set_aside": dict(sorted(made.set_aside.items())),
        "set_aside_amounts": _amounts(made.aside_amounts),
        "unread": dict(sorted(made.unread.items())),
        "files_set_aside": dict(sorted(made.refused.items())),
        "missing_hours": {
            facts.day.isoformat(): list(facts.missing_hours)
            for facts in made.facts
            if facts.missing_hours and facts.day in made.days
        },
        "warnings": list(made.warnings),
    }
    return result if found is None else result | {"reconcile": _plain(found)}


def _plain(found: Reconciliation) -> dict[str, Any]:
    files, kept, aside = found.rows
    sums = {"files": found.files, "kept": found.kept, "difference": found.difference}
    return {
        "adds_up": found.adds_up,
        **_amounts(sums),
        "set_aside": _amounts(found.aside),
        "rows": {"files": files, "kept": kept, "set_aside": aside},
        "left_out": list(found.left_out),
    }


def readable(made: Collected, found: Reconciliation | None = None) -> str:
    """The same as a table to read."""
    result = summary(made)
    amounts = {reason: amounts_text(of) for reason, of in made.aside_amounts.items()}
    lines = [
        f"{result['rows']} rows of {result['days']} days ({result['first_day']} to {result['last_day']}), "
        f"{result['rows_set_aside']} set aside",
        *(f"  {name:<40} {usd:>14,.2f} USD" for name, usd in result["components"].items()),
        f"  {'unallocated':<40} {result['unallocated_usd']:>14,.2f} USD",
        f"  {'total':<40} {result['billed_usd']:>14,.2f} USD",
        *(f"set aside: {rows} rows, {amounts[reason]}, {reason}" for reason, rows in result["set_aside"].items()),
        *(f"{field} can't be read in {values} rows that count" for field, values in result["unread"].items()),
        *(
            f"{day} has no hourly usage at {', '.join(map(str, hours))} h"
            for day, hours in result["missing_hours"].items()
        ),
        *(lines_of(found) if found else ()),
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
    relation = command.add_mutually_exclusive_group()
    relation.add_argument(
        "--parts", dest="stated", action="store_const", const=Relation.PARTS, help="the FILEs are parts of one download"
    )
    relation.add_argument(
        "--later",
        dest="stated",
        action="store_const",
        const=Relation.LATER,
        help="each FILE takes the place of those before it, and of what the table holds of its accounts and days",
    )
    command.add_argument(
        "--reconcile", action="store_true", help="show that the files' bare sum is what was kept and what was set aside"
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


def _amounts(sums: Mapping[str, Mapping[str, Decimal | None]]) -> dict[str, dict[str, float | None]]:
    return {
        name: {currency: None if amount is None else _number(amount) for currency, amount in sorted(of.items())}
        for name, of in sorted(sums.items())
    }


def _number(usd: Decimal) -> float:
    return float(round(usd, 8))


if __name__ == "__main__":
    sys.exit(main())
