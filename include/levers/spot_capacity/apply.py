"""Writing the stages. Everything here may run again after a crash at any point: it looks first, and converges."""

from __future__ import annotations

import copy
import datetime as dt
import json
import uuid
from collections import Counter
from collections.abc import Mapping
from typing import Any

from include.clients.kubernetes import CONFIG_MAP, EC2_NODE_CLASS, NODE, NODE_POOL, POD
from include.levers.common import Object, condition, deployments, name_of, node_facts, refusals
from include.levers.spot_capacity.dependents import origin_of, waits
from include.levers.spot_capacity.live import (
    MANAGER,
    World,
    our_claims,
    pods_of,
    queue_url,
    read_queue,
    read_rule,
    surplus_and_evicted,
)
from include.levers.spot_capacity.node_group import cordon, drain, is_ours_to_lift, terminate, wait_gone
from include.levers.spot_capacity.placement import (
    choose_victim,
    incomplete,
    is_ending,
    is_of,
    is_ready,
    misplaced,
    pending_seconds,
    shares,
    unix,
    unsettled,
    waiting,
)
from include.levers.spot_capacity.plan import (
    DRILL,
    NODE_CLASS,
    OLD_NODE_GROUP,
    POOLS,
    SPOT_POOL,
    node_class,
    node_pools,
    placed,
    queue_attributes,
    rules,
    tolerations_of,
)
from include.rollout.lever import NotConverged, Refused, Stage

DRILLS = "akidb-interruption-drills"  # ConfigMap: drill id -> Unix seconds; kept when everything else is undone
RECORD = "akidb.io/drill"  # its annotation: the last drill, as far as it has come
UNSEEN = -1.0  # seconds of a reaction that nobody watched
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
    check_zones(world)
    pools = node_pools(world.estate, world.settings, wanted["spot_domains"], wanted["instance_types"])
    # Spot first: a domain is always offered by a pool, and the nodes that lose theirs find it there.
    for name in POOLS:
        world.target.fence()
        world.cluster.apply(pools[name], MANAGER)
    _wait_ready(world, NODE_POOL.name, lambda: [world.cluster.get(NODE_POOL, name) for name in POOLS])
    world.target.fence()
    for name, deployment in deployments(world).items():
        write_placement(world, name, deployment, wanted["domains"])
    seconds = wait_settled(world, stage, f"moving to {wanted['spot_domains']} of {wanted['domains']} spot domains")
    return {
        "spot_domains": wanted["spot_domains"],
        "domains": wanted["domains"],
        "converged_seconds": round(seconds, 1),
        **placement_figures(world, started),
    }


def check_zones(world: World) -> None:
    """Refuse a node class whose subnets leave out a zone in which the node group has nodes."""
    live = world.cluster.get(EC2_NODE_CLASS, NODE_CLASS) or {}
    offered = {subnet.get("zone") for subnet in live.get("status", {}).get("subnets") or []}
    used = {node.zone for node in node_facts(world) if node.node_group == world.region.node_group.name and node.zone}
    if offered and not used <= offered:
        raise Refused(
            f"{world.target.region}: no subnet in {', '.join(sorted(used - offered))} has the tag "
            f"karpenter.sh/discovery {world.region.discovery_tag}: the pods would leave the zone; tag its subnets"
        )


def write_placement(world: World, name: str, deployment: Object, domains: int, dry_run: bool = False) -> None:
    """Have a Deployment's pods spread over the domains and tolerated by the pools."""
    body = placed(world.estate, name, domains, deployment)
    shared = len(tolerations_of(body) or []) > 1
    if shared:
        # Tolerations have one owner for the whole list: it is taken over, and handed back by the undo. Nothing else is.
        rest = copy.deepcopy(body)
        del rest["spec"]["template"]["spec"]["tolerations"]
        world.cluster.apply(rest, MANAGER, dry_run=True)
    world.cluster.apply(body, MANAGER, dry_run=dry_run, force=shared)


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
        pods = pods_of(world)
        return [
            *incomplete(found),
            *misplaced(found, pods, nodes, domains, spot_domains),
            *unsettled(our_claims(world)),
            *waiting(pods),
        ]

    return world.wait_for(missing, what)


