"""What the lever owns: how Karpenter may disrupt the nodes of the spot lever's pools."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from include.levers.consolidation.settings import POLICIES, POOLS, ConsolidationSettings, World
from include.levers.manifests import render
from include.levers.owned import Holds, Item, Own, Report, read_key
from include.rollout.lever import Difference, Json


@dataclass(frozen=True)
class PoolPolicy(Item):
    """``spec.disruption`` of a pool, as :class:`include.levers.owned.Thing`.

    The pools are the spot lever's: one that is gone has taken its policy along, and there is nothing to go back to.
    """

    def restore(self, world: World, was: Json, report: Report, held: Holds | None = None) -> str | None:
        """See :class:`include.levers.owned.Thing`."""
        return None if read_key(world, self.key) is None else super().restore(world, was, report, held)

    def unrestored(self, world: World, was: Json) -> Sequence[Difference]:
        """See :class:`include.levers.owned.Thing`."""
        return () if read_key(world, self.key) is None else super().unrestored(world, was)


def disruption(slot: str, settings: ConsolidationSettings) -> Sequence[PoolPolicy]:
    """``spec.disruption`` of each pool as the slot wants it, taken over from who owns it."""
    values = {
        "POLICY": POLICIES[slot],
        "CONSOLIDATE_AFTER": f"{settings.consolidate_after_seconds}s",
        "EMPTY": settings.empty_nodes,
        "UNDERUTILIZED": settings.underutilized_nodes,
        "DRIFTED": settings.drifted_nodes,
    }
    bodies = (render("consolidation/disruption.yaml", {"NAME": name, **values})[0] for name in POOLS.names)
    return [PoolPolicy(body, Own.FIELDS) for body in bodies]
