"""The predictive-scaling lever: its queries in a real Prometheus, and what it plans, writes, judges and undoes."""

from __future__ import annotations

import contextlib
import copy
import json
import math
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from include.clients.access import Access
from include.estate import Estate, EstateError, load_estate
from include.forecast.registry import Action, Decision, Registry
from include.forecast.server.forecaster import short_expression
from include.forecast.traffic.export import lost_expression, request_expression
from include.levers import lever
from include.levers.common import NodeFact
from include.levers.cost_monitoring.dashboard import panels
from include.levers.predictive_scaling import accuracy, queries
from include.levers.predictive_scaling.plan import (
    DEPLOYMENT_NAME,
    PREDICTIVE,
    PREDICTOR,
    REACTIVE,
    PredictiveSettings,
    forecast_query,
    need,
    pod_location,
    predictor,
    replicas_of_week,
    scaled_object,
    usd_hours,
)
from include.levers.predictive_scaling.waste import Bounds, Waste, of_workload
from include.prices import load_aws_book
from include.rollout.gates import judge_all
from include.rollout.lever import Check, NotConverged, Refused, Stage, Target, Undo
from include.rollout.settings import build, form_fields
from tests.unit.levers.fake_cluster import Crashed, crash_at
from tests.unit.levers.monitoring_world import promtool
from tests.unit.levers.scaling_world import AS_OF, LEVER, REGION, World, autoscaler
from tests.unit.levers.spot_world import NOW, Object, budget, condition

RBAC = Path(__file__).parents[3] / "include/manifests/predictive_scaling/rbac.yaml"


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def settings_of(estate: Estate, **chosen: Any) -> PredictiveSettings:
    return build(PredictiveSettings, chosen, estate)


def failed(checks: list[Check]) -> dict[str, str]:
    return {check.name: f"{check.reason} -> {check.remedy}" for check in checks if not check.passed}


def stage_of(world: World, slot: str, target: Target | None = None) -> Stage:
    return next(stage for stage in LEVER.plan(target or world.target).stages if stage.slot == slot)


def judged(world: World, slot: str) -> dict[str, tuple[str, str]]:
    stage = stage_of(world, slot)
    figures = LEVER.observe(world.target, stage, 60, {"started_at": NOW - 60})
    return {result.gate.name: (result.outcome.value, result.reason) for result in judge_all(stage.gates, figures)}


def outcomes(world: World, slot: str) -> dict[str, str]:
    return {name: outcome for name, (outcome, _) in judged(world, slot).items()}


# The queries, in Prometheus -------------------------------------------------------------------------------------------

PODS = "container_cpu_usage_seconds_total"
MINE = f'region="{REGION}"'
PREDICTOR_A = f'{MINE},job="traffic-predictor",instance="a"'
# 1,200 + 400 requests/s and 10 pods of akidb-rest; the highest forecast of the next minutes is 4,000.
HEALTHY = {
    f'akidb_http_requests_total{{{MINE},namespace="akidb"}}': "0+72000x30",
    f'akidb_grpc_requests_total{{{MINE},namespace="akidb"}}': "0+24000x30",
    'akidb_http_requests_total{region="eu-central-1",namespace="akidb"}': "0+9000000x30",
    f'akidb_http_requests_total{{{MINE},namespace="akidb-staging"}}': "0+9000000x30",
    **{f'{PODS}{{{MINE},namespace="akidb",pod="akidb-rest-5d-{n}",container="c"}}': "0+1x30" for n in range(10)},
    f'{PODS}{{{MINE},namespace="akidb",pod="akidb-rest-5d-0",container="sidecar"}}': "0+1x30",
    f'{PODS}{{{MINE},namespace="akidb",pod="akidb-rest-canary-5d-x",container="c"}}': "0+1x30",
    f'akidb_forecast_qps{{{PREDICTOR_A},horizon="1",quantile="0.5"}}': "1700x30",
    f'akidb_forecast_qps{{{PREDICTOR_A},horizon="15",quantile="0.5"}}': "4000x30",
    f'akidb_forecast_qps{{{PREDICTOR_A},horizon="15",quantile="0.9"}}': "9000x30",
    f"akidb_forecast_generated_timestamp_seconds{{{PREDICTOR_A}}}": "0+60x30",
    f"akidb_forecast_confident{{{PREDICTOR_A}}}": "1x30",
}


def series_of(series: Mapping[str, str], name: str) -> str:
    return next(key for key in series if key.startswith(name))


def without(name: str, text: str = "") -> dict[str, str]:
    return {key: values for key, values in HEALTHY.items() if not (key.startswith(name) and text in key)}


def changed(name: str, values: str, text: str = "") -> dict[str, str]:
    return {key: values if key.startswith(name) and text in key else old for key, old in HEALTHY.items()}


FORECASTS = [key for key in HEALTHY if key.startswith("akidb_forecast")]
SECOND = f'{MINE},job="traffic-predictor",instance="b"'
CASES: dict[str, tuple[dict[str, str], float]] = {
    # 4,000 x 1,200 / 1,600, which is less than 2 x 10 x 280
    "a rise is added in the workload's share": (HEALTHY, 3000),
    "capped at twice what the pods serve": (changed("akidb_forecast_qps", "40000x30", '"15",quantile="0.5"'), 5600),
    "a rise of less than 20 % is left to the requests": (changed("akidb_forecast_qps", "1900x30", 'horizon="15"'), 0),
    "stale": (changed("akidb_forecast_generated", "0+60x10 600x20"), 0),
    "from the future": (changed("akidb_forecast_generated", "9000+60x30"), 0),
    "not sure": (changed("akidb_forecast_confident", "0x30"), 0),
    "the predictor is down": (without("akidb_forecast"), 0),
    "the predictor has just died": (HEALTHY | dict.fromkeys(FORECASTS, "1x10 stale"), 0),
    "no time of birth": (without("akidb_forecast_generated"), 0),
    "own requests are lost, staging's are not": (without("akidb_http_requests_total", 'namespace="akidb"'), 0),
    "the others' requests are lost": (without("akidb_grpc_requests_total"), 0),
    "no requests at all": (changed("akidb_", "0x30", "requests_total"), 0),
    "the number of pods is lost": (without(PODS), 0),
    "a second predictor that is stale counts for nothing": (
        HEALTHY
        | {f'akidb_forecast_qps{{{SECOND},horizon="15",quantile="0.5"}}': "5000x30"}
        | {f"akidb_forecast_generated_timestamp_seconds{{{SECOND}}}": "0x30"}
        | {f"akidb_forecast_confident{{{SECOND}}}": "1x30"},
        3000,
    ),
    "nothing is there": ({"up": "1x30"}, 0),
}  # fmt: skip


def one(number: float) -> Object:
    return {"labels": "{}", "value": number}


