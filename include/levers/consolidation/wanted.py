"""What the lever owns: how Karpenter may disrupt the nodes of the spot lever's pools."""

from __future__ import annotations

from collections.abc import Sequence

from include.levers.consolidation.settings import POLICIES, POOLS, ConsolidationSettings
from include.levers.manifests import render
from include.levers.owned import Item, Own


def disruption(slot: str, settings: ConsolidationSettings) -> Sequence[Item]:
    """``spec.disruption`` of each pool as the slot wants it, taken over from who owns it."""
    values = {
        "POLICY": POLICIES[slot],
        "CONSOLIDATE_AFTER": f"{settings.consolidate_after_seconds}s",
        "EMPTY": settings.empty_nodes,
        "UNDERUTILIZED": settings.underutilized_nodes,
        "DRIFTED": settings.drifted_nodes,
    }
    bodies = (render("consolidation/disruption.yaml", {"NAME": name, **values})[0] for name in POOLS.names)
    return [Item(body, Own.FIELDS) for body in bodies]
