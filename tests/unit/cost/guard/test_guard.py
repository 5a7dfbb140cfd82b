"""The cost guard: what is a spike, what drives it, and a cap that never takes capacity away."""

from __future__ import annotations

import copy
import dataclasses
import datetime as dt
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from include.cost.guard.cap import limit_owners, read_situation, waiting_cpu
from include.cost.guard.decisions import (
    CAP,
    MANAGER,
    NORMAL,
    ROLLBACK,
    SPIKE,
    UNKNOWN,
    Group,
    Situation,
    SpendDriver,
    against_history,
    floor_of,
    name_driver,
    remedy,
    same_hour,
    shape_of,
)
from include.cost.guard.look import GuardClients, Look, look
from include.cost.table.days import Window
from include.estate import load_estate
from include.prices import load_aws_book
from tests.unit.cost.validation_world import DAY, PRICES, FakePrometheus, Node, Table, at, estate_day, live_nodes

ESTATE = load_estate()
BOOK = load_aws_book()
MONDAY = dt.date(2026, 11, 16)
NOON = at(MONDAY, 12)
REGIONS = tuple(ESTATE.regions)


def past(weekday: str, weekend: str, days: int = 14) -> dict[dt.datetime, Decimal]:
    moments = (NOON - n * dt.timedelta(hours=1) for n in range(1, days * 24 + 1))
    return {when: Decimal(weekday if when.weekday() < 5 else weekend) for when in moments}


# --- History ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("now", "verdict"),
    [("3", NORMAL), ("3.01", SPIKE), ("2", NORMAL), ("0", NORMAL)],
)
def test_a_spike_is_above_the_ratio_of_the_median(now: str, verdict: str) -> None:
    check = against_history(Decimal(now), past("2", "1"), NOON, 1.5)
    assert (check.verdict, check.median, check.deviation, check.days) == (verdict, 2, 0, 10)


def test_a_spike_is_also_three_deviations_away() -> None:
    check = against_history(Decimal(4), {w: Decimal(1 + 2 * (w.day % 2)) for w in past("1", "1")}, NOON, 1.5)
    assert (check.median, check.deviation, check.verdict) == (2, 1, NORMAL)  # 4 > 3, but not > 2 + 3 x 1
    high = against_history(Decimal("5.01"), {w: Decimal(1 + 2 * (w.day % 2)) for w in past("1", "1")}, NOON, 1.5)
    assert high.verdict == SPIKE


def test_fewer_than_seven_days_are_unknown() -> None:
    check = against_history(Decimal(99), past("2", "1", days=6), NOON, 1.5)
    assert (check.verdict, check.median, check.text) == (UNKNOWN, None, "unknown: 6 of 7 days of history at this hour")


def test_a_weekend_day_with_few_of_its_kind_is_compared_with_all_days() -> None:
    saturday = at(MONDAY - 2 * DAY, 12)
    moments = {saturday - n * dt.timedelta(hours=1): Decimal(1) for n in range(1, 14 * 24 + 1)}
    values, kind = same_hour(moments, saturday)
    assert (len(values), kind) == (14, "all days at 12 h")


def test_the_shape_is_this_hours_share_of_the_mean() -> None:
    moments = {when: Decimal(3 if 9 <= when.hour < 18 else 1) for when in past("1", "1")}
    factor, text = shape_of(moments, NOON)
    assert factor == Decimal(3) / (Decimal(9 * 3 + 15) / 24)
    assert text == "x 1.714 for weekdays at 12 h"
    assert shape_of({}, NOON) == (1, "flat over the day: too little history for a shape")


# --- Driver -----------------------------------------------------------------------------------------------------------


def group(owner: str, nodes: int, usd: str, region: str = "us-east-1", capacity: str = "spot") -> Group:
    return Group(region, owner, "c7g.2xlarge", capacity, Decimal(nodes), Decimal(usd))


