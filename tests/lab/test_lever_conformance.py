"""Every lever's undo on a real API server: alone, killed half way, and while every other lever's change stands.

What is compared is read by the lab's admin, not by the lever. `make lever-conformance` shows the table.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from include import levers
from include.clients.aws import Aws
from include.clients.kubernetes import KINDS, Cluster, NotServedError, owns
from include.clients.probes import Probes
from include.clients.prometheus import Prometheus
from include.clients.storage import Folder
from include.forecast.registry import Registry
from include.levers.cost_cap import CapSettings
from include.rollout.ledger import Chain, Ledger, Step
from include.rollout.lever import Json, Lever, Target, acts_in
from include.rollout.place import ESTATE_WIDE, PlaceKind
from include.rollout.settings import build
from lab import world as worlds
from lab.cluster import karpenter, vpa
from lab.cluster.workloads import api_client
from tests.conformance.levers.crash import Killed, watched
from tests.lab.conftest import REGION
from tests.lab.staging import PODS, STAGING, behind, build_staging
from tests.lab.test_predictive_scaling import QUICK, crown, forecast

pytestmark = [pytest.mark.lab, pytest.mark.conformance]
# Those of devices stand on no cluster: tests/unit/levers/test_edge_power_ssh.py has their undo, over real SSH.
# A drill is no change that stands beside others: tests/lab/test_game_day.py has its undo.
LEVERS = [name for name in levers.LEVERS if acts_in(levers.lever(name)) is not PlaceKind.DEVICES and name != "game_day"]
GLOBAL = "us-east-1"  # where the edge's functions are
# The first step of spot: the later ones write the same objects, and take four minutes.
STAGES = {"spot_capacity": 1}
# The lever whose objects a lever's change is a part of: it stands first, and what is undone with it is made again.
GROUND = {"consolidation": "spot_capacity"}
# Undone last of all while the others stand, since it takes longest to make again: it isn't.
LAST = "spot_capacity"
# The lever that made it leaves it to another one that keeps something in it, and says so.
SHARED = "Namespace monitoring"
# Karpenter's packing is not undone: the nodes that it found superfluous don't come back.
PACKS = {"consolidation"}
COUNTERS = ("managedFields", "resourceVersion", "generation", "uid", "creationTimestamp", "selfLink")
REVISION = "deployment.kubernetes.io/revision"
SEEN = ("Deployment", "NodePool", "EC2NodeClass", "ScaledObject", "VerticalPodAutoscaler", "ConfigMap", "Namespace",
        "Service", "ServiceAccount", "ClusterRole", "ClusterRoleBinding", "PodDisruptionBudget",
        "HTTPRoute", "PrometheusRule")  # fmt: skip
POOL = {
    "apiVersion": "karpenter.sh/v1",
    "kind": "NodePool",
    "metadata": {"name": "of-another-team"},
    "spec": {
        "limits": {"cpu": "200", "memory": "400Gi"},
        "template": {
            "spec": {
                "nodeClassRef": {"group": "karpenter.k8s.aws", "kind": "EC2NodeClass", "name": "of-another-team"},
                "requirements": [{"key": "kubernetes.io/arch", "operator": "In", "values": ["arm64"]}],
                "taints": [{"key": "team", "value": "other", "effect": "NoSchedule"}],
            }
        },
    },
}


@pytest.fixture(scope="module")
def admin(world: worlds.LabWorld) -> Cluster:
    """The cluster with every right."""
    return Cluster(api_client(Path(world.state["regions"][REGION]["kubeconfig"])))


@pytest.fixture(scope="module")
def targets(
    world: worlds.LabWorld, aws: Callable[..., Any], admin: Cluster, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Target]]:
    """The region as a task of each lever sees it, as the user that Airflow gets."""
    state = world.state
    storage = Folder(tmp_path_factory.mktemp("models"))
    crown(Registry(storage, REGION), tmp_path_factory.mktemp("made"))
    prometheus = Prometheus(state["prometheus"])

    def of(region: str) -> Any:
        return SimpleNamespace(aws=Aws(lambda service, config: aws(service, region)), prometheus=prometheus)

    clients = SimpleNamespace(
        kubernetes=Cluster(api_client(Path(state["regions"][REGION]["rollout_kubeconfig"]))),
        prometheus=prometheus,
        aws=of(REGION).aws,
        storage=lambda variable: storage,
        location=lambda variable: storage.root.as_uri(),
        probes=Probes(state["plant"]),
        of=of,
    )
    everywhere = SimpleNamespace(**{**vars(clients), "aws": of(GLOBAL).aws})
    estate = world.estate.slice(REGION)
    given = {"converge_timeout_seconds": 240, "prometheus_endpoint": state["prometheus"]} | QUICK
    given |= {"namespace": STAGING, "nodes_wait_seconds": 120, "consolidate_after_seconds": 10}
    given["nominated_seconds"] = 2 * karpenter.BATCH_MAX_SECONDS  # as the lab has it
    given |= {"cdn_price_class": "PriceClass_200"}  # by the dollars none is changed
    given |= {"history_days": 1, "recommender_interval_seconds": vpa.INTERVAL_SECONDS}  # as the lab has it

    def target(name: str) -> Target:
        model = levers.lever(name).settings_type
        if model is CapSettings:
            settings: Any = CapSettings(pool="of-another-team", new_cpu="120", old_cpu="200")
        else:
            settings = build(model, given, estate)
        if acts_in(levers.lever(name)) is PlaceKind.REGION:
            return Target(REGION, estate, "lab-test", settings, clients)
        return Target(ESTATE_WIDE, world.estate, "lab-test", settings, everywhere)

    build_staging(Path(state["regions"][REGION]["kubeconfig"]))
    # Until KEDA has scaled it, what is there before is not what is there later.
    admin.wait_for(lambda: behind(admin, PODS), 240, KINDS["Deployment"], STAGING)
    admin.apply(POOL, "team-other")
    admin.apply(tolerating([{"key": "team", "operator": "Exists"}]), "team-search")
    forecast(world, 5000)
    try:
        yield {name: target(name) for name in LEVERS}
    finally:
        forecast(world, None)
        admin.apply(tolerating([]), "team-search")
        admin.delete(KINDS["NodePool"], "of-another-team")
        admin.delete(KINDS["Namespace"], STAGING)


def tolerating(tolerations: list[Json]) -> dict[str, Json]:
    """A workload whose tolerations, one list to an API server, belong to somebody else."""
    spec = {"template": {"spec": {"tolerations": tolerations}}} if tolerations else {}
    metadata = {"name": "akidb-rest", "namespace": "akidb"}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec}


def toleration_owners(admin: Cluster) -> list[str]:
    """Who owns the workload's tolerations."""
    live = admin.get(KINDS["Deployment"], "akidb-rest", "akidb")
    assert live is not None
    path = ("f:spec", "f:template", "f:spec", "f:tolerations")
    return sorted(entry["manager"] for entry in live["metadata"]["managedFields"] if owns(entry, path))


