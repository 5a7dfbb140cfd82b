"""The completion report of the week: from the ledger, the validation and the books. Pure functions, no clock.

Facts only: what has no data reads unknown, and unknown is never a pass. Dollars are text, as the validation keeps them.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal
from typing import Any

from include.estate import Estate
from include.prices import PlanBook
from include.rollout.gates import Outcome
from include.rollout.ledger import Ledger, Record, Step, is_complete_restoration, last

Json = Any
PASS, FAIL, UNKNOWN = Outcome.PASS.value, Outcome.FAIL.value, Outcome.UNKNOWN.value
SPOT, MONITORING = "spot_capacity", "cost_monitoring"
DRILL = "interruption_drill"
REQUIRED_SHARE = {"P0": "all of them", "P1": "80 %", "P2": "50 %"}
TYPES_WANTED = 10  # the plan wants more than these


# From the ledger -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class RegionRun:
    """What one run did to one region with one lever."""

    lever: str
    region: str
    run: str
    began: str  # ISO 8601
    ended: str
    outcome: str
    stages: tuple[str, ...]
    reasons: tuple[str, ...]


def outcome_of(records: Sequence[Record]) -> str:
    """How a run ended in a region: promoted, rolled back, unfinished, or stopped before it wrote anything."""
    ends = [record for record in records if record.step == Step.PROMOTED or is_complete_restoration(record)]
    if ends:
        return "promoted" if ends[-1].step == Step.PROMOTED else "rolled back"
    if last(records, Step.TOUCH) or last(records, Step.UNDO):
        return "unfinished"
    return "stopped" if last(records, Step.STOPPED) else "planned only"


def reasons_of(records: Sequence[Record]) -> tuple[str, ...]:
    """Why gates did not pass and steps stopped, and what others had changed."""
    found: list[str] = []
    for record in records:
        if record.step == Step.GATE and record.figures["outcome"] != PASS:
            found += [str(r["reason"]) for r in record.figures["results"] if r["outcome"] != PASS]
        elif record.step == Step.STOPPED:
            found.append(f"{record.figures['where']}: {record.figures['reason']}")
        elif record.step == Step.UNDONE and record.figures.get("changed_by_others"):
            found.append(f"changed by others and left alone: {'; '.join(record.figures['changed_by_others'])}")
    return tuple(found)


@dataclass(frozen=True)
class History:
    """The records of the levers in the selected regions: (lever, region) -> a list of records a run, by time."""

    runs: Mapping[tuple[str, str], Sequence[Sequence[Record]]]

    @classmethod
    def read(cls, ledger: Ledger, levers: Iterable[str], regions: Iterable[str]) -> History:
        """Everything that the ledger has of ``levers`` in ``regions``."""
        places = [(lever, region) for lever in levers for region in regions]
        return cls({place: [ledger.records(chain) for chain in ledger.chains(*place)] for place in places})

    def region_runs(self) -> list[RegionRun]:
        """Every run of every lever in every region, the earliest first."""
        found = [
            RegionRun(
                lever=lever,
                region=region,
                run=f"{records[0].dag_id}/{records[0].run_id}",
                began=records[0].time,
                ended=records[-1].time,
                outcome=outcome_of(records),
                stages=tuple(str(r.figures.get("title")) for r in records if r.step == Step.APPLIED),
                reasons=reasons_of(records),
            )
            for (lever, region), runs in self.runs.items()
            for records in runs
            if records
        ]
        return sorted(found, key=lambda run: (run.began, run.lever, run.region))

    def standing(self, lever: str, region: str) -> Sequence[Record] | None:
        """The records of the newest run, when that one was promoted: an undone change proves nothing any more."""
        touched = [records for records in self.runs.get((lever, region), ()) if _wrote(records)]
        return touched[-1] if touched and outcome_of(touched[-1]) == "promoted" else None

    def after(self, lever: str, region: str) -> Mapping[str, Json]:
        """The figures that the standing run of a lever left; empty without one."""
        record = last(self.standing(lever, region) or (), Step.PROMOTED)
        return record.figures["after"] if record else {}

    def before(self, lever: str, region: str) -> Mapping[str, Json]:
        """The figures before the standing run of a lever; empty without one."""
        record = last(self.standing(lever, region) or (), Step.SNAPSHOT)
        return record.figures["before"] if record else {}

    def gate(self, lever: str, region: str, name: str, slot: str = "") -> list[Mapping[str, Json]]:
        """The results of one gate in the standing run of a lever, of every stage or of ``slot``."""
        gates = [r for r in self.standing(lever, region) or () if r.step == Step.GATE]
        return [
            result
            for record in gates
            if slot in ("", record.figures["slot"])
            for result in record.figures["results"]
            if result["gate"] == name
        ]

    def newest(self) -> str:
        """When the last record was written; empty without any."""
        return max((run.ended for run in self.region_runs()), default="")


def _wrote(records: Sequence[Record]) -> bool:
    return bool(last(records, Step.TOUCH) or last(records, Step.UNDO))


# Scorecard -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Score:
    """One line of the scorecard: what was wanted, what was measured and where that comes from."""

    priority: str
    item: str
    wanted: str
    verdict: str
    measured: str


@dataclass(frozen=True)
class Inputs:
    """What the report is made of. ``validation`` is the validation's record, or None; ``commitments`` its key or ""."""

    estate: Estate
    regions: tuple[str, ...]
    history: History
    validation: Mapping[str, Json] | None
    validation_key: str
    report_key: str
    commitments_key: str


