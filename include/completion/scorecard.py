"""The plan's P0, P1 and P2, judged by rule from what is on record. Unknown is never a pass.

A priority passes when the share of its items that it wants has passed: all of P0, 80 % of P1, 50 % of P2. It fails when
that can't be reached any more, and is unknown in between.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from include.completion import service
from include.completion.history import FAIL, PASS, UNKNOWN, History
from include.estate import Estate
from include.pages.texts import usd
from include.prices import PlanBook
from include.rollout.ledger import Record, Step, last

Json = Any
SPOT, MONITORING, FORECAST = "spot_capacity", "cost_monitoring", "predictive_scaling"
DRILL = "interruption_drill"
REQUIRED = {"P0": 1.0, "P1": 0.8, "P2": 0.5}
REQUIRED_SHARE = {"P0": "all of them", "P1": "80 %", "P2": "50 %"}
TYPES_WANTED = 10  # the plan wants more than these
ACCURACY_WANTED = 0.85  # and more than this


@dataclass(frozen=True)
class Score:
    """One line of the scorecard: what was wanted, what was measured, and the records that say so."""

    priority: str
    item: str
    wanted: str
    verdict: str
    measured: str
    sources: tuple[str, ...] = ()


@dataclass(frozen=True)
class Inputs:
    """What the report is made of. ``validation`` is the validation's record, or None; ``commitments`` its key or "".

    ``validated`` is the ledger's record of the validation.
    """

    estate: Estate
    regions: tuple[str, ...]
    history: History
    validation: Mapping[str, Json] | None
    validation_key: str
    report_key: str
    commitments_key: str
    validated: Record | None = None

    @property
    def dollars_source(self) -> tuple[str, ...]:
        """The record that the dollars come from."""
        return (self.validated.address,) if self.validated else ()


def worst(verdicts: Sequence[str]) -> str:
    """Fail when any failed, else unknown when any is unknown or there is none, else pass."""
    if FAIL in verdicts:
        return FAIL
    return PASS if verdicts and set(verdicts) == {PASS} else UNKNOWN


def priority_verdict(verdicts: Sequence[str], priority: str) -> str:
    """Whether enough items of a priority have passed, or still may."""
    needed = math.ceil(REQUIRED[priority] * len(verdicts) - 1e-9)
    passed, unknown = verdicts.count(PASS), verdicts.count(UNKNOWN)
    if verdicts and passed >= needed:
        return PASS
    return FAIL if passed + unknown < needed else UNKNOWN


@dataclass(frozen=True)
class Found:
    """A figure of one region, and the record that it comes from."""

    value: float | None = None
    source: str = ""


def each_region(
    inputs: Inputs, measure: Callable[[str], Found], holds: Callable[[float], bool], show: str
) -> tuple[str, str, tuple[str, ...]]:
    """Judge a figure in every selected region; ``show`` formats it. Returns verdict, what was measured and sources."""
    found = {region: measure(region) for region in inputs.regions}
    verdicts = [UNKNOWN if f.value is None else PASS if holds(f.value) else FAIL for f in found.values()]
    texts = [f"{region} {'unknown' if f.value is None else format(f.value, show)}" for region, f in found.items()]
    return worst(verdicts), ", ".join(texts), tuple(f.source for f in found.values() if f.source)


def scorecard(inputs: Inputs) -> list[Score]:
    """The plan's P0, P1 and P2, each with a verdict."""
    lines = [*_dollars(inputs), *_service(inputs), *_tools(inputs), *_extras(inputs)]
    return sorted(lines, key=lambda line: line.priority)


# Dollars -------------------------------------------------------------------------------------------------------------


def _dollars(inputs: Inputs) -> list[Score]:
    plan, source = PlanBook(), inputs.dollars_source
    total = inputs.validation["total"] if inputs.validation else {}
    wanted = f"{usd(total.get('target_usd_month'))} USD a month, each component in its book (plan: {plan.total(14)})"
    verdict, measured = total.get("verdict", UNKNOWN), f"{usd(total.get('usd_month'))} USD a month"
    return [
        Score("P0", "cost", wanted, verdict, measured, source),
        *(_component(inputs, "P0", name, name) for name in ("central_dc", "cloudfront")),
        _component(inputs, "P1", "Jetson", "jetson"),
    ]


def _component(inputs: Inputs, priority: str, item: str, name: str) -> Score:
    line = line_of(inputs.validation, name)
    book = f"{line['book']} book" if "book" in line else "no validation names its book"
    wanted = f"{usd(line.get('target_usd_month'))} USD a month ({book})"
    wanted += f"; the plan's figure is {PlanBook().component(name).week_14}"
    measured = f"{usd(line.get('usd_month'))} USD a month"
    return Score(priority, item, wanted, line.get("verdict", UNKNOWN), measured, inputs.dollars_source)


def line_of(record: Mapping[str, Json] | None, component: str) -> Mapping[str, Json]:
    """What the validation has of a component; empty without it."""
    lines = record["lines"] if record else ()
    return next((line for line in lines if line["component"] == component), {})


# The service ---------------------------------------------------------------------------------------------------------


def _service(inputs: Inputs) -> list[Score]:
    targets = inputs.estate.targets
    share = each_region(inputs, _after(inputs, SPOT, "spot_share_pods"), lambda v: v >= targets.spot_share, ".0%")
    p95 = each_region(inputs, latest_p95(inputs), lambda v: v <= targets.p95_ms, ".1f")
    accuracy = each_region(inputs, _after(inputs, FORECAST, "forecast_accuracy"), lambda v: v > ACCURACY_WANTED, ".1%")
    return [
        Score("P0", "spot share", f"{targets.spot_share:.0%} of the pods", *share),
        Score("P0", "P95 latency", f"{targets.p95_ms:g} ms", *p95),
        _availability(inputs),
        _throughput(inputs),
        Score("P0", "forecast accuracy", f"more than {ACCURACY_WANTED:.0%}", *accuracy),
    ]


