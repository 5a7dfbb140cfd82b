"""What the spot lever wants and what that costs: pure functions of the estate, the settings and the live state.

The live state (see live.py) and the wanted state have one shape, so that they can be compared field by field.
"""

from __future__ import annotations

import json
import math
import string
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, model_validator

from include.estate import Estate
from include.levers.common import SPREAD, NodeFact, Object, node_price, total
from include.levers.nodes import ZONE, tolerates
from include.prices import AwsBook, Choice, usd_month
from include.quantities import cores, mebibytes
from include.rollout.gates import Comparison, Gate
from include.rollout.lever import Difference, Plan, Stage, Undo
from include.rollout.settings import LONGEST_CONVERGENCE

NAME = "spot_capacity"
NODE_CLASS = "akidb"
SPOT_POOL = "akidb-spot"
ON_DEMAND_POOL = "akidb-on-demand"
POOLS = (SPOT_POOL, ON_DEMAND_POOL)
POOL_LABEL = "karpenter.sh/nodepool"
TAINT = "akidb.io/dedicated"  # on every node of the pools; AkiDB's pods tolerate it
TAINTS = ({"key": TAINT, "effect": "NoSchedule"},)
ZONES = "zones"  # how many zones the pods stood in before: a stage's setting, and the gate that looks at it
STRANDED = "evicted_pods_pending"
STEPS = ("step_1", "step_2", "step_3")
DRILL = "interruption_drill"
OLD_NODE_GROUP = "old_node_group"
MANIFESTS = Path(__file__).parents[2] / "manifests" / "spot_capacity"
# The first disk of these families holds the system only; pods and images are on the second.
DATA_DEVICES = {"Bottlerocket": "/dev/xvdb"}


