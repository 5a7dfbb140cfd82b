"""The edge devices of the lab, made up: no Jetson is asked, their power follows the demand.

A device draws between IDLE_SHARE and all of what the estate gives for its first mode, with the demand's shape.
"""

from __future__ import annotations

from include.estate import Estate
from lab.service.traffic import noise, shape

IDLE_SHARE = 0.6  # ASSUMPTION: what a board draws without load, as a share of its mode's power
MINUTES_PER_SAMPLE = 4  # of the history: Prometheus shows a sample for 5 minutes


def names(estate: Estate) -> list[str]:
    """jetson01, jetson02 ... as the estate counts them."""
    return [f"jetson{number:02d}" for number in range(1, estate.cost.devices.count + 1)]


def watts(estate: Estate, device: str, plant_time: float) -> float:
    """What ``device`` draws at ``plant_time`` (Unix seconds), in watts."""
    full = float(next(iter(estate.cost.devices.watts.values())))
    load = shape(estate.traffic, plant_time) / max(estate.traffic.weekday_qps) * noise(device, plant_time)
    return full * (IDLE_SHARE + (1 - IDLE_SHARE) * min(load, 1.0))


def series(estate: Estate, plant_time: float) -> list[str]:
    """The devices' power in Prometheus' text format."""
    metric = estate.cost.devices.power_metric
    lines = [f'{metric}{{device="{name}"}} {watts(estate, name, plant_time):.3f}' for name in names(estate)]
    return [f"# TYPE {metric} gauge", *lines]


def history(estate: Estate, times: range, shift: float) -> list[str]:
    """OpenMetrics lines of every MINUTES_PER_SAMPLE-th of ``times``; ``shift`` is plant time less clock time."""
    metric = estate.cost.devices.power_metric
    sampled = times[MINUTES_PER_SAMPLE - 1 :: MINUTES_PER_SAMPLE]
    return [
        f'{metric}{{device="{name}",job="akidb",instance="akidb"}} {watts(estate, name, at + shift):.3f} {at}\n'
        for name in names(estate)
        for at in sampled
    ]
