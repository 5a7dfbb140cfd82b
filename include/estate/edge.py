"""The edge: CloudFront, its functions, the models' bucket, request routing and the Jetson devices."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from include.estate.fields import Part


class Cdn(Part):
    """The CloudFront distribution; it is found by one of its aliases, as its id is AWS's to give."""

    alias: Annotated[str, Field(min_length=1)] = "cdn.akidb.example"


class Functions(Part):
    """The inference functions: one at the edge (us-east-1, numbered versions), one in each region behind an alias."""

    edge: Annotated[str, Field(min_length=1)] = "akidb-edge-inference"
    regional: Annotated[str, Field(min_length=1)] = "akidb-inference"
    regional_alias: Annotated[str, Field(min_length=1)] = "live"


class ModelStore(Part):
    """Where the models lie in S3."""

    bucket: Annotated[str, Field(min_length=3)] = "akidb-ml-models"
    prefix: str = "traffic-predictor/"


class Routing(Part):
    """Who may serve a request, and what the plan says of each."""


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
    load_url: Annotated[str, Field(min_length=1)] = "http://prometheus.akidb.example:9090"  # as a device reaches it
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


class Edge(Part):
    """What stands outside the clusters."""

    cdn: Cdn = Cdn()
    functions: Functions = Functions()
    models: ModelStore = ModelStore()
    routing: Routing = Routing()
    power: DevicePower = DevicePower()