class SpotSettings(BaseModel):
    """What a person may choose for one run of the spot lever."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    steps_percent: tuple[Annotated[int, Field(gt=0, lt=100)], ...] = Field(
        min_length=1,
        max_length=len(STEPS),
        description="Spot share to reach in each step, rising, in percent; the domains decide what is possible.",
    )
    domains: int = Field(
        ge=2,
        le=20,
        description="Capacity domains that the pods are spread over; each needs a node. 4: quarters, 10: tenths.",
    )
    drill: bool = Field(default=True, description="Send one spot node an interruption notice and measure the answer.")
    allow_on_demand_fallback: bool = Field(
        default=True, description="Let the spot pool launch on-demand nodes while no spot capacity is to be had."
    )
    accept_stranded_commitments: bool = Field(
        default=False, description="Go on although Reserved Instances or Savings Plans would be paid for and not used."
    )
    accept_do_not_disrupt: bool = Field(
        default=False, description="Go on although pods ask Karpenter not to disrupt them: they keep drifted nodes."
    )
    accept_unmovable_pods: bool = Field(
        default=False,
        description="Drain the old node group although it evicts pods that would be lost or find no node: the plan "
        "names them.",
    )
    multi_arch_images: bool = Field(
        default=False, description="The workloads' images run on spot.architecture too, whatever their nodes are now."
    )
    converge_timeout_seconds: int = Field(
        gt=0,
        le=LONGEST_CONVERGENCE,
        description="Longest wait for the cluster to reach the state of a step, in seconds.",
    )

    @classmethod
    def estate_defaults(cls, estate: Estate) -> dict[str, Any]:
        """Defaults of the fields that the estate decides."""
        return {"steps_percent": estate.spot.steps_percent, "domains": estate.spot.domains}

    @model_validator(mode="after")
    def _steps_fit_domains(self) -> SpotSettings:
        step_domains(self.steps_percent, self.domains)
        return self


def step_domains(steps_percent: Sequence[int], domains: int) -> tuple[int, ...]:
    """How many of the domains are spot after each step: the nearest to the percentage, at least 1, never all.

    Raises ValueError when two steps come to the same number.
    """
    counts = tuple(min(domains - 1, max(1, math.floor(p * domains / 100 + 0.5))) for p in steps_percent)
    if list(counts) != sorted(set(counts)):
        raise ValueError(
            f"steps_percent {', '.join(map(str, steps_percent))} with domains {domains} give "
            f"{', '.join(map(str, counts))} spot domains, which must rise: use more domains, or fewer or rising steps"
        )
    return counts


def domain_names(domains: int) -> list[str]:
    """``d1`` ... ``dN``; the first are the spot ones."""
    return [f"d{n}" for n in range(1, domains + 1)]


def pool_of(domain: str, spot_domains: int) -> str:
    """The pool that hosts ``domain`` when the first ``spot_domains`` are spot."""
    return SPOT_POOL if int(domain[1:]) <= spot_domains else ON_DEMAND_POOL


def balanced(replicas: int, domains: int) -> list[int]:
    """Replicas in each domain, largest first, when they are spread with a skew of at most 1."""
    each, more = divmod(replicas, domains)
    return [each + 1] * more + [each] * (domains - more)


# Wanted objects --------------------------------------------------------------------------------------------------


def render(manifest: str, values: Mapping[str, Any]) -> Object:
    """A manifest with its ``${...}`` filled in; values become JSON, which is YAML."""
    text = string.Template((MANIFESTS / manifest).read_text(encoding="utf-8"))
    rendered = yaml.safe_load(text.substitute({key: json.dumps(value) for key, value in values.items()}))
    assert isinstance(rendered, dict)
    return rendered


def node_class(estate: Estate, region: str) -> Object:
    """The EC2NodeClass of ``region``."""
    spot, where = estate.spot, estate.region(region)
    return render(
        "ec2nodeclass.yaml",
        {
            "AMI_FAMILY": spot.ami_family,
            "AMI_ALIAS": spot.ami_alias,
            "NODE_ROLE": where.node_role,
            "DISCOVERY_TAG": where.discovery_tag,
            "TAGS": spot.tags,
            "DATA_DEVICE": DATA_DEVICES.get(spot.ami_family, "/dev/xvda"),
            "VOLUME_SIZE": f"{spot.volume_gib}Gi",
        },
    )


def node_pools(estate: Estate, settings: SpotSettings, spot_domains: int, types: Sequence[str]) -> dict[str, Object]:
    """Both NodePools by name when the first ``spot_domains`` domains are spot."""
    names = domain_names(settings.domains)
    fallback = ["on-demand"] if settings.allow_on_demand_fallback else []
    spot = estate.spot
    common = {
        "CPU_LIMIT": spot.cpu_limit,
        "MEMORY_LIMIT": spot.memory_limit,
        "CONSOLIDATE_AFTER": spot.consolidate_after,
        "EXPIRE_AFTER": spot.expire_after,
        "ARCHITECTURE": spot.architecture,
        "CATEGORIES": list(spot.categories),
        "INSTANCE_TYPES": sorted(types),
    }
    of_spot = {"NAME": SPOT_POOL, "WEIGHT": 10, "CAPACITY_TYPES": ["spot", *fallback], "DOMAINS": names[:spot_domains]}
    rest = {"NAME": ON_DEMAND_POOL, "WEIGHT": 1, "CAPACITY_TYPES": ["on-demand"], "DOMAINS": names[spot_domains:]}
    return {str(pool["NAME"]): render("nodepool.yaml", common | pool) for pool in (of_spot, rest)}


def spread(estate: Estate, workload: str, domains: int) -> Object:
    """The Deployment with nothing but what the lever may write in it, for server-side apply."""
    return render("spread.yaml", {"NAME": workload, "NAMESPACE": estate.namespace, "DOMAINS": domains})


def placed(estate: Estate, workload: str, domains: int, live: Object) -> Object:
    """``spread`` as it fits beside what others have set in the live Deployment.

    A zone constraint of theirs stays the only one. Tolerations are one value for the API server: theirs are kept in it.
    """
    body = spread(estate, workload, domains)
    spec, zone = body["spec"]["template"]["spec"], zone_constraint(estate, workload)
    if any(constraint != zone for constraint in zones_of(live) or []):
        spec["topologySpreadConstraints"].remove(zone)
    theirs = [t for t in tolerations_of(live) or [] if t not in spec["tolerations"]]
    if tolerates({"tolerations": theirs}, TAINTS):
        del spec["tolerations"]
    else:
        spec["tolerations"] = [*theirs, *spec["tolerations"]]
    return body


def _constraints(deployment: Object) -> list[Object]:
    return deployment["spec"].get("template", {}).get("spec", {}).get("topologySpreadConstraints") or []


def constraint_of(deployment: Object) -> Object | None:
    """The spread constraint on our topology key in a Deployment, if any."""
    return next((c for c in _constraints(deployment) if c["topologyKey"] == SPREAD), None)


def zones_of(deployment: Object) -> list[Object] | None:
    """A Deployment's constraints over zones, None without any."""
    return [c for c in _constraints(deployment) if c["topologyKey"] == ZONE] or None


