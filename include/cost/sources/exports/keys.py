"""What the key of an object says: which export it belongs to, and which billing period it is of.

Layouts: Data Exports ``<name>/data/BILLING_PERIOD=2026-11/[<execution>/]part``, legacy CUR
``<name>/20261101-20261201/[<assembly>/]part`` and its Athena form ``<name>/year=2026/month=11/part``.
"""

from __future__ import annotations

import datetime as dt
import re

_PERIODS = (
    re.compile(r"billing_period=(\d{4})-(\d{2})", re.IGNORECASE),
    re.compile(r"year=(\d{4})/month=(\d{1,2})(?!\d)"),
    re.compile(r"(?:^|/)(\d{4})(\d{2})01-\d{8}(?:/|$)"),
)
_KINDS = ("data", "metadata")  # Data Exports keep parts and manifests in two folders


def period_of(key: str) -> tuple[int, int] | None:
    """Year and month of the billing period that the key names; None when it names none."""
    for pattern in _PERIODS:
        if match := pattern.search(key):
            return int(match[1]), int(match[2])
    return None


def export_of(key: str) -> str:
    """The folder of the export that the key belongs to; of a key without a billing period, its own folder."""
    for pattern in _PERIODS:
        if match := pattern.search(key):
            folder = key[: match.start()].rstrip("/")
            parent, _, last = folder.rpartition("/")
            return parent if last in _KINDS else folder
    return key.rpartition("/")[0]


def covers(key: str, day: dt.date) -> bool:
    """Whether the key's billing period is the month of ``day``; a key without a period is taken for any day."""
    return period_of(key) in {None, (day.year, day.month)}
