"""Preflight checks of a lever that lets KEDA scale the workloads: each gives one line, with the remedy if it failed."""

from __future__ import annotations

from collections.abc import Iterator

from include.clients.access import Access
from include.clients.kubernetes import API_SERVICE, DISRUPTION_BUDGET, POD, SCALED_OBJECT, VERTICAL_AUTOSCALER
from include.levers import checks, workloads
from include.levers.autoscalers import OWNER, autoscalers_of, owners_of, scales
from include.levers.fields import CONTROLLERS, applied_by, owner_of
from include.levers.replicas import all_replicas
from include.levers.workloads import Finding
from include.levers.world import Object, World, condition, name_of
from include.rollout.lever import Check

EXTERNAL_METRICS = "v1beta1.external.metrics.k8s.io"
OFF = "Off"


def keda_serves(world: World) -> Iterator[Check]:
    """Is KEDA there, with its metrics adapter?"""
    name = f"{SCALED_OBJECT.plural}.{SCALED_OBJECT.api_version}"
    if not world.cluster.serves(SCALED_OBJECT):
        remedy = f"install KEDA 2.18 or newer with its CustomResourceDefinitions in {world.region.cluster}"
        yield Check("KEDA's definitions", False, f"{name} is not served", remedy)
        return
    yield Check("KEDA's definitions", True, f"{name} is served")
    found = world.cluster.get(API_SERVICE, EXTERNAL_METRICS)
    if found is None or condition(found, "Available") != "True":
        state = "does not exist" if found is None else "is not Available"
        remedy = "start KEDA's metrics adapter: without it an HPA has no figures"
        yield Check("KEDA's metrics adapter", False, f"APIService {EXTERNAL_METRICS} {state}", remedy)
    else:
        yield Check("KEDA's metrics adapter", True, f"APIService {EXTERNAL_METRICS} is available")


def nobody_else_scales(world: World) -> Iterator[Check]:
    """Does nobody else's HPA or ScaledObject scale the workloads? VPAs that set their requests are named."""
    problems = [*_scaled_objects_of_others(world), *_autoscalers_of_others(world)]
    yield from problems
    if not problems:
        yield Check("autoscalers", True, "nobody else's HPA or ScaledObject scales the workloads")
    yield from _vertical(world)


def _scaled_objects_of_others(world: World) -> Iterator[Check]:
    for found in world.cluster.list(SCALED_OBJECT, world.estate.namespace):
        if scales(found) in world.estate.workloads and applied_by(world.manager, found) is None:
            yield _taken(f"ScaledObject {name_of(found)}", found, scales(found))


def _autoscalers_of_others(world: World) -> Iterator[Check]:
    for workload in world.estate.workloads:
        for found in autoscalers_of(world, workload):
            # That of a ScaledObject is named with it.
            if all(kind != OWNER for kind, _ in owners_of(found)):
                yield _taken(f"HorizontalPodAutoscaler {name_of(found)}", found, workload)


def _taken(what: str, found: Object, workload: str) -> Check:
    managers = {str(entry["manager"]) for entry in found["metadata"].get("managedFields") or [] if "manager" in entry}
    owner = owner_of(found) or ", ".join(sorted(managers - CONTROLLERS)) or "somebody else"
    reason = f"{what} of {owner} scales {workload} already: two autoscalers would fight over its replicas"
    return Check(f"autoscaler of {workload}", False, reason, f"have {owner} remove it, then start again")


def _vertical(world: World) -> Iterator[Check]:
    if not world.cluster.serves(VERTICAL_AUTOSCALER):
        return
    for found in world.cluster.list(VERTICAL_AUTOSCALER, world.estate.namespace):
        mode = (found["spec"].get("updatePolicy") or {}).get("updateMode", "Recreate")
        if scales(found) in world.estate.workloads and mode != OFF:
            reason = (
                f"VerticalPodAutoscaler {name_of(found)} (mode {mode}) sets the requests of {scales(found)}; the "
                "HPA follows requests a second, not CPU or memory, so they don't work against each other"
            )
            yield Check(f"VPA {name_of(found)}", True, reason)


# What it may ask for ---------------------------------------------------------------------------------------------


def replicas_within(world: World, least: int, most: int) -> Iterator[Check]:
    """Does no workload have more replicas than an autoscaler may give it?"""
    counts = all_replicas(world)

    def find(deployment: Object) -> Iterator[Finding]:
        name, count = name_of(deployment), workloads.replicas_of(deployment)
        if count > most:
            reason = f"{name} has {count} replicas, more than max_replicas {most}: some would go at once"
            yield Finding(name, reason, f"raise max_replicas to {count} or more")

    shown = ", ".join(f"{name} {count}" for name, count in counts.items())
    yield from checks.report("replicas", checks.each(world, find), f"{shown} replicas; each may have {least} to {most}")


def quota_for(world: World, most: int) -> Iterator[Check]:
    """Do the namespace's quotas allow the most that the autoscaling may ask for?"""
    more = {name: max(0, most - count) for name, count in all_replicas(world).items()}
    what = f"max_replicas {most} of each workload"
    yield from checks.quotas(world, more, world.cluster.list(POD, world.estate.namespace), what)


def budgets_from(world: World, least: int) -> Iterator[Check]:
    """Do the budgets hold for any number of replicas from ``least`` on?

    A budget in absolute pods was made for a fixed size: with fewer replicas it would allow no eviction any more.
    """
    budgets = world.cluster.list(DISRUPTION_BUDGET, world.estate.namespace)

    def find(deployment: Object) -> Iterator[Finding]:
        for budget in workloads.template_budgets(deployment, budgets):
            kept = budget["spec"].get("minAvailable")
            if isinstance(kept, int) and kept >= least:
                reason = f"{name_of(budget)} keeps {kept} pods available, there may be only {least}: no node could go"
                remedy = f"set maxUnavailable in per cent instead, or raise min_replicas above {kept}"
                yield Finding(name_of(deployment), reason, remedy)

    found = [*checks.budgets_exist(world, budgets), *checks.report("disruption budget", checks.each(world, find), "")]
    failed = [check for check in found if not check.passed]
    yield from failed or [Check("disruption budget", True, "the workloads' budgets hold for any number of replicas")]


def asked_without_login(world: World, endpoint: str, accepted: bool) -> Iterator[Check]:
    """Does Prometheus answer KEDA's triggers? They have no credentials: no lever makes a TriggerAuthentication.

    ``accepted`` is the person's word that ``endpoint``, as the triggers reach it, needs none.
    """
    access = world.prometheus.access
    if not access.asks_who:
        yield Check("Prometheus for KEDA", True, f"{world.prometheus.url} answers without credentials")
    elif accepted:
        yield Check("Prometheus for KEDA", True, f"{endpoint} needs none of them (endpoint_needs_no_login)")
    else:
        reason = (
            f"{world.prometheus.url} is asked with {_sent(access)}, which KEDA's triggers and the predictor don't have"
        )
        remedy = (
            f"let prometheus_endpoint (now {endpoint}) name an address that answers without them, and set "
            "endpoint_needs_no_login"
        )
        yield Check("Prometheus for KEDA", False, reason, remedy)


def _sent(access: Access) -> str:
    """What a server is shown, without any value that may be secret."""
    headers = f"the headers {', '.join(sorted(access.headers))}" if access.headers else ""
    shown = ("a login" if access.auth else "", headers, "a client certificate" if access.cert else "")
    return " and ".join(part for part in shown if part)
