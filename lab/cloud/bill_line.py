"""One line of the lab's bill."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal


@dataclass(frozen=True)
class BillLine:
    """What is billed every hour: ``quantity`` units at ``price`` USD, times traffic and noise where it is ``busy``."""

    service: str
    code: str
    category: str
    subcategory: str
    meter: str
    unit: str
    price: Decimal
    quantity: Decimal
    resource: str | None = None
    region: str | None = None
    zone: str | None = None
    kind: str | None = None  # of resource
    busy: bool = False
    tags: Mapping[str, str] = field(default_factory=dict)
    details: Mapping[str, str] = field(default_factory=dict)


def made_up_id(prefix: str, *parts: object) -> str:
    """An id as AWS gives them, the same for the same parts."""
    return prefix + hashlib.sha256("/".join(map(str, parts)).encode()).hexdigest()[:17]
