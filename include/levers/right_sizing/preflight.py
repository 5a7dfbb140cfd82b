"""Read-only checks before right-sizing: VPA and what it reads, who else sizes or scales, and what the pods allow."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from include.clients.kubernetes import (
    API_SERVICE,
    AUTOSCALER,
    DISRUPTION_BUDGET,
    NODE,
    SCALED_OBJECT,
    VERTICAL_AUTOSCALER,
    WEBHOOK,
)
from include.levers import checks, workload_checks, workloads
from include.levers.autoscalers import scales
from include.levers.fields import applied_by, owner_of
from include.levers.right_sizing import agreement
from include.levers.right_sizing.live import pods_of, unread_labels
from include.levers.right_sizing.sizes import is_guaranteed, main_container, requests_of, running
from include.levers.right_sizing.survey import survey
from include.levers.right_sizing.wanted import INITIAL, OFF, PREDICTOR, World
from include.levers.workloads import Finding, replicas_of
from include.levers.world import Object, condition, deployments, name_of, readable, standing
from include.rollout.lever import Check

if TYPE_CHECKING:
    from include.levers.right_sizing.history import ByContainer

METRICS = "v1beta1.metrics.k8s.io"
WEBHOOK_NAME = "vpa-webhook-config"
GUIDE = "docs/how-to/install_controllers.md"
VPA_VERSION, METRICS_VERSION = "1.8.1", "0.9.0"
INSTALL_VPA = (
    f"install VPA {VPA_VERSION}: git clone -b vertical-pod-autoscaler-{VPA_VERSION} "
    f"https://github.com/kubernetes/autoscaler && autoscaler/vertical-pod-autoscaler/hack/vpa-up.sh ({GUIDE}#vpa)"
)
INSTALL_METRICS = (
    "install it: kubectl apply -f https://github.com/kubernetes-sigs/metrics-server/releases/download/"
    f"v{METRICS_VERSION}/components.yaml ({GUIDE}#metrics-server)"
)
MATCHABLE = (
    "let kube-state-metrics export it (--metric-labels-allowlist=pods=[app,...]); where its name has a dot, a slash, a "
    "dash or a capital, which it writes otherwise, make the Deployment anew with a selector by app, or leave it out of "
    "workloads in estate.yaml"
)
OWN_METRICS = ("cpu", "memory")  # what the lever changes: an autoscaler that follows one of them would follow it back
CheckOf = Callable[[World], Iterator[Check]]


# VPA and what it reads -------------------------------------------------------------------------------------------


def definitions(world: World) -> Iterator[Check]:
    """Does the API server know VerticalPodAutoscalers?"""
    name = f"{VERTICAL_AUTOSCALER.plural}.{VERTICAL_AUTOSCALER.api_version}"
    served = world.cluster.serves(VERTICAL_AUTOSCALER)
    state = "served" if served else "not served"
    yield Check("VPA's definitions", served, f"{name} is {state}", "" if served else INSTALL_VPA)


def metrics_server(world: World) -> Iterator[Check]:
    """Does metrics-server answer? The recommender takes its samples from it."""
    found = world.cluster.get(API_SERVICE, METRICS)
    if found is None or condition(found, "Available") != "True":
        state = "does not exist" if found is None else "is not Available"
        yield Check("metrics-server", False, f"APIService {METRICS} {state}: VPA gets no samples", INSTALL_METRICS)
    else:
        yield Check("metrics-server", True, f"APIService {METRICS} is available")


def controllers(world: World) -> Iterator[Check]:
    """Are recommender, updater and admission controller alive, as far as they say so?"""
    space = world.settings.vpa_namespace
    silent = agreement.stale(world)
    for line in silent:
        yield Check("VPA's programs", False, line, f"start it again, or {INSTALL_VPA}")
    if agreement.silent_for(world, agreement.ADMISSION) is None:
        reason = f"there is no lease {agreement.ADMISSION} in {space}: the updater does nothing without it"
        remedy = f"start vpa-admission-controller, or set vpa_namespace to where VPA runs, or {INSTALL_VPA}"
        yield Check("VPA's programs", False, reason, remedy)
    for program, shows in ((agreement.RECOMMENDER, "first recommendation"), (agreement.UPDATER, "first resize")):
        seconds = agreement.silent_for(world, program)
        if seconds is None:
            reason = f"{agreement.called(program)} has no lease in {space}: its {shows} proves it, in its stage"
            yield Check("VPA's programs", True, reason)
        elif not silent:
            reason = f"{agreement.called(program)} renewed its lease {max(0.0, seconds):.0f} s ago"
            yield Check("VPA's programs", True, reason)


def webhook(world: World) -> Iterator[Check]:
    """Is the admission controller's webhook registered? A dry run of a new pod proves that it answers, later."""
    found = readable(lambda: world.cluster.get(WEBHOOK, WEBHOOK_NAME))
    if found is None:
        reason = f"MutatingWebhookConfiguration {WEBHOOK_NAME} does not exist: new pods would keep their old requests"
        yield Check("VPA's webhook", False, reason, "start vpa-admission-controller: it registers itself after 10 s")
    else:
        yield Check("VPA's webhook", True, f"{WEBHOOK_NAME} is registered")


