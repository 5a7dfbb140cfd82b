"""What a component cost in a window: which source says so, how much, over how much of the window, and how certain.

The one computation of it: the report, the validation, the guard and the planner ask here. Order of preference: the
cost table's partitions of the window itself; what is known of the same window otherwise (nodes, power, a contract's
price); the newest complete day of the bill, while it is no older than ``STALE_DAYS``. The report asks for the first
only. What nobody knows stays None, with the reason; it is never zero.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal

from include.cost.table import machine_hours
from include.cost.table.bill import AWS, BILLS, CONTRACTS, Charge, sum_in
from include.cost.table.components import CENTRAL_DC, JETSON, UNALLOCATED
from include.cost.table.coverage import coverage, missing_hours, newest_day, settling_of_day
from include.cost.table.days import DAY, Window, day_window
from include.cost.table.reading import MIN_COVERAGE, CostInputs, Lack, Reading
from include.cost.table.settling import PROVISIONAL, weakest
from include.estate import Component, Contract, Estate
from include.prices import DAYS_PER_MONTH

STALE_DAYS = 3  # a bill's day that ended longer before the window's end says nothing about it

# --- Where a component's rows come from -------------------------------------------------------------------------------


def sources_of(name: str, estate: Estate) -> tuple[str, ...]:
    """The sources of the bill that all must have data before a component's cost is known.

    A rule that names none takes rows of the provider's bill. What no component takes comes from there, and from the
    contracts when one of them belongs to no component.
    """
    if name == UNALLOCATED:
        return (AWS, CONTRACTS) if contracts_of(name, estate) else (AWS,)
    rules = estate.cost.components[name].rules
    found = {source for rule in rules for source in (rule.sources or (AWS,))}
    found |= {CONTRACTS} if contracts_of(name, estate) else set()
    return tuple(source for source in BILLS if source in found)


def contracts_of(name: str, estate: Estate) -> list[Contract]:
    """The contracts that a component takes, or that no component takes."""
    components = estate.cost.components
    if name == UNALLOCATED:
        return [one for one in estate.cost.contracts if not any(_takes(of, one) for of in components.values())]
    return [one for one in estate.cost.contracts if _takes(components[name], one)]


def _takes(component: Component, contract: Contract) -> bool:
    """Whether a rule takes the contract's row: as components.component_sql does, of a row without SKU and tags."""
    return any(
        (not rule.sources or CONTRACTS in rule.sources)
        and (not rule.services or contract.name.lower() in {one.lower() for one in rule.services})
        and (not rule.resources or any(_is_like(contract.name, pattern) for pattern in rule.resources))
        and not rule.skus
        and not rule.tags
        for rule in component.rules
    )


def _is_like(text: str, pattern: str) -> bool:
    return re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), text, re.DOTALL) is not None


def contract_usd(contract: Contract, window: Window) -> Decimal:
    """What a contract costs in the window, a month being 30.4 days; 0 outside of its days."""
    first = day_window(contract.begins).start
    last = day_window(contract.ends).end if contract.ends else window.end
    seconds = (min(window.end, last) - max(window.start, first)).total_seconds()
    return contract.usd_month * max(0, int(seconds)) / (DAYS_PER_MONTH * 86_400)


# --- The whole --------------------------------------------------------------------------------------------------------


def component_cost(name: str, inputs: CostInputs) -> Reading:
    """What the component (or ``unallocated``) cost in the window, from the preferred source that knows."""
    return rest_reading(inputs) if name == UNALLOCATED else choose(readings_of(name, inputs))


def readings_of(name: str, inputs: CostInputs) -> list[Reading]:
    """The readings of a component, the preferred one first."""
    sources = sources_of(name, inputs.estate)
    readings = [bill_reading(name, inputs, inputs.window)]
    if sources == (CONTRACTS,):
        return readings
    if name == CENTRAL_DC:
        readings.append(nodes_reading(inputs))
    elif name == JETSON:
        readings.append(power_reading(inputs))
    else:
        day = newest_day(sources, inputs)
        if day is not None and day != inputs.window:
            readings.append(_recent(bill_reading(name, inputs, day), inputs))
    return readings


