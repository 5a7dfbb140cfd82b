"""Waiting until Karpenter's nodes have come to rest: none on its way in or out for as long as a move takes to begin.

Karpenter leaves a node alone for a while that it expects pods on, calls the cluster packed meanwhile, and looks again
only when a node, a pod or a pool changes, or after five minutes: so pools are changed, and changed back, once it may.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from include.levers.consolidation.settings import FLOOR, POOLS, UNDERUTILIZED, UNDISTURBED_SECONDS, World
from include.levers.consolidation.wanted import PoolPolicy, disruption
from include.levers.nodes.pools import claims_of, unsettled
from include.levers.pods import incomplete, waiting, workload_pods
from include.levers.world import Object, condition, deployments, name_of


class Rest:
    """What keeps the nodes from being at rest, asked again and again. ``meanwhile`` is called with every look,
    ``look_again`` once between two changes, as soon as Karpenter may move every pod.

    Where nodes are known to have been at rest, ``undisturbed`` is how long in seconds they have to be without a change
    now; once one is seen it takes as long as elsewhere.
    """

    def __init__(
        self,
        world: World,
        meanwhile: Callable[[], None],
        look_again: Callable[[], None],
        undisturbed: float | None = None,
    ) -> None:
        self._world, self._meanwhile, self._look_again = world, meanwhile, look_again
        self._wanted = world.settings.quiet_seconds if undisturbed is None else undisturbed
        self._claims: list[str] | None = None
        self._since, self._looked = world.now(), False

    def missing(self) -> list[str]:
        """What is on its way, or how long nothing has been; pods without a node or not ready."""
        self._meanwhile()
        names, moving, now = *on_its_way(self._world), self._world.now()
        if moving or names != self._claims:
            if moving or self._claims is not None:
                self._wanted = self._world.settings.quiet_seconds
            self._claims, self._since, self._looked = names, now, False
        return [*moving, *self._too_early(now)]

    def _too_early(self, now: float) -> Sequence[str]:
        quiet, wanted = now - self._since, self._wanted
        if not self._looked and quiet >= self._world.settings.movable_after_seconds:
            self._looked = True
            self._look_again()
        text = f"{len(self._claims or ())} nodes, the last change {quiet:.0f} s ago: at rest after {wanted:.0f} s"
        return [] if quiet >= wanted else [text]


def on_its_way(world: World) -> tuple[list[str], list[str]]:
    """The names of the pools' NodeClaims, and what is on its way: nodes, and pods without one or not ready."""
    claims = claims_of(world, POOLS.names)
    pods = [*incomplete(deployments(world)), *waiting(workload_pods(world))]
    return sorted(map(name_of, claims)), [*unsettled(claims), *disrupted(claims), *pods]


def disrupted(claims: Iterable[Object]) -> list[str]:
    """NodeClaims that Karpenter has begun to disrupt, one line each."""
    found = [(claim, condition(claim, "DisruptionReason")) for claim in claims]
    return [f"NodeClaim {name_of(claim)} is being disrupted" for claim, status in found if status == "True"]


def look_again(world: World, slot: str) -> None:
    """Have Karpenter look at all nodes anew: the pools' budgets are turned round, which changes nothing, and back."""
    policies = disruption(slot, world.settings)
    for policy in (*map(_turned_round, policies), *policies):
        policy.write(world)


def _turned_round(policy: PoolPolicy) -> PoolPolicy:
    body = copy.deepcopy(policy.body)
    body["spec"]["disruption"]["budgets"].reverse()
    return replace(policy, body=body)


def await_rest(world: World, slot: str, meanwhile: Callable[[], None]) -> float:
    """Wait until the nodes are at rest; returns seconds. Raises NotConverged with what is on its way."""
    policy = UNDERUTILIZED if slot == FLOOR else slot
    # The floor's pods come and go on nodes that Karpenter doesn't manage; its own were at rest before.
    undisturbed = UNDISTURBED_SECONDS if slot == FLOOR else None
    rest = Rest(world, meanwhile, lambda: look_again(world, policy), undisturbed)
    return world.wait_for(rest.missing, f"the nodes being at rest ({slot})")


def await_settled(world: World, meanwhile: Callable[[], None]) -> float:
    """Wait until nothing is on its way, which Karpenter may change the next moment; returns seconds."""

    def missing() -> list[str]:
        meanwhile()
        return on_its_way(world)[1]

    return world.wait_for(missing, "every node and pod having arrived")
