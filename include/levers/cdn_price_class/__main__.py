"""``python -m include.levers.cdn_price_class FILE --json``: what each price class and plan would cost for a file.

One line a candidate on stdout: ``{candidate, usd_month, p95_weighted_ms, refused}``. The file counts as one month
unless ``--days`` says how many it covers. Exit status 2, and the line's number on stderr, for a row that can't be read,
a country that is not known, or a file without rows.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import math
import sys
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

from include.estate import load_estate
from include.levers.cdn_price_class import latency, prices, usage
from include.levers.cdn_price_class.decide import Candidate, Judgement, Situation, against_plans, judge
from include.prices import DAYS_PER_MONTH, PriceBookError

BAD = 2
LEAST_DAYS, MOST_DAYS = Decimal("0.01"), Decimal(3660)  # a quarter of an hour to ten years
REASONS = (OSError, ValueError, RecursionError, usage.UsageError, latency.EdgeTableError, PriceBookError)


def main(arguments: Sequence[str]) -> int:
    """Judge a file; returns the exit status."""
    chosen = _parser().parse_args(arguments)
    try:
        case = _situation(chosen)
    except REASONS as error:
        print(f"{chosen.file}: {' '.join(str(error).split())}", file=sys.stderr)
        return BAD
    for warning in _warnings(chosen, case):
        print(warning, file=sys.stderr)
    judged = judge(case)
    lines = [_json(one) for one in judged.candidates] if chosen.json else list(_text(judged))
    print("\n".join(lines))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m include.levers.cdn_price_class", description=__doc__)
    parser.add_argument(
        "file", help="CloudFront log (w3c or JSON, packed or not), Locations or usage report; - is stdin"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object a candidate instead of a table")
    parser.add_argument("--days", type=_days, help="how many days the file covers; without it, it counts as a month")
    parser.add_argument("--current", choices=latency.PRICE_CLASSES, default=latency.ALL, help="the class of now")
    parser.add_argument("--measured", type=Path, help='JSON: P95 in ms now by country or part, {"JP": 14.2, "eu": 12}')
    parser.add_argument("--distribution", type=Path, help="JSON of `aws cloudfront get-distribution-config`: plans")
    parser.add_argument("--edges", type=Path, help="another table of edge cities, as CSV")
    parser.add_argument("--prices", type=Path, help="another table of prices, as YAML")
    return parser


def _situation(chosen: argparse.Namespace) -> Situation:
    used = _usage(chosen)
    measured = _measured(chosen.measured) if chosen.measured else {}
    config = _distribution(chosen.distribution) if chosen.distribution else {}
    return Situation(
        used,
        prices.load(chosen.prices),
        load_estate().edge.latency,
        chosen.current,
        measured,
        against_plans(config),
        latency.edges(chosen.edges) if chosen.edges else None,
    )


def _usage(chosen: argparse.Namespace) -> usage.Usage:
    if chosen.file == "-":
        found = usage.read(sys.stdin.buffer)  # type: ignore[arg-type]
    else:
        with Path(chosen.file).open("rb") as file:
            found = usage.read(file)
    if chosen.days is None:
        return found
    total, times = found.total, DAYS_PER_MONTH / chosen.days
    return found.scaled(round(total.bytes * times), round(total.requests * times))


def _object(path: Path) -> dict[str, Any]:
    raw = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(raw, dict):
        raise ValueError(f"{path}: it is {type(raw).__name__}, wanted a JSON object")
    return raw


def _distribution(path: Path) -> dict[str, Any]:
    found = _object(path)
    config = found.get("DistributionConfig", found)
    if not isinstance(config, dict):
        raise ValueError(f"{path}: DistributionConfig is {type(config).__name__}, wanted a JSON object")
    return config


def _days(text: str) -> Decimal:
    days = Decimal(str(float(text)))
    if not (days.is_finite() and LEAST_DAYS <= days <= MOST_DAYS):
        raise ValueError
    return days


def _measured(path: Path) -> dict[str, float]:
    found = _object(path)
    for key, value in found.items():
        known = key in latency.countries() or key in {one.part for one in latency.countries().values()}
        if not known or isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
            raise ValueError(f"{path}: {key!r}: {value!r} is no P95 in ms of a country or a part of the world")
    return {key: float(value) for key, value in found.items()}


def _warnings(chosen: argparse.Namespace, case: Situation) -> list[str]:
    stale = case.prices.stale(dt.datetime.now(dt.UTC).date())
    month = None if chosen.days else f"{chosen.file}: counted as one month's usage; --days N scales N days to a month"
    plans = None if chosen.distribution else "flat plans: --distribution checks that nothing speaks against one"
    return [line for line in (stale, month, plans) if line]


def _json(one: Candidate) -> str:
    figures = {"usd_month": float(one.usd_month), "p95_weighted_ms": round(one.weighted_ms, 1)}
    return json.dumps({"candidate": one.name, **figures, "refused": one.refused})


def _text(judged: Judgement) -> list[str]:
    rows = [f"{'candidate':<20} {'USD a month':>12} {'saves':>10} {'P95 ms':>7}  "]
    for one in judged.candidates:
        said = f"refused: {one.refused}" if one.refused else _remark(judged, one)
        figures = f"{one.usd_month:>12,.2f} {judged.saving(one):>10,.2f} {one.weighted_ms:>7.1f}"
        rows.append(f"{one.name:<20} {figures}  {said}".rstrip())
        rows += [f"{'':<20} slows {slowed}" for slowed in one.slowed]
    return rows


def _remark(judged: Judgement, one: Candidate) -> str:
    if one.is_plan:
        return "an offer: no DAG buys it"
    return "to have" if one is judged.chosen else ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