def test_the_forecasts_trigger_always_gives_one_number_and_only_adds(tmp_path: Path) -> None:
    estate = load_estate()
    query = forecast_query(estate, REGION, settings_of(estate), "akidb-rest")
    tests = [
        {
            "name": name,
            "interval": "1m",
            "input_series": [{"series": key, "values": values} for key, values in series.items()],
            "promql_expr_test": [{"expr": query, "eval_time": "20m", "exp_samples": [one(number)]}],
        }
        for name, (series, number) in CASES.items()
    ]  # fmt: skip
    suite = tmp_path / "suite.yaml"
    # A rate of the last minute needs two scrapes: here one a minute.
    suite.write_text(yaml.safe_dump({"rule_files": [], "tests": tests}).replace("[60s]", "[180s]"))
    result = promtool("test", "rules", suite)
    assert result.returncode == 0, result.stdout + result.stderr


def test_lead_time_and_freshness_are_settings() -> None:
    estate = load_estate()
    query = forecast_query(estate, REGION, settings_of(estate, lead_minutes=2, freshness_seconds=20), "akidb-grpc")
    assert 'quantile="0.5",horizon=~"1|2"' in query
    assert "< 20)" in query
    assert "horizon=" not in forecast_query(estate, REGION, settings_of(estate), "akidb-grpc")


def test_a_workload_follows_its_own_counter() -> None:
    estate = load_estate()
    own = queries.own_demand(estate, REGION, "akidb-grpc", 30)
    assert own == f'sum(rate(akidb_grpc_requests_total{{region="{REGION}",namespace="akidb"}}[30s]))'


def test_workloads_that_share_a_counter_count_their_own_requests_by_their_matchers() -> None:
    estate = load_estate()
    workloads = {
        name: workload.model_copy(update={"matchers": f'service="{name}"'})
        for name, workload in estate.workloads.items()
    }
    scaling = estate.predictive_scaling.model_copy(update={"requests": dict.fromkeys(workloads, "http")})
    shared = estate.model_copy(update={"workloads": workloads, "predictive_scaling": scaling})
    own = [queries.own_demand(shared, REGION, name, 30) for name in workloads]
    assert own == [
        f'sum(rate(akidb_http_requests_total{{region="{REGION}",namespace="akidb",service="{name}"}}[30s]))'
        for name in workloads
    ]
    assert queries.demand(shared, REGION, 30) == " + ".join(own)
    for name, query in zip(workloads, own, strict=True):
        body = scaled_object(shared, REGION, settings_of(shared), name, with_forecast=True)
        reactive, forecast = (trigger["metadata"]["query"] for trigger in body["spec"]["triggers"])
        window = settings_of(shared).rate_window_seconds
        assert reactive == query.replace("[30s]", f"[{window}s]")
        assert f"* ({reactive}) / (" in forecast


def test_every_query_of_akidbs_series_takes_the_estates_matchers() -> None:
    estate = load_estate()
    theirs = estate.metrics.model_copy(update={"matchers": 'tenant="a"'})
    estate = estate.model_copy(update={"metrics": theirs})
    asked = [
        queries.demand(estate, REGION, 30),
        request_expression(estate, REGION),
        lost_expression(estate, REGION),
        short_expression(estate, REGION, 60),
        *(
            query.expression
            for panel in panels(estate)
            for query in panel.queries
            if "requests_total" in query.expression
        ),
    ]
    assert len(asked) == 5
    for query in asked:
        selectors = re.findall(r"akidb_\w+_total\{([^}]*)\}", query)
        assert selectors
        assert all('tenant="a"' in selector and "namespace" not in selector for selector in selectors)


# Settings and estate --------------------------------------------------------------------------------------------------


def test_the_lever_is_registered_and_its_form_shows_the_estates_figures() -> None:
    assert lever("predictive_scaling").name == "predictive_scaling"
    fields = form_fields(PredictiveSettings, load_estate())
    shown = {name: fields[name]["default"] for name in ("use_forecast", "min_replicas", "max_replicas", "lead_minutes")}
    assert shown == {"use_forecast": True, "min_replicas": 2, "max_replicas": 20, "lead_minutes": 15}
    assert fields["predictor_image"]["default"] == "akidb/traffic-predictor:1.0.0"


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"min_replicas": 21}, "needs min_replicas <= max_replicas, not 21 and 20"),
        ({"predictor_image": "akidb/traffic-predictor"}, "predictor_image"),
        ({"predictor_role": "reader"}, "predictor_role"),
        ({"lead_minutes": 16}, "lead_minutes"),
    ],
)
def test_settings_that_can_not_be_are_refused(chosen: dict[str, Any], message: str) -> None:
    with pytest.raises(Refused, match=message):
        settings_of(load_estate(), **chosen)


def test_an_estate_needs_a_counter_for_each_workload_and_bounds_around_its_replicas() -> None:
    raw = load_estate().model_dump(mode="json")
    wrong = copy.deepcopy(raw)
    del wrong["predictive_scaling"]["requests"]["akidb-grpc"]
    with pytest.raises(ValidationError, match="needs a counter for each of akidb-rest, akidb-grpc, not for akidb-rest"):
        Estate.model_validate(wrong)
    wrong = copy.deepcopy(raw)
    wrong["predictive_scaling"]["max_replicas"] = 14
    with pytest.raises(ValidationError, match=r"akidb-rest.replicas 15 is outside .* 2 and max_replicas 14"):
        Estate.model_validate(wrong)


def test_a_wrong_scaling_section_of_the_file_is_refused_by_name(tmp_path: Path) -> None:
    text = yaml.safe_dump(load_estate().model_dump(mode="json")).replace("min_replicas: 2", "min_replicas: 25")
    (tmp_path / "estate.yaml").write_text(text)
    with pytest.raises(EstateError, match=r"predictive_scaling .*needs min_replicas <= max_replicas, not 25 and 20"):
        load_estate(tmp_path / "estate.yaml")


# Manifests ------------------------------------------------------------------------------------------------------------


def test_the_predictor_is_confined_and_reads_the_models_with_its_own_role() -> None:
    estate = load_estate()
    role = "arn:aws:iam::123456789012:role/akidb-models"
    bodies = predictor(estate, REGION, settings_of(estate, predictor_role=role), "s3://airflow@models/traffic")
    assert [body["kind"] for body in bodies] == ["ServiceAccount", "Deployment", "Service", "PodDisruptionBudget"]
    account, deployment, _, budget_ = bodies
    assert account["metadata"]["annotations"] == {"eks.amazonaws.com/role-arn": role}
    pod = deployment["spec"]["template"]["spec"]
    assert (pod["automountServiceAccountToken"], pod["securityContext"]["runAsNonRoot"]) == (False, True)
    (container,) = pod["containers"]
    assert dict(zip(container["args"][::2], container["args"][1::2], strict=True)) == {
        "--host": "0.0.0.0",
        "--port": "8080",
        "--registry": "s3://models/traffic",
        "--prometheus": "http://prometheus-server.monitoring.svc",
        "--regions": REGION,
        "--max-age": "180",
        "--min-replicas": "4",
        "--max-replicas": "40",
    }
    run = [sys.executable, "-m", "include.forecast.server", "--help"]
    known = subprocess.run(run, capture_output=True, text=True, timeout=60, check=True).stdout
    assert [flag for flag in container["args"][::2] if flag not in known] == []
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert budget_["spec"] == {"maxUnavailable": 1, "selector": {"matchLabels": {"app": DEPLOYMENT_NAME}}}


