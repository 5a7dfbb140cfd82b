"""What a person may choose for one run of the routing lever."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from include.estate import Estate
from include.levers import world as worlds
from include.levers.edge_settings import EdgeSettings

NAME, MANAGER = "request_routing", "akidb-request-routing"
CANARY, ALL = SLOTS = ("canary_weights", "weights")


class RoutingSettings(EdgeSettings):
    """What a person may choose for one run."""

    latency_budget_ms: float = Field(gt=0, description="What a request may take, in ms")
    share_within_budget: float = Field(gt=0, lt=1, description="Share of the requests that must keep to it")
    routed_qps: float = Field(
        0, ge=0, description="Requests a second and region that the weights must serve; 0: the estate's weekday peak"
    )
    routing_prices: Literal["aws", "plan"] = Field(
        "aws", description="What a request costs: live nodes and list prices, or the plan's figures"
    )
    least_routing_gain: float = Field(
        0.05, ge=0, lt=1, description="Weights that stand stay unless others save this share of a request's price"
    )
    canary_route_percent: int = Field(10, ge=1, le=50, description="How far the first stage goes towards the weights")
    weigh_region: bool = Field(True, description="Change the weight of the region's record set in Route 53 too")

    @classmethod
    def estate_defaults(cls, estate: Estate) -> dict[str, Any]:
        """Defaults of the fields that the estate decides."""
        routing = estate.edge.routing
        return {"latency_budget_ms": routing.budget_ms, "share_within_budget": routing.share_within}


World = worlds.World[RoutingSettings]
