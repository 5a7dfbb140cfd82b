"""Writing the stages. Everything here may run again after a crash at any point: it looks first, and converges."""

from __future__ import annotations

import datetime as dt
import json
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from include.clients.aws import AwsRefusedError
from include.clients.kubernetes import CONFIG_MAP, EC2_NODE_CLASS, NODE, NODE_POOL, POD
from include.levers.common import (
    NODE_GROUP_LABEL,
    NodeFact,
    Object,
    condition,
    deployments,
    name_of,
    node_fact,
    node_facts,
    refusals,
    workload_pods,
)
from include.levers.spot_capacity.live import (
    CORDONED,
    MANAGER,
    World,
    node_group,
    our_claims,
    queue_url,
    read_queue,
    read_rule,
)
from include.levers.spot_capacity.placement import (
    choose_surplus,
    choose_victim,
    incomplete,
    is_ending,
    is_ready,
    misplaced,
    pending_seconds,
    shares,
    unsettled,
)
from include.levers.spot_capacity.plan import (
    DRILL,
    NODE_CLASS,
    OLD_NODE_GROUP,
    POOLS,
    SPOT_POOL,
    node_class,
    node_pools,
    queue_attributes,
    rules,
    spread,
)
from include.rollout.lever import NotConverged, Refused, Stage

DRILLS = "akidb-interruption-drills"  # ConfigMap: drill id -> Unix seconds; kept when everything else is undone
DRILL_SECONDS = 90_000  # how long a drill is remembered: the rate looks back 24 h
REACTION_SECONDS = 60.0  # longest wait for Karpenter to react to a notice
READY_SECONDS = 300.0


def apply_stage(world: World, stage: Stage) -> dict[str, Any]:
    """Write one stage and wait until it holds; returns its figures."""
    started = world.now()
    with refusals(world):
        if stage.slot == DRILL:
            figures = run_drill(world, stage)
        elif stage.slot == OLD_NODE_GROUP:
            figures = shrink_node_group(world, stage)
        else:
            figures = move_domains(world, stage)
    return {"started_at": started, "seconds": round(world.now() - started, 1), **figures}


# Steps -----------------------------------------------------------------------------------------------------------


def move_domains(world: World, stage: Stage) -> dict[str, Any]:
    """Offer the stage's domains on spot and spread the pods over all of them."""
    started = world.now()
    wanted = stage.settings
    feed_queue(world)
    world.target.fence()
    world.cluster.apply(node_class(world.estate, world.target.region), MANAGER)
    _wait_ready(world, EC2_NODE_CLASS.name, lambda: [world.cluster.get(EC2_NODE_CLASS, NODE_CLASS)])
    pools = node_pools(world.estate, world.settings, wanted["spot_domains"], wanted["instance_types"])
    # Spot first: a domain is always offered by a pool, and the nodes that lose theirs find it there.
    for name in POOLS:
        world.target.fence()
        world.cluster.apply(pools[name], MANAGER)
    _wait_ready(world, NODE_POOL.name, lambda: [world.cluster.get(NODE_POOL, name) for name in POOLS])
    world.target.fence()
    for name in world.estate.workloads:
        world.cluster.apply(spread(world.estate, name, wanted["domains"]), MANAGER)
    seconds = wait_settled(world, stage, f"moving to {wanted['spot_domains']} of {wanted['domains']} spot domains")
    return {
        "spot_domains": wanted["spot_domains"],
        "domains": wanted["domains"],
        "converged_seconds": round(seconds, 1),
        **placement_figures(world, started),
    }


def _wait_ready(world: World, kind: str, read: Any) -> None:
    def missing() -> list[str]:
        found = read()
        return [
            f"{kind} {name_of(thing) if thing else ''} is not ready: {_messages(thing)}"
            for thing in found
            if thing is None or condition(thing, "Ready") != "True"
        ]

    world.wait_for(missing, f"{kind} being ready", min(READY_SECONDS, world.timeout))


def _messages(thing: Object | None) -> str:
    conditions = (thing or {}).get("status", {}).get("conditions") or []
    told = [f"{c['type']} {c.get('message') or c.get('reason')}" for c in conditions if c["status"] != "True"]
    return ", ".join(told) or "no status yet"


