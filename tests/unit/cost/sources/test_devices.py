"""Energy of the devices: exact kWh and dollars, and minutes that are missing, not zero."""

from __future__ import annotations

import datetime as dt
import math
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from include.clients.prometheus import Series
from include.cost.sources.devices import COVERED_STEPS, HourOfDevice, energy_partition, energy_rows, measure
from include.cost.table.columns import CostError
from include.estate import load_estate

DAY = dt.date(2026, 11, 23)
BEGIN = dt.datetime(2026, 11, 23, tzinfo=dt.UTC).timestamp()
RECEIVED = dt.datetime(2026, 11, 24, 6, tzinfo=dt.UTC)


def series(device: str, watts: float, minutes: range, **labels: str) -> Series:
    return Series({"device": device, **labels}, tuple((BEGIN + 60 * minute, watts) for minute in minutes))


class Prometheus:
    def __init__(self, *found: Series) -> None:
        self.found = list(found)
        self.asked: tuple[Any, ...] = ()

    def query_range(self, *asked: Any) -> list[Series]:
        self.asked = asked
        return self.found


def test_an_hour_at_25_watts_is_0_025_kwh() -> None:
    energy = measure([series("jetson01", 25.0, range(60))], DAY, 1)
    assert energy.hours == (HourOfDevice("jetson01", 0, 60, Decimal("0.025")),)
    assert energy.kwh == Decimal("0.025")
    assert energy.coverage == 1 / 24
    assert energy.missing_hours == tuple(range(1, 24))


def test_a_missing_minute_adds_nothing_and_is_counted() -> None:
    energy = measure([series("jetson01", 60.0, range(0, 60, 2))], DAY, 1)
    assert energy.hours == (HourOfDevice("jetson01", 0, 30, Decimal("0.03")),)
    assert energy.missing_hours == tuple(range(24))
    assert energy.coverage == 30 / 1440


@pytest.mark.parametrize("value", [math.nan, math.inf, -1.0])
def test_what_is_no_measurement_is_missing(value: float) -> None:
    energy = measure([Series({"device": "a"}, ((BEGIN, value), (BEGIN + 60, 0.0)))], DAY, 1)
    assert energy.hours == (HourOfDevice("a", 0, 1, Decimal(0)),)


def test_nothing_measured_is_unknown_not_zero() -> None:
    energy = measure([], DAY, 5)
    assert (energy.hours, energy.kwh, energy.coverage) == ((), None, 0.0)
    assert energy.missing_hours == tuple(range(24))
    assert measure([], DAY, 0).coverage == 0.0


def test_points_of_other_days_do_not_count() -> None:
    points = ((BEGIN - 60, 10.0), (BEGIN + 86400, 10.0), (BEGIN + 86340, 10.0))
    assert [hour.hour for hour in measure([Series({"device": "a"}, points)], DAY, 1).hours] == [23]


def test_an_hour_is_covered_when_every_device_is() -> None:
    whole, most = range(1440), range(COVERED_STEPS)
    assert measure([series("a", 1, whole), series("b", 1, whole)], DAY, 2).missing_hours == ()
    assert measure([series("a", 1, whole), series("b", 1, most)], DAY, 2).missing_hours == tuple(range(1, 24))
    assert 0 in measure([series("a", 1, whole), series("b", 1, most[1:])], DAY, 2).missing_hours
    assert measure([series("a", 1, whole)], DAY, 2).missing_hours == tuple(range(24))
    assert measure([series("a", 1, whole)], DAY, 2).coverage == 0.5


def test_a_device_more_than_expected_is_paid_for_too() -> None:
    energy = measure([series("a", 1, range(1440)), series("b", 1, range(60))], DAY, 1)
    assert len(energy.hours) == 25
    assert energy.coverage == 25 / 48


def test_a_series_without_its_device_is_refused() -> None:
    with pytest.raises(CostError, match=r"power series \{'job': 'x'\} has no label device: correct cost.devices.power"):
        measure([Series({"job": "x"}, ())], DAY, 1)


def test_two_series_of_a_device_would_count_twice() -> None:
    found = [series("a", 1, range(60), job="x"), series("a", 1, range(60), job="y")]
    with pytest.raises(CostError, match="device 'a' has two power series: aggregate them"):
        measure(found, DAY, 1)


def test_a_row_has_the_hours_energy_and_its_price() -> None:
    devices = load_estate().cost.devices
    energy = measure([series("jetson02", 10, range(60, 120)), series("jetson01", 20, range(60, 90))], DAY, 2)
    rows = energy_rows(energy, DAY, devices, "USD", "a query")
    assert [(row["ResourceId"], row["ConsumedQuantity"], row["BilledCost"]) for row in rows] == [
        ("jetson01", Decimal("0.01"), Decimal("0.0015")),
        ("jetson02", Decimal("0.01"), Decimal("0.0015")),
    ]
    assert rows[0]["ChargePeriodStart"] == dt.datetime(2026, 11, 23, 1, tzinfo=dt.UTC)
    assert rows[0]["ChargePeriodEnd"] == dt.datetime(2026, 11, 23, 2, tzinfo=dt.UTC)
    assert rows[0]["ChargeDescription"] == "electricity of jetson01, 30 of 60 minutes measured"
    assert [(row["x_SourceFile"], row["x_SourceRow"]) for row in rows] == [("a query", 1), ("a query", 2)]


def test_the_day_is_asked_for_by_the_minute_and_written(tmp_path: Path) -> None:
    prometheus = Prometheus(*(series(f"jetson{n:02d}", 25, range(1440)) for n in range(1, 6)))
    path = tmp_path / "day.parquet"
    facts, energy = energy_partition(prometheus, load_estate(), DAY, RECEIVED, path)  # type: ignore[arg-type]
    assert prometheus.asked == ("jetson_power_watts", BEGIN, BEGIN + 86340, 60)
    assert facts is not None
    assert (facts.source, facts.rows, facts.missing_hours) == ("jetson", 120, ())
    assert energy.kwh == Decimal(3)
    assert facts.billed_usd == Decimal("0.45")
    assert facts.inputs == ("prometheus query_range jetson_power_watts 2026-11-23 step 60 s",)
    assert pq.read_table(path).num_rows == 120


def test_a_day_without_measurements_writes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "day.parquet"
    facts, energy = energy_partition(Prometheus(), load_estate(), DAY, RECEIVED, path)  # type: ignore[arg-type]
    assert (facts, energy.kwh, path.exists()) == (None, None, False)