def tolerations_of(deployment: Object) -> list[Object] | None:
    """A Deployment's tolerations, None without any."""
    return deployment["spec"].get("template", {}).get("spec", {}).get("tolerations") or None


def zone_constraint(estate: Estate, workload: str) -> Object:
    """The constraint over zones that the lever writes."""
    (constraint,) = zones_of(spread(estate, workload, 0)) or []
    return constraint


def toleration(estate: Estate, workload: str) -> Object:
    """The toleration that the lever writes."""
    (ours,) = tolerations_of(spread(estate, workload, 0)) or []
    return ours


def queue_attributes(queue_arn: str, cluster: str) -> dict[str, str]:
    """Attributes of the interruption queue; its policy lets exactly this cluster's rules send to it, over TLS."""
    _, partition, _, region, account, _ = queue_arn.split(":")
    rule = f"arn:{partition}:events:{region}:{account}:rule/{cluster}-*"
    statements = [
        {
            "Sid": "RulesSend",
            "Effect": "Allow",
            "Principal": {"Service": "events.amazonaws.com"},
            "Action": "sqs:SendMessage",
            "Resource": queue_arn,
            "Condition": {"ArnLike": {"aws:SourceArn": rule}},
        },
        {
            "Sid": "TlsOnly",
            "Effect": "Deny",
            "Principal": "*",
            "Action": "sqs:*",
            "Resource": queue_arn,
            "Condition": {"Bool": {"aws:SecureTransport": "false"}},
        },
    ]
    policy = json.dumps({"Version": "2012-10-17", "Statement": statements}, sort_keys=True)
    return {**render("interruption.yaml", {})["queue"], "Policy": policy}


def rules(cluster: str, queue_arn: str) -> dict[str, Object]:
    """The EventBridge rules that feed the queue, by name."""
    patterns = render("interruption.yaml", {})["rules"]
    return {f"{cluster}-{slug}": {"pattern": pattern, "targets": [queue_arn]} for slug, pattern in patterns.items()}


def wanted_state(
    estate: Estate,
    region: str,
    settings: SpotSettings,
    spot_domains: int,
    types: Sequence[str],
    live: Mapping[str, Any],
) -> Object:
    """The state after the last stage, in the shape of the live state."""
    where = estate.region(region)
    pools = node_pools(estate, settings, spot_domains, types)
    floor = where.node_group.floor
    bodies = {
        name: placed(estate, name, settings.domains, as_deployment(live["zones"][name], live["tolerations"][name]))
        for name in estate.workloads
    }
    return {
        "queue": queue_attributes(live["queue_arn"], where.cluster),
        "rules": rules(where.cluster, live["queue_arn"]),
        "node_class": node_class(estate, region)["spec"],
        "node_pools": {name: pool["spec"] for name, pool in pools.items()},
        "constraints": {name: constraint_of(body) for name, body in bodies.items()},
        "zones": {name: zones_of(body) or live["zones"][name] for name, body in bodies.items()},
        "tolerations": {name: tolerations_of(body) or live["tolerations"][name] for name, body in bodies.items()},
        # An autoscaler that moves the size keeps what it has found to be needed.
        "node_group": {"minSize": floor} if SIZE in live["moving"] else {"minSize": floor, "desiredSize": floor},
    }


def as_deployment(zones: Sequence[Object] | None, tolerations: Sequence[Object] | None) -> Object:
    """A Deployment with nothing but these parts of the live state."""
    parts = {"topologySpreadConstraints": list(zones or []), "tolerations": list(tolerations or [])}
    return {"spec": {"template": {"spec": parts}}}


# Differences -----------------------------------------------------------------------------------------------------

TITLES = {
    "queue": "Queue",
    "rules": "Rule/{}",
    "node_class": f"EC2NodeClass/{NODE_CLASS} spec",
    "node_pools": "NodePool/{} spec",
    "constraints": f"Deployment/{{}} spread over {SPREAD}",
    "zones": f"Deployment/{{}} spread over {ZONE}",
    "tolerations": "Deployment/{} tolerations",
    "node_group": "NodeGroup",
}
NAMED = ("rules", "node_pools", "constraints", "zones", "tolerations")
SIZE = f"{TITLES['node_group']} desiredSize"