def history(world: World) -> Iterator[Check]:
    """Is the use of every workload known for all days, and to the recommender too?"""
    names, days = list(world.estate.workloads), world.settings.history_days
    use = agreement.use_of(world, names)
    found = [check for name, one in survey(world).items() for check in _gaps(world, name, use.get(name), one.container)]
    yield from found
    if not found:
        yield Check("history", True, f"the use of {' and '.join(names)} is known for {days} days")


def _gaps(world: World, name: str, use: ByContainer | None, container: str) -> Iterator[Check]:
    if use is not None and (missing := agreement.thin(world, use, container)):
        yield Check(f"history of {name}", False, f"its use is not known for {missing}", agreement.THIN)
    if labels := unread_labels(world, name):
        reason = f"its selector asks for {' and '.join(labels)}, which kube_pod_labels has not or has otherwise"
        yield Check(f"history of {name}", False, f"{reason}: VPA would know nothing of these days", MATCHABLE)


# Who else sizes or scales ----------------------------------------------------------------------------------------


def nobody_else_sizes(world: World) -> Iterator[Check]:
    """Does no VerticalPodAutoscaler of somebody else have the same target?"""
    ours = {*world.estate.workloads, PREDICTOR}
    found = world.cluster.list(VERTICAL_AUTOSCALER, world.estate.namespace)
    theirs = [vpa for vpa in found if scales(vpa) in ours and applied_by(world.manager, vpa) is None]
    for vpa in theirs:
        owner = owner_of(vpa) or "somebody else"
        reason = f"VerticalPodAutoscaler {name_of(vpa)} of {owner} sizes {scales(vpa)} already"
        yield Check(f"VPA of {scales(vpa)}", False, reason, f"have {owner} remove it, then start again")
    if not theirs:
        yield Check("VPAs", True, "nobody else's VerticalPodAutoscaler sizes the workloads")


def no_scaling_by_use(world: World) -> Iterator[Check]:
    """Does no HPA or ScaledObject follow CPU or memory? It would follow the requests that are changed here."""
    ours = {*world.estate.workloads, PREDICTOR}
    kinds = [AUTOSCALER, *([SCALED_OBJECT] if world.cluster.serves(SCALED_OBJECT) else [])]
    listed = [found for kind in kinds for found in world.cluster.list(kind, world.estate.namespace)]
    bad = [(found, used) for found in listed if scales(found) in ours and (used := _followed(found))]
    for found, used in bad:
        what = f"{found['kind']} {name_of(found)}"
        reason = f"{what} scales {scales(found)} by {' and '.join(used)}: it and VPA would work against each other"
        remedy = "let it follow requests a second (day 2), or leave the Deployment out of workloads"
        yield Check(f"autoscaler of {scales(found)}", False, reason, remedy)
    if not bad:
        yield Check("autoscalers", True, "no HPA or ScaledObject scales the workloads by CPU or memory")


def _followed(autoscaler: Mapping[str, Any]) -> list[str]:
    spec = autoscaler["spec"]
    parts = (metric.get("resource") or metric.get("containerResource") or {} for metric in spec.get("metrics") or [])
    followed = {str(part.get("name")) for part in parts} | {str(t.get("type")) for t in spec.get("triggers") or []}
    return sorted(followed & set(OWN_METRICS))


# What the pods allow ---------------------------------------------------------------------------------------------


def _each(world: World) -> dict[str, Object]:
    return {**deployments(world), **standing(world, [PREDICTOR])}


def requests_set(world: World) -> Iterator[Check]:
    """Does every container that is sized request CPU and memory? Without a request there is nothing to set back."""
    yield from checks.report("requests", _without_requests(world), "every container to size requests CPU and memory")


def _without_requests(world: World) -> Iterator[Finding]:
    for name, deployment in _each(world).items():
        spec = deployment["spec"]["template"]["spec"]
        container = main_container(spec)
        missing = [part for part in OWN_METRICS if part not in requests_of(spec, container)]
        if missing:
            reason = f"container {container} of Deployment {name} requests no {' and no '.join(missing)}"
            yield Finding(name, f"{reason}: a resize could add but never remove them", "set requests in its template")


