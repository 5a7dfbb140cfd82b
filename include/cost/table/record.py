"""Records as JSON: equal records have equal bytes, dollars are text."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping
from typing import Any


def encode(record: Mapping[str, Any]) -> bytes:
    """The record's bytes: equal records have equal bytes."""
    return (json.dumps(record, sort_keys=True, indent=1, ensure_ascii=False) + "\n").encode()


def plain(value: Any) -> str:
    """For json.dumps: times in ISO 8601, and whatever else JSON doesn't have as text."""
    return value.isoformat() if isinstance(value, dt.datetime) else str(value)
