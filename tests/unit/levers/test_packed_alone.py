"""A pool that costs more than it has to is packed while the others stand still, and every budget comes back."""

from __future__ import annotations

import json
from typing import Any, ClassVar

import pytest

from include.levers.consolidation.alone import allowed, at_once, dear_pools
from include.rollout.lever import NotConverged
from tests.unit.levers.packing_world import PackingCluster, World

ON_DEMAND, SPOT = "akidb-on-demand", "akidb-spot"
TYPE = "node.kubernetes.io/instance-type"
ALLOCATABLE = {"m6g.xlarge": "3920m", "c6g.2xlarge": "7910m"}
PAIR = ["d4-akidb-on-demand-1", "d4-akidb-on-demand-2"]


class Pairs(PackingCluster):
    """Two nodes on demand are put on one only where no other pool's may go, and both of these may."""

    merges: ClassVar[bool] = True

    def budget(self, pool: str) -> str:
        """How many underutilized nodes of a pool may go."""
        budgets = self.objects["NodePool", "", pool]["spec"]["disruption"]["budgets"]
        return next(str(one["nodes"]) for one in budgets if "Underutilized" in one["reasons"])

    def nodes_of(self, domain: str) -> list[str]:
        found = super().nodes_of(domain)
        if not set(PAIR) <= set(found):
            return found
        for name in PAIR:
            self._is(name, "m6g.xlarge")
        if self.merges and (self.budget(ON_DEMAND), self.budget(SPOT)) == ("3", "0"):
            self._is(PAIR[0], "c6g.2xlarge")
            del self.objects["Node", "", PAIR[1]], self.objects["NodeClaim", "", PAIR[1]]
            return PAIR[:1]
        return found

    def _is(self, name: str, kind: str) -> None:
        node = self.objects["Node", "", name]
        node["metadata"]["labels"][TYPE] = kind
        node["status"]["allocatable"] = {"cpu": ALLOCATABLE[kind], "memory": "14Gi", "pods": "58"}

    def _launch(self, domain: str, pool: str) -> None:
        self.packs = pool == SPOT
        super()._launch(domain, pool)


def budgets(world: World) -> dict[str, str]:
    """What is let go of each pool."""
    assert isinstance(world.cluster, Pairs)
    return {name: world.cluster.budget(name) for name in (SPOT, ON_DEMAND)}


def packed(**chosen: Any) -> tuple[World, dict[str, Any]]:
    """A region whose two nodes on demand were left by the policy, after the slot that packs fully."""
    world = World(cluster=Pairs, **{"most_emptied_nodes": 0} | chosen)
    return world, world.lever.apply(world.target, world.stage("underutilized"))


def test_two_nodes_on_demand_become_one_and_the_budgets_come_back() -> None:
    world, applied = packed()
    assert applied["packed_alone"] == [
        "akidb-on-demand: 2 nodes for 0.3912 USD/h where 0.3454 would do; after a look at it alone 1 nodes for "
        "0.3454 USD/h"
    ]
    assert budgets(world) == {SPOT: "34%", ON_DEMAND: "34%"}
    assert dear_pools(world.lever.world(world.target)) == []
    assert applied["nodes"] == 9


def test_a_look_that_changes_nothing_takes_no_second_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    world, quick = packed(expected_packing=2)
    seconds = world.cluster.seconds
    assert quick["packed_alone"] == []
    monkeypatch.setattr(Pairs, "merges", False)
    other, applied = packed()
    assert len(applied["packed_alone"]) == 1
    assert 30 <= other.cluster.seconds - seconds <= 32
    assert budgets(other) == {SPOT: "34%", ON_DEMAND: "34%"}


def test_no_node_goes_alone_where_the_budgets_allow_none() -> None:
    world, applied = packed(underutilized_nodes="0")
    assert at_once(world.lever.world(world.target)) == 0
    assert applied["packed_alone"] == []


def test_a_run_that_ends_in_between_is_set_back_from_the_ledger_and_tried_again() -> None:
    world = World(cluster=Pairs, most_emptied_nodes=0)
    snapshot = json.loads(json.dumps(world.lever.snapshot(world.target)))
    before = {name: world.pool(name)["spec"]["disruption"] for name in (SPOT, ON_DEMAND)}
    stage, write = world.stage("underutilized"), world.cluster.apply

    def killed(body: dict[str, Any], *arguments: Any, **options: Any) -> Any:
        write(body, *arguments, **options)
        if body["kind"] == "NodePool" and budgets(world)[SPOT] == "0" and not options.get("dry_run"):
            raise NotConverged("killed")

    world.cluster.apply = killed  # type: ignore[method-assign, assignment]
    with pytest.raises(NotConverged, match="killed"):
        world.lever.apply(world.target, stage)
    assert budgets(world)[SPOT] == "0"
    world.cluster.apply = write  # type: ignore[method-assign]
    assert world.lever.rollback(world.target, snapshot).changed_by_others == ()
    assert world.lever.verify_restored(world.target, snapshot) == []
    assert {name: world.pool(name)["spec"]["disruption"] for name in (SPOT, ON_DEMAND)} == before
    world.lever.apply(world.target, stage)
    assert budgets(world) == {SPOT: "34%", ON_DEMAND: "34%"}


@pytest.mark.parametrize(
    ("budget", "nodes", "most"), [("34%", 2, 1), ("34%", 3, 2), ("34%", 7, 3), ("100%", 4, 4), ("0", 4, 0), ("9", 4, 4)]
)
def test_a_budget_lets_go_as_many_as_karpenter_counts(budget: str, nodes: int, most: int) -> None:
    assert allowed(budget, nodes) == most