def test_the_driver_is_what_costs_most_more() -> None:
    before = [group("spot", 5, "0.5"), group("on-demand", 2, "0.58", capacity="on_demand")]
    now = [group("spot", 9, "0.9"), group("on-demand", 4, "1.16", capacity="on_demand")]
    replicas = {("us-east-1", "akidb-rest"): 15, ("us-east-1", "akidb-grpc"): 15}
    grown = {("us-east-1", "akidb-rest"): 40, ("us-east-1", "akidb-grpc"): 20, ("eu-central-1", "akidb-rest"): 90}
    driver = name_driver(before, now, replicas, grown)
    assert driver == SpendDriver(
        "us-east-1", "on-demand", "c7g.2xlarge", "on_demand", Decimal("0.58"), Decimal(2), "akidb-rest", 25
    )
    assert driver.text == (
        "us-east-1: on-demand c7g.2xlarge (on_demand) costs 0.5800 USD/h more, 2.0 nodes more; "
        "akidb-rest has 25 replicas more"
    )


def test_a_new_group_is_counted_whole_and_a_new_deployment_not_at_all() -> None:
    driver = name_driver([], [group("spot", 3, "0.3")], {}, {("us-east-1", "new"): 9})
    assert driver is not None
    assert (driver.nodes_more, driver.deployment) == (3, "")


def test_nothing_grown_has_no_driver() -> None:
    same = [group("spot", 3, "0.3")]
    assert name_driver(same, same, {}, {}) is None


# --- Remedy -----------------------------------------------------------------------------------------------------------


def situation(**more: Any) -> Situation:
    base = Situation("us-east-1", "spot", True, Decimal(200), Decimal(40), Decimal(0), Decimal(8))
    return dataclasses.replace(base, **more)


@pytest.mark.parametrize(
    ("used", "waiting", "largest", "cap"),
    [
        ("40", "0", "8", "48"),  # one more node, so that an interrupted one can be replaced
        ("120", "0", "8", "132"),  # a tenth of it
        ("40", "12.5", "8", "61"),
        ("40", "0", "4", "44"),
    ],
)
def test_a_cap_is_what_is_needed_and_headroom(used: str, waiting: str, largest: str, cap: str) -> None:
    here = situation(used_cpu=Decimal(used), waiting_cpu=Decimal(waiting), largest_node_cpu=Decimal(largest))
    found, _ = remedy(here)
    assert found is not None
    assert (found.kind, found.old_cpu, found.new_cpu) == (CAP, "200", cap)
    assert Decimal(cap) >= floor_of(here) + here.largest_node_cpu or Decimal(cap) >= floor_of(here) * Decimal("1.1")


def test_a_cap_is_never_below_what_runs_or_is_needed() -> None:
    for used in range(1, 200, 7):
        for waiting in range(0, 60, 11):
            here = situation(used_cpu=Decimal(used), waiting_cpu=Decimal(waiting), limit_cpu=None)
            found, _ = remedy(here)
            assert found is not None
            assert found.new_cpu is not None
            assert Decimal(found.new_cpu) >= used + waiting + here.largest_node_cpu


def test_a_cap_that_changes_nothing_returns_to_the_last_plan() -> None:
    found, reason = remedy(situation(limit_cpu=Decimal(48)))
    assert found is not None
    assert (found.kind, reason) == (ROLLBACK, "a cap at 48 vCPU would change nothing: the limit is 48 already")
    assert (
        """airflow dags trigger rollback --conf '{"lever": "spot_capacity", "regions": ["us-east-1"]}'""" in found.text
    )


def test_a_node_group_has_no_limit_to_cap() -> None:
    found, reason = remedy(situation(is_pool=False, pool="akidb-on-demand"))
    assert found is not None
    assert (found.kind, reason) == (ROLLBACK, "akidb-on-demand is no NodePool: there is no limit to cap")


def test_a_pool_without_nodes_has_no_remedy() -> None:
    assert remedy(situation(largest_node_cpu=Decimal(0))) == (
        None,
        "us-east-1: spot has no node, so it can't be what costs more",
    )


def test_the_hash_names_the_very_remedy() -> None:
    one, other = remedy(situation())[0], remedy(situation(used_cpu=Decimal(41)))[0]
    assert one is not None
    assert other is not None
    assert one.hash == remedy(situation())[0].hash != other.hash  # type: ignore[union-attr]


# --- The cluster ------------------------------------------------------------------------------------------------------


