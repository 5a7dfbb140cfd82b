"""The cost-truth lever: what it plans, writes, measures and undoes, on an in-memory cluster with server-side apply."""

from __future__ import annotations

import copy
import json
import subprocess
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from include.clients.prometheus import Rule, Sample, Series
from include.estate import Estate, load_estate
from include.levers import lever
from include.levers.cost_monitoring import CostMonitoring
from include.levers.cost_monitoring.dashboard import REGION as OF_REGION
from include.levers.cost_monitoring.dashboard import dashboard_json, panels, queries
from include.levers.cost_monitoring.rules import Scrape, constants, groups, of_estate, text
from include.levers.cost_monitoring.wanted import (
    DASHBOARD,
    DASHBOARD_MAP,
    KUBECOST,
    MANAGER,
    MONITORING,
    OPENCOST,
    RULES,
    RULES_FILE,
    MonitoringSettings,
    installed,
)
from include.levers.fields import owned, projection
from include.levers.owned import by_key
from include.prices import load_aws_book
from include.rollout.gates import Outcome, judge_all
from include.rollout.lever import Check, NotConverged, Refused, Stage, Target, Undo
from include.rollout.settings import build, form_fields
from lab.machine.programs import BuildError, find
from tests.unit.levers import spot_world
from tests.unit.levers.fake_cluster import Writes
from tests.unit.levers.spot_world import NOW, Object

US, CANARY = "us-east-1", "ap-northeast-1"
LEVER = CostMonitoring(now=lambda: NOW)
SCRAPE = Scrape("opencost", {}, "")


# A world -------------------------------------------------------------------------------------


class Cluster(spot_world.FakeCluster):
    """OpenCost's and Kubecost's Deployments become ready."""

    becomes_ready = True

    def settle(self) -> None:
        super().settle()
        for (kind, _, name), thing in self.objects.items():
            if kind == "Deployment" and name in (OPENCOST, KUBECOST) and self.becomes_ready:
                seen = thing["metadata"].get("generation", 0)
                conditions = [spot_world.condition("Available")]
                ready = {"replicas": 1, "updatedReplicas": 1, "availableReplicas": 1}
                thing["status"] = {"observedGeneration": seen, **ready, "conditions": conditions}


class Prometheus:
    """OpenCost's prices of every node, Kubecost up, and the rules of the lever loaded."""

    url = "http://prom"

    def __init__(self, cluster: Cluster, estate: Estate, region: str) -> None:
        self.cluster, self.estate, self.region = cluster, estate, region
        self.factor = 1.0  # OpenCost's prices against the book's
        self.unpriced = 0  # so many nodes without a price
        self.regions = {region}
        self.empty: set[str] = set()  # queries without data
        self.rule_health, self.rule_error, self.loaded = "ok", "", True
        self.up: list[tuple[float, float]] = [(NOW - 15, 0.0), (NOW - 10, 1.0), (NOW - 5, 1.0)]
        self.missing: set[str] = set()

    def query(self, expression: str) -> list[Sample]:
        if expression.startswith("max by (node)"):
            names = sorted(node["metadata"]["name"] for node in self.cluster.group_nodes())
            price = float(load_aws_book(self.estate).on_demand(self.region, "c7g.2xlarge") or 0)
            return [Sample({"node": name}, NOW, price * self.factor) for name in names[self.unpriced :]]
        if expression.startswith("count by (region) (akidb:cost_usd_day:region)"):
            return [Sample({"region": name}, NOW, 1.0) for name in sorted(self.regions)]
        return [] if expression in self.empty else [Sample({"region": self.region}, NOW, 1.0)]

    def value(self, expression: str) -> float | None:
        if expression.startswith("max(up"):
            return self.up[-1][1] if self.up else None
        return 1.5

    def raw(self, selector: str, seconds: float) -> list[Series]:
        return [Series({}, tuple(p for p in self.up if p[0] >= NOW - seconds))] if self.up else []

    def series_exists(self, selector: str) -> bool:
        return selector.split("{")[0] not in self.missing

    def rules(self) -> list[Rule]:
        found = groups(self.estate, self.region, SCRAPE) if self.loaded else []
        return [
            Rule(group["name"], rule.get("record") or rule["alert"], "recording", self.rule_health, self.rule_error)
            for group in found
            for rule in group["rules"]
        ]