def placement_figures(world: World, since: float) -> dict[str, Any]:
    """Nodes, shares and the longest wait of a pod since ``since``, for the ledger."""
    nodes, pods, group = node_facts(world), pods_of(world), world.region.node_group
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
    cluster, queue = world.region.cluster, world.region.queue
    queue_arn, live = read_queue(world)
    wanted = queue_attributes(queue_arn, cluster)
    world.target.fence()
    if live is None:
        tags = dict(world.estate.spot.tags)
        world.aws.call("sqs", "create_queue", QueueName=queue, Attributes=wanted, tags=tags)
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
    """Send one spot node an interruption notice; measure cordon and replacement in seconds.

    A drill that was cut short is taken up again: its record says to which node the notice went.
    """
    begun = find_drill(world)
    if begun is None:
        wait_settled(world, stage, "settling before the drill")
    drill, record = begun or begin_drill(world)
    if record["cordon_s"] is None:
        record = {**record, "cordon_s": notify_and_watch(world, drill, record, begun is not None)}
        remember_drill(world, drill, record)
    world.wait_for(lambda: _not_replaced(world, record["node"]), f"replacing node {record['node']}")
    replaced = world.now() - record["at"]
    wait_settled(world, stage, "settling after the drill")
    cordon_s = None if record["cordon_s"] == UNSEEN else round(record["cordon_s"], 2)
    return {
        "drill_id": drill,
        "node": record["node"],
        "instance_type": record["instance_type"],
        "pods_on_node": record["pods_on_node"],
        "cordon_s": cordon_s,
        "replaced_s": round(replaced, 1),
        **placement_figures(world, record["at"]),
    }


def begin_drill(world: World) -> tuple[str, dict[str, Any]]:
    """Choose the node and put the drill on record; its notice is not sent yet."""
    claims = {claim.get("status", {}).get("nodeName"): claim for claim in our_claims(world)}
    ending = frozenset(str(name) for name, claim in claims.items() if is_ending(claim))
    nodes, pods = node_facts(world), pods_of(world)
    victim = choose_victim(nodes, pods, ending)
    if victim is None:
        raise Refused(f"{world.target.region}: no spot node to drill on: all of them fell back to on demand")
    node = world.cluster.get(NODE, victim.name)
    if node is None:
        raise NotConverged(f"{world.target.region}: node {victim.name} vanished before the drill")
    record = {
        "at": world.now(),
        "of": _this_drill(world),
        "node": victim.name,
        "instance": node["spec"]["providerID"].rsplit("/", 1)[1],
        "instance_type": victim.instance_type,
        "pods_on_node": sum(pod["spec"].get("nodeName") == victim.name for pod in pods),
        "cordon_s": None,
    }
    drill = str(uuid.uuid4())
    world.target.fence()
    remember_drill(world, drill, record)
    return drill, record


def _this_drill(world: World) -> str:
    """What tells the drill of this run from another one: the run, and the pool that was built for it."""
    pool = world.cluster.get(NODE_POOL, SPOT_POOL) or {"metadata": {}}
    return f"{world.target.run_id} {pool['metadata'].get('uid', '')}".strip()


def find_drill(world: World) -> tuple[str, dict[str, Any]] | None:
    """The drill that this run has begun before, with its id."""
    found = world.cluster.get(CONFIG_MAP, DRILLS, world.estate.namespace) or {"metadata": {}}
    record = json.loads((found["metadata"].get("annotations") or {}).get(RECORD, "{}"))
    return (record["drill"], record) if record.get("of") == _this_drill(world) else None


def notify_and_watch(world: World, drill: str, record: Mapping[str, Any], begun: bool) -> float:
    """Put the notice on Karpenter's queue; the seconds until the node takes no more pods.

    EventBridge accepts no events in AWS's name from others, so the drill begins where Karpenter listens. ``begun``: the
    notice may have been sent by an attempt that was cut short. If its node reacts, no second one is sent; the figure
    is UNSEEN then, when the moment was missed.
    """
    node = str(record["node"])
    if begun and _reacts(world, node):
        return _seconds_by_claim(world, record)
    events = world.cluster.watch(NODE, REACTION_SECONDS, fields=f"metadata.name={node}")
    next(events, None)  # the stream is open before the notice is sent
    url, queue_arn = queue_url(world), read_queue(world)[0]
    body = json.dumps(notice(drill, record["instance"], queue_arn, world.now()))
    world.target.fence()
    sent = world.now()
    world.aws.call("sqs", "send_message", QueueUrl=url, MessageBody=body)
    for event in events:
        if not _takes_pods(event):
            return world.now() - sent
    raise NotConverged(
        f"{world.target.region}: node {node} takes pods {REACTION_SECONDS:.0f} s after its interruption notice: is "
        f"Karpenter's setting interruptionQueue {world.region.queue}?"
    )


