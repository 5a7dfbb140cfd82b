"""Read-only checks before anything is planned. Each gives one line: what was looked at, and the remedy if it failed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from include.clients.kubernetes import (
    DISRUPTION_BUDGET,
    EC2_NODE_CLASS,
    NODE,
    NODE_CLAIM,
    NODE_POOL,
    POD,
)
from include.levers import checks
from include.levers.common import NODE_GROUP_LABEL, Object, deployments, name_of
from include.levers.spot_capacity.apply import write_placement
from include.levers.spot_capacity.live import MANAGER, World, node_group, read_queue
from include.levers.spot_capacity.plan import (
    NODE_CLASS,
    POOLS,
    node_class,
    node_pools,
    pods_per_node,
    step_domains,
)
from include.prices import choose_instance_types, load_aws_book
from include.quantities import cores, mebibytes
from include.rollout.lever import Check


def run_checks(world: World) -> list[Check]:
    """Every check, in the order in which a person would repair them. Never raises for a failed check."""
    reached = checks.guarded("cluster reachable", world, checks.reachable)
    if not reached[0].passed:
        return reached
    served = checks.guarded("Karpenter's definitions", world, _definitions)
    found = [*reached, *served, *checks.guarded("workloads", world, _workloads)]
    if all(check.passed for check in found):
        found += checks.guarded("objects' owners", world, _owners)
        found += checks.guarded("disruption budgets", world, _budgets)
        types = checks.guarded("instance types", world, _instance_types)
        found += types
        found += checks.guarded("domains", world, _domains)
        if types[0].passed:
            found += checks.guarded("manifests accepted", world, _dry_run)
        found += checks.guarded("way back", world, _way_back)
    found += checks.guarded("node group", world, _node_group)
    found += checks.guarded("interruption queue", world, _queue)
    found += checks.guarded("commitments", world, _commitments)
    return [
        *found,
        *checks.guarded("metrics", world, _metrics),
        *checks.guarded("Karpenter running", world, _karpenter),
    ]


# The cluster -----------------------------------------------------------------------------------------------------


def _definitions(world: World) -> Iterator[Check]:
    for kind in (NODE_POOL, NODE_CLAIM, EC2_NODE_CLASS):
        name = f"{kind.plural}.{kind.api_version}"
        if world.cluster.serves(kind):
            yield Check(f"definition {kind.plural}", True, f"{name} is served")
        else:
            remedy = f"install Karpenter 1.x with its CustomResourceDefinitions in {world.region.cluster}"
            yield Check(f"definition {kind.plural}", False, f"{name} is not served", remedy)


def _workloads(world: World) -> Iterator[Check]:
    for name, deployment in deployments(world).items():
        template = deployment["spec"]["template"]
        labels = template["metadata"].get("labels", {})
        selector = template["spec"].get("nodeSelector") or {}
        if labels.get("app") != name:
            reason = f"the pods of Deployment {name} have label app={labels.get('app')}, not {name}"
            yield Check(
                f"workload {name}", False, reason, f"label them app={name}: the spread constraint selects by it"
            )
        elif NODE_GROUP_LABEL in selector:
            reason = f"Deployment {name} is tied to node group {selector[NODE_GROUP_LABEL]} by its nodeSelector"
            yield Check(f"workload {name}", False, reason, f"remove {NODE_GROUP_LABEL} from its nodeSelector")
        else:
            replicas = deployment["spec"].get("replicas", 1)
            yield Check(f"workload {name}", True, f"Deployment {name} has {replicas} replicas")


# Who owns what ---------------------------------------------------------------------------------------------------


def _owners(world: World) -> Iterator[Check]:
    things: dict[str, Object | None] = {f"Deployment {name}": found for name, found in deployments(world).items()}
    things |= {f"NodePool {name}": world.cluster.get(NODE_POOL, name) for name in POOLS}
    things[f"EC2NodeClass {NODE_CLASS}"] = world.cluster.get(EC2_NODE_CLASS, NODE_CLASS)
    yield from checks.owners(world, things, "undo the change", "make the change in {owner}, or")


# Disruption budgets ----------------------------------------------------------------------------------------------


def _budgets(world: World) -> Iterator[Check]:
    budgets = world.cluster.list(DISRUPTION_BUDGET)
    moved = _pods_to_move(world)
    problems = list(budget_problems(budgets, moved))
    for subject, reason, remedy in problems:
        yield Check(f"disruption budget {subject}", False, reason, remedy)
    if not problems:
        yield Check("disruption budgets", True, f"{len(budgets)} PodDisruptionBudgets let {len(moved)} pods move")


def _pods_to_move(world: World) -> list[Object]:
    group = {name_of(n) for n in world.cluster.list(NODE, labels=f"{NODE_GROUP_LABEL}={world.region.node_group.name}")}
    names = set(world.estate.workloads)
    return [
        pod
        for pod in world.cluster.list(POD)
        if pod["spec"].get("nodeName") in group or pod["metadata"].get("labels", {}).get("app") in names
    ]


def budget_problems(budgets: Sequence[Object], pods: Sequence[Object]) -> Iterator[tuple[str, str, str]]:
    """Budgets that would block an eviction for good: (budget, reason, remedy)."""
    double: set[tuple[str, ...]] = set()
    used: set[str] = set()
    for pod in pods:
        mine = sorted(f"{_space(b)}/{name_of(b)}" for b in budgets if _space(b) == _space(pod) and _selects(b, pod))
        used |= set(mine)
        if len(mine) > 1:
            double.add(tuple(mine))
    for names in sorted(double):
        reason = f"{' and '.join(names)} select the same pods: the Eviction API refuses such pods"
        yield names[0], reason, "let one PodDisruptionBudget select each pod"
    for budget in budgets:
        name, spec = f"{_space(budget)}/{name_of(budget)}", budget["spec"]
        if name not in used:
            continue
        never = str(spec.get("maxUnavailable")) in ("0", "0%") or str(spec.get("minAvailable")) == "100%"
        if never:
            yield name, f"{name} never allows an eviction", "allow at least one pod to be unavailable"
        elif budget.get("status", {}).get("disruptionsAllowed", 0) == 0:
            healthy = budget.get("status", {})
            counts = f"{healthy.get('currentHealthy')} of {healthy.get('expectedPods')} pods healthy"
            yield name, f"{name} allows no eviction now ({counts})", "wait until its pods are healthy, or add replicas"


def _space(thing: Object) -> str:
    return str(thing["metadata"]["namespace"])


def _selects(budget: Object, pod: Object) -> bool:
    selector = budget["spec"].get("selector") or {}
    labels = pod["metadata"].get("labels") or {}
    if any(labels.get(key) != value for key, value in (selector.get("matchLabels") or {}).items()):
        return False
    for term in selector.get("matchExpressions") or []:
        key, operator, values = term["key"], term["operator"], term.get("values") or []
        has = key in labels
        holds = {
            "In": has and labels.get(key) in values,
            "NotIn": labels.get(key) not in values,
            "Exists": has,
            "DoesNotExist": not has,
        }[operator]
        if not holds:
            return False
    return True


# What is about to be built ---------------------------------------------------------------------------------------


def _instance_types(world: World) -> Iterator[Check]:
    choices = choose_instance_types(load_aws_book(world.estate), world.target.region, world.estate.spot)
    book = load_aws_book(world.estate)
    cheapest = ", ".join(choice.name for choice in choices[:3])
    reason = f"{len(choices)} types by price and interruption band ({book.date}), cheapest first: {cheapest} ..."
    yield Check("instance types", True, reason)


def _domains(world: World) -> Iterator[Check]:
    domains = world.settings.domains
    for name, deployment in deployments(world).items():
        replicas = deployment["spec"].get("replicas", 1)
        if replicas < domains:
            reason = f"{name} has {replicas} replicas for {domains} domains: some would host none of its pods"
            yield Check(f"domains of {name}", False, reason, f"set domains to {replicas} or fewer, or add replicas")
    cpu = sum(cores(w.requests.cpu) * w.replicas for w in world.estate.workloads.values())
    memory = sum(mebibytes(w.requests.memory) * w.replicas for w in world.estate.workloads.values())
    limits = world.estate.spot
    if cpu > cores(limits.cpu_limit) or memory > mebibytes(limits.memory_limit):
        reason = f"the pods request {cpu:g} CPU and {memory / 1024:g} Gi, a pool may have {limits.cpu_limit} and "
        yield Check("pool limits", False, reason + limits.memory_limit, "raise spot.cpu_limit and spot.memory_limit")
    else:
        yield Check(
            "domains", True, f"{domains} domains, one node each at least; requests {cpu:g} CPU, {memory / 1024:g} Gi"
        )


def _dry_run(world: World) -> Iterator[Check]:
    types = [c.name for c in choose_instance_types(load_aws_book(world.estate), world.target.region, world.estate.spot)]
    first = step_domains(world.settings.steps_percent, world.settings.domains)[0]
    bodies = [
        node_class(world.estate, world.target.region),
        *node_pools(world.estate, world.settings, first, types).values(),
    ]
    for body in bodies:
        world.cluster.apply(body, MANAGER, dry_run=True)
    found = deployments(world)
    for name, deployment in found.items():
        write_placement(world, name, deployment, world.settings.domains, dry_run=True)
    names = ", ".join(
        [*(f"{body['kind']} {name_of(body)}" for body in bodies), *(f"Deployment {name}" for name in found)]
    )
    yield Check("manifests accepted", True, f"the API server's dry run accepts {names}")


def _way_back(world: World) -> Iterator[Check]:
    group = world.cluster.list(NODE, labels=f"{NODE_GROUP_LABEL}={world.region.node_group.name}")
    pods = sum(d["spec"].get("replicas", 1) for d in deployments(world).values())
    if not group:
        yield Check("way back", False, "the node group has no nodes", "start from a node group that carries the pods")
        return
    rooms = [node["status"]["allocatable"] for node in group]
    each = min(
        pods_per_node(world.estate, float(cores(room["cpu"])), float(mebibytes(room["memory"]))) for room in rooms
    )
    size = max(len(group), node_group(world)["scalingConfig"]["desiredSize"])
    if each * size < pods:
        reason = f"{size} nodes of the node group hold {each * size} of {pods} pods: a rollback would not fit"
        yield Check("way back", False, reason, "grow the node group before the rollout, or lower requests")
    else:
        yield Check(
            "way back", True, f"{size} nodes of the node group hold {each * size} pods, a rollback needs {pods}"
        )


# The cloud -------------------------------------------------------------------------------------------------------


def _node_group(world: World) -> Iterator[Check]:
    group, wanted = node_group(world), world.region.node_group
    scaling = group["scalingConfig"]
    reason = f"{wanted.name} of {world.region.cluster}: {scaling['desiredSize']} nodes, {group['status']}"
    if group["status"] != "ACTIVE":
        yield Check("node group", False, reason, "wait until its update has ended, or repair the node group")
    elif not group.get("resources", {}).get("autoScalingGroups"):
        yield Check("node group", False, f"{wanted.name} has no Auto Scaling group", "use a managed node group")
    else:
        yield Check("node group", True, reason)


def _queue(world: World) -> Iterator[Check]:
    arn, attributes = read_queue(world)
    state = "will be created" if attributes is None else "exists"
    yield Check("interruption queue", True, f"{arn} {state}")


def _commitments(world: World) -> Iterator[Check]:
    family = world.region.node_group.instance_type.split(".")[0]
    covered = list(stranded(world, family))
    if not covered:
        yield Check("commitments", True, f"no active Reserved Instance or Savings Plan covers {family} here")
    elif world.settings.accept_stranded_commitments:
        yield Check("commitments", True, f"accepted (accept_stranded_commitments): {'; '.join(covered)}")
    else:
        reason = f"spot uses no commitment, these would be paid for nothing: {'; '.join(covered)}"
        remedy = "let them end or sell them first, or set accept_stranded_commitments"
        yield Check("commitments", False, reason, remedy)


def stranded(world: World, family: str) -> Iterator[str]:
    """Active commitments that cover on-demand nodes of ``family`` in the region, one line each."""
    active = [{"Name": "state", "Values": ["active"]}]
    answer = world.aws.call("ec2", "describe_reserved_instances", Filters=active)
    for reserved in answer.get("ReservedInstances", []):
        if reserved["InstanceType"].split(".")[0] == family:
            count, kind = reserved["InstanceCount"], reserved["InstanceType"]
            yield f"{count} Reserved Instances {kind} until {reserved.get('End')}"
    request = {"states": ["active"]}
    while True:
        answer = world.aws.call("savingsplans", "describe_savings_plans", **request)
        for plan in answer.get("savingsPlans", []):
            everywhere = plan["savingsPlanType"] == "Compute"
            if everywhere or (plan.get("ec2InstanceFamily"), plan.get("region")) == (family, world.target.region):
                yield f"Savings Plan {plan['savingsPlanId']} ({plan['savingsPlanType']}, {plan['commitment']} USD/h)"
        if not answer.get("nextToken"):
            return
        request["nextToken"] = answer["nextToken"]


# Metrics ---------------------------------------------------------------------------------------------------------


def _metrics(world: World) -> Iterator[Check]:
    memory = f'{world.estate.metrics.memory}{{region="{world.target.region}"}}'
    yield from checks.series_exist(world, {**checks.request_series(world), "memory": memory})


def _karpenter(world: World) -> Iterator[Check]:
    series = f'up{{job="karpenter",region="{world.target.region}"}}'
    up = world.prometheus.value(f"max({series})")
    if up == 1:
        yield Check("Karpenter running", True, f"{series} is 1")
    else:
        state = "has no sample" if up is None else f"is {up:g}"
        remedy = "start Karpenter, and scrape it as job karpenter: its interruption counter is a gate"
        yield Check("Karpenter running", False, f"{series} {state}", remedy)