def worst(verdicts: Sequence[str]) -> str:
    """Fail when any failed, else unknown when any is unknown or there is none, else pass."""
    if FAIL in verdicts:
        return FAIL
    return PASS if verdicts and set(verdicts) == {PASS} else UNKNOWN


def each_region(inputs: Inputs, measure: Callable[[str], float | None], holds: Callable[[float], bool], show: str
                ) -> tuple[str, str]:  # fmt: skip
    """Judge a figure in every selected region; ``show`` formats it. Returns the verdict and what was measured."""
    verdicts, texts = [], []
    for region in inputs.regions:
        value = measure(region)
        verdicts.append(UNKNOWN if value is None else PASS if holds(value) else FAIL)
        texts.append(f"{region} {'unknown' if value is None else format(value, show)}")
    return worst(verdicts), ", ".join(texts)


def scorecard(inputs: Inputs) -> list[Score]:
    """The plan's P0, P1 and P2, each with a verdict."""
    lines = [*_dollars(inputs), *_service(inputs), *_tools(inputs), *_extras(inputs)]
    return sorted(lines, key=lambda line: line.priority)


def _dollars(inputs: Inputs) -> list[Score]:
    plan = PlanBook()
    record = inputs.validation
    total = record["total"] if record else {}
    wanted = f"{usd(total.get('target_usd_month'))} USD a month, each component in its book (plan: {plan.total(14)})"
    lines = [Score("P0", "cost", wanted, total.get("verdict", UNKNOWN), f"{usd(total.get('usd_month'))} USD a month")]
    for name in ("central_dc", "cloudfront"):
        line = _line(record, name)
        wanted = f"{usd(line.get('target_usd_month'))} USD a month ({line.get('book', 'no book')} book)"
        wanted += f"; the plan's figure is {plan.component(name).week_14}"
        lines.append(
            Score("P0", name, wanted, line.get("verdict", UNKNOWN), f"{usd(line.get('usd_month'))} USD a month")
        )
    line = _line(record, "jetson")
    wanted = f"{usd(line.get('target_usd_month'))} USD a month ({line.get('book', 'no book')} book)"
    return [
        *lines,
        Score("P1", "Jetson", wanted, line.get("verdict", UNKNOWN), f"{usd(line.get('usd_month'))} USD a month"),
    ]


