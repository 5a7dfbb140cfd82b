"""Which storage class pays for a model version, by its objects, their sizes and how long they stay: pure functions.

What a class costs over the time that the objects are still kept: storage (at least for its minimum duration, of at
least its minimum size, with what it adds to each object), one transition request each, and reading back.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

from include.levers.price_tables import PriceTable
from include.prices import DAYS_PER_MONTH, PriceBookError

FREE = Decimal(0)
GIB = Decimal(2**30)  # S3 bills gigabytes of 2^30 bytes
LARGEST = 50 * 10**12  # bytes: more than an object may have
STANDARD = "STANDARD"
CLASSES = ("STANDARD_IA", "GLACIER_IR", "GLACIER", "DEEP_ARCHIVE")  # those readable at once first
Sizes = Sequence[tuple[int, int]]  # bytes of an object, how many there are of it


@dataclass(frozen=True)
class ClassPrice:
    """A row of include/price_book/aws_s3.csv; its header says what the columns mean."""

    storage_class: str
    usd_gb_month: Decimal
    usd_1000_transitions: Decimal = FREE
    usd_gb_retrieval: Decimal = FREE
    usd_1000_retrievals: Decimal = FREE
    usd_1000_puts: Decimal = FREE
    min_days: int = 0
    min_bytes: int = 0
    overhead_bytes: int = 0
    overhead_standard_bytes: int = 0
    restore_hours: int = 0


class Terms(NamedTuple):
    """For how many days the objects are still kept, and how often each of their bytes is read a month."""

    remaining_days: int
    retrieved_share_month: Decimal

    @property
    def months(self) -> Decimal:
        """The remaining days in months of 30.4 days."""
        return self.remaining_days / DAYS_PER_MONTH


@dataclass(frozen=True)
class Offer:
    """What it means to move a version's objects (``moved``) to a class, and to move none smaller than ``from_bytes``.

    Money in USD.
    """

    price: ClassPrice
    moved: tuple[tuple[int, int], ...]
    from_bytes: int
    terms: Terms
    standard: ClassPrice

    @property
    def storage_class(self) -> str:
        """Where they go."""
        return self.price.storage_class

    @property
    def objects(self) -> int:
        """How many move."""
        return _count(self.moved)

    @property
    def bytes(self) -> int:
        """How much moves."""
        return _bytes(self.moved)

    @property
    def before_month(self) -> Decimal:
        """USD a month as they lie."""
        return _month(self.moved, self.standard, self.standard, self.terms)

    @property
    def after_month(self) -> Decimal:
        """USD a month in the class, reading back included."""
        return _month(self.moved, self.price, self.standard, self.terms)

    @property
    def once(self) -> Decimal:
        """USD for the transition."""
        return _count(self.moved) * self.price.usd_1000_transitions / 1000

    @cached_property
    def saved(self) -> Decimal:
        """USD over the remaining days, after transition, minimum duration and reading back: negative is a loss."""
        stays = total(self.moved, self.standard, self.standard, self.terms)
        return stays - total(self.moved, self.price, self.standard, self.terms)


def prices_of(table: PriceTable, region: str) -> dict[str, ClassPrice]:
    """The prices of a bucket's region by storage class. Raises PriceBookError for a region that it doesn't have."""
    try:
        found = {row["storage_class"]: _price(row) for row in table.rows if row["region"] == region}
    except (KeyError, ValueError, ArithmeticError) as error:
        raise PriceBookError(f"{table.name}: a row can't be read ({error}): restore it from the repository") from error
    if not {STANDARD, *CLASSES} <= {*found}:
        known = ", ".join(sorted({row["region"] for row in table.rows}))
        raise PriceBookError(
            f"{table.name} has no prices of {region}, only of {known}: add its rows to include/price_book/aws_s3.csv"
        )
    return found


def _price(row: Mapping[str, str]) -> ClassPrice:
    money: Any = {key: Decimal(value) for key, value in row.items() if key.startswith("usd_")}
    limits: Any = {key: int(value) for key, value in row.items() if key.startswith(("min_", "overhead_", "restore_"))}
    return ClassPrice(row["storage_class"], **money, **limits)


def storage_month(sizes: Sizes, price: ClassPrice, standard: ClassPrice) -> Decimal:
    """USD a month for objects in a class, as they are billed."""
    billed = sum((max(size, price.min_bytes) + price.overhead_bytes) * count for size, count in sizes)
    beside = sum(price.overhead_standard_bytes * count for _, count in sizes)
    return (billed * price.usd_gb_month + beside * standard.usd_gb_month) / GIB


def reading_month(sizes: Sizes, price: ClassPrice, terms: Terms) -> Decimal:
    """USD a month for what is read back."""
    per_object = _count(sizes) * price.usd_1000_retrievals / 1000
    return terms.retrieved_share_month * (_bytes(sizes) * price.usd_gb_retrieval / GIB + per_object)


def total(sizes: Sizes, price: ClassPrice, standard: ClassPrice, terms: Terms) -> Decimal:
    """USD for all of the remaining time, the transition included; a class is paid for at least its minimum."""
    charged = max(terms.remaining_days, price.min_days) / DAYS_PER_MONTH
    once = _count(sizes) * price.usd_1000_transitions / 1000
    stored = storage_month(sizes, price, standard) * charged
    return once + stored + reading_month(sizes, price, terms) * terms.months


@lru_cache(maxsize=1024)
def pays_from(price: ClassPrice, standard: ClassPrice, terms: Terms) -> int | None:
    """The smallest object, in bytes, that costs less there than in STANDARD; None when none does.

    What is saved grows with the size, slower above the class's minimum, unless reading back costs more than storage.
    """

    def saved(size: int) -> Decimal:
        one = ((size, 1),)
        return total(one, standard, standard, terms) - total(one, price, standard, terms)

    if saved(LARGEST) <= max(Decimal(0), saved(LARGEST // 2)):
        return None
    return bisect.bisect_left(range(1, LARGEST), True, key=lambda size: saved(size) > 0) + 1


def offer(sizes: Sizes, price: ClassPrice, standard: ClassPrice, terms: Terms) -> Offer:
    """What a class means for the objects that pay there; for all of them when none does, to show what is lost."""
    limit = pays_from(price, standard, terms)
    moved = sizes if limit is None else [(size, count) for size, count in sizes if size >= limit]
    return Offer(price, tuple(moved or sizes), limit or max(price.min_bytes, 1), terms, standard)


def offers(sizes: Sizes, prices: Mapping[str, ClassPrice], terms: Terms, longest_restore_hours: int) -> list[Offer]:
    """What each class means that can be read soon enough, the best first."""
    allowed = [name for name in CLASSES if prices[name].restore_hours <= longest_restore_hours]
    found = [offer(sizes, prices[name], prices[STANDARD], terms) for name in allowed]
    return sorted(found, key=lambda one: -one.saved)  # stable: of two alike the one that is read sooner


def copy_back(sizes: Sizes, price: ClassPrice, standard: ClassPrice) -> tuple[Decimal, Decimal]:
    """USD for copying objects back to STANDARD now, and USD at most for what is left of the minimum duration."""
    once = _bytes(sizes) * price.usd_gb_retrieval / GIB
    once += _count(sizes) * (price.usd_1000_retrievals + standard.usd_1000_puts) / 1000
    return once, storage_month(sizes, price, standard) * price.min_days / DAYS_PER_MONTH


def month_of(stored: Mapping[str, Sizes], prices: Mapping[str, ClassPrice]) -> Decimal | None:
    """USD a month for objects by their class as they lie now; None when the price of a class isn't known."""
    if any(name not in prices for name in stored):
        return None
    return _sum(storage_month(sizes, prices[name], prices[STANDARD]) for name, sizes in stored.items())


def _month(sizes: Sizes, price: ClassPrice, standard: ClassPrice, terms: Terms) -> Decimal:
    return storage_month(sizes, price, standard) + reading_month(sizes, price, terms)


def _count(sizes: Sizes) -> int:
    return sum(count for _, count in sizes)


def _bytes(sizes: Sizes) -> int:
    return sum(size * count for size, count in sizes)


def _sum(usd: Iterable[Decimal]) -> Decimal:
    return sum(usd, Decimal(0))