def seen(admin: Cluster, aws: Callable[..., Any]) -> dict[str, Json]:
    """What a lever may change, as the API server and the cloud have it."""
    found: dict[str, Json] = {}
    for kind in SEEN:
        try:
            things = admin.list(KINDS[kind])
        except NotServedError:
            continue
        for thing in things:
            metadata = {k: v for k, v in thing["metadata"].items() if k not in COUNTERS}
            annotations = {k: v for k, v in metadata.pop("annotations", {}).items() if k != REVISION}
            content = {k: v for k, v in thing.items() if k not in ("status", "metadata")}
            name = f"{kind} {metadata.get('namespace', '')}/{metadata['name']}"
            found[name] = content | {"metadata": metadata | ({"annotations": annotations} if annotations else {})}
    nodes = admin.list(KINDS["Node"])
    found["requests of running pods"] = pod_requests(admin)
    found["tolerations belong to"] = toleration_owners(admin)
    found["cordoned"] = sorted(n["metadata"]["name"] for n in nodes if n["spec"].get("unschedulable"))
    group = [n for n in nodes if "eks.amazonaws.com/nodegroup" in n["metadata"]["labels"]]
    found["nodes"] = {"of the group": len(group), "of pools": len(nodes) - len(group)}
    found["queues"] = [url.rsplit("/", 1)[1] for url in aws("sqs").list_queues().get("QueueUrls", [])]
    found["rules"] = sorted(rule["Name"] for rule in aws("events").list_rules()["Rules"])
    found["record sets"], found["health checks"] = dns(aws("route53"))
    return found | edge(aws)


