"""One region of the estate: its cluster, its node group, and the connections that reach it."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from include.estate.fields import Cpu, Memory, Part


class Connections(Part):
    """Airflow connection ids of one region."""

    kubernetes: str
    aws: str
    prometheus: str


class EstateConnections(Part):
    """Airflow connection ids of what belongs to no region."""

    aws: Annotated[
        str | None, Field(min_length=1, description="for AWS's global services; left out: the canary region's")
    ] = None


class SystemGroup(Part):
    """The small managed node group that the system pods move to when the floor is right-sized."""

    name: Annotated[str, Field(min_length=1)] = "akidb-system"
    deployments: Annotated[
        tuple[Annotated[str, Field(pattern="^[^/]+/[^/]+$")], ...],
        Field(description="namespace/name of the Deployments that are moved by their nodeSelector"),
    ] = ("kube-system/coredns", "karpenter/karpenter")
    instance_types: Annotated[
        tuple[str, ...],
        Field(description="types to choose from; left out: small ones of the node group's architecture"),
    ] = ()
    # Day 5's OpenCost and Kubecost come after the group has been sized.
    reserve_cpu: Annotated[Cpu, Field(description="CPU kept free for pods that come later")] = "200m"
    reserve_memory: Annotated[Memory, Field(description="memory kept free for pods that come later")] = "400Mi"


class NodeGroup(Part):
    """The managed node group of on-demand nodes as it stands before the rollout."""

    name: str
    instance_type: str
    size: Annotated[int, Field(ge=1)]
    floor: Annotated[int, Field(ge=0, description="nodes that stay for system pods")]
    max_size: Annotated[int, Field(ge=1)]
    system: SystemGroup = SystemGroup()

    @model_validator(mode="after")
    def _ordered(self) -> NodeGroup:
        if not self.floor <= self.size <= self.max_size:
            raise ValueError(f"needs floor <= size <= max_size, not {self.floor}, {self.size}, {self.max_size}")
        if self.system.name == self.name:
            raise ValueError(f"system.name {self.name!r} is the node group's own name: choose another one")
        return self


class Region(Part):
    """One region: its cluster, node group and where its prices and connections come from."""

    cluster: str
    interruption_queue: Annotated[
        str | None, Field(min_length=1, description="the queue that Karpenter listens to; left out: the cluster's name")
    ] = None
    node_group: NodeGroup
    node_role: str
    discovery_tag: str
    on_demand_price_factor: Annotated[float, Field(gt=0, description="on-demand price against us-east-1")]
    holidays: Annotated[
        str | None, Field(pattern="^[A-Z]{2}$", description="country whose public holidays its traffic follows")
    ] = None
    connections: Connections

    @property
    def queue(self) -> str:
        """The name of the interruption queue."""
        return self.interruption_queue or self.cluster
