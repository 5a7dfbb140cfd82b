"""What the consolidation lever looks at while nodes are packed: the spot share, and every state of the budgets."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from include.levers.consolidation import emptying, lever, rest, share
from include.levers.consolidation.budgets import BudgetWatch, violation_figure, violations
from include.levers.consolidation.reasons import why_not
from include.levers.consolidation.settings import ConsolidationSettings
from include.levers.consolidation.share import surpluses
from include.levers.node_costs import SPREAD, NodeFact
from include.levers.world import World as AnyWorld
from include.rollout.lever import Target
from tests.unit.levers.packing_world import NOW, World
from tests.unit.levers.spot_world import made_pod

WORKLOADS = {"akidb-rest": None, "akidb-grpc": None}


def node(domain: str, capacity: str = "spot") -> NodeFact:
    pool = "akidb-spot" if capacity == "spot" else "akidb-on-demand"
    return NodeFact(f"node-{domain}", "c7g.xlarge", "a", capacity, 4.0, None, pool, domain)


NODES = [node("d1"), node("d2"), node("d3"), node("d4", "on-demand")]


def pods(app: str, *counts: int) -> list[dict[str, Any]]:
    """So many pods of a workload in d1, d2, d3 and d4."""
    where = [f"node-d{n}" for n, count in enumerate(counts, 1) for _ in range(count)]
    return [made_pod(f"{app}-{n}", app, "akidb", name) for n, name in enumerate(where)]


@pytest.mark.parametrize(
    ("counts", "victim"),
    [
        ((2, 2, 3, 4), "akidb-rest-9"),  # two more than the emptiest: what follows goes elsewhere
        ((3, 3, 2, 3), None),  # one more: what follows could come back
        ((3, 3, 3, 2), None),
        ((0, 0, 0, 2), "akidb-rest-1"),  # domains without a pod count
        ((4, 2, 3, 2), None),  # the surplus is on spot
    ],
)
def test_a_surplus_pod_is_one_on_demand_that_will_not_come_back(counts: tuple[int, ...], victim: str | None) -> None:
    assert named(pods("akidb-rest", *counts)) == ([victim] if victim else [])


def named(mine: list[dict[str, Any]], every: bool = False) -> list[str]:
    """The surplus pods by name."""
    return [pod["metadata"]["name"] for pod in surpluses(WORKLOADS, mine, NODES, every).values()]


@pytest.mark.parametrize(
    ("counts", "victim"),
    [
        ((4, 2, 3, 2), "akidb-rest-3"),
        ((8, 6, 3, 3), "akidb-rest-7"),
        ((4, 2, 2, 4), "akidb-rest-9"),  # of two that are equally full the one on demand: spot is cheaper
        ((3, 3, 2, 3), None),
    ],
)
def test_domains_are_evened_out_on_spot_too_where_that_is_wanted(counts: tuple[int, ...], victim: str | None) -> None:
    assert named(pods("akidb-rest", *counts), every=True) == ([victim] if victim else [])


def test_one_pod_of_each_workload_and_the_largest_surplus_first() -> None:
    both = [*pods("akidb-rest", 2, 2, 3, 4), *pods("akidb-grpc", 1, 2, 3, 5)]
    assert named(both) == ["akidb-grpc-9", "akidb-rest-9"]


def test_a_pod_that_asks_to_stay_is_not_evicted() -> None:
    mine = pods("akidb-rest", 0, 0, 0, 2)
    for pod in mine:
        pod["metadata"]["annotations"] = {"karpenter.sh/do-not-disrupt": "true"}
    assert named(mine) == []


@pytest.mark.parametrize(
    ("stay", "most", "moved", "came_back"),
    [
        ((), 12, {"akidb-rest": 3, "akidb-grpc": 2}, 0),
        ((), 3, {"akidb-rest": 2, "akidb-grpc": 1}, 0),
        (("akidb-rest",), 12, {"akidb-rest": 1, "akidb-grpc": 2}, 1),  # the other goes on
        (("akidb-rest", "akidb-grpc"), 12, {"akidb-rest": 1, "akidb-grpc": 1}, 2),
    ],
)
def test_evicting_ends_for_a_workload_whose_pod_comes_back(
    stay: tuple[str, ...], most: int, moved: dict[str, int], came_back: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a Deployment has lost its spread nothing keeps its pods elsewhere: more evictions are for nothing."""
    mine = [*pods("akidb-rest", 1, 1, 1, 5), *pods("akidb-grpc", 1, 1, 1, 4)]
    together: list[int] = []

    def move(_: Any, names: list[str], __: str) -> None:
        together.append(len(names))
        for pod in [pod for pod in mine if pod["metadata"]["name"] in names]:
            app = pod["metadata"]["labels"]["app"]
            same = [other["spec"]["nodeName"] for other in mine if other["metadata"]["labels"]["app"] == app]
            pod["metadata"]["name"] += "-new"
            if app not in stay:
                pod["spec"]["nodeName"] = min((f"node-d{n}" for n in range(1, 5)), key=same.count)

    for name, value in {"workload_pods": lambda _: mine, "node_facts": lambda _: NODES, "move_pods": move}.items():
        monkeypatch.setattr(share, name, value)
    monkeypatch.setattr(share, "offered_domains", lambda _world, _every: ("d1", "d2", "d3", "d4"))
    settings = ConsolidationSettings(converge_timeout_seconds=300, most_share_evictions=most)
    world: Any = SimpleNamespace(estate=SimpleNamespace(workloads=WORKLOADS), settings=settings)
    found = share.restore_spread(world, every=True)
    evicted = [name.removesuffix("-new").rpartition("-")[0] for name in found["evicted_for_spread"]]
    assert {app: evicted.count(app) for app in moved} == moved
    assert len(found.get("came_back", ())) == came_back
    assert together[0] == 2


