"""The edge devices of the lab: what each mode draws and serves, and the load that the demand lays on each device.

The one truth about the boards: the history is made of it, the sensors of the lab's devices (``lab/devices``) show it,
and their bench program measures it. At the weekday peak a device carries PEAK_SHARE of what its first mode serves.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from include.estate import Estate
from lab.service.traffic import noise, shape

PEAK_SHARE = 0.8
MINUTES_PER_SAMPLE = 4  # of the history: Prometheus shows a sample for 5 minutes
LOAD_METRIC = "jetson_load_qps"
LABELS = 'job="devices",instance="devices"'  # of a scrape of the devices' exporter


@dataclass(frozen=True)
class ModePower:
    """Watts at the board's input without load and at full load, and requests/s at full load."""

    idle_watts: float
    full_watts: float
    capacity_qps: float

    def watts(self, load_qps: float) -> float:
        """Watts at a load, linear up to the capacity."""
        return self.idle_watts + (self.full_watts - self.idle_watts) * min(load_qps / self.capacity_qps, 1.0)


# ASSUMPTION: an Orin Nano Super with the plan's 330 and 220 requests/s in the largest mode and in 15W. As measured on
# such boards, 25W gives 41 % more than 15W and the largest mode little more; no mode draws what its name says.
MODES: Mapping[str, ModePower] = {
    "7W": ModePower(4.4, 7.1, 105),
    "15W": ModePower(5.0, 11.8, 220),
    "25W": ModePower(5.6, 16.9, 310),
    "MAXN_SUPER": ModePower(6.2, 22.4, 330),
}
FIRST_MODE = "MAXN_SUPER"  # of week 13; the estate calls it MAXN


def names(estate: Estate) -> list[str]:
    """jetson01, jetson02 ... as the estate counts them."""
    return [f"jetson{number:02d}" for number in range(1, estate.cost.devices.count + 1)]


def load_qps(estate: Estate, device: str, plant_time: float) -> float:
    """Requests/s that reach ``device`` at ``plant_time`` (Unix seconds)."""
    level = shape(estate.traffic, plant_time) / max(estate.traffic.weekday_qps) * noise(device, plant_time)
    return level * PEAK_SHARE * MODES[FIRST_MODE].capacity_qps


def loads(estate: Estate, plant_time: float) -> dict[str, float]:
    """Requests/s of every device."""
    return {name: round(load_qps(estate, name, plant_time), 3) for name in names(estate)}


def series(estate: Estate, plant_time: float) -> list[str]:
    """The devices' load in Prometheus' text format."""
    lines = [f'{LOAD_METRIC}{{device="{name}"}} {load:.3f}' for name, load in loads(estate, plant_time).items()]
    return [f"# TYPE {LOAD_METRIC} gauge", *lines]


def history(estate: Estate, times: range, shift: float) -> list[str]:
    """OpenMetrics lines of every MINUTES_PER_SAMPLE-th of ``times``; ``shift`` is plant time less clock time.

    The power of boards that stood in their first mode all the time.
    """
    metric, first = estate.cost.devices.power_metric, MODES[FIRST_MODE]
    sampled = times[MINUTES_PER_SAMPLE - 1 :: MINUTES_PER_SAMPLE]
    return [
        f'{metric}{{device="{name}",{LABELS}}} {first.watts(load_qps(estate, name, at + shift)):.3f} {at}\n'
        for name in names(estate)
        for at in sampled
    ]
