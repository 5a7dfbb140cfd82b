"""The dashboard and the rules of the cost-truth lever: their figures, and when an alert fires."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path

import pytest
import yaml

from include.estate import Estate, load_estate
from include.levers.alert_rules import text
from include.levers.cost_monitoring.dashboard import dashboard_json, queries
from include.levers.cost_monitoring.rules import Scrape, constants, groups, of_estate
from include.levers.cost_monitoring.wanted import (
    RULES_FILE,
)
from include.prices import load_aws_book
from tests.unit.levers.monitoring_world import CANARY, SCRAPE, US, promtool
from tests.unit.levers.spot_world import Object

# Dashboard ------------------------------------------------------------------------------------------------------------


def test_the_dashboard_has_the_plans_eight_panels_then_those_of_right_sizing_and_equal_bytes() -> None:
    estate = load_estate()
    text = dashboard_json(estate)
    assert text == dashboard_json(estate)
    board = json.loads(text)
    assert [panel["title"] for panel in board["panels"]] == [
        "Total against week 13",
        "Spot split",
        "Cost per million requests",
        "Savings since week 8",
        "CPU use",
        "Cost by service",
        "Interruption rate",
        "Daily trend",
        "Use of requests",
        "CPU requested and used",
        "Memory requested and used",
        "Nodes",
        "Dollars an hour",
    ]
    assert (board["uid"], board["tags"], "id" in board) == ("akidb-cost", ["akidb", "cost"], False)
    shown = [(p["title"], t["expr"]) for p in board["panels"] for t in p["targets"]]
    assert shown == queries(estate)
    assert len(shown) == 23
    assert "akidb_requests_total" not in text  # the plan's series, which AkiDB does not export


def test_metric_names_and_job_of_the_dashboard_are_settings() -> None:
    estate = load_estate()
    metrics = estate.metrics.model_copy(update={"http_requests": "other_requests_total"})
    changed = dict(queries(estate.model_copy(update={"metrics": metrics}), "finops"))
    assert 'rate(other_requests_total{namespace="akidb"}[5m])' in changed["Cost per million requests"]
    assert 'job="finops"' in changed["CPU use"]


def test_use_of_requests_compares_the_same_pods() -> None:
    memory = dict(queries(load_estate()))["Use of requests"]
    pods = 'namespace="akidb",pod=~"(akidb-rest|akidb-grpc)-.+",container!=""'
    assert memory == (
        f"sum by (region) (container_memory_working_set_bytes{{{pods}}}) / on (region) "
        f'sum by (region) (kube_pod_container_resource_requests{{job="opencost",{pods},resource="memory"}})'
    )


# Rules ----------------------------------------------------------------------------------------------------------------


def test_constants_come_from_contract_bill_or_baseline() -> None:
    estate = load_estate()
    scrape = Scrape("opencost", {"s3": Decimal("4.5")}, "2026-11-23")
    found = constants(estate, load_aws_book(estate), scrape)
    assert {name: (f"{c.usd_day:.4f}", c.basis, c.as_of) for name, c in found.items()} == {
        "cloudfront": ("19.7368", "baseline", "week 13"),
        "lambda_edge": ("13.8158", "baseline", "week 13"),
        "jetson": ("0.4500", "baseline", "week 13"),
        "s3": ("4.5000", "bill", "2026-11-23"),
        "route_53": ("3.2895", "baseline", "week 13"),
        "monitoring": ("1.6447", "contract", "2026-01-01"),
        "cost_platform": ("20.3947", "contract", "2026-11-01"),
    }


def test_the_estates_rules_exist_once_and_with_the_plans_figures() -> None:
    estate = load_estate()
    assert [len(groups(estate, region, SCRAPE)) for region in (CANARY, US)] == [2, 1]
    rules = {rule.get("alert"): rule for rule in of_estate(estate, SCRAPE)}
    assert rules["AkidbDailySpendAbovePlanTarget"]["expr"] == "akidb:cost_usd_day:total > 97.6974"
    assert rules["AkidbDailySpendAbovePlanAlert"]["expr"] == "akidb:cost_usd_day:total > 100.0000"


def test_a_component_without_a_figure_leaves_the_total_unknown() -> None:
    estate = load_estate()
    raw = estate.model_dump(mode="json")
    raw["cost"]["components"]["s3"]["book"] = "list"  # without baseline_usd_month nothing is known of it
    changed = Estate.model_validate(raw)
    rules = of_estate(changed, SCRAPE)
    assert "s3" not in constants(changed, load_aws_book(changed), SCRAPE)
    total = next(rule for rule in rules if rule.get("record") == "akidb:cost_usd_day:total")
    assert total["expr"].endswith("count(akidb:cost_usd_day:component) == 7")  # six are there: no total
    assert not [r for r in rules if r.get("record") == "akidb:cost_usd_month:week_13" and r["labels"]["book"] != "plan"]


@pytest.mark.parametrize("region", [CANARY, US])
def test_promtool_accepts_the_rules(tmp_path: Path, region: str) -> None:
    file = tmp_path / RULES_FILE
    file.write_text(text(groups(load_estate(), region, SCRAPE)))
    result = promtool("check", "rules", "--lint=all", "--lint-fatal", file)
    assert result.returncode == 0, result.stderr + result.stdout


def node(region: str, name: str) -> str:
    return f'node_total_hourly_cost{{job="opencost",region="{region}",node="{name}"}}'


def alerts(name: str, at: str, *labels: Mapping[str, str]) -> Object:
    return {"eval_time": at, "alertname": name, "exp_alerts": [{"exp_labels": dict(wanted)} for wanted in labels]}


def value(expression: str, at: str, number: float, labels: str = "{}") -> Object:
    samples = [{"labels": labels, "value": number}]
    return {"expr": expression, "eval_time": at, "exp_samples": samples}


def run_rules(tmp_path: Path, series: Mapping[str, str], tests: Mapping[str, list[Object]]) -> None:
    estate = load_estate()
    files = []
    for region in estate.regions:
        file = tmp_path / f"{region}.yaml"
        # What an alert says is for people: the test is about when it fires.
        found = copy.deepcopy(groups(estate, region, SCRAPE))
        for group in found:
            for rule in group["rules"]:
                rule.pop("annotations", None)
        file.write_text(text(found))
        files.append(str(file))
    case = {"interval": "1m", "input_series": [{"series": s, "values": v} for s, v in series.items()], **tests}
    suite = tmp_path / "suite.yaml"
    suite.write_text(yaml.safe_dump({"rule_files": files, "evaluation_interval": "1m", "tests": [case]}))
    result = promtool("test", "rules", suite)
    assert result.returncode == 0, result.stdout + result.stderr


def test_rules_add_up_and_fire_when_the_money_is_above_the_target(tmp_path: Path) -> None:
    # 6.25 USD/h of nodes a day: 150; with 64.27 of the others 214.27, above the target of 124.55 a day.
    series = {node(US, "a"): "5x120", node(US, "s"): "0.25x120", node("eu-central-1", "b"): "0.5x120"}
    series |= {node(CANARY, "c"): "0.5x120"}
    series[f'kube_node_labels{{job="opencost",region="{US}",node="s",label_karpenter_sh_capacity_type="spot"}}'] = (
        "1x120"
    )
    team = {"team": "platform"}
    run_rules(
        tmp_path,
        series,
        {
            "promql_expr_test": [
                value('akidb:cost_usd_day:nodes{capacity_type="spot"}', "5m", 6.0,
                      f'akidb:cost_usd_day:nodes{{region="{US}",capacity_type="spot"}}'),
                value("round(akidb:cost_usd_day:total * 100)", "5m", 21427),
            ],
            "alert_rule_test": [
                alerts("AkidbDailySpendAboveTarget", "90m", team | {"severity": "warning"}),
                alerts("AkidbDailySpendAbovePlanTarget", "90m", team | {"severity": "info"}),
                alerts("AkidbDailySpendAbovePlanAlert", "90m", team | {"severity": "info"}),
                alerts("AkidbRegionSpendAboveTarget", "90m", team | {"severity": "warning", "region": US}),
                alerts("AkidbCostTotalUnknown", "90m"),
                alerts("AkidbCostSeriesMissing", "90m"),
            ],
        },
    )  # fmt: skip


def test_a_region_that_is_silent_makes_the_total_unknown_and_is_named(tmp_path: Path) -> None:
    series = {node(US, "a"): "5x90", node("eu-central-1", "b"): "5x90"}
    labels = {"team": "platform", "severity": "warning"}
    run_rules(
        tmp_path,
        series,
        {
            "promql_expr_test": [{"expr": "akidb:cost_usd_day:total", "eval_time": "60m", "exp_samples": []}],
            "alert_rule_test": [
                alerts("AkidbCostTotalUnknown", "60m", labels),
                alerts("AkidbCostSeriesMissing", "60m", labels | {"job": "opencost", "region": CANARY}),
                alerts("AkidbDailySpendAboveTarget", "60m"),
            ],
        },
    )


def test_the_interruption_rate_is_zero_without_notices_and_unknown_without_karpenter(tmp_path: Path) -> None:
    allocatable = 'karpenter_nodes_allocatable{{region="{}",capacity_type="spot",resource_type="cpu",node_name="{}"}}'
    notices = 'karpenter_interruption_received_messages_total{{region="{}",message_type="spot_interrupted"}}'
    series = {f'up{{job="karpenter",region="{region}"}}': "1x60" for region in (US, CANARY)}
    series |= {allocatable.format(CANARY, name): "4x60" for name in "abcd"}
    series[notices.format(CANARY)] = "0x30 1x30"
    rate = "akidb:interruption_rate:24h"
    run_rules(
        tmp_path,
        series,
        {
            "promql_expr_test": [
                value(f'{rate}{{region="{US}"}}', "20m", 0, f'{rate}{{region="{US}"}}'),
                value(f'{rate}{{region="{CANARY}"}}', "20m", 0, f'{rate}{{region="{CANARY}"}}'),
                {"expr": f'{rate}{{region="eu-central-1"}}', "eval_time": "20m", "exp_samples": []},
            ],
            "alert_rule_test": [
                alerts("AkidbInterruptionRateHigh", "20m"),
                alerts("AkidbInterruptionRateHigh", "50m",
                       {"team": "platform", "severity": "warning", "region": CANARY}),
            ],
        },
    )  # fmt: skip


def test_equal_estates_give_equal_rules_and_the_groups_name_changes_with_them() -> None:
    estate = load_estate()
    first, again = (groups(estate, US, SCRAPE) for _ in range(2))
    assert text(first) == text(again)
    other = groups(estate, US, Scrape("finops", {}, ""))
    assert first[0]["name"] != other[0]["name"]
    assert first[0]["name"].startswith(f"akidb-cost {US} ")
