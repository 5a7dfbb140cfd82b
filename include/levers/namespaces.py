"""What somebody else keeps in a Namespace and would lose with it: found by discovery, whatever its kind."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from include.clients.kubernetes import ForbiddenError, Kind, KubernetesError, NotServedError
from include.levers.world import Object, World, name_of

# What Kubernetes, a mesh or a distribution puts into every Namespace.
OF_EVERY_NAMESPACE = {
    ("ConfigMap", "kube-root-ca.crt"),
    ("ConfigMap", "istio-ca-root-cert"),
    ("ConfigMap", "openshift-service-ca.crt"),
    ("ServiceAccount", "default"),
}
PASSING = {"Event", "Lease"}  # traces of what ran there; nobody keeps them
ACCOUNT_ANNOTATION = "kubernetes.io/service-account.name"  # annotation of a ServiceAccount's token
SHOWN = 8


def held_by_others(world: World, manager: str, namespace: str, ours: Collection[str]) -> list[str]:
    """``StatefulSet prometheus-k8s`` of each object in ``namespace`` that neither the lever nor the system made.

    ``ours`` are the keys that the lever has made. What can't be listed counts: it may be somebody's.
    """
    try:
        kinds = world.cluster.namespaced_kinds()
    except KubernetesError as error:
        return [f"objects of kinds that can't be told now ({error})"]
    names = {kind.name for kind in kinds}
    found: list[str] = []
    for kind in kinds:
        if kind.name not in PASSING:
            found += _of_kind(world, manager, namespace, kind, names, ours)
    return sorted(set(found))


def _of_kind(
    world: World, manager: str, namespace: str, kind: Kind, names: Collection[str], ours: Collection[str]
) -> list[str]:
    try:
        things = world.cluster.list_metadata(kind, namespace)
    except ForbiddenError:
        return [f"{kind.plural}, perhaps: the right to list them is missing"]
    except NotServedError:  # its definition went in between
        return []
    except KubernetesError as error:  # such as an aggregated API whose server is away
        return [f"{kind.plural}, perhaps: {error}"]
    return [
        f"{kind.name} {name_of(thing)}"
        for thing in things
        if not _goes_by_itself(thing, names) and not _is_ours(thing, manager, namespace, kind, ours)
    ]


def _goes_by_itself(thing: Object, names: Collection[str]) -> bool:
    """Whether it is being deleted, or goes with an owner in the same Namespace, which is named itself if it stands."""
    owners = thing["metadata"].get("ownerReferences") or []
    return "deletionTimestamp" in thing["metadata"] or any(owner["kind"] in names for owner in owners)


def _is_ours(thing: Object, manager: str, namespace: str, kind: Kind, ours: Collection[str]) -> bool:
    name, metadata = name_of(thing), thing["metadata"]
    if (kind.name, name) in OF_EVERY_NAMESPACE:
        return True
    if kind.name == "Endpoints" and f"Service {namespace}/{name}" in ours:
        return True
    account = (metadata.get("annotations") or {}).get(ACCOUNT_ANNOTATION) if kind.name == "Secret" else None
    if account is not None:
        return account == "default" or f"ServiceAccount {namespace}/{account}" in ours
    entries = metadata.get("managedFields") or []
    return any(entry["manager"] == manager and entry.get("operation") == "Apply" for entry in entries)


def in_one_line(found: Sequence[str]) -> str:
    """The first of them in one line."""
    more = len(found) - SHOWN
    return ", ".join(found[:SHOWN]) + (f" and {more} more" if more > 0 else "")
