"""The made-up power of the edge devices."""

from __future__ import annotations

from include.estate import load_estate
from lab.service import devices

ESTATE = load_estate()
NIGHT = 1_764_039_600.0  # a Tuesday, 03:00 UTC
PEAK = NIGHT + 9 * 3600


def test_names_are_numbered() -> None:
    assert devices.names(ESTATE) == ["jetson01", "jetson02", "jetson03", "jetson04", "jetson05"]


def test_power_follows_demand_between_idle_and_the_first_mode() -> None:
    night = devices.watts(ESTATE, "jetson01", NIGHT)
    peak = devices.watts(ESTATE, "jetson01", PEAK)
    assert 15.5 < night < 16.5  # 60 % of 25 W, and a little
    assert 24.5 < peak <= 25


def test_live_series_have_the_label_device_alone() -> None:
    lines = devices.series(ESTATE, PEAK)
    assert lines[0] == "# TYPE jetson_power_watts gauge"
    assert len(lines) == 6
    assert lines[1] == f'jetson_power_watts{{device="jetson01"}} {devices.watts(ESTATE, "jetson01", PEAK):.3f}'


def test_history_has_a_sample_every_four_minutes_and_the_labels_of_a_scrape() -> None:
    times = range(0, 3600, 60)
    lines = devices.history(ESTATE, times, shift=PEAK)
    assert len(lines) == 5 * 15
    assert lines[0].startswith('jetson_power_watts{device="jetson01",job="akidb",instance="akidb"} ')
    assert lines[0].endswith(" 180\n")
