"""What a person may choose for one run of the consolidation lever."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from include.levers.spot_capacity.settings import POOLS
from include.levers.world import World as AnyWorld
from include.rollout.settings import LONGEST_CONVERGENCE

NAME, MANAGER = "consolidation", "akidb-consolidation"
BALANCED, UNDERUTILIZED, FLOOR = "balanced", "underutilized", "floor"
SLOTS = (BALANCED, UNDERUTILIZED, FLOOR)
POLICIES = {BALANCED: "Balanced", UNDERUTILIZED: "WhenEmptyOrUnderutilized"}
# A command that Karpenter has found is looked at again after 15 s; it looks for one every 10 s; 5 s for what follows.
VALIDATION_SECONDS, POLL_SECONDS, MARGIN_SECONDS = 15, 10, 5
UNDISTURBED_SECONDS = POLL_SECONDS + MARGIN_SECONDS
SPOT_TO_SPOT_TYPES = 15  # cheaper types that Karpenter asks for before it replaces one spot node by another
Nodes = Annotated[str, Field(pattern=r"^((100|[0-9]{1,2})%|[0-9]+)$")]

__all__ = ["BALANCED", "FLOOR", "POOLS", "SLOTS", "UNDERUTILIZED", "ConsolidationSettings", "World"]


class ConsolidationSettings(BaseModel):
    """What a person may choose for one run of the consolidation lever."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    consolidate_after_seconds: int = Field(
        default=30, ge=0, le=3600, description="Seconds without a pod coming or going before a node may be packed."
    )
    underutilized_nodes: Nodes = Field(
        default="34%", description="Nodes of a pool that may be packed at the same time, a share or a number."
    )
    empty_nodes: Nodes = Field(default="100%", description="Empty nodes of a pool that may go at the same time.")
    drifted_nodes: Nodes = Field(default="34%", description="Drifted nodes of a pool replaced at the same time.")
    pin_recommendations: bool = Field(
        default=True,
        description="Hold the recommendations of VerticalPodAutoscalers while nodes are packed: Karpenter doesn't "
        "foresee what their webhook gives a pod that moves.",
    )
    most_share_evictions: int = Field(
        default=12,
        ge=0,
        le=100,
        description="Pods that the spread would not put into their domain again and that may be evicted, of a workload "
        "one after the other.",
    )
    even_domains: bool = Field(
        default=True,
        description="Even out pods over all capacity domains before nodes are packed, as the spread asks for, where "
        "scaling down has left them uneven: such domains can't be packed. False moves pods on demand alone.",
    )
    most_emptied_nodes: int = Field(
        default=12,
        ge=0,
        le=50,
        description="Nodes that the lever empties itself, one after the other, where Karpenter leaves a node although "
        "its pods fit on the others. 0 leaves all to Karpenter.",
    )
    expected_packing: float = Field(
        default=1.05,
        ge=1,
        le=2,
        description="What Karpenter's nodes are expected to cost, as a multiple of the cheapest that hold the pods.",
    )
    right_size_floor: bool = Field(
        default=False, description="Move system pods to a small node group, and let the old one go to no nodes."
    )
    accept_do_not_disrupt: bool = Field(
        default=False, description="Go on although pods or nodes ask Karpenter not to disrupt them: those nodes stay."
    )
    accept_unmovable_pods: bool = Field(
        default=False, description="Right-size the floor although pods there would be lost or find no node."
    )
    nominated_seconds: int = Field(
        default=20,
        ge=10,
        le=600,
        description="How long Karpenter leaves a node alone that it expects pods on: twice its BATCH_MAX_DURATION, and "
        "at least 10 s.",
    )
    converge_timeout_seconds: int = Field(
        gt=0, le=LONGEST_CONVERGENCE, description="Longest wait for the nodes to come to rest, in seconds."
    )

    @property
    def movable_after_seconds(self) -> float:
        """How long after the last change every node may be packed: Karpenter expects pods on none any more."""
        return float(max(self.consolidate_after_seconds, self.nominated_seconds))

    @property
    def quiet_seconds(self) -> float:
        """How long no node may come or go until the packing counts as finished."""
        return self.movable_after_seconds + VALIDATION_SECONDS + POLL_SECONDS + MARGIN_SECONDS


World = AnyWorld[ConsolidationSettings]