def node(name: str, cpu: int = 8, pool: str = "spot") -> dict[str, Any]:
    return {
        "metadata": {"name": name, "labels": {"karpenter.sh/nodepool": pool}},
        "status": {
            "capacity": {"cpu": str(cpu), "memory": "16Gi"},
            "allocatable": {"cpu": f"{cpu * 950}m", "memory": "14100Mi"},
        },
    }


def deployment(name: str, replicas: int, cpu: str = "1", memory: str = "2Gi") -> dict[str, Any]:
    requests = {"requests": {"cpu": cpu, "memory": memory}}
    spec = {"containers": [{"name": "a", "resources": requests}]}
    labels = {"matchLabels": {"app": name}}
    return {"metadata": {"name": name}, "spec": {"replicas": replicas, "selector": labels, "template": {"spec": spec}}}


def pods(name: str, placed: int, waiting: int = 0, leaving: int = 0) -> list[dict[str, Any]]:
    labels = {"labels": {"app": name}}
    found = [{"metadata": labels, "spec": {"nodeName": "n"}} for _ in range(placed)]
    found += [{"metadata": labels, "spec": {}} for _ in range(waiting)]
    return found + [
        {"metadata": labels | {"deletionTimestamp": "x"}, "spec": {"nodeName": "n"}} for _ in range(leaving)
    ]


OWNER = {
    "manager": "akidb-rollout",
    "operation": "Apply",
    "fieldsV1": {"f:spec": {"f:limits": {"f:cpu": {}, "f:memory": {}}, "f:weight": {}}},
}


class FakeCluster:
    """One NodePool with managed fields, as a server-side apply leaves them."""

    name = "fake"

    def __init__(self, limit: str | None = "200", nodes: int = 5) -> None:
        limits = {"cpu": limit, "memory": "400Gi"} if limit else {}
        owner = copy.deepcopy(OWNER)
        if not limit:
            owner["fieldsV1"] = {"f:spec": {"f:weight": {}}}
        self.pool: dict[str, Any] | None = {
            "metadata": {"name": "spot", "resourceVersion": "7", "managedFields": [owner]},
            "spec": {"limits": limits},
            "status": {"resources": {"cpu": "40"}},
        }
        self.nodes = [node(f"n{n}") for n in range(nodes)] + [node("other", pool="on-demand")]
        self.deployments = [deployment("akidb-rest", 15), deployment("akidb-grpc", 15)]
        self.pods = [*pods("akidb-rest", 15), *pods("akidb-grpc", 15)]

    def get(self, kind: Any, name: str, namespace: str | None = None) -> Any:
        return copy.deepcopy(self.pool) if name == "spot" else None

    def list(self, kind: Any, namespace: str | None = None) -> Any:
        return {"Node": self.nodes, "Deployment": self.deployments, "Pod": self.pods}[kind.name]


def read(cluster: FakeCluster) -> Situation:
    return read_situation(cluster, "us-east-1", "spot", "akidb")  # type: ignore[arg-type]


def test_the_situation_of_a_pool() -> None:
    found = read(FakeCluster())
    assert (found.limit_cpu, found.used_cpu, found.waiting_cpu, found.largest_node_cpu) == (200, 40, 0, 8)


def test_karpenters_count_may_hold_nodes_on_their_way() -> None:
    cluster = FakeCluster(nodes=3)
    assert read(cluster).used_cpu == 40
    assert cluster.pool is not None
    cluster.pool["status"] = {}
    assert read(cluster).used_cpu == 24


def test_another_owner_is_no_pool() -> None:
    found = read_situation(FakeCluster(), "us-east-1", "eks-group", "akidb")  # type: ignore[arg-type]
    assert not found.is_pool


def test_replicas_without_a_node_need_capacity_at_the_pools_mix() -> None:
    # 6 pods of 2 Gi: 12,288 MiB at 8 vCPU a 14,100 MiB; by CPU 6 x 8 / 7.6 would be less.
    waiting = waiting_cpu([deployment("a", 16)], pods("a", 10, waiting=4, leaving=3), [node("n")])
    assert waiting == Decimal(6) * 2048 * 8 / 14100
    assert waiting_cpu([deployment("a", 10)], pods("a", 12), [node("n")]) == 0
    assert waiting_cpu([deployment("a", 4, cpu="4", memory="1Gi")], [], [node("n")]) == Decimal(16) * 8 / Decimal("7.6")


