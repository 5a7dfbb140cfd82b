"""What the rehearsal prints and writes: a line for each ledger record, the table, report.json. Pure functions."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from decimal import Decimal
from typing import Any

from include.pages.table import aligned
from include.rollout.ledger import Record, Step, last
from lab.rehearsal.evidence import EvidenceFigures

DRILL = "interruption_drill"
SHOWN = 8  # figures in one line; the ledger holds all of them
# The line says these in its own words, or the ledger does.
HIDDEN = {"slot", "title", "soak_until", "started_at", "seconds"}
# Steps that only mark a beginning: the line that matters is the one at the end.
SILENT = {Step.PLAN, Step.DECISION}


@dataclass(frozen=True)
class Drill:
    """How one spot node's interruption went; None where it was not measured."""

    cordon_s: float | None = None
    replaced_s: float | None = None
    error_ratio: float | None = None


def line_of(record: Record, elapsed: float, seconds: float | None = None, with_lever: bool = False) -> str | None:
    """The line for one ledger record, or None for a record that says nothing new to a person.

    ``elapsed`` are seconds since the rehearsal began, ``seconds`` how long the step took where that is known.
    ``with_lever`` names the lever: in a run that concerns several.
    """
    if record.step in SILENT:
        return None
    text = _TEXTS.get(record.step, _plain)(record)
    took = f"  ({seconds:.0f} s)" if seconds is not None else ""
    lever = f"{record.lever:<18} " if with_lever else ""
    return f"[{elapsed:6.0f} s] {record.place:<15} {lever}{text}{took}"


def _title(record: Record) -> str:
    return str(record.figures.get("title") or record.figures.get("slot") or "")


def _plain(record: Record) -> str:
    shown = _scalars(record.figures)
    return f"{record.step}" + (f": {shown}" if shown else "")


def _touch(record: Record) -> str:
    return f"applying  {_title(record)}"


def _applied(record: Record) -> str:
    return f"applied   {_title(record)}: {_scalars(record.figures)}"


def _gate(record: Record) -> str:
    results: Sequence[Mapping[str, Any]] = record.figures.get("results", ())
    good = str(record.figures.get("outcome")) == "pass"
    shown = [_result(r) for r in results] if good else [str(r["reason"]) for r in results if r["outcome"] != "pass"]
    return f"gate {str(record.figures.get('outcome')).upper():<7} {_title(record)}: {', '.join(shown)}"


def _result(result: Mapping[str, Any]) -> str:
    if "value" not in result:
        return f"{result['gate']} no data"
    unit = result["unit"] if result["unit"] in {"ms", "s"} else ""  # counts and ratios speak for themselves
    return f"{result['gate']} {number(result['value'])} {unit}".rstrip()


def _stopped(record: Record) -> str:
    return f"STOPPED   {record.figures.get('where')}: {record.figures.get('reason')}"


def _verdict(record: Record) -> str:
    return f"VERDICT   {record.figures.get('message') or _scalars(record.figures)}"


_TEXTS: dict[str, Callable[[Record], str]] = {
    Step.TOUCH: _touch,
    Step.APPLIED: _applied,
    Step.GATE: _gate,
    Step.STOPPED: _stopped,
    Step.VERDICT: _verdict,
    Step.SNAPSHOT: lambda _: "snapshot  written",
    Step.PROMOTED: lambda _: "PROMOTED",
    Step.UNDO: lambda _: "rolling back",
    Step.UNDONE: lambda _: "rolled back, verifying",
    Step.RESTORED: lambda record: (
        "RESTORED: live equals the snapshot" if record.figures.get("complete") else "NOT restored: " + _rest(record)
    ),
}


def _rest(record: Record) -> str:
    return "; ".join(str(item) for item in record.figures.get("remaining", ()))


