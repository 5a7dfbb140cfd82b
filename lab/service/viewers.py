"""What viewers in ten regions of the world wait for, made up: no viewer is asked, no edge is in the lab.

The latency model of ``include/levers/cdn_price_class`` says it for the price class that the emulated distribution has
at that moment. While the distribution can't be read the probes are silent, as they would be without a CDN.
"""

from __future__ import annotations

import datetime as dt
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from include.estate import Estate
from include.levers.cdn_price_class import latency
from lab.service.traffic import noise

# Probe and its country: at least one in each part of the world that the estate has a share for.
PROBES: Mapping[str, str] = {
    "virginia": "US",
    "montreal": "CA",
    "frankfurt": "DE",
    "london": "GB",
    "tokyo": "JP",
    "sydney": "AU",
    "mumbai": "IN",
    "sao-paulo": "BR",
    "dubai": "AE",
    "johannesburg": "ZA",
}
SAMPLES = 60  # of a probe's result: a request a second over the last minute
READ_SECONDS = 1.0
# ASSUMPTION: three requests in a hundred miss; with fewer edges more viewers share a cache.
HIT_PERCENT: Mapping[str, float] = {latency.ALL: 97.0, latency.CLASS_200: 97.2, latency.CLASS_100: 97.5}


class Viewers:
    """The probes. ``read`` gives the distribution's id and price class, None without one; ``clock`` Unix seconds."""

    def __init__(
        self, estate: Estate, read: Callable[[], tuple[str, str] | None], clock: Callable[[], float] = time.time
    ) -> None:
        self._estate, self._read, self._clock = estate, read, clock
        self._known: tuple[str, str] | None = None

    def refresh(self) -> None:
        """Read the distribution: what is read stands until the next time."""
        self._known = self._read()

    def follow(self) -> None:
        """Refresh every READ_SECONDS in a daemon thread."""

        def run() -> None:
            pause = threading.Event()
            while not pause.wait(READ_SECONDS):
                self.refresh()

        threading.Thread(target=run, name="viewers", daemon=True).start()

    def results(self) -> list[dict[str, Any]]:
        """What ``GET /probes`` answers."""
        found, now = self._known, self._clock()
        return [_result(probe, country, found, now) for probe, country in PROBES.items()]

    def series(self) -> Iterator[str]:
        """P95 by probe, the samples behind it and the cache hit rate, in Prometheus' text format."""
        found, now = self._known, self._clock()
        if found is None:
            return
        yield "# TYPE akidb_probe_p95_ms gauge"
        labels = {probe: self._labels(probe, country) for probe, country in PROBES.items()}
        for probe, country in PROBES.items():
            yield f"akidb_probe_p95_ms{{{labels[probe]}}} {p95_ms(probe, country, found[1], now):.3f}"
        yield "# TYPE akidb_probe_samples_total counter"
        yield from (f"akidb_probe_samples_total{{{labels[probe]}}} {now:.0f}" for probe in PROBES)
        yield f"# TYPE {self._estate.edge.latency.cache_hit_metric} gauge"
        hits = HIT_PERCENT[found[1]]
        yield f'{self._estate.edge.latency.cache_hit_metric}{{distribution="{found[0]}"}} {hits:.3f}'

    def _labels(self, probe: str, country: str) -> str:
        groups = self._estate.edge.latency.viewers.items()
        part = next((name for name, viewers in groups if country in viewers.countries), "other")
        return f'probe="{probe}",country="{country}",part="{part}"'


def p95_ms(probe: str, country: str, price_class: str, at: float) -> float:
    """What a probe measures at ``at`` (Unix seconds), in ms."""
    return round(latency.p95_ms(country, price_class) * noise(probe, at), 3)


def _result(probe: str, country: str, found: tuple[str, str] | None, now: float) -> dict[str, Any]:
    named = {"region": probe, "country": country}
    if found is None:
        return {**named, "p95_ms": None, "samples": None, "time": None}
    moment = dt.datetime.fromtimestamp(now, dt.UTC).isoformat()
    return {**named, "p95_ms": p95_ms(probe, country, found[1], now), "samples": SAMPLES, "time": moment}


class Distribution:
    """The estate's distribution in the emulated AWS at ``endpoint``.

    Edges serve what they were given last: while a change is under way the class before it counts.
    """

    def __init__(self, estate: Estate, endpoint: str) -> None:
        self._alias, self._endpoint = estate.edge.cdn.alias, endpoint
        self._client: Any = None
        self._deployed: tuple[str, str] | None = None

    def __call__(self) -> tuple[str, str] | None:
        """Its id and the price class that viewers are served with; None without one, or while AWS is away."""
        try:
            self._look()
        except Exception as error:  # noqa: BLE001 - whatever is wrong with the emulator, the probes are silent
            print(f"no distribution can be read ({type(error).__name__}: {error}): the probes are silent", flush=True)
            return None
        return self._deployed

    def _look(self) -> None:
        # GetDistribution counts as a look of somebody who waits; a list does not (lab/cloud/moto_cloudfront.py).
        items = self._cloudfront().list_distributions()["DistributionList"].get("Items", [])
        ours = [item for item in items if self._alias in item.get("Aliases", {}).get("Items", [])]
        if not ours:
            self._deployed = None
        elif ours[0]["Status"] == "Deployed" or self._deployed is None:
            self._deployed = ours[0]["Id"], ours[0]["PriceClass"]

    def _cloudfront(self) -> Any:
        if self._client is None:
            import boto3
            from botocore.config import Config

            session = boto3.Session(aws_access_key_id="lab", aws_secret_access_key="lab", region_name="us-east-1")
            waits = Config(connect_timeout=5, read_timeout=10, retries={"total_max_attempts": 1})
            self._client = session.client("cloudfront", endpoint_url=self._endpoint, config=waits)
        return self._client
