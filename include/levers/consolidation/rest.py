"""Waiting until Karpenter's nodes have come to rest: none on its way in or out for as long as a move takes to begin."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from include.levers.consolidation.settings import POOLS, World
from include.levers.nodes.pools import claims_of, unsettled
from include.levers.pods import incomplete, waiting, workload_pods
from include.levers.world import Object, condition, deployments, name_of


class Rest:
    """What keeps the nodes from being at rest, asked again and again. ``meanwhile`` is called with every look."""

    def __init__(self, world: World, meanwhile: Callable[[], None]) -> None:
        self._world, self._meanwhile = world, meanwhile
        self._claims: list[str] | None = None
        self._since = world.now()

    def missing(self) -> list[str]:
        """What is on its way, or how long nothing has been; pods without a node or not ready."""
        self._meanwhile()
        claims, now = claims_of(self._world, POOLS.names), self._world.now()
        moving, names = [*unsettled(claims), *disrupted(claims)], sorted(map(name_of, claims))
        if moving or names != self._claims:
            self._claims, self._since = names, now
        pods = [*incomplete(deployments(self._world)), *waiting(workload_pods(self._world))]
        return [*moving, *pods, *self._too_early(now)]

    def _too_early(self, now: float) -> Sequence[str]:
        quiet, wanted = now - self._since, self._world.settings.quiet_seconds
        text = f"{len(self._claims or ())} nodes, the last change {quiet:.0f} s ago: at rest after {wanted:.0f} s"
        return [] if quiet >= wanted else [text]


def disrupted(claims: Iterable[Object]) -> list[str]:
    """NodeClaims that Karpenter has begun to disrupt, one line each."""
    found = [(claim, condition(claim, "DisruptionReason")) for claim in claims]
    return [f"NodeClaim {name_of(claim)} is being disrupted" for claim, status in found if status == "True"]


def await_rest(world: World, meanwhile: Callable[[], None], what: str) -> float:
    """Wait until the nodes are at rest; returns seconds. Raises NotConverged with what is on its way."""
    return world.wait_for(Rest(world, meanwhile).missing, what)
