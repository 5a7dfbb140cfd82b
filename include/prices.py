"""Price books: what things cost, with the source and the date of each figure. Money is always Decimal US dollars.

Two books. ``aws`` holds list prices of EC2 (``price_book/aws_ec2.csv``); ``plan`` the cost plan's own monthly
figures. They disagree, so every report names the book that it used and never mixes the two.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from include.estate import Estate, Spot, load_estate

AWS_BOOK_FILE = Path(__file__).parent / "price_book" / "aws_ec2.csv"
COLUMNS = (
    "instance_type",
    "category",
    "arch",
    "vcpu",
    "memory_mib",
    "allocatable_cpu",
    "allocatable_memory_mib",
    "on_demand",
)
# The plan projects a day to a month with 30.4 days (its $97.70 a day is 2,970 / 30.4), so hours follow the same
# month: 729.6, not AWS's customary 730.
DAYS_PER_MONTH = Decimal("30.4")
HOURS_PER_MONTH = DAYS_PER_MONTH * 24
# ASSUMPTION: spot prices differ between the zones of a region by a few percent; which one is cheap is made up.
ZONE_FACTORS: Mapping[str, Decimal] = {
    "a": Decimal("1.00"),
    "b": Decimal("0.98"),
    "c": Decimal("1.03"),
    "d": Decimal("1.01"),
}


class PriceBookError(ValueError):
    """A price book can't be used; the message names the file, the line and the remedy."""


class TooFewInstanceTypesError(ValueError):
    """Fewer instance types are left than the estate asks for; ``removed`` counts what each filter took away."""

    def __init__(self, message: str, removed: Mapping[str, int]) -> None:
        super().__init__(message)
        self.removed = dict(removed)


@dataclass(frozen=True)
class InstanceType:
    """What an instance type offers. CPU in cores, memory in MiB; allocatable is what Kubernetes leaves for pods."""

    name: str
    category: str
    size: str
    arch: str
    vcpu: int
    memory_mib: int
    allocatable_cpu: float
    allocatable_memory_mib: int


@dataclass(frozen=True)
class SpotAdvice:
    """Savings against on demand (0.69 is 69 %) and interruption band (0: < 5 % a month ... 4: > 20 %) in a region."""

    savings: Decimal
    band: int


@dataclass(frozen=True)
class PriceRow:
    """One instance type: on-demand USD an hour in us-east-1 and spot advice by region."""

    instance: InstanceType
    on_demand_us_east_1: Decimal
    spot: Mapping[str, SpotAdvice]


@dataclass(frozen=True)
class InstanceChoice:
    """An instance type that the spot pool may use; prices in USD an hour, spot in the region's zone ``a``.

    ``interruption_band`` is None in a region that the price book doesn't know.
    """

    instance: InstanceType
    on_demand: Decimal
    spot: Decimal
    interruption_band: int | None

    @property
    def name(self) -> str:
        """The instance type's name."""
        return self.instance.name

    @property
    def spot_per_vcpu(self) -> Decimal:
        """Spot USD an hour for one vCPU."""
        return self.spot / self.instance.vcpu


class PoolChoices(NamedTuple):
    """What each pool may use, cheapest per vCPU first (ties by name).

    How often spot is interrupted says nothing of the same type on demand: there it leaves nothing out.
    """

    spot: list[InstanceChoice]
    on_demand: list[InstanceChoice]


class AwsBook:
    """List prices of EC2 in USD an hour. A price that is not known is None, never zero."""

    name = "aws"

    def __init__(
        self,
        rows: Iterable[PriceRow],
        region_factors: Mapping[str, Decimal],
        date: str = "",
        source: str = "",
    ) -> None:
        self._rows = {row.instance.name: row for row in rows}
        self._factors = dict(region_factors)
        self.date = date
        self.source = source
        self.assumptions = _assumptions(self._factors)

    def regions(self) -> list[str]:
        """The regions that the book has prices for."""
        return list(self._factors)

    def instance_types(self) -> list[str]:
        """Names of all instance types in the book, sorted."""
        return sorted(self._rows)

    def details(self, instance_type: str) -> InstanceType:
        """What ``instance_type`` offers. Raises PriceBookError when the book doesn't have it."""
        try:
            return self._rows[instance_type].instance
        except KeyError:
            raise PriceBookError(
                f"instance type {instance_type!r} is not in the price book {AWS_BOOK_FILE.name} ({self.date}): "
                "correct the name, or add the type with `python -m tools.derive_prices`"
            ) from None

    def on_demand(self, region: str, instance_type: str) -> Decimal | None:
        """On-demand USD an hour: the us-east-1 list price times the region's factor."""
        row, factor = self._rows.get(instance_type), self._factors.get(region)
        return None if row is None or factor is None else row.on_demand_us_east_1 * factor

    def spot(self, region: str, instance_type: str, zone: str) -> Decimal | None:
        """Spot USD an hour in ``zone`` (such as us-east-1a): on demand less savings, times a zone factor."""
        price, advice = self.on_demand(region, instance_type), self._advice(region, instance_type)
        factor = ZONE_FACTORS.get(zone.removeprefix(region))
        if price is None or advice is None or factor is None:
            return None
        return price * (1 - advice.savings) * factor

    def knows_spot(self, region: str) -> bool:
        """Whether the book has spot prices of any instance type in ``region``."""
        return any(region in row.spot for row in self._rows.values())

    def savings(self, region: str, instance_type: str) -> Decimal | None:
        """By how much spot is below on demand there, a share."""
        advice = self._advice(region, instance_type)
        return None if advice is None else advice.savings

    def interruption_band(self, region: str, instance_type: str) -> int | None:
        """How often spot is interrupted in a month: 0 (< 5 %), 1 (5-10), 2 (10-15), 3 (15-20), 4 (> 20)."""
        advice = self._advice(region, instance_type)
        return None if advice is None else advice.band

    def _advice(self, region: str, instance_type: str) -> SpotAdvice | None:
        row = self._rows.get(instance_type)
        return None if row is None else row.spot.get(region)


