"""The metrics file, line by line."""

from __future__ import annotations

from pathlib import Path

from jetson_tasks.paths import METRICS
from jetson_tasks.status import metrics
from tests.unit.jetson_tasks.device_world import NOW, Device


def lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if not line.startswith("#")]


def test_what_is_unknown_has_no_series(tmp_path: Path) -> None:
    device = Device(tmp_path)
    device.apply()
    assert lines(device.files.read(METRICS) or "") == [
        'jetson_power_generation{device="jetson01"} 1',
        f'jetson_power_updated_seconds{{device="jetson01"}} {NOW:.0f}',
        'jetson_power_switches_total{device="jetson01"} 1',
        'jetson_power_safe_mode{device="jetson01"} 0',
        'jetson_power_mode{device="jetson01",mode="15W"} 1',
    ]


def test_power_load_and_what_is_wrong_are_series() -> None:
    status = {"device": 'a"b', "watts": 11.25, "load_qps": 118.5, "generation": None, "at": 1.5, "switches": 3}
    status |= {"why": "safe mode: the load is unknown for 181 s", "mode": "15W", "error": {"code": "load_lost"}}
    assert lines(metrics(status)) == [
        'jetson_power_watts{device="a\\"b"} 11.25',
        'jetson_power_load_qps{device="a\\"b"} 118.5',
        'jetson_power_updated_seconds{device="a\\"b"} 1.5',
        'jetson_power_switches_total{device="a\\"b"} 3',
        'jetson_power_safe_mode{device="a\\"b"} 1',
        'jetson_power_mode{device="a\\"b",mode="15W"} 1',
        'jetson_power_error{device="a\\"b",code="load_lost"} 1',
    ]


def test_each_series_has_its_help_and_its_type() -> None:
    text = metrics({"device": "a", "watts": 5, "why": ""})
    assert text.startswith(
        "# HELP jetson_power_watts Watts at the board's input (VDD_IN).\n# TYPE jetson_power_watts gauge\n"
        'jetson_power_watts{device="a"} 5\n'
    )