def wait_settled(world: World, stage: Stage, what: str) -> float:
    """Wait until every pod is ready on the pool of its domain and no NodeClaim is on its way in or out."""

    def missing() -> list[str]:
        found = deployments(world)
        nodes = {fact.name: fact for fact in node_facts(world)}
        domains, spot_domains = stage.settings["domains"], stage.settings["spot_domains"]
        return [
            *incomplete(found),
            *misplaced(found, workload_pods(world), nodes, domains, spot_domains),
            *unsettled(our_claims(world)),
        ]

    return world.wait_for(missing, what)


def placement_figures(world: World, since: float) -> dict[str, Any]:
    """Nodes, shares and the longest wait of a pod since ``since``, for the ledger."""
    nodes, pods, group = node_facts(world), workload_pods(world), world.region.node_group
    by_pods, by_vcpu = shares(nodes, pods, group.name, group.floor)
    return {
        "nodes": len(nodes),
        "spot_nodes": sum(n.capacity == "spot" for n in nodes),
        "fallback_nodes": sum(n.node_pool == SPOT_POOL and n.capacity != "spot" for n in nodes),
        "spot_share_pods": by_pods,
        "spot_share_vcpu": by_vcpu,
        "pending_seconds_max": max(pending_seconds(pods, world.now(), since), default=0.0),
    }


def feed_queue(world: World) -> None:
    """The interruption queue and the rules that feed it, as they should be."""
    cluster = world.region.cluster
    queue_arn, live = read_queue(world)
    wanted = queue_attributes(queue_arn, cluster)
    world.target.fence()
    if live is None:
        tags = dict(world.estate.spot.tags)
        world.aws.call("sqs", "create_queue", QueueName=cluster, Attributes=wanted, tags=tags)
    elif any(live[name] != value for name, value in wanted.items()):
        world.aws.call("sqs", "set_queue_attributes", QueueUrl=queue_url(world), Attributes=wanted)
    for name, rule in rules(cluster, queue_arn).items():
        if read_rule(world, name) != rule:
            write_rule(world, name, rule)


def write_rule(world: World, name: str, rule: Mapping[str, Any]) -> None:
    """Create or overwrite an EventBridge rule with its targets."""
    pattern = json.dumps(rule["pattern"], sort_keys=True)
    world.aws.call("events", "put_rule", Name=name, EventPattern=pattern, State="ENABLED")
    targets = [{"Id": f"target-{n}", "Arn": arn} for n, arn in enumerate(rule["targets"])]
    answer = world.aws.call("events", "put_targets", Rule=name, Targets=targets)
    if answer.get("FailedEntryCount"):
        raise Refused(f"EventBridge rule {name}: {answer['FailedEntries'][0].get('ErrorMessage')}")


# The drill -------------------------------------------------------------------------------------------------------


def run_drill(world: World, stage: Stage) -> dict[str, Any]:
    """Send one spot node an interruption notice; measure cordon and replacement in seconds."""
    wait_settled(world, stage, "settling before the drill")
    claims = {claim.get("status", {}).get("nodeName"): claim for claim in our_claims(world)}
    ending = frozenset(str(name) for name, claim in claims.items() if is_ending(claim))
    nodes, pods = node_facts(world), workload_pods(world)
    victim = choose_victim(nodes, pods, ending)
    if victim is None:
        raise Refused(f"{world.target.region}: no spot node to drill on: all of them fell back to on demand")
    node = world.cluster.get(NODE, victim.name)
    if node is None:
        raise NotConverged(f"{world.target.region}: node {victim.name} vanished before the drill")
    drill = str(uuid.uuid4())
    started = world.now()
    cordoned = notify_and_watch(world, drill, victim.name, node["spec"]["providerID"].rsplit("/", 1)[1])
    world.wait_for(lambda: _not_replaced(world, victim.name), f"replacing node {victim.name}")
    replaced = world.now() - started
    wait_settled(world, stage, "settling after the drill")
    return {
        "drill_id": drill,
        "node": victim.name,
        "instance_type": victim.instance_type,
        "pods_on_node": sum(pod["spec"].get("nodeName") == victim.name for pod in pods),
        "cordon_s": round(cordoned, 2),
        "replaced_s": round(replaced, 1),
        **placement_figures(world, started),
    }


