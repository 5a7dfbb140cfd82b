"""What the functions cost, from a dated table of list prices; Lambda@Edge and a region's Lambda have other prices."""

from __future__ import annotations

import csv
import datetime as dt
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from pathlib import Path

from include.levers.lambda_edge.choose import MB_PER_GB, Rates
from include.prices import HOURS_PER_MONTH, PriceBookError

FILE = Path(__file__).parents[2] / "price_book" / "aws_lambda.csv"
EDGE, REGIONAL, ANY = "lambda_edge", "lambda", "any"
REQUEST, GB_SECOND = "request", "gb_second"
PROVISIONED, WHILE_PROVISIONED = "provisioned", "provisioned_gb_second"  # kept ready; and while it serves
OLD_AFTER_DAYS = 365
PLAN_PROVISIONED_USD = Decimal(60)  # a month: what the plan expects provisioned concurrency to cost
SECONDS_PER_MONTH = HOURS_PER_MONTH * 3600

Key = tuple[str, str, str, str]  # service, region, architecture, item


@dataclass(frozen=True)
class LambdaBook:
    """USD a request or GB-second by service, region, architecture and item. A price that is not known is None."""

    date: dt.date
    source: str
    prices: Mapping[Key, Decimal]
    assumed: frozenset[Key] = frozenset()

    @property
    def name(self) -> str:
        """What a report calls it."""
        return f"AWS Lambda list prices ({self.date})"

    def usd(self, service: str, region: str, architecture: str, item: str) -> Decimal | None:
        """The price in a region, or everywhere."""
        found = self.prices.get((service, region, architecture, item))
        return found if found is not None else self.prices.get((service, ANY, architecture, item))

    def edge_rates(self, architecture: str) -> Rates | None:
        """What Lambda@Edge costs; None when one of both prices is not known."""
        request = self.usd(EDGE, ANY, architecture, REQUEST)
        gb_second = self.usd(EDGE, ANY, architecture, GB_SECOND)
        return None if request is None or gb_second is None else Rates(request, gb_second)

    def units_usd_month(self, region: str, architecture: str, memory_mb: int, units: int) -> Decimal | None:
        """USD a month of keeping ``units`` ready, whether they serve or not."""
        price = self.usd(REGIONAL, region, architecture, PROVISIONED)
        return None if price is None else price * SECONDS_PER_MONTH * memory_mb / MB_PER_GB * units

    def pays_from(self, region: str, architecture: str) -> Decimal | None:
        """The share of its time that a unit must serve to cost no more than on demand; above 1 it never does."""
        items = (PROVISIONED, GB_SECOND, WHILE_PROVISIONED)
        ready, demand, serving = (self.usd(REGIONAL, region, architecture, item) for item in items)
        return None if ready is None or demand is None or serving is None else ready / (demand - serving)

    def is_assumed(self, region: str, architecture: str) -> bool:
        """Whether what provisioned concurrency costs there is derived, not listed."""
        return (REGIONAL, region, architecture, PROVISIONED) in self.assumed

    def warning(self, today: dt.date) -> str:
        """What a person should know of the table's age; empty while it is younger than a year."""
        days = (today - self.date).days
        if days <= OLD_AFTER_DAYS:
            return ""
        return (
            f"the prices in {FILE.name} are of {self.date}, {days} days old: look them up again before you trust them"
        )


def parse(name: str, lines: Iterable[str]) -> LambdaBook:
    """The table's text. Raises PriceBookError naming the file, the line, the value and the remedy."""
    numbered = list(enumerate(lines, 1))
    header = dict(line[1:].strip().split(": ", 1) for _, line in numbered if line.startswith("#") and ": " in line)
    body = [(number, line) for number, line in numbered if line.strip() and not line.startswith("#")]
    prices: dict[Key, Decimal] = {}
    assumed: set[Key] = set()
    reader = csv.DictReader(line for _, line in body)
    for row, (number, _) in zip(reader, body[1:], strict=False):
        try:
            key = (row["service"], row["region"], row["architecture"], row["item"])
            prices[key] = Decimal(row["usd"])
        except (KeyError, InvalidOperation) as error:
            raise PriceBookError(f"{name} line {number}: {error!r} in {row}: correct the line") from error
        if row.get("status"):
            assumed.add(key)
    try:
        return LambdaBook(dt.date.fromisoformat(header["date"]), header["source"], prices, frozenset(assumed))
    except (KeyError, ValueError) as error:
        raise PriceBookError(
            f"{name}: {error}: begin it with lines '# date: YYYY-MM-DD' and '# source: ...'"
        ) from error


@lru_cache(maxsize=1)
def load_book() -> LambdaBook:
    """The table of the repository. Raises PriceBookError when it can't be used."""
    try:
        return parse(FILE.name, FILE.read_text(encoding="utf-8").splitlines())
    except OSError as error:
        raise PriceBookError(f"{FILE.name} can't be read ({error.strerror}): restore it from the repository") from error