def test_places_of_models_as_a_pod_reads_them() -> None:
    assert pod_location("s3://models/traffic") == "s3://models/traffic"
    assert pod_location("file:///models@home") == "file:///models@home"


def test_a_scaled_object_never_reads_lost_metrics_as_none() -> None:
    estate = load_estate()
    body = scaled_object(estate, REGION, settings_of(estate), "akidb-rest", with_forecast=True)
    spec = body["spec"]
    assert (spec["minReplicaCount"], spec["maxReplicaCount"], spec["pollingInterval"]) == (2, 20, 15)
    assert spec["fallback"] == {"failureThreshold": 3, "replicas": 15, "behavior": "currentReplicasIfHigher"}
    assert [t["name"] for t in spec["triggers"]] == ["requests", "forecast"]
    assert {(t["metadata"]["ignoreNullValues"], t["metadata"]["threshold"]) for t in spec["triggers"]} == {
        ("false", "280")
    }
    behavior = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    assert behavior["scaleUp"]["policies"] == [{"type": "Percent", "value": 100, "periodSeconds": 15}]
    assert behavior["scaleDown"]["policies"] == [{"type": "Percent", "value": 50, "periodSeconds": 60}]
    quick = settings_of(estate, double_seconds=1, halve_seconds=5)
    faster = scaled_object(estate, REGION, quick, "akidb-rest", with_forecast=False)["spec"]["advanced"]
    both = faster["horizontalPodAutoscalerConfig"]["behavior"].values()
    assert [rules["policies"][0]["periodSeconds"] for rules in both] == [1, 5]
    alone = scaled_object(estate, REGION, settings_of(estate, max_replicas=15), "akidb-rest", with_forecast=False)
    assert (len(alone["spec"]["triggers"]), alone["spec"]["fallback"]["replicas"]) == (1, 15)


def test_rights_to_write_name_their_objects() -> None:
    estate, documents = load_estate(), list(yaml.safe_load_all(RBAC.read_text()))
    rules = [rule for role in documents if "rules" in role for rule in role["rules"]]
    writes = [rule for rule in rules if {"create", "patch", "delete"} & set(rule["verbs"])]
    assert all(rule.get("resourceNames") for rule in writes)
    scaled = next(rule for rule in writes if rule["resources"] == ["scaledobjects"])
    assert scaled["resourceNames"] == list(estate.workloads)
    assert not any("secrets" in rule["resources"] for rule in rules)


# Money ----------------------------------------------------------------------------------------------------------------


def test_the_plans_week_needs_4_to_22_replicas() -> None:
    estate = load_estate()
    week = replicas_of_week(estate, settings_of(estate))
    # Weekdays: 50 QPS x 10.69 is 1 of each, so the least, 2; 200: 4; 550: 11; 300: 6; 100: 2. Weekends end at 250: 5.
    day = [4] * 6 + [8] * 3 + [22] * 9 + [12] * 4 + [4] * 2
    weekend = [4] * 6 + [8] * 3 + [10] * 9 + [10] * 4 + [4] * 2
    assert week == day * 5 + weekend * 2


def test_need_keeps_its_bounds() -> None:
    assert [need(qps, 280, 2, 20) for qps in (0, 560, 561, 5601)] == [2, 2, 3, 20]


def node(name: str, pool: str | None) -> NodeFact:
    return NodeFact(name, "c7g.2xlarge", "us-east-1a", "on-demand", 8, None if pool else "group", pool, None)


def test_only_karpenters_nodes_follow_the_replicas() -> None:
    book = load_aws_book(load_estate())
    price = book.on_demand(REGION, "c7g.2xlarge")
    assert price is not None
    nodes = [node("a", None), node("b", "akidb-spot"), node("c", "akidb-spot")]
    assert usd_hours(book, REGION, nodes, 30, Decimal(15)) == (3 * price, 2 * price)
    assert usd_hours(book, REGION, nodes[:1], 30, Decimal(15)) == (price, price)
    assert usd_hours(book, REGION, [], 0, Decimal(15)) == (Decimal(0), None)


# Plan -----------------------------------------------------------------------------------------------------------------


def test_the_plan_names_what_is_made_and_how_it_is_undone(world: World) -> None:
    plan = LEVER.plan(world.target)
    assert [str(difference) for difference in plan.differences] == [
        f"ServiceAccount akidb/{DEPLOYMENT_NAME}: absent -> created",
        f"Deployment akidb/{DEPLOYMENT_NAME}: absent -> created",
        f"Service akidb/{DEPLOYMENT_NAME}: absent -> created",
        f"PodDisruptionBudget akidb/{DEPLOYMENT_NAME}: absent -> created",
        "ScaledObject akidb/akidb-rest: absent -> created",
        "ScaledObject akidb/akidb-grpc: absent -> created",
    ]
    assert [(stage.slot, stage.title) for stage in plan.stages] == [
        (PREDICTOR, "2 pods of akidb/traffic-predictor:1.0.0 serve the forecast"),
        (REACTIVE, "akidb-rest and akidb-grpc: 2 to 20 replicas each by requests, 280 a second and replica"),
        (PREDICTIVE, "akidb-rest and akidb-grpc: the forecast of the next 15 min may add replicas"),
    ]
    assert (plan.undo, plan.live["replicas"]) == (Undo.MINUTES, {"akidb-rest": 15, "akidb-grpc": 15})
    assert plan.usd_month_before == plan.usd_month_after  # the node group's nodes stay
    assert plan.notes[:3] == (
        "the plan's week at demand scale 10.69 needs 4 to 22 replicas, 11.2 on average; the cost after is in "
        "proportion to them",
        "no node follows the replicas before day 1: the node group keeps its size",
        "the replicas are the autoscaler's from then on; a rollback sets them back: akidb-rest 15, akidb-grpc 15",
    )
    assert world.writes == []


def test_replicas_that_move_do_not_void_an_approval(world: World) -> None:
    world.apply_all()
    before = LEVER.plan(world.target)
    world.prometheus.demand = lambda at: 4000.0
    world.cluster.settle()
    after = LEVER.plan(world.target)
    assert (before.hash(), before.differences) == (after.hash(), ())
    assert after.live["replicas"] == {"akidb-rest": None, "akidb-grpc": None}
    # A forecast that may add replicas already is not taken out on the way.
    assert [stage.slot for stage in after.stages] == [PREDICTOR, PREDICTIVE]


def test_with_use_forecast_off_only_its_trigger_goes(world: World) -> None:
    world.apply_all()
    target = world.with_settings(use_forecast=False)
    plan = LEVER.plan(target)
    assert [stage.slot for stage in plan.stages] == [REACTIVE]
    assert [d.path for d in plan.differences] == [
        "ScaledObject akidb/akidb-rest.spec.triggers",
        "ScaledObject akidb/akidb-grpc.spec.triggers",
    ]
    snapshot = LEVER.snapshot(target)
    world.writes.clear()
    world.apply_all(target)
    assert world.writes == ["apply ScaledObject/akidb-rest", "apply ScaledObject/akidb-grpc"]
    assert world.triggers("akidb-rest") == ["requests"]
    assert ("HorizontalPodAutoscaler", "akidb", "keda-hpa-akidb-rest") in world.cluster.objects
    LEVER.rollback(target, snapshot)
    assert world.triggers("akidb-rest") == ["requests", "forecast"]
    assert LEVER.verify_restored(target, snapshot) == []