def pod_requests(admin: Cluster) -> list[str]:
    """The sizes that the estate's pods have, each once: a resize in place is on no template."""
    pods = [pod for pod in admin.list(KINDS["Pod"], "akidb") if not pod["metadata"].get("deletionTimestamp")]
    return sorted({str((pod["metadata"]["labels"]["app"], requests(pod))) for pod in pods})


def requests(pod: dict[str, Any]) -> list[Json]:
    """By container."""
    return [container["resources"].get("requests") for container in pod["spec"]["containers"]]


def dns(route53: Any) -> tuple[list[str], list[str]]:
    """Every record set with its check's settings in place of an id, which may be another one; and every check."""
    checks = {c["Id"]: str(c["HealthCheckConfig"]) for c in route53.list_health_checks()["HealthChecks"]}
    zones = [zone["Id"] for zone in route53.list_hosted_zones()["HostedZones"]]
    found = [route53.list_resource_record_sets(HostedZoneId=zone)["ResourceRecordSets"] for zone in zones]
    records = [
        str({**record, "HealthCheckId": checks.get(record.get("HealthCheckId", ""))})
        for some in found
        for record in some
    ]
    return sorted(records), sorted(checks.values())


def edge(aws: Callable[..., Any]) -> dict[str, Json]:
    """The distributions, the functions as they are published next, the units of their aliases, and the lifecycle."""
    found: dict[str, Json] = {}
    cloudfront, s3 = aws("cloudfront"), aws("s3")
    for item in cloudfront.list_distributions()["DistributionList"].get("Items", []):
        found[f"distribution {item['Id']}"] = cloudfront.get_distribution_config(Id=item["Id"])["DistributionConfig"]
    for region in (GLOBAL, REGION):
        functions = aws("lambda", region)
        for function in functions.list_functions()["Functions"]:
            name = function["FunctionName"]
            units = functions.list_provisioned_concurrency_configs(FunctionName=name)
            asked = [(c["FunctionArn"], c["RequestedProvisionedConcurrentExecutions"])
                     for c in units["ProvisionedConcurrencyConfigs"]]  # fmt: skip
            found[f"function {region} {name}"] = [function["MemorySize"], function["Timeout"], asked]
    for bucket in (b["Name"] for b in s3.list_buckets()["Buckets"]):
        with contextlib.suppress(s3.exceptions.ClientError):  # none
            found[f"lifecycle {bucket}"] = s3.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]
    return found


def apply(lever: Lever, target: Target) -> None:
    """Every stage that is tried here."""
    for stage in lever.plan(target).stages[: STAGES.get(lever.name)]:
        lever.apply(target, stage)


def ledgered(snapshot: dict[str, Json], folder: Path) -> dict[str, Json]:
    """The snapshot as a rollback gets it."""
    ledger, chain = Ledger(Folder(folder / "ledger")), Chain("any", REGION, "dag", "run")
    ledger.append(chain, Step.SNAPSHOT, {"snapshot": snapshot})
    kept: dict[str, Json] = ledger.records(chain)[0].figures["snapshot"]
    return kept


