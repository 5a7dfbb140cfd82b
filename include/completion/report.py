"""The completion report of the week, as JSON: from the ledger and the plan's book. Pure functions, no clock.

Facts only: what has no data reads unknown, and unknown is never a pass. Dollars are text, as the validation keeps them.
Each figure names the record that it comes from, and ``figures`` has what others need to compute it again.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from decimal import Decimal
from typing import Any

from include.completion import figures, service
from include.completion.figures import Figure
from include.completion.history import FAIL, PASS, UNKNOWN, History, RegionRun
from include.completion.scorecard import (
    REQUIRED_SHARE,
    Inputs,
    line_of,
    priority_verdict,
    scorecard,
)
from include.pages.texts import usd
from include.prices import PlanBook
from include.rollout.ledger import Record, Step, last

Json = Any
NAMES = ("p95_ms", "error_ratio", "nodes", "spot_share_pods", "usd_hour")
WEEK = "week14"  # whose chain holds the planner's waterfall


def build(inputs: Inputs) -> dict[str, Json]:
    """The whole report as JSON."""
    scores, runs = scorecard(inputs), inputs.history.region_runs()
    priorities = {name: _priority([s.verdict for s in scores if s.priority == name], name) for name in REQUIRED_SHARE}
    return {
        "estate": inputs.estate.name,
        "regions": list(inputs.regions),
        "as_of": inputs.history.newest(),
        "summary": _summary(inputs, priorities, runs),
        "breakdown": _breakdown(inputs),
        "days": [asdict(run) | {"day": run.day, "date": _date(run.began)} for run in runs],
        "latency": [_latency(inputs, region) for region in inputs.regions],
        "service": _service(inputs),
        "savings": _savings(inputs),
        "waterfall": _waterfall(inputs.history),
        "lessons": [
            {"text": f"{_date(r.began)} {r.lever} {r.region}: {reason}", "source": r.source}
            for r in runs
            for reason in r.reasons
        ],
        "scorecard": [asdict(score) | {"sources": list(score.sources)} for score in scores],
        "priorities": priorities,
        "ledger": _ledger(inputs.history),
        "limits": {"p95_ms": inputs.estate.targets.p95_ms},
        "figures": [figure.to_json() for figure in figures_of(inputs)],
        "sources": {
            "validation": inputs.validation_key,
            "cost_report": inputs.report_key,
            "commitments": inputs.commitments_key,
        },
    }


def encode(report: Mapping[str, Json]) -> bytes:
    """The report's bytes: equal reports have equal bytes."""
    return (json.dumps(report, sort_keys=True, indent=1, ensure_ascii=False) + "\n").encode()


def _date(moment: str) -> str:
    return str(dt.datetime.fromisoformat(moment).date())


def _priority(verdicts: Sequence[str], priority: str) -> dict[str, Json]:
    counts = {word: verdicts.count(word) for word in (PASS, FAIL, UNKNOWN)}
    verdict = priority_verdict(verdicts, priority)
    return counts | {"of": len(verdicts), "wanted": REQUIRED_SHARE[priority], "verdict": verdict}


# What others can compute again ---------------------------------------------------------------------------------------


def figures_of(inputs: Inputs) -> list[Figure]:
    """Every figure of the report that the ledger's records give by a rule."""
    history, regions = inputs.history, inputs.regions
    gates, applied = history.steps(Step.GATE), history.steps(Step.APPLIED)
    restored = [record for record in history.steps(Step.RESTORED) if "complete" in record.figures]
    found: list[Figure | None] = [
        *(
            figures.equal(history, f"gates: {word}", gates, ("figures", "outcome"), word)
            for word in (PASS, FAIL, UNKNOWN)
        ),
        figures.equal(history, "stages applied", applied, ("step",), Step.APPLIED),
        figures.equal(history, "promotions", history.steps(Step.PROMOTED), ("step",), Step.PROMOTED),
        figures.equal(history, "restorations", restored, ("figures", "complete"), True),
        service.availability(history, regions),
        service.throughput(history, regions),
    ]
    return [figure for figure in found if figure is not None] + _dollar_figures(inputs)


def _dollar_figures(inputs: Inputs) -> list[Figure]:
    history, record = inputs.history, inputs.validated
    if record is None:
        return []
    names = ("usd_month", "target_usd_month", "verdict")
    total = [figures.value(history, f"total {name}", record, ("figures", "total", name)) for name in names]
    lines = [
        figures.value(history, f"{line['component']} {name}", record, ("figures", "lines", n, name))
        for n, line in enumerate(record.figures["lines"])
        for name in names
    ]
    return [*total, *lines]


def _ledger(history: History) -> dict[str, Json]:
    """What is known of the records themselves."""
    return {"records": len(history.hashes), "unsigned": history.unsigned, "bad": dict(sorted(history.bad.items()))}


# Sections ------------------------------------------------------------------------------------------------------------


def _summary(inputs: Inputs, priorities: Mapping[str, Mapping[str, Json]], runs: Sequence[RegionRun]) -> list[str]:
    outcomes = [run.outcome for run in runs]
    counts = ", ".join(f"{outcomes.count(word)} {word}" for word in sorted(set(outcomes))) or "none"
    lines = [*_money_lines(inputs), f"Rollouts by place: {counts}."]
    for name, told in priorities.items():
        text = f"{told[PASS]} of {told['of']} pass, {told[FAIL]} fail, {told[UNKNOWN]} unknown"
        lines.append(f"{name}: {told['verdict'].upper()}. {text}; wanted: {told['wanted']}.")
    return lines + [f"The ledger does not add up, what follows is without it: {why}" for why in _bad(inputs.history)]


