"""CloudFront's list prices: egress by price region and volume tier, requests, flat-rate plans. Money is Decimal USD."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from include.levers.cdn_price_class.latency import PRICE_REGIONS
from include.levers.cdn_price_class.usage import Traffic
from include.prices import PriceBookError

GB = 2**30
GB_PER_TB = 1024
PER_REQUESTS = 10_000
CENT = Decimal("0.01")
STALE_DAYS = 365
FILE = Path(__file__).parents[2] / "price_book" / "cloudfront.yaml"


class FlatPlan(NamedTuple):
    """A flat-rate plan or a level of one: USD a month for at most the ``allowance``."""

    name: str
    usd_month: Decimal
    allowance: Traffic


@dataclass(frozen=True)
class Prices:
    """One dated table. ``tiers_gb`` are the sizes of all tiers but the last, ``egress`` USD a GB in each of them."""

    date: dt.date
    source: str
    tiers_gb: Sequence[int]
    egress: Mapping[str, Sequence[Decimal]]
    requests: Mapping[str, Decimal]
    plans: Sequence[FlatPlan]

    def egress_usd(self, region: str, size: int) -> Decimal:
        """USD for so many bytes served in a price region within one month."""
        left, total = Decimal(size) / GB, Decimal(0)
        for usd, tier in zip(self.egress[region], (*self.tiers_gb, None), strict=True):
            taken = left if tier is None else min(left, Decimal(tier))
            total, left = total + taken * usd, left - taken
        return total

    def requests_usd(self, region: str, count: int) -> Decimal:
        """USD for so many HTTPS requests answered in a price region."""
        return Decimal(count) / PER_REQUESTS * self.requests[region]

    def stale(self, today: dt.date) -> str | None:
        """What to warn of: a table that is older than a year."""
        age = (today - self.date).days
        if age <= STALE_DAYS:
            return None
        return f"the prices of CloudFront are of {self.date}, {age} days old: read them again ({FILE.name})"


@lru_cache(maxsize=4)
def load(path: Path | None = None) -> Prices:
    """The table of a file, or the repository's. Raises PriceBookError naming the field that is wrong."""
    import yaml

    path = path or FILE
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
        return parse(raw)
    except OSError as error:
        raise PriceBookError(f"{path.name} can't be read ({error.strerror}): restore it from the repository") from error
    except (yaml.YAMLError, KeyError, TypeError, ValueError, ArithmeticError) as error:
        raise PriceBookError(f"{path.name}: {type(error).__name__} {error}: correct it, or restore it") from error


def parse(raw: Mapping[str, Any]) -> Prices:
    """The table of a file's content. Raises KeyError or ValueError for a price region or a tier without a price."""
    tiers = [int(tb) * GB_PER_TB for tb in raw["egress"]["tiers_tb"]]
    egress = {region: [_usd(usd) for usd in raw["egress"][region]] for region in PRICE_REGIONS}
    for region, prices in egress.items():
        if len(prices) != len(tiers) + 1:
            raise ValueError(f"egress.{region} has {len(prices)} prices, the tiers need {len(tiers) + 1}")
    plans = [_plan(plan) for plan in raw["plans"]]
    requests = {region: _usd(raw["requests"][region]) for region in PRICE_REGIONS}
    return Prices(dt.date.fromisoformat(str(raw["date"])), str(raw["source"]), tiers, egress, requests, plans)


def _usd(text: Any) -> Decimal:
    value = Decimal(str(text))
    if not value.is_finite() or value < 0:
        raise ValueError(f"{text!r} is no price")
    return value


def _plan(raw: Mapping[str, Any]) -> FlatPlan:
    size = int(Decimal(raw["tb"]) * GB_PER_TB * GB)
    return FlatPlan(raw["name"], _usd(raw["usd_month"]), Traffic(size, int(raw["requests"])))
