"""What the spot lever wants: node class, pools, placing of the pods, and what tells Karpenter of an interruption.

Live state (see live.py) and wanted state have one shape, so that they can be compared field by field.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from include.estate import Estate
from include.levers.events import EventRule, Queue
from include.levers.manifests import render
from include.levers.nodes import group
from include.levers.nodes.packing import PoolTypes
from include.levers.spot_capacity.settings import (
    NODE_CLASS,
    ON_DEMAND_POOL,
    POOLS,
    SPOT_POOL,
    SpotSettings,
    domain_names,
)
from include.levers.unmet import unmet
from include.levers.workloads.placing import PARTS, Placing, titles
from include.levers.world import Object
from include.rollout.lever import Difference

MANAGER = "akidb-rollout"
# The first disk of these families holds the system only; pods and images are on the second.
DATA_DEVICES = {"Bottlerocket": "/dev/xvdb"}
TITLES = {
    "queue": "Queue",
    "rules": "Rule/{}",
    "node_class": f"EC2NodeClass/{NODE_CLASS} spec",
    "node_pools": "NodePool/{} spec",
    **titles(POOLS.spread),
    "node_group": group.PATH,
}
NAMED = ("rules", "node_pools", *PARTS)


def _rendered(manifest: str, **values: Any) -> Object:
    (document,) = render(f"spot_capacity/{manifest}.yaml", values)
    return document


def node_class(estate: Estate, region: str) -> Object:
    """The EC2NodeClass of ``region``."""
    spot, where = estate.spot, estate.region(region)
    return _rendered(
        "ec2nodeclass",
        AMI_FAMILY=spot.ami_family,
        AMI_ALIAS=spot.ami_alias,
        NODE_ROLE=where.node_role,
        DISCOVERY_TAG=where.discovery_tag,
        TAGS=spot.tags,
        DATA_DEVICE=DATA_DEVICES.get(spot.ami_family, "/dev/xvda"),
        VOLUME_SIZE=f"{spot.volume_gib}Gi",
    )


def node_pools(estate: Estate, settings: SpotSettings, spot_domains: int, types: PoolTypes) -> dict[str, Object]:
    """Both NodePools by name when the first ``spot_domains`` domains are spot."""
    names, spot = domain_names(settings.domains), estate.spot
    fallback = ["on-demand"] if settings.allow_on_demand_fallback else []
    common = {
        "CPU_LIMIT": spot.cpu_limit,
        "MEMORY_LIMIT": spot.memory_limit,
        "CONSOLIDATE_AFTER": spot.consolidate_after,
        "EXPIRE_AFTER": spot.expire_after,
        "ARCHITECTURE": spot.architecture,
        "CATEGORIES": list(spot.categories),
    }
    of_spot = {"NAME": SPOT_POOL, "WEIGHT": 10, "CAPACITY_TYPES": ["spot", *fallback], "DOMAINS": names[:spot_domains]}
    rest = {"NAME": ON_DEMAND_POOL, "WEIGHT": 1, "CAPACITY_TYPES": ["on-demand"], "DOMAINS": names[spot_domains:]}
    of_spot["INSTANCE_TYPES"], rest["INSTANCE_TYPES"] = sorted(types.spot), sorted(types.on_demand)
    return {str(pool["NAME"]): _rendered("nodepool", **common, **pool) for pool in (of_spot, rest)}


def placing(estate: Estate, workload: str, domains: int = 0) -> Placing:
    """What the lever adds to the Deployment of a workload: equal shares of its pods in each domain."""
    body = _rendered("spread", NAME=workload, NAMESPACE=estate.namespace, DOMAINS=domains)
    return Placing(body, POOLS.spread, POOLS.taints, MANAGER)


def feed(estate: Estate, region: str, queue_arn: str) -> tuple[Queue, dict[str, EventRule]]:
    """The interruption queue, to which exactly this cluster's rules may send, and these rules by name."""
    where = estate.region(region)
    _, partition, _, aws_region, account, _ = queue_arn.split(":")
    senders = f"arn:{partition}:events:{aws_region}:{account}:rule/{where.cluster}-*"
    wanted = _rendered("interruption", QUEUE_ARN=queue_arn, RULES_ARN=senders)
    attributes = {**wanted["queue"], "Policy": json.dumps(wanted["policy"], sort_keys=True)}
    bodies = {
        f"{where.cluster}-{slug}": {"pattern": pattern, "targets": [queue_arn]}
        for slug, pattern in wanted["rules"].items()
    }
    rules = {name: EventRule(name, body) for name, body in bodies.items()}
    return Queue(where.queue, attributes, estate.spot.tags), rules


def parts_of(live: Mapping[str, Any], name: str) -> dict[str, Any]:
    """What a live state knows of a Deployment."""
    return {part: live[part][name] for part in PARTS}


def wanted_state(
    estate: Estate, region: str, settings: SpotSettings, spot_domains: int, types: PoolTypes, live: Mapping[str, Any]
) -> Object:
    """The state after the last stage, in the shape of the live state."""
    floor = estate.region(region).node_group.floor
    queue, rules = feed(estate, region, live["queue_arn"])
    placed = {name: placing(estate, name, settings.domains).after(parts_of(live, name)) for name in estate.workloads}
    return {
        "queue": dict(queue.attributes),
        "rules": {name: rule.body for name, rule in rules.items()},
        "node_class": node_class(estate, region)["spec"],
        "node_pools": {n: p["spec"] for n, p in node_pools(estate, settings, spot_domains, types).items()},
        **{part: {name: state[part] for name, state in placed.items()} for part in PARTS},
        # An autoscaler that moves the size keeps what it has found to be needed.
        "node_group": {"minSize": floor} if group.SIZE in live["moving"] else {"minSize": floor, "desiredSize": floor},
    }


def differences(live: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[Difference]:
    """Every wanted field whose live value is another one; live fields that nobody wants don't count."""
    found: list[Difference] = []
    for part, value in wanted.items():
        if part in NAMED:
            for name, inner in value.items():
                found += unmet(TITLES[part].format(name), live[part].get(name), inner)
        else:
            found += unmet(TITLES[part], live[part], value)
    return found
