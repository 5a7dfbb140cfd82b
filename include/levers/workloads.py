"""What the live objects of a workload say against a rollout: pure functions, a finding with its remedy for each.

Every lever's preflight asks these. Objects are as the API server gives them; nothing here talks to a cluster.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from include.estate import Resources
from include.levers.nodes import (
    ARCHITECTURE,
    HOST,
    Labels,
    Object,
    Requests,
    affinity_terms,
    hard_skews,
    holds,
    largest,
    pod_requests,
    selects,
    show_cpu,
    show_memory,
    shown,
    wants,
)
from include.quantities import quantity

NODE_GROUP = "eks.amazonaws.com/nodegroup"
DO_NOT_DISRUPT = "karpenter.sh/do-not-disrupt"
DO_NOT_EVICT = "cluster-autoscaler.kubernetes.io/safe-to-evict"
FINISHED = ("Succeeded", "Failed")
_DURATION = re.compile(r"(\d+(\.\d+)?(ns|us|µs|ms|s|m|h))+")  # as Go writes it: 1h30m


@dataclass(frozen=True)
class Finding:
    """What speaks against a rollout: whom it is about, what is wrong, and what to do."""

    subject: str
    reason: str
    remedy: str


# Whose pods --------------------------------------------------------------------------------------------------------


def controller_of(thing: Mapping[str, Any]) -> Object | None:
    """The owner that replaces the object when it is gone, None without one."""
    owners = thing["metadata"].get("ownerReferences") or []
    return next((owner for owner in owners if owner.get("controller")), None)


def controlled_by(thing: Mapping[str, Any], kind: str, owner: Mapping[str, Any]) -> bool:
    """Whether ``owner``, an object of ``kind``, is the controller of ``thing``."""
    found, metadata = controller_of(thing), owner["metadata"]
    if found is None or found.get("kind") != kind or _space(thing) != _space(owner):
        return False
    if found.get("uid") and metadata.get("uid"):
        return bool(found["uid"] == metadata["uid"])
    return bool(found.get("name") == metadata["name"])


def own_pods(deployment: Object, replica_sets: Iterable[Object], pods: Iterable[Object]) -> list[Object]:
    """The Deployment's own pods, by their owners and not by their labels; finished ones don't count."""
    mine = [item for item in replica_sets if controlled_by(item, "Deployment", deployment)]
    by_uid = {item["metadata"]["uid"] for item in mine if item["metadata"].get("uid")}
    by_name = {item["metadata"]["name"] for item in mine}
    space = _space(deployment)
    # Most pods of a big cluster are of other namespaces: the cheapest question first.
    near = (pod for pod in pods if _space(pod) == space and not is_finished(pod))
    return [pod for pod in near if _owned(pod, by_uid, by_name)]


def _owned(pod: Object, by_uid: set[str], by_name: set[str]) -> bool:
    owner = controller_of(pod)
    if owner is None or owner.get("kind") != "ReplicaSet":
        return False
    return owner["uid"] in by_uid if by_uid and owner.get("uid") else owner.get("name") in by_name


def is_finished(pod: Mapping[str, Any]) -> bool:
    """Whether a pod has ended for good: it runs nothing, and what replaces it is another pod."""
    return pod.get("status", {}).get("phase") in FINISHED


def _space(thing: Mapping[str, Any]) -> str:
    return str(thing["metadata"].get("namespace", ""))


def _name(thing: Mapping[str, Any]) -> str:
    return str(thing["metadata"]["name"])


def replicas_of(deployment: Mapping[str, Any]) -> int:
    """Wanted replicas; Kubernetes' default is 1."""
    found = deployment["spec"].get("replicas")
    return 1 if found is None else int(found)


def _label(deployment: Object) -> str:
    return f"Deployment {_name(deployment)}"


# State of a Deployment ---------------------------------------------------------------------------------------------


