"""What AWS answers about prices, from the price book: GetProducts and DescribeSpotPriceHistory."""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Protocol
from xml.sax.saxutils import escape

UNKNOWN_PRICE = Decimal(99)  # so dear that nobody picks a type whose price is not known
NO_METAL = "lab.metal"  # Karpenter refuses a price list without bare metal; no offering has this name


class Book(Protocol):
    """The part of ``include.prices.AwsBook`` that the emulator needs; USD an hour."""

    def on_demand(self, region: str, instance_type: str) -> Decimal | None: ...
    def spot(self, region: str, instance_type: str, zone: str) -> Decimal | None: ...
    def instance_types(self) -> list[str]: ...


def on_demand_list(book: Book, region: str, types: Sequence[str], metal: bool) -> dict[str, Any]:
    """GetProducts' answer for ``types`` in ``region``; bare metal is a list of its own, never empty."""
    prices = {t: book.on_demand(region, t) for t in types if (".metal" in t) == metal}
    known = {t: price for t, price in prices.items() if price is not None}
    if metal and not known:
        known = {NO_METAL: UNKNOWN_PRICE}
    return {"FormatVersion": "aws_v1", "PriceList": [_product(region, t, price) for t, price in known.items()]}


def _product(region: str, instance_type: str, price: Decimal) -> str:
    attributes = {"instanceType": instance_type, "regionCode": region, "operatingSystem": "Linux"}
    dimension = {"unit": "Hrs", "pricePerUnit": {"USD": f"{price:.10f}"}}
    return json.dumps(
        {
            "product": {"productFamily": "Compute Instance", "attributes": attributes},
            "terms": {"OnDemand": {"lab": {"priceDimensions": {"lab": dimension}}}},
        }
    )


def spot_history(book: Book, region: str, types: Iterable[str], zones: Sequence[str], now: dt.datetime) -> str:
    """DescribeSpotPriceHistory's items: one price a type and zone, UNKNOWN_PRICE where the book has none."""
    stamp = now.strftime("%Y-%m-%dT%H:%M:%S.000Z")
    items = []
    for name in types:
        for zone in zones:
            price = book.spot(region, name, zone)
            items.append(
                f"<item><instanceType>{escape(name)}</instanceType><productDescription>Linux/UNIX</productDescription>"
                f"<spotPrice>{UNKNOWN_PRICE if price is None else price:.6f}</spotPrice><timestamp>{stamp}</timestamp>"
                f"<availabilityZone>{zone}</availabilityZone></item>"
            )
    return f"<spotPriceHistorySet>{''.join(items)}</spotPriceHistorySet>"


def listed(form: Mapping[str, str], name: str, filter_name: str) -> list[str]:
    """Values that a query asks for, as ``<name>.<n>`` or as the filter ``filter_name``; empty means all."""
    values = [value for key, value in form.items() if re.fullmatch(rf"{name}(\.\d+)?", key)]
    for key, value in form.items():
        if value == filter_name and key.endswith(".Name"):
            prefix = key.removesuffix("Name") + "Value"
            values += [v for k, v in form.items() if k.startswith(prefix)]
    return values
