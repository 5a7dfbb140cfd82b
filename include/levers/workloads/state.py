"""What a Deployment itself says against a change of its template: a finding with its remedy for each."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from include.levers.pods import DO_NOT_DISRUPT, asks_to_be_left, has_no_node, namespace_of, replicas_of, title_of
from include.levers.world import Object, name_of


@dataclass(frozen=True)
class Finding:
    """What speaks against a rollout: whom it is about, what is wrong, and what to do."""

    subject: str
    reason: str
    remedy: str


def rollout_findings(deployment: Object) -> Iterator[Finding]:
    """A Deployment that is paused, in the middle of a rollout, or short of pods."""
    name, status = title_of(deployment), deployment.get("status") or {}
    if deployment["spec"].get("paused"):
        remedy = f"resume it: kubectl -n {namespace_of(deployment)} rollout resume deployment {name_of(deployment)}"
        yield Finding(name_of(deployment), f"{name} is paused: a change of its template would wait for ever", remedy)
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
        undo = f"kubectl -n {namespace_of(deployment)} rollout undo deployment {name_of(deployment)}"
        remedy = f"let it end, or undo it: {undo}"
        yield Finding(name_of(deployment), reason, remedy)
        return
    available = int(status.get("availableReplicas") or 0)
    if available < wanted:
        reason = f"{name} has {available} of {wanted} pods available"
        yield Finding(name_of(deployment), reason, "wait until all of them are, or find out why they are not")


def _has_failed(condition: Mapping[str, Any]) -> bool:
    progress = condition["type"] == "Progressing" and condition["status"] == "False"
    return bool(condition.get("reason")) and (
        progress or (condition["type"] == "ReplicaFailure" and condition["status"] == "True")
    )


def strategy_findings(deployment: Object, change: str = "the change") -> Iterator[Finding]:
    """A Deployment whose ``change`` of template takes every pod down at once."""
    strategy, name = deployment["spec"].get("strategy") or {}, title_of(deployment)
    remedy = "set its strategy to RollingUpdate with maxUnavailable 25%"
    if strategy.get("type") == "Recreate":
        reason = f"{name} has strategy Recreate: {change} would end all of its pods at once"
        yield Finding(name_of(deployment), reason, remedy)
        return
    replicas, unavailable = replicas_of(deployment), max_unavailable(deployment)
    if 0 < replicas <= unavailable:
        given = (strategy.get("rollingUpdate") or {}).get("maxUnavailable", "25%")
        reason = (
            f"{name} has maxUnavailable {given}, that is {unavailable} of {replicas} pods: {change} would "
            "end all of them at once"
        )
        yield Finding(name_of(deployment), reason, remedy)


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
            reason = f"{title_of(deployment)} has {field} {seconds}: one pod may take longer than a step is waited for"
            remedy = f"lower it, or raise converge_timeout_seconds (now {timeout:.0f}) above it"
            yield Finding(name_of(deployment), reason, remedy)


def pending_findings(deployment: Object, pods: Iterable[Object]) -> Iterator[Finding]:
    """Own pods that no node takes."""
    waiting = sorted(name_of(pod) for pod in pods if has_no_node(pod))
    if waiting:
        reason = f"{len(waiting)} pods of {title_of(deployment)} are Pending: {listed(waiting)}"
        yield Finding(
            name_of(deployment), reason, "make room for them, or lower replicas, until all of them have a node"
        )


def listed(names: Sequence[str], most: int = 5) -> str:
    """The first names, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def disruption_findings(deployment: Object, pods: Iterable[Object]) -> Iterator[Finding]:
    """Pods that ask Karpenter not to disrupt them keep a node that has drifted."""
    template = deployment["spec"]["template"]
    marked = sorted(name_of(pod) for pod in pods if asks_to_be_left(pod))
    what = "its template" if asks_to_be_left(template) else listed(marked)
    if what:
        reason = (
            f"pods of {title_of(deployment)} are annotated {DO_NOT_DISRUPT} ({what}): they keep drifted nodes, so that "
            "no step after the first can end"
        )
        remedy = "remove the annotation for the rollout, or set accept_do_not_disrupt"
        yield Finding(name_of(deployment), reason, remedy)


def replica_findings(deployment: Object, domains: int, fewest: int) -> Iterator[Finding]:
    """A Deployment with fewer replicas than domains; there are ``fewest`` domains at least."""
    replicas, name = replicas_of(deployment), name_of(deployment)
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
