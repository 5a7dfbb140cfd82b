"""What Prometheus says of a window that the bill doesn't know yet: the nodes that ran and the devices' power."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING

from include.cost.table import machine_hours
from include.estate import Estate

if TYPE_CHECKING:
    from include.clients.prometheus import Series


@dataclass(frozen=True)
class LiveCosts:
    """What Prometheus says of a window. ``power``: dollars of power and coverage, None where there is no series."""

    fleets: tuple[machine_hours.Fleet, ...] = ()
    power: tuple[Decimal, Decimal] | None = None
    problems: Mapping[str, str] = field(default_factory=dict)  # what could not be asked, by region


def power_of(series: Iterable[Series], steps: int, step: Decimal, estate: Estate) -> tuple[Decimal, Decimal] | None:
    """Dollars and coverage (0..1) of the devices' power series (watts); None without any value."""
    devices = estate.cost.devices
    values = [value for one in series for _, value in one.points if math.isfinite(value) and value >= 0]
    if not values:
        return None
    kwh = sum((Decimal(repr(value)) for value in values), Decimal(0)) * step / 3_600_000
    return kwh * devices.usd_kwh, min(Decimal(1), Decimal(len(values)) / (steps * max(1, devices.count)))
