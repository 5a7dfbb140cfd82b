"""The drills on a region in memory: what they take away, what they see, and that all of it comes back."""

from __future__ import annotations

from typing import Any

import pytest

from include.rollout.gates import Comparison
from include.rollout.lever import Refused
from tests.unit.levers.game_world import World, pool
from tests.unit.levers.spot_rolled_out import rolled_out
from tests.unit.levers.spot_world import REGION

REFUSED = (
    "ap-northeast-1: game days are refused in the estate akidb (governance.game_days is refused): drill in the lab, or "
    "set it to allowed in the file of an estate that is not production"
)


def restored(world: World, snapshot: Any) -> list[str]:
    found = world.lever.rollback(world.target, snapshot)
    assert found.changed_by_others == ()
    assert world.lever.verify_restored(world.target, snapshot) == []
    return list(found.steps)


def test_production_is_refused_by_name_and_nothing_is_written() -> None:
    world = World({"game_days": "refused"})
    failed = [check for check in world.lever.preflight(world.target) if not check.passed]
    assert [(check.name, check.reason) for check in failed] == [("game days", REFUSED)]
    with pytest.raises(Refused) as caught:
        world.lever.plan(world.target)
    assert str(caught.value) == REFUSED
    assert world.writes == []


def test_an_estate_that_became_production_after_the_plan_is_refused_before_the_first_write() -> None:
    allowed = World()
    (stage,) = allowed.lever.plan(allowed.target).stages
    world = World({"game_days": "refused"})
    with pytest.raises(Refused, match="game days are refused"):
        world.lever.apply(world.target, stage)
    assert world.writes == []


def test_a_forecast_outage_takes_the_predictors_pods_and_gives_replicas_and_owner_back() -> None:
    world = World(drill="forecast-outage")
    before = world.cluster.state()
    figures, snapshot = world.drill()
    assert world.replicas("traffic-predictor") == 0
    assert (figures["drill"], figures["least_ready_share"], figures["recovered_seconds"]) == (
        "forecast-outage",
        1.0,
        0.0,
    )
    assert figures["timeline"][0] == {
        "at": 0.0, "nodes": 5, "spot_nodes": 0, "ready": 30, "wanted": 30, "waiting": 0, "missing": [],
    }  # fmt: skip
    assert restored(world, snapshot) == ["Deployment akidb/traffic-predictor set back"]
    assert world.cluster.state() == before


def test_the_plan_shows_what_is_taken_the_hypothesis_and_the_stop_condition() -> None:
    world = World(drill="forecast-outage")
    plan = world.lever.plan(world.target)
    assert [str(difference) for difference in plan.differences] == [
        "Deployment akidb/traffic-predictor spec.replicas: 2 -> 0"
    ]
    assert plan.notes == (
        "Hypothesis: Scaling goes on by requests alone, and no pod is taken away for want of a forecast.",
        "Stop condition: fewer than 50% of the pods are ready",
        "Whatever it changes is set back at its end, and by rollback when it is cut short",
    )
    (stage,) = plan.stages
    assert stage.title == "drill forecast-outage for 60 s"
    assert [(gate.name, gate.comparison, gate.threshold) for gate in stage.gates] == [
        ("least_ready_share", Comparison.AT_LEAST, 0.75),
        ("recovered_seconds", Comparison.AT_MOST, 120),
        ("error_ratio", Comparison.BELOW, 0.005),
        ("availability", Comparison.AT_LEAST, 0.9999),
    ]


def test_a_drill_that_can_not_be_done_here_is_refused_with_the_remedy() -> None:
    world = World(drill="forecast-outage")
    del world.cluster.objects["Deployment", "akidb", "traffic-predictor"]
    with pytest.raises(Refused) as caught:
        world.lever.plan(world.target)
    assert str(caught.value) == (
        "ap-northeast-1: forecast-outage: Deployment akidb/traffic-predictor does not exist; roll out "
        "predictive_scaling first"
    )
    failed = [check for check in world.lever.preflight(world.target) if not check.passed]
    assert [(check.name, check.remedy) for check in failed] == [
        ("drill forecast-outage", "roll out predictive_scaling first")
    ]