# Preflight ------------------------------------------------------------------------------------------------------------


def test_preflight_passes_and_writes_nothing(world: World) -> None:
    checks = LEVER.preflight(world.target)
    assert failed(checks) == {}
    assert world.writes == []
    champion = next(check for check in checks if check.name == "champion")
    assert champion.reason == f"blend {world.version}, data up to {AS_OF}: better"
    world.apply_all()
    assert failed(LEVER.preflight(world.target)) == {}


def test_without_keda_nothing_else_is_looked_for(world: World) -> None:
    world.cluster.unserved |= {"scaledobjects"}
    assert failed(LEVER.preflight(world.target)) == {
        "KEDA's definitions": "scaledobjects.keda.sh/v1alpha1 is not served -> install KEDA 2.18 or newer with its "
        "CustomResourceDefinitions in akidb-us-east-1"
    }
    world.cluster.unserved -= {"scaledobjects"}
    world.cluster.objects["APIService", "", "v1beta1.external.metrics.k8s.io"]["status"] = {}
    assert failed(LEVER.preflight(world.target)) == {
        "KEDA's metrics adapter": "APIService v1beta1.external.metrics.k8s.io is not Available -> start KEDA's metrics "
        "adapter: without it an HPA has no figures"
    }


def test_somebody_elses_autoscaler_is_refused_with_its_owner(world: World) -> None:
    theirs = autoscaler("rest-by-cpu", "akidb-rest", 15, 1)
    theirs["metadata"]["managedFields"] = [{"manager": "payments-team"}, {"manager": "kube-controller-manager"}]
    world.cluster.put(theirs)
    scaled = {
        "kind": "ScaledObject",
        "metadata": {
            "name": "grpc",
            "namespace": "akidb",
            "labels": {"argocd.argoproj.io/instance": "x"},
            "managedFields": [],
        },
        "spec": {"scaleTargetRef": {"name": "akidb-grpc"}, "triggers": []},
    }
    world.cluster.put(scaled)
    assert failed(LEVER.preflight(world.target)) == {
        "autoscaler of akidb-grpc": "ScaledObject grpc of argocd scales akidb-grpc already: two autoscalers would "
        "fight over its replicas -> have argocd remove it, then start again",
        "autoscaler of akidb-rest": "HorizontalPodAutoscaler rest-by-cpu of payments-team scales akidb-rest already: "
        "two autoscalers would fight over its replicas -> have payments-team remove it, then start again",
    }


def test_a_vpa_is_named_but_no_conflict(world: World) -> None:
    world.cluster.unserved = set()
    spec = {
        "targetRef": {"kind": "Deployment", "name": "akidb-rest"},
        "updatePolicy": {"updateMode": "InPlaceOrRecreate"},
    }
    world.cluster.put(
        {"kind": "VerticalPodAutoscaler", "metadata": {"name": "rest", "namespace": "akidb"}, "spec": spec}
    )
    checks = LEVER.preflight(world.target)
    assert failed(checks) == {}
    assert any(check.name == "VPA rest" for check in checks)


def test_deployments_of_argo_cd_are_refused(world: World) -> None:
    live = world.cluster.objects["Deployment", "akidb", "akidb-rest"]
    live["metadata"]["labels"] = {"argocd.argoproj.io/instance": "akidb"}
    (reason,) = failed(LEVER.preflight(world.target)).values()
    assert reason.startswith("Deployment akidb-rest is managed by argocd, which would set its fields and replicas back")


def test_a_region_without_champion_is_refused(tmp_path: Path) -> None:
    world = World(tmp_path, champion=False)
    assert failed(LEVER.preflight(world.target)) == {
        "champion": "us-east-1 has no champion in the registry (s3://airflow@akidb-ml-models/traffic-predictor) -> run "
        "traffic_export, then forecast_retrain, until one is promoted"
    }
    assert failed(LEVER.preflight(world.with_settings(use_forecast=False))) == {}


def test_a_champion_whose_manifest_is_damaged_is_refused(world: World) -> None:
    world.storage.put(f"models/{REGION}/versions/{world.version}/manifest.json", b"{")
    (reason,) = failed(LEVER.preflight(world.target)).values()
    assert f"the manifest of {world.version} can't be read" in reason


def test_a_budget_in_absolute_pods_would_block_every_eviction(world: World) -> None:
    world.cluster.put(budget("akidb-rest", "akidb", minAvailable=10))
    world.cluster.objects["PodDisruptionBudget", "akidb", "akidb-rest"]["spec"]["selector"] = {
        "matchLabels": {"app": "akidb-rest"}
    }
    del world.cluster.objects["PodDisruptionBudget", "akidb", "akidb-grpc"]
    found = failed(LEVER.preflight(world.target))
    assert found["disruption budget of akidb-rest"].startswith(
        "akidb-rest keeps 10 pods available, there may be only 2: no node could go -> set maxUnavailable"
    )
    assert found["disruption budget of akidb-grpc"].startswith(
        "no PodDisruptionBudget selects the pods of Deployment akidb-grpc"
    )


def test_lost_series_are_named(world: World) -> None:
    world.prometheus.missing = {"akidb_grpc_requests_total"}
    world.prometheus.pods = None
    assert set(failed(LEVER.preflight(world.target))) == {
        "metric grpc_requests", "metric grpc_status_label", "metric pods of akidb-rest", "metric pods of akidb-grpc",
    }  # fmt: skip


def test_more_replicas_than_the_most_are_refused(world: World) -> None:
    target = world.with_settings(max_replicas=14)
    found = failed(LEVER.preflight(target))
    assert found["replicas of akidb-rest"] == (
        "akidb-rest has 15 replicas, more than max_replicas 14: some would go at once -> raise max_replicas to 15 or "
        "more"
    )


def test_a_paused_or_unfinished_deployment_is_refused_by_day_2_too(world: World) -> None:
    world.cluster.objects["Deployment", "akidb", "akidb-rest"]["spec"]["paused"] = True
    world.cluster.objects["Deployment", "akidb", "akidb-grpc"]["status"] |= {"replicas": 19, "updatedReplicas": 4}
    found = failed(LEVER.preflight(world.target))
    assert found["rollout of akidb-rest"].startswith("Deployment akidb-rest is paused: a change of its template would")
    assert found["rollout of akidb-grpc"].startswith("Deployment akidb-grpc is in the middle of a rollout (4 of 15")
    assert set(found) == {"rollout of akidb-rest", "rollout of akidb-grpc"}
    assert world.writes == []


def test_a_budget_counts_by_whatever_label_it_selects(world: World) -> None:
    world.cluster.objects["Deployment", "akidb", "akidb-rest"]["spec"]["template"]["metadata"]["labels"]["tier"] = "a"
    for name, selector in {
        "akidb-rest": {"matchLabels": {"tier": "a"}},
        "akidb-grpc": {"matchExpressions": [{"key": "app", "operator": "In", "values": ["akidb-grpc"]}]},
    }.items():
        world.cluster.objects["PodDisruptionBudget", "akidb", name]["spec"]["selector"] = selector
    assert failed(LEVER.preflight(world.target)) == {}