def rollout_findings(deployment: Object) -> Iterator[Finding]:
    """A Deployment that is paused, in the middle of a rollout, or short of pods."""
    name, status = _label(deployment), deployment.get("status") or {}
    if deployment["spec"].get("paused"):
        remedy = f"resume it: kubectl -n {_space(deployment)} rollout resume deployment {_name(deployment)}"
        yield Finding(_name(deployment), f"{name} is paused: a change of its template would wait for ever", remedy)
        return
    wanted, updated = replicas_of(deployment), int(status.get("updatedReplicas") or 0)
    generation, seen = deployment["metadata"].get("generation", 0), status.get("observedGeneration", 0)
    total = int(status.get("replicas") or 0)
    told = []
    if seen < generation:
        told.append(f"its controller has seen generation {seen} of {generation}")
    if total > updated:  # without old pods it is no rollout but a change of replicas
        told.append(f"{updated} of {wanted} updated" if updated < wanted else f"{total - updated} old pods have to go")
    failed = [c["reason"] for c in status.get("conditions") or [] if _has_failed(c)]
    if told or failed:
        reason = f"{name} is in the middle of a rollout ({', '.join([*told, *failed])})"
        remedy = f"let it end, or undo it: kubectl -n {_space(deployment)} rollout undo deployment {_name(deployment)}"
        yield Finding(_name(deployment), reason, remedy)
        return
    available = int(status.get("availableReplicas") or 0)
    if available < wanted:
        reason = f"{name} has {available} of {wanted} pods available"
        yield Finding(_name(deployment), reason, "wait until all of them are, or find out why they are not")


def _has_failed(condition: Mapping[str, Any]) -> bool:
    progress = condition["type"] == "Progressing" and condition["status"] == "False"
    return bool(condition.get("reason")) and (
        progress or (condition["type"] == "ReplicaFailure" and condition["status"] == "True")
    )


def strategy_findings(deployment: Object) -> Iterator[Finding]:
    """A Deployment whose change of template takes every pod down at once."""
    strategy, name = deployment["spec"].get("strategy") or {}, _label(deployment)
    remedy = "set its strategy to RollingUpdate with maxUnavailable 25%"
    if strategy.get("type") == "Recreate":
        reason = f"{name} has strategy Recreate: the spread constraint would end all of its pods at once"
        yield Finding(_name(deployment), reason, remedy)
        return
    replicas, unavailable = replicas_of(deployment), max_unavailable(deployment)
    if 0 < replicas <= unavailable:
        given = (strategy.get("rollingUpdate") or {}).get("maxUnavailable", "25%")
        reason = (
            f"{name} has maxUnavailable {given}, that is {unavailable} of {replicas} pods: the spread constraint would "
            "end all of them at once"
        )
        yield Finding(_name(deployment), reason, remedy)


def max_unavailable(deployment: Object) -> int:
    """How many pods a rollout may take down at once; a percentage rounds down, but one of the two is at least 1."""
    rolling = (deployment["spec"].get("strategy") or {}).get("rollingUpdate") or {}
    found = _share(rolling.get("maxUnavailable", "25%"), replicas_of(deployment), math.floor)
    return 1 if found == 0 and max_surge(deployment) == 0 else found


def max_surge(deployment: Object) -> int:
    """How many pods a rollout adds at once; a percentage rounds up."""
    strategy = deployment["spec"].get("strategy") or {}
    if strategy.get("type") == "Recreate":
        return 0
    rolling = strategy.get("rollingUpdate") or {}
    return _share(rolling.get("maxSurge", "25%"), replicas_of(deployment), math.ceil)


def _share(value: int | str, replicas: int, rounded: Any) -> int:
    text = str(value)
    return int(rounded(int(text[:-1]) * replicas / 100)) if text.endswith("%") else int(text)


def slow_findings(deployment: Object, timeout: float) -> Iterator[Finding]:
    """A Deployment of which one pod takes longer to end, or to count as ready, than a step is waited for."""
    spec = deployment["spec"]
    for field, seconds in (
        ("terminationGracePeriodSeconds", spec["template"]["spec"].get("terminationGracePeriodSeconds", 30)),
        ("minReadySeconds", spec.get("minReadySeconds", 0)),
    ):
        if seconds > timeout:
            reason = f"{_label(deployment)} has {field} {seconds}: one pod may take longer than a step is waited for"
            remedy = f"lower it, or raise converge_timeout_seconds (now {timeout:.0f}) above it"
            yield Finding(_name(deployment), reason, remedy)


def pending_findings(deployment: Object, pods: Iterable[Object]) -> Iterator[Finding]:
    """Own pods that no node takes."""
    waiting = sorted(
        _name(p) for p in pods if not p["spec"].get("nodeName") and not p["metadata"].get("deletionTimestamp")
    )
    if waiting:
        reason = f"{len(waiting)} pods of {_label(deployment)} are Pending: {listed(waiting)}"
        yield Finding(_name(deployment), reason, "make room for them, or lower replicas, until all of them have a node")


