"""A validation of a window: each component's cost against its target, and what the sources make of the same hours."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

from include.cost.table import machine_hours
from include.cost.table.bill import ALLOCATIONS, AWS, coverage_of, share_in, sum_in
from include.cost.table.component_cost import bill_reading, component_cost, is_billed
from include.cost.table.components import CENTRAL_DC, UNALLOCATED
from include.cost.table.days import DAY, LOOK_BACK_DAYS, day_window
from include.cost.table.reading import MIN_COVERAGE, CostInputs
from include.cost.targets import Goal, goal_of
from include.cost.validation.crosscheck import Gap, Measure, compare
from include.cost.validation.verdicts import Validation, line_of, total_of
from include.pages.texts import usd

NO_GOAL = Goal("", None, None, "no component takes it: it has no target")


def validate(inputs: CostInputs) -> Validation:
    """The result for the window: a line a component, what no component took, the total and the cross-checks."""
    lines = []
    for name in inputs.estate.cost.components:
        goal = goal_of(name, inputs.estate, inputs.book, inputs.regions)
        lines.append(line_of(component_cost(name, inputs), goal, daily_history(name, inputs)))
    rest = component_cost(UNALLOCATED, inputs)
    rest_line = line_of(rest, NO_GOAL, daily_history(UNALLOCATED, inputs))
    described = f"unknown: {rest.reason}" if rest.usd is None else f"{usd(rest.usd)} USD in {rest.rows} rows"
    return Validation(
        window=inputs.window,
        regions=inputs.regions,
        of_regions=len(inputs.estate.regions),
        lines=tuple(lines),
        total=total_of(lines, rest_line),
        gaps=tuple(cross_checks(inputs)),
        unallocated={f"{rest.window}": described},
        inputs=_used(inputs),
    )


def daily_history(name: str, inputs: CostInputs) -> dict[dt.date, Decimal]:
    """Dollars by complete day of a component in the 28 days before the window; days without its rows are not there."""
    first = inputs.window.start.date()
    found = {}
    for day in (first - n * DAY for n in range(LOOK_BACK_DAYS, 0, -1)):
        reading = bill_reading(name, inputs, day_window(day))
        if reading.whole is not None and reading.rows:
            found[day] = reading.whole
    return found


def _used(inputs: CostInputs) -> tuple[str, ...]:
    facts = inputs.bill.facts
    return tuple(f"{source} {day} {facts[source, day].content[:12]}" for source, day in sorted(facts))


# --- Cross-checks -----------------------------------------------------------------------------------------------------


def cross_checks(inputs: CostInputs) -> list[Gap]:
    """Bill, allocation and node-hours x price of the same window, each pair that is known."""
    measures = [m for m in (_bill_measure(inputs), *_allocations(inputs), *_live_measures(inputs)) if m]
    within = Decimal(str(inputs.estate.cost.agree_within))
    return [compare(left, right, within) for place, left in enumerate(measures) for right in measures[place + 1 :]]


def _bill_measure(inputs: CostInputs) -> Measure | None:
    window = inputs.window
    charges = [c for c in inputs.bill.of(CENTRAL_DC, window, [AWS]) if not c.region or c.region in inputs.regions]
    if not charges or not is_billed(inputs):
        return None
    by_key: dict[tuple[str, str, str], tuple[Decimal, Decimal]] = {}
    for charge in charges:
        if charge.machine:
            key = (charge.region, *charge.machine)
            hours, dollars = by_key.get(key, (Decimal(0), Decimal(0)))
            of_hours, of_dollars = (share_in(charge, window, amount) for amount in (charge.hours, charge.usd))
            by_key[key] = (hours + of_hours, dollars + of_dollars)
    rest = sum_in((c for c in charges if not c.machine), window)
    return Measure("bill", sum_in(charges, window), by_key, {"volumes, control plane, balancers": rest})


def _allocations(inputs: CostInputs) -> list[Measure]:
    # Their component says nothing here: an allocation splits dollars of central_dc.
    found = []
    for source in ALLOCATIONS:
        charges = [c for c in inputs.allocations if c.source == source and c.region in inputs.regions]
        if charges and coverage_of(charges, inputs.window) >= MIN_COVERAGE:
            found.append(Measure(f"{source} allocation with idle", sum_in(charges, inputs.window)))
    return found


def _live_measures(inputs: CostInputs) -> list[Measure]:
    fleets = inputs.live.fleets
    covered = {fleet.region for fleet in fleets if fleet.coverage >= MIN_COVERAGE}
    if not set(inputs.regions) <= covered:
        return []
    allocator, priced = machine_hours.allocator_sum(fleets), machine_hours.price_fleet(fleets, inputs.book)
    found = [Measure("node-hours x OpenCost's prices", allocator.usd or Decimal(0), allocator.by_key)]
    if priced.usd is not None:
        found.append(Measure(f"node-hours x {inputs.book.name} book", priced.usd, priced.by_key))
    return found