def _bad(history: History) -> list[str]:
    return [history.bad[path] for path in sorted(history.bad)]


def _money_lines(inputs: Inputs) -> list[str]:
    total = inputs.validation["total"] if inputs.validation else {}
    first = f"Cost: {total.get('verdict', UNKNOWN).upper()}. {usd(total.get('usd_month'))} USD a month"
    first += f" against {usd(total.get('target_usd_month'))}; {total.get('settling') or 'no settling state'}."
    if unknown := total.get("unknown"):
        first += f" Unknown: {', '.join(unknown)}; the known ones alone are {usd(total.get('known_usd_month'))}."
    if total.get("usd_month") is None:
        return [first]
    before = PlanBook().total(8)
    saved = before - Decimal(total["usd_month"])
    return [first, f"Since week 8 ({usd(before)} USD a month in the plan): {usd(saved)} less, {saved / before:.1%}."]


def _breakdown(inputs: Inputs) -> list[dict[str, Json]]:
    plan = PlanBook()
    rows = []
    for component in plan.components:
        line = line_of(inputs.validation, component.name)
        rows.append({
            "component": component.name,
            "week_8_usd": None,  # the plan gives week 8 as a total only
            "week_13_plan_usd": str(component.week_13),
            "week_14_plan_usd": str(component.week_14),
            "baseline_usd": line.get("baseline_usd_month"),
            "target_usd": line.get("target_usd_month"),
            "measured_usd": line.get("usd_month"),
            "book": line.get("book", ""),
            "verdict": line.get("verdict", UNKNOWN),
            "source": line.get("source", ""),
            "reason": line.get("reason", "no validation"),
            "record": next(iter(inputs.dollars_source), ""),
        })  # fmt: skip
    return rows


def _latency(inputs: Inputs, region: str) -> dict[str, Json]:
    """Before the first of the standing changes, and after the last one that measured the figure."""
    history = inputs.history
    standing = [records for lever, place in history.runs if place == region
                for records in [history.standing(lever, region)] if records]  # fmt: skip
    standing.sort(key=lambda records: records[0].time)
    snapshots = [r for records in standing if (r := last(records, Step.SNAPSHOT))]
    promotions = [r for records in standing if (r := last(records, Step.PROMOTED))]
    row: dict[str, Json] = {"region": region, "sources": {}}
    for name in NAMES:
        for word, records in (("before", snapshots), ("after", promotions[::-1])):
            found = next((r for r in records if r.figures[word].get(name) is not None), None)
            row[f"{name}_{word}"] = found.figures[word][name] if found else None
            row["sources"][f"{name}_{word}"] = found.address if found else ""
    return row


def _service(inputs: Inputs) -> list[dict[str, Json]]:
    """What was asked and served in each region, and its load step."""
    rows = []
    for region in inputs.regions:
        counted = service.newest(inputs.history, service.AVAILABILITY, [region])
        loaded = service.newest(inputs.history, service.THROUGHPUT, [region])
        asked, load = (dict(found[0].figures) if found else {} for found in (counted, loaded))
        row = {name: asked.get(name) for name in ("asked", "served", "since", "until")}
        row |= {name: load.get(name) for name in ("served_qps", "seconds", "p95_ms")}
        rows.append({"region": region, **row, "sources": [r.address for r in (*counted, *loaded)]})
    return rows


def _savings(inputs: Inputs) -> list[dict[str, Json]]:
    plan, total = PlanBook(), inputs.validation["total"] if inputs.validation else {}
    baselines = [line_of(inputs.validation, component.name).get("baseline_usd_month") for component in plan.components]
    known = [Decimal(baseline) for baseline in baselines if baseline is not None]
    week_13 = str(sum(known, Decimal(0))) if len(known) == len(baselines) else None
    points = [
        ("week 8", "plan", str(plan.total(8))),
        ("week 13", "plan", str(plan.total(13))),
        ("week 14, target", "plan", str(plan.total(14))),
        ("week 13", "components", week_13),
        ("target", "components", total.get("target_usd_month")),
        ("measured", "components", total.get("usd_month")),
    ]
    record = next(iter(inputs.dollars_source), "")
    return [
        {"point": point, "book": book, "usd_month": value}
        | ({"source": "the plan's book", "record": ""} if book == "plan" else {"source": "", "record": record})
        for point, book, value in points
    ]


def _waterfall(history: History) -> dict[str, Json]:
    """What the planner promised of each lever when the week was planned, by book; empty without such a plan."""
    plans = [(records, last(records, Step.PLAN)) for records in history.whole if records[0].lever == WEEK]
    newest: Record | None = plans[-1][1] if plans else None
    books = newest.figures.get("waterfall", {}).get("books", {}) if newest else {}
    rows = [
        {"book": name, "lever": lever["lever"], "usd_month": lever.get("in_order_usd")}
        for name, book in books.items()
        for lever in book.get("levers", ())
    ]
    return {"rows": rows, "source": newest.address if newest and rows else ""}
