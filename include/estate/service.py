"""The service: its workloads, the series that measure them, their traffic, and the thresholds of their gates."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from include.estate.fields import Cpu, Matchers, Memory, Part, Seconds, Share
from include.quantities import quantity


class Resources(Part):
    """Kubernetes quantities of a whole pod: the sum over its containers, sidecars included."""

    cpu: Cpu
    memory: Memory


class Use(Part):
    """What one pod uses at the weekday peak."""

    cpu_millicores: Annotated[int, Field(gt=0)]
    memory_mib: Annotated[int, Field(gt=0)]


class Workload(Part):
    """One Deployment of the service."""

    port: Annotated[int, Field(gt=0, lt=65536)]
    replicas: Annotated[int, Field(ge=1)]
    requests: Resources
    limits: Resources
    use_at_peak: Use
    matchers: Annotated[
        Matchers, Field(description="what tells its requests from another workload's with the same counter")
    ] = ""

    @model_validator(mode="after")
    def _within_limits(self) -> Workload:
        for name in ("cpu", "memory"):
            asked, most = getattr(self.requests, name), getattr(self.limits, name)
            if quantity(asked) > quantity(most):
                raise ValueError(f"requests.{name} {asked} is more than limits.{name} {most}")
        return self


class Dns(Part):
    """Where the service's names are kept in Route 53."""

    hosted_zone: Annotated[str, Field(min_length=1)] = "akidb.example"
    aws_endpoints: Annotated[
        tuple[str, ...], Field(description="patterns of domain names and addresses that lead to AWS: checks cost less")
    ] = ("*.akidb.example",)


class Metrics(Part):
    """Names of the Prometheus series, and of the labels that carry the status of a request.

    The status labels matter: under a wrong one no error is ever found, which would read as none.
    """

    http_requests: str
    http_status_label: str
    http_duration: str
    grpc_requests: str
    grpc_status_label: str
    grpc_duration: str
    memory: str
    interruptions: str
    matchers: Annotated[
        Matchers | None, Field(description="what tells AkiDB's series from others'; left out: its namespace")
    ] = None

    def counter(self, protocol: Literal["http", "grpc"]) -> str:
        """The request counter of ``http`` or ``grpc``."""
        return self.http_requests if protocol == "http" else self.grpc_requests

    def requests(self) -> tuple[tuple[str, str], ...]:
        """Each request counter with its status label: REST, then gRPC."""
        return (self.http_requests, self.http_status_label), (self.grpc_requests, self.grpc_status_label)


class Traffic(Part):
    """Capacity of a replica and the daily shape of demand."""

    replica_qps: Annotated[float, Field(gt=0)]
    target_utilisation: Annotated[float, Field(gt=0, le=1)]
    weekday_qps: Annotated[tuple[Annotated[float, Field(ge=0)], ...], Field(min_length=24, max_length=24)]
    weekend_peak_qps: Annotated[float, Field(gt=0)]
    peak_share_of_capacity: Annotated[float, Field(gt=0, le=1)]

    @model_validator(mode="after")
    def _some_traffic(self) -> Traffic:
        if not max(self.weekday_qps) > 0:
            raise ValueError("weekday_qps is 0 in every hour: give the requests a second of at least one")
        return self

    def planned_qps(self, hour: int, weekend: bool) -> float:
        """The plan's QPS in an hour of the day (0..23, UTC): the weekday's level, at weekends capped."""
        level = self.weekday_qps[hour]
        return min(level, self.weekend_peak_qps) if weekend else level


class Targets(Part):
    """Thresholds that the gates take their figures from."""

    p95_ms: Annotated[float, Field(gt=0)]
    error_ratio: Share
    availability: Share
    interruption_rate: Share
    interruption_stop_rate: Share
    unplanned_notices_per_soak: Annotated[int, Field(ge=0)]
    pending_seconds: Seconds
    cordon_seconds: Annotated[float, Field(gt=0)]
    spot_share: Share
