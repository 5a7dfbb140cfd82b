"""Reserved Instances and Savings Plans: what the on-demand remainder after spot would bear, and what is stranded.

From the hourly curve of 30 days. A commitment of q units is paid in every hour and saves where it is used, so the
saving is p x (sum of min(use, q) - (1 - discount) x q x hours): concave in q, its best is on the percentile curve.
"""

from __future__ import annotations

import csv
import datetime as dt
import json
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from include.cost.table.columns import CapacityType, CostError
from include.cost.table.machine_hours import HourlyUse, Use
from include.cost.validation.verdicts import usd
from include.estate import Estate
from include.prices import HOURS_PER_MONTH, AwsBook

OFFERS_FILE = Path(__file__).parents[2] / "price_book" / "commitments.csv"
CLOUDS_FILE = Path(__file__).parents[2] / "price_book" / "other_clouds.csv"
DAYS = 30
MIN_COVERAGE = Decimal("0.95")
COMPUTE = "compute"  # scope of a Savings Plan that counts in every family and region
# AWS's normalisation factors: a Reserved Instance of a family counts for any of its sizes (Linux, regional).
SIZE_UNITS = {"nano": "0.25", "micro": "0.5", "small": "1", "medium": "2", "large": "4", "xlarge": "8"}


class NotEnoughDataError(CostError):
    """Too little hourly use for a recommendation; the message says how much there is and how much is needed."""


# --- Price tables -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Offer:
    """A way to commit. ``discount`` below on demand, 0..1; ``scope``: family or compute."""

    kind: str
    term_years: int
    payment: str
    scope: str
    discount: Decimal
    date: str
    status: str
    source: str

    @property
    def name(self) -> str:
        """Such as ``savings_plan 1y no upfront (compute)``."""
        return f"{self.kind} {self.term_years}y {self.payment} ({self.scope})"


@dataclass(frozen=True)
class CloudPrice:
    """A machine of another cloud that could stand in for one of ``like_region``; None: price not known."""

    cloud: str
    machine: str
    arch: str
    vcpu: int
    memory_gib: int
    region: str
    like_region: str
    term: str
    usd_hour: Decimal | None
    date: str
    date_kind: str
    status: str
    source: str


def load_offers(path: Path = OFFERS_FILE) -> list[Offer]:
    """The ways to commit. Raises CostError with the file and line."""
    return [
        Offer(**{**raw, "term_years": int(raw["term_years"]), "discount": _share(raw["discount"])})
        for raw in _rows(path, Offer)
    ]


def load_clouds(path: Path = CLOUDS_FILE) -> list[CloudPrice]:
    """List prices of other clouds. Raises CostError with the file and line."""
    return [
        CloudPrice(
            **{
                **raw,
                "vcpu": int(raw["vcpu"]),
                "memory_gib": int(raw["memory_gib"]),
                "usd_hour": Decimal(raw["usd_hour"]) if raw["usd_hour"] else None,
            }
        )
        for raw in _rows(path, CloudPrice)
    ]


def _share(text: str) -> Decimal:
    value = Decimal(text)
    if not 0 < value < 1:
        raise ValueError(f"discount {text} is no share between 0 and 1")
    return value


def _rows(path: Path, kind: type[Any]) -> Iterable[Any]:
    lines = [(n, line) for n, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)]
    body = [(n, line) for n, line in lines if line and not line.startswith("#")]
    wanted = list(kind.__dataclass_fields__)
    reader = csv.DictReader(line for _, line in body)
    if list(reader.fieldnames or []) != wanted:
        raise CostError(f"{path.name}: columns are {reader.fieldnames}: they must be {', '.join(wanted)}")
    for raw, (number, _) in zip(reader, body[1:], strict=True):
        if None in raw or None in raw.values() or not raw["date"] or not raw["source"]:
            raise CostError(f"{path.name} line {number}: needs {len(wanted)} values, date and source among them")
        yield raw


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


def check_enough(use: Use) -> None:
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


