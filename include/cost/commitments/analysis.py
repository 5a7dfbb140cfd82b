"""Reserved Instances and Savings Plans: what the on-demand remainder after spot would bear, and what is stranded.

From the hourly curve of 30 days. A commitment of q units is paid in every hour and saves where it is used, so the
saving is p x (sum of min(use, q) - (1 - discount) x q x hours): concave in q, its best is on the percentile curve.
"""

from __future__ import annotations

import datetime as dt
import json
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal
from typing import Any

from include.cost.commitments.offers import CLOUDS_FILE, COMPUTE, CloudPrice, Offer
from include.cost.table.columns import CapacityType, CostError
from include.cost.table.machine_hours import HourlyUse, MachineUse
from include.cost.table.record import plain
from include.estate import Estate
from include.prices import HOURS_PER_MONTH, AwsBook

DAYS = 30
MIN_COVERAGE = Decimal("0.95")
# AWS's normalisation factors: a Reserved Instance of a family counts for any of its sizes (Linux, regional).
SIZE_UNITS = {"nano": "0.25", "micro": "0.5", "small": "1", "medium": "2", "large": "4", "xlarge": "8"}


class NotEnoughDataError(CostError):
    """Too little hourly use for a recommendation; the message says how much there is and how much is needed."""


# --- The curve --------------------------------------------------------------------------------------------------------


def best_quantity(use: Sequence[Decimal], discount: Decimal) -> Decimal:
    """The commitment that saves most on hourly ``use``: the largest that more than 1 - discount of the hours use.

    0 when none does. Where two quantities save the same, the smaller.
    """
    needed = math.floor((1 - discount) * len(use)) + 1
    falling = sorted(use, reverse=True)
    return falling[needed - 1] if needed <= len(falling) else Decimal(0)


def best_whole(use: Sequence[Decimal], discount: Decimal, unit: Decimal) -> Decimal:
    """As :func:`best_quantity`, in whole multiples of ``unit`` (an instance can't be bought in parts)."""
    below = best_quantity(use, discount) // unit * unit
    candidates = (below, below + unit)
    return max(candidates, key=lambda quantity: (saving(use, quantity, discount), -quantity))


def saving(use: Sequence[Decimal], quantity: Decimal, discount: Decimal) -> Decimal:
    """What the commitment saves over the hours of ``use``, in units of on-demand price; negative when it costs more."""
    used = sum((min(value, quantity) for value in use), Decimal(0))
    return used - (1 - discount) * quantity * len(use)


@dataclass(frozen=True)
class Advice:
    """One offer for one curve. Shares are 0..1, None where there is nothing to share; money is USD a month (729.6 h).

    ``break_even_hours``: hours a month that a unit must be used for to pay.
    """

    region: str
    family: str
    offer: str
    unit: str
    quantity: Decimal
    coverage: Decimal | None
    utilisation: Decimal | None
    break_even_hours: Decimal
    on_demand_usd_month: Decimal
    saving_usd_month: Decimal
    status: str


def advise(
    region: str, family: str, use: Sequence[Decimal], price: Decimal, offer: Offer, unit: tuple[str, Decimal] | None
) -> Advice:
    """The best quantity of an offer for hourly ``use`` (units; ``price`` USD a unit and hour).

    ``unit``: name and size of what is bought in whole numbers; None for dollars an hour.
    """
    quantity = best_whole(use, offer.discount, unit[1]) if unit else best_quantity(use, offer.discount)
    hours, total = len(use), sum(use, Decimal(0))
    used = sum((min(value, quantity) for value in use), Decimal(0))
    return Advice(
        region=region,
        family=family,
        offer=offer.name,
        unit=unit[0] if unit else "USD/h on demand",
        quantity=quantity / unit[1] if unit else quantity,
        coverage=used / total if total else None,
        utilisation=used / (quantity * hours) if quantity else None,
        break_even_hours=(1 - offer.discount) * HOURS_PER_MONTH,
        on_demand_usd_month=total * price * HOURS_PER_MONTH / hours,
        saving_usd_month=saving(use, quantity, offer.discount) * price * HOURS_PER_MONTH / hours,
        status=offer.status,
    )