def _reacts(world: World, node: str) -> bool:
    """Whether a node that may have got its notice is on its way out, or gone; waits for it."""
    if world.cluster.get(NODE, node) is None:
        return True
    events = world.cluster.watch(NODE, REACTION_SECONDS, fields=f"metadata.name={node}")
    return not all(map(_takes_pods, events))


def _takes_pods(event: tuple[str, Object]) -> bool:
    kind, node = event
    taints = {taint["key"] for taint in node["spec"].get("taints") or []}
    return not (kind == "DELETED" or node["spec"].get("unschedulable") or "karpenter.sh/disrupted" in taints)


def _seconds_by_claim(world: World, record: Mapping[str, Any]) -> float:
    """Seconds to the deletion of the node's claim, with which Karpenter begins; UNSEEN when the claim is gone."""
    for claim in our_claims(world):
        if claim.get("status", {}).get("nodeName") == record["node"] and is_ending(claim):
            return max(0.0, unix(claim["metadata"]["deletionTimestamp"]) - float(record["at"]))
    return UNSEEN


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


def remember_drill(world: World, drill: str, record: Mapping[str, Any]) -> None:
    """Record a drill, so that its notice is never counted as an interruption; forget those older than a day.

    ``record``: ``at`` (Unix seconds) and what taking the drill up again needs. Written before the notice is sent.
    """
    known = {key: when for key, when in drills(world).items() if when > record["at"] - DRILL_SECONDS}
    annotations = {RECORD: json.dumps({"drill": drill, **record}, sort_keys=True)}
    body = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": DRILLS, "namespace": world.estate.namespace, "annotations": annotations},
        "data": {key: str(when) for key, when in {**known, drill: record["at"]}.items()},
    }
    world.cluster.apply(body, MANAGER)


def drills(world: World) -> dict[str, float]:
    """Unix seconds of each remembered drill by its id."""
    record = world.cluster.get(CONFIG_MAP, DRILLS, world.estate.namespace)
    return {key: float(when) for key, when in ((record or {}).get("data") or {}).items()}


def _not_replaced(world: World, node: str) -> list[str]:
    found, pods = deployments(world), pods_of(world)
    left = sum(pod["spec"].get("nodeName") == node for pod in pods)
    missing = [f"{left} pods are on {node}"] if left else []
    for name, deployment in found.items():
        ready = sum(is_ready(pod) for pod in pods if is_of(pod, name))
        wanted = deployment["spec"].get("replicas", 1)
        if ready < wanted:
            missing.append(f"{name}: {ready} of {wanted} pods ready")
    return missing


# The old node group ----------------------------------------------------------------------------------------------


def shrink_node_group(world: World, stage: Stage) -> dict[str, Any]:
    """Drain the nodes beyond the floor, with respect for disruption budgets, and let exactly these go.

    Raises Refused, before anything is cordoned, when the drain would evict pods that are lost by it or find no node.
    """
    started = world.now()
    floor = int(stage.settings["floor"])
    wait_settled(world, stage, "having all pods on the new nodes before the old ones go")
    surplus, evicted = surplus_and_evicted(world, floor)
    stuck = [f"{pod}: {pod.problem}" for pod in evicted if pod.problem]
    if stuck and not world.settings.accept_unmovable_pods:
        raise Refused(
            f"{world.target.region}: draining {world.region.node_group.name} would evict {'; '.join(stuck)}. "
            "Move these pods or let them end, raise node_group.floor in estate.yaml, or set accept_unmovable_pods"
        )
    # A drain that was cut short has evicted pods that are on none of the nodes now: those that wait are among them.
    cut_short = any(is_ours_to_lift(node) for node in surplus)
    waiting_now = Counter(origin_of(pod) for pod in world.cluster.list(POD) if waits(pod))
    left, waited = (list(waiting_now), {}) if cut_short else ([], dict(waiting_now))
    for node in surplus:
        world.target.fence()
        cordon(world, name_of(node))
    drain(world, [name_of(node) for node in surplus])
    world.target.fence()
    terminate(world, surplus, floor)
    wait_gone(world, [name_of(node) for node in surplus])
    settle = wait_settled(world, stage, "settling on the new nodes alone")
    return {
        "nodes_removed": len(surplus),
        "floor": floor,
        "settle_seconds": round(settle, 1),
        "evicted": list(map(str, evicted)),
        "evicted_from": sorted({*(pod.origin for pod in evicted), *left}),
        "waited_before": waited,
        **placement_figures(world, started),
    }