def listed(names: Sequence[str], most: int = 5) -> str:
    """The first names, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


# Requests ----------------------------------------------------------------------------------------------------------


def live_requests(deployment: Object, pods: Iterable[Object]) -> dict[str, Decimal]:
    """What one pod requests: what its template says, or more where others have added to the running ones.

    ``pods`` are the Deployment's own. Injected containers and a VerticalPodAutoscaler show in them only.
    """
    specs = [deployment["spec"]["template"]["spec"], *(pod["spec"] for pod in pods)]
    return largest(map(pod_requests, specs))


def request_findings(deployment: Object, pods: Iterable[Object], wanted: Resources) -> Iterator[Finding]:
    """A Deployment whose pods request nothing, or something else than the estate says."""
    live, name = live_requests(deployment, pods), _label(deployment)
    asked = {"cpu": quantity(wanted.cpu), "memory": quantity(wanted.memory)}
    given = pod_requests(deployment["spec"]["template"]["spec"])
    missing = [resource for resource in asked if not given.get(resource)]
    if missing:
        reason = (
            f"{name} requests no {' and no '.join(missing)}: Karpenter would pack all of its pods on one node a domain"
        )
        yield Finding(_name(deployment), reason, f"set requests in its template, such as {shown(asked)}")
    elif any(live[resource] != value for resource, value in asked.items()):
        reason = f"{name} requests {shown(live)} a pod with all of its containers, estate.yaml says {shown(asked)}"
        text = f'{{cpu: "{show_cpu(live["cpu"])}", memory: {show_memory(live["memory"])}}}'
        remedy = f"set workloads.{_name(deployment)}.requests to {text} in estate.yaml, or correct the Deployment"
        yield Finding(_name(deployment), reason, remedy)


# Where its pods may be ---------------------------------------------------------------------------------------------


def tie_findings(
    deployment: Object, pools: Mapping[str, Sequence[Labels]], own_keys: Iterable[str]
) -> Iterator[Finding]:
    """A Deployment whose pods the nodes of some pool could not take.

    ``pools`` are the label sets that nodes of each pool may have; ``own_keys`` what the lever spreads over itself.
    """
    template = deployment["spec"]["template"]
    spec, name = template["spec"], _label(deployment)
    if spec.get("nodeName"):
        yield Finding(_name(deployment), f"{name} is tied to node {spec['nodeName']} by nodeName", "remove nodeName")
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
            yield Finding(_name(deployment), reason, remedy)
    yield from _companions(deployment, known)


def _tie(deployment: Object, pool: str, nodes: Sequence[Labels]) -> Finding:
    spec, name = deployment["spec"]["template"]["spec"], _label(deployment)
    selector = spec.get("nodeSelector") or {}
    lacking = [key for key, value in selector.items() if not any(labels.get(key) == value for labels in nodes)]
    if NODE_GROUP in lacking:
        reason = f"{name} is tied to node group {selector[NODE_GROUP]} by its nodeSelector"
        return Finding(_name(deployment), reason, f"remove {NODE_GROUP} from its nodeSelector")
    if lacking:
        wanted = ", ".join(f"{key}={selector[key]}" for key in lacking)
        reason = f"{name} asks for {wanted} in its nodeSelector, which no node of NodePool {pool} would have"
        return Finding(_name(deployment), reason, f"remove {' and '.join(lacking)} from its nodeSelector")
    terms = [term for group in affinity_terms(spec) or [] for term in group]
    lacking_terms = [term for term in terms if not any(holds(term, labels) for labels in nodes)]
    for term in lacking_terms:
        if term["key"] == NODE_GROUP and term["operator"] == "In":
            reason = f"{name} is tied to node group {' or '.join(term['values'])} by its node affinity"
            return Finding(_name(deployment), reason, f"remove {NODE_GROUP} from its node affinity, or prefer it only")
    wanted = "; ".join(_expression(term) for term in lacking_terms or terms) or "an empty term"
    reason = f"{name} requires {wanted} by its node affinity, which no node of NodePool {pool} would fulfil"
    return Finding(_name(deployment), reason, "remove that from its node affinity, or prefer it only")


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
            reason = f"{_label(deployment)} must stand beside other pods ({key}) by its pod affinity"
            yield Finding(_name(deployment), reason, "prefer that only, or move those pods along")


def volume_findings(deployment: Object, claims: Mapping[str, Object]) -> Iterator[Finding]:
    """A Deployment whose pods share a volume that one node at a time may use. ``claims`` are those that were found."""
    for volume in deployment["spec"]["template"]["spec"].get("volumes") or []:
        claim = (volume.get("persistentVolumeClaim") or {}).get("claimName")
        if claim is None:
            continue
        modes = (claims.get(claim) or {"spec": {}})["spec"].get("accessModes") or []
        if not {"ReadWriteMany", "ReadOnlyMany"} & set(modes):
            told = ", ".join(modes) or "access modes not known"
            reason = (
                f"{_label(deployment)} mounts PersistentVolumeClaim {claim} ({told}): its pods can't change node freely"
            )
            yield Finding(_name(deployment), reason, "give it a ReadWriteMany volume, or leave it out of workloads")


def architecture_findings(
    deployment: Object, nodes: Mapping[str, str | None], wanted: str, confirmed: bool
) -> Iterator[Finding]:
    """Pods that run on nodes of another architecture than the pools will have, or ask for one.

    ``nodes``: the architecture, None where not known, by what to call the node; ``confirmed``: the images have both.
    """
    spec, name = deployment["spec"]["template"]["spec"], _label(deployment)
    asked = sorted(_architectures(spec) - {wanted})
    if asked and wanted not in _architectures(spec):
        reason = f"{name} asks for {ARCHITECTURE} {' or '.join(asked)}, spot.architecture is {wanted}"
        yield Finding(_name(deployment), reason, f"set spot.architecture to {asked[0]}, or have it take {wanted}")
        return
    others = {node: arch for node, arch in nodes.items() if arch != wanted}
    if not others or confirmed or wanted in _architectures(spec):
        return
    node, arch = next(iter(others.items()))
    if arch is None:
        reason = f"the architecture of {node} is not known: {name} may have no image for {wanted}"
        yield Finding(_name(deployment), reason, f"label it {ARCHITECTURE}, or set multi_arch_images")
        return
    reason = f"{name} runs on {node}, which is {arch}; spot.architecture is {wanted}"
    remedy = f"set spot.architecture to {arch} in estate.yaml, or set multi_arch_images if its images have both"
    yield Finding(_name(deployment), reason, remedy)


def _architectures(spec: Mapping[str, Any]) -> set[str]:
    """The architectures that a pod names itself, by nodeSelector or required affinity."""
    found = {value for key, value in (spec.get("nodeSelector") or {}).items() if key == ARCHITECTURE}
    terms = [term for group in affinity_terms(spec) or [] for term in group]
    return found | {v for t in terms if t["key"] == ARCHITECTURE and t["operator"] == "In" for v in t["values"]}


def disruption_findings(deployment: Object, pods: Iterable[Object]) -> Iterator[Finding]:
    """Pods that ask Karpenter not to disrupt them keep a node that has drifted."""
    template = deployment["spec"]["template"]
    marked = sorted(_name(pod) for pod in pods if asks_to_be_left(pod))
    what = "its template" if asks_to_be_left(template) else listed(marked)
    if what:
        reason = (
            f"pods of {_label(deployment)} are annotated {DO_NOT_DISRUPT} ({what}): they keep drifted nodes, so that "
            "no step after the first can end"
        )
        remedy = "remove the annotation for the rollout, or set accept_do_not_disrupt"
        yield Finding(_name(deployment), reason, remedy)


def asks_to_be_left(thing: Mapping[str, Any]) -> bool:
    """Whether a pod, its template or a node asks Karpenter not to disrupt it, for ever or for a time (``30m``)."""
    annotations = (thing.get("metadata") or {}).get("annotations") or {}
    value = str(annotations.get(DO_NOT_DISRUPT, "")).lower()
    return value == "true" or bool(_DURATION.fullmatch(value) and value.strip("0.hmsnuµ"))


def replica_findings(deployment: Object, domains: int, fewest: int) -> Iterator[Finding]:
    """A Deployment with fewer replicas than domains; there are ``fewest`` domains at least."""
    replicas, name = replicas_of(deployment), _name(deployment)
    if replicas >= domains:
        return
    reason = f"{name} has {replicas} replicas for {domains} domains: some would host none of its pods"
    if replicas >= fewest:
        yield Finding(name, reason, f"set domains to {replicas} or fewer, or add replicas")
    else:
        remedy = (
            f"give it {fewest} replicas or more (there are at least {fewest} domains), or leave it out of workloads"
        )
        yield Finding(name, reason, f"{remedy} in estate.yaml")


# Disruption budgets ------------------------------------------------------------------------------------------------


def budgets_of(budgets: Iterable[Object], labels: Labels, namespace: str) -> list[Object]:
    """The PodDisruptionBudgets that select pods with these labels."""
    return [b for b in budgets if _space(b) == namespace and selects(b["spec"].get("selector"), labels)]


def template_budgets(deployment: Object, budgets: Iterable[Object]) -> list[Object]:
    """The PodDisruptionBudgets that select a Deployment's pods."""
    labels = deployment["spec"]["template"]["metadata"].get("labels") or {}
    return budgets_of(budgets, labels, _space(deployment))