def _assumptions(factors: Mapping[str, Decimal]) -> tuple[str, ...]:
    shown = ", ".join(f"{region} {factor}" for region, factor in factors.items() if factor != 1)
    zones = ", ".join(f"{zone} {factor}" for zone, factor in ZONE_FACTORS.items())
    month = f"a month has {DAYS_PER_MONTH} days ({HOURS_PER_MONTH} hours)"
    spot = f"spot = on demand x (1 - savings of AWS Spot Advisor) x a made-up factor per zone: {zones}"
    if not shown:
        return spot, month
    return f"on-demand prices are us-east-1 list prices times a factor per region: {shown}", spot, month


def usd_month(usd_hour: Decimal) -> Decimal:
    """USD a month of 30.4 days for a price in USD an hour."""
    return usd_hour * HOURS_PER_MONTH


def load_aws_book(estate: Estate | None = None) -> AwsBook:
    """The ``aws`` book with the region factors of ``estate`` (default: the estate's file, read once).

    Raises PriceBookError when the file can't be used, EstateError when the estate can't.
    """
    return _default_book() if estate is None else _book(estate)


@lru_cache(maxsize=1)
def _default_book() -> AwsBook:
    return _book(load_estate())


def _book(estate: Estate) -> AwsBook:
    header, rows = _read(AWS_BOOK_FILE)
    factors = {name: Decimal(str(region.on_demand_price_factor)) for name, region in estate.regions.items()}
    return AwsBook(rows, factors, date=header["date"], source=header["source"])


@lru_cache(maxsize=1)
def _read(path: Path) -> tuple[dict[str, str], tuple[PriceRow, ...]]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise PriceBookError(f"{path.name} can't be read ({error.strerror}): restore it from the repository") from error
    return parse_aws_book(path.name, lines)


def parse_aws_book(name: str, lines: Iterable[str]) -> tuple[dict[str, str], tuple[PriceRow, ...]]:
    """Header (``date``, ``source`` ...) and rows of the price book's text. Raises PriceBookError with the line."""
    numbered = list(enumerate(lines, 1))
    comments = (line[1:].strip().partition(": ") for _, line in numbered if line.startswith("#"))
    header = {field: value for field, _, value in comments}
    for field in ("date", "source"):
        if not header.get(field):
            raise PriceBookError(f"{name}: no line '# {field}: ...' in the header: run `python -m tools.derive_prices`")
    body = [(number, line) for number, line in numbered if line and not line.startswith("#")]
    reader = csv.DictReader(line for _, line in body)
    rows = []
    for raw, (number, _) in zip(reader, body[1:], strict=False):
        try:
            rows.append(_row(raw))
        except (KeyError, ValueError, ArithmeticError, TypeError) as error:
            raise PriceBookError(
                f"{name} line {number}: {type(error).__name__} {error}: run `python -m tools.derive_prices`"
            ) from error
    return header, tuple(rows)


def _row(raw: Mapping[str, str]) -> PriceRow:
    instance = InstanceType(
        name=raw["instance_type"],
        category=raw["category"],
        size=raw["instance_type"].split(".")[1],
        arch=raw["arch"],
        vcpu=int(raw["vcpu"]),
        memory_mib=int(raw["memory_mib"]),
        allocatable_cpu=float(raw["allocatable_cpu"]),
        allocatable_memory_mib=int(raw["allocatable_memory_mib"]),
    )
    return PriceRow(instance, Decimal(raw["on_demand"]), dict(_advised(raw)))


def _advised(raw: Mapping[str, str]) -> Iterator[tuple[str, SpotAdvice]]:
    for column, value in raw.items():
        region = column.removesuffix("_savings")
        if region != column and value:
            yield region, SpotAdvice(Decimal(value) / 100, int(raw[f"{region}_band"]))