def test_a_quota_below_the_most_replicas_is_refused(world: World) -> None:
    quota = {"kind": "ResourceQuota", "metadata": {"name": "team", "namespace": "akidb"}}
    world.cluster.put(quota | {"spec": {"hard": {"cpu": "36"}}, "status": {"used": {"cpu": "30"}}})
    assert failed(LEVER.preflight(world.target)) == {
        "quota of team": "ResourceQuota team leaves 6 of cpu, max_replicas 20 of each workload needs 10 -> raise the "
        "quota for the rollout"
    }


@pytest.mark.parametrize(
    ("access", "sent"),
    [
        (Access("", auth=("user", "secret")), "a login"),
        (Access("", headers={"X-Scope-OrgID": "prod"}), "the headers X-Scope-OrgID"),
        (
            Access("", headers={"Authorization": "Bearer x"}, cert="c"),
            "the headers Authorization and a client certificate",
        ),
    ],
)
def test_a_prometheus_that_asks_who_is_refused_unless_keda_needs_nothing(
    world: World, access: Access, sent: str
) -> None:
    world.prometheus.access = access
    assert failed(LEVER.preflight(world.target)) == {
        "Prometheus for KEDA": f"http://prom is asked with {sent}, which KEDA's triggers and the predictor don't have "
        "-> let prometheus_endpoint (now http://prometheus-server.monitoring.svc) name an address that answers without "
        "them, and set endpoint_needs_no_login"
    }
    assert failed(LEVER.preflight(world.with_settings(endpoint_needs_no_login=True))) == {}


# Apply ----------------------------------------------------------------------------------------------------------------


def test_the_stages_build_on_each_other_and_a_second_time_changes_nothing(world: World) -> None:
    plan = LEVER.plan(world.target)
    LEVER.apply(world.target, plan.stages[0])
    assert world.replicas() == {"akidb-rest": 15, "akidb-grpc": 15}
    figures = LEVER.apply(world.target, plan.stages[1])
    assert figures["replicas_after"] == {"akidb-rest": 11, "akidb-grpc": 11}
    assert world.triggers("akidb-rest") == ["requests"]
    world.prometheus.added = lambda at: 5000.0
    LEVER.apply(world.target, plan.stages[2])
    assert world.triggers("akidb-grpc") == ["requests", "forecast"]
    assert world.replicas() == {"akidb-rest": 18, "akidb-grpc": 18}
    assert len(world.fences) == 8
    before = copy.deepcopy(world.cluster.objects)
    world.apply_all()
    assert world.cluster.objects == before


def test_a_predictor_without_forecast_stops_the_rollout_with_what_is_missing(world: World) -> None:
    stage = stage_of(world, PREDICTOR)
    world.prometheus.age = None
    with pytest.raises(NotConverged, match="no forecast in Prometheus: is traffic-predictor up and scraped"):
        LEVER.apply(world.target, stage)
    world.prometheus.age = 500.0
    with pytest.raises(NotConverged, match="the newest forecast is 500 s old, 180 s are allowed"):
        LEVER.apply(world.target, stage)
    world.prometheus.age, world.prometheus.horizons = 5.0, 3.0
    with pytest.raises(NotConverged, match="has 3 of 15 horizons"):
        LEVER.apply(world.target, stage)
    world.cluster.becomes_ready = False
    world.cluster.objects["Deployment", "akidb", DEPLOYMENT_NAME]["status"] = {}
    with pytest.raises(NotConverged, match="traffic-predictor: 0 of 2 pods of the current template available"):
        LEVER.apply(world.target, stage)


def test_a_keda_that_does_nothing_stops_the_rollout(world: World) -> None:
    world.cluster.keda_works = False
    with pytest.raises(NotConverged, match="ScaledObject akidb-rest is not ready: none"):
        LEVER.apply(world.target, stage_of(world, REACTIVE))


def test_a_lock_taken_over_stops_every_write(world: World) -> None:
    def fence() -> None:
        raise Refused("the lock was taken over")

    world.apply_all()
    snapshot = LEVER.snapshot(World(world.folder / "other").target)
    world.writes.clear()
    fenced = Target(REGION, world.estate, "run", world.target.settings, world.clients, fence)
    for act in (lambda: LEVER.apply(fenced, stage_of(world, PREDICTIVE)), lambda: LEVER.rollback(fenced, snapshot)):
        with pytest.raises(Refused, match="taken over"):
            act()
    assert world.writes == []


# Gates ----------------------------------------------------------------------------------------------------------------


def test_every_gate_passes_in_a_healthy_world(world: World) -> None:
    world.apply_all()
    stages = {PREDICTOR: 3, PREDICTIVE: 8}
    assert {slot: set(outcomes(world, slot).values()) for slot in stages} == {slot: {"pass"} for slot in stages}
    assert {slot: len(outcomes(world, slot)) for slot in stages} == stages
    _, reason = judged(world, PREDICTOR)["forecast_accuracy"]
    assert reason == (
        "forecast_accuracy: 0.95 ratio is >= 0.85 ratio (estate predictive_scaling.min_accuracy; 1 samples); WAPE "
        f"0.0500 against 0.0800 of last_week_scaled, registry, on data up to {AS_OF}"
    )


def test_a_predictor_that_is_down_is_said_and_does_not_pass(world: World) -> None:
    world.apply_all()
    world.prometheus.age = None
    outcome, reason = judged(world, PREDICTIVE)["forecast_age"]
    assert (outcome, reason) == (
        "unknown",
        "forecast_age: 0 of the 1 samples that it needs; no forecast in Prometheus: is traffic-predictor up and "
        "scraped? Scaling goes on by requests alone",
    )
    others = {name: found for name, found in outcomes(world, PREDICTIVE).items() if name != "forecast_age"}
    assert set(others.values()) == {"pass"}
    evidence = LEVER.evidence(world.target)
    assert evidence["forecast"].endswith("Scaling goes on by requests alone")
    assert evidence["forecast_age_seconds"] is None


def test_a_champion_that_is_no_better_than_a_naive_fails(world: World) -> None:
    world.promote("worse", candidate=0.2)
    assert outcomes(world, PREDICTOR) == {
        "forecast_age": "pass", "forecast_accuracy": "fail", "forecast_against_naive": "fail",
    }  # fmt: skip


def test_lost_metrics_fail_or_are_unknown_but_never_pass(world: World) -> None:
    world.apply_all()
    world.prometheus.lost = True
    world.cluster.fallback = "True"
    world.cluster.settle()
    found = judged(world, PREDICTIVE)
    assert {name: found[name][0] for name in ("fallback_active", "replicas_below_need", "false_scale_ups")} == {
        "fallback_active": "fail", "replicas_below_need": "unknown", "false_scale_ups": "unknown",
    }  # fmt: skip
    assert found["fallback_active"][1].endswith("lost metrics of akidb-rest, akidb-grpc")