def _line(record: Mapping[str, Json] | None, component: str) -> Mapping[str, Json]:
    lines = record["lines"] if record else ()
    return next((line for line in lines if line["component"] == component), {})


def _service(inputs: Inputs) -> list[Score]:
    history, targets = inputs.history, inputs.estate.targets

    def figure(name: str) -> Callable[[str], float | None]:
        return lambda region: _number(history.after(SPOT, region).get(name))

    def availability(region: str) -> float | None:
        values = [_number(result.get("value")) for result in history.gate(SPOT, region, "availability")]
        return None if not values or None in values else min(value for value in values if value is not None)

    share = each_region(inputs, figure("spot_share_pods"), lambda v: v >= targets.spot_share, ".0%")
    p95 = each_region(inputs, figure("p95_ms"), lambda v: v <= targets.p95_ms, ".1f")
    up = each_region(inputs, availability, lambda v: v >= targets.availability, ".4%")
    return [
        Score("P0", "spot share", f"{targets.spot_share:.0%} of the pods", *share),
        Score("P0", "P95 latency", f"{targets.p95_ms:g} ms", *p95),
        Score("P0", "availability", f"{targets.availability:.2%} during the rollout", *up),
        Score("P0", "throughput", "more than 600 QPS", UNKNOWN, "no record of the ledger measures it"),
        Score("P0", "forecast accuracy", "more than 85 %", *_of_lever(inputs, "predictive_scaling")),
    ]


def _tools(inputs: Inputs) -> list[Score]:
    def passed(*gates: str) -> tuple[str, str]:
        found = {
            region: worst([r["outcome"] for g in gates for r in inputs.history.gate(MONITORING, region, g)])
            for region in inputs.regions
        }
        return worst(list(found.values())), ", ".join(f"{region} {verdict}" for region, verdict in found.items())

    board = passed("dashboard_queries_without_data", "rules_not_loaded", "rules_with_errors")
    return [
        Score("P1", "Kubecost", "installed and answering", *passed("kubecost_up")),
        Score("P1", "dashboard", "every panel has data, every rule is loaded", *board),
        Score("P1", "VPA everywhere", "right-sizing promoted", *_of_lever(inputs, "right_sizing")),
        Score("P1", "consolidation", "consolidation promoted", *_of_lever(inputs, "consolidation")),
    ]


def _of_lever(inputs: Inputs, lever: str) -> tuple[str, str]:
    """A lever that this report knows by name only: promoted in every region or unknown, never a guess."""
    found = [inputs.history.standing(lever, region) is not None for region in inputs.regions]
    if found and all(found):
        return PASS, f"{lever} stands in {', '.join(inputs.regions)}"
    return UNKNOWN, f"the ledger has no promoted run of {lever} in every region"


def _extras(inputs: Inputs) -> list[Score]:
    def types(region: str) -> float | None:
        plan = last(inputs.history.standing(SPOT, region) or (), Step.PLAN)
        stages = plan.figures["plan"]["stages"] if plan and "plan" in plan.figures else []
        counts = [len(s["settings"]["instance_types"]) for s in stages if "instance_types" in s["settings"]]
        return float(max(counts)) if counts else None

    def drilled(region: str) -> float | None:
        results = inputs.history.gate(SPOT, region, "cordon_seconds", DRILL)
        return _number(results[-1].get("value")) if results else None

    limit = inputs.estate.targets.cordon_seconds
    known = bool(inputs.commitments_key)
    return [
        Score("P2", "instance types", f"more than {TYPES_WANTED}", *each_region(inputs, types, _more_than_ten, ".0f")),
        Score("P2", "chaos", f"interruption drill: cordon within {limit:g} s",
              *each_region(inputs, drilled, lambda v: v <= limit, ".2f")),
        Score("P2", "commitments", "Reserved Instances and Savings Plans analysed",
              PASS if known else UNKNOWN, inputs.commitments_key or "no analysis is kept"),
    ]  # fmt: skip


def _more_than_ten(value: float) -> bool:
    return value > TYPES_WANTED


def _number(value: Json) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


