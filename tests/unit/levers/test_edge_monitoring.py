"""The edge's alert rules and dashboard: what they say, when they fire, that they stay and that they go."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml

from include.estate import load_estate
from include.levers import lever, undo_order
from include.levers.alert_rules import text
from include.levers.edge_monitoring import watch
from include.rollout.gates import judge_all
from include.rollout.lever import NotConverged
from tests.unit.levers.edge_watch_world import CANARY, LEVER, US, World
from tests.unit.levers.monitoring_world import promtool
from tests.unit.levers.spot_world import NOW

Object = dict[str, Any]
RUN_BOOK = Path(__file__).parents[3] / "docs" / "how-to" / "edge_alerts.md"


# Rules and panels -----------------------------------------------------------------------------------------------------


def test_limits_of_each_part_of_the_world_are_those_of_the_plan() -> None:
    found = watch.rules(load_estate())
    limits = {r["labels"]["part"]: r["expr"] for r in found if r.get("record") == "akidb:edge_p95_ms:limit"}
    assert limits == {
        "us": "vector(25)", "eu": "vector(25)", "apac": "vector(25)", "india": "vector(35)",
        "south_america": "vector(35)",
    }  # fmt: skip
    others = {r["alert"]: r["expr"] for r in found if "alert" in r}
    assert others["AkidbEdgeWeightedLatencyHigh"] == "akidb:edge_p95_ms:weighted > 30"
    assert others["AkidbCacheHitRateLow"] == "min(cloudfront_cache_hit_rate) < 95"


def test_every_alert_has_an_entry_in_the_run_book_and_no_other_has() -> None:
    alerts = {rule["alert"]: rule for rule in watch.rules(load_estate()) if "alert" in rule}
    entries = [line.removeprefix("## ") for line in RUN_BOOK.read_text().splitlines() if line.startswith("## ")]
    assert sorted(entries) == sorted(alerts)
    assert {rule["annotations"]["runbook"] for rule in alerts.values()} == {
        f"docs/how-to/edge_alerts.md#{name.lower()}" for name in alerts
    }


def test_the_dashboard_shows_latency_cache_hits_and_watts_and_has_equal_bytes() -> None:
    bodies = watch.wanted(load_estate(), operator=False)
    assert bodies == watch.wanted(load_estate(), operator=False)
    board = json.loads(bodies[1]["data"]["akidb-edge.json"])
    assert [panel["title"] for panel in board["panels"]] == [
        "P95 by part of the world", "P95 of all viewers", "Cache hit rate", "Device watts",
    ]  # fmt: skip
    assert (board["uid"], "sum by (device) (jetson_power_watts)" in bodies[1]["data"]["akidb-edge.json"]) == (
        "akidb-edge", True,
    )  # fmt: skip


def test_rules_go_where_the_clusters_prometheus_looks_for_them() -> None:
    with_operator, without = (watch.wanted(load_estate(), operator) for operator in (True, False))
    assert [body["kind"] for body in with_operator] == ["Namespace", "ConfigMap", "PrometheusRule"]
    assert without[2]["metadata"]["labels"]["akidb.io/prometheus-rules"] == "true"
    assert yaml.safe_load(without[2]["data"]["akidb-edge.rules.yaml"])["groups"] == with_operator[2]["spec"]["groups"]


def test_promtool_accepts_the_rules(tmp_path: Path) -> None:
    file = tmp_path / "edge.yaml"
    file.write_text(text(watch.groups(load_estate())))
    result = promtool("check", "rules", "--lint=all", "--lint-fatal", file)
    assert result.returncode == 0, result.stderr + result.stdout


def run_rules(tmp_path: Path, series: Mapping[str, str], tests: Mapping[str, list[Object]]) -> None:
    found = copy.deepcopy(watch.groups(load_estate()))
    for rule in found[0]["rules"]:
        rule.pop("annotations", None)  # what an alert says is for people
    file, suite = tmp_path / "rules.yaml", tmp_path / "suite.yaml"
    file.write_text(text(found))
    case = {"interval": "1m", "input_series": [{"series": s, "values": v} for s, v in series.items()], **tests}
    suite.write_text(yaml.safe_dump({"rule_files": [str(file)], "evaluation_interval": "1m", "tests": [case]}))
    result = promtool("test", "rules", suite)
    assert result.returncode == 0, result.stdout + result.stderr


def probe(country: str) -> str:
    return f'akidb_probe_p95_ms{{probe="p-{country}",country="{country}"}}'


COUNTRIES = ("US", "DE", "JP", "IN", "BR", "AE", "ZA")


def world_at(**slower: str) -> dict[str, str]:
    """Every part of the world at 12 ms for two hours, but for those that are given."""
    found = {probe(country): slower.get(country, "12x120") for country in COUNTRIES}
    watts = {f'jetson_power_watts{{device="jetson{n:02d}"}}': "20x120" for n in range(1, 6)}
    return {**found, **watts, "cloudfront_cache_hit_rate": slower.get("cache", "97x120")}


def fires(name: str, at: str, *labels: Mapping[str, str]) -> Object:
    alerts = [{"exp_labels": {"severity": "warning", "team": "platform", **more}} for more in labels]
    return {"eval_time": at, "alertname": name, "exp_alerts": alerts}


def test_nothing_fires_while_everything_is_within_its_limits(tmp_path: Path) -> None:
    names = sorted({rule["alert"] for rule in watch.rules(load_estate()) if "alert" in rule})
    weighted = {"expr": "akidb:edge_p95_ms:weighted", "eval_time": "60m",
                "exp_samples": [{"labels": "akidb:edge_p95_ms:weighted", "value": 12}]}  # fmt: skip
    cases = {"alert_rule_test": [fires(name, "90m") for name in names], "promql_expr_test": [weighted]}
    run_rules(tmp_path, world_at(), cases)


def test_a_slow_part_of_the_world_fires_after_five_minutes_and_the_mean_with_it(tmp_path: Path) -> None:
    cases = [
        fires("AkidbEdgeLatencyHigh", "3m"),
        fires("AkidbEdgeLatencyHigh", "10m", {"part": "apac"}),
        fires("AkidbEdgeWeightedLatencyHigh", "10m", {}),  # 0.82 x 12 + 0.18 x 129 = 33.1
        fires("AkidbCacheHitRateLow", "30m", {}),
    ]
    run_rules(tmp_path, world_at(JP="129x120", cache="94x120"), {"alert_rule_test": cases})


def test_a_probe_that_falls_silent_makes_latency_unknown_not_good(tmp_path: Path) -> None:
    second = {'akidb_probe_p95_ms{probe="p-SG",country="SG"}': "12x10 _x110"}
    gone = {"expr": 'akidb:edge_p95_ms:part{part="apac"}', "eval_time": "30m", "exp_samples": []}
    us = {"expr": 'akidb:edge_p95_ms:part{part="us"}', "eval_time": "30m",
          "exp_samples": [{"labels": 'akidb:edge_p95_ms:part{part="us"}', "value": 12}]}  # fmt: skip
    cases = [
        fires("AkidbEdgeLatencyUnknown", "9m"),
        fires("AkidbEdgeLatencyUnknown", "40m", {}),
        fires("AkidbEdgeLatencyHigh", "40m"),
        fires("AkidbEdgeLatencyUnknown", "100m"),  # forgotten after an hour
    ]
    run_rules(tmp_path, world_at() | second, {"alert_rule_test": cases, "promql_expr_test": [gone, us]})


def test_a_device_without_watts_and_a_cache_without_a_figure_fire(tmp_path: Path) -> None:
    series = world_at()
    del series["cloudfront_cache_hit_rate"], series['jetson_power_watts{device="jetson03"}']
    cases = [fires("AkidbCacheHitRateUnknown", "20m", {}), fires("AkidbDevicePowerUnknown", "20m", {})]
    run_rules(tmp_path, series, {"alert_rule_test": cases})


# The lever ------------------------------------------------------------------------------------------------------------


def test_it_is_undone_after_day_5_which_keeps_its_own_in_the_same_namespace() -> None:
    assert (lever("edge_monitoring").name, LEVER.needs) == ("edge_monitoring", frozenset({"kubernetes", "prometheus"}))
    order = undo_order()
    assert order.index("cost_monitoring") < order.index("edge_monitoring")


def test_it_stands_in_the_canary_alone() -> None:
    plan = LEVER.plan(World().target)
    assert [d.path for d in plan.differences] == [
        "Namespace monitoring", "ConfigMap monitoring/akidb-edge-dashboard", "ConfigMap monitoring/akidb-edge-rules",
    ]  # fmt: skip
    assert [stage.title for stage in plan.stages] == ["6 alerts and 4 panels of the edge"]
    assert (plan.usd_month_before, plan.usd_month_after) == (Decimal(0), Decimal(0))
    elsewhere = World(US)
    there = LEVER.plan(elsewhere.target)
    assert (there.differences, there.stages) == ((), ())
    assert there.notes == (f"nothing to do: the edge is watched in {CANARY}",)
    assert all(check.passed for check in LEVER.preflight(elsewhere.target))


def judged(world: World) -> dict[str, str]:
    stage = LEVER.plan(world.target).stages[0]
    figures = LEVER.observe(world.target, stage, 60, {"started_at": NOW - 20})
    return {result.gate.name: result.outcome.value for result in judge_all(stage.gates, figures)}


def test_it_stays_after_a_promotion_and_goes_with_the_undo() -> None:
    world = World()
    snapshot = json.loads(json.dumps(LEVER.snapshot(world.target)))
    applied = LEVER.apply(world.target, LEVER.plan(world.target).stages[0])
    assert applied["objects"] == 3
    assert set(judged(world).values()) == {"pass"}
    assert LEVER.plan(world.target).differences == ()
    assert ("ConfigMap", "monitoring", "akidb-edge-rules") in world.cluster.objects
    assert LEVER.evidence(world.target) == {"rules": 19}
    restored = LEVER.rollback(world.target, snapshot)
    assert (restored.changed_by_others, LEVER.verify_restored(world.target, snapshot)) == ((), [])
    assert not [key for key in world.cluster.objects if "akidb-edge" in key[2] or key[2] == "monitoring"]


def test_rules_that_are_not_loaded_fail_panels_without_data_are_unknown() -> None:
    world = World()
    world.prometheus.empty = {"cloudfront_cache_hit_rate"}
    assert judged(world)["edge_panels_without_data"] == "unknown"
    world.prometheus.loaded = False
    assert judged(world) == {
        "edge_rules_not_loaded": "unknown", "edge_rules_with_errors": "unknown", "edge_panels_without_data": "unknown",
    }  # fmt: skip
    world.prometheus.loaded, world.prometheus.health, world.prometheus.error = True, "err", "many-to-many"
    assert judged(world)["edge_rules_with_errors"] == "fail"
    with pytest.raises(NotConverged, match=r"the edge's rules in Prometheus: .*many-to-many"):
        LEVER.apply(world.target, LEVER.plan(world.target).stages[0])


def test_a_series_that_does_not_exist_is_refused_before_anything_is_written() -> None:
    world = World()
    world.prometheus.missing = {"akidb_probe_p95_ms"}
    (failed,) = [check for check in LEVER.preflight(world.target) if not check.passed]
    assert failed.name == "metric probes"
    assert failed.reason == "Prometheus http://prom has no sample of akidb_probe_p95_ms in the last 5 minutes"


def test_an_undo_finds_the_rules_of_both_kinds_when_the_operator_came_in_between() -> None:
    world = World()
    snapshot = LEVER.snapshot(world.target)
    LEVER.apply(world.target, LEVER.plan(world.target).stages[0])
    world.cluster.unserved = set()
    LEVER.apply(world.target, LEVER.plan(world.target).stages[0])
    LEVER.rollback(replace(world.target, run_id="later"), snapshot)
    assert not [key for key in world.cluster.objects if "akidb-edge" in key[2]]