class World:
    def __init__(self, region: str = US, estate: Estate | None = None, **chosen: Any) -> None:
        self.estate = estate or load_estate()
        self.writes = Writes()
        self.cluster = Cluster(self.estate, self.writes, spot_world.FakeAws(self.writes))
        self.cluster.unserved = {"prometheusrules"}
        self.prometheus = Prometheus(self.cluster, self.estate, region)
        clients = SimpleNamespace(kubernetes=self.cluster, aws=self.cluster.cloud, prometheus=self.prometheus)
        settings = build(MonitoringSettings, {"converge_timeout_seconds": 60} | chosen, self.estate)
        self.fences: list[int] = []
        self.target = Target(region, self.estate, "run", settings, clients, lambda: self.fences.append(1))

    def apply_all(self) -> dict[str, dict[str, Any]]:
        return {stage.slot: LEVER.apply(self.target, stage) for stage in LEVER.plan(self.target).stages}

    def foreign(self, name: str, **labels: str) -> None:
        """A Deployment that Helm has installed."""
        labels = {"app.kubernetes.io/managed-by": "Helm", **labels}
        entry = {"manager": "helm", "operation": "Update", "fieldsV1": {"f:spec": {"f:replicas": {}}}}
        metadata = {"name": name, "namespace": name, "labels": labels, "managedFields": [entry]}
        self.cluster.put({"kind": "Namespace", "metadata": {"name": name, "managedFields": []}})
        self.cluster.put(
            {"kind": "Deployment", "metadata": metadata, "spec": {"replicas": 1, "template": {"spec": {}}}}
        )


@pytest.fixture
def world() -> World:
    return World()


def failed(checks: list[Check]) -> dict[str, str]:
    return {check.name: f"{check.reason} -> {check.remedy}" for check in checks if not check.passed}


def outcomes(world: World, slot: str) -> dict[str, str]:
    stage = next(s for s in LEVER.plan(world.target).stages if s.slot == slot)
    figures = LEVER.observe(world.target, stage, 60, {"started_at": NOW - 20})
    return {r.gate.name: r.outcome.value for r in judge_all(stage.gates, figures)}


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


# Fields ---------------------------------------------------------------------------------------------------------------


def test_owned_takes_the_fields_of_one_manager_items_of_lists_by_their_key() -> None:
    live = {"spec": {"replicas": 3, "ports": [{"port": 1, "name": "a", "x": 1}, {"port": 2}], "set": ["p", "q"]}}
    fields = {"f:spec": {".": {}, "f:ports": {'k:{"port":1}': {".": {}, "f:name": {}}}, "f:set": {'v:"q"': {}}}}
    assert owned(live, fields) == {"spec": {"ports": [{"port": 1, "name": "a"}], "set": ["q"]}}
    assert owned(live, {"f:spec": {"f:gone": {}}}) == {"spec": {}}


def test_projection_keeps_the_wanted_fields_only() -> None:
    live = {"a": 1, "b": [{"c": 2, "default": 3}], "more": 4}
    assert projection(live, {"a": 0, "b": [{"c": 0}], "missing": 0}) == {"a": 1, "b": [{"c": 2}]}
    assert projection([1, 2], [1]) == [1, 2]
    assert projection([{"a": 1, "d": 2}], [{"a": 1}]) == [{"a": 1}]


@pytest.mark.parametrize("key", ["name", "containerPort", "port", "mountPath", "topologyKey", "key", "ip", "uid"])
def test_entries_of_others_in_a_list_with_keys_are_left_out_wherever_they_stand(key: str) -> None:
    live = [{key: "theirs", "value": "secret"}, {key: "b", "value": 2, "default": 1}, {key: "a", "value": 1}]
    assert projection(live, [{key: "a", "value": 0}, {key: "b", "value": 0}]) == [
        {key: "a", "value": 1},
        {key: "b", "value": 2},
    ]


def test_a_value_that_is_neither_wanted_nor_ours_is_not_shown() -> None:
    live = {"args": ["--password=x"], "image": "theirs", "mine": 1, "same": 2}
    wanted = {"args": ["--a"], "image": "a", "mine": 3, "same": 2}
    assert projection(live, wanted, {"mine": 1}) == {
        "args": "set by others", "image": "set by others", "mine": 1, "same": 2,
    }  # fmt: skip
    assert projection(live, wanted, None)["mine"] == "set by others"