def curves(use: Use, kinds: Sequence[CapacityType] = (CapacityType.ON_DEMAND,)) -> list[Curve]:
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
class Comparison:
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
    clouds: tuple[Comparison, ...]

    def to_json(self) -> dict[str, Any]:
        """The record, dollars as text."""
        plain: dict[str, Any] = json.loads(
            json.dumps(asdict(self), default=lambda v: v.isoformat() if isinstance(v, dt.datetime) else str(v))
        )
        return plain


def analyse(
    use: Use,
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


def _before_spot(use: Use, offers: Sequence[Offer]) -> list[str]:
    """What a commitment sized by the use before spot would strand now: spot hours don't use commitments."""
    after = {(curve.region, curve.family): curve for curve in curves(use)}
    said = []
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
                said.append(
                    f"{curve.region} {curve.family}, {offer.name}: {quantity / unit:f} x {curve.smallest} by the use "
                    f"with spot would stand idle {share:.1f} % of the time"
                )
    return said


def compare_clouds(clouds: Sequence[CloudPrice], estate: Estate, book: AwsBook) -> list[Comparison]:
    """Each region's node type at list price against other clouds' machines on demand; a region without any is said."""
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
            found.append(Comparison(name, ours, price, theirs, row.usd_hour, gap, row.date, row.status))
        if not rows:
            found.append(Comparison(name, ours, price, "", None, None, "", f"{CLOUDS_FILE.name} has no row for {name}"))
    return found


def to_markdown(record: Mapping[str, Any]) -> str:
    """The record as a page."""
    parts = [
        f"# Commitments {record['start'][:10]} to {record['end'][:10]}\n",
        f"Hourly use from {record['source']}, {Decimal(record['coverage']) * 100:.1f} % of the hours. USD a month.\n",
        "The on-demand remainder after spot and after what is committed already:\n",
        "| region | family | offer | buy | coverage | utilisation | break-even | on demand | saving |",
        "|---|---|---|---:|---:|---:|---:|---:|---:|",
        *(_advice_row(row) for row in record["advice"]),
        "",
        *([f"- {row}" for row in sorted({f"{a['offer']}: {a['status']}" for a in record["advice"]})]),
        "\n## Stranded\n",
        *([_unused_row(row) for row in record["unused"]] or ["No row of the bill is an unused commitment."]),
        *(f"- {text}" for text in record["before_spot"]),
        "\n## Other clouds (pilot, list prices on demand)\n",
        "| region | ours | USD/h | theirs | USD/h | difference | date | status |",
        "|---|---|---:|---|---:|---:|---|---|",
        *(_cloud_row(row) for row in record["clouds"]),
    ]
    if record["skipped_types"]:
        parts.append(f"\nLeft out, no normalised size: {', '.join(record['skipped_types'])}.")
    return "\n".join(parts) + "\n"


def _percent(share: str | None) -> str:
    return "-" if share is None else f"{Decimal(share) * 100:.1f} %"


def _advice_row(row: Mapping[str, Any]) -> str:
    buy = (
        f"{Decimal(row['quantity']):.2f} {row['unit']}"
        if row["family"] == "all"
        else f"{row['quantity']} x {row['unit']}"
    )
    cells = [row["region"], row["family"], row["offer"], buy, _percent(row["coverage"]), _percent(row["utilisation"])]
    cells += [
        f"{Decimal(row['break_even_hours']):.0f} h",
        usd(row["on_demand_usd_month"]),
        usd(row["saving_usd_month"]),
    ]
    return f"| {' | '.join(cells)} |"


def _unused_row(row: Mapping[str, Any]) -> str:
    quantity = "" if row["quantity"] is None else f", {Decimal(row['quantity']).normalize():f} units"
    return f"- {row['commitment']} ({row['kind']}): {usd(row['usd'])} paid and not used{quantity}"


def _cloud_row(row: Mapping[str, Any]) -> str:
    cells = [row["region"], row["ours"], f"{Decimal(row['ours_usd_hour']):.4f}", row["theirs"] or "unknown"]
    cells += ["unknown" if row["theirs_usd_hour"] is None else f"{Decimal(row['theirs_usd_hour']):.4f}"]
    cells += [_percent(row["difference"]), row["date"], row["status"]]
    return f"| {' | '.join(cells)} |"