def test_a_metrics_outage_takes_prometheus_and_asks_no_metric_of_its_gates() -> None:
    world = World(drill="metrics-outage")
    before = world.cluster.state()
    figures, snapshot = world.drill()
    assert world.replicas("prometheus-server", "monitoring") == 0
    assert world.judged(figures) == {"least_ready_share": 1.0, "recovered_seconds": 0.0}
    restored(world, snapshot)
    assert world.cluster.state() == before


def test_where_prometheus_is_no_deployment_the_estates_hook_takes_it_and_brings_it_back() -> None:
    world = World({"game_day_hook": "game_day_hook"}, drill="metrics-outage")
    _, snapshot = world.drill()
    assert world.hook.out == {"prometheus"}
    assert restored(world, snapshot) == ["Outage prometheus is back"]
    assert world.hook.asked == ["begin prometheus", "end prometheus"]
    assert restored(world, snapshot) == ["nothing was written, nothing is to be undone"]


def test_a_lost_zone_is_cordoned_and_emptied_by_evictions_and_takes_pods_again() -> None:
    world = World(drill="zone-loss", zone="ap-northeast-1b")
    world.with_zones()
    before = world.cluster.state()
    figures, snapshot = world.drill()
    nodes = [n for n in world.cluster.group_nodes() if n["spec"].get("unschedulable")]
    assert sorted(n["metadata"]["name"] for n in nodes) == ["i-4", "i-5"]
    assert figures["recovered_seconds"] is not None
    assert world.judged(figures)["least_ready_share"] == figures["least_ready_share"]
    assert restored(world, snapshot) == ["Node i-5 takes pods again", "Node i-4 takes pods again"]
    assert not any(n["spec"].get("unschedulable") for n in world.cluster.group_nodes())
    assert world.cluster.state() == before


def test_a_cordon_of_somebody_else_stays_theirs() -> None:
    world = World(drill="zone-loss", zone="ap-northeast-1b")
    world.with_zones()
    world.cluster.group_nodes()[-1]["spec"]["unschedulable"] = True
    world.cluster.settle()
    assert [str(found) for found in world.lever.plan(world.target).differences] == ["Node i-4 cordon: none -> ours"]
    _, snapshot = world.drill()
    assert restored(world, snapshot) == ["Node i-4 takes pods again"]
    assert [n["metadata"]["name"] for n in world.cluster.group_nodes() if n["spec"].get("unschedulable")] == ["i-5"]


def test_a_zone_that_is_the_only_one_or_has_no_node_is_refused() -> None:
    world = World(drill="zone-loss")
    with pytest.raises(Refused, match="ap-northeast-1a is the only zone that has nodes; drill where there are"):
        world.lever.plan(world.target)
    with pytest.raises(Refused, match="zone moon has no node; name a zone of the region in zone"):
        world.lever.plan(world.choose(drill="zone-loss", zone="moon"))


def test_the_stop_condition_ends_a_drill_at_once_and_what_stands_is_set_back() -> None:
    world = World(drill="zone-loss", zone="ap-northeast-1a", stop_ready_share=0.9)
    world.with_zones()
    world.cluster.objects["Deployment", "akidb", "akidb-rest"]["spec"]["replicas"] = 15
    world.cluster.settle()
    snapshot = world.lever.snapshot(world.target)
    (stage,) = world.lever.plan(world.target).stages
    with pytest.raises(Refused, match=r"^ap-northeast-1: zone-loss: stop condition met \d+ s after the drill began: "):
        world.lever.apply(world.target, stage)
    assert len(restored(world, snapshot)) == 3


def storm_world(**chosen: Any) -> World:
    """A region in which the spot lever stands."""
    spot, _ = rolled_out()
    world = World(drill="spot-storm", **chosen)
    for thing in spot.cluster.objects.values():
        world.cluster.put(thing)
    for key in [key for key in world.cluster.objects if key not in spot.cluster.objects and key[0] in ("Node", "Pod")]:
        del world.cluster.objects[key]
    world.aws.instances, world.aws.queue, world.aws.notices = spot.aws.instances, spot.aws.queue, []
    world.cluster.settle()
    world.writes.clear()
    return world