def test_an_entry_that_only_an_earlier_run_of_ours_wanted_is_shown() -> None:
    live = [{"name": "a", "v": 1}, {"name": "old", "v": 2}, {"name": "theirs", "v": 3}]
    assert projection(live, [{"name": "a", "v": 1}], live[:2]) == live[:2]


def test_a_snapshot_keeps_its_order_through_the_ledger_and_an_older_one_is_brought_into_a_safe_order(
    world: World,
) -> None:
    snapshot = LEVER.snapshot(world.target)
    order = list(by_key(snapshot["objects"]))
    through = json.loads(json.dumps(snapshot, sort_keys=True))
    assert list(by_key(through["objects"])) == order
    assert order[:2] == ["Namespace opencost", "ServiceAccount opencost/opencost"]
    older = list(by_key(dict.fromkeys(sorted(order))))
    assert older[:3] == ["Namespace kubecost", "Namespace monitoring", "Namespace opencost"]
    assert [key for key in older if key.startswith("Deployment")] == older[-4:-2]


@pytest.mark.parametrize("older", [False, True], ids=["this release", "a mapping, as an older release kept it"])
def test_a_rollback_from_the_ledger_deletes_what_stands_in_a_namespace_before_it(world: World, older: bool) -> None:
    before = world.cluster.state()
    snapshot = LEVER.snapshot(world.target)
    if older:
        snapshot = {**snapshot, "objects": {entry["key"]: entry["was"] for entry in snapshot["objects"]}}
    world.apply_all()
    world.writes.clear()
    restored = LEVER.rollback(world.target, json.loads(json.dumps(snapshot, sort_keys=True)))
    assert restored.changed_by_others == ()
    assert world.cluster.state() == before
    for name in (OPENCOST, KUBECOST):
        assert world.writes.index(f"delete Deployment/{name}") < world.writes.index(f"delete Namespace/{name}")


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


def test_an_operator_that_came_before_the_run_was_resumed_has_its_rule_taken_back(world: World) -> None:
    snapshot = LEVER.snapshot(world.target)
    LEVER.apply(world.target, LEVER.plan(world.target).stages[0])
    world.cluster.unserved = set()
    world.apply_all()
    assert ("PrometheusRule", MONITORING, RULES) in world.cluster.objects
    assert [d.path for d in LEVER.verify_restored(world.target, snapshot)][-1] == f"PrometheusRule {MONITORING}/{RULES}"
    LEVER.rollback(world.target, snapshot)
    assert ("PrometheusRule", MONITORING, RULES) not in world.cluster.objects
    assert LEVER.verify_restored(world.target, snapshot) == []


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


# Rollback -------------------------------------------------------------------------------------------------------------


def test_a_rollback_deletes_all_that_was_made(world: World) -> None:
    before, snapshot = world.cluster.state(), LEVER.snapshot(world.target)
    world.apply_all()
    assert len(LEVER.verify_restored(world.target, snapshot)) == 15
    restored = LEVER.rollback(world.target, snapshot)
    assert restored.changed_by_others == ()
    assert restored.steps[0] == f"ConfigMap {MONITORING}/{RULES} deleted"
    assert LEVER.verify_restored(world.target, snapshot) == []
    assert world.cluster.state() == before
    assert LEVER.rollback(world.target, snapshot).steps == ("nothing was written, nothing is to be undone",)


@pytest.mark.parametrize("writes", range(15))
def test_a_rollback_after_a_crash_anywhere_restores_the_start(writes: int) -> None:
    world = World()
    before, snapshot = world.cluster.state(), LEVER.snapshot(world.target)
    apply = world.cluster.apply
    left = iter(range(writes))

    def crash(body: Object, manager: str, dry_run: bool = False, force: bool = False) -> Object:
        if next(left, None) is None:
            raise ConnectionError("killed")
        return apply(body, manager, dry_run, force)

    world.cluster.apply = crash  # type: ignore[method-assign]
    with pytest.raises(ConnectionError):
        world.apply_all()
    world.cluster.apply = apply  # type: ignore[method-assign]
    LEVER.rollback(world.target, snapshot)
    assert LEVER.verify_restored(world.target, snapshot) == []
    assert world.cluster.state() == before