def unbudgeted_findings(deployment: Object, budgets: Iterable[Object]) -> Iterator[Finding]:
    """A Deployment whose pods no PodDisruptionBudget selects."""
    if not template_budgets(deployment, budgets):
        name = _name(deployment)
        reason = f"no PodDisruptionBudget selects the pods of {_label(deployment)}: nodes that go would take too many"
        yield Finding(name, reason, f"make one for it with maxUnavailable 25% in namespace {_space(deployment)}")


def budget_findings(budgets: Sequence[Object], pods: Iterable[Object]) -> Iterator[Finding]:
    """Budgets that would block the eviction of one of ``pods`` for good, or do so now."""
    seen: dict[tuple[str, tuple[tuple[str, str], ...]], list[str]] = {}
    for pod in pods:  # pods of one template have equal labels: each set of labels is compared once
        labels = pod["metadata"].get("labels") or {}
        key = (_space(pod), tuple(sorted(labels.items())))
        if key not in seen:
            seen[key] = sorted(f"{_space(b)}/{_name(b)}" for b in budgets_of(budgets, labels, _space(pod)))
    for names in sorted({tuple(names) for names in seen.values() if len(names) > 1}):
        reason = f"{' and '.join(names)} select the same pods: the Eviction API refuses such pods"
        yield Finding(names[0], reason, "let one PodDisruptionBudget select each pod")
    used = {name for names in seen.values() for name in names}
    for budget in budgets:
        name = f"{_space(budget)}/{_name(budget)}"
        if name in used:
            yield from _blocking(name, budget)