def _after(inputs: Inputs, lever: str, name: str) -> Callable[[str], Found]:
    """A figure that the standing run of a lever left."""

    def found(region: str) -> Found:
        record = inputs.history.promoted(lever, region)
        return Found(_number(record.figures["after"].get(name)), record.address) if record else Found()

    return found


def latest_p95(inputs: Inputs) -> Callable[[str], Found]:
    """The P95 after the last of the standing changes: each is made on top of the ones before."""

    def found(region: str) -> Found:
        records = [inputs.history.promoted(lever, region) for lever, place in inputs.history.runs if place == region]
        known = [r for r in records if r is not None and _number(r.figures["after"].get("p95_ms")) is not None]
        newest = max(known, key=lambda record: record.time, default=None)
        return Found(_number(newest.figures["after"]["p95_ms"]), newest.address) if newest else Found()

    return found


def _availability(inputs: Inputs) -> Score:
    target = inputs.estate.targets.availability
    wanted = f"{target:.2%} of the requests of all days, drills and undo included"
    found = service.availability(inputs.history, inputs.regions)
    if found is None:
        return Score("P0", "availability", wanted, UNKNOWN, "no record counts the requests of every region")
    records = service.newest(inputs.history, service.AVAILABILITY, inputs.regions)
    verdict = PASS if float(found.value) >= target else FAIL
    return Score(
        "P0", "availability", wanted, verdict, f"{float(found.value):.4%}, {service.covered(records)}", found.keys
    )


def _throughput(inputs: Inputs) -> Score:
    limit = service.WANTED_QPS * inputs.estate.demand_scale()
    wanted = f"more than {limit:,.0f} QPS in each region ({service.WANTED_QPS} x demand scale)"
    found = service.throughput(inputs.history, inputs.regions)
    if found is None:
        return Score("P0", "throughput", wanted, UNKNOWN, "no record of a load step in every region")
    verdict = PASS if found.value > limit else FAIL
    return Score(
        "P0", "throughput", wanted, verdict, f"{found.value:,.0f} QPS served in the weakest region", found.keys
    )


# Tools and extras ----------------------------------------------------------------------------------------------------


def _tools(inputs: Inputs) -> list[Score]:
    board = _passed(inputs, "dashboard_queries_without_data", "rules_not_loaded", "rules_with_errors")
    return [
        Score("P1", "Kubecost", "installed and answering", *_passed(inputs, "kubecost_up")),
        Score("P1", "dashboard", "every panel has data, every rule is loaded", *board),
        Score("P1", "VPA everywhere", "right-sizing promoted", *_of_lever(inputs, "right_sizing")),
        Score("P1", "consolidation", "consolidation promoted", *_of_lever(inputs, "consolidation")),
    ]


def _passed(inputs: Inputs, *gates: str) -> tuple[str, str, tuple[str, ...]]:
    """The worst outcome of gates of cost monitoring, by region."""
    found = {
        region: [at for gate in gates for at in inputs.history.gate(MONITORING, region, gate)]
        for region in inputs.regions
    }
    verdicts = {r: worst([record.figures["results"][n]["outcome"] for record, n in at]) for r, at in found.items()}
    sources = dict.fromkeys(record.address for at in found.values() for record, _ in at)
    return worst(list(verdicts.values())), ", ".join(f"{r} {v}" for r, v in verdicts.items()), tuple(sources)


def _of_lever(inputs: Inputs, lever: str) -> tuple[str, str, tuple[str, ...]]:
    """A lever that this report knows by name only: promoted in every region or unknown, never a guess."""
    found = [inputs.history.promoted(lever, region) for region in inputs.regions]
    sources = tuple(record.address for record in found if record)
    if found and all(found):
        return PASS, f"{lever} stands in {', '.join(inputs.regions)}", sources
    return UNKNOWN, f"the ledger has no promoted run of {lever} in every region", sources


def _extras(inputs: Inputs) -> list[Score]:
    def types(region: str) -> Found:
        plan = last(inputs.history.standing(SPOT, region) or (), Step.PLAN)
        stages = plan.figures["plan"]["stages"] if plan and "plan" in plan.figures else []
        counts = [len(s["settings"]["instance_types"]) for s in stages if "instance_types" in s["settings"]]
        return Found(float(max(counts)), plan.address) if counts and plan else Found()

    def drilled(region: str) -> Found:
        found = inputs.history.gate(SPOT, region, "cordon_seconds", DRILL)
        return Found(_number(_result(*found[-1]).get("value")), found[-1][0].address) if found else Found()

    limit, analysis = inputs.estate.targets.cordon_seconds, inputs.commitments_key
    chaos = each_region(inputs, drilled, lambda v: v <= limit, ".2f")
    known = (PASS, analysis, inputs.dollars_source) if analysis else (UNKNOWN, "no analysis is kept")
    return [
        Score("P2", "instance types", f"more than {TYPES_WANTED}", *each_region(inputs, types, _more_than_ten, ".0f")),
        Score("P2", "chaos", f"interruption drill: cordon within {limit:g} s", *chaos),
        Score("P2", "commitments", "Reserved Instances and Savings Plans analysed", *known),
    ]


def _result(record: Record, place: int) -> Mapping[str, Json]:
    result: Mapping[str, Json] = record.figures["results"][place]
    return result


def _more_than_ten(value: float) -> bool:
    return value > TYPES_WANTED


def _number(value: Json) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
