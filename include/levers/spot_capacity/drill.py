"""The interruption drill: one spot node gets the notice that AWS would send, and how soon it is replaced is measured.

A drill that was cut short is taken up again: its record, written before the notice is sent, says to which node it went.
"""

from __future__ import annotations

import json
import uuid
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from include.clients.kubernetes import NODE, NODE_POOL
from include.levers.events import queue_arn, queue_url
from include.levers.node_costs import NodeFact, node_facts
from include.levers.nodes.interruptions import REACTION_SECONDS, last_drill, notice, reacts, remember_drill, takes_more
from include.levers.nodes.pools import claims_of
from include.levers.pods import is_ending, unix, unreplaced, workload_pods
from include.levers.spot_capacity.apply import placement_figures, wait_settled
from include.levers.spot_capacity.settings import POOLS, SPOT_POOL, World
from include.levers.world import Object, deployments
from include.rollout.lever import NotConverged, Refused, Stage

UNSEEN = -1.0  # seconds of a reaction that nobody watched


def run_drill(world: World, stage: Stage) -> dict[str, Any]:
    """Send one spot node an interruption notice; measure cordon and replacement in seconds."""
    begun = last_drill(world, _of(world))
    if begun is None:
        wait_settled(world, stage, "settling before the drill")
    drill, record = begun or _begin(world)
    if record["cordon_s"] is None:
        record = {**record, "cordon_s": _notify_and_watch(world, drill, record, begun is not None)}
        remember_drill(world, drill, record)
    node = record["node"]
    world.wait_for(lambda: unreplaced(deployments(world), workload_pods(world), node), f"replacing node {node}")
    replaced = world.now() - record["at"]
    wait_settled(world, stage, "settling after the drill")
    return {
        "drill_id": drill,
        **{name: record[name] for name in ("node", "instance_type", "pods_on_node")},
        "cordon_s": None if record["cordon_s"] == UNSEEN else round(record["cordon_s"], 2),
        "replaced_s": round(replaced, 1),
        **placement_figures(world, record["at"]),
    }


def choose_victim(nodes: Iterable[NodeFact], pods: Sequence[Object], unusable: Iterable[str]) -> NodeFact | None:
    """The spot node with most AkiDB pods, the first by name among equals; None when there is no usable spot node."""
    counts, ending = Counter(pod["spec"].get("nodeName", "") for pod in pods if not is_ending(pod)), set(unusable)
    spot = [n for n in nodes if n.capacity == "spot" and n.node_pool and n.name not in ending]
    return min(spot, key=lambda n: (-counts[n.name], n.name), default=None)


def _begin(world: World) -> tuple[str, dict[str, Any]]:
    """Choose the node and put the drill on record; its notice is not sent yet."""
    ending = (c.get("status", {}).get("nodeName") for c in claims_of(world, POOLS.names) if is_ending(c))
    pods = workload_pods(world)
    victim = choose_victim(node_facts(world), pods, map(str, ending))
    if victim is None:
        raise Refused(f"{world.place}: no spot node to drill on: all of them fell back to on demand")
    node = world.cluster.get(NODE, victim.name)
    if node is None:
        raise NotConverged(f"{world.place}: node {victim.name} vanished before the drill")
    drill, record = (
        str(uuid.uuid4()),
        {
            "at": world.now(),
            "of": _of(world),
            "node": victim.name,
            "instance": node["spec"]["providerID"].rsplit("/", 1)[1],
            "instance_type": victim.instance_type,
            "pods_on_node": sum(pod["spec"].get("nodeName") == victim.name for pod in pods),
            "cordon_s": None,
        },
    )
    world.target.fence()
    remember_drill(world, drill, record)
    return drill, record


def _of(world: World) -> str:
    """What tells the drill of this run from another one: the run, and the pool that was built for it."""
    pool = world.cluster.get(NODE_POOL, SPOT_POOL) or {"metadata": {}}
    return f"{world.target.run_id} {pool['metadata'].get('uid', '')}".strip()


def _notify_and_watch(world: World, drill: str, record: Mapping[str, Any], begun: bool) -> float:
    """Put the notice on Karpenter's queue; the seconds until the node takes no more pods.

    EventBridge accepts no events in AWS's name from others, so the drill begins where Karpenter listens. ``begun``: the
    notice may have been sent by an attempt that was cut short. If its node reacts, no second one is sent; the figure
    is UNSEEN then, when the moment was missed.
    """
    node, queue = str(record["node"]), world.region.queue
    if begun and reacts(world, node):
        return _seconds_by_claim(world, record)
    events = world.cluster.watch(NODE, REACTION_SECONDS, fields=f"metadata.name={node}")
    next(events, None)  # the stream is open before the notice is sent
    body = json.dumps(notice(drill, record["instance"], queue_arn(world, queue), world.now()))
    url = queue_url(world, queue)
    world.target.fence()
    sent = world.now()
    world.aws.call("sqs", "send_message", QueueUrl=url, MessageBody=body)
    for event in events:
        if not takes_more(event):
            return world.now() - sent
    raise NotConverged(
        f"{world.place}: node {node} takes pods {REACTION_SECONDS:.0f} s after its interruption notice: is "
        f"Karpenter's setting interruptionQueue {queue}?"
    )


def _seconds_by_claim(world: World, record: Mapping[str, Any]) -> float:
    """Seconds to the deletion of the node's claim, with which Karpenter begins; UNSEEN when the claim is gone."""
    for claim in claims_of(world, POOLS.names):
        if claim.get("status", {}).get("nodeName") == record["node"] and is_ending(claim):
            return max(0.0, unix(claim["metadata"]["deletionTimestamp"]) - float(record["at"]))
    return UNSEEN
