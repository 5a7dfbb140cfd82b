"""The INA3221's layouts: which rail is the board's, and which channels are none."""

from __future__ import annotations

from pathlib import Path

import pytest

from jetson_tasks.paths import Files
from jetson_tasks.sensors import board_watts, rails

HWMON = "sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon3"
OLDER = "sys/bus/i2c/drivers/ina3221x/6-0040/iio:device0"


def put(root: Path, folder: str, **files: str) -> Files:
    (root / folder).mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (root / folder / name).write_text(text + "\n", encoding="ascii")
    return Files(str(root))


def channel(number: int, label: str, millivolts: str, milliamperes: str) -> dict[str, str]:
    return {
        f"in{number}_label": label,
        f"in{number}_input": millivolts,
        f"curr{number}_input": milliamperes,
    }


def test_watts_are_volts_times_amperes_of_the_input_rail(tmp_path: Path) -> None:
    put(tmp_path, HWMON, **channel(1, "VDD_IN", "5040", "3250"))
    files = put(tmp_path, HWMON, **channel(2, "VDD_CPU_GPU_CV", "5040", "1000"))
    assert rails(files) == {"VDD_IN": pytest.approx(16.38), "VDD_CPU_GPU_CV": pytest.approx(5.04)}
    assert board_watts(files) == pytest.approx(16.38)


def test_a_channel_that_is_not_connected_and_the_sum_of_shunts_are_no_rails(tmp_path: Path) -> None:
    put(tmp_path, HWMON, **channel(1, "NC", "5040", "1"))
    files = put(tmp_path, HWMON, **channel(7, "VDD_IN", "5040", "1"))
    assert rails(files) == {}


def test_older_kernels_give_milliwatts_by_rail(tmp_path: Path) -> None:
    put(tmp_path, OLDER, rail_name_0="POM_5V_IN", in_power0_input="4321")
    files = put(tmp_path, OLDER, rail_name_1="NC", in_power1_input="9")
    assert rails(files) == {"POM_5V_IN": 4.321}
    assert board_watts(files) == 4.321


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"in1_label": "VDD_IN", "in1_input": "5000"},  # no current
        channel(1, "VDD_IN", "5000", "n/a"),
        channel(1, "VDD_GPU_SOC", "5000", "1000"),  # a board without an input rail
    ],
)
def test_power_that_nobody_measures_is_unknown_and_not_zero(tmp_path: Path, files: dict[str, str]) -> None:
    assert board_watts(put(tmp_path, HWMON, **files)) is None
