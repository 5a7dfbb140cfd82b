"""Names of world, node_costs and fields under their former address, until every lever imports them from there."""

from include.levers.fields import owner_of
from include.levers.node_costs import (
    NODE_GROUP_LABEL,
    SPREAD,
    NodeFact,
    node_fact,
    node_facts,
    node_price,
    spot_prices,
    total,
    usd_hour,
)
from include.levers.world import Object, World, condition, deployments, name_of, refusals, workload_pods

__all__ = [
    "NODE_GROUP_LABEL",
    "SPREAD",
    "NodeFact",
    "Object",
    "World",
    "condition",
    "deployments",
    "name_of",
    "node_fact",
    "node_facts",
    "node_price",
    "owner_of",
    "refusals",
    "spot_prices",
    "total",
    "usd_hour",
    "workload_pods",
]