def stranded(use: Sequence[Decimal], quantity: Decimal) -> Decimal:
    """Unit-hours of an owned commitment that nobody uses."""
    return sum((max(Decimal(0), quantity - value) for value in use), Decimal(0))


# --- From hourly use to curves ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Curve:
    """Hourly use of a family in a region in normalised units; ``smallest`` is the smallest size that was seen."""

    region: str
    family: str
    smallest: str
    units: tuple[Decimal, ...]
    usd: tuple[Decimal, ...]

    @property
    def price(self) -> Decimal:
        """USD a unit and hour, as billed."""
        return sum(self.usd, Decimal(0)) / sum(self.units, Decimal(0))


def units_of(instance_type: str) -> Decimal | None:
    """AWS's normalised units of a type; None for sizes without a factor, such as metal."""
    size = instance_type.partition(".")[2]
    if size in SIZE_UNITS:
        return Decimal(SIZE_UNITS[size])
    count = size.removesuffix("xlarge")
    return Decimal(count) * 8 if size.endswith("xlarge") and count.isdigit() else None


def check_enough(use: MachineUse) -> None:
    """Raise NotEnoughDataError for less than 30 days or less than 95 % of their hours."""
    if use.hours_due < DAYS * 24:
        raise NotEnoughDataError(
            f"{use.hours_due} hours of use: a recommendation needs {DAYS} days ({DAYS * 24} hours)"
        )
    if use.coverage < MIN_COVERAGE:
        raise NotEnoughDataError(
            f"{len(use.hours_seen)} of {use.hours_due} hours from {use.start:%Y-%m-%d} have data "
            f"({use.coverage * 100:.1f} %), {MIN_COVERAGE * 100:.0f} % are needed: backfill cost_report"
        )


def curves(use: MachineUse, kinds: Sequence[CapacityType] = (CapacityType.ON_DEMAND,)) -> list[Curve]:
    """The curve of each region and family over the hours that were seen; an hour without use counts as 0.

    Default: the on-demand remainder, after spot and after what commitments cover already.
    """
    hours = sorted(use.hours_seen)
    found: dict[tuple[str, str], list[HourlyUse]] = defaultdict(list)
    for row in use.rows:
        if row.capacity in kinds and units_of(row.instance_type) is not None:
            found[row.region, row.instance_type.partition(".")[0]].append(row)
    return [_curve(region, family, rows, hours) for (region, family), rows in sorted(found.items())]


def _curve(region: str, family: str, rows: Sequence[HourlyUse], hours: Sequence[dt.datetime]) -> Curve:
    units: dict[dt.datetime, Decimal] = defaultdict(Decimal)
    dollars: dict[dt.datetime, Decimal] = defaultdict(Decimal)
    for row in rows:
        units[row.hour] += row.hours * (units_of(row.instance_type) or 0)
        dollars[row.hour] += row.usd
    smallest = min((row.instance_type for row in rows), key=lambda name: (units_of(name) or 0, name))
    return Curve(
        region,
        family,
        smallest,
        tuple(units.get(hour, Decimal(0)) for hour in hours),
        tuple(dollars.get(hour, Decimal(0)) for hour in hours),
    )


# --- The whole --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Unused:
    """A commitment that was paid and not used, from the bill's rows with status Unused."""

    commitment: str
    kind: str
    quantity: Decimal | None
    usd: Decimal


@dataclass(frozen=True)
class CloudGap:
    """A machine of another cloud against the estate's own in the same part of the world, USD an hour at list price."""

    region: str
    ours: str
    ours_usd_hour: Decimal
    theirs: str
    theirs_usd_hour: Decimal | None
    difference: Decimal | None  # -0.1: 10 % cheaper than ours
    date: str
    status: str


