"""Preflight checks that several levers make: each gives one line, with the remedy if it failed."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any, TypeVar

from include.clients.aws import AwsError
from include.clients.kubernetes import (
    DEPLOYMENT,
    REPLICA_SET,
    RESOURCE_QUOTA,
    STATEFUL_SET,
    Cluster,
    Kind,
    KubernetesError,
)
from include.clients.prometheus import PrometheusError
from include.cost.table.columns import CostError
from include.forecast.registry import RegistryError
from include.levers import permanent, workloads
from include.levers.fields import owner_of
from include.levers.node_costs import node_facts, usd_hour
from include.levers.price_tables import too_old
from include.levers.workloads import Finding
from include.levers.world import Object, World, deployments, readable, refusals
from include.prices import PriceBookError, TooFewInstanceTypesError, load_aws_book
from include.rollout.lever import Check, Refused

REPAIR = "repair what the message names, then start again"
SCRAPE = "have Prometheus scrape it with the labels region and namespace"
EXPECTED = (
    KubernetesError,
    AwsError,
    PrometheusError,
    RegistryError,
    CostError,
    PriceBookError,
    TooFewInstanceTypesError,
    Refused,
)
AnyWorld = TypeVar("AnyWorld", bound=World)


class _ReadOnce:
    """A cluster whose answers are remembered: checks look at one moment, and each thing is asked for once."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._known: dict[tuple[Any, ...], Any] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cluster, name)

    def serves(self, kind: Kind) -> Any:
        return self._once(self._cluster.serves, kind)

    def get(self, kind: Kind, name: str, namespace: str | None = None) -> Any:
        return self._once(self._cluster.get, kind, name, namespace)

    def list(self, kind: Kind, namespace: str | None = None, labels: str = "", fields: str = "") -> Any:
        return self._once(self._cluster.list, kind, namespace, labels, fields)

    def _once(self, read: Callable[..., Any], *asked: Any) -> Any:
        key = (read.__name__, *asked)
        if key not in self._known:
            self._known[key] = read(*asked)
        return self._known[key]


class _Clients:
    """A target's clients, whose cluster answers each question once."""

    def __init__(self, clients: Any) -> None:
        self._clients = clients

    @cached_property
    def kubernetes(self) -> _ReadOnce:  # made when it is asked for: not every lever has a cluster
        return _ReadOnce(self._clients.kubernetes)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._clients, name)


def once(world: AnyWorld) -> AnyWorld:
    """The world as it is read for one preflight: no object or list is asked for twice. What it gives is not changed."""
    return replace(world, target=replace(world.target, clients=_Clients(world.target.clients)))


def report(name: str, found: Iterable[Finding], passed: str) -> Iterator[Check]:
    """A failed check for each finding, or one that says ``passed``."""
    findings = list(found)
    for finding in findings:
        yield Check(f"{name} of {finding.subject}", False, finding.reason, finding.remedy)
    if not findings:
        yield Check(name, True, passed)


def each(world: World, find: Callable[[Object], Iterable[Finding]]) -> Iterator[Finding]:
    """What ``find`` finds in the Deployment of each workload."""
    for deployment in deployments(world).values():
        yield from find(deployment)


def guarded(name: str, world: AnyWorld, check: Callable[[AnyWorld], Iterator[Check]]) -> list[Check]:
    """What ``check`` gives; what a client or a file is to blame for becomes a failed check called ``name``."""
    try:
        with refusals(world):
            return list(check(world))
    except EXPECTED as error:
        return [Check(name, False, str(error), REPAIR)]


def several(world: AnyWorld, named: Mapping[str, Callable[[AnyWorld], Iterator[Check]]]) -> list[Check]:
    """What all of these checks give, in their order; see :func:`guarded`."""
    return [found for name, check in named.items() for found in guarded(name, world, check)]


def reachable(world: World) -> Iterator[Check]:
    """Does the cluster answer?"""
    yield Check("cluster reachable", True, f"{world.cluster.name} answers, {world.cluster.version()}")