def choose(readings: Sequence[Reading]) -> Reading:
    """The first reading that is known, in the order of preference; else the first one with all the reasons."""
    for reading in readings:
        if reading.known:
            return reading
    reasons = "; ".join(f"{r.source}: {r.reason or _too_thin(r)}" for r in readings)
    first = readings[0]
    return Reading(
        first.component, first.source, first.window, None, max(r.coverage for r in readings), PROVISIONAL, reasons
    )


def _too_thin(reading: Reading) -> str:
    return f"{reading.coverage * 100:.1f} % of its window has data, {MIN_COVERAGE * 100:.0f} % are needed"


def rest_reading(inputs: CostInputs) -> Reading:
    """What no component takes, of the window or else of the bill's newest complete day.

    A bill without such rows leaves nothing over; without a bill nobody knows.
    """
    window = inputs.window if is_billed(inputs) else newest_day((AWS,), inputs)
    if window is None:
        label = _label((AWS,), inputs.window, inputs)
        reason = "the bill has no complete day"
        return Reading(UNALLOCATED, label, inputs.window, None, Decimal(0), PROVISIONAL, reason)
    found = _recent(bill_reading(UNALLOCATED, inputs, window), inputs)
    return replace(found, source=f"bill ({AWS})", notes=())


def is_billed(inputs: CostInputs) -> bool:
    """Whether the provider's bill covers the window itself."""
    has = inputs.bill.has(AWS, inputs.window.days)
    return has and coverage((AWS,), inputs, inputs.window) >= MIN_COVERAGE


# --- The bill ---------------------------------------------------------------------------------------------------------


def bill_reading(name: str, inputs: CostInputs, window: Window) -> Reading:
    """What the table says of a component (or of ``unallocated``) in ``window``."""
    sources = sources_of(name, inputs.estate)
    none = Reading(name, _label(sources, window, inputs), window, None, Decimal(0), _settling(sources, window, inputs))
    for source in sources:
        if found := _no_data(none, source, inputs):
            return found
    for source in sources:
        if found := _set_aside(none, source, inputs):
            return found
    found = replace(none, coverage=coverage(sources, inputs, window), beside_window=window)
    found = _with_dollars(found, sources, inputs)
    if found.usd is not None and found.coverage < 1:
        source = next(one for one in sources if coverage((one,), inputs, window) < 1)
        hours = [f"{hour:%H}".removeprefix("0") for hour in missing_hours(source, inputs, window)]
        found = replace(found, lack=Lack.HOURS, lacking=(source, ", ".join(hours)))
    return found


def _label(sources: Sequence[str], window: Window, inputs: CostInputs) -> str:
    label = CONTRACTS if tuple(sources) == (CONTRACTS,) else f"bill ({' and '.join(sources)})"
    return label if window == inputs.window or label == CONTRACTS else f"{label} of {window.start.date()}"


def _settling(sources: Sequence[str], window: Window, inputs: CostInputs) -> str:
    if AWS not in sources:
        return ""
    days = [day for day in window.days if (AWS, day) in inputs.bill.facts]
    return weakest([settling_of_day(AWS, day, inputs) for day in days]) if days else PROVISIONAL


def _no_data(none: Reading, source: str, inputs: CostInputs) -> Reading | None:
    days, facts = none.window.days, inputs.bill.facts
    missing = [str(day) for day in days if (source, day) not in facts]
    if source == CONTRACTS and not inputs.table_only:
        if contracts_of(none.component, inputs.estate) or not missing:
            return None  # its price is known from the estate
        reason = f"no contract matches cost.components.{none.component}.rules: add it to cost.contracts"
    elif missing:
        why = f" ({inputs.problems[source]})" if source in inputs.problems else ""
        reason = f"no partition of {source} for {', '.join(missing)}{why}"
    elif not any(facts[source, day].rows for day in days) and none.component != UNALLOCATED:
        reason = _no_row(none.component)
    else:
        return None
    return replace(none, reason=reason, lack=Lack.NO_DATA, lacking=(source, ", ".join(missing)))


