"""Energy of the edge devices as rows of the cost table: measured watts -> kWh a device and hour -> dollars.

Source: the Prometheus series ``cost.devices.power_metric``, one value a minute. A minute without a value is missing:
it adds nothing and is counted in the coverage, and an hour that is not covered is named in ``missing_hours``.
"""

from __future__ import annotations

import datetime as dt
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from include.clients.prometheus import Prometheus, Series
from include.cost.table.columns import CostError
from include.cost.table.partition import HOUR, billing_period, day_start, money, tags, write_partition
from include.cost.table.store import Facts
from include.estate import EdgeDevices, Estate

SOURCE = "jetson"
STEP_SECONDS = 60
STEPS_PER_HOUR = 60
COVERED_STEPS = 54  # an hour counts as covered from here: 90 % of its minutes, of every device
_JOULES_PER_KWH = Decimal(3_600_000)


@dataclass(frozen=True)
class HourOfDevice:
    """What one device used in one hour of the day: ``kwh`` over the ``steps`` minutes that were measured."""

    device: str
    hour: int
    steps: int
    kwh: Decimal


@dataclass(frozen=True)
class Energy:
    """The energy of a day. ``coverage`` is the share of the expected device-minutes that were measured, 0 to 1."""

    hours: tuple[HourOfDevice, ...]
    coverage: float
    missing_hours: tuple[int, ...]

    @property
    def kwh(self) -> Decimal | None:
        """What was measured; None when nothing was, which is not zero."""
        return sum((hour.kwh for hour in self.hours), Decimal(0)) if self.hours else None


def measure(series: Iterable[Series], day: dt.date, count: int) -> Energy:
    """The energy in ``series`` (watts, a value a minute, label ``device``) on ``day``, ``count`` devices expected.

    Not a number and negative power are no measurement. Raises CostError for a series without a device or a device
    that has two: its energy would count twice.
    """
    watts: dict[tuple[str, int], list[Decimal]] = defaultdict(list)
    seen: set[str] = set()
    begin = day_start(day).timestamp()
    for one in series:
        device = _device(one.labels, seen)
        for at, value in one.points:
            hour = math.floor((at - begin) / 3600)
            if 0 <= hour < 24 and math.isfinite(value) and value >= 0:
                watts[device, hour].append(Decimal(repr(value)))
    hours = tuple(
        HourOfDevice(device, hour, len(values), sum(values, Decimal(0)) * STEP_SECONDS / _JOULES_PER_KWH)
        for (device, hour), values in sorted(watts.items(), key=lambda item: (item[0][1], item[0][0]))
    )
    return Energy(hours, _coverage(hours, count), _missing(hours, count))


def energy_rows(energy: Energy, day: dt.date, devices: EdgeDevices, currency: str, query: str) -> list[dict[str, Any]]:
    """A row a device and hour at ``usd_kwh``; no rows when nothing was measured. ``query`` names the source."""
    return [
        _row(hour, place, day, devices, currency) | {"x_SourceFile": query}
        for place, hour in enumerate(energy.hours, 1)
    ]


def energy_partition(
    prometheus: Prometheus, estate: Estate, day: dt.date, received: dt.datetime, path: Path
) -> tuple[Facts | None, Energy]:
    """Measure ``day`` and write its partition to ``path``; nothing measured: no facts and nothing written."""
    devices, begin = estate.cost.devices, day_start(day).timestamp()
    found = prometheus.query_range(devices.power_metric, begin, begin + 86400 - STEP_SECONDS, STEP_SECONDS)
    energy = measure(found, day, devices.count)
    if not energy.hours:
        return None, energy
    query = f"prometheus query_range {devices.power_metric} {day} step {STEP_SECONDS} s"
    rows = energy_rows(energy, day, devices, estate.cost.currency, query)
    facts = Facts(SOURCE, day, 0, Decimal(0), 0, received, (query,), missing_hours=energy.missing_hours)
    return write_partition(rows, facts, path), energy


def _device(labels: Mapping[str, str], seen: set[str]) -> str:
    device = labels.get("device")
    if not device:
        raise CostError(f"power series {dict(labels)} has no label device: correct cost.devices.power_metric")
    if device in seen:
        raise CostError(f"device {device!r} has two power series: aggregate them in cost.devices.power_metric")
    seen.add(device)
    return device


def _coverage(hours: Iterable[HourOfDevice], count: int) -> float:
    steps, devices = 0, set()
    for hour in hours:
        steps += min(hour.steps, STEPS_PER_HOUR)
        devices.add(hour.device)
    expected = max(count, len(devices)) * 24 * STEPS_PER_HOUR
    return steps / expected if expected else 0.0


def _missing(hours: Iterable[HourOfDevice], count: int) -> tuple[int, ...]:
    covered: dict[int, int] = defaultdict(int)
    devices = set()
    for hour in hours:
        devices.add(hour.device)
        covered[hour.hour] += hour.steps >= COVERED_STEPS
    return tuple(hour for hour in range(24) if covered[hour] < max(count, len(devices)))


def _row(hour: HourOfDevice, place: int, day: dt.date, devices: EdgeDevices, currency: str) -> dict[str, Any]:
    cost, start = money(hour.kwh * devices.usd_kwh), day_start(day) + hour.hour * HOUR
    return {
        **billing_period(day),
        "BilledCost": cost,
        "BillingCurrency": currency,
        "ChargeCategory": "Usage",
        "ChargeDescription": f"electricity of {hour.device}, {hour.steps} of {STEPS_PER_HOUR} minutes measured",
        "ChargeFrequency": "Usage-Based",
        "ChargePeriodEnd": start + HOUR,
        "ChargePeriodStart": start,
        "ConsumedQuantity": hour.kwh,
        "ConsumedUnit": "kWh",
        "ContractedCost": cost,
        "EffectiveCost": cost,
        "PricingQuantity": hour.kwh,
        "PricingUnit": "kWh",
        "ResourceId": hour.device,
        "ResourceName": hour.device,
        "ResourceType": "Device",
        "ServiceCategory": "Other",
        "ServiceName": "Edge device electricity",
        "ServiceSubcategory": "Other (Other)",
        "Tags": tags(device=hour.device),
        "x_SourceRow": place,
    }
