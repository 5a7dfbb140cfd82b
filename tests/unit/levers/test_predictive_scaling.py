"""The predictive-scaling lever: what it may be told, what it wants, what it plans, and what it checks before."""

from __future__ import annotations

import copy
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from include.clients.access import Access
from include.estate import Estate, EstateError, load_estate
from include.forecast.replicas import need
from include.levers import lever
from include.levers.node_costs import NodeFact
from include.levers.predictive_scaling.money import replicas_of_week, usd_hours
from include.levers.predictive_scaling.wanted import (
    DEPLOYMENT_NAME,
    PREDICTIVE,
    PREDICTOR,
    REACTIVE,
    PredictiveSettings,
    pod_location,
    predictor,
    scaled_object,
)
from include.prices import load_aws_book
from include.rollout.lever import Refused, Undo
from include.rollout.settings import form_fields
from tests.unit.levers.scaling_world import AS_OF, LEVER, REGION, World, autoscaler, failed, settings_of
from tests.unit.levers.spot_world import budget

RBAC = Path(__file__).parents[3] / "include/manifests/predictive_scaling/rbac.yaml"


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


# Settings and estate --------------------------------------------------------------------------------------------------


def test_the_lever_is_registered_and_its_form_shows_the_estates_figures() -> None:
    assert lever("predictive_scaling").name == "predictive_scaling"
    fields = form_fields(PredictiveSettings, load_estate())
    shown = {name: fields[name]["default"] for name in ("use_forecast", "min_replicas", "max_replicas", "lead_minutes")}
    assert shown == {"use_forecast": True, "min_replicas": 2, "max_replicas": 20, "lead_minutes": 15}
    assert fields["predictor_image"]["default"] == "akidb/traffic-predictor:1.1.0"


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


def allowed(method: str, path: str) -> bool:
    """Whether the role lets the lever make a request; what every user may ask is left out."""
    parts = path.removeprefix("/apis/").removeprefix("/api/").split("/")
    group, rest = ("", parts[1:]) if path.startswith("/api/") else (parts[0], parts[2:])
    in_space = rest[:1] == ["namespaces"] and len(rest) > 2
    resource, *name = rest[2:] if in_space else rest
    verb = {"GET": "get" if name else "list", "GET watch": "watch"}.get(method, method.lower())
    roles = [role for role in yaml.safe_load_all(RBAC.read_text()) if role["kind"] in ("Role", "ClusterRole")]
    rules = [rule for role in roles for rule in role["rules"] if in_space or role["kind"] == "ClusterRole"]
    return any(
        group in rule["apiGroups"]
        and resource in rule["resources"]
        and verb in rule["verbs"]
        and set(name[:1]) <= set(rule.get("resourceNames") or name[:1])
        for rule in rules
    )


def test_preflight_rollout_and_rollback_stay_within_the_role(world: World) -> None:
    LEVER.preflight(world.target)
    snapshot = LEVER.snapshot(world.target)
    world.apply_all()
    LEVER.rollback(world.target, snapshot)
    LEVER.verify_restored(world.target, snapshot)
    asked = {(method, path) for method, path in world.cluster.api.requests if path.count("/") > 3}  # not discovery
    assert len(asked) > 30
    assert sorted(request for request in asked if not allowed(*request)) == []


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
        (PREDICTOR, "2 pods of akidb/traffic-predictor:1.1.0 serve the forecast"),
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