def number(value: Any) -> str:
    """A figure for people: 4 digits that count, no exponent for the sizes that occur here."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:.4g}" if abs(value) < 10_000 else f"{value:,.0f}"


def _scalars(figures: Mapping[str, Any]) -> str:
    named = {key.removeprefix("figures."): value for key, value in flat(figures).items()}
    known = {key: value for key, value in named.items() if key not in HIDDEN}
    shown = [f"{key} {number(value)}" for key, value in list(known.items())[:SHOWN]]
    return ", ".join(shown) + (", ..." if len(known) > SHOWN else "")


def flat(figures: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The numbers and short texts of a nested mapping by dotted name; lists are left out."""
    found: dict[str, Any] = {}
    for key, value in figures.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            found |= flat(value, f"{name}.")
        elif isinstance(value, int | float) or (isinstance(value, str) and len(value) <= 40):
            found[name] = value
    return found


def moment(record: Record) -> dt.datetime:
    """When the record was written."""
    return dt.datetime.fromisoformat(record.time)


def seconds_of(record: Record, earlier: Sequence[Record]) -> float | None:
    """How long the step took that ``record`` ends: since its TOUCH, APPLIED or UNDO record of the same slot."""
    starts = {Step.APPLIED: Step.TOUCH, Step.GATE: Step.APPLIED, Step.RESTORED: Step.UNDO}
    if record.step not in starts:
        return None
    slot = record.figures.get("slot")
    begun = last([r for r in earlier if r.figures.get("slot") == slot], starts[record.step])
    return None if begun is None else (moment(record) - moment(begun)).total_seconds()


def step_seconds(records: Sequence[Record]) -> dict[str, float]:
    """Seconds of each step of one region, by step and slot, such as ``applied step_1``."""
    found = {}
    for record in records:
        seconds = seconds_of(record, records[: record.sequence - 1])
        if seconds is not None:
            found[f"{record.step} {record.figures.get('slot', '')}".strip()] = round(seconds, 1)
    return found


def drill_of(records: Sequence[Record]) -> Drill:
    """The drill's figures of one region from its chain."""
    of_drill = [record for record in records if record.figures.get("slot") == DRILL]
    applied, gate = last(of_drill, Step.APPLIED), last(of_drill, Step.GATE)
    results = gate.figures["results"] if gate else ()
    ratio = next((r.get("value") for r in results if r["gate"] == "error_ratio"), None)
    found = flat(applied.figures) if applied else {}
    return Drill(_float(found.get("figures.cordon_s")), _float(found.get("figures.replaced_s")), _float(ratio))


def _float(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def region_report(before: EvidenceFigures, after: EvidenceFigures, drill: Drill) -> dict[str, Any]:
    """One region's part of report.json."""
    return {
        "nodes_before": before.nodes,
        "nodes_after": after.nodes,
        "pods_before": before.pods,
        "pods_after": after.pods,
        "spot_share_pods": after.spot_share_pods,
        "spot_share_vcpu": after.spot_share_vcpu,
        "usd_hour_before": before.usd_hour,
        "usd_hour_after": after.usd_hour,
        "p95_ms": after.p95_ms,
        "error_ratio": after.error_ratio,
        "drill": asdict(drill),
    }


def table(
    before: Mapping[str, EvidenceFigures], after: Mapping[str, EvidenceFigures], drills: Mapping[str, Drill]
) -> str:
    """The before/after table of all regions."""
    head = ("region", "nodes", "pods", "spot pods", "spot vCPU", "$/hour", "P95 ms", "errors", "cordon s", "replaced s")
    rows = [head]
    for region, now in after.items():
        then, drill = before[region], drills[region]
        rows.append(
            (
                region,
                f"{then.nodes} -> {now.nodes}",
                f"{then.pods} -> {now.pods}",
                f"{then.spot_share_pods:.0%} -> {now.spot_share_pods:.0%}",
                f"{then.spot_share_vcpu:.0%} -> {now.spot_share_vcpu:.0%}",
                f"{_or_unknown(then.usd_hour, '.3f')} -> {_or_unknown(now.usd_hour, '.3f')}",
                f"{_or_unknown(then.p95_ms, '.1f')} -> {_or_unknown(now.p95_ms, '.1f')}",
                _or_unknown(now.error_ratio, ".4%"),
                _or_unknown(drill.cordon_s, ".2f"),
                _or_unknown(drill.replaced_s, ".0f"),
            )
        )
    return aligned(rows)


def _or_unknown(value: float | None, form: str) -> str:
    return "unknown" if value is None else format(value, form)


@dataclass(frozen=True)
class Scaling:
    """Day 2 in one region, by its gates; None where it was not measured. Shares are 0..1, ``seconds`` of each stage."""

    accuracy: float | None = None
    against_naive: float | None = None
    forecast_age_s: float | None = None
    false_scale_ups: float | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)


