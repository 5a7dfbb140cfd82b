"""Interruptions of spot nodes as Karpenter receives them: how many notices came, and on how many nodes.

A drill sends a notice of its own: it is shown and never counted. No data is None, never zero.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping
from typing import Any

from include.clients.kubernetes import CONFIG_MAP, NODE
from include.clients.prometheus import counter_increase
from include.estate import Estate
from include.levers.node_costs import node_facts
from include.levers.probes import Probe, over_recent
from include.levers.service import covered, share_covered
from include.levers.world import Object, World
from include.rollout.gates import Comparison, Figure, Gate

DAY = 86_400
DRILLS = "akidb-interruption-drills"  # ConfigMap: drill id -> Unix seconds; kept when everything else is undone
RECORD = "akidb.io/drill"  # its annotation: the last drill, as far as it has come
DRILL_SECONDS = 90_000  # how long a drill is remembered: the rate looks back 24 h
REACTION_SECONDS = 60.0  # longest wait for Karpenter to react to a notice


def interruption_rate(notices: int, drills: int, instances: int, source: str) -> Figure | None:
    """Unplanned notices divided by the spot instances that ran in the last 24 h (a ratio); None without instances.

    ``notices`` counts all of them, ``drills`` those that a drill sent: drills are shown in the note, never counted.
    """
    if instances <= 0:
        return None
    unplanned = _unplanned(notices, drills)
    note = f"{unplanned} notices on {instances} spot instances in 24 h{_drill_note(drills)}"
    return Figure(unplanned / instances, "ratio", instances, source, note)


def unplanned_notices(notices: int, drills: int, samples: int, source: str) -> Figure:
    """Unplanned notices as a count; ``samples`` is how often the source was read, so that "none" needs evidence."""
    unplanned = _unplanned(notices, drills)
    return Figure(unplanned, "notices", samples, source, f"{unplanned} unplanned{_drill_note(drills)}")


def _unplanned(notices: int, drills: int) -> int:
    if not 0 <= drills <= notices:
        raise ValueError(f"needs 0 <= drills <= notices, not {drills} drills of {notices} notices")
    return notices - drills


def _drill_note(drills: int) -> str:
    return f", {drills} drill notice{'s' if drills != 1 else ''} not counted" if drills else ""


def interruption_probes(estate: Estate) -> tuple[Probe, Probe]:
    """The gates of a lever whose nodes may be spot: no unplanned notice in the window, and a low rate over the day."""
    most, source = estate.targets.unplanned_notices_per_soak, "estate targets.unplanned_notices_per_soak"
    none = Gate("unplanned_notices", Comparison.AT_MOST, most, "notices", 1, source)
    stop, source = estate.targets.interruption_stop_rate, "estate targets.interruption_stop_rate"
    rare = Gate("interruption_rate_24h", Comparison.BELOW, stop, "ratio", 1, source)
    return over_recent(none, notices_figure), over_recent(rare, rate_figure)


# From Prometheus -------------------------------------------------------------------------------------------------


def notices(world: World, seconds: float) -> tuple[int, list[float]] | None:
    """Interruption notices that Karpenter received in the last ``seconds``, drills included, and its scrapes' times.

    The counter appears with the first notice, so its absence means none only while Karpenter was scraped; None when
    it was not.
    """
    region = world.target.region
    up = world.prometheus.raw(f'up{{job="karpenter",region="{region}"}}', seconds)
    scraped = [at for series in up for at, value in series.points if value == 1]
    if not scraped:
        return None
    selector = f'{world.estate.metrics.interruptions}{{region="{region}",message_type="spot_interrupted"}}'
    count = sum(
        counter_increase(series.points, born=bool(series.points) and min(scraped) < series.points[0][0])
        for series in world.prometheus.raw(selector, seconds)
    )
    return round(count), scraped


def notices_figure(world: World, window: float) -> Figure | None:
    """Unplanned notices of the last ``window`` seconds."""
    found = notices(world, window)
    if found is None:
        return None
    received, scraped = found
    drilled, source = _drills_in(world, window, received), world.estate.metrics.interruptions
    figure = unplanned_notices(received, drilled, len(scraped), source)
    return covered(figure, share_covered(scraped, world.now(), window))


def rate_figure(world: World, recent: float) -> Figure | None:
    """The rate of the day; its coverage is that of the last ``recent`` seconds: Karpenter may be younger than a day."""
    found = notices(world, DAY)
    if found is None:
        return None
    received, scraped = found
    ran = _spot_nodes_of_the_day(world) | {n.name for n in node_facts(world) if n.capacity == "spot"}
    source = f"{world.estate.metrics.interruptions} / distinct spot nodes"
    figure = interruption_rate(received, _drills_in(world, DAY, received), len(ran), source)
    return covered(figure, share_covered(scraped, world.now(), recent))


def _drills_in(world: World, seconds: float, received: int) -> int:
    """Drills of the last ``seconds``; never more than were received, for the last may not have been scraped yet."""
    return min(sum(at >= world.now() - seconds for at in drills(world).values()), received)


def _spot_nodes_of_the_day(world: World) -> set[str]:
    matchers = f'region="{world.target.region}",capacity_type="spot",resource_type="cpu"'
    series = f"karpenter_nodes_allocatable{{{matchers}}}[{DAY}s]"
    samples = world.prometheus.query(f"count by (node_name) (last_over_time({series}))")
    return {sample.labels["node_name"] for sample in samples}


# Drills ----------------------------------------------------------------------------------------------------------


def drills(world: World) -> dict[str, float]:
    """Unix seconds of each remembered drill by its id."""
    return {key: float(when) for key, when in (_drills(world).get("data") or {}).items()}


def _drills(world: World) -> Object:
    return world.cluster.get(CONFIG_MAP, DRILLS, world.estate.namespace) or {"metadata": {}}


def last_drill(world: World, of: str) -> tuple[str, dict[str, Any]] | None:
    """The last drill with its id, if it is the one ``of`` this name."""
    record = json.loads((_drills(world)["metadata"].get("annotations") or {}).get(RECORD, "{}"))
    return (record["drill"], record) if record.get("of") == of else None


def remember_drill(world: World, drill: str, record: Mapping[str, Any]) -> None:
    """Record a drill, so that its notice is never counted as an interruption; forget those older than a day.

    ``record``: ``at`` (Unix seconds), ``of`` (see :func:`last_drill`) and what taking the drill up again needs.
    """
    known = {key: when for key, when in drills(world).items() if when > record["at"] - DRILL_SECONDS}
    annotations = {RECORD: json.dumps({"drill": drill, **record}, sort_keys=True)}
    body = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": DRILLS, "namespace": world.estate.namespace, "annotations": annotations},
        "data": {key: str(when) for key, when in {**known, drill: record["at"]}.items()},
    }
    world.cluster.apply(body, world.manager)


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


def reacts(world: World, node: str) -> bool:
    """Whether a node that may have got its notice is on its way out, or gone; waits for it."""
    if world.cluster.get(NODE, node) is None:
        return True
    events = world.cluster.watch(NODE, REACTION_SECONDS, fields=f"metadata.name={node}")
    return not all(map(takes_more, events))


def takes_more(event: tuple[str, Object]) -> bool:
    """Whether a node of which a watch tells still takes pods."""
    kind, node = event
    taints = {taint["key"] for taint in node["spec"].get("taints") or []}
    return not (kind == "DELETED" or node["spec"].get("unschedulable") or "karpenter.sh/disrupted" in taints)