# Budgets -----------------------------------------------------------------------------------------------------------


def budget(healthy: int, desired: int = 8, name: str = "akidb-rest") -> dict[str, Any]:
    status = {"currentHealthy": healthy, "desiredHealthy": desired}
    return {"metadata": {"name": name, "namespace": "akidb"}, "status": status}


def test_a_violation_is_a_state_with_too_few_pods_that_lost_one() -> None:
    states = [budget(9), budget(8), budget(7), budget(7), budget(8)]
    lines = ["akidb/akidb-rest: 7 healthy pods, 8 asked for"]
    assert violations({"akidb/akidb-rest": 10}, states) == (lines, {"akidb/akidb-rest": 8})


def test_too_few_pods_while_a_workload_grows_are_no_violation() -> None:
    assert violations({"akidb/akidb-rest": 5}, [budget(5), budget(6), budget(7)])[0] == []


@pytest.fixture
def region() -> World:
    return World()


def typed(region: World) -> AnyWorld[ConsolidationSettings]:
    target: Target = region.target
    return AnyWorld(target, lambda: NOW + region.cluster.seconds, "akidb-consolidation")


def test_what_came_and_went_between_two_looks_is_seen(region: World) -> None:
    world = typed(region)
    watch = BudgetWatch.begin(world)
    live = region.cluster.objects["PodDisruptionBudget", "akidb", "akidb-rest"]
    for healthy in (7, 15):
        live["status"] = {"currentHealthy": healthy, "desiredHealthy": 11}
        region.cluster.api.notice()
    figure = violation_figure(world, watch.kept())
    assert figure is not None
    assert (figure.value, figure.coverage, figure.note) == (1, 1.0, "akidb/akidb-rest: 7 healthy pods, 11 asked for")


def test_what_the_api_server_has_forgotten_is_not_called_seen(region: World) -> None:
    world = typed(region)
    watch = BudgetWatch.begin(world)
    region.cluster.pass_time(100)
    region.cluster.api.oldest = region.cluster.api.version + 1
    figure = violation_figure(world, watch.kept())
    assert figure is not None
    assert (figure.value, figure.coverage) == (0, 0.0)
    assert figure.note == "the API server has forgotten part of it, and kube-state-metrics has no series of it"


def test_why_not_a_node_is_the_newest_reason_under_the_policy_of_now() -> None:
    def said(message: str, reason: str = "Unconsolidatable") -> dict[str, Any]:
        return {"about": "Node n1", "reason": reason, "message": message}

    old = said('NodePool "akidb-spot" has consolidation policy WhenEmpty, but node is not empty')
    found = [said("Can't replace with a cheaper node"), said("score 1.50", "ConsolidationApproved"), old]
    assert why_not(found, ["n1", "n2"]) == {"n1": "Can't replace with a cheaper node"}


def test_karpenter_is_made_to_look_again_once_every_node_may_be_packed() -> None:
    region = World()
    written: list[tuple[float, str, str]] = []
    apply = region.cluster.apply

    def watched(body: Any, *arguments: Any, **options: Any) -> Any:
        if body["kind"] == "NodePool":
            first = body["spec"]["disruption"]["budgets"][0]["reasons"][0]
            written.append((region.cluster.seconds, body["metadata"]["name"], first))
        return apply(body, *arguments, **options)

    region.cluster.apply = watched  # type: ignore[method-assign]
    region.lever.apply(region.target, region.lever.plan(region.target).stages[0])
    pools = ("akidb-spot", "akidb-on-demand")
    assert [(name, first) for _, name, first in written] == [
        *((name, "Empty") for name in pools),  # the stage itself
        *((name, "Drifted") for name in pools),  # the same budgets, turned round
        *((name, "Empty") for name in pools),
    ]
    begun, *_, again = (seconds for seconds, *_ in written)
    assert 30 <= again - begun < 32


