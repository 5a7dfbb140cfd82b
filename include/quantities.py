"""Kubernetes quantities such as ``500m``, ``2Gi``, ``2G`` or ``2e9``, read as the API server reads them."""

from __future__ import annotations

import re
from decimal import Decimal
from functools import lru_cache

MIB = Decimal(2**20)
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}
_FACTORS = {suffix: Decimal(10) ** power for suffix, power in _DECIMAL.items()} | {
    suffix: Decimal(2) ** power for suffix, power in _BINARY.items()
}
_QUANTITY = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))(?:([eE][+-]?\d{1,2})|([KMGTPE]i|[numkMGTPE])?)", re.ASCII)


@lru_cache(maxsize=4096)  # a cluster's pods say the same few things thousands of times
def quantity(text: str | float) -> Decimal:
    """The value in base units: cores, bytes, pieces. Raises ValueError, with the remedy, for what is none."""
    found = _QUANTITY.fullmatch(str(text))
    if found is None:
        raise ValueError(f"{text!r} is no Kubernetes quantity: write it like 500m, 0.5, 2Gi, 2G or 2e9")
    number, exponent, suffix = found.groups()
    return Decimal(number + (exponent or "")) * _FACTORS[suffix or ""]


def cores(text: str | float) -> Decimal:
    """A CPU quantity in cores: ``500m`` is 0.5."""
    return quantity(text)


def mebibytes(text: str | float) -> Decimal:
    """A memory quantity in MiB: ``2Gi`` is 2048, ``1M`` is 0.95367431640625."""
    return quantity(text) / MIB
