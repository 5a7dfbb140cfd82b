"""The cost-truth lever: what it plans, writes and measures, on an in-memory cluster with server-side apply."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from include.estate import load_estate
from include.levers import lever
from include.levers.alert_rules import MONITORING
from include.levers.cost_monitoring.dashboard import panels
from include.levers.cost_monitoring.rules import groups
from include.levers.cost_monitoring.wanted import (
    DASHBOARD,
    KUBECOST,
    MANAGER,
    OPENCOST,
    RULES,
    MonitoringSettings,
    installed,
)
from include.levers.dashboards import REGION as OF_REGION
from include.rollout.gates import Outcome, judge_all
from include.rollout.lever import NotConverged, Stage, Undo
from include.rollout.settings import form_fields
from tests.unit.levers.monitoring_world import LEVER, SCRAPE, US, World, failed, outcomes
from tests.unit.levers.spot_world import NOW


@pytest.fixture
def world() -> World:
    return World()


# Settings and manifests -----------------------------------------------------------------------------------------------


def test_the_lever_is_registered_and_its_form_has_every_field() -> None:
    assert lever("cost_monitoring").name == "cost_monitoring"
    fields = form_fields(MonitoringSettings, load_estate())
    assert fields["validation_window_seconds"]["default"] == 86400
    assert {name: fields[name]["default"] for name in fields if name.startswith("opencost")} == {
        "opencost_chart_version": "2.5.29",
        "opencost_version": "1.108.1",
        "opencost_image": "quay.io/kubecost1/kubecost-cost-model:prod-1.108.1",
        "opencost_job": "opencost",
    }


def test_image_and_version_are_changed_together() -> None:
    given = {"opencost_version": "1.121.1", "validation_window_seconds": 1, "converge_timeout_seconds": 1}
    with pytest.raises(ValidationError, match=r"does not end in opencost_version 1\.121\.1: change both together"):
        MonitoringSettings.model_validate(given)
    image = "ghcr.io/opencost/opencost:1.121.1@sha256:00"
    assert MonitoringSettings.model_validate(given | {"opencost_image": image}).version(OPENCOST) == "1.121.1"


def test_figures_of_the_bill_need_their_day() -> None:
    given = {"known_usd_day": {"s3": "4.5"}, "validation_window_seconds": 1, "converge_timeout_seconds": 1}
    with pytest.raises(ValidationError, match="known_usd_day needs known_as_of"):
        MonitoringSettings.model_validate(given)


@pytest.mark.parametrize("name", [OPENCOST, KUBECOST])
def test_what_is_installed_is_pinned_confined_and_read_only(world: World, name: str) -> None:
    bodies = installed(name, world.estate, US, world.target.settings)
    kinds = [body["kind"] for body in bodies]
    assert kinds == ["Namespace", "ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Deployment", "Service"]
    role, deployment, service = bodies[2], bodies[4], bodies[5]
    assert {verb for rule in role["rules"] for verb in rule["verbs"]} == {"get", "list", "watch"}
    assert not any("secrets" in rule["resources"] for rule in role["rules"])
    pod = deployment["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    (container,) = pod["containers"]
    assert container["image"].endswith(world.target.settings.version(name))
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert {"startupProbe", "readinessProbe", "livenessProbe", "resources"} <= set(container)
    assert {"name": "CLUSTER_ID", "value": "akidb-us-east-1"} in container["env"]
    assert service["spec"]["type"] == "ClusterIP"
    labels = deployment["metadata"]["labels"]
    assert labels["helm.sh/chart"] == world.target.settings.chart(name)
    assert labels["app.kubernetes.io/version"] == world.target.settings.version(name)


def test_the_lever_may_grant_what_it_grants_and_write_what_it_writes() -> None:
    world, path = World(), Path(__file__).parents[3] / "include/manifests/cost_monitoring/rbac.yaml"
    role = next(yaml.safe_load_all(path.read_text()))
    held = {(g, r) for rule in role["rules"] for g in rule["apiGroups"] for r in rule["resources"]
            if {"get", "list", "watch"} <= set(rule["verbs"]) and "resourceNames" not in rule}  # fmt: skip
    for name in (OPENCOST, KUBECOST):
        granted = installed(name, world.estate, US, world.target.settings)[2]["rules"]
        assert {(g, r) for rule in granted for g in rule["apiGroups"] for r in rule["resources"]} <= held
    writes = [rule for rule in role["rules"] if {"create", "patch", "delete"} & set(rule["verbs"])]
    assert all(rule.get("resourceNames") for rule in writes), "a right to write needs the objects' names"


# Plan -----------------------------------------------------------------------------------------------------------------


def test_the_plan_names_what_is_made_what_it_costs_and_how_it_is_undone(world: World) -> None:
    plan = LEVER.plan(world.target)
    assert [stage.slot for stage in plan.stages] == list(LEVER.slots)
    assert plan.stages[0].title == "opencost 1.108.1 (opencost-2.5.29) installed"
    assert [str(d) for d in plan.differences][:2] == [
        "Namespace opencost: absent -> created",
        "ServiceAccount opencost/opencost: absent -> created",
    ]
    assert len(plan.differences) == 15
    assert (plan.usd_month_before, plan.usd_month_after) == (Decimal(0), Decimal("206.67"))
    assert (plan.price_book, plan.undo) == ("plan (week 14)", Undo.MINUTES)
    assert plan.notes[0].startswith("the platform is 620 USD a month for the estate, shared by 3 regions")
    assert plan.notes[-1] == "PrometheusRule is not served: the rules go into a ConfigMap in monitoring"
    assert world.writes == []
    assert LEVER.plan(world.target).hash() == plan.hash()


def test_with_the_operator_the_rules_are_a_prometheus_rule() -> None:
    world = World()
    world.cluster.unserved = set()
    assert f"PrometheusRule {MONITORING}/{RULES}" in [d.path for d in LEVER.plan(world.target).differences]
    world.apply_all()
    spec = world.cluster.objects["PrometheusRule", MONITORING, RULES]["spec"]
    assert spec == {"groups": groups(world.estate, US, SCRAPE)}


# Apply ----------------------------------------------------------------------------------------------------------------


def test_each_stage_writes_its_objects_in_order_and_once(world: World) -> None:
    figures = world.apply_all()
    assert {slot: f["objects"] for slot, f in figures.items()} == {OPENCOST: 6, KUBECOST: 6, DASHBOARD: 3}
    assert world.writes[:6] == [
        "apply Namespace/opencost",
        "apply ServiceAccount/opencost",
        "apply ClusterRole/opencost",
        "apply ClusterRoleBinding/opencost",
        "apply Deployment/opencost",
        "apply Service/opencost",
    ]
    assert len(world.fences) == len(world.writes) == 15
    before = world.cluster.state()
    world.apply_all()  # what a retry after a crash does
    assert world.cluster.state() == before
    assert LEVER.plan(world.target).differences == ()


def test_what_somebody_else_has_installed_is_checked_and_left_alone(world: World) -> None:
    world.foreign(OPENCOST, **{"helm.sh/chart": "opencost-2.5.29", "app.kubernetes.io/version": "1.108.1"})
    assert failed(LEVER.preflight(world.target)) == {}
    plan = LEVER.plan(world.target)
    assert plan.stages[0].title == "opencost 1.108.1 (opencost-2.5.29) checked"
    assert not [d for d in plan.differences if "opencost" in d.path]
    before = world.cluster.state()
    snapshot = LEVER.snapshot(world.target)
    assert LEVER.apply(world.target, plan.stages[0])["left_to_its_owner"] is True
    assert world.writes == []
    assert LEVER.rollback(world.target, snapshot).steps == ("nothing was written, nothing is to be undone",)
    kept = ("Deployment", OPENCOST, OPENCOST)
    assert world.cluster.state()[kept]["metadata"] == before[kept]["metadata"]


def test_another_version_of_somebody_else_is_refused_with_the_remedy(world: World) -> None:
    world.foreign(OPENCOST, **{"helm.sh/chart": "opencost-2.5.34", "app.kubernetes.io/version": "1.108.1"})
    assert failed(LEVER.preflight(world.target)) == {
        "opencost installed": "helm's Deployment opencost/opencost: helm.sh/chart is opencost-2.5.34, pinned is "
        "opencost-2.5.29 -> change it in helm, or set opencost_chart_version, opencost_version and opencost_image to "
        "what it is"
    }


def test_a_deployment_that_does_not_become_ready_is_named(world: World) -> None:
    world.cluster.becomes_ready = False
    stage = LEVER.plan(world.target).stages[0]
    message = (
        "us-east-1: opencost becoming available: not reached within 60 s: Deployment opencost/opencost: 0 of 1 pods"
    )
    with pytest.raises(NotConverged, match=message):
        LEVER.apply(world.target, stage)


def test_missing_prices_and_rules_are_waited_for_and_named(world: World) -> None:
    stages = LEVER.plan(world.target).stages
    world.prometheus.unpriced = 1
    with pytest.raises(NotConverged, match="4 of 5 nodes have a price"):
        LEVER.apply(world.target, stages[0])
    world.prometheus.loaded = False
    with pytest.raises(NotConverged, match="not loaded: AkidbCostSeriesMissing"):
        LEVER.apply(world.target, stages[2])
    world.prometheus.loaded, world.prometheus.up = True, []
    with pytest.raises(NotConverged, match="has no sample"):
        LEVER.apply(world.target, stages[1])


# Gates ----------------------------------------------------------------------------------------------------------------


def test_every_gate_passes_in_a_healthy_world(world: World) -> None:
    assert {slot: set(outcomes(world, slot).values()) for slot in LEVER.slots} == {
        slot: {"pass"} for slot in LEVER.slots
    }


def test_prices_that_disagree_with_the_book_fail(world: World) -> None:
    world.prometheus.factor = 1.04
    assert outcomes(world, OPENCOST)["opencost_price_gap"] == "pass"
    world.prometheus.factor = 1.06
    assert outcomes(world, OPENCOST) == {"opencost_node_coverage": "pass", "opencost_price_gap": "fail"}


def test_a_node_that_has_no_price_yet_is_unknown_and_named(world: World) -> None:
    world.prometheus.unpriced = 1
    assert outcomes(world, OPENCOST) == {"opencost_node_coverage": "unknown", "opencost_price_gap": "pass"}
    stage = LEVER.plan(world.target).stages[0]
    result = judge_all(stage.gates, LEVER.observe(world.target, stage, 60, {}))[0]
    assert result.reason == "opencost_node_coverage: 0 of the 1 samples that it needs; 4 of 5 nodes have a price"
    world.prometheus.unpriced = 5
    assert outcomes(world, OPENCOST) == {"opencost_node_coverage": "unknown", "opencost_price_gap": "unknown"}


def test_kubecost_counts_from_its_first_answer(world: World) -> None:
    assert outcomes(world, KUBECOST) == {"kubecost_up": "pass"}  # it was down before it was installed
    world.prometheus.up.append((NOW, 0.0))
    assert outcomes(world, KUBECOST) == {"kubecost_up": "fail"}
    world.prometheus.up = [(NOW, 0.0)]
    assert outcomes(world, KUBECOST) == {"kubecost_up": "unknown"}


def test_kubecost_needs_scrapes_for_its_whole_window(world: World) -> None:
    """Two good scrapes say nothing about the minutes before them."""
    stage = LEVER.plan(world.target).stages[1]
    world.prometheus.up = [(NOW - 5, 1.0), (NOW, 1.0)]
    figure = LEVER.observe(world.target, stage, 600, {"started_at": NOW - 600})["kubecost_up"]
    assert figure is not None
    # Ten slots of 60 s; a sample counts for its own slot and the one after.
    assert (figure.value, figure.coverage) == (1.0, 0.1)
    world.prometheus.up = [(NOW - 600 + n * 5, 1.0) for n in range(121)]
    figure = LEVER.observe(world.target, stage, 600, {"started_at": NOW - 600})["kubecost_up"]
    assert figure is not None
    assert figure.coverage == 1.0


def test_a_panel_without_data_is_unknown_by_name(world: World) -> None:
    world.prometheus.empty = {"max by (region) (akidb:interruption_rate:24h)"}
    stage = LEVER.plan(world.target).stages[2]
    result = judge_all(stage.gates, LEVER.observe(world.target, stage, 60, {}))[0]
    assert result.outcome is Outcome.UNKNOWN
    assert "without data: Interruption rate: {{region}}" in result.reason


def test_totals_are_demanded_once_every_region_reports(world: World) -> None:
    of_estate = {q.expression for p in panels(world.estate) for q in p.queries if q.scope != OF_REGION}
    world.prometheus.empty = of_estate
    assert outcomes(world, DASHBOARD)["dashboard_queries_without_data"] == "pass"
    world.prometheus.regions = set(world.estate.regions)  # the totals are evaluated one interval later
    assert outcomes(world, DASHBOARD)["dashboard_queries_without_data"] == "unknown"
    world.prometheus.empty = set()
    assert outcomes(world, DASHBOARD)["dashboard_queries_without_data"] == "pass"


def test_a_rule_that_is_not_loaded_fails_and_a_server_without_any_says_nothing(world: World) -> None:
    every = world.prometheus.rules()
    world.prometheus.rules = lambda: [r for r in every if r.name != every[0].name]  # type: ignore[method-assign]
    assert outcomes(world, DASHBOARD)["rules_not_loaded"] == "fail"
    world.prometheus.rules = list  # type: ignore[method-assign]
    assert outcomes(world, DASHBOARD)["rules_not_loaded"] == "unknown"


@pytest.mark.parametrize(
    ("health", "error", "outcome"), [("unknown", "", "unknown"), ("err", "bad", "fail"), ("ok", "", "pass")]
)
def test_rules_must_evaluate(world: World, health: str, error: str, outcome: str) -> None:
    world.prometheus.rule_health, world.prometheus.rule_error = health, error
    assert outcomes(world, DASHBOARD)["rules_with_errors"] == outcome


# Preflight ------------------------------------------------------------------------------------------------------------


def test_preflight_passes_on_the_untouched_estate_and_writes_nothing(world: World) -> None:
    assert failed(LEVER.preflight(world.target)) == {}
    assert world.writes == []


def test_preflight_names_a_conflict_an_owner_and_a_missing_series(world: World) -> None:
    entry = {"manager": "argocd-controller", "operation": "Update", "fieldsV1": {"f:rules": {}}}
    role = {"kind": "ClusterRole", "metadata": {"name": OPENCOST, "managedFields": [entry]}, "rules": []}
    world.cluster.put(role)
    world.prometheus.missing = {"container_cpu_usage_seconds_total"}
    found = failed(LEVER.preflight(world.target))
    assert set(found) == {"owner of ClusterRole opencost", "manifests accepted", "metric container CPU"}
    assert "managed by argocd" in found["owner of ClusterRole opencost"]
    assert "argocd-controller" in found["manifests accepted"]


def test_evidence_has_the_figures_of_the_report(world: World) -> None:
    assert LEVER.evidence(world.target) == {
        "nodes": 5,
        "nodes_priced_by_opencost": 5,
        "usd_hour_opencost": pytest.approx(5 * 0.29),
        "usd_hour": pytest.approx(5 * 0.29),
        "usd_day_total": 1.5,
        "interruption_rate_24h": 1.5,
        "rules_loaded": True,
        "versions": {"opencost": "1.108.1", "kubecost": "2.8.6"},
    }


def test_stage_settings_are_json(world: World) -> None:
    stage = LEVER.plan(world.target).stages[0]
    assert Stage.from_json(json.loads(json.dumps({**vars(stage), "gates": []}))).slot == OPENCOST
    assert MANAGER == "akidb-cost-monitoring"


def test_somebody_elses_deployment_without_replicas_is_waited_for(world: World) -> None:
    world.foreign("opencost")
    (stage, *_) = LEVER.plan(world.target).stages
    world.cluster.objects["Deployment", "opencost", "opencost"]["spec"]["replicas"] = 0
    with pytest.raises(NotConverged, match="Deployment opencost/opencost: 0 of 0 pods of the current template"):
        LEVER.apply(world.target, stage)
