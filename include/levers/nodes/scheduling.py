"""Whether a node takes a pod by labels and taints, as the scheduler sees it: pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from include.levers.world import Object

Labels = Mapping[str, str]
ARCHITECTURE = "kubernetes.io/arch"
HOST = "kubernetes.io/hostname"
ZONE = "topology.kubernetes.io/zone"
NODE_GROUP = "eks.amazonaws.com/nodegroup"
NODE_POOL = "karpenter.sh/nodepool"
NAME_FIELD = "metadata.name"  # the one field that a node affinity may name


def holds(term: Mapping[str, Any], labels: Labels) -> bool:
    """Whether one expression of a label selector or a node affinity holds for these labels."""
    key, operator, values = term["key"], term["operator"], term.get("values") or []
    if operator in ("Gt", "Lt"):
        if not labels.get(key, "").isdigit():
            return False
        return int(labels[key]) > int(values[0]) if operator == "Gt" else int(labels[key]) < int(values[0])
    return {
        "In": labels.get(key) in values,
        "NotIn": labels.get(key) not in values,
        "Exists": key in labels,
        "DoesNotExist": key not in labels,
    }[operator]


def selects(selector: Mapping[str, Any] | None, labels: Labels) -> bool:
    """Whether a label selector selects; an empty one selects everything, none selects nothing."""
    if selector is None:
        return False
    exact = (selector.get("matchLabels") or {}).items()
    return all(labels.get(k) == v for k, v in exact) and all(
        holds(term, labels) for term in selector.get("matchExpressions") or []
    )


def affinity_terms(spec: Mapping[str, Any]) -> list[list[Object]] | None:
    """The required node affinity of a pod: any of the lists has to hold, None where nothing is required."""
    affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    if required is None:
        return None
    terms = required.get("nodeSelectorTerms") or []
    return [[*(term.get("matchExpressions") or []), *(term.get("matchFields") or [])] for term in terms]


def wants(spec: Mapping[str, Any], labels: Labels) -> bool:
    """Whether a pod's nodeSelector and required node affinity fit a node with these labels."""
    if any(labels.get(key) != value for key, value in (spec.get("nodeSelector") or {}).items()):
        return False
    terms = affinity_terms(spec)
    # A term without any expression fits no node.
    return terms is None or any(term and all(holds(e, labels) for e in term) for term in terms)


def tolerates(spec: Mapping[str, Any], taints: Iterable[Mapping[str, Any]]) -> bool:
    """Whether a pod may be put on a node with these taints."""
    hard = [taint for taint in taints if taint.get("effect") in ("NoSchedule", "NoExecute")]
    return all(any(_tolerated(t, taint) for t in spec.get("tolerations") or []) for taint in hard)


def _tolerated(toleration: Mapping[str, Any], taint: Mapping[str, Any]) -> bool:
    if toleration.get("effect") not in (None, "", taint["effect"]):
        return False
    if toleration.get("operator", "Equal") == "Exists":
        return toleration.get("key") in (None, "", taint["key"])
    return (toleration.get("key"), toleration.get("value") or "") == (taint["key"], taint.get("value") or "")


def exclusive_keys(spec: Mapping[str, Any], labels: Labels) -> list[str]:
    """The topology keys of which each domain takes one such pod only: by its anti-affinity to itself, or by a port."""
    affinity = (spec.get("affinity") or {}).get("podAntiAffinity") or {}
    terms = affinity.get("requiredDuringSchedulingIgnoredDuringExecution") or []
    found = [term["topologyKey"] for term in terms if selects(term.get("labelSelector"), labels)]
    ports = [port for container in spec.get("containers") or [] for port in container.get("ports") or []]
    return [*found, HOST] if any(port.get("hostPort") for port in ports) else found


def hard_skews(spec: Mapping[str, Any], ignored: str = "") -> dict[str, int]:
    """The topology keys that a pod must be spread over, with the largest skew of each."""
    found: dict[str, int] = {}
    for constraint in spec.get("topologySpreadConstraints") or []:
        key, skew = constraint["topologyKey"], int(constraint.get("maxSkew", 1))
        if constraint.get("whenUnsatisfiable", "DoNotSchedule") == "DoNotSchedule" and key != ignored:
            found[key] = min(skew, found.get(key, skew))
    return found


def least_domains(spec: Mapping[str, Any], key: str) -> int:
    """How many domains of a topology key the pod asks for, 1 where it gives no number; only a hard constraint may.

    As long as fewer have a node the scheduler counts one without pods, which only a new node can give.
    """
    constraints = (c for c in spec.get("topologySpreadConstraints") or [] if c["topologyKey"] == key)
    return max((int(constraint.get("minDomains") or 1) for constraint in constraints), default=1)


def labels_of(thing: Mapping[str, Any]) -> Labels:
    """An object's labels."""
    return thing["metadata"].get("labels") or {}
