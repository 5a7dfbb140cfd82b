"""``make plan``: the week's waterfall in a terminal, or with ``--json`` as one JSON object on standard output."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence

from include.estate import EstateError, load_estate
from include.planner import words
from include.planner.figures import PLAN, WeekPlan
from include.planner.week import SEED, plan
from include.prices import PriceBookError, TooFewInstanceTypesError

RESAMPLES = 1000
WIDTH = 110  # of the widest table; where a terminal is narrower its lines go on below


def main(arguments: Sequence[str] | None = None) -> int:
    """Plan the estate's week; 1 where the estate or a price book can't be used."""
    parser = argparse.ArgumentParser(prog="python -m include.planner", description=__doc__)
    parser.add_argument("--json", action="store_true", help="figures alone, as JSON")
    parser.add_argument("--resamples", type=int, default=RESAMPLES, help="months drawn for P50 and P90")
    parser.add_argument("--seed", type=int, default=SEED, help="of these months")
    options = parser.parse_args(arguments)
    try:
        week = plan(load_estate(), resamples=options.resamples, seed=options.seed)
    except (EstateError, PriceBookError, TooFewInstanceTypesError) as error:
        print(f"plan: {error}", file=sys.stderr)
        return 1
    if options.json:
        print(json.dumps(week.to_json(), indent=2))
    else:
        show(week)
    return 0


def show(week: WeekPlan) -> None:
    """The waterfall, the components, the plan's lines and what binds."""
    from rich.console import Console

    console = Console(highlight=False)
    console = Console(highlight=False, width=max(WIDTH, console.width))
    console.print(_table("From week 13 to week 14, USD a month (a saving is below zero)", words.week_rows(week)))
    console.print(_table("By component, USD a month", words.component_rows(week)))
    console.print(_table("The plan's 2,970 by its own figures", words.line_rows(week.books[PLAN])))
    for note in words.notes(week):
        console.print(f"- {note}", markup=False)
    console.print(
        f"simulated in {week.simulation_seconds:.2f} s of the processor; docs/reference/planner.md", markup=False
    )


def _table(title: str, rows: Sequence[Sequence[str]]) -> object:
    from rich.table import Table

    head, *body = rows
    table = Table(title=title, title_justify="left")
    for place, name in enumerate(head):
        table.add_column(name, justify="right" if place and name != "from" else "left", no_wrap=not place)
    for row in body:
        style = "bold" if row[0].startswith(("week", "total")) else _colour(row)
        table.add_row(*row, style=style)
    return table


def _colour(row: Sequence[str]) -> str:
    """Green saves and red costs, by the first figure that says either."""
    signed = next((cell for cell in row[1:] if cell[:1] in "+-" and cell), "")
    return {"-": "green", "+": "red"}.get(signed[:1], "")


if __name__ == "__main__":
    sys.exit(main())