def differences(live: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[Difference]:
    """Every wanted field whose live value is another one; live fields that nobody wants don't count."""
    found: list[Difference] = []
    for part, value in wanted.items():
        if part in NAMED:
            for name, inner in value.items():
                found += _compare(TITLES[part].format(name), live[part].get(name), inner)
        else:
            found += _compare(TITLES[part], live[part], value)
    return found


def _compare(path: str, live: Any, wanted: Any) -> list[Difference]:
    if live == wanted:
        return []
    live, wanted = _keyed(live), _keyed(wanted)
    if not isinstance(live, dict) or not isinstance(wanted, dict):
        return [Difference(path, live, wanted)]
    found: list[Difference] = []
    joint = "." if " " in path else " "
    for key, value in wanted.items():
        found += _compare(f"{path}{joint}{key}", live.get(key), value)
    return found


def _keyed(value: Any) -> Any:
    """A list of requirements as a dictionary by their key, a JSON document as what it holds."""
    if isinstance(value, list) and value and all(isinstance(item, dict) and "key" in item for item in value):
        return {item["key"]: {k: v for k, v in item.items() if k != "key"} for item in value}
    if isinstance(value, str) and value.startswith("{"):
        try:
            return json.loads(value)
        except json.JSONDecodeError:
            return value
    return value


def contains(live: Any, wanted: Any) -> bool:
    """Whether ``live`` has every field of ``wanted`` with its value."""
    return live is not None and not _compare("", live, wanted)


# Stages and gates ------------------------------------------------------------------------------------------------


def live_spot_domains(live: Mapping[str, Any], domains: int) -> int:
    """How many of ``domains`` are spot in the live pools; 0 when the pools are absent or split otherwise."""
    found = {name: _domains_of(live["node_pools"].get(name)) for name in POOLS}
    if sorted(found[SPOT_POOL] + found[ON_DEMAND_POOL]) != sorted(domain_names(domains)):
        return 0
    return len(found[SPOT_POOL])


def _domains_of(spec: Object | None) -> list[str]:
    requirements = spec["template"]["spec"]["requirements"] if spec else []
    return next((list(r.get("values", [])) for r in requirements if r["key"] == SPREAD), [])


@dataclass(frozen=True)
class Surroundings:
    """What the lever doesn't own and the plan speaks of.

    ``zones``: in how many zones AkiDB's pods stand, None when the nodes don't say. ``evicted``: the pods that the drain
    of the old node group would evict, a line each; ``unmovable``: those among them that it must not, with the reason.
    ``guests``: others whose pods the pools' nodes would take. ``shut_out``: DaemonSets that will not run on the pools'
    nodes, None when they may not be read.
    """

    zones: int | None = None
    evicted: tuple[str, ...] = ()
    unmovable: tuple[str, ...] = ()
    guests: tuple[str, ...] = ()
    shut_out: tuple[str, ...] | None = ()


def stages(
    estate: Estate,
    region: str,
    settings: SpotSettings,
    types: Sequence[str],
    live: Mapping[str, Any],
    changes: bool,
    zones: int | None = None,
) -> tuple[Stage, ...]:
    """The stages that lead from ``live`` to the wanted state. ``changes``: something besides the node group differs."""
    wanted = step_domains(settings.steps_percent, settings.domains)
    have = live_spot_domains(live, settings.domains)
    steps = [step for step in zip(STEPS, settings.steps_percent, wanted, strict=False) if step[2] > have]
    if not steps and changes:
        steps = list(zip(STEPS, settings.steps_percent, wanted, strict=False))[-1:]
    known = {"domains": settings.domains, "instance_types": sorted(types), ZONES: zones}
    made = [
        Stage(
            slot,
            f"{percent} % spot: {count} of {settings.domains} domains ({count / settings.domains:.0%})",
            gates(estate),
            {**known, "percent": percent, "spot_domains": count},
        )
        for slot, percent, count in steps
    ]
    last = {**known, "spot_domains": wanted[-1]}
    group = estate.region(region).node_group
    sizes = live["node_group"]
    shrinks = sizes["minSize" if SIZE in live["moving"] else "desiredSize"] > group.floor
    if settings.drill and (made or shrinks):
        made.append(Stage(DRILL, "one spot node gets an interruption notice", gates(estate, DRILL), last))
    if shrinks:
        title = f"node group {group.name} from {sizes['desiredSize']} nodes to its floor of {group.floor}"
        made.append(Stage(OLD_NODE_GROUP, title, gates(estate, OLD_NODE_GROUP), {**last, "floor": group.floor}))
    return tuple(made)


def gates(estate: Estate, slot: str = "") -> tuple[Gate, ...]:
    """The gates of every stage; the drill adds how soon Karpenter reacts, the old node group whom its drain left."""
    targets = estate.targets

    def gate(
        name: str,
        comparison: Comparison,
        field: str,
        unit: str,
        samples: int,
        threshold: float,
        *,
        safety: bool = False,
    ) -> Gate:
        return Gate(name, comparison, threshold, unit, samples, f"estate targets.{field}", safety)

    below, at_most, at_least = Comparison.BELOW, Comparison.AT_MOST, Comparison.AT_LEAST
    notices, stop = targets.unplanned_notices_per_soak, targets.interruption_stop_rate
    pending = f"estate targets.pending_seconds {targets.pending_seconds}"
    made = [
        gate("unplanned_notices", at_most, "unplanned_notices_per_soak", "notices", 1, notices),
        gate("interruption_rate_24h", below, "interruption_stop_rate", "ratio", 1, stop),
        gate("p95_ms", at_most, "p95_ms", "ms", 100, targets.p95_ms, safety=True),
        gate("p95_ms_grpc", at_most, "p95_ms", "ms", 100, targets.p95_ms, safety=True),
        gate("error_ratio", below, "error_ratio", "ratio", 100, targets.error_ratio, safety=True),
        gate("availability", at_least, "availability", "ratio", 3, targets.availability, safety=True),
        Gate("pods_pending_too_long", at_most, 0, "pods", 1, pending, safety=True),
    ]
    made.append(Gate(ZONES, at_most, 0, "zones", 1, "the zones that the pods stood in when the plan was made"))
    if slot == OLD_NODE_GROUP:
        made.append(Gate(STRANDED, at_most, 0, "pods", 0, "every pod that the drain evicts needs a node"))
    if slot == DRILL:
        made.append(gate("cordon_seconds", at_most, "cordon_seconds", "s", 1, targets.cordon_seconds))
    return tuple(made)


# Money -----------------------------------------------------------------------------------------------------------


def pods_per_node(estate: Estate, cpu: float, memory_mib: float) -> int:
    """How many AkiDB pods fit a node with this allocatable, counted with the largest request of the workloads."""
    requests = [w.requests for w in estate.workloads.values()]
    return min(
        int(Decimal(str(cpu)) // max(cores(r.cpu) for r in requests)),
        int(Decimal(str(memory_mib)) // max(mebibytes(r.memory) for r in requests)),
    )


def domain_cost(estate: Estate, choices: Sequence[Choice], pods: int, spot: bool) -> Decimal | None:
    """USD an hour of the cheapest way to host ``pods`` in one domain on nodes of one type; None when none fits."""
    costs = []
    for choice in choices:
        fits = pods_per_node(estate, choice.instance.allocatable_cpu, choice.instance.allocatable_memory_mib)
        if fits:
            costs.append(math.ceil(pods / fits) * (choice.spot if spot else choice.on_demand))
    return min(costs, default=None)


def predicted_usd_hour(
    estate: Estate, region: str, book: AwsBook, choices: Sequence[Choice], spot_domains: int, domains: int
) -> Decimal | None:
    """USD an hour after the last stage: the node group's floor and each domain on its cheapest type."""
    group = estate.region(region).node_group
    floor = book.on_demand(region, group.instance_type)
    spreads = [balanced(w.replicas, domains) for w in estate.workloads.values()]
    in_domain = [sum(spread[n] for spread in spreads) for n in range(domains)]
    parts = [domain_cost(estate, choices, pods, n < spot_domains) for n, pods in enumerate(in_domain)]
    return total([None if floor is None else floor * group.floor, *parts])


_ALONE = Surroundings()


def build_plan(
    estate: Estate,
    region: str,
    settings: SpotSettings,
    live: Mapping[str, Any],
    nodes: Sequence[NodeFact],
    book: AwsBook,
    choices: Sequence[Choice],
    around: Surroundings = _ALONE,
) -> Plan:
    """The whole plan of one region."""
    types = [choice.name for choice in choices]
    counts = step_domains(settings.steps_percent, settings.domains)
    wanted = wanted_state(estate, region, settings, counts[-1], types, live)
    found = differences(live, wanted)
    changes = any(not d.path.startswith("NodeGroup") for d in found)
    before = total(node_price(book, region, node) for node in nodes)
    after = predicted_usd_hour(estate, region, book, choices, counts[-1], settings.domains)
    return Plan(
        lever=NAME,
        place=region,
        live=live,
        differences=tuple(found),
        stages=stages(estate, region, settings, types, live, changes, around.zones),
        usd_month_before=None if before is None else usd_month(before),
        usd_month_after=None if after is None else usd_month(after),
        price_book=f"{book.name} ({book.date})",
        undo=Undo.NODE_WAVE,
        notes=(
            *_notes(estate, region, settings, counts),
            *_notes_on(around, live),
            *_quoted(book, region),
            *book.assumptions,
        ),
    )


def _notes(estate: Estate, region: str, settings: SpotSettings, counts: Sequence[int]) -> tuple[str, ...]:
    asked = ", ".join(f"{p} %" for p in settings.steps_percent)
    given = ", ".join(f"{count / settings.domains:.0%}" for count in counts)
    group = estate.region(region).node_group
    return (
        f"steps {asked} become {given} of the pods: {settings.domains} domains need at least {settings.domains} nodes",
        f"{group.floor} nodes of {group.name} stay for system pods: they cost money and don't count in the share",
        "adding the spread constraint restarts every AkiDB pod once; a rollback does so again",
        _expiry(estate.spot.expire_after),
        "the cost after is a forecast: each domain on its cheapest type at the book's spot price",
        "pods are spread over zones too, where a Deployment has no zone constraint of its own: any constraint turns "
        "the scheduler's own spreading off; a zone without capacity costs balance and no pod",
        f"the pools' nodes carry the taint {TAINT}: AkiDB's pods alone run there, all others on the nodes that stay",
    )


def _notes_on(around: Surroundings, live: Mapping[str, Any]) -> Iterator[str]:
    untainted = [name for name, spec in live["node_pools"].items() if spec and not _is_tainted(spec)]
    if untainted:
        yield (
            f"{' and '.join(untainted)} had no taint: all their nodes drift and are replaced, and pods of others that "
            "run there must find another node"
        )
    if around.shut_out is None:
        yield f"which DaemonSets don't tolerate {TAINT} is not known: the role may not list them"
    if around.shut_out:
        yield (
            f"not on the pools' nodes, for they don't tolerate {TAINT}: the pods of DaemonSets "
            f"{', '.join(around.shut_out)}; add the toleration to those that AkiDB's nodes need"
        )
    if around.guests:
        yield (
            f"pods of others may be put on the pools' nodes, spot among them, for they tolerate {TAINT}: "
            f"{', '.join(around.guests)}; give their tolerations the keys that they are meant for"
        )
    if around.evicted:
        yield f"{OLD_NODE_GROUP} evicts {len(around.evicted)} pods of others: {', '.join(around.evicted)}"
    if around.unmovable:
        yield (
            f"{OLD_NODE_GROUP} refuses as long as these are on its nodes, unless accept_unmovable_pods is set: "
            f"{'; '.join(around.unmovable)}"
        )


def _is_tainted(spec: Object) -> bool:
    return any(taint["key"] == TAINT for taint in spec["template"]["spec"].get("taints") or [])


def _quoted(book: AwsBook, region: str) -> Iterator[str]:
    if not book.knows_spot(region):
        yield (
            f"the price book has no spot prices of {region}: these are EC2's own, each type at its dearest zone; how "
            "often they are interrupted is not known, and no type was left out for it"
        )


def _expiry(expire_after: str) -> str:
    if expire_after == "Never":
        return "new nodes don't expire: they are replaced when they drift, as many at once as the pools' budgets allow"
    return (
        f"nodes expire {expire_after} after their birth, those of one step within the same hour: pools' budgets don't "
        "hold expiry back, only PodDisruptionBudgets do; spot.expire_after Never leaves it to drift"
    )
