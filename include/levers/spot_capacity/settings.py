"""What a person may choose for one run of the spot lever, and the domains that come of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from include.estate import Estate
from include.levers.node_costs import SPREAD
from include.levers.nodes.pools import Pools
from include.levers.world import World as AnyWorld
from include.rollout.settings import LONGEST_CONVERGENCE

NODE_CLASS = "akidb"
SPOT_POOL = "akidb-spot"
ON_DEMAND_POOL = "akidb-on-demand"
TAINT = "akidb.io/dedicated"  # on every node of the pools; AkiDB's pods tolerate it
POOLS = Pools((SPOT_POOL, ON_DEMAND_POOL), TAINT, SPREAD)
STEPS = ("step_1", "step_2", "step_3")
DRILL = "interruption_drill"
OLD_NODE_GROUP = "old_node_group"


class SpotSettings(BaseModel):
    """What a person may choose for one run of the spot lever."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    steps_percent: tuple[Annotated[int, Field(gt=0, lt=100)], ...] = Field(
        min_length=1,
        max_length=len(STEPS),
        description="Spot share to reach in each step, rising, in percent; the domains decide what is possible.",
    )
    domains: int = Field(
        ge=2,
        le=20,
        description="Capacity domains that the pods are spread over; each needs a node. 4: quarters, 10: tenths.",
    )
    drill: bool = Field(default=True, description="Send one spot node an interruption notice and measure the answer.")
    allow_on_demand_fallback: bool = Field(
        default=True, description="Let the spot pool launch on-demand nodes while no spot capacity is to be had."
    )
    accept_stranded_commitments: bool = Field(
        default=False, description="Go on although Reserved Instances or Savings Plans would be paid for and not used."
    )
    accept_do_not_disrupt: bool = Field(
        default=False, description="Go on although pods ask Karpenter not to disrupt them: they keep drifted nodes."
    )
    accept_unmovable_pods: bool = Field(
        default=False,
        description="Drain the old node group although it evicts pods that would be lost or find no node: the plan "
        "names them.",
    )
    multi_arch_images: bool = Field(
        default=False, description="The workloads' images run on spot.architecture too, whatever their nodes are now."
    )
    converge_timeout_seconds: int = Field(
        gt=0,
        le=LONGEST_CONVERGENCE,
        description="Longest wait for the cluster to reach the state of a step, in seconds.",
    )

    @classmethod
    def estate_defaults(cls, estate: Estate) -> dict[str, Any]:
        """Defaults of the fields that the estate decides."""
        return {"steps_percent": estate.spot.steps_percent, "domains": estate.spot.domains}

    @model_validator(mode="after")
    def _steps_fit_domains(self) -> SpotSettings:
        step_domains(self.steps_percent, self.domains)
        return self


World = AnyWorld[SpotSettings]


def step_domains(steps_percent: Sequence[int], domains: int) -> tuple[int, ...]:
    """How many of the domains are spot after each step: the nearest to the percentage, at least 1, never all.

    Raises ValueError when two steps come to the same number.
    """
    counts = tuple(min(domains - 1, max(1, math.floor(p * domains / 100 + 0.5))) for p in steps_percent)
    if list(counts) != sorted(set(counts)):
        raise ValueError(
            f"steps_percent {', '.join(map(str, steps_percent))} with domains {domains} give "
            f"{', '.join(map(str, counts))} spot domains, which must rise: use more domains, or fewer or rising steps"
        )
    return counts


def domain_names(domains: int) -> list[str]:
    """``d1`` ... ``dN``; the first are the spot ones."""
    return [f"d{n}" for n in range(1, domains + 1)]


def pool_of(domain: str, spot_domains: int) -> str:
    """The pool that hosts ``domain`` when the first ``spot_domains`` are spot."""
    return SPOT_POOL if int(domain[1:]) <= spot_domains else ON_DEMAND_POOL


def pools_by_domain(domains: int, spot_domains: int) -> dict[str, str]:
    """The pool of each domain when the first ``spot_domains`` are spot."""
    return {domain: pool_of(domain, spot_domains) for domain in domain_names(domains)}


def balanced(replicas: int, domains: int) -> list[int]:
    """Replicas in each domain, largest first, when they are spread with a skew of at most 1."""
    each, more = divmod(replicas, domains)
    return [each + 1] * more + [each] * (domains - more)