def test_owners_are_who_owned_the_limit() -> None:
    other = {"manager": "kubectl", "operation": "Update", "fieldsV1": {"f:metadata": {}}}
    mine = {"manager": MANAGER, "operation": "Apply", "fieldsV1": {"f:spec": {"f:limits": {"f:cpu": {}}}}}
    live = {"metadata": {"managedFields": [OWNER, other, mine]}}
    assert limit_owners(live) == [OWNER]


# --- One look ---------------------------------------------------------------------------------------------------------


def look_at(tmp_path: Path, prometheus: FakePrometheus, cluster: FakeCluster | None = None) -> Look:
    world = Table(tmp_path)
    world.put(MONDAY - DAY, estate_day(MONDAY - DAY))
    clients = GuardClients(dict.fromkeys(REGIONS, prometheus), lambda region: cluster or FakeCluster())  # type: ignore[arg-type, return-value]
    window = Window(NOON - dt.timedelta(seconds=900), NOON)
    return look(world.table, ESTATE, BOOK, window, REGIONS, clients)


def test_a_quiet_hour(tmp_path: Path) -> None:
    prometheus = live_nodes()
    prometheus.hourly_usd = 5 * 1.0034 / 3
    found = look_at(tmp_path, prometheus)
    assert (found.spend.history.verdict, found.why, found.remedy) == (NORMAL, "no spike", None)
    assert found.spend.rates["central_dc"] == 5 * Decimal("1.0034") + Decimal("0.3")
    assert found.spend.rates["unallocated"] == Decimal("0.05")  # 1.20 of the bill's day that no component takes
    assert found.spend.total == sum(rate for rate in found.spend.rates.values() if rate is not None)
    assert found.spend.unknown == ()
    assert found.spend.over_budget is True  # week 13's nodes against week 14's targets
    assert "over it" in found.text


def spike() -> FakePrometheus:
    prometheus = live_nodes()
    since = (NOON - dt.timedelta(hours=2)).timestamp()
    prometheus.nodes += [Node(f"new-{n}", 0.0899, capacity="spot", owner="spot", since=since) for n in range(60)]
    prometheus.hourly_usd = 5 * 1.0034 / 3
    prometheus.replicas = {0.0: {"akidb-rest": 15}, since: {"akidb-rest": 60}}
    return prometheus


def test_a_spike_names_its_driver_and_a_cap(tmp_path: Path) -> None:
    found = look_at(tmp_path, spike())
    assert found.spend.history.verdict == SPIKE
    assert found.driver is not None
    assert (found.driver.region, found.driver.owner, found.driver.capacity) == ("us-east-1", "spot", "spot")
    assert found.driver.usd_hour_more == 60 * Decimal("0.0899")
    assert (found.driver.deployment, found.driver.replicas_more) == ("akidb-rest", 45)
    assert found.remedy is not None
    assert (found.remedy.kind, found.remedy.new_cpu) == (CAP, "48")
    record = found.to_json()
    assert record["remedy"]["new_cpu"] == "48"
    assert record["situation"]["owners"] is None
    assert "Driver: us-east-1: spot c7g.2xlarge (spot) costs 5.3940 USD/h more" in found.text


def test_without_history_nobody_can_say(tmp_path: Path) -> None:
    found = look_at(tmp_path, live_nodes())
    assert found.spend.history.text == "unknown: 0 of 7 days of history at this hour"
    assert found.spend.budget_text == "flat over the day: too little history for a shape"


def test_a_region_without_nodes_is_unknown_and_no_cheap_hour(tmp_path: Path) -> None:
    prometheus = live_nodes()
    prometheus.nodes = [n for n in prometheus.nodes if n.region != "us-east-1"]
    prometheus.hourly_usd = 5 * 1.0034 / 3
    found = look_at(tmp_path, prometheus)
    assert found.spend.history.verdict == UNKNOWN
    assert found.spend.total is None
    assert found.spend.over_budget is None
    assert "central_dc without data" in found.text


def test_prices_of_the_world_are_list_prices() -> None:
    assert {region: BOOK.on_demand(region, "c7g.2xlarge") for region in REGIONS} == {
        region: Decimal(price) for region, price in PRICES.items()
    }