def undo(lever: Lever, target: Target, snapshot: dict[str, Json], but: str = "none") -> None:
    """Roll back and prove it by the lever's own eyes; ``but`` is what may stay."""
    restored = lever.rollback(target, snapshot)
    assert [str(other) for other in restored.changed_by_others if other.path != but] == []
    assert [str(left) for left in lever.verify_restored(target, snapshot) if left.path != but] == []


@pytest.fixture
def ground(name: str, targets: dict[str, Target], tmp_path: Path) -> Iterator[None]:
    """What the lever's change is a part of stands, and is undone afterwards."""
    if name not in GROUND:
        yield
        return
    lever, target = levers.lever(GROUND[name]), targets[GROUND[name]]
    snapshot = ledgered(lever.snapshot(target), tmp_path / "ground")
    apply(lever, target)
    yield
    undo(lever, target, snapshot)


@pytest.mark.usefixtures("ground")
@pytest.mark.parametrize("name", LEVERS)
def test_its_undo_alone_is_complete_on_an_api_server_although_it_was_killed_half_way(
    name: str, targets: dict[str, Target], admin: Cluster, aws: Callable[..., Any], tmp_path: Path
) -> None:
    lever, target = levers.lever(name), targets[name]
    before = seen(admin, aws)
    snapshot = ledgered(lever.snapshot(target), tmp_path)
    apply(lever, target)
    assert seen(admin, aws) != before
    dying, _ = watched(target, until=1)
    with pytest.raises(Killed):
        lever.rollback(dying, snapshot)
    undo(lever, target, snapshot)
    left = differing(before, seen(admin, aws))
    assert {k: v for k, v in left.items() if not (name in PACKS and k == "nodes")} == {}


def differing(before: dict[str, Json], after: dict[str, Json]) -> dict[str, Any]:
    """What is not as it was."""
    return {k: (before.get(k), after.get(k)) for k in {*before, *after} if before.get(k) != after.get(k)}


@pytest.fixture(scope="module")
def standing(
    targets: dict[str, Target],
    admin: Cluster,
    aws: Callable[..., Any],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[dict[str, dict[str, Json]]]:
    """Every lever's change at once; its snapshots. In the end all is undone in the declared order."""
    folder = tmp_path_factory.mktemp("standing")
    before = seen(admin, aws)
    snapshots: dict[str, dict[str, Json]] = {}
    for name in LEVERS:
        lever = levers.lever(name)
        snapshots[name] = ledgered(lever.snapshot(targets[name]), folder / name)
        apply(lever, targets[name])
    yield snapshots
    for name in [name for name in levers.undo_order() if name in LEVERS]:
        undo(levers.lever(name), targets[name], snapshots[name])
    assert differing(before, seen(admin, aws)) == {}


@pytest.mark.long
@pytest.mark.parametrize("name", [*(name for name in LEVERS if name != LAST), LAST])
def test_its_undo_is_complete_while_every_other_change_stands(
    name: str, targets: dict[str, Target], standing: dict[str, dict[str, Json]]
) -> None:
    lever, target = levers.lever(name), targets[name]
    parts = [each for each in LEVERS if GROUND.get(each) == name]
    others = [each for each in LEVERS if each != name and each not in parts]
    stands = {other: changes(other, targets[other], standing[other]) for other in others}
    undo(lever, target, standing[name], but=SHARED)
    assert {other: changes(other, targets[other], standing[other]) for other in others} == stands
    for again in (name, *parts) if name != LAST else ():
        apply(levers.lever(again), targets[again])


def changes(name: str, target: Target, snapshot: dict[str, Json]) -> set[str]:
    """What of a lever's change stands, nodes and pods aside: those come and go."""
    left = levers.lever(name).verify_restored(target, snapshot)
    return {d.path for d in left if not d.path.startswith(("Node/", "Pod "))}