def _no_row(name: str) -> str:
    return f"the bill has no row of it: see cost.components.{name}.rules"


def _set_aside(none: Reading, source: str, inputs: CostInputs) -> Reading | None:
    """Unknown where dollars of the component, which may be many, can't count; None when all of them do."""
    of_days = [inputs.bill.facts[source, day] for day in none.window.days if (source, day) in inputs.bill.facts]
    found = "; ".join(str(one) for facts in of_days for one in facts.aside if one.component == none.component)
    if not found:
        return None
    reason = f"rows of {source} can't count for it: {found}"
    return replace(none, coverage=Decimal(1), reason=reason, lack=Lack.SET_ASIDE, lacking=(source, found))


def _with_dollars(found: Reading, sources: tuple[str, ...], inputs: CostInputs) -> Reading:
    name, window = found.component, found.window
    charges = inputs.bill.of(name, window)
    priced, of_price = _contract_prices(name, sources, inputs, window)
    rows = sum(charge.rows for charge in charges) + len(of_price)
    if not charges and not of_price and name != UNALLOCATED and not _is_out_of_force(name, sources, inputs, window):
        return replace(found, reason=_no_row(name), lack=Lack.NO_ROW, lacking=(" and ".join(sorted(sources)), ""))
    judged, beside = split(name, charges, inputs, window)
    age = _age(window, inputs)
    notes = of_price if window == inputs.window else (f"the bill's day ended {age:.1f} days before the window's end",)
    fixed = sources == (CONTRACTS,)
    return replace(found, usd=judged + priced, beside_usd=beside, rows=rows, notes=notes, fixed=fixed)


def _contract_prices(
    name: str, sources: Sequence[str], inputs: CostInputs, window: Window
) -> tuple[Decimal, tuple[str, ...]]:
    """Dollars of the component's contracts on days that the table has no partition of them for, and of which."""
    if CONTRACTS not in sources or inputs.table_only:
        return Decimal(0), ()
    parts = [window.within(day) for day in window.days if (CONTRACTS, day) not in inputs.bill.facts]
    if len(parts) == len(window.days):
        parts = [window]  # in one product: the sum of the days' rounded parts is another
    prices = {
        one: sum((contract_usd(one, part) for part in parts if part), Decimal(0))
        for one in contracts_of(name, inputs.estate)
    }
    of_price = [one for one, usd in prices.items() if parts and (usd or name != UNALLOCATED)]
    notes = tuple(f"{one.name}: {one.usd_month} a month, {one.source}" for one in of_price)
    return sum(prices.values(), Decimal(0)), notes


def _is_out_of_force(name: str, sources: tuple[str, ...], inputs: CostInputs, window: Window) -> bool:
    """Whether it is known to cost nothing: all its contracts have ended or not begun."""
    contracts = contracts_of(name, inputs.estate)
    return sources == (CONTRACTS,) and bool(contracts) and not any(contract_usd(one, window) for one in contracts)


def split(name: str, charges: Sequence[Charge], inputs: CostInputs, window: Window) -> tuple[Decimal, Decimal]:
    """Dollars that the component's baseline is about, and the rest of the component."""
    if judges_all(name, inputs.estate):
        return sum_in(charges, window), Decimal(0)
    return _machines_and_rest(charges, inputs, window)


def _machines_and_rest(charges: Sequence[Charge], inputs: CostInputs, window: Window) -> tuple[Decimal, Decimal]:
    here = [c for c in charges if not c.region or c.region in inputs.regions]
    # No selection of regions would ever take what runs outside of the estate, and it is billed all the same.
    outside = [c for c in charges if c.region and c.region not in inputs.estate.regions]
    machines = [c for c in here if c.machine]
    return sum_in(machines, window), sum_in((*outside, *(c for c in here if not c.machine)), window)


