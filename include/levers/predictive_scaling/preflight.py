"""Read-only checks before anything is planned. Each gives one line: what was looked at, and the remedy if it failed."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from include.clients.access import Access
from include.clients.kubernetes import (
    API_SERVICE,
    DISRUPTION_BUDGET,
    POD,
    SCALED_OBJECT,
    VERTICAL_AUTOSCALER,
)
from include.levers import checks, objects, workloads
from include.levers.common import Object, condition, deployments, name_of, owner_of
from include.levers.predictive_scaling import live, plan, queries
from include.levers.predictive_scaling.live import World
from include.levers.predictive_scaling.plan import MANAGER
from include.levers.workloads import Finding
from include.rollout.lever import Check

EXTERNAL_METRICS = "v1beta1.external.metrics.k8s.io"
OFF = "Off"


def run_checks(world: World) -> list[Check]:
    """Every check, in the order in which a person would repair them. Never raises for a failed check."""
    world = checks.once(world)
    reached = checks.guarded("cluster reachable", world, checks.reachable)
    if not reached[0].passed:
        return reached
    found = [*reached, *checks.several(world, {"KEDA": _keda, "workloads": checks.deployed})]
    if all(check.passed for check in found):
        found += checks.several(world, OF_THE_WORKLOADS)
    return [*found, *checks.several(world, OF_WHAT_IT_RESTS_ON)]


def _keda(world: World) -> Iterator[Check]:
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


def _replicas(world: World) -> Iterator[Check]:
    settings = world.chosen
    counts = live.all_replicas(world)

    def find(deployment: Object) -> Iterator[Finding]:
        name, count = name_of(deployment), workloads.replicas_of(deployment)
        if count > settings.max_replicas:
            reason = (
                f"{name} has {count} replicas, more than max_replicas {settings.max_replicas}: some would go at once"
            )
            yield Finding(name, reason, f"raise max_replicas to {count} or more")

    told = ", ".join(f"{name} {count}" for name, count in counts.items())
    span = f"{settings.min_replicas} to {settings.max_replicas}"
    yield from checks.report("replicas", checks.each(world, find), f"{told} replicas; each may have {span}")


def _quotas(world: World) -> Iterator[Check]:
    """The most that the autoscaling may ask for."""
    most = world.chosen.max_replicas
    more = {name: max(0, most - count) for name, count in live.all_replicas(world).items()}
    what = f"max_replicas {most} of each workload"
    yield from checks.quotas(world, more, world.cluster.list(POD, world.estate.namespace), what)


# Who else scales -------------------------------------------------------------------------------------------------


def _autoscalers(world: World) -> Iterator[Check]:
    problems = [*_scaled_objects(world), *_horizontal(world)]
    yield from problems
    if not problems:
        yield Check("autoscalers", True, "nobody else's HPA or ScaledObject scales the workloads")
    yield from _vertical(world)


def _scaled_objects(world: World) -> Iterator[Check]:
    for found in world.cluster.list(SCALED_OBJECT, world.estate.namespace):
        if live.scales(found) in world.estate.workloads and plan.ours(found) is None:
            yield _taken(f"ScaledObject {name_of(found)}", found, live.scales(found))


def _horizontal(world: World) -> Iterator[Check]:
    for workload, found in live.autoscalers(world).items():
        for autoscaler in found:
            # That of a ScaledObject is named with it.
            owners = autoscaler["metadata"].get("ownerReferences") or []
            if not any(owner["kind"] == live.OWNER for owner in owners):
                yield _taken(f"HorizontalPodAutoscaler {name_of(autoscaler)}", autoscaler, workload)


def _taken(what: str, found: Object, workload: str) -> Check:
    managers = {str(entry["manager"]) for entry in found["metadata"].get("managedFields") or [] if "manager" in entry}
    owner = owner_of(found) or ", ".join(sorted(managers - objects.CONTROLLERS)) or "somebody else"
    reason = f"{what} of {owner} scales {workload} already: two autoscalers would fight over its replicas"
    return Check(f"autoscaler of {workload}", False, reason, f"have {owner} remove it, then start again")


def _vertical(world: World) -> Iterator[Check]:
    if not world.cluster.serves(VERTICAL_AUTOSCALER):
        return
    for found in world.cluster.list(VERTICAL_AUTOSCALER, world.estate.namespace):
        mode = (found["spec"].get("updatePolicy") or {}).get("updateMode", "Recreate")
        if live.scales(found) in world.estate.workloads and mode != OFF:
            reason = (
                f"VerticalPodAutoscaler {name_of(found)} (mode {mode}) sets the requests of {live.scales(found)}; the "
                "HPA follows requests a second, not CPU or memory, so they don't work against each other"
            )
            yield Check(f"VPA {name_of(found)}", True, reason)


def _owners(world: World) -> Iterator[Check]:
    things: dict[str, Object | None] = {f"Deployment {name}": found for name, found in deployments(world).items()}
    things |= {objects.key_of(body): objects.read(world, body) for body in live.final(world)}
    yield from checks.owners(world, things, "set its fields and replicas back", "leave them out in {owner}, then")


def _dry_run(world: World) -> Iterator[Check]:
    bodies = live.final(world)
    for body in bodies:
        world.cluster.apply(body, MANAGER, dry_run=True)
    names = ", ".join(objects.key_of(body) for body in bodies)
    yield Check("manifests accepted", True, f"the API server's dry run accepts {names}")


# What scaling rests on -------------------------------------------------------------------------------------------


def _budgets(world: World) -> Iterator[Check]:
    """A budget in absolute pods was made for a fixed size: with fewer replicas it would allow no eviction any more."""
    budgets = world.cluster.list(DISRUPTION_BUDGET, world.estate.namespace)
    least = world.chosen.min_replicas

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


def _champion(world: World) -> Iterator[Check]:
    region = world.target.region
    if not world.chosen.use_forecast:
        yield Check("champion", True, "not needed: use_forecast is off")
        return
    pointer = world.registry.pointer()
    if not pointer.version:
        reason = pointer.problem or f"{region} has no champion in the registry ({world.models})"
        yield Check("champion", False, reason, "run traffic_export, then forecast_retrain, until one is promoted")
        return
    manifest = world.registry.manifest(pointer.version)
    why = pointer.decision.reason if pointer.decision else ""
    yield Check("champion", True, f"{manifest.model} {manifest.version}, data up to {manifest.created}: {why}")


def _trigger_login(world: World) -> Iterator[Check]:
    """KEDA's trigger has no credentials: the lever makes no TriggerAuthentication."""
    endpoint, access = world.chosen.prometheus_endpoint, world.prometheus.access
    if not access.asks_who:
        yield Check("Prometheus for KEDA", True, f"{world.prometheus.url} answers without credentials")
    elif world.chosen.endpoint_needs_no_login:
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


