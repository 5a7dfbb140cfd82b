"""Why this node, and why not that one: Karpenter's own events, in its words and with its dollars."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from include.clients.kubernetes import EVENT, NODE
from include.levers.consolidation.settings import POOLS, World
from include.levers.nodes.scheduling import NODE_POOL, labels_of
from include.levers.pods import unix
from include.levers.world import Object, name_of, readable

DECISIONS = (
    "ConsolidationCandidate",
    "ConsolidationApproved",
    "ConsolidationRejected",
    "Unconsolidatable",
    "DisruptionBlocked",
    "DisruptionTerminating",
)
AGAINST = ("ConsolidationRejected", "Unconsolidatable", "DisruptionBlocked")
OLD_POLICY = "has consolidation policy WhenEmpty"
MOST_KEPT = 40  # decisions of one stage in the ledger, the newest
MOST_CHARACTERS = 240  # of one message
EVENTS_NAMESPACE = "default"  # where events of what has no namespace are kept
_SAVINGS = re.compile(r"\(savings: \$(-?[\d.]+)\)")


def decisions(events: Iterable[Object], since: float) -> list[dict[str, Any]]:
    """Karpenter's decisions on nodes and pools after ``since`` (Unix seconds), the oldest first.

    Each is ``{at, reason, about, message, times}``, and ``usd_hour`` where Karpenter says what it would save: dollars
    an hour, rounded to a cent.
    """
    found = [_decision(event) for event in events if _is_decision(event)]
    return sorted((one for one in found if one["at"] >= since), key=lambda one: (one["at"], one["about"]))


def _is_decision(event: Object) -> bool:
    # The NodeClaim gets the same event as its Node.
    return event.get("reason") in DECISIONS and event["involvedObject"].get("kind") != "NodeClaim"


def _decision(event: Object) -> dict[str, Any]:
    message = str(event.get("message", ""))
    found = _SAVINGS.search(message)
    about = f"{event['involvedObject'].get('kind')} {event['involvedObject'].get('name')}"
    times = int(event.get("count") or (event.get("series") or {}).get("count") or 1)
    at = event.get("lastTimestamp") or event.get("eventTime") or event["metadata"]["creationTimestamp"]
    made = {"at": unix(at), "reason": event["reason"], "about": about, "message": message[:MOST_CHARACTERS]}
    return made | {"times": times} | ({"usd_hour": float(found[1])} if found else {})


def why_not(found: Sequence[Mapping[str, Any]], nodes: Iterable[str]) -> dict[str, str]:
    """The newest reason against each of ``nodes`` that still stands.

    Karpenter gives a node one such reason in 15 minutes. That the policy was WhenEmpty is none any more.
    """
    said = (one for one in found if one["reason"] in AGAINST and OLD_POLICY not in one["message"])
    against = {one["about"].removeprefix("Node "): one["message"] for one in said}
    return {node: against[node] for node in sorted(nodes) if node in against}


def decision_figures(world: World, since: float) -> dict[str, Any]:
    """The decisions of a stage for the ledger, at most ``MOST_KEPT``: how many of each, and why not each node.

    Without the right to read events it says so and nothing else: they are evidence, no gate.
    """
    events = readable(lambda: world.cluster.list(EVENT, EVENTS_NAMESPACE))
    if events is None:
        return {"decisions_unknown": f"the role may not list events in {EVENTS_NAMESPACE}"}
    found, every = decisions(events, since), decisions(events, 0.0)
    nodes = [name_of(n) for n in world.cluster.list(NODE) if labels_of(n).get(NODE_POOL) in POOLS.names]
    counts = dict(sorted(Counter(one["reason"] for one in found).items()))
    return {"decisions": found[-MOST_KEPT:], "decisions_counted": counts, "why_not": why_not(every, nodes)}