def test_a_storm_sends_each_node_one_notice_that_the_diary_knows() -> None:
    world = storm_world(storm_share=0.5)
    figures, snapshot = world.drill()
    assert len(world.aws.notices) == len({n["detail"]["instance-id"] for n in world.aws.notices}) == 3
    diary = world.cluster.objects["ConfigMap", "akidb", "akidb-interruption-drills"]
    assert {n["id"] for n in world.aws.notices} <= set(diary["data"])
    assert (figures["drill"], figures["last_strike_seconds"] > 0) == ("spot-storm", True)
    assert restored(world, snapshot) == ["nothing was written, nothing is to be undone"]


def test_a_storm_that_was_cut_short_sends_no_node_a_second_notice() -> None:
    world = storm_world(storm_share=0.5)
    (stage,) = world.lever.plan(world.target).stages
    world.lever.apply(world.target, stage)
    world.lever.apply(world.target, stage)
    assert world.writes.count("send notice") == 3


def test_without_a_spot_node_there_is_no_storm() -> None:
    world = World(drill="spot-storm")
    with pytest.raises(Refused, match="spot-storm: there is no spot node of a NodePool; roll out spot_capacity first"):
        world.lever.plan(world.target)


def test_a_price_history_that_can_not_be_read_is_refused_by_name() -> None:
    world = World(drill="spot-storm", price_history="/nowhere/prices.csv")
    with pytest.raises(Refused, match=r"spot-storm: price_history /nowhere/prices\.csv: FileNotFoundError: "):
        world.lever.plan(world.target)
    assert world.lever.rollback(world.target, {"objects": []}).steps == (
        "nothing was written, nothing is to be undone",
    )


def test_a_cap_goes_although_karpenter_is_gone_by_then() -> None:
    world = World(drill="cost-spike")
    pool(world)
    _, snapshot = world.drill()
    del world.cluster.objects["NodePool", "", "akidb-spot"]
    world.cluster.settle = lambda: None  # type: ignore[method-assign]
    world.cluster.unserved = {"nodepools"}
    found = world.lever.rollback(world.target, snapshot)
    assert found.steps == ("Deployment akidb/akidb-game-day-load deleted",)
    assert ("Deployment", "akidb", "akidb-game-day-load") not in world.cluster.objects


def test_the_guards_cap_holds_a_load_that_asks_for_more_and_both_go_again() -> None:
    world = World(drill="cost-spike")
    pool(world)
    before = world.cluster.state("NodePool")
    plan = world.lever.plan(world.target)
    assert [str(found) for found in plan.differences] == [
        "NodePool akidb-spot spec.limits.cpu: 200 -> 18",
        "Deployment akidb/akidb-game-day-load: absent -> created",
    ]
    figures, snapshot = world.drill()
    assert figures["measured_max"] == 16.0
    assert world.replicas("akidb-game-day-load") == 10
    assert world.judged(figures)["over_the_cap"] == 0.0
    assert restored(world, snapshot) == [
        "Deployment akidb/akidb-game-day-load deleted",
        "NodePool akidb-spot set back",
    ]
    assert world.cluster.state("NodePool") == before
    assert world.cluster.objects["NodePool", "", "akidb-spot"]["spec"]["limits"] == {"cpu": "200", "memory": "400Gi"}


def test_a_pool_that_the_guard_has_no_cap_for_is_refused() -> None:
    world = World(drill="cost-spike", spike_pool="nobody")
    with pytest.raises(Refused, match="the guard has no cap for nobody; name a NodePool that has nodes in spike_pool"):
        world.lever.plan(world.target)


def test_a_drill_begins_only_where_all_is_well() -> None:
    world = World(drill="forecast-outage")
    world.cluster.objects["Deployment", "akidb", "akidb-rest"]["spec"]["replicas"] = 20
    world.cluster.settle()
    failed = [check for check in world.lever.preflight(world.target) if not check.passed]
    assert [(check.name, check.reason) for check in failed] == [("pods", "30 of 35 pods are ready, 5 wait for a node")]
    assert world.target.region == REGION
