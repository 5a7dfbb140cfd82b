"""The rehearsal world itself: what stands after boot, what follows what, and that nothing stays behind."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import urllib.request
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from kubernetes import client

from include.clients.prometheus import Prometheus
from include.rollout.gates import p95_within
from lab import world as worlds
from lab.cluster import containers, keda
from lab.cluster.control_plane import ControlPlane
from tests.lab.conftest import REGION

# One worker boots one lab for all lab tests.
pytestmark = pytest.mark.lab
REPOSITORY = Path(__file__).parents[2]


def _node_group_nodes(core: client.CoreV1Api) -> list[Any]:
    return core.list_node(label_selector="eks.amazonaws.com/nodegroup=akidb-on-demand").items


def test_the_estate_stands_as_described(world: worlds.LabWorld, core: client.CoreV1Api) -> None:
    nodes = _node_group_nodes(core)
    assert {n.metadata.labels["node.kubernetes.io/instance-type"] for n in nodes} == {"c7g.2xlarge"}
    assert len(nodes) == 5
    pods = core.list_namespaced_pod("akidb").items
    assert Counter(p.metadata.labels["app"] for p in pods) == {"akidb-rest": 15, "akidb-grpc": 15}
    assert Counter(p.spec.node_name for p in pods) == {n.metadata.name: 6 for n in nodes}


def test_airflows_user_has_the_roles_of_the_levers_and_no_more(world: worlds.LabWorld) -> None:
    from lab.cluster.workloads import api_client

    limited = client.CoreV1Api(api_client(Path(world.state["regions"][REGION]["rollout_kubeconfig"])))
    assert limited.list_node().items
    # It may list every kind, to see that a Namespace holds nothing of others, and no more:
    # docs/reference/permissions.md.
    with pytest.raises(client.ApiException, match="Forbidden"):
        limited.read_namespaced_secret("any", "akidb")
    with pytest.raises(client.ApiException, match="Forbidden"):
        limited.delete_namespaced_secret("any", "akidb", dry_run="All")
    with pytest.raises(client.ApiException, match="Forbidden"):
        limited.create_namespaced_secret("akidb", {"metadata": {"name": "any"}}, dry_run="All")


def test_the_api_server_is_not_trusted_without_its_own_authority(world: worlds.LabWorld) -> None:
    with pytest.raises(OSError, match="certificate verify failed"):
        urllib.request.urlopen(f"{world.state['regions'][REGION]['apiserver']}/readyz", timeout=5)


def test_keda_has_its_own_manifests_rights_and_its_certificate_is_checked(world: worlds.LabWorld) -> None:
    from lab.cluster.workloads import api_client

    where = world.state["regions"][REGION]
    registered = client.ApiregistrationV1Api(api_client(Path(where["kubeconfig"]))).read_api_service(keda.API_SERVICE)
    assert registered.spec.ca_bundle
    assert not registered.spec.insecure_skip_tls_verify
    assert {c.type: c.status for c in registered.status.conditions}["Available"] == "True"
    plane = ControlPlane(REGION, where["apiserver"], Path(where["kubeconfig"]).parent, b"")
    limited = api_client(plane.kubeconfig(keda.USER))
    assert client.CoreV1Api(limited).list_pod_for_all_namespaces().items
    with pytest.raises(client.ApiException, match="Forbidden"):
        client.AppsV1Api(limited).delete_namespaced_deployment("akidb-rest", "akidb", dry_run="All")


def test_every_socket_is_on_loopback_but_those_that_can_not_be(world: worlds.LabWorld) -> None:
    wide = Counter(
        entry.name
        for entry in (*world.processes.registered(), *containers.processes_of(world.options.folder).registered())
        for connection in psutil.Process(entry.pid).net_connections(kind="inet")
        if connection.status == psutil.CONN_LISTEN and connection.laddr.ip not in ("127.0.0.1", "::1")
    )
    # OpenCost runs while a test has it installed only.
    assert wide - Counter({f"{REGION}-opencost": 1}) == {
        f"{REGION}-karpenter": 2,
        f"{REGION}-keda-adapter": 1,
        f"{REGION}-vpa-admission-controller": 1,
    }


def test_history_is_there_before_the_first_scrape(world: worlds.LabWorld) -> None:
    prometheus = Prometheus(world.state["prometheus"])
    samples = prometheus.query(f'count_over_time(akidb_http_requests_total{{region="{REGION}",status="200"}}[20h])')
    assert samples[0].value >= 20 * 60 - 5


def test_node_group_instances_and_nodes_agree_after_a_resize_through_the_eks_api(
    world: worlds.LabWorld, core: client.CoreV1Api, aws: Callable[[str], Any]
) -> None:
    eks, ec2 = aws("eks"), aws("ec2")
    cluster = world.estate.region(REGION).cluster

    def resize(size: int) -> None:
        eks.update_nodegroup_config(
            clusterName=cluster, nodegroupName="akidb-on-demand", scalingConfig={"desiredSize": size}
        )

    def instances() -> set[str]:
        found = ec2.describe_instances(
            Filters=[
                {"Name": "tag:eks:nodegroup-name", "Values": ["akidb-on-demand"]},
                {"Name": "instance-state-name", "Values": ["running"]},
            ]
        )["Reservations"]
        return {i["InstanceId"] for r in found for i in r["Instances"]}

    def nodes() -> set[str]:
        return {n.spec.provider_id.rsplit("/", 1)[1] for n in _node_group_nodes(core)}

    resize(6)
    world.processes.wait_until(lambda: len(nodes()) == 6, "the sixth node joining", 40)
    assert nodes() == instances()
    resize(5)
    world.processes.wait_until(lambda: len(nodes()) == 5, "the sixth node leaving", 40)
    assert nodes() == instances()
    wanted = eks.describe_nodegroup(clusterName=cluster, nodegroupName="akidb-on-demand")["nodegroup"]["scalingConfig"]
    assert wanted["desiredSize"] == 5
    world.processes.wait_until(lambda: _ready(core) == 30, "all pods being ready again", 60)


def _ready(core: client.CoreV1Api) -> int:
    pods = core.list_namespaced_pod("akidb").items
    return sum(any(c.type == "Ready" and c.status == "True" for c in p.status.conditions or []) for p in pods)


def _p95_outcome(prometheus: Prometheus, window: str) -> str:
    rows = prometheus.query(
        f'sum by (le) (increase(akidb_http_request_duration_seconds_bucket{{region="{REGION}"}}[{window}]))'
    )
    return p95_within({float(r.labels["le"]): r.value for r in rows}, 30.0).outcome.value


def test_half_of_the_pods_breaks_the_latency_gate_and_their_return_mends_it(
    world: worlds.LabWorld, core: client.CoreV1Api
) -> None:
    apps = client.AppsV1Api(core.api_client)
    prometheus = Prometheus(world.state["prometheus"])

    def scale(replicas: int) -> None:
        for name in ("akidb-rest", "akidb-grpc"):
            apps.patch_namespaced_deployment_scale(name, "akidb", {"spec": {"replicas": replicas}})

    world.processes.wait_until(lambda: _p95_outcome(prometheus, "10s") == "pass", "the gate passing at first", 60)
    scale(7)
    try:
        world.processes.wait_until(lambda: _p95_outcome(prometheus, "10s") == "fail", "the gate failing", 60)
    finally:
        scale(15)
    world.processes.wait_until(lambda: _ready(core) == 30, "the pods being back", 60)
    world.processes.wait_until(lambda: _p95_outcome(prometheus, "10s") == "pass", "the gate passing again", 60)


def test_a_pod_that_was_marked_unready_for_its_node_is_ready_again(
    world: worlds.LabWorld, core: client.CoreV1Api
) -> None:
    name = core.list_namespaced_pod("akidb").items[0].metadata.name
    unready = {"status": {"conditions": [{"type": "Ready", "status": "False", "reason": "NodeNotReady"}]}}
    core.patch_namespaced_pod_status(name, "akidb", unready)
    world.processes.wait_until(lambda: _ready(core) == 30, "the pod being ready again", 30)


def test_a_second_lab_runs_beside_and_leaves_nothing(world: worlds.LabWorld, tmp_path: Path) -> None:
    """Boot and end a lab as a person does; the first one must not notice."""
    command = [sys.executable, "-m", "lab", "up", "--regions", "us-east-1", "--folder", str(tmp_path / "second")]
    subprocess.run(command, cwd=REPOSITORY, check=True, timeout=150, capture_output=True)
    entries = json.loads((tmp_path / "second" / "processes.json").read_text())
    state = json.loads((tmp_path / "second" / "state.json").read_text())
    assert len(entries) == 18
    subprocess.run([*command[:3], "down", *command[6:]], cwd=REPOSITORY, check=True, timeout=60)
    assert not [e["name"] for e in entries if _alive(e)]
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections that wait out their end hold no port
        probe.bind(("127.0.0.1", int(state["prometheus"].rsplit(":", 1)[1])))
    assert sorted(p.name for p in (tmp_path / "second").iterdir()) == ["logs"]
    world.processes.check()


def _alive(entry: dict[str, Any]) -> bool:
    try:
        process = psutil.Process(entry["pid"])
        return abs(process.create_time() - entry["created"]) < 1 and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_wrong_region_is_refused_with_those_that_exist(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "lab", "up", "--regions", "us-east-9", "--folder", str(tmp_path)]
    result = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 1
    refusal = "lab: region 'us-east-9' is not in the estate; it has us-east-1, eu-central-1, ap-northeast-1"
    assert refusal in result.stderr
    assert not list(tmp_path.iterdir())