def _metrics(world: World) -> Iterator[Check]:
    yield from checks.series_exist(world, checks.request_series(world) | checks.own_series(world))
    yield from _pod_metrics(world)


def _pod_metrics(world: World) -> Iterator[Check]:
    """Without the number of pods a forecast could not be capped, so that it would add nothing."""
    for name in world.estate.workloads:
        query = queries.ready_pods(world.estate, world.target.region, name)
        count = world.prometheus.value(query)
        if count:
            yield Check(f"metric pods of {name}", True, f"{query} is {count:.0f}")
        else:
            remedy = "have Prometheus scrape the kubelets' cAdvisor with the labels region, namespace and pod"
            yield Check(f"metric pods of {name}", False, f"{query} has no sample", remedy)


OF_THE_WORKLOADS: dict[str, Callable[[World], Iterator[Check]]] = {
    "replicas": _replicas,
    "rollout": checks.rollouts,
    "quota": _quotas,
    "autoscalers": _autoscalers,
    "objects' owners": _owners,
    "manifests accepted": _dry_run,
    "disruption budget": _budgets,
}
OF_WHAT_IT_RESTS_ON: dict[str, Callable[[World], Iterator[Check]]] = {
    "champion": _champion,
    "prices": checks.prices,
    "metrics": _metrics,
    "Prometheus for KEDA": _trigger_login,
}