def quality(world: World) -> Iterator[Check]:
    """Would a pod's QoS class change? The API server refuses such a resize."""

    def find(deployment: Object) -> Iterator[Finding]:
        if is_guaranteed(deployment["spec"]["template"]["spec"]):
            reason = f"pods of {name_of(deployment)} are Guaranteed: with lower requests they would be Burstable"
            remedy = "raise its limits above its requests in the template, or leave it out of workloads in estate.yaml"
            yield Finding(name_of(deployment), reason, remedy)

    found = (finding for deployment in _each(world).values() for finding in find(deployment))
    yield from checks.report("QoS class", found, "no pod's QoS class would change")


def kubelets(world: World) -> Iterator[Check]:
    """Do the nodes resize pods in place? Those of Linux do."""
    others = [
        name_of(node)
        for node in world.cluster.list(NODE)
        if (node["metadata"].get("labels") or {}).get("kubernetes.io/os", "linux") != "linux"
    ]
    reason = f"{', '.join(sorted(others))} are no Linux nodes: pods can't be resized there" if others else ""
    remedy = "keep the workloads' pods off them" if others else ""
    yield Check("nodes", not others, reason or "all nodes are Linux: pods are resized where they run", remedy)


def own_sizes(world: World) -> Iterator[Check]:
    """Have the running pods their template's requests, unless our own VPA has set others?"""
    passed = "running pods request what their template says, or what our own VPA has given them"
    yield from checks.report("sizes", _odd_sizes(world), passed)


def _odd_sizes(world: World) -> Iterator[Finding]:
    for name, deployment in _each(world).items():
        spec = deployment["spec"]["template"]["spec"]
        container, vpa = main_container(spec), agreement.vpa_of(world, name)
        wanted = requests_of(spec, container)
        odd = [name_of(pod) for pod in running(pods_of(world, name)) if requests_of(pod["spec"], container) != wanted]
        if odd and (vpa is None or applied_by(world.manager, vpa) is None):
            reason = (
                f"{workloads.listed(sorted(odd))} have other requests than the template of {name}: resized by hand?"
            )
            remedy = f"restart them: kubectl -n {world.estate.namespace} rollout restart deployment {name}"
            yield Finding(name, reason, remedy)


def budgets(world: World) -> Iterator[Check]:
    """What happens where a budget allows no eviction, and where there are too few pods for the updater?"""
    found = world.cluster.list(DISRUPTION_BUDGET, world.estate.namespace)
    passed = True
    for name, deployment in _each(world).items():
        blocked = list(workloads.budget_findings(found, running(pods_of(world, name))))
        passed = passed and not blocked
        for finding in blocked:
            reason = f"{finding.reason}: where a resize in place fails, neither VPA nor a rollback could evict a pod"
            yield Check(f"disruption budget of {name}", False, reason, finding.remedy)
        if 0 < replicas_of(deployment) < 2:
            reason = f"{name} has one pod: VPA's updater leaves it (its --min-replicas is 2): new pods alone are sized"
            yield Check(f"replicas of {name}", True, reason)

    if passed:
        yield Check("disruption budget", True, "every budget lets a pod go that can't be resized where it runs")


def fallbacks(world: World) -> Iterator[Check]:
    """What is not resized, and why."""
    held = {name: one for name, one in survey(world).items() if one.highest in (OFF, INITIAL)}
    if not held:
        yield Check("mode", True, "the running pods of every workload may be resized")
    for name, one in held.items():
        yield Check(f"mode of {name}", True, next((n for n in one.notes if n.startswith(name)), one.highest))


FIRST: Mapping[str, CheckOf] = {
    "VPA's definitions": definitions,
    "metrics-server": metrics_server,
    "workloads": checks.deployed,
}
OF_VPA: Mapping[str, CheckOf] = {"VPA's programs": controllers, "VPA's webhook": webhook}
OF_THE_PODS: Mapping[str, CheckOf] = {
    "requests": requests_set,
    "QoS class": quality,
    "nodes": kubelets,
    "rollout": checks.rollouts,
    "pending pods": workload_checks.pending,
    "sizes": own_sizes,
    "disruption budget": budgets,
    "autoscalers": no_scaling_by_use,
    "VPAs": nobody_else_sizes,
}
OF_THE_USE: Mapping[str, CheckOf] = {"history": history, "fallbacks": fallbacks}
