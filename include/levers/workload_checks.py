"""Preflight checks of the workloads that are about to be moved: what their live objects say against it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal

from include.clients.kubernetes import DISRUPTION_BUDGET, NODE, POD, VOLUME_CLAIM
from include.levers import checks, workloads
from include.levers.nodes.group import of_group
from include.levers.nodes.scheduling import NODE_POOL, Labels, labels_of
from include.levers.pods import DO_NOT_DISRUPT, asks_to_be_left, evictable, is_finished, namespace_of
from include.levers.workloads import Finding
from include.levers.world import Object, World, deployments, name_of, readable
from include.rollout.lever import Check


def own_pods(world: World, deployment: Object) -> list[Object]:
    """The Deployment's pods that have not ended."""
    return checks.pods_of(world, deployment, world.cluster.list(POD))


def requests_of(world: World, deployment: Object) -> dict[str, Decimal]:
    """What one pod of the Deployment requests now."""
    return workloads.live_requests(deployment, own_pods(world, deployment))


def others(world: World) -> list[Object]:
    """Pods of all namespaces that are no workload's and have not ended."""
    own = {name_of(pod) for found in deployments(world).values() for pod in own_pods(world, found)}
    space = world.estate.namespace
    alive = (pod for pod in world.cluster.list(POD) if not is_finished(pod))
    return [pod for pod in alive if not (namespace_of(pod) == space and name_of(pod) in own)]


def accepted(name: str, found: Iterable[Finding], setting: str, is_set: bool, passed: str) -> Iterator[Check]:
    """A failed check for each finding, one that passes where the run's ``setting`` accepts them, or ``passed``."""
    findings = list(found)
    if findings and is_set:
        yield Check(name, True, f"accepted ({setting}): {'; '.join(finding.reason for finding in findings)}")
    else:
        yield from checks.report(name, findings, passed)


def strategies(world: World, change: str) -> Iterator[Check]:
    """Does ``change`` leave pods of every Deployment running?"""
    found = checks.each(world, lambda deployment: workloads.strategy_findings(deployment, change))
    yield from checks.report("strategy", found, "no rollout of a Deployment takes all of its pods down at once")


def pace(world: World) -> Iterator[Check]:
    """Does a pod end, and count as ready, sooner than a step is waited for?"""
    found = checks.each(world, lambda deployment: workloads.slow_findings(deployment, world.timeout))
    yield from checks.report("pace", found, f"a pod ends and counts as ready within {world.timeout:.0f} s")


def pending(world: World) -> Iterator[Check]:
    """Has every pod a node?"""
    found = checks.each(world, lambda d: workloads.pending_findings(d, own_pods(world, d)))
    yield from checks.report("pending pods", found, "every pod of the workloads has a node")


def requests(world: World) -> Iterator[Check]:
    """Do the live pods request what the estate says?"""

    def find(deployment: Object) -> Iterator[Finding]:
        wanted = world.estate.workloads[name_of(deployment)].requests
        return workloads.request_findings(deployment, own_pods(world, deployment), wanted)

    yield from checks.report("requests", checks.each(world, find), "the pods request what estate.yaml says")


def disruption(world: World, pools: Iterable[str], accept: bool) -> Iterator[Check]:
    """Does no pod, and no node of ``pools``, ask Karpenter not to disrupt it?"""
    findings = list(checks.each(world, lambda d: workloads.disruption_findings(d, own_pods(world, d))))
    ours = [node for node in world.cluster.list(NODE) if labels_of(node).get(NODE_POOL, "") in pools]
    kept = sorted(name_of(node) for node in ours if asks_to_be_left(node))
    if kept:
        reason = f"nodes {workloads.listed(kept)} are annotated {DO_NOT_DISRUPT}: they would never drift away"
        findings.append(Finding("nodes", reason, "remove the annotation, or set accept_do_not_disrupt"))
    passed = "no pod and no new node asks not to be disrupted"
    yield from accepted("do-not-disrupt", findings, "accept_do_not_disrupt", accept, passed)


def volumes(world: World) -> Iterator[Check]:
    """May the pods change node with the volumes that they mount?"""
    used = any(d["spec"]["template"]["spec"].get("volumes") for d in deployments(world).values())
    space = world.estate.namespace
    claims = (readable(lambda: world.cluster.list(VOLUME_CLAIM, space)) or []) if used else []
    by_name = {name_of(claim): claim for claim in claims}
    found = checks.each(world, lambda deployment: workloads.volume_findings(deployment, by_name))
    yield from checks.report("volumes", found, "no workload mounts a volume that ties its pods to a node")


def surge_quotas(world: World) -> Iterator[Check]:
    """Do quotas leave room for the pods that a rollout of every Deployment adds for a while?"""
    more = {name: workloads.max_surge(found) for name, found in deployments(world).items()}
    what = f"the {sum(more.values())} pods that the rollouts add for a while"
    yield from checks.quotas(world, more, world.cluster.list(POD), what)


def placement(world: World, pools: Mapping[str, Sequence[Labels]], own_keys: Iterable[str]) -> Iterator[Check]:
    """May the pods be on nodes with these labels, by pool? ``own_keys`` are what the lever spreads them over."""
    found = checks.each(world, lambda deployment: workloads.tie_findings(deployment, pools, own_keys))
    yield from checks.report("placement", found, f"the pods may be on nodes of {' and '.join(pools)}")


def replicas(world: World, domains: int, fewest: int) -> Iterator[Check]:
    """Has every Deployment a pod for each of the domains?"""
    found = checks.each(world, lambda deployment: workloads.replica_findings(deployment, domains, fewest))
    yield from checks.report("domains", found, f"{domains} domains, one node each at least")


def budgets_exist(world: World) -> Iterator[Check]:
    """Does a PodDisruptionBudget select the pods of every workload?"""
    yield from checks.budgets_exist(world, world.cluster.list(DISRUPTION_BUDGET))


def budgets_allow(world: World) -> Iterator[Check]:
    """Do the PodDisruptionBudgets let the workloads' pods move, and those of others on the node group?"""
    budgets = world.cluster.list(DISRUPTION_BUDGET)
    group = {name_of(node) for node in of_group(world, world.cluster.list(NODE))}
    moved = [pod for pod in others(world) if pod["spec"].get("nodeName") in group and evictable(pod)]
    moved += [pod for found in deployments(world).values() for pod in own_pods(world, found)]
    passed = f"{len(budgets)} PodDisruptionBudgets let {len(moved)} pods move"
    yield from checks.report("disruption budgets", workloads.budget_findings(budgets, moved), passed)


OF_EVERY_MOVE: dict[str, Callable[[World], Iterator[Check]]] = {
    "pace": pace,
    "pending pods": pending,
    "requests": requests,
    "volumes": volumes,
    "quota": surge_quotas,
    "disruption budget": budgets_exist,
    "disruption budgets": budgets_allow,
}
