"""The real OpenCost behind its Deployment, the stand-in beside it, the bill in the emulator, rules in Prometheus."""

from __future__ import annotations

import io
import json
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from kubernetes import client
from kubernetes.dynamic import DynamicClient

from include.clients.prometheus import Prometheus
from include.prices import load_aws_book
from lab import world as worlds
from lab.cluster import containers
from lab.cluster.workloads import apply_all
from tests.lab.conftest import REGION

pytestmark = pytest.mark.lab

# The least that OpenCost asks for; the lever's own manifests are tested where the lever is.
OBJECTS = """
apiVersion: v1
kind: Namespace
metadata: {name: opencost}
---
apiVersion: v1
kind: Namespace
metadata: {name: kubecost}
---
apiVersion: v1
kind: Namespace
metadata: {name: monitoring}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: opencost}
rules:
- apiGroups: [""]
  resources: [configmaps, endpoints, limitranges, namespaces, nodes, persistentvolumeclaims, persistentvolumes, pods,
    replicationcontrollers, resourcequotas, services]
  verbs: [get, list, watch]
- {apiGroups: [apps], resources: [daemonsets, deployments, replicasets, statefulsets], verbs: [get, list, watch]}
- {apiGroups: [batch], resources: [cronjobs, jobs], verbs: [get, list, watch]}
- {apiGroups: [autoscaling], resources: [horizontalpodautoscalers], verbs: [get, list, watch]}
- {apiGroups: [policy], resources: [poddisruptionbudgets], verbs: [get, list, watch]}
- {apiGroups: [storage.k8s.io], resources: [storageclasses], verbs: [get, list, watch]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: opencost}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: opencost}
subjects: [{kind: ServiceAccount, name: opencost, namespace: opencost}]
"""
DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: %(name)s, namespace: %(name)s}
spec:
  selector: {matchLabels: {app: %(name)s}}
  template:
    metadata: {labels: {app: %(name)s}}
    spec: {containers: [{name: main, image: "lab:1", resources: {requests: {cpu: 10m, memory: 55Mi}}}]}
"""
RULES = """
groups:
- name: lab-test
  rules:
  - {record: "lab:node_usd_hour", expr: "sum by (region) (node_total_hourly_cost)"}
