"""Read-only checks before anything is planned. Each gives one line: what was looked at, and the remedy if it failed."""

from __future__ import annotations

import copy
from collections.abc import Iterator

from include.clients.kubernetes import CLUSTER_ROLE, DEPLOYMENT, NAMESPACE, PROMETHEUS_RULE
from include.levers import checks, objects, workloads
from include.levers.common import Object, owner_of
from include.levers.cost_monitoring import live, plan
from include.levers.cost_monitoring.live import World
from include.levers.cost_monitoring.plan import CHARTS, MANAGER, SLOTS
from include.rollout.lever import Check


def run_checks(world: World) -> list[Check]:
    """Every check, in the order in which a person would repair them. Never raises for a failed check."""
    world = checks.once(world)
    reached = checks.guarded("cluster reachable", world, checks.reachable)
    if not reached[0].passed:
        return reached
    return [
        *reached,
        *checks.several(
            world,
            {
                "installed already": _installed,
                "objects' owners": _owners,
                "manifests accepted": _dry_run,
                "prices": checks.prices,
                "metrics": _metrics,
            },
        ),
    ]


def _installed(world: World) -> Iterator[Check]:
    for name in CHARTS:
        found = world.cluster.get(DEPLOYMENT, name, name)
        if found is None:
            yield Check(f"{name} installed", True, f"Deployment {name}/{name} is absent and will be made")
        elif found["spec"].get("paused"):
            yield from checks.report(f"{name} installed", workloads.rollout_findings(found), "")
        elif plan.ours(found) is not None:
            yield Check(f"{name} installed", True, f"Deployment {name}/{name} is this lever's own")
        else:
            yield _foreign(world, name, found)


def _foreign(world: World, name: str, found: Object) -> Check:
    """A Deployment of somebody else must be the pinned version: its figures are what the estate is judged by."""
    labels = found["metadata"].get("labels") or {}
    pins = {"helm.sh/chart": world.chosen.chart(name), "app.kubernetes.io/version": world.chosen.version(name)}
    wrong = [f"{key} is {labels.get(key)}, pinned is {want}" for key, want in pins.items() if labels.get(key) != want]
    owner = owner_of(found) or "somebody else"
    if not wrong:
        return Check(f"{name} installed", True, f"{owner}'s Deployment {name}/{name} is {pins['helm.sh/chart']}")
    reason = f"{owner}'s Deployment {name}/{name}: {'; '.join(wrong)}"
    remedy = f"change it in {owner}, or set {name}_chart_version, {name}_version and {name}_image to what it is"
    return Check(f"{name} installed", False, reason, remedy)


def _owners(world: World) -> Iterator[Check]:
    bodies = [body for body in live.every_body(world, live.read_live(world)) if body["kind"] != "Namespace"]
    things = {objects.key_of(body): objects.read(world, body) for body in bodies}
    yield from checks.owners(world, things, "undo the change", "remove it in {owner}, or")


def _dry_run(world: World) -> Iterator[Check]:
    operator, left = world.cluster.serves(PROMETHEUS_RULE), live.foreign(world)
    tried = []
    for slot in SLOTS:
        for body in live.bodies(world, slot, operator, left):
            if _can_be_tried(world, body):
                world.cluster.apply(_in_existing_namespace(world, body), MANAGER, dry_run=True)
                tried.append(objects.key_of(body))
    yield Check(
        "manifests accepted", True, f"the API server's dry run accepts {', '.join(tried) or 'nothing to write'}"
    )


def _can_be_tried(world: World, body: Object) -> bool:
    """Not a Namespace that is there and left alone, nor a binding whose role a dry run has not really made."""
    if body["kind"] == "Namespace":
        found = objects.read(world, body)
        return found is None or plan.ours(found) is not None
    if body["kind"] == "ClusterRoleBinding":
        return world.cluster.get(CLUSTER_ROLE, body["roleRef"]["name"]) is not None
    return True


def _in_existing_namespace(world: World, body: Object) -> Object:
    """The object as it can be tried: in AkiDB's namespace while its own does not exist yet."""
    space = body["metadata"].get("namespace")
    if space is None or world.cluster.get(NAMESPACE, space) is not None:
        return body
    tried = copy.deepcopy(body)
    tried["metadata"]["namespace"] = world.estate.namespace
    return tried


def _metrics(world: World) -> Iterator[Check]:
    metrics, region = world.estate.metrics, world.target.region
    ours = world.estate.matchers(region)
    pods = f'namespace="{world.estate.namespace}",region="{region}"'
    selectors = {
        "http_requests": f"{metrics.http_requests}{{{ours}}}",
        "grpc_requests": f"{metrics.grpc_requests}{{{ours}}}",
        "container CPU": f"container_cpu_usage_seconds_total{{{pods}}}",
        "Karpenter": f'up{{job="karpenter",region="{region}"}}',
    }
    yield from checks.series_exist(world, selectors)