def test_a_rollback_sets_an_earlier_run_of_the_lever_back(world: World) -> None:
    world.apply_all()
    before, snapshot = world.cluster.state(), LEVER.snapshot(world.target)
    chosen = {"opencost_version": "1.121.1", "opencost_image": "ghcr.io/opencost/opencost:1.121.1"}
    settings = world.target.settings.model_copy(update=chosen)
    newer = Target(US, world.estate, "run", settings, world.target.clients)
    paths = {d.path.split(" metadata")[0] for d in LEVER.plan(newer).differences}
    assert any("Deployment opencost/opencost" in path for path in paths)
    LEVER.apply(newer, LEVER.plan(newer).stages[0])
    container = world.cluster.objects["Deployment", OPENCOST, OPENCOST]["spec"]["template"]["spec"]["containers"][0]
    assert container["image"] == "ghcr.io/opencost/opencost:1.121.1"
    LEVER.rollback(newer, snapshot)
    assert LEVER.verify_restored(newer, snapshot) == []
    assert world.cluster.state() == before


def test_a_namespace_in_which_somebody_else_keeps_something_stays_and_is_reported(world: World) -> None:
    snapshot = LEVER.snapshot(world.target)
    world.apply_all()
    world.cluster.put({"kind": "ConfigMap", "metadata": {"name": "kube-root-ca.crt", "namespace": MONITORING}})
    world.cluster.put({"kind": "ConfigMap", "metadata": {"name": "theirs", "namespace": OPENCOST, "managedFields": []}})
    restored = LEVER.rollback(world.target, snapshot)
    (other,) = restored.changed_by_others
    assert str(other) == "Namespace opencost: absent -> holds ConfigMap theirs, so it stays"
    assert [d.path for d in LEVER.verify_restored(world.target, snapshot)] == [other.path]
    assert ("ConfigMap", OPENCOST, "theirs") in world.cluster.objects
    assert ("Deployment", OPENCOST, OPENCOST) not in world.cluster.objects


THEIRS = [
    ("StatefulSet", "prometheus-k8s"),
    ("Secret", "alertmanager-main"),
    ("PersistentVolumeClaim", "prometheus-db"),
    ("Ingress", "grafana"),
    ("CronJob", "backup"),
    ("Role", "reader"),
    ("Pod", "debug"),
    ("PrometheusRule", "team-search-alerts"),
]


@pytest.mark.parametrize(("kind", "name"), THEIRS)
def test_a_namespace_goes_only_when_nothing_of_others_is_in_it_whatever_its_kind(kind: str, name: str) -> None:
    world = World()
    world.cluster.unserved = set()
    snapshot = LEVER.snapshot(world.target)
    world.apply_all()
    world.cluster.put(
        {"kind": kind, "metadata": {"name": name, "namespace": MONITORING}, "data": {"x": "aHVudGVyMg=="}}
    )
    restored = LEVER.rollback(world.target, snapshot)
    assert [str(d) for d in restored.changed_by_others] == [
        f"Namespace {MONITORING}: absent -> holds {kind} {name}, so it stays"
    ]
    assert (kind, MONITORING, name) in world.cluster.objects
    assert [d.path for d in LEVER.verify_restored(world.target, snapshot)] == [f"Namespace {MONITORING}"]


def test_what_the_system_puts_into_a_namespace_does_not_keep_it(world: World) -> None:
    before, snapshot = world.cluster.state(), LEVER.snapshot(world.target)
    world.apply_all()

    def put(kind: str, name: str, **metadata: Any) -> None:
        world.cluster.put({"kind": kind, "metadata": {"name": name, "namespace": OPENCOST, **metadata}})

    put("ConfigMap", "kube-root-ca.crt")
    put("ServiceAccount", "default")
    put("Event", "opencost.17")
    put("Lease", "opencost-leader")
    put("Endpoints", OPENCOST)
    put("EndpointSlice", "opencost-x", ownerReferences=[{"kind": "Service", "name": OPENCOST, "uid": "u"}])
    put("ReplicaSet", "opencost-1", ownerReferences=[{"kind": "Deployment", "name": OPENCOST, "uid": "u"}])
    put("Pod", "opencost-1-a", ownerReferences=[{"kind": "ReplicaSet", "name": "opencost-1", "uid": "u"}])
    put("Secret", "opencost-token", annotations={"kubernetes.io/service-account.name": OPENCOST})
    put("ConfigMap", "going", deletionTimestamp="2027-01-15T07:59:50Z")
    assert LEVER.rollback(world.target, snapshot).changed_by_others == ()
    assert world.cluster.state() == before


