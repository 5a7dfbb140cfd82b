"""The real VPA, metrics-server and resizes in place on one region, with a workload and a week of use of their own.

Eight pods that use 350m and 400 MiB, always; another region's pods of the same names use far more. So every figure of
the recommender is known beforehand: the end of the histogram's bucket, and 15 %.
"""

from __future__ import annotations

import math
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client
from kubernetes.dynamic import DynamicClient

from include.clients.prometheus import Prometheus
from include.quantities import quantity
from lab import world as worlds
from lab.cluster import workloads
from lab.machine.processes import OUTAGE_MARK
from lab.machine.programs import find
from lab.service.cadvisor import pod_labels
from lab.service.pods import OWN_USE
from tests.lab.conftest import REGION

# One worker boots one lab for all lab tests.
pytestmark = [pytest.mark.lab, pytest.mark.long]
NAMESPACE, APP, REPLICAS = "vpa-test", "worker", 8
UNREAD = "unread"  # a Deployment like it, whose selector asks for a label that Prometheus spells otherwise
CORES, BYTES = 0.35, 400 * 2**20
REQUESTS = {"cpu": "500m", "memory": "600Mi"}
DAYS, STEP, OLD_PODS = 7, 60, 4


def target(use: float, first_bucket: float) -> int:
    """The recommender's target for a constant use: the end of its bucket and 15 %, in the unit of ``use``."""
    bucket = math.floor(math.log(1 + use * 0.05 / first_bucket, 1.05))
    return int(int(first_bucket * (1.05 ** (bucket + 1) - 1) / 0.05) * 1.15)  # whole units before the margin too


MILLICORES, MEMORY = target(CORES * 1000, 10), target(BYTES, 1e7)


def eventually(condition: Callable[[], Any], seconds: float) -> Any:
    """The first true answer within ``seconds``, else the last one."""
    end, pause = time.monotonic() + seconds, threading.Event()
    while not (answer := condition()) and time.monotonic() < end:
        pause.wait(0.5)
    return answer


def deployment(name: str, replicas: int, **selector: str) -> dict[str, Any]:
    """A Deployment that selects by ``app`` and these labels.

    The recommender matches the selector to the labels in Prometheus, where OWN_USE's name has underscores: a selector
    with it would find no pod of the week. So pods have the label, and the selector must not ask for it.
    """
    container = {
        "name": APP,
        "image": "worker",
        "resources": {"requests": REQUESTS, "limits": {"cpu": "2", "memory": "4Gi"}},
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name, **selector}},
            "template": {"metadata": {"labels": {"app": name, **OWN_USE}}, "spec": {"containers": [container]}},
        },
    }


def manifests() -> list[dict[str, Any]]:
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
        {
            "apiVersion": "kwok.x-k8s.io/v1alpha1",
            "kind": "ClusterResourceUsage",
            "metadata": {"name": NAMESPACE},
            "spec": {
                "selector": {"matchNamespaces": [NAMESPACE]},
                "usages": [{"usage": {"cpu": {"value": "350m"}, "memory": {"value": "400Mi"}}}],
            },
        },
        deployment(APP, REPLICAS),
    ]


def scaler(mode: str, lowest_cpu: str = "25m", name: str = APP) -> dict[str, Any]:
    policy = {
        "containerName": APP,
        "controlledValues": "RequestsOnly",
        "minAllowed": {"cpu": lowest_cpu},
        "maxAllowed": {"cpu": "2", "memory": "4Gi"},
    }
    return {
        "apiVersion": "autoscaling.k8s.io/v1",
        "kind": "VerticalPodAutoscaler",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
            "updatePolicy": {"updateMode": mode},
            "resourcePolicy": {"containerPolicies": [policy]},
        },
    }


def history(now: int) -> Iterator[str]:
    """A week of four pods that are gone of each Deployment in this region, and, far busier, of one in another."""
    times = range(now - DAYS * 86400, now, STEP)
    for region, app, cores in ((REGION, APP, CORES), (REGION, UNREAD, CORES), ("elsewhere", APP, 3.0)):
        for number in range(OLD_PODS):
            pod = f"{app}-old-{number}"
            labels = f'region="{region}",namespace="{NAMESPACE}",pod="{pod}"'
            use = f'{{job="kubernetes-cadvisor",{labels},container="{APP}"}}'
            for at in times:
                yield f"container_cpu_usage_seconds_total{use} {cores * (at - times[0]):.3f} {at}\n"
            for at in times:
                yield f"container_memory_working_set_bytes{use} {BYTES * cores / CORES:.0f} {at}\n"
            exported = pod_labels(region, NAMESPACE, pod, {"app": app, **OWN_USE}.items())
            for at in times[::60]:
                yield f'kube_pod_labels{{job="kubernetes-cadvisor",{exported}}} 1 {at}\n'


