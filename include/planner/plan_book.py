"""The plan's own figures, line by line: what it states, what its own numbers give, and by how much a line fails."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from include.planner.figures import LineCheck, cents
from include.planner.order import CENTRAL_DC, CLOUDFRONT, JETSON, LAMBDA_EDGE
from include.prices import PlanBook

HOURS, REGIONS, NODES = Decimal(730), 3, 5
NODE_USD, SPOT_USD, SMALL_SPOT_USD = Decimal("0.136"), Decimal("0.068"), Decimal("0.034")
PEAK_HOURS, OFF_PEAK_HOURS, OFF_PEAK_NODES = Decimal(198), Decimal(532), 2
EGRESS_GB, EGRESS_USD, EGRESS_100_USD = Decimal(50 * 1024), Decimal("0.085"), Decimal("0.060")
PROVISIONED_USD, COLD_START_USD = Decimal(60), Decimal(70)
DEVICES, TDP_WATTS, KWH_USD, DAYS = 5, Decimal(15), Decimal("0.15"), 30
WATT_HOURS = ((15, 9), (12, 9), (7, 6))  # watts and hours a day in each mode
STATED_AFTER_SPOT, STATED_SAVING = Decimal("326.04"), Decimal("1163.16")


def central_before() -> Decimal:
    """Fifteen nodes at the plan's price all month."""
    return NODE_USD * NODES * HOURS * REGIONS


def central_after() -> Decimal:
    """Five spot nodes at peak, two small ones else."""
    peak = NODES * SPOT_USD * PEAK_HOURS
    return (peak + OFF_PEAK_NODES * SMALL_SPOT_USD * OFF_PEAK_HOURS) * REGIONS


def device_power(watts: Decimal) -> Decimal:
    """All devices at so many watts for thirty days."""
    return watts * DEVICES * 24 * DAYS / 1000 * KWH_USD


def lines(book: PlanBook | None = None) -> list[LineCheck]:
    """Every line of both weeks, and the sums."""
    book = book or PlanBook()
    found = [*_of_week(book, 13, _derived_before()), *_of_week(book, 14, _derived_after())]
    for week in (13, 14):
        stated = {13: Decimal(3470), 14: Decimal(2970)}[week]
        found.append(LineCheck(f"total, week {week}", stated, book.total(week), "the sum of the lines as they stand"))
    saving = central_before() - central_after()
    how = (
        f"1,489.20 - {cents(central_after())}; the plan prints {STATED_AFTER_SPOT} and {STATED_SAVING}, then takes 750"
    )
    return [*found, LineCheck("central_dc, saving", Decimal(750), cents(saving), how)]


Derived = dict[str, tuple[Decimal, str]]


def _of_week(book: PlanBook, week: int, derived: Derived) -> Sequence[LineCheck]:
    rows = []
    for one in book.components:
        value, how = derived.get(one.name, (None, "the plan gives no figures behind it"))
        stated = one.week_13 if week == 13 else one.week_14
        rows.append(LineCheck(f"{one.name}, week {week}", stated, None if value is None else cents(value), how))
    return rows


def _derived_before() -> Derived:
    return {
        CENTRAL_DC: (central_before(), f"{NODE_USD} x {NODES} nodes x {HOURS} h x {REGIONS}; 0.136 is c6g.xlarge"),
        CLOUDFRONT: (EGRESS_GB * EGRESS_USD, f"50 TB x {EGRESS_USD} a GB"),
        JETSON: (device_power(TDP_WATTS), f"{DEVICES} x {TDP_WATTS} W x 24 h x {DAYS} x {KWH_USD}: power alone"),
    }


def _derived_after() -> Derived:
    mean = Decimal(sum(watts * hours for watts, hours in WATT_HOURS)) / 24
    functions = PlanBook().component(LAMBDA_EDGE).week_13 + PROVISIONED_USD - COLD_START_USD
    return {
        CENTRAL_DC: (central_after(), "5 x 0.068 x 198 h + 2 x 0.034 x 532 h, three regions"),
        CLOUDFRONT: (EGRESS_GB * EGRESS_100_USD, f"50 TB x {EGRESS_100_USD} a GB"),
        LAMBDA_EDGE: (functions, "420 + 60 for provisioned concurrency - 70 of cold starts"),
        JETSON: (device_power(mean), f"{DEVICES} x {mean} W x 24 h x {DAYS} x {KWH_USD}: power alone"),
    }
