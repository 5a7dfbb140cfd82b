"""How the waits of the world follow its faster time: pure. What can't follow is named in the report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from include.estate import Estate
from include.levers.predictive_scaling.wanted import PredictiveSettings

TIME_SCALE = 12.0
SHORTEST_RATE_WINDOW = 8  # four scrapes of the lab; a setting of day 2 must be at least that
# Assumptions on EC2 and EKS, in seconds: from RunInstances to a node that is Ready, and a pod with its image there.
NODE_BOOT_SECONDS, POD_START_SECONDS, POD_STOP_SECONDS = 60.0, 24.0, 12.0
AUTOSCALER_SYNC_SECONDS = 15.0
SCRAPE_SECONDS = 15.0


@dataclass(frozen=True)
class Wait:
    """One wait, in seconds: what it is in production, and in the drill by the clock."""

    name: str
    production: float
    drill: float

    def shown(self, time_scale: float) -> dict[str, Any]:
        """For the report, with what the drill's wait is in plant time."""
        plant = round(self.drill * time_scale, 1)
        return {"name": self.name, "production_s": self.production, "drill_s": self.drill, "plant_s": plant}


@dataclass(frozen=True)
class Pace:
    """The drill's waits in seconds by the clock; whole where a setting must be a whole number."""

    time_scale: float
    node_boot: float
    pod_start: float
    pod_stop: float
    autoscaler_sync: float
    scrape: int
    consolidate_after: int
    polling: int
    rate_window: int
    scale_down: int
    freshness: int
    double: int
    halve: int

    @property
    def minute_seconds(self) -> float:
        """Seconds by the clock of a plant minute."""
        return 60.0 / self.time_scale

    def settings(self) -> dict[str, Any]:
        """The settings of day 2 that are waits."""
        return {
            "polling_seconds": self.polling,
            "rate_window_seconds": self.rate_window,
            "scale_down_seconds": self.scale_down,
            "freshness_seconds": self.freshness,
            "double_seconds": self.double,
            "halve_seconds": self.halve,
        }


def pace_of(estate: Estate, time_scale: float = TIME_SCALE) -> Pace:
    """Every wait divided by ``time_scale``. Raises ValueError unless a plant minute has a whole number of seconds."""
    if time_scale < 1 or 60 % time_scale:
        raise ValueError(f"time_scale must divide 60, not {time_scale:g}: 12 makes a plant minute 5 s")
    scaling = estate.predictive_scaling
    fields = PredictiveSettings.model_fields

    def whole(seconds: float) -> int:
        return max(1, round(seconds / time_scale))

    return Pace(
        time_scale=time_scale,
        node_boot=round(NODE_BOOT_SECONDS / time_scale, 2),
        pod_start=round(POD_START_SECONDS / time_scale, 2),
        pod_stop=round(POD_STOP_SECONDS / time_scale, 2),
        autoscaler_sync=round(AUTOSCALER_SYNC_SECONDS / time_scale, 3),
        scrape=whole(SCRAPE_SECONDS),
        consolidate_after=whole(seconds_of(estate.spot.consolidate_after)),
        polling=whole(scaling.polling_seconds),
        rate_window=max(SHORTEST_RATE_WINDOW, whole(scaling.rate_window_seconds)),
        scale_down=whole(scaling.scale_down_seconds),
        freshness=whole(scaling.freshness_seconds),
        double=whole(fields["double_seconds"].default),
        halve=whole(fields["halve_seconds"].default),
    )


def seconds_of(duration: str) -> float:
    """Seconds of a duration such as ``30s``, ``5m`` or ``168h``. Raises ValueError for another form."""
    units = {"s": 1, "m": 60, "h": 3600}
    if duration[-1:] not in units:
        raise ValueError(f"a duration ends with s, m or h, not {duration!r}")
    return float(duration[:-1]) * units[duration[-1]]


def waits(estate: Estate, pace: Pace) -> list[Wait]:
    """Every wait that follows, for the report."""
    scaling, fields = estate.predictive_scaling, PredictiveSettings.model_fields
    return [
        Wait("node boot (assumption)", NODE_BOOT_SECONDS, pace.node_boot),
        Wait("pod start (assumption)", POD_START_SECONDS, pace.pod_start),
        Wait("pod stop (assumption)", POD_STOP_SECONDS, pace.pod_stop),
        Wait("HPA sync", AUTOSCALER_SYNC_SECONDS, pace.autoscaler_sync),
        Wait("KEDA polling", scaling.polling_seconds, pace.polling),
        Wait("request rate window", scaling.rate_window_seconds, pace.rate_window),
        Wait("Prometheus scrape (assumption)", SCRAPE_SECONDS, pace.scrape),
        Wait("replicas may double in", fields["double_seconds"].default, pace.double),
        Wait("replicas may halve in", fields["halve_seconds"].default, pace.halve),
        Wait("lower need must last", scaling.scale_down_seconds, pace.scale_down),
        Wait("forecast counts as fresh", scaling.freshness_seconds, pace.freshness),
        Wait("empty node goes after", seconds_of(estate.spot.consolidate_after), pace.consolidate_after),
    ]


NOT_SCALED = (
    "what the programs themselves take keeps its real length, and so counts 12 times as much at time_scale 12: "
    "Karpenter's batch window of 1 s, its launch and registration, the scheduler, the bridge's look once a second"
)
