"""Request routing: who may serve the requests of a workload, what each takes and costs."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from include.estate.fields import Part

BackendName = Literal["jetson", "spot", "lambda", "on_demand"]


class LatencyShape(Part):
    """How long a backend takes: half of the requests within ``p50_ms``, 95 % within ``p95_ms``, and the network's part
    on top of each.
    """

    p50_ms: Annotated[float, Field(gt=0)]
    p95_ms: Annotated[float, Field(gt=0)]
    network_ms: Annotated[float, Field(ge=0)] = 0

    @model_validator(mode="after")
    def _rising(self) -> LatencyShape:
        if self.p50_ms >= self.p95_ms:
            raise ValueError(f"p50_ms {self.p50_ms:g} must be less than p95_ms {self.p95_ms:g}")
        return self


class RoutingBackend(Part):
    """One who may serve requests. Where ``capacity_qps`` is left out, it is what the workload's replicas serve; where
    ``list_usd_million`` is, it is computed from the live nodes' prices.
    """

    service: Annotated[str, Field(min_length=1, description="Service in the estate's namespace; two may share one")]
    port: Annotated[int, Field(gt=0, lt=65536)] = 8080
    latency: LatencyShape
    capacity_qps: Annotated[
        float | None, Field(gt=0, description="what it serves of one region's requests a second")
    ] = None
    plan_usd_million: Annotated[Decimal, Field(ge=0, description="USD per million requests, the plan's")]
    list_usd_million: Annotated[Decimal | None, Field(ge=0, description="USD per million requests, by list")] = None


def _plan_backends() -> dict[BackendName, RoutingBackend]:
    pods = {"service": "akidb-rest", "latency": {"p50_ms": 1.5, "p95_ms": 4.5, "network_ms": 10}}
    found: dict[str, dict[str, Any]] = {
        "jetson": {
            "service": "akidb-jetson",
            "latency": {"p50_ms": 9, "p95_ms": 18},
            "capacity_qps": 550,
            "plan_usd_million": "0.8",
            "list_usd_million": "0.0039",
        },
        "spot": {**pods, "plan_usd_million": "2.0"},
        "lambda": {
            "service": "akidb-lambda",
            "latency": {"p50_ms": 28, "p95_ms": 45},
            "capacity_qps": 6600,
            "plan_usd_million": "4.2",
            "list_usd_million": "0.45",
        },
        "on_demand": {**pods, "plan_usd_million": "6.0"},
    }
    return {name: RoutingBackend.model_validate(raw) for name, raw in found.items()}  # type: ignore[misc]


class Routing(Part):
    """Who may serve the requests of one workload, what each takes and costs, and where the weights are written."""

    route: Annotated[str, Field(min_length=1, description="HTTPRoute in the estate's namespace")] = "akidb"
    gateway: Annotated[str, Field(min_length=1, description="Gateway in the same namespace")] = "akidb"
    workload: Annotated[str, Field(min_length=1, description="whose requests are routed")] = "akidb-rest"
    record: Annotated[
        str, Field(min_length=1, description="name of the regions' weighted record sets, within dns.hosted_zone")
    ] = "regions"
    budget_ms: Annotated[float, Field(gt=0, description="what a request may take")] = 25
    share_within: Annotated[float, Field(gt=0, lt=1, description="share of the requests that keep to it")] = 0.95
    requests_metric: str = "akidb_backend_requests_total"
    duration_metric: str = "akidb_backend_request_duration_seconds"
    backend_label: str = "backend"
    backends: dict[BackendName, RoutingBackend] = Field(default_factory=_plan_backends)

    @model_validator(mode="after")
    def _one_can_take_all(self) -> Routing:
        if "on_demand" not in self.backends:
            raise ValueError("backends needs on_demand: it takes what nobody else can")
        return self