def notify_and_watch(world: World, drill: str, node: str, instance: str) -> float:
    """Put the notice on Karpenter's queue; the seconds until the node takes no more pods.

    EventBridge accepts no events in AWS's name from others, so the drill begins where Karpenter listens.
    """
    events = world.cluster.watch(NODE, REACTION_SECONDS, fields=f"metadata.name={node}")
    next(events, None)  # the stream is open before the notice is sent
    url, queue_arn = queue_url(world), read_queue(world)[0]
    body = json.dumps(notice(drill, instance, queue_arn, world.now()))
    world.target.fence()
    sent = world.now()
    world.aws.call("sqs", "send_message", QueueUrl=url, MessageBody=body)
    remember_drill(world, drill, sent)
    for kind, seen in events:
        taints = {taint["key"] for taint in seen["spec"].get("taints") or []}
        if kind == "DELETED" or seen["spec"].get("unschedulable") or "karpenter.sh/disrupted" in taints:
            return world.now() - sent
    raise NotConverged(
        f"{world.target.region}: node {node} takes pods {REACTION_SECONDS:.0f} s after its interruption notice: is "
        f"Karpenter's setting interruptionQueue {world.region.cluster}?"
    )


def notice(drill: str, instance: str, queue_arn: str, at: float) -> Object:
    """The event that AWS would send two minutes before it takes the instance back; its id is the drill's."""
    _, partition, _, region, account, _ = queue_arn.split(":")
    return {
        "version": "0",
        "id": drill,
        "detail-type": "EC2 Spot Instance Interruption Warning",
        "source": "aws.ec2",
        "account": account,
        "time": dt.datetime.fromtimestamp(at, dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "region": region,
        "resources": [f"arn:{partition}:ec2:{region}:{account}:instance/{instance}"],
        "detail": {"instance-id": instance, "instance-action": "terminate"},
    }


def remember_drill(world: World, drill: str, at: float) -> None:
    """Record a drill, so that its notice is never counted as an interruption; forget those older than a day."""
    known = {key: when for key, when in drills(world).items() if when > at - DRILL_SECONDS}
    body = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": DRILLS, "namespace": world.estate.namespace},
        "data": {key: str(when) for key, when in {**known, drill: at}.items()},
    }
    world.cluster.apply(body, MANAGER)


def drills(world: World) -> dict[str, float]:
    """Unix seconds of each remembered drill by its id."""
    record = world.cluster.get(CONFIG_MAP, DRILLS, world.estate.namespace)
    return {key: float(when) for key, when in ((record or {}).get("data") or {}).items()}


def _not_replaced(world: World, node: str) -> list[str]:
    found, pods = deployments(world), workload_pods(world)
    left = sum(pod["spec"].get("nodeName") == node for pod in pods)
    missing = [f"{left} pods are on {node}"] if left else []
    for name, deployment in found.items():
        ready = sum(is_ready(pod) for pod in pods if pod["metadata"]["labels"].get("app") == name)
        wanted = deployment["spec"].get("replicas", 1)
        if ready < wanted:
            missing.append(f"{name}: {ready} of {wanted} pods ready")
    return missing


# The old node group ----------------------------------------------------------------------------------------------


def shrink_node_group(world: World, stage: Stage) -> dict[str, Any]:
    """Drain the nodes beyond the floor, with respect for disruption budgets, and let exactly these go."""
    started = world.now()
    floor = int(stage.settings["floor"])
    wait_settled(world, stage, "having all pods on the new nodes before the old ones go")
    nodes = group_nodes(world)
    surplus = choose_surplus(nodes, _other_pods(world), floor)
    for node in surplus:
        world.target.fence()
        cordon(world, name_of(node))
    drain(world, [name_of(node) for node in surplus])
    world.target.fence()
    terminate(world, surplus, floor)
    wait_gone(world, [name_of(node) for node in surplus])
    settle = wait_settled(world, stage, "settling on the new nodes alone")
    figures = placement_figures(world, started)
    return {"nodes_removed": len(surplus), "floor": floor, "settle_seconds": round(settle, 1), **figures}


def group_nodes(world: World) -> list[Object]:
    """Nodes of the old node group."""
    return world.cluster.list(NODE, labels=f"{NODE_GROUP_LABEL}={world.region.node_group.name}")


def _other_pods(world: World) -> dict[str, int]:
    """How many pods besides AkiDB's each node has; those of a DaemonSet don't count."""
    names = (pod["spec"].get("nodeName", "") for pod in world.cluster.list(POD) if evictable(pod))
    return Counter(names)


