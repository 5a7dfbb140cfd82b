"""The edge: CloudFront, its functions, the models' bucket, request routing and the Jetson devices."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

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
    """The Jetson devices as SSH reaches them."""


class Edge(Part):
    """What stands outside the clusters."""

    cdn: Cdn = Cdn()
    functions: Functions = Functions()
    models: ModelStore = ModelStore()
    routing: Routing = Routing()
    power: DevicePower = DevicePower()