"""


def _config_map(text: str) -> dict[str, Any]:
    labels = {"akidb.io/prometheus-rules": "true"}
    metadata = {"name": "lab-test", "namespace": "monitoring", "labels": labels}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"rules.yaml": text}}


@pytest.fixture(scope="module")
def installed(world: worlds.LabWorld, dynamic: DynamicClient, core: client.CoreV1Api) -> Iterator[Prometheus]:
    """OpenCost and Kubecost stand and are scraped; everything is gone again afterwards."""
    deployments = [yaml.safe_load(DEPLOYMENT % {"name": name}) for name in ("opencost", "kubecost")]
    apply_all(dynamic, [*yaml.safe_load_all(OBJECTS), *deployments, _config_map(RULES)])
    prometheus = Prometheus(world.state["prometheus"])
    try:
        world.processes.wait_until(lambda: bool(prometheus.query("node_total_hourly_cost")), "OpenCost's prices", 60)
        yield prometheus
    finally:
        rbac = client.RbacAuthorizationV1Api(core.api_client)
        for name in ("opencost", "kubecost", "monitoring"):
            core.delete_namespace(name)
        rbac.delete_cluster_role_binding("opencost")
        rbac.delete_cluster_role("opencost")
        register = containers.processes_of(world.options.folder)
        world.processes.wait_until(lambda: not register.registered(), "the processes behind being gone", 60)


def test_each_node_has_its_price_from_the_book(world: worlds.LabWorld, installed: Prometheus) -> None:
    price = load_aws_book(world.estate).on_demand(REGION, "c7g.2xlarge")
    found = {s.labels["node"]: s.value for s in installed.query("node_total_hourly_cost")}
    assert len(found) == 5
    # OpenCost splits a price into CPU and memory at six decimals and adds them up again.
    assert list(found.values()) == [pytest.approx(float(price or 0), rel=1e-4)] * 5


def test_a_node_that_joins_has_its_price_within_opencosts_minute(
    world: worlds.LabWorld, installed: Prometheus, aws: Callable[[str], Any]
) -> None:
    def resize(size: int) -> None:
        aws("eks").update_nodegroup_config(
            clusterName=world.estate.region(REGION).cluster,
            nodegroupName=world.estate.region(REGION).node_group.name,
            scalingConfig={"desiredSize": size},
        )

    def nodes() -> float | None:
        return installed.value("count(node_total_hourly_cost)")

    resize(6)
    try:
        world.processes.wait_until(lambda: nodes() == 6, "the sixth node's price", 100)
        assert installed.value("count(count by (node_total_hourly_cost) (node_total_hourly_cost))") == 1
    finally:
        resize(5)
    world.processes.wait_until(lambda: nodes() == 5, "the sixth node's price being gone", 120)


def _get(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=30) as response:
        return json.loads(response.read())


def test_allocations_count_use_and_the_stand_in_says_what_it_is(world: worlds.LabWorld, installed: Prometheus) -> None:
    where = world.state["regions"][REGION]

    def allocations() -> dict[str, Any]:
        sets = _get(f"{where['opencost']}/allocation/compute?window=10m&aggregate=namespace&includeIdle=true")["data"]
        return dict(sets[0] or {}) if sets else {}  # [null] before there is anything

    world.processes.wait_until(
        lambda: allocations().get("akidb", {}).get("cpuCoreUsageAverage", 0) > 0, "an allocation with use", 180
    )
    found = allocations()
    assert {"akidb", "__idle__", "kube-system"} <= set(found)
    stand_in = _get(f"{where['kubecost']}/model/allocation?window=10m&aggregate=namespace")["data"][0]
    assert set(stand_in) == set(found)
    assert "not Kubecost" in _get(f"{where['kubecost']}/healthz")["stand_in"]


def test_rules_of_a_config_map_are_evaluated_and_a_bad_file_is_kept_out(
    world: worlds.LabWorld, dynamic: DynamicClient, installed: Prometheus
) -> None:
    wait = world.processes.wait_until
    wait(lambda: bool(installed.query("lab:node_usd_hour")), "the rule's series", 60)
    apply_all(dynamic, [_config_map("groups: [{name: broken, rules: [{record: x, expr: 'sum('}]}]")])
    log = world.processes.logs / "containers.log"
    wait(lambda: "rules lab-test-rules.yaml refused" in log.read_text(), "the refusal", 30)
    files = list((world.options.folder / "run" / "prometheus" / "rules").glob("*.yaml"))
    assert [path.name for path in files] == [f"{REGION}@lab-test-rules.yaml"]
    assert "lab:node_usd_hour" in files[0].read_text()


def test_a_killed_opencost_is_started_again(world: worlds.LabWorld, installed: Prometheus) -> None:
    register = containers.processes_of(world.options.folder)
    before = register.started(f"{REGION}-opencost").pid
    psutil.Process(before).kill()
    world.processes.wait_until(
        lambda: register.started(f"{REGION}-opencost").pid != before, "OpenCost being started again", 30
    )


def test_the_bill_lies_in_the_emulators_s3(world: worlds.LabWorld, aws: Callable[[str], Any]) -> None:
    import pyarrow.parquet as pq

    export, s3 = world.estate.cost.exports[0], aws("s3")
    keys = [item["Key"] for item in s3.list_objects_v2(Bucket=export.bucket, Prefix=export.prefix)["Contents"]]
    data = [key for key in keys if "/data/BILLING_PERIOD=" in key]
    assert len(data) >= 2
    assert len(keys) == 2 * len(data)  # a manifest each
    table = pq.read_table(io.BytesIO(s3.get_object(Bucket=export.bucket, Key=data[-1])["Body"].read()))
    assert "Amazon Elastic Compute Cloud" in table["ServiceName"].unique().to_pylist()


def test_devices_have_history_and_a_live_series(world: worlds.LabWorld, core: client.CoreV1Api) -> None:
    prometheus = Prometheus(world.state["prometheus"])
    assert prometheus.value("count(jetson_power_watts)") == 5
    assert (prometheus.value('count_over_time(jetson_power_watts{device="jetson01"}[20h])') or 0) >= 299


def test_nothing_stays_behind_when_the_supervisor_is_killed(tmp_path: Path) -> None:
    register = containers.processes_of(tmp_path)
    started = register.start("orphan", ["sleep", "1000"])
    worlds.take_down(tmp_path)
    assert not psutil.pid_exists(started.pid) or psutil.Process(started.pid).status() == psutil.STATUS_ZOMBIE