def test_an_hpa_that_wants_less_than_the_requests_need_fails(world: World) -> None:
    world.apply_all()
    world.prometheus.demand = lambda at: 4000.0  # 14.3 replicas; 13 is within the HPA's tolerance
    hpa = world.cluster.objects["HorizontalPodAutoscaler", "akidb", "keda-hpa-akidb-rest"]
    other = world.cluster.objects["HorizontalPodAutoscaler", "akidb", "keda-hpa-akidb-grpc"]
    hpa["status"]["desiredReplicas"] = other["status"]["desiredReplicas"] = 13
    assert outcomes(world, PREDICTIVE)["replicas_below_need"] == "pass"
    hpa["status"]["desiredReplicas"] = 12
    outcome, reason = judged(world, PREDICTIVE)["replicas_below_need"]
    assert outcome == "fail"
    assert "akidb-rest: 12 for 4000 requests/s, which need 13" in reason


def test_an_hpa_without_figures_fails(world: World) -> None:
    world.apply_all()
    hpa = world.cluster.objects["HorizontalPodAutoscaler", "akidb", "keda-hpa-akidb-rest"]
    hpa["status"]["conditions"][1] = condition("ScalingActive", "False") | {"message": "no metrics"}
    outcome, reason = judged(world, PREDICTIVE)["autoscalers_unhealthy"]
    assert outcome == "fail"
    assert reason.endswith("the HPA of akidb-rest is not ScalingActive: no metrics")


def test_replicas_that_nobody_needed_fail_once_their_time_is_over(world: World) -> None:
    world.apply_all()
    world.prometheus.added = lambda at: 5000.0 if at < NOW - 1000 else 0.0
    outcome, reason = judged(world, PREDICTIVE)["false_scale_ups"]
    assert outcome == "fail"
    assert "replica-steps of 15 s at most" in reason


def test_scale_ups_are_judged_with_forecast_and_demand_for_most_of_the_stage(world: World) -> None:
    world.apply_all()
    stage = next(stage for stage in LEVER.plan(world.target).stages if stage.slot == PREDICTIVE)
    figure = LEVER.observe(world.target, stage, 600, {"started_at": NOW - 600})["false_scale_ups"]
    assert figure is not None
    assert figure.coverage == 1.0
    world.prometheus.added = lambda at: math.nan if at > NOW - 300 else 0.0
    figure = LEVER.observe(world.target, stage, 600, {"started_at": NOW - 600})["false_scale_ups"]
    assert figure is not None
    assert figure.coverage == 0.5


def test_a_forecast_that_comes_true_is_no_waste(world: World) -> None:
    world.apply_all()
    world.prometheus.added = lambda at: 5000.0 if NOW - 1500 < at < NOW - 900 else 0.0
    world.prometheus.demand = lambda at: 5000.0 if at >= NOW - 900 else 2900.0
    assert outcomes(world, PREDICTIVE)["false_scale_ups"] == "pass"


# What was in vain -----------------------------------------------------------------------------------------------------

BOUNDS = Bounds(100, 1, 10)


def test_waste_is_what_was_added_and_not_needed_within_the_lead_time() -> None:
    # 3 replicas added for two steps; the demand comes two steps later.
    demand, added = [100.0, 100.0, 300.0, 300.0], [300.0, 300.0, 0.0, 0.0]
    assert of_workload(demand, added, BOUNDS, ahead=2, hold=0) == Waste(0, 8, 0, 2, 2, 4)
    # It does not come: 2 too many in each of the first two steps.
    assert of_workload([100.0] * 4, added, BOUNDS, ahead=2, hold=0) == Waste(4, 4, 4, 2, 2, 4)
    # Replicas stay a step longer than they are wanted.
    assert of_workload([100.0] * 4, added, BOUNDS, ahead=1, hold=1) == Waste(6, 4, 6, 3, 3, 4)
    # More than the most is never added.
    assert of_workload([100.0], [5000.0], BOUNDS, ahead=0, hold=0) == Waste(9, 1, 9, 1, 1, 1)


def test_steps_without_a_value_do_not_count() -> None:
    assert of_workload([None, 100.0, None], [300.0, None, 300.0], BOUNDS, ahead=1, hold=1) == Waste()
    assert of_workload([None, 100.0], [300.0, 200.0], BOUNDS, ahead=0, hold=1) == Waste(2, 1, 2, 1, 1, 1)


def test_the_share_is_certain_or_of_the_known_steps() -> None:
    assert Waste(1, 100, 1, 10, 5, 50).share(0.05) == (0.01, 50)  # at most 1 %, whatever comes
    assert Waste(10, 100, 1, 50, 25, 50).share(0.05) == (0.02, 25)  # 10 % at most, 2 % of what is known
    assert Waste(10, 100, 0, 0, 0, 50).share(0.05) is None
    assert Waste().share(0.05) is None
    assert Waste(1, 2, 3, 4, 5, 6) + Waste(1, 1, 1, 1, 1, 1) == Waste(2, 3, 4, 5, 6, 7)


# How good the champion is ---------------------------------------------------------------------------------------------


def decision(action: Action, version: str, **figures: Any) -> Decision:
    return Decision(action, version, "", "why", AS_OF, figures)


def test_the_newest_figures_of_the_champion_count() -> None:
    promoted = decision(Action.PROMOTED, "a", wape15={"candidate": 0.1, "now": 0.3, "yesterday": 0.2})
    kept = decision(Action.KEPT, "b", wape15={"candidate": 0.3, "champion a": 0.15, "now": 0.25})
    refused = decision(Action.REFUSED, "", window="x")
    found = accuracy.recorded([promoted, kept, refused], "a")
    assert found is not None
    assert (found.wape, found.naive, found.naive_wape, found.ratio) == (0.15, "now", 0.25, pytest.approx(0.6))
    first = accuracy.recorded([promoted, refused], "a")
    assert first is not None
    assert (first.wape, first.naive) == (0.1, "yesterday")
    assert accuracy.recorded([promoted, kept], "c") is None


def test_after_a_demotion_the_successors_own_figures_count() -> None:
    demoted = decision(
        Action.DEMOTED, "n", champion_wape=0.4, alternatives={"n": 0.2}, best_naive="now", best_naive_wape=0.2
    )
    found = accuracy.recorded([demoted], "n")
    assert found is not None
    assert (found.wape, found.naive, found.ratio) == (0.2, "now", 1.0)


def test_a_naive_without_error_gives_no_ratio() -> None:
    assert accuracy.Accuracy(0.1, "now", 0.0, 1, "x").ratio is None


# Rollback -------------------------------------------------------------------------------------------------------------