def scaling_of(records: Sequence[Record]) -> Scaling:
    """Day 2's figures of one region from its chain: the newest value of each gate."""
    results = [r for record in records if record.step == Step.GATE for r in record.figures.get("results", ())]
    newest = {str(result["gate"]): _float(result.get("value")) for result in results}
    applied = [record for record in records if record.step == Step.APPLIED]
    took = {str(r.figures.get("slot")): seconds_of(r, records[: r.sequence - 1]) for r in applied}
    return Scaling(
        accuracy=newest.get("forecast_accuracy"),
        against_naive=newest.get("forecast_against_naive"),
        forecast_age_s=newest.get("forecast_age"),
        false_scale_ups=newest.get("false_scale_ups"),
        seconds={slot: round(seconds, 1) for slot, seconds in took.items() if seconds is not None},
    )


def scaling_table(found: Mapping[str, Scaling]) -> str:
    """Day 2's table of all regions."""
    slots = list(dict.fromkeys(slot for scaling in found.values() for slot in scaling.seconds))
    head = ("region", "accuracy 15 min", "error / best naive", "forecast age s", "false scale-ups")
    rows: list[Sequence[str]] = [(*head, *(f"{slot} s" for slot in slots))]
    for region, scaling in found.items():
        rows.append(
            (
                region,
                _or_unknown(scaling.accuracy, ".1%"),
                _or_unknown(scaling.against_naive, ".2f"),
                _or_unknown(scaling.forecast_age_s, ".0f"),
                _or_unknown(scaling.false_scale_ups, ".2%"),
                *(_or_unknown(scaling.seconds.get(slot), ".0f") for slot in slots),
            )
        )
    return aligned(rows)


def day_report(verdict: str, seconds: float, costs: Mapping[str, Any] | None) -> dict[str, Any]:
    """One day's part of report.json; of the costs each component's figures, as the record has them."""
    found: dict[str, Any] = {"verdict": verdict, "seconds": seconds}
    if costs is not None:
        record = costs["validation"]
        components = {line["component"]: {name: line[name] for name in COST_FIELDS} for line in record["lines"]}
        found |= {"components": components, "total": record["total"], "completion": costs["completion"]}
    return found


COST_FIELDS = ("source", "usd_24h", "usd_month", "target_usd_month", "verdict")


def costs_text(costs: Mapping[str, Any] | None) -> str:
    """Day 5's table: each component's dollars against its target, the total, and where the completion report lies."""
    if costs is None:
        return "nothing was validated: the run ended before"
    record = costs["validation"]
    total = {**record["total"], "component": "total", "source": ""}
    rows = [("component", "source", "USD/day", "USD/month", "target", "verdict")]
    for line in (*record["lines"], total):
        figures = (_dollars(line[name]) for name in ("usd_24h", "usd_month", "target_usd_month"))
        rows.append((line["component"], line["source"], *figures, line["verdict"].upper()))
    window = record["window"]
    head = f"costs of {window['seconds']} s, {window['start']} to {window['end']}: {total['settling']}"
    where = costs["completion"] or "not written"
    return f"{head}\n{aligned(rows, right={2, 3, 4})}\ncompletion report: {where}"


def _dollars(text: str | None) -> str:
    return "unknown" if text is None else f"{Decimal(text):,.2f}"


def full_report(
    verdict: str,
    restored: bool,
    seconds: float,
    regions: Mapping[str, Mapping[str, Any]],
    days: Mapping[str, Any],
) -> dict[str, Any]:
    """report.json before the undo of everything: verdict and ``restored`` are the last day's."""
    return {
        "verdict": verdict,
        "restored": restored,
        "seconds": round(seconds, 1),
        "regions": dict(regions),
        "days": dict(days),
    }
