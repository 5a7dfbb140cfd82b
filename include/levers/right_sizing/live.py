"""The pods of what is sized, and what a new one would get."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from decimal import Decimal

from include.clients.kubernetes import POD, REPLICA_SET
from include.levers.nodes.requests import shown
from include.levers.nodes.scheduling import selects
from include.levers.pods import controlled_by, pods_of_deployments
from include.levers.right_sizing.agreement import recommended_for
from include.levers.right_sizing.sizes import in_mib, requests_of, running, unsized
from include.levers.right_sizing.wanted import World
from include.levers.world import Object, name_of, standing
from include.rollout.lever import Json

UPDATERS_LEAST = 2  # of fewer pods the updater resizes none (its --min-replicas)
REVISION = "deployment.kubernetes.io/revision"


def pods_of(world: World, name: str) -> list[Object]:
    """A Deployment's own pods that have not ended."""
    return pods_of_deployments(world.cluster.list(POD, world.estate.namespace), [name])


def unread_labels(world: World, name: str) -> list[str]:
    """The labels of a Deployment's selector that its pods have, and in Prometheus have not or have otherwise.

    The recommender counts the history of pods whose labels in Prometheus match the selector, and drops any other
    without a word. kube-state-metrics exports the labels that it is told to, with an underscore for each character
    that a label of Prometheus can't have: a selector by ``app.kubernetes.io/name`` never finds a history.
    """
    from include.levers.right_sizing.history import labels_of_pods

    selector = standing(world, [name])[name]["spec"]["selector"]
    asked = {*(selector.get("matchLabels") or {}), *(term["key"] for term in selector.get("matchExpressions") or [])}
    read = labels_of_pods(world.prometheus, world.estate, world.target.region, name, world.now())
    real = {name_of(pod): pod["metadata"].get("labels") or {} for pod in pods_of(world, name)}
    lost = [pod for pod, labels in read.items() if pod in real and not selects(selector, labels)]
    return sorted({key for pod in lost for key in asked if real[pod].get(key) != read[pod].get(key)})


def unsized_pods(world: World, sized: Mapping[str, Json]) -> list[str]:
    """Running pods that have not the recommended size yet, a line each; see :func:`sizes.unsized`."""
    lines = []
    for name, one in sized.items():
        wanted = recommended_for(world, name, one["container"])
        if wanted is None:
            lines.append(f"VPA {name} has no recommendation any more: is vpa-recommender running?")
        else:
            pods, inside = running(pods_of(world, name)), not world.settings.wait_within_bounds
            pods = pods if len(pods) >= UPDATERS_LEAST else []
            lines += [line for pod in pods if (line := unsized(pod, one["container"], wanted, inside))]
    return lines


# A new pod -------------------------------------------------------------------------------------------------------


def new_pod(replica_set: Object) -> Object:
    """The pod that a ReplicaSet would make, as a dry run asks for it: VPA finds its own by the owner."""
    metadata, template = replica_set["metadata"], copy.deepcopy(replica_set["spec"]["template"])
    owner = {
        "apiVersion": "apps/v1",
        "kind": REPLICA_SET.name,
        "name": metadata["name"],
        "uid": metadata.get("uid", ""),
    }
    body = {"name": f"{metadata['name']}-dryrun", "namespace": metadata["namespace"]}
    kept = {part: template["metadata"][part] for part in ("labels", "annotations") if part in template["metadata"]}
    made = {**kept, **body, "ownerReferences": [{**owner, "controller": True}]}
    return {"apiVersion": "v1", "kind": POD.name, "metadata": made, "spec": template["spec"]}


def replica_set_of(world: World, deployment: Object) -> Object | None:
    """A Deployment's newest ReplicaSet."""
    sets = world.cluster.list(REPLICA_SET, world.estate.namespace)
    mine = [found for found in sets if controlled_by(found, "Deployment", deployment)]
    return max(mine, key=_revision, default=None)


def _revision(replica_set: Object) -> int:
    return int((replica_set["metadata"].get("annotations") or {}).get(REVISION, 0))


def what_new_pods_get(world: World, name: str, container: str) -> dict[str, Decimal]:
    """What a new pod of a Deployment would request, by a dry run; empty when nothing would make one."""
    deployment = standing(world, [name]).get(name)
    maker = None if deployment is None else replica_set_of(world, deployment)
    if maker is None:
        return {}
    made = world.cluster.create(new_pod(maker), dry_run=True)
    return requests_of(made["spec"], container)


def unsized_new_pods(world: World, sized: Mapping[str, Json]) -> list[str]:
    """Deployments whose new pods would not get what VPA recommends, a line each: the webhook fails open."""
    lines = []
    for name, one in sized.items():
        got, wanted = what_new_pods_get(world, name, one["container"]), recommended_for(world, name, one["container"])
        target = {} if wanted is None else dict(wanted.target)
        if got != target or not got:
            lines.append(
                f"a new pod of {name} would request {in_mib(got)}, VPA recommends {in_mib(target)}: {WEBHOOK_HINT}"
            )
    return lines


WEBHOOK_HINT = "is vpa-admission-controller running, and does the API server reach its webhook?"


def counted(world: World, sized: Mapping[str, Json]) -> dict[str, Json]:
    """Running pods of each Deployment, by what they request now, for the ledger."""
    return {
        name: _by_size([requests_of(pod["spec"], one["container"]) for pod in running(pods_of(world, name))])
        for name, one in sized.items()
    }


def _by_size(sizes: list[dict[str, Decimal]]) -> dict[str, int]:
    texts = [shown(size) for size in sizes]
    return {text: texts.count(text) for text in sorted(set(texts))}
