"""The edge: CloudFront, its functions, the models' bucket, request routing and the Jetson devices."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from include.estate.fields import Part, Seconds, Share
from include.estate.routing import Routing


class Cdn(Part):
    """The CloudFront distribution; it is found by one of its aliases, as its id is AWS's to give."""

    alias: Annotated[str, Field(min_length=1)] = "cdn.akidb.example"
    log_bucket: Annotated[str, Field(min_length=3, description="of its standard logs (v2), in S3")] = "akidb-cdn-logs"
    log_prefix: Annotated[str, Field(description="what the logs' keys begin with")] = "AWSLogs/"


_DURATION = re.compile(r"\d+:\d+:\d+(?:\.\d+)?:\d+(?:\.\d+)?", re.ASCII)


def _duration(line: str) -> str:
    if not _DURATION.fullmatch(line):
        raise ValueError("can't be read: write MB:samples:mean:P95, such as 384:20000:34.1:48.0 (ms)")
    return line


Duration = Annotated[str, AfterValidator(_duration)]


class Functions(Part):
    """The inference functions: one at the edge (us-east-1, numbered versions), one in each region behind an alias."""

    edge: Annotated[str, Field(min_length=1)] = "akidb-edge-inference"
    regional: Annotated[str, Field(min_length=1)] = "akidb-inference"
    regional_alias: Annotated[str, Field(min_length=1)] = "live"
    provisioned_units: Annotated[int, Field(ge=0, le=100, description="of the alias in each region; the plan's")] = 2
    p95_limit_ms: Annotated[
        float, Field(gt=0, description="of the functions; from this latency budget on the plan sends requests there")
    ] = 50
    durations: Annotated[
        tuple[Duration, ...], Field(description="measured outside production, a line a size: MB:samples:mean ms:P95 ms")
    ] = ()


class ModelStore(Part):
    """Where the models lie in S3."""

    bucket: Annotated[str, Field(min_length=3)] = "akidb-ml-models"
    prefix: str = "traffic-predictor/"


class DevicePower(Part):
    """The Jetson devices as SSH reaches them, and how their power modes follow the load.

    The canary comes first. A device's connection is ``ssh_<name>``. ``safe_mode`` is nvpmodel's own name of it: names
    differ from board to board, and ids too.
    """

    devices: Annotated[tuple[str, ...], Field(min_length=1)] = (
        "jetson01", "jetson02", "jetson03", "jetson04", "jetson05",
    )  # fmt: skip
    safe_mode: Annotated[str, Field(min_length=1)] = "MAXN_SUPER"
    measured: Annotated[str, Field(min_length=1)] = "devices/measured.json"  # below the Variable akidb_costs
    load_metric: Annotated[str, Field(min_length=1)] = "jetson_load_qps"  # requests/s, label device
    load_region: str = ""  # whose Prometheus has it; empty: the canary region's
    load_url: str = ""  # of that Prometheus as a device reaches it; empty: as Airflow does
    utilisation: Annotated[float, Field(gt=0, le=1)] = 0.9  # share of a mode's capacity that is used
    hysteresis: Annotated[float, Field(ge=0, le=1)] = 0.1
    dwell_seconds: Annotated[int, Field(ge=60, le=3600, multiple_of=60)] = 300
    lost_after_seconds: Annotated[int, Field(ge=60, le=3600)] = 180
    supply_efficiency: Annotated[float, Field(gt=0, le=1)] = 0.75  # of the carrier, wall socket to board
    history_days: Annotated[int, Field(ge=2, le=60)] = 14

    @model_validator(mode="after")
    def _consistent(self) -> DevicePower:
        if len(set(self.devices)) != len(self.devices):
            raise ValueError(f"edge.power.devices names a device twice: {', '.join(self.devices)}")
        return self

    def connection(self, device: str) -> str:
        """The Airflow connection of a device."""
        return f"ssh_{device}"


Country = Annotated[str, Field(pattern="^[A-Z]{2}$", description="ISO 3166-1, two letters")]


class Viewers(Part):
    """Viewers of one part of the world: their share of the requests and what they may wait at P95."""

    countries: Annotated[tuple[Country, ...], Field(min_length=1)]
    share: Share
    p95_ms: Annotated[
        float | None, Field(gt=0, description="left out: counted in the weighted P95, without a limit of its own")
    ] = None


# The plan's shares and limits; the countries are those that send most of the traffic.
VIEWERS = {
    "us": Viewers(countries=("US", "CA"), share=0.45, p95_ms=25),
    "eu": Viewers(
        countries=(
            *("AT", "BE", "BG", "CH", "CZ", "DE", "DK", "EE", "ES", "FI", "FR", "GB", "GR", "HR", "HU", "IE"),
            *("IT", "LT", "LU", "LV", "NL", "NO", "PL", "PT", "RO", "SE", "SI", "SK"),
        ),
        share=0.30,
        p95_ms=25,
    ),
    "apac": Viewers(
        countries=("AU", "HK", "ID", "JP", "KR", "MY", "NZ", "PH", "SG", "TH", "TW", "VN"), share=0.18, p95_ms=25
    ),
    "india": Viewers(countries=("IN",), share=0.04, p95_ms=35),
    "south_america": Viewers(countries=("AR", "BR", "CL", "CO", "PE", "UY"), share=0.02, p95_ms=35),
    "middle_east": Viewers(countries=("AE", "BH", "IL", "JO", "KW", "OM", "QA", "SA"), share=0.008),
    "africa": Viewers(countries=("EG", "KE", "MA", "NG", "TN", "ZA"), share=0.002),
}


class GlobalLatency(Part):
    """What viewers wait for and how much the cache answers: where it is read, and what it must be."""

    connection: Annotated[str, Field(min_length=1, description="Airflow connection (http) of the probes")] = "probes"
    oldest_seconds: Annotated[Seconds, Field(description="an older result of a probe is none")] = 300
    weighted_p95_ms: Annotated[float, Field(gt=0)] = 30
    # As CloudWatch has it: a share taken for a percentage fails the gate, a percentage taken for a share would pass.
    cache_hit_metric: Annotated[
        str, Field(min_length=1, description="gauge in the canary region's Prometheus, 0 to 100 %, as a selector")
    ] = "cloudfront_cache_hit_rate"
    cache_hit_percent: Annotated[float, Field(gt=0, le=100)] = 95
    # What the alert rules watch between rollouts; gates ask the probes themselves.
    probe_metric: Annotated[
        str,
        Field(
            pattern=r"^[a-zA-Z_:][a-zA-Z0-9_:]*$",
            description="gauge in the canary region's Prometheus: a probe's P95 in ms, with the label country",
        ),
    ] = "akidb_probe_p95_ms"
    viewers: dict[str, Viewers] = Field(min_length=1, default_factory=lambda: dict(VIEWERS))

    @model_validator(mode="after")
    def _one_group_a_country(self) -> GlobalLatency:
        seen: dict[str, str] = {}
        for name, viewers in self.viewers.items():
            for country in viewers.countries:
                if country in seen:
                    raise ValueError(f"viewers.{name}: {country} is in viewers.{seen[country]} too: take it out of one")
                seen[country] = name
        return self


class Edge(Part):
    """What stands outside the clusters."""

    cdn: Cdn = Cdn()
    functions: Functions = Functions()
    models: ModelStore = ModelStore()
    routing: Routing = Routing()
    power: DevicePower = DevicePower()
    latency: GlobalLatency = GlobalLatency()