@dataclass(frozen=True)
class Analysis:
    """The result of one analysis."""

    start: dt.datetime
    end: dt.datetime
    coverage: Decimal
    source: str
    advice: tuple[Advice, ...]
    unused: tuple[Unused, ...]
    before_spot: tuple[str, ...]
    skipped_types: tuple[str, ...]
    clouds: tuple[CloudGap, ...]

    def to_json(self) -> dict[str, Any]:
        """The record, dollars as text."""
        rendered: dict[str, Any] = json.loads(json.dumps(asdict(self), default=plain))
        return rendered


def analyse(
    use: MachineUse,
    source: str,
    offers: Sequence[Offer],
    unused: Sequence[Unused],
    clouds: Sequence[CloudPrice],
    estate: Estate,
    book: AwsBook,
) -> Analysis:
    """Every offer on every curve, what is stranded, and the other clouds. Raises NotEnoughDataError."""
    check_enough(use)
    remainder = curves(use)
    advice = [_family_advice(curve, offer) for offer in offers if offer.scope != COMPUTE for curve in remainder]
    dollars = _dollars(remainder)
    if dollars:
        advice += [advise("all", "all", dollars, Decimal(1), o, None) for o in offers if o.scope == COMPUTE]
    skipped = {row.instance_type for row in use.rows if units_of(row.instance_type) is None}
    return Analysis(
        start=use.start,
        end=use.end,
        coverage=use.coverage,
        source=source,
        advice=tuple(advice),
        unused=tuple(unused),
        before_spot=tuple(_before_spot(use, offers)),
        skipped_types=tuple(sorted(skipped)),
        clouds=tuple(compare_clouds(clouds, estate, book)),
    )


def _family_advice(curve: Curve, offer: Offer) -> Advice:
    unit = (curve.smallest, units_of(curve.smallest) or Decimal(1))
    return advise(curve.region, curve.family, curve.units, curve.price, offer, unit)


def _dollars(of: Sequence[Curve]) -> list[Decimal]:
    return [sum(values, Decimal(0)) for values in zip(*(curve.usd for curve in of), strict=True)]


def _before_spot(use: MachineUse, offers: Sequence[Offer]) -> list[str]:
    """What a commitment sized by the use before spot would strand now: spot hours don't use commitments."""
    after = {(curve.region, curve.family): curve for curve in curves(use)}
    texts = []
    for curve in curves(use, (CapacityType.ON_DEMAND, CapacityType.SPOT)):
        for offer in (o for o in offers if o.scope != COMPUTE):
            unit = units_of(curve.smallest) or Decimal(1)
            quantity = best_whole(curve.units, offer.discount, unit)
            now = after.get((curve.region, curve.family))
            left = now.units if now else tuple(Decimal(0) for _ in curve.units)
            if quantity <= best_whole(left, offer.discount, unit):
                continue  # spot is not what makes it idle
            idle = stranded(left, quantity)
            if idle:
                share = idle / (quantity * len(left)) * 100
                texts.append(
                    f"{curve.region} {curve.family}, {offer.name}: {quantity / unit:f} x {curve.smallest} by the use "
                    f"with spot would stand idle {share:.1f} % of the time"
                )
    return texts


def compare_clouds(clouds: Sequence[CloudPrice], estate: Estate, book: AwsBook) -> list[CloudGap]:
    """Each region's node type at list price against other clouds' machines on demand; a region without any is texts."""
    found = []
    for name, region in estate.regions.items():
        ours = region.node_group.instance_type
        price = book.on_demand(name, ours)
        if price is None:
            continue
        rows = [c for c in clouds if c.like_region == name and c.term == "on_demand"]
        for row in rows:
            gap = None if row.usd_hour is None else row.usd_hour / price - 1
            theirs = f"{row.cloud} {row.machine} {row.region}"
            found.append(CloudGap(name, ours, price, theirs, row.usd_hour, gap, row.date, row.status))
        if not rows:
            found.append(CloudGap(name, ours, price, "", None, None, "", f"{CLOUDS_FILE.name} has no row for {name}"))
    return found
