"""What each component is measured against: its baseline and its target, from the book that it is judged by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from include.cost.table.columns import CostError
from include.cost.table.components import CENTRAL_DC, JETSON
from include.estate import Component, Estate
from include.prices import HOURS_PER_MONTH, AwsBook, PlanBook

PASS, FAIL, UNKNOWN = "pass", "fail", "unknown"  # verdicts on a cost


@dataclass(frozen=True)
class Goal:
    """What a component is measured against, USD a month; None where it can't be told."""

    book: str
    baseline: Decimal | None
    target: Decimal | None
    derived: str


def goal_of(name: str, estate: Estate, book: AwsBook, regions: Sequence[str]) -> Goal:
    """Target and baseline of a component. In the list book central_dc's are those of the selected ``regions``."""
    component = _component(name, estate)
    plan = PlanBook().component(name)
    if component.book == "plan":
        return Goal("plan", plan.week_13, plan.week_14, "the plan's week 13 and 14")
    baseline, text = _list_baseline(name, component, estate, book, regions)
    if baseline is None or not plan.week_13:
        return Goal("list", baseline, None, text)
    share = plan.week_14 / plan.week_13
    return Goal("list", baseline, baseline * share, f"{text}; target {share * 100:.2f} % of it, as in the plan")


def _component(name: str, estate: Estate) -> Component:
    try:
        return estate.cost.components[name]
    except KeyError:
        known = ", ".join(estate.cost.components)
        raise CostError(f"component {name!r} is not in cost.components: use one of {known}") from None


def _list_baseline(
    name: str, component: Component, estate: Estate, book: AwsBook, regions: Sequence[str]
) -> tuple[Decimal | None, str]:
    if component.baseline_usd_month is not None:
        return component.baseline_usd_month, "cost.components.baseline_usd_month"
    if name == CENTRAL_DC:
        hourly = Decimal(0)
        for region in regions:
            group = estate.region(region).node_group
            price = book.on_demand(region, group.instance_type)
            if price is None:
                return None, f"{group.instance_type} has no list price in {region}"
            hourly += price * group.size
        return hourly * HOURS_PER_MONTH, f"week 13's node groups at list price of {book.date}, {HOURS_PER_MONTH} h"
    if name == JETSON:
        devices = estate.cost.devices
        mode, watts = next(iter(devices.watts.items()))
        month = devices.count * watts / 1000 * devices.usd_kwh * HOURS_PER_MONTH
        return month, f"{devices.count} devices in mode {mode} ({watts} W) at {devices.usd_kwh} USD/kWh"
    return None, f"cost.components.{name} is in the list book and has no baseline_usd_month: add it"
