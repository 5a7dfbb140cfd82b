"""The board's power as its INA3221 sensors measure it: the rail VDD_IN, watts. The wall socket gives more than that.

Two layouts: hwmon has ``inN_label`` with millivolts in ``inN_input`` and milliamperes in ``currN_input``; older
kernels have ``rail_name_N`` with milliwatts in ``in_powerN_input``. hwmon's channel 7 is a sum of shunt voltages.
"""

from __future__ import annotations

from pathlib import Path
from typing import Iterator

from jetson_tasks.paths import Files

TOTALS = ("VDD_IN", "POM_5V_IN")  # the input rail by its newer and its older name
NOT_CONNECTED = "NC"
SUM_CHANNEL = "7"
HWMON = "sys/bus/i2c/drivers/ina3221/*/hwmon/hwmon*/in*_label"
OLDER = "sys/bus/i2c/drivers/ina3221x/*/iio:device*/rail_name_*"


def rails(files: Files) -> dict[str, float]:
    """Watts of every rail that can be read, by label."""
    return dict([*_hwmon(files.root), *_older(files.root)])


def board_watts(files: Files) -> float | None:
    """Watts at the board's input; None when no sensor measures it: a sum of the other rails could miss some."""
    found = rails(files)
    return next((found[name] for name in TOTALS if name in found), None)


def _hwmon(root: Path) -> Iterator[tuple[str, float]]:
    for label in sorted(root.glob(HWMON)):
        channel = label.name[len("in") : -len("_label")]
        name = _text(label)
        millivolts = _number(label.with_name(f"in{channel}_input"))
        milliamperes = _number(label.with_name(f"curr{channel}_input"))
        if channel == SUM_CHANNEL or name in (None, NOT_CONNECTED) or millivolts is None or milliamperes is None:
            continue
        yield str(name), millivolts * milliamperes / 1e6


def _older(root: Path) -> Iterator[tuple[str, float]]:
    for label in sorted(root.glob(OLDER)):
        name = _text(label)
        milliwatts = _number(label.with_name("in_power{}_input".format(label.name[len("rail_name_") :])))
        if name not in (None, NOT_CONNECTED) and milliwatts is not None:
            yield str(name), milliwatts / 1e3


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None


def _number(path: Path) -> float | None:
    try:
        return float(_text(path) or "")
    except ValueError:
        return None