@pytest.fixture(scope="module")
def workload(world: worlds.LabWorld, dynamic: DynamicClient, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The namespace, with pods that run, and a recommender that has read the week."""
    workloads.apply_all(dynamic, manifests())
    data, text = worlds_data(world), tmp_path_factory.mktemp("history") / "history.txt"
    now = int(time.time() // STEP) * STEP - 300
    text.write_text("".join(sorted(history(now), key=lambda line: line.partition("{")[0])) + "# EOF\n")
    tool = [find("promtool"), "tsdb", "create-blocks-from", "openmetrics", "--max-block-duration=1500h", "--quiet"]
    subprocess.run([*map(str, tool), str(text), str(data)], check=True, capture_output=True)
    prometheus = Prometheus(world.state["prometheus"])
    query = f'count(last_over_time(kube_pod_labels{{region="{REGION}",namespace="{NAMESPACE}"}}[1d]))'
    assert eventually(
        lambda: prometheus.query(query), 120 * world.processes.stretch
    )  # blocks are looked for each minute
    with outage(world, f"{REGION}-vpa-recommender"):
        pass
    yield NAMESPACE
    client.CoreV1Api(dynamic.client).delete_namespace(NAMESPACE)


def worlds_data(world: worlds.LabWorld) -> Path:
    return world.options.folder / "run" / "prometheus" / "data"


class outage:  # noqa: N801
    """A process is away within the block."""

    def __init__(self, world: worlds.LabWorld, name: str) -> None:
        self.processes, self.name = world.processes, name
        self.mark = world.options.folder / OUTAGE_MARK

    def __enter__(self) -> None:
        self.mark.touch()
        self.processes.kill(self.name)

    def __exit__(self, *_: object) -> None:
        self.processes.restart(self.name)
        self.mark.unlink()


def pods(core: client.CoreV1Api) -> list[Any]:
    found = core.list_namespaced_pod(NAMESPACE, label_selector=f"app={APP}").items
    return [pod for pod in found if pod.metadata.deletion_timestamp is None]


def shown_cpu(core: client.CoreV1Api) -> list[str]:
    """What each running pod was last given."""
    statuses = [pod.status.container_statuses or [] for pod in pods(core)]
    return sorted(s[0].resources.requests["cpu"] if s and s[0].resources else "-" for s in statuses)


def recommended(dynamic: DynamicClient, name: str = APP) -> dict[str, Any] | None:
    kind = dynamic.resources.get(api_version="autoscaling.k8s.io/v1", kind="VerticalPodAutoscaler")
    status = kind.get(name=name, namespace=NAMESPACE).to_dict().get("status") or {}
    found: list[dict[str, Any]] = (status.get("recommendation") or {}).get("containerRecommendations") or []
    return found[0] if found else None


def seconds(world: worlds.LabWorld, each: float) -> float:
    return each * world.processes.stretch


def test_top_shows_what_the_pods_use(world: worlds.LabWorld, workload: str, core: client.CoreV1Api) -> None:
    config = world.state["regions"][REGION]["kubeconfig"]
    command = [str(find("kubectl")), f"--kubeconfig={config}", "top", "pods", "-n", workload, "--no-headers"]

    def lines() -> list[list[str]]:
        answer = subprocess.run(command, capture_output=True, text=True, check=False)
        found = [line.split() for line in answer.stdout.splitlines()]
        return found if len(found) == REPLICAS else []

    found = eventually(lines, seconds(world, 90))
    assert {name for name, _, _ in found} == {pod.metadata.name for pod in pods(core)}
    assert {memory for _, _, memory in found} == {"400Mi"}
    assert all(330 <= int(cpu.removesuffix("m")) <= 370 for _, cpu, _ in found)


def test_a_week_of_history_gives_a_recommendation_within_three_looks_and_no_other_regions(
    world: worlds.LabWorld, workload: str, dynamic: DynamicClient
) -> None:
    workloads.apply_all(dynamic, [scaler("Off")])
    found = eventually(lambda: recommended(dynamic), seconds(world, 35))
    assert {key: str(value) for key, value in found["target"].items()} == {
        "cpu": f"{MILLICORES}m",
        "memory": str(MEMORY),
    }
    # The upper bound is 1 + 1 / days times the target, and 1,440 samples are a day at most: four pods of seven days, a
    # sample each 5 minutes, are 5.6 days, which makes it 483m. A look that is not of the week adds nothing to speak of.
    days = min(DAYS, OLD_PODS * DAYS * 288 / 1440)
    assert quantity(found["upperBound"]["cpu"]) <= quantity(found["target"]["cpu"]) * Decimal(1 + 1 / days)
    assert quantity(found["lowerBound"]["cpu"]) > quantity(found["target"]["cpu"]) / 2


def test_a_week_of_pods_whose_labels_in_prometheus_do_not_match_the_selector_counts_for_nothing(
    world: worlds.LabWorld, workload: str, dynamic: DynamicClient
) -> None:
    made = [deployment(UNREAD, 2, **OWN_USE), scaler("Off", name=UNREAD)]
    workloads.apply_all(dynamic, made)

    def measured() -> dict[str, Any] | None:
        found = recommended(dynamic, UNREAD)
        return found if found and quantity(found["target"]["cpu"]) > CORES else None

    found = eventually(measured, seconds(world, 90))
    # A minute of the same use has the target of the week, but is a thousandth of a day: the upper bound, a thousand
    # times the target, is cut to maxAllowed. Right-sizing's preflight and its gate refuse to go on with such a one.
    assert 0.9 < float(quantity(found["target"]["cpu"])) * 1000 / MILLICORES < 1.1
    assert str(found["upperBound"]["cpu"]) == "2"
    for body in made:
        dynamic.resources.get(api_version=body["apiVersion"], kind=body["kind"]).delete(name=UNREAD, namespace=workload)


def test_off_changes_no_pod_and_initial_changes_new_ones_alone(
    world: worlds.LabWorld, workload: str, dynamic: DynamicClient, core: client.CoreV1Api
) -> None:
    running = pods(core)[0]
    body = {
        "metadata": {
            "name": "new",
            "labels": running.metadata.labels,
            "ownerReferences": [core.api_client.sanitize_for_serialization(running.metadata.owner_references[0])],
        },
        "spec": {"containers": manifests()[2]["spec"]["template"]["spec"]["containers"]},
    }

    def requests_of_a_new_pod() -> dict[str, str]:
        made = core.create_namespaced_pod(workload, body, dry_run="All")
        return dict(made.spec.containers[0].resources.requests)

    assert requests_of_a_new_pod() == REQUESTS
    workloads.apply_all(dynamic, [scaler("Initial")])
    wanted = {"cpu": f"{MILLICORES}m", "memory": str(MEMORY)}
    eventually(lambda: requests_of_a_new_pod() == wanted, seconds(world, 20))
    assert requests_of_a_new_pod() == wanted
    assert shown_cpu(core) == ["500m"] * REPLICAS


def test_in_place_changes_running_pods_and_replaces_none(
    world: worlds.LabWorld, workload: str, dynamic: DynamicClient, core: client.CoreV1Api
) -> None:
    before = {pod.metadata.uid for pod in pods(core)}
    workloads.apply_all(dynamic, [scaler("InPlaceOrRecreate")])
    wanted = [f"{MILLICORES}m"] * REPLICAS
    eventually(lambda: shown_cpu(core) == wanted, seconds(world, 150))
    assert shown_cpu(core) == wanted
    assert {pod.metadata.uid for pod in pods(core)} == before
    limits = {pod.status.container_statuses[0].resources.limits["cpu"] for pod in pods(core)}
    assert limits == {"2"}


def test_an_updater_that_restarts_in_the_middle_evicts_nothing_and_goes_on(
    world: worlds.LabWorld, workload: str, dynamic: DynamicClient, core: client.CoreV1Api
) -> None:
    before = {pod.metadata.uid for pod in pods(core)}
    workloads.apply_all(dynamic, [scaler("InPlaceOrRecreate", lowest_cpu="480m")])
    assert eventually(lambda: "480m" in shown_cpu(core), seconds(world, 90))
    with outage(world, f"{REGION}-vpa-updater"):
        assert 1 <= shown_cpu(core).count("480m") < REPLICAS  # in the middle
    eventually(lambda: shown_cpu(core) == ["480m"] * REPLICAS, seconds(world, 180))
    assert shown_cpu(core) == ["480m"] * REPLICAS
    assert {pod.metadata.uid for pod in pods(core)} == before
    events = core.list_namespaced_event(workload).items
    assert [event.message for event in events if event.reason in ("EvictedByVPA", "Killing")] == []


def resize(core: client.CoreV1Api, pod: Any, cpu: str, limit: str = "100") -> None:
    container = {"name": APP, "resources": {"requests": {"cpu": cpu}, "limits": {"cpu": limit}}}
    core.patch_namespaced_pod_resize(pod.metadata.name, NAMESPACE, {"spec": {"containers": [container]}})


def test_a_resize_beyond_the_node_is_refused_and_one_that_lacks_room_is_deferred(
    world: worlds.LabWorld, workload: str, dynamic: DynamicClient, core: client.CoreV1Api
) -> None:
    workloads.apply_all(dynamic, [scaler("Off")])
    pod = pods(core)[0]
    allocatable = quantity(core.read_node(pod.spec.node_name).status.allocatable["cpu"])
    with pytest.raises(client.ApiException) as refused:
        resize(core, pod, str(allocatable + 1))
    assert refused.value.status == 403
    assert '"reason":"NodeCapacity"' in str(refused.value.body)
    resize(core, pod, str(allocatable))  # the node holds others too

    def pending() -> Any:
        conditions = core.read_namespaced_pod(pod.metadata.name, workload).status.conditions
        return next((c for c in conditions if c.type == "PodResizePending"), None)

    found = eventually(pending, seconds(world, 15))
    assert (found.reason, found.status) == ("Deferred", "True")
    assert "Node didn't have enough resource: cpu" in found.message
    resize(core, pod, "300m")
    eventually(lambda: pending() is None, seconds(world, 15))
    assert pending() is None
    assert "300m" in shown_cpu(core)
