"""What the right-sizing lever may be told, and the objects that it wants by it: pure functions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from include.estate import Estate
from include.levers.manifests import render
from include.levers.world import Object
from include.levers.world import World as AnyWorld
from include.rollout.lever import Json
from include.rollout.settings import LONGEST_CONVERGENCE

NAME = "right_sizing"
RECOMMEND, NEW_PODS, CANARY, REST = SLOTS = ("recommend", "new_pods", "in_place_canary", "in_place_rest")
MANAGER = "akidb-right-sizing"
KIND = "VerticalPodAutoscaler"
PREDICTOR = "traffic-predictor"  # day 2's Deployment: sized where it stands
OFF, INITIAL, IN_PLACE = MODES = ("Off", "Initial", "InPlaceOrRecreate")  # each does what the one before does


class RightSizingSettings(BaseModel):
    """What a person may choose for one run of right-sizing."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    converge_timeout_seconds: Annotated[
        int,
        Field(gt=0, le=LONGEST_CONVERGENCE, description="Longest wait for a recommendation or the pods, in seconds"),
    ]
    canary: Annotated[str, Field(min_length=1, description="Deployment whose running pods are resized first")]
    history_days: Annotated[int, Field(ge=1, le=30, description="Days of use without a gap that it takes")]
    memory_margin: Annotated[
        float, Field(ge=1, le=3, description="Never less memory than the peak of these days, so many times")
    ]
    agree_within: Annotated[
        float, Field(gt=0, lt=1, description="How far the recommender may be from our own figure, as a share")
    ]
    deferred_seconds: Annotated[
        int, Field(gt=0, le=3600, description="A rollback evicts a pod whose node has no room for that long")
    ] = 60
    vpa_namespace: Annotated[str, Field(min_length=1, description="Namespace in which VPA runs")] = "kube-system"
    recommender_interval_seconds: int = Field(
        default=60, gt=0, description="The recommender's --recommender-interval: our own figure takes as many samples"
    )
    history_resolution_seconds: Annotated[
        int, Field(ge=60, le=3600, description="The recommender's --history-resolution")
    ] = 300
    wait_within_bounds: Annotated[
        bool,
        Field(
            description="Wait for pods too whose requests lie within VPA's bounds: it leaves those of less than "
            "12 h (--in-recommendation-bounds-eviction-lifetime-threshold)"
        ),
    ] = True

    @classmethod
    def estate_defaults(cls, estate: Estate) -> dict[str, Any]:
        """Defaults of the fields that the estate decides."""
        return estate.right_sizing.model_dump(include=set(cls.model_fields))


World = AnyWorld[RightSizingSettings]


def vpa_key(estate: Estate, workload: str) -> str:
    """``VerticalPodAutoscaler akidb/akidb-rest``."""
    return f"{KIND} {estate.namespace}/{workload}"


def canary_of(canary: str, sized: Mapping[str, Json]) -> str:
    """The Deployment that goes first: the one that was chosen, or the first where that is not sized."""
    return canary if canary in sized else next(iter(sized), "")


def mode_of(slot: str, workload: str, canary: str, highest: str) -> str:
    """The update mode of a workload's object in a slot, ``highest`` at most."""
    wanted = {RECOMMEND: OFF, NEW_PODS: INITIAL, REST: IN_PLACE}.get(slot, IN_PLACE if workload == canary else INITIAL)
    return min(wanted, highest, key=MODES.index)


def vpa(estate: Estate, workload: str, mode: str, container: str, least: Mapping[str, str]) -> Object:
    """A workload's VerticalPodAutoscaler; ``least`` is its minAllowed, as quantities."""
    values = {
        "NAME": workload,
        "NAMESPACE": estate.namespace,
        "LABELS": {"app.kubernetes.io/managed-by": MANAGER},
        "MODE": mode,
        "CONTAINER": container,
        "LEAST": dict(least),
        "MOST": estate.right_sizing.bounds_of(workload).most.model_dump(),
    }
    return render(f"{NAME}/vpa.yaml", values)[0]