def test_a_rollback_takes_the_forecast_out_first_and_sets_everything_back(world: World) -> None:
    before, snapshot = world.cluster.state(), LEVER.snapshot(world.target)
    world.apply_all()
    world.prometheus.demand = lambda at: 4900.0
    world.cluster.settle()
    assert world.replicas() == {"akidb-rest": 18, "akidb-grpc": 18}
    fewer = world.prometheus.value
    world.prometheus.value = lambda e: 2900.0 if e.startswith("sum(rate(") else fewer(e)  # type: ignore[method-assign]
    world.writes.clear()
    restored = LEVER.rollback(world.target, snapshot)
    assert world.writes[:4] == [
        "apply ScaledObject/akidb-rest",
        "apply ScaledObject/akidb-grpc",
        "delete ScaledObject/akidb-grpc",
        "delete ScaledObject/akidb-rest",
    ]
    assert restored.steps[:4] == (
        "forecast trigger of akidb-rest taken out after 0.0 s",
        "forecast trigger of akidb-grpc taken out after 0.0 s",
        "ScaledObject akidb/akidb-grpc deleted",
        "ScaledObject akidb/akidb-rest deleted",
    )
    assert "akidb-rest from 18 back to 15 replicas" in restored.steps
    assert restored.changed_by_others == ()
    assert LEVER.verify_restored(world.target, snapshot) == []
    assert set(world.cluster.state()) == set(before)
    assert world.replicas() == {"akidb-rest": 15, "akidb-grpc": 15}


def test_a_rollback_after_each_stage_and_a_second_one_find_everything_back(tmp_path: Path) -> None:
    for count in range(4):
        world = World(tmp_path / str(count))
        snapshot, stages = LEVER.snapshot(world.target), LEVER.plan(world.target).stages
        for stage in stages[:count]:
            LEVER.apply(world.target, stage)
        LEVER.rollback(world.target, snapshot)
        assert LEVER.verify_restored(world.target, snapshot) == []
        world.writes.clear()
        again = LEVER.rollback(world.target, snapshot)
        assert (again.steps, world.writes) == (("nothing was written, nothing is to be undone",), [])


