"""The edge devices' load and power: exact figures of a mode, and the demand's shape."""

from __future__ import annotations

import pytest

from include.estate import load_estate
from lab.service import devices
from lab.service.devices import MODES

ESTATE = load_estate()
NIGHT = 1_764_039_600.0  # a Tuesday, 03:00 UTC
PEAK = NIGHT + 9 * 3600


def test_names_are_numbered() -> None:
    assert devices.names(ESTATE) == ["jetson01", "jetson02", "jetson03", "jetson04", "jetson05"]


@pytest.mark.parametrize(("load", "watts"), [(0, 5.0), (110, 8.4), (220, 11.8), (500, 11.8)])
def test_a_mode_draws_between_idle_and_full_by_its_load(load: float, watts: float) -> None:
    assert MODES["15W"].watts(load) == pytest.approx(watts)


def test_at_the_peak_a_device_carries_four_fifths_of_its_first_mode() -> None:
    assert sum(devices.loads(ESTATE, PEAK).values()) / 5 == pytest.approx(0.8 * 330, rel=0.03)
    assert devices.load_qps(ESTATE, "jetson01", NIGHT) == pytest.approx(0.8 * 330 * 50 / 550, rel=0.07)


def test_no_minute_asks_more_of_a_device_than_its_first_mode_serves() -> None:
    loads = [devices.load_qps(ESTATE, "jetson01", PEAK + minute * 60) for minute in range(1440)]
    assert max(loads) < MODES["MAXN_SUPER"].capacity_qps


def test_live_series_are_the_load_by_device() -> None:
    lines = devices.series(ESTATE, PEAK)
    assert lines[0] == "# TYPE jetson_load_qps gauge"
    assert len(lines) == 6
    assert lines[1] == f'jetson_load_qps{{device="jetson01"}} {devices.load_qps(ESTATE, "jetson01", PEAK):.3f}'


def test_history_has_a_sample_every_four_minutes_and_the_labels_of_a_scrape() -> None:
    times = range(0, 3600, 60)
    lines = devices.history(ESTATE, times, shift=PEAK)
    assert len(lines) == 5 * 15
    watts = MODES["MAXN_SUPER"].watts(devices.load_qps(ESTATE, "jetson01", PEAK + 180))
    assert lines[0] == f'jetson_power_watts{{device="jetson01",job="devices",instance="devices"}} {watts:.3f} 180\n'