# The workloads -----------------------------------------------------------------------------------------------------


def deployed(world: World) -> Iterator[Check]:
    """Is every workload of the estate a Deployment whose pods carry its name?"""
    space, found = world.estate.namespace, list(world.estate.workloads)
    for name in world.estate.workloads:
        deployment = world.cluster.get(DEPLOYMENT, name, space)
        if deployment is None:
            yield _not_deployed(world, name)
            found.remove(name)
            continue
        label = (deployment["spec"]["template"]["metadata"].get("labels") or {}).get("app")
        if label != name:
            reason = f"the pods of Deployment {name} have label app={label}, not {name}"
            remedy = f"label them app={name}: spread constraints and figures select by it"
            yield Check(f"workloads of {name}", False, reason, remedy)
            found.remove(name)
    if len(found) == len(world.estate.workloads):
        yield Check("workloads", True, f"{', '.join(found)} are Deployments in namespace {space}")


def _not_deployed(world: World, name: str) -> Check:
    space = world.estate.namespace
    if readable(lambda: world.cluster.get(STATEFUL_SET, name, space)):
        reason = f"{space}/{name} is a StatefulSet: levers change Deployments only"
        return Check(f"workloads of {name}", False, reason, f"leave {name} out of workloads in estate.yaml")
    reason = f"Deployment {space}/{name} does not exist"
    return Check(f"workloads of {name}", False, reason, "correct namespace or workloads in estate.yaml, or deploy it")


def pods_of(world: World, deployment: Object, pods: Iterable[Object]) -> list[Object]:
    """The Deployment's own pods among ``pods``, by their owners; finished ones left out."""
    return workloads.own_pods(deployment, world.cluster.list(REPLICA_SET, world.estate.namespace), pods)


def rollouts(world: World) -> Iterator[Check]:
    """Is every Deployment at rest, with all of its pods available?"""
    yield from report(
        "rollout", each(world, workloads.rollout_findings), "no Deployment is paused, or in the middle of a rollout"
    )


def budgets_exist(world: World, budgets: list[Object]) -> Iterator[Check]:
    """Does a PodDisruptionBudget select the pods of every workload?"""
    found = each(world, lambda deployment: workloads.unbudgeted_findings(deployment, budgets))
    yield from report("disruption budget", found, "a PodDisruptionBudget selects the pods of every workload")


def quotas(world: World, more: Mapping[str, int], pods: Iterable[Object], what: str) -> Iterator[Check]:
    """Do the ResourceQuotas of the namespace allow so many ``more`` pods of each workload?"""
    found = readable(lambda: world.cluster.list(RESOURCE_QUOTA, world.estate.namespace))
    if found is None:
        yield Check("quota", True, "ResourceQuotas can't be read: not looked at (role: list resourcequotas)")
        return
    needs: dict[str, Any] = {}
    for name, deployment in deployments(world).items():
        own = workloads.live_requests(deployment, pods_of(world, deployment, pods))
        spec = deployment["spec"]["template"]["spec"]
        for resource, value in workloads.quota_needs(more[name], spec, own).items():
            needs[resource] = needs.get(resource, 0) + value
    passed = f"{len(found)} ResourceQuotas leave room for {what}"
    yield from report("quota", workloads.quota_findings(found, needs, what), passed)


# What a lever writes and reads -------------------------------------------------------------------------------------


def owners(
    world: World,
    things: Mapping[str, Object | None],
    harm: str,
    first: str,
    bodies: Mapping[str, Object] | Callable[[], Mapping[str, Object]] | None = None,
) -> Iterator[Check]:
    """Nobody may manage what a lever writes but those whom the estate names, and those whose repository holds it.

    ``things`` are by what messages call them, None where absent. ``harm`` is what the owner would do; ``first`` is what
    comes before adding it to the estate, or spares that, with ``{owner}`` in it. ``bodies`` are what the lever writes,
    by the same names: looked at where an owner is found.
    """
    managed = {what: (thing, owner) for what, thing in things.items() if thing and (owner := owner_of(thing))}
    wanted = (bodies() if callable(bodies) else bodies or {}) if managed else {}
    for what, (thing, owner) in managed.items():
        yield _owner_check(world, what, permanent.Owned(owner, thing, wanted.get(what)), (harm, first), wanted)
    if not managed:
        yield Check("objects' owners", True, "no object to write is managed by Argo CD, Flux, Helm or Terraform")