def _blocking(name: str, budget: Object) -> Iterator[Finding]:
    spec, status = budget["spec"], budget.get("status") or {}
    if str(spec.get("maxUnavailable")) in ("0", "0%") or str(spec.get("minAvailable")) == "100%":
        yield Finding(name, f"{name} never allows an eviction", "allow at least one pod to be unavailable")
    elif not status.get("disruptionsAllowed"):
        healthy, expected = status.get("currentHealthy"), status.get("expectedPods")
        counts = f"{healthy} of {expected} pods healthy"
        remedy = "wait until its pods are healthy, or add replicas"
        if healthy is None:
            counts, remedy = "its pods are not counted yet", "wait until its controller has counted them"
        elif healthy == expected:
            remedy = "allow at least one pod to be unavailable, or add replicas"
        yield Finding(name, f"{name} allows no eviction now ({counts})", remedy)


# Quotas ------------------------------------------------------------------------------------------------------------

_ALIASES = {"cpu": "requests.cpu", "memory": "requests.memory", "count/pods": "pods"}
_OTHER_PODS = {"Terminating", "BestEffort"}  # scopes of a quota that pods of a Deployment with requests don't have


def quota_needs(count: int, spec: Mapping[str, Any], requests: Requests) -> dict[str, Decimal]:
    """What ``count`` more pods count for in a ResourceQuota."""
    each = {f"requests.{name}": value for name, value in requests.items()}
    each |= {f"limits.{name}": value for name, value in pod_requests(spec, "limits").items()}
    return {name: value * count for name, value in {**each, "pods": Decimal(1)}.items()}


def quota_findings(quotas: Iterable[Object], needs: Requests, what: str) -> Iterator[Finding]:
    """ResourceQuotas that would refuse pods which a rollout has to make."""
    for quota in quotas:
        if _OTHER_PODS & set(quota["spec"].get("scopes") or []) or quota["spec"].get("scopeSelector"):
            continue
        status = quota.get("status") or {}
        used = {_ALIASES.get(name, name): quantity(value) for name, value in (status.get("used") or {}).items()}
        for name, hard in (quota["spec"].get("hard") or {}).items():
            resource = _ALIASES.get(name, name)
            left = quantity(hard) - used.get(resource, Decimal(0))
            if needs.get(resource, Decimal(0)) > left:
                show = show_memory if resource.endswith("memory") else show_cpu
                reason = (
                    f"ResourceQuota {_name(quota)} leaves {show(left)} of {name}, {what} needs {show(needs[resource])}"
                )
                yield Finding(_name(quota), reason, "raise the quota for the rollout")