def judges_all(name: str, estate: Estate) -> bool:
    """Whether a component's baseline is about all of it: a baseline of machines is compared with machines only."""
    if name != CENTRAL_DC:
        return True
    component = estate.cost.components[name]
    return component.book == "plan" or component.baseline_usd_month is not None


def _age(window: Window, inputs: CostInputs) -> float:
    return (inputs.window.end - window.end) / DAY


def _recent(reading: Reading, inputs: CostInputs) -> Reading:
    """The reading, unknown when its day says nothing about the window any more."""
    age = _age(reading.window, inputs)
    if age <= STALE_DAYS:
        return reading
    reason = f"the newest complete day of the bill ended {age:.1f} days before the window: stale after {STALE_DAYS}"
    return Reading(reading.component, reading.source, reading.window, None, Decimal(1), PROVISIONAL, reason)


# --- What is known without the bill -----------------------------------------------------------------------------------


def nodes_reading(inputs: CostInputs) -> Reading:
    """central_dc from live node-hours at the book's prices; volumes, control plane and balancers from the bill."""
    label = f"node-hours x {inputs.book.name} book {inputs.book.date}"
    fleets = inputs.live.fleets
    missing = [region for region in inputs.regions if region not in {fleet.region for fleet in fleets}]
    covered = min((fleet.coverage for fleet in fleets), default=Decimal(0)) if not missing else Decimal(0)
    if missing or covered < MIN_COVERAGE:
        thin = [f"{f.region} {f.coverage * 100:.1f} %" for f in fleets if f.coverage < MIN_COVERAGE]
        thin += [f"{region}: {inputs.live.problems.get(region, 'not asked')}" for region in missing]
        reason = (
            f"{machine_hours.PRICE_SERIES} covers too little of the window ({', '.join(thin)}): is OpenCost running?"
        )
        return Reading(CENTRAL_DC, label, inputs.window, None, covered, PROVISIONAL, reason)
    priced = machine_hours.price_fleet(fleets, inputs.book)
    if priced.usd is None:
        return Reading(CENTRAL_DC, label, inputs.window, None, covered, PROVISIONAL, "; ".join(priced.problems[:5]))
    hours = sum((fleet.hours for fleet in fleets), Decimal(0))
    notes = (f"{hours:.2f} node-hours", *inputs.book.assumptions)
    found = Reading(CENTRAL_DC, label, inputs.window, priced.usd, covered, PROVISIONAL, notes=notes)
    return _beside_nodes(found, inputs)


def _beside_nodes(found: Reading, inputs: CostInputs) -> Reading:
    day = newest_day((AWS,), inputs)
    reading = _recent(bill_reading(CENTRAL_DC, inputs, day), inputs) if day else None
    everything = judges_all(CENTRAL_DC, inputs.estate)
    if day is None or reading is None or not reading.known:
        reason = reading.reason if reading else "the bill has no complete day"
        note = f"volumes, control plane and balancers are unknown: {reason}"
        if everything:  # a part of what the target is about would read as all of it
            return replace(found, usd=None, reason=note)
        return replace(found, beside_usd=None, notes=(*found.notes, note))
    rest = _machines_and_rest(inputs.bill.of(CENTRAL_DC, day), inputs, day)[1]
    notes = (*found.notes, f"volumes, control plane and balancers from the {reading.source}")
    if everything and found.usd is not None:
        return replace(found, usd=found.usd + rest * inputs.window.seconds / day.seconds, notes=notes)
    return replace(found, beside_usd=rest, beside_window=day, notes=notes)


def power_reading(inputs: CostInputs) -> Reading:
    """jetson from the devices' power series."""
    metric = inputs.estate.cost.devices.power_metric
    label = f"power ({metric})"
    if inputs.live.power is None:
        return Reading(JETSON, label, inputs.window, None, Decimal(0), "", f"no series {metric} in any region")
    dollars, covered = inputs.live.power
    return Reading(JETSON, label, inputs.window, dollars, covered)