@pytest.mark.parametrize(
    ("undisturbed", "gone_at", "rests_at"),
    [(None, None, 60), (15, None, 15), (15, 5, 65)],  # 30 s until a node may be packed, and 30 s for Karpenter to do it
)
def test_nodes_known_to_be_at_rest_are_believed_sooner_unless_one_goes(
    undisturbed: float | None, gone_at: int | None, rests_at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = SimpleNamespace(seconds=0)

    def on_its_way(world: object) -> tuple[list[str], list[str]]:
        return (["n1"] if gone_at is not None and clock.seconds >= gone_at else ["n1", "n2"]), []

    monkeypatch.setattr(rest, "on_its_way", on_its_way)
    settings = ConsolidationSettings(converge_timeout_seconds=300, consolidate_after_seconds=30)
    world: Any = SimpleNamespace(now=lambda: clock.seconds, settings=settings)
    waiting = rest.Rest(world, lambda: None, lambda: None, undisturbed)
    while waiting.missing():
        clock.seconds += 1
    assert clock.seconds == rests_at


@pytest.mark.parametrize("chosen", [{}, {"even_domains": False}])
def test_what_evening_out_costs_is_not_held_against_packing(
    chosen: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    region, asked, order = World(**chosen), list[bool](), list[str]()
    standings = iter(range(20))

    def restore(_: Any, every: bool) -> dict[str, Any]:
        asked.append(every)
        return {"evicted_for_spread": ["akidb-rest-3"]} if every else {}

    def settled(*_: Any) -> float:
        order.append("settled")
        return 0.0

    def standing(_: Any) -> dict[str, Any]:
        order.append("standing")
        return {"nodes": 9, "usd_hour": float(next(standings)), "cpu_requested": 1.0, "pods": 3}

    monkeypatch.setattr(lever, "restore_spread", restore)
    monkeypatch.setattr(lever, "await_settled", settled)
    monkeypatch.setattr(lever.figures, "standing", standing)
    applied = region.apply_all()
    # Nodes may still be on their way, also where a run that was killed has left no pod to move.
    assert order[:3] == ["standing", "settled", "standing"]
    first, second = applied["balanced"], applied["underutilized"]
    assert asked == [not chosen, False]
    assert (first.get("before_spread") is None) == bool(chosen)
    assert first["before"]["usd_hour"] == 1.0
    assert first.get("before_spread", {}).get("usd_hour") == (None if chosen else 0.0)
    assert "before_spread" not in second


def test_a_pod_that_may_move_is_asked_for_its_domains() -> None:
    region = World()
    tenants = emptying._read(AnyWorld(region.target, lambda: NOW, "m"))[1]
    assert {(tenant.skew, tenant.domains) for tenant in tenants} == {(1, 4)}


def asking(mine: list[dict[str, Any]], least: int) -> list[dict[str, Any]]:
    """The pods, spread over at least so many domains."""
    spread = {"topologyKey": SPREAD, "whenUnsatisfiable": "DoNotSchedule", "maxSkew": 1, "minDomains": least}
    for pod in mine:
        pod["spec"]["topologySpreadConstraints"] = [spread]
    return mine


@pytest.mark.parametrize(
    ("counts", "least", "offered", "victim"),
    [
        ((3, 3, 3), 4, ("d1", "d2", "d3", "d4"), ["akidb-rest-8"]),  # d4 has no node: what follows waits for one
        ((1, 1, 1), 4, ("d1", "d2", "d3", "d4"), []),  # what follows could come back
        ((3, 3, 3), 3, ("d1", "d2", "d3", "d4"), []),  # nobody asks for a fourth
        ((3, 3, 3), 4, ("d1", "d2", "d3"), []),  # no pool offers one
        ((3, 2, 3), 1, ("d1", "d2", "d3", "d4"), []),  # nor for any number
    ],
)
def test_a_domain_without_a_node_counts_where_the_pods_ask_for_it_and_a_pool_offers_it(
    counts: tuple[int, ...], least: int, offered: tuple[str, ...], victim: list[str]
) -> None:
    mine = asking(pods("akidb-rest", *counts), least)
    found = surpluses(WORKLOADS, mine, NODES[:3], every=True, offered=offered)
    assert [pod["metadata"]["name"] for pod in found.values()] == victim