@pytest.mark.parametrize("unknown", ["forbidden", "stale"])
def test_a_namespace_whose_content_can_not_be_told_stays_and_is_reported(world: World, unknown: str) -> None:
    snapshot = LEVER.snapshot(world.target)
    world.apply_all()
    if unknown == "forbidden":
        world.cluster.api.forbidden = {("list", "secrets")}
    else:
        world.cluster.api.stale = {"batch"}
    restored = LEVER.rollback(world.target, snapshot)
    assert {d.path for d in restored.changed_by_others} == {
        f"Namespace {name}" for name in (OPENCOST, KUBECOST, MONITORING)
    }
    told = "secrets, perhaps: the right to list them is missing" if unknown == "forbidden" else "group batch does not"
    assert told in str(restored.changed_by_others[0].after)
    assert ("Deployment", OPENCOST, OPENCOST) not in world.cluster.objects


def test_contents_are_asked_for_without_their_content(world: World) -> None:
    snapshot = LEVER.snapshot(world.target)
    world.apply_all()
    world.cluster.put({"kind": "Secret", "metadata": {"name": "s", "namespace": OPENCOST}, "data": {"x": "hunter2"}})
    answers: list[bytes] = []
    call = world.cluster.api.call_api

    def recorded(*request: Any, **more: Any) -> Any:
        answer = call(*request, **more)
        answers.append(getattr(answer, "data", b""))
        return answer

    world.cluster.api.call_api = recorded  # type: ignore[method-assign]
    LEVER.rollback(world.target, snapshot)
    assert answers
    assert not any(b"hunter2" in answer for answer in answers)


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


def test_a_foreign_change_to_a_made_object_is_reported_and_goes_with_it(world: World) -> None:
    snapshot = LEVER.snapshot(world.target)
    world.apply_all()
    board = world.cluster.objects["ConfigMap", MONITORING, DASHBOARD_MAP]
    board["metadata"]["managedFields"].append({"manager": "kubectl", "operation": "Update", "fieldsV1": {"f:data": {}}})
    restored = LEVER.rollback(world.target, snapshot)
    assert [str(d) for d in restored.changed_by_others] == [
        f"ConfigMap {MONITORING}/{DASHBOARD_MAP} content: absent -> changed by kubectl"
    ]
    assert LEVER.verify_restored(world.target, snapshot) == []


def test_a_fence_stops_every_write(world: World) -> None:
    def fence() -> None:
        raise Refused("the lock was taken over")

    snapshot, stages = LEVER.snapshot(world.target), LEVER.plan(world.target).stages
    fenced = Target(US, world.estate, "run", world.target.settings, world.target.clients, fence)
    for stage in stages[:1]:
        with pytest.raises(Refused, match="taken over"):
            LEVER.apply(fenced, stage)
    with pytest.raises(Refused, match="taken over"):
        LEVER.rollback(fenced, snapshot)
    assert world.writes == []


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


# Dashboard ------------------------------------------------------------------------------------------------------------


def test_the_dashboard_has_the_plans_eight_panels_and_equal_bytes() -> None:
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
    ]
    assert (board["uid"], board["tags"], "id" in board) == ("akidb-cost", ["akidb", "cost"], False)
    shown = [(p["title"], t["expr"]) for p in board["panels"] for t in p["targets"]]
    assert shown == queries(estate)
    assert len(shown) == 15
    assert "akidb_requests_total" not in text  # the plan's series, which AkiDB does not export


def test_metric_names_and_job_of_the_dashboard_are_settings() -> None:
    estate = load_estate()
    metrics = estate.metrics.model_copy(update={"http_requests": "other_requests_total"})
    changed = dict(queries(estate.model_copy(update={"metrics": metrics}), "finops"))
    assert 'rate(other_requests_total{namespace="akidb"}[5m])' in changed["Cost per million requests"]
    assert 'job="finops"' in changed["CPU use"]


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


def promtool(*arguments: object) -> subprocess.CompletedProcess[str]:
    try:
        program = find("promtool")
    except BuildError as error:
        pytest.skip(f"promtool is not built: {error}")
    return subprocess.run([str(program), *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False)


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


def test_stage_settings_are_json(world: World) -> None:
    stage = LEVER.plan(world.target).stages[0]
    assert Stage.from_json(json.loads(json.dumps({**vars(stage), "gates": []}))).slot == OPENCOST
    assert MANAGER == "akidb-cost-monitoring"