# The report ------------------------------------------------------------------------------------------------------


def build(inputs: Inputs) -> dict[str, Json]:
    """The whole report as JSON."""
    scores, runs = scorecard(inputs), inputs.history.region_runs()
    return {
        "estate": inputs.estate.name,
        "regions": list(inputs.regions),
        "as_of": inputs.history.newest(),
        "summary": _summary(inputs, scores, runs),
        "breakdown": _breakdown(inputs),
        "days": [asdict(run) | {"day": _day(run.began)} for run in runs],
        "latency": [_latency(inputs, region) for region in inputs.regions],
        "savings": _savings(inputs),
        "lessons": [f"{_day(r.began)} {r.lever} {r.region}: {reason}" for r in runs for reason in r.reasons],
        "scorecard": [asdict(score) for score in scores],
        "priorities": {p: _priority([s for s in scores if s.priority == p], p) for p in REQUIRED_SHARE},
        "sources": {
            "validation": inputs.validation_key,
            "cost_report": inputs.report_key,
            "commitments": inputs.commitments_key,
        },
    }


def _day(moment: str) -> str:
    return str(dt.datetime.fromisoformat(moment).date())


def _priority(scores: Sequence[Score], priority: str) -> dict[str, Json]:
    counts = {word: sum(score.verdict == word for score in scores) for word in (PASS, FAIL, UNKNOWN)}
    return counts | {"of": len(scores), "wanted": REQUIRED_SHARE[priority]}


def _summary(inputs: Inputs, scores: Sequence[Score], runs: Sequence[RegionRun]) -> list[str]:
    total = inputs.validation["total"] if inputs.validation else {}
    outcomes = [run.outcome for run in runs]
    first = f"Cost: {total.get('verdict', UNKNOWN).upper()}. {usd(total.get('usd_month'))} USD a month"
    first += f" against {usd(total.get('target_usd_month'))}; {total.get('settling') or 'no settling state'}."
    if unknown := total.get("unknown"):
        first += f" Unknown: {', '.join(unknown)}; the known ones alone are {usd(total.get('known_usd_month'))}."
    counts = ", ".join(f"{outcomes.count(word)} {word}" for word in sorted(set(outcomes))) or "none"
    lines = [first, f"Rollouts by region: {counts}."]
    for priority in REQUIRED_SHARE:
        of = [score for score in scores if score.priority == priority]
        told = _priority(of, priority)
        lines.append(f"{priority}: {told[PASS]} of {told['of']} pass, {told[FAIL]} fail, {told[UNKNOWN]} unknown.")
    return lines


def _breakdown(inputs: Inputs) -> list[dict[str, Json]]:
    plan = PlanBook()
    rows = []
    for component in plan.components:
        line = _line(inputs.validation, component.name)
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
        })  # fmt: skip
    return rows


def _latency(inputs: Inputs, region: str) -> dict[str, Json]:
    before, after = inputs.history.before(SPOT, region), inputs.history.after(SPOT, region)
    names = ("p95_ms", "error_ratio", "nodes", "spot_share_pods", "usd_hour")
    return {"region": region} | {f"{n}_{w}": part.get(n) for n in names for w, part in
                                 (("before", before), ("after", after))}  # fmt: skip


def _savings(inputs: Inputs) -> list[dict[str, Json]]:
    plan, total = PlanBook(), inputs.validation["total"] if inputs.validation else {}
    baselines = [_line(inputs.validation, component.name).get("baseline_usd_month") for component in plan.components]
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
    return [{"point": point, "book": book, "usd_month": value} for point, book, value in points]


def usd(value: str | None) -> str:
    """Dollars for people; None reads unknown."""
    return "unknown" if value is None else f"{Decimal(value):,.2f}"


def encode(report: Mapping[str, Json]) -> bytes:
    """The report's bytes: equal reports have equal bytes."""
    return (json.dumps(report, sort_keys=True, indent=1, ensure_ascii=False) + "\n").encode()