def choose_instance_types(
    book: AwsBook, region: str, spot: Spot, quoted: Mapping[tuple[str, str], Decimal] | None = None
) -> PoolChoices:
    """The instance types that the pools of ``region`` may use.

    ``quoted`` are EC2's own spot prices by type and zone, for a region whose prices the book doesn't know; how often
    spot is interrupted there is not known then, and nothing is left out for it. Raises TooFewInstanceTypesError, with
    what each filter removed, when fewer than ``spot.min_instance_types`` remain.
    """
    at_hand = []
    removed = {"architecture": 0, "category": 0, "size": 0, "price not known": 0, "interruption band": 0}
    in_book = book.knows_spot(region)
    for name in book.instance_types():
        instance = book.details(name)
        on_demand, band = book.on_demand(region, name), book.interruption_band(region, name)
        price = book.spot(region, name, f"{region}a") if in_book else _dearest(quoted or {}, name)
        if instance.arch != spot.architecture:
            removed["architecture"] += 1
        elif instance.category not in spot.categories:
            removed["category"] += 1
        elif instance.size not in spot.sizes:
            removed["size"] += 1
        elif on_demand is None or price is None or (in_book and band is None):
            removed["price not known"] += 1
        else:
            at_hand.append(InstanceChoice(instance, on_demand, price, band))
    choices = [choice for choice in at_hand if (choice.interruption_band or 0) <= spot.max_interruption_band]
    removed["interruption band"] = len(at_hand) - len(choices)
    if len(choices) < spot.min_instance_types:
        remedy = _widen(spot) if in_book else _no_prices(book, region)
        raise TooFewInstanceTypesError(_too_few(region, spot, len(choices), removed) + remedy, removed)
    return PoolChoices(
        sorted(choices, key=lambda choice: (choice.spot_per_vcpu, choice.name)),
        sorted(at_hand, key=lambda choice: (choice.on_demand / choice.instance.vcpu, choice.name)),
    )


def _dearest(quoted: Mapping[tuple[str, str], Decimal], name: str) -> Decimal | None:
    """The highest price of a type's zones: what is expected of the saving is not too much."""
    return max((price for (kind, _), price in quoted.items() if kind == name), default=None)


def _too_few(region: str, spot: Spot, left: int, removed: Mapping[str, int]) -> str:
    counts = ", ".join(f"{name} {count}" for name, count in removed.items())
    return (
        f"{region}: {left} of {left + sum(removed.values())} instance types are left, "
        f"spot.min_instance_types asks for {spot.min_instance_types}. Removed by filter: {counts}. "
    )


def _widen(spot: Spot) -> str:
    return (
        f"Widen spot.sizes or spot.categories, or raise spot.max_interruption_band (now {spot.max_interruption_band})"
    )


def _no_prices(book: AwsBook, region: str) -> str:
    file = f"include/price_book/{AWS_BOOK_FILE.name}"
    return (
        f"The price book ({book.date}) has no spot prices of {region}, and EC2 quotes too few: add the columns "
        f"{region}_savings and {region}_band to {file} (percent below on demand and interruption band, from AWS Spot "
        "Advisor), or allow ec2:DescribeSpotPriceHistory to the region's AWS connection"
    )


@dataclass(frozen=True)
class PlanComponent:
    """One line of the plan's bill in USD a month, and the lever that is to lower it."""

    name: str
    week_13: Decimal
    week_14: Decimal
    lever: str


class PlanBook:
    """The cost plan's own figures in USD a month: targets that somebody set, not prices that anybody was billed."""

    name = "plan"
    date = "week 14"
    source = "the week-14 cost plan of AkiDB"
    assumptions = ("the plan's figures as they stand; they are not list prices and differ from the aws book",)
    # The plan gives week 8 as a total only.
    week_8_total = Decimal(8000)
    components: tuple[PlanComponent, ...] = (
        PlanComponent(
            "central_dc", Decimal(1800), Decimal(1050), "70 % spot, autoscaling, right-sizing, consolidation"
        ),
        PlanComponent("cloudfront", Decimal(600), Decimal(420), "price class"),
        PlanComponent("lambda_edge", Decimal(420), Decimal(350), "cold starts, memory 512 -> 384 MB"),
        PlanComponent("jetson", Decimal(350), Decimal(280), "power modes"),
        PlanComponent("s3", Decimal(150), Decimal(120), "models older than 30 days to Glacier"),
        PlanComponent("route_53", Decimal(100), Decimal(80), "health check frequency"),
        PlanComponent("monitoring", Decimal(50), Decimal(50), ""),
        PlanComponent("cost_platform", Decimal(0), Decimal(620), "Kubecost, OpenCost, Karpenter support"),
    )

    def component(self, name: str) -> PlanComponent:
        """The line called ``name``. Raises PriceBookError naming the lines that exist."""
        for component in self.components:
            if component.name == name:
                return component
        known = ", ".join(component.name for component in self.components)
        raise PriceBookError(f"component {name!r} is not in the plan: use one of {known}")

    def total(self, week: int) -> Decimal:
        """USD a month of all components in week 8, 13 or 14. Raises PriceBookError for another week."""
        if week == 8:
            return self.week_8_total
        if week == 13:
            return sum((component.week_13 for component in self.components), Decimal(0))
        if week == 14:
            return sum((component.week_14 for component in self.components), Decimal(0))
        raise PriceBookError(f"the plan has no figures for week {week}: use 8, 13 or 14")