def evictable(pod: Object) -> bool:
    """Whether a drain has to move the pod: not a DaemonSet's, not the kubelet's own, not finished."""
    metadata = pod["metadata"]
    daemon = any(owner["kind"] == "DaemonSet" for owner in metadata.get("ownerReferences") or [])
    mirror = "kubernetes.io/config.mirror" in (metadata.get("annotations") or {})
    return not (daemon or mirror or pod.get("status", {}).get("phase") in ("Succeeded", "Failed"))


def cordon(world: World, node: str) -> None:
    """Take no more pods on the node, marked as ours; a cordon by somebody else keeps its owner."""
    live = world.cluster.get(NODE, node)
    if live is None or live["spec"].get("unschedulable"):
        return
    patch = {"metadata": {"annotations": {CORDONED: MANAGER}}, "spec": {"unschedulable": True}}
    world.cluster.patch(NODE, node, patch, manager=MANAGER)


def uncordon(world: World, node: Object) -> bool:
    """Lift the cordon if it is ours; whether it was."""
    if (node["metadata"].get("annotations") or {}).get(CORDONED) != MANAGER:
        return False
    patch = {"metadata": {"annotations": {CORDONED: None}}, "spec": {"unschedulable": None}}
    world.cluster.patch(NODE, name_of(node), patch, manager=MANAGER)
    return True


def drain(world: World, nodes: Sequence[str]) -> None:
    """Evict every pod from the nodes; a budget that blocks is waited for."""

    def evict_the_rest() -> list[str]:
        world.target.fence()
        left = []
        for node in nodes:
            for pod in world.cluster.list(POD, fields=f"spec.nodeName={node}"):
                if not evictable(pod):
                    continue
                name, namespace = name_of(pod), pod["metadata"]["namespace"]
                allowed = is_ending(pod) or world.cluster.evict(name, namespace)
                left.append(
                    f"{namespace}/{name} on {node}" + ("" if allowed else " (its disruption budget has no room)")
                )
        return left

    world.wait_for(evict_the_rest, "draining the old nodes")


def terminate(world: World, surplus: Sequence[Object], floor: int) -> None:
    """Let the node group shrink to ``floor`` by exactly these nodes, as the cluster autoscaler does it."""
    group = node_group(world)
    if group["scalingConfig"]["minSize"] > floor:
        resize(world, minSize=floor)
    scaling_group = group["resources"]["autoScalingGroups"][0]["name"]
    answer = world.aws.call("autoscaling", "describe_auto_scaling_groups", AutoScalingGroupNames=[scaling_group])
    members = {i["InstanceId"] for i in answer["AutoScalingGroups"][0]["Instances"]}
    for node in surplus:
        instance = node["spec"]["providerID"].rsplit("/", 1)[1]
        if instance in members:
            world.target.fence()
            world.aws.call(
                "autoscaling",
                "terminate_instance_in_auto_scaling_group",
                InstanceId=instance,
                ShouldDecrementDesiredCapacity=True,
            )


def resize(world: World, **scaling: int) -> None:
    """Change the node group's ``minSize`` or ``desiredSize`` once no other update of it is under way."""
    where = {"clusterName": world.region.cluster, "nodegroupName": world.region.node_group.name}

    def busy() -> list[str]:
        status = node_group(world)["status"]
        if status not in ("ACTIVE", "DEGRADED"):
            return [f"node group {where['nodegroupName']} is {status}"]
        try:
            world.aws.call("eks", "update_nodegroup_config", **where, scalingConfig=scaling)
        except AwsRefusedError as error:
            if error.code in ("ResourceInUseException", "ResourceInUse"):
                return [str(error)]
            raise
        return []

    world.wait_for(busy, f"resizing node group {where['nodegroupName']}")


def wait_gone(world: World, nodes: Sequence[str]) -> None:
    """Wait until these Nodes exist no more."""

    def there() -> list[str]:
        live = {name_of(node) for node in world.cluster.list(NODE)}
        return [f"node {name} still exists" for name in nodes if name in live]

    world.wait_for(there, "the drained nodes being gone")


def ready_group_nodes(world: World) -> list[NodeFact]:
    """Node-group nodes that are Ready and take pods."""
    usable = (n for n in group_nodes(world) if condition(n, "Ready") == "True" and not n["spec"].get("unschedulable"))
    return [node_fact(node) for node in usable]