def _owner_check(
    world: World, what: str, found: permanent.Owned, words: tuple[str, str], wanted: Mapping[str, Object]
) -> Check:
    (harm, first), owner, governance = words, found.owner, world.estate.governance
    name, managed = f"owner of {what}", f"{what} is managed by {owner}"
    if owner in governance.may_change_objects_of:
        return Check(name, True, f"{managed}, which the estate allows to change")
    if held := permanent.held(found, wanted, governance.permanent):
        return Check(name, True, f"{managed}, whose repository holds it: {held}")
    remedy = f"{first.format(owner=owner)} add {owner} to governance.may_change_objects_of in estate.yaml"
    return Check(name, False, f"{managed}, which would {harm}", remedy)


def prices(world: World) -> Iterator[Check]:
    """Is every live node's price known? Of a book that is older than a year an approver is told."""
    nodes = node_facts(world)
    usd, unknown = usd_hour(world, nodes)
    if usd is None:
        remedy = (
            "add the types to the price book with `python -m tools.derive_prices`, or see that EC2 quotes spot prices"
        )
        yield Check("prices", False, f"no price for {', '.join(unknown) or 'any node'}", remedy)
    else:
        book = load_aws_book(world.estate)
        old = too_old("EC2's price book", dt.date.fromisoformat(book.date), book.source, world.now())
        text = f"{len(nodes)} nodes cost {usd:.4f} USD/h by price book and EC2"
        yield Check("prices", True, "; ".join(filter(None, (text, old))))


def request_series(world: World) -> dict[str, str]:
    """What AkiDB's requests, errors and latencies are read from, by field of the estate's metrics."""
    metrics, ours = world.estate.metrics, world.estate.matchers(world.target.region)
    return {
        "http_requests": f"{metrics.http_requests}{{{ours}}}",
        "http_status_label": f'{metrics.http_requests}{{{ours},{metrics.http_status_label}!=""}}',
        "http_duration": f"{metrics.http_duration}_bucket{{{ours}}}",
        "grpc_requests": f"{metrics.grpc_requests}{{{ours}}}",
        "grpc_status_label": f'{metrics.grpc_requests}{{{ours},{metrics.grpc_status_label}!=""}}',
        "grpc_duration": f"{metrics.grpc_duration}_bucket{{{ours}}}",
    }


def own_series(world: World) -> dict[str, str]:
    """The requests of each workload that has matchers of its own: without any, its autoscaler would count none."""
    region, scaling = world.target.region, world.estate.predictive_scaling
    return {
        f"requests of {name}": f"{world.estate.metrics.counter(protocol)}{{{world.estate.matchers(region, name)}}}"
        for name, protocol in scaling.requests.items()
        if world.estate.workloads[name].matchers
    }


def series_exist(world: World, selectors: Mapping[str, str]) -> Iterator[Check]:
    """Has every series, by its name, a sample? Names that are fields of the estate's metrics may be wrong there."""
    for name, series in selectors.items():
        if world.prometheus.series_exists(series):
            yield Check(f"metric {name}", True, f"{series} has samples")
            continue
        reason = f"Prometheus {world.prometheus.url} has no sample of {series} in the last 5 minutes"
        known = name in type(world.estate.metrics).model_fields
        remedy = f"correct metrics.{name} or metrics.matchers in estate.yaml, or {SCRAPE}" if known else SCRAPE
        yield Check(f"metric {name}", False, reason, remedy)