def test_replicas_wait_until_the_hpa_is_gone(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    snapshot = LEVER.snapshot(world.target)
    world.apply_all()
    hpa = world.cluster.objects["HorizontalPodAutoscaler", "akidb", "keda-hpa-akidb-rest"]
    world.cluster.stuck = True  # KEDA is down: its HPA stays
    with pytest.raises(NotConverged, match="KEDA's HPA of akidb-rest still exists"):
        LEVER.rollback(world.target, snapshot)
    assert hpa in world.cluster.objects.values()
    assert {d.path for d in LEVER.verify_restored(world.target, snapshot)} >= {
        "Deployment akidb/akidb-rest replicas", "HorizontalPodAutoscaler of akidb-rest",
    }  # fmt: skip
    world.cluster.stuck = False
    LEVER.rollback(world.target, snapshot)
    assert LEVER.verify_restored(world.target, snapshot) == []


def test_what_somebody_else_has_changed_is_reported(world: World) -> None:
    snapshot = LEVER.snapshot(world.target)
    world.apply_all()
    changed_by = {"manager": "kubectl-edit", "operation": "Update", "fieldsV1": {"f:spec": {"f:minReplicaCount": {}}}}
    world.cluster.objects["ScaledObject", "akidb", "akidb-rest"]["metadata"]["managedFields"].append(changed_by)
    restored = LEVER.rollback(world.target, snapshot)
    assert [str(difference) for difference in restored.changed_by_others] == [
        "ScaledObject akidb/akidb-rest content: absent -> changed by kubectl-edit"
    ]
    assert LEVER.verify_restored(world.target, snapshot) == []


def test_a_rollback_works_without_registry_and_prometheus(world: World) -> None:
    snapshot = LEVER.snapshot(world.target)
    world.apply_all()
    for name in ("prometheus", "storage", "location", "aws"):
        delattr(world.clients, name)
    LEVER.rollback(world.target, snapshot)
    assert LEVER.verify_restored(world.target, snapshot) == []


def at_peak(world: World) -> Object:
    """The snapshot of 15 replicas, and then 5,600 requests a second that need 20."""
    snapshot = LEVER.snapshot(world.target)
    world.apply_all()
    world.prometheus.demand = lambda at: 5600.0
    world.cluster.settle()
    assert world.replicas() == {"akidb-rest": 20, "akidb-grpc": 20}
    return snapshot


def test_a_rollback_at_the_peak_keeps_what_the_requests_need_and_says_how_to_set_it_back(world: World) -> None:
    snapshot = at_peak(world)
    restored = LEVER.rollback(world.target, snapshot)
    assert world.replicas() == {"akidb-rest": 20, "akidb-grpc": 20}
    assert (
        "akidb-rest stays at 20 replicas: 5600 requests a second need 20, the snapshot has 15; set it back when they "
        "are fewer: kubectl -n akidb scale deployment/akidb-rest --replicas=15"
    ) in restored.steps
    assert LEVER.verify_restored(world.target, snapshot) == []
    world.prometheus.demand = lambda at: 4500.0
    again = LEVER.rollback(world.target, snapshot)
    assert world.replicas() == {"akidb-rest": 17, "akidb-grpc": 17}
    assert again.steps[0].startswith("akidb-rest from 20 back to 17 replicas: 4500 requests a second need 17")
    world.prometheus.demand = lambda at: 280.0
    LEVER.rollback(world.target, snapshot)
    assert world.replicas() == {"akidb-rest": 15, "akidb-grpc": 15}


def test_while_the_requests_are_not_known_no_replica_is_taken_away(world: World) -> None:
    snapshot = at_peak(world)
    world.prometheus.lost = True
    restored = LEVER.rollback(world.target, snapshot)
    assert world.replicas() == {"akidb-rest": 20, "akidb-grpc": 20}
    assert any("how many requests come is not known" in step for step in restored.steps)
    assert LEVER.verify_restored(world.target, snapshot) == []


def test_a_rollback_never_adds_replicas_for_requests_that_the_autoscaler_did_not_follow(world: World) -> None:
    snapshot = at_peak(world)
    world.prometheus.demand = lambda at: 56000.0  # 200 replicas; the most that it may are 20
    LEVER.rollback(world.target, snapshot)
    assert world.replicas() == {"akidb-rest": 20, "akidb-grpc": 20}


@pytest.mark.parametrize(("first", "then"), [(False, True), (True, False)])
def test_what_a_resumed_run_adds_with_other_settings_is_undone_too(world: World, first: bool, then: bool) -> None:
    before, chosen = world.cluster.state(), world.with_settings(use_forecast=first)
    snapshot = json.loads(json.dumps(LEVER.snapshot(chosen), sort_keys=True))
    world.apply_all(chosen)
    other = world.with_settings(use_forecast=then)
    world.apply_all(other)
    LEVER.rollback(other, snapshot)
    assert set(world.cluster.state()) == set(before)
    assert LEVER.verify_restored(other, snapshot) == []


def test_a_workload_that_left_the_estate_gets_its_replicas_back(world: World) -> None:
    snapshot = LEVER.snapshot(world.target)
    world.apply_all()
    workloads = {"akidb-rest": world.estate.workloads["akidb-rest"]}
    shrunk = replace(world.target, estate=world.estate.model_copy(update={"workloads": workloads}))
    LEVER.rollback(shrunk, snapshot)
    assert world.replicas() == {"akidb-rest": 15, "akidb-grpc": 15}
    assert LEVER.verify_restored(shrunk, snapshot) == []


def test_a_deployment_that_is_gone_does_not_stop_the_rest(world: World) -> None:
    snapshot = LEVER.snapshot(world.target)
    world.apply_all()
    del world.cluster.objects["Deployment", "akidb", "akidb-grpc"]
    del world.cluster.objects["ScaledObject", "akidb", "akidb-grpc"]
    LEVER.rollback(world.target, snapshot)
    assert world.cluster.objects["Deployment", "akidb", "akidb-rest"]["spec"]["replicas"] == 15
    assert LEVER.verify_restored(world.target, snapshot) == []
    assert ("Deployment", "akidb", DEPLOYMENT_NAME) not in world.cluster.objects


def test_without_keda_and_its_definitions_the_rest_is_set_back(world: World) -> None:
    snapshot = LEVER.snapshot(world.target)
    world.apply_all()
    for key in [k for k in world.cluster.objects if k[0] in ("ScaledObject", "HorizontalPodAutoscaler")]:
        del world.cluster.objects[key]
    world.cluster.unserved |= {"scaledobjects"}
    restored = LEVER.rollback(world.target, snapshot)
    assert restored.changed_by_others == ()
    assert world.replicas() == {"akidb-rest": 15, "akidb-grpc": 15}
    assert ("Deployment", "akidb", DEPLOYMENT_NAME) not in world.cluster.objects
    assert LEVER.verify_restored(world.target, snapshot) == []


def test_an_earlier_run_that_can_not_be_made_again_is_reported_and_the_rest_set_back(world: World) -> None:
    world.apply_all()
    snapshot = LEVER.snapshot(world.target)  # an earlier run's ScaledObjects
    for key in [k for k in world.cluster.objects if k[0] in ("ScaledObject", "HorizontalPodAutoscaler")]:
        del world.cluster.objects[key]
    world.cluster.unserved |= {"scaledobjects"}
    restored = LEVER.rollback(world.target, snapshot)
    assert {d.path for d in restored.changed_by_others} == {
        "ScaledObject akidb/akidb-rest", "ScaledObject akidb/akidb-grpc",
    }  # fmt: skip
    left = [d.path for d in LEVER.verify_restored(world.target, snapshot)]
    assert left
    assert all(path.startswith("ScaledObject akidb/akidb-") for path in left)


@pytest.mark.parametrize("write", range(1, 8))
def test_a_crash_after_any_write_of_apply_and_of_the_rollback_is_undone(world: World, write: int) -> None:
    snapshot = json.loads(json.dumps(LEVER.snapshot(world.target), sort_keys=True))
    before = set(world.cluster.state())
    crash_at(world.writes, write)
    with contextlib.suppress(Crashed):
        world.apply_all()
    crash_at(world.writes, write)
    with contextlib.suppress(Crashed):
        LEVER.rollback(world.target, snapshot)
    world.writes.after = None
    LEVER.rollback(world.target, snapshot)
    assert set(world.cluster.state()) == before
    assert LEVER.verify_restored(world.target, snapshot) == []


def test_a_snapshot_of_another_release_lacks_and_has_keys(world: World) -> None:
    snapshot = LEVER.snapshot(world.target)
    world.apply_all()
    newer = {**snapshot, "of_a_newer_release": 1, "objects": [*snapshot["objects"], {"key": "Gizmo a/b", "was": None}]}
    restored = LEVER.rollback(world.target, newer)
    assert [str(d) for d in restored.changed_by_others] == [
        "Gizmo a/b: as before the rollout -> of a kind that this release does not know: undo it with the release that "
        "wrote it"
    ]
    assert [d.path for d in LEVER.verify_restored(world.target, newer)] == ["Gizmo a/b"]
    assert LEVER.verify_restored(world.target, snapshot) == []
    with pytest.raises(Refused, match="the snapshot has no 'objects': another release took it"):
        LEVER.rollback(world.target, {})


def test_triggers_that_others_took_over_do_not_stop_the_rollback(world: World) -> None:
    snapshot = LEVER.snapshot(world.target)
    world.apply_all()
    theirs = {"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject"}
    theirs |= {"metadata": {"name": "akidb-rest", "namespace": "akidb"}, "spec": {"triggers": [{"type": "cron"}]}}
    world.cluster.apply(theirs, "argocd-controller", force=True)
    restored = LEVER.rollback(world.target, snapshot)
    assert [str(d) for d in restored.changed_by_others] == [
        "ScaledObject akidb/akidb-rest content: absent -> changed by argocd-controller"
    ]
    assert world.replicas() == {"akidb-rest": 15, "akidb-grpc": 15}


def test_a_foreign_entry_of_env_reaches_neither_plan_nor_snapshot(world: World) -> None:
    world.apply_all()
    live = world.cluster.objects["Deployment", "akidb", DEPLOYMENT_NAME]
    (container,) = live["spec"]["template"]["spec"]["containers"]
    container["env"].insert(0, {"name": "REGISTRY_PASSWORD", "value": "hunter2-hunter2"})
    container["env"][1]["value"] = "hunter2-hunter2"  # a value of ours that somebody has replaced
    live["metadata"].setdefault("annotations", {})["team/token"] = "hunter2-hunter2"
    entry = live["metadata"]["managedFields"][0]
    fields = entry["fieldsV1"]["f:spec"]["f:template"]["f:spec"]["f:containers"]
    del next(iter(fields.values()))["f:env"]  # taken over by force
    plan, snapshot = LEVER.plan(world.target), LEVER.snapshot(world.target)
    assert "hunter2" not in json.dumps(plan.to_json())
    assert "hunter2" not in json.dumps(snapshot)
    assert "set by others" in json.dumps([d.before for d in plan.differences])


# The report -----------------------------------------------------------------------------------------------------------


def test_evidence_has_the_figures_of_the_report(world: World) -> None:
    world.apply_all()
    assert LEVER.evidence(world.target) == {
        "nodes": 5,
        "replicas": {"akidb-rest": 11, "akidb-grpc": 11},
        "pods": 22,
        "autoscaled": {"akidb-rest": True, "akidb-grpc": True},
        "forecast": "sure",
        "forecast_age_seconds": 20.0,
        "champion": world.version,
        "forecast_accuracy": 0.95,
        "forecast_accuracy_of": f"WAPE 0.0500 against 0.0800 of last_week_scaled, registry, on data up to {AS_OF}",
        "usd_hour": pytest.approx(5 * 0.29),
        "usd_hour_unknown": [],
        "p95_ms": pytest.approx(23.776, abs=0.001),
        "error_ratio": 0.0,
    }


def test_evidence_before_the_rollout_needs_no_champion(tmp_path: Path) -> None:
    world = World(tmp_path, champion=False)
    world.prometheus.age = None
    evidence: Object = LEVER.evidence(world.target)
    assert (evidence["champion"], evidence["forecast_accuracy"]) == (None, None)
    assert evidence["replicas"] == {"akidb-rest": 15, "akidb-grpc": 15}


def test_the_registry_is_read_only(world: World) -> None:
    keys = world.storage.keys()
    world.apply_all()
    LEVER.preflight(world.target)
    LEVER.evidence(world.target)
    assert world.storage.keys() == keys
    assert Registry(world.storage, REGION).pointer().version == world.version
