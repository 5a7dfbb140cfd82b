"""What ties the pods of a Deployment to the nodes that it runs on: findings."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from include.levers.nodes.scheduling import (
    ARCHITECTURE,
    HOST,
    NODE_GROUP,
    Labels,
    affinity_terms,
    hard_skews,
    holds,
    selects,
    wants,
)
from include.levers.pods import title_of
from include.levers.workloads.state import Finding
from include.levers.world import Object, name_of


def tie_findings(
    deployment: Object, pools: Mapping[str, Sequence[Labels]], own_keys: Iterable[str]
) -> Iterator[Finding]:
    """A Deployment whose pods the nodes of some pool could not take.

    ``pools`` are the label sets that nodes of each pool may have; ``own_keys`` what the lever spreads over itself.
    """
    template = deployment["spec"]["template"]
    spec, name = template["spec"], title_of(deployment)
    if spec.get("nodeName"):
        yield Finding(name_of(deployment), f"{name} is tied to node {spec['nodeName']} by nodeName", "remove nodeName")
        return
    for pool, nodes in pools.items():
        if not any(wants(spec, labels) for labels in nodes):
            yield _tie(deployment, pool, nodes)
            return
    known = {key for nodes in pools.values() for labels in nodes for key in labels} | set(own_keys)
    for key in hard_skews(spec):
        if key not in known:
            reason = f"{name} is spread hard over {key}, a label that nodes of {' and '.join(pools)} don't have"
            remedy = "let that constraint say whenUnsatisfiable: ScheduleAnyway, or remove it"
            yield Finding(name_of(deployment), reason, remedy)
    yield from _companions(deployment, known)


def _tie(deployment: Object, pool: str, nodes: Sequence[Labels]) -> Finding:
    spec, name = deployment["spec"]["template"]["spec"], title_of(deployment)
    selector = spec.get("nodeSelector") or {}
    lacking = [key for key, value in selector.items() if not any(labels.get(key) == value for labels in nodes)]
    if NODE_GROUP in lacking:
        reason = f"{name} is tied to node group {selector[NODE_GROUP]} by its nodeSelector"
        return Finding(name_of(deployment), reason, f"remove {NODE_GROUP} from its nodeSelector")
    if lacking:
        wanted = ", ".join(f"{key}={selector[key]}" for key in lacking)
        reason = f"{name} asks for {wanted} in its nodeSelector, which no node of NodePool {pool} would have"
        return Finding(name_of(deployment), reason, f"remove {' and '.join(lacking)} from its nodeSelector")
    terms = [term for group in affinity_terms(spec) or [] for term in group]
    lacking_terms = [term for term in terms if not any(holds(term, labels) for labels in nodes)]
    for term in lacking_terms:
        if term["key"] == NODE_GROUP and term["operator"] == "In":
            reason = f"{name} is tied to node group {' or '.join(term['values'])} by its node affinity"
            return Finding(
                name_of(deployment), reason, f"remove {NODE_GROUP} from its node affinity, or prefer it only"
            )
    wanted = "; ".join(_expression(term) for term in lacking_terms or terms) or "an empty term"
    reason = f"{name} requires {wanted} by its node affinity, which no node of NodePool {pool} would fulfil"
    return Finding(name_of(deployment), reason, "remove that from its node affinity, or prefer it only")


def _expression(term: Mapping[str, Any]) -> str:
    values = ", ".join(map(str, term.get("values") or []))
    return f"{term['key']} {term['operator']}" + (f" {values}" if values else "")


def _companions(deployment: Object, known: set[str]) -> Iterator[Finding]:
    """Pods that must stand beside others' can't leave before those do."""
    template = deployment["spec"]["template"]
    affinity = (template["spec"].get("affinity") or {}).get("podAffinity") or {}
    for term in affinity.get("requiredDuringSchedulingIgnoredDuringExecution") or []:
        key = term["topologyKey"]
        beside_itself = selects(term.get("labelSelector"), template["metadata"].get("labels") or {})
        if key not in known or (key == HOST and not beside_itself):
            reason = f"{title_of(deployment)} must stand beside other pods ({key}) by its pod affinity"
            yield Finding(name_of(deployment), reason, "prefer that only, or move those pods along")


def volume_findings(deployment: Object, claims: Mapping[str, Object]) -> Iterator[Finding]:
    """A Deployment whose pods share a volume that one node at a time may use. ``claims`` are those that were found."""
    for volume in deployment["spec"]["template"]["spec"].get("volumes") or []:
        claim = (volume.get("persistentVolumeClaim") or {}).get("claimName")
        if claim is None:
            continue
        modes = (claims.get(claim) or {"spec": {}})["spec"].get("accessModes") or []
        if not {"ReadWriteMany", "ReadOnlyMany"} & set(modes):
            told = ", ".join(modes) or "access modes not known"
            mounted = f"mounts PersistentVolumeClaim {claim} ({told})"
            reason = f"{title_of(deployment)} {mounted}: its pods can't change node freely"
            yield Finding(name_of(deployment), reason, "give it a ReadWriteMany volume, or leave it out of workloads")


def architecture_findings(
    deployment: Object, nodes: Mapping[str, str | None], wanted: str, confirmed: bool
) -> Iterator[Finding]:
    """Pods that run on nodes of another architecture than the pools will have, or ask for one.

    ``nodes``: the architecture, None where not known, by what to call the node; ``confirmed``: the images have both.
    """
    spec, name = deployment["spec"]["template"]["spec"], title_of(deployment)
    asked = sorted(_architectures(spec) - {wanted})
    if asked and wanted not in _architectures(spec):
        reason = f"{name} asks for {ARCHITECTURE} {' or '.join(asked)}, spot.architecture is {wanted}"
        yield Finding(name_of(deployment), reason, f"set spot.architecture to {asked[0]}, or have it take {wanted}")
        return
    others = {node: arch for node, arch in nodes.items() if arch != wanted}
    if not others or confirmed or wanted in _architectures(spec):
        return
    node, arch = next(iter(others.items()))
    if arch is None:
        reason = f"the architecture of {node} is not known: {name} may have no image for {wanted}"
        yield Finding(name_of(deployment), reason, f"label it {ARCHITECTURE}, or set multi_arch_images")
        return
    reason = f"{name} runs on {node}, which is {arch}; spot.architecture is {wanted}"
    remedy = f"set spot.architecture to {arch} in estate.yaml, or set multi_arch_images if its images have both"
    yield Finding(name_of(deployment), reason, remedy)


def _architectures(spec: Mapping[str, Any]) -> set[str]:
    """The architectures that a pod names itself, by nodeSelector or required affinity."""
    found = {value for key, value in (spec.get("nodeSelector") or {}).items() if key == ARCHITECTURE}
    terms = [term for group in affinity_terms(spec) or [] for term in group]
    return found | {v for t in terms if t["key"] == ARCHITECTURE and t["operator"] == "In" for v in t["values"]}
