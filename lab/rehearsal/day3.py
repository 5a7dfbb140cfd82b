"""Day 3 in the report: dollars of each part of the edge before, after and as predicted, and what viewers wait for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from include.pages.table import aligned
from include.rollout.ledger import Record, Step, last

# The component that each lever's saving belongs to, as cost reports call it.
COMPONENT_OF = {
    "dns_health_checks": "route_53",
    "storage_tiering": "s3",
    "lambda_edge": "lambda_edge",
    "cdn_price_class": "cloudfront",
    "request_routing": "request_routing",
}
Dollars = Mapping[str, Decimal | None]
Latency = Mapping[str, float | None]


@dataclass(frozen=True)
class EdgeDay:
    """Day 3: USD a month by component as the lab reads them, those that plans predicted, P95 in ms by probe.

    ``endings`` are the levers' verdicts, by lever. What is None is not known.
    """

    before: Dollars
    after: Dollars
    predicted: Dollars
    latency_before: Latency
    latency: Latency
    endings: Mapping[str, str]


def predicted_of(plans: Mapping[str, Sequence[Record]]) -> dict[str, Decimal | None]:
    """What the plan of each lever says of its component, from the lever's own chain of the run; summed over places."""
    found: dict[str, Decimal | None] = {}
    for lever, records in plans.items():
        plan = last(records, Step.PLAN)
        if lever in COMPONENT_OF and plan is not None:
            found[COMPONENT_OF[lever]] = _sum(one["usd_month_after"] for one in plan.figures["plans"].values())
    return found


def _sum(texts: Any) -> Decimal | None:
    total = Decimal(0)
    for text in texts:
        if text is None:
            return None
        total += Decimal(text)
    return total


def endings_of(chains: Mapping[str, Sequence[Record]]) -> dict[str, str]:
    """How each lever ended, by its own chain of the run."""
    verdicts = {lever: last(records, Step.VERDICT) for lever, records in chains.items()}
    return {lever: str(verdict.figures["verdict"]) for lever, verdict in verdicts.items() if verdict is not None}


def report(day: EdgeDay) -> dict[str, Any]:
    """``components``, ``latency`` and ``levers`` of ``days.3`` in report.json; null is not known."""
    return {
        "components": {name: _row(day, name) for name in _components(day)},
        "latency": dict(day.latency),
        "levers": dict(day.endings),
    }


def _components(day: EdgeDay) -> list[str]:
    return list(dict.fromkeys([*day.before, *day.after, *day.predicted]))


def _row(day: EdgeDay, name: str) -> dict[str, float | None]:
    found = {"before": day.before, "after": day.after, "predicted": day.predicted}
    return {f"usd_month_{when}": _number(figures.get(name)) for when, figures in found.items()}


def _number(value: Decimal | None) -> float | None:
    return None if value is None else round(float(value), 2)


def table(day: EdgeDay) -> str:
    """Day 3's tables: dollars by component, then P95 by probe."""
    rows: list[Sequence[str]] = [("component", "$/month before", "after", "predicted")]
    rows += [(name, *(_shown(figure, ",.2f") for figure in _row(day, name).values())) for name in _components(day)]
    probes: list[Sequence[str]] = [("probe", "P95 ms before", "after")]
    probes += [
        (name, _shown(day.latency_before.get(name), ".1f"), _shown(p95, ".1f")) for name, p95 in day.latency.items()
    ]
    return f"{aligned(rows, right={1, 2, 3})}\n\n{aligned(probes, right={1, 2})}"


def _shown(value: float | None, form: str) -> str:
    return "unknown" if value is None else format(value, form)
