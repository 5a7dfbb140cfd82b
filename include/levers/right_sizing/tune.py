"""New bounds for each workload from what it has used: a proposal with dollars and risk, and what is kept as it is.

Pure: what was observed goes in, a proposal that a person can judge comes out. Bounds hold in every region, so the
least follows the region that uses least, and the most the one that uses most.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal
from typing import Any

from include.levers.right_sizing.recommendation import Bounds, ContainerUse, Recommendation, Requests, recommend

CPU_GRID, MEMORY_GRID = 10, 16 * 2**20  # millicores and bytes that bounds are multiples of
SAME = 0.05  # a bound that moves by less is left: that is one bucket of the recommender
MARGIN = 1.15  # the most is never nearer to the highest use than that
HOURS_A_MONTH = 730
GIB = 2.0**30


@dataclass(frozen=True)
class Offer:
    """A machine that a pod may run on."""

    vcpus: float
    memory_gib: float
    usd_hour: float


@dataclass(frozen=True)
class Observed:
    """One container of a workload in one region, over the days before ``now`` (Unix seconds).

    ``requests`` is what each of its ``pods`` requests now. ``cpu_floor`` are the millicores of a pod that carries its
    autoscaler's target, as day 4 has found them (0: not autoscaled); None: not known. ``throttled`` is None where no
    period was counted.
    """

    region: str
    workload: str
    container: str
    pods: int
    use: tuple[ContainerUse, ...]
    requests: Requests
    now: float
    cpu_floor: int | None = 0
    throttled: float | None = None
    oom_kills: int = 0
    missing: tuple[str, ...] = ()
    offers: tuple[Offer, ...] = ()


@dataclass(frozen=True)
class Effect:
    """What the proposed bounds come to in one region: dollars a month of all pods, requests of one, and the risk.

    ``cpu_above`` and ``memory_above`` are the shares of the time in which a container used more than it would request.
    """

    region: str
    pods: int
    usd_month_before: float | None
    usd_month_after: float | None
    requests_before: Requests
    requests_after: Requests
    cpu_above: float
    memory_above: float
    throttled: float | None
    oom_kills: int
    confidence_days: float


@dataclass(frozen=True)
class Proposal:
    """New bounds of a workload; ``after`` is ``before`` where nothing is proposed, and ``reasons`` say why."""

    workload: str
    container: str
    before: Bounds
    after: Bounds
    reasons: tuple[str, ...]
    effects: tuple[Effect, ...] = ()

    @property
    def changes(self) -> bool:
        """Whether there is anything to approve."""
        return self.after != self.before


def propose(observed: Sequence[Observed], before: Bounds, max_throttled: float) -> Proposal:
    """The proposal for one workload, from all of its regions; ``max_throttled`` is a share of CPU periods.

    What is not known lowers nothing: thin data, an unknown floor and unknown throttling keep the bounds.
    """
    first = observed[0]
    unknown = [line for one in observed for line in _unknown(one)]
    if unknown:
        return Proposal(first.workload, first.container, before, before, tuple(unknown))
    told = [recommend(one.use, one.now) for one in observed]
    after, reasons = _bounds(observed, told, before, max_throttled)
    effects = tuple(_effect(one, after) for one in observed)
    risky = [f"{e.region}: memory would be above its request {e.memory_above:.1%} of the time" for e in effects]
    risky = [line for line, e in zip(risky, effects, strict=True) if e.memory_above > 0]
    if risky and after != before:
        return Proposal(first.workload, first.container, before, before, ("kept: a peak has no room", *risky), effects)
    return Proposal(first.workload, first.container, before, after, tuple(reasons), effects)


def share_above(use: Sequence[ContainerUse], requests: Requests) -> tuple[float, float]:
    """The shares of the CPU and of the memory samples that are above the requests."""
    cpu = [one.cpu_cores.values > requests.cpu_millicores / 1000 for one in use]
    memory = [one.memory_bytes.values > requests.memory_bytes for one in use]
    return _share(cpu), _share(memory)


def usd_month(requests: Requests, pods: int, offers: Sequence[Offer]) -> float | None:
    """Dollars a month of so many pods: their share of the machine that holds them cheapest. None without an offer.

    The larger of the shares of CPU and memory counts, since what is left of the other can't be sold without it.
    """
    cores, gib = requests.cpu_millicores / 1000, requests.memory_bytes / GIB
    each = [offer.usd_hour * max(cores / offer.vcpus, gib / offer.memory_gib) for offer in offers]
    return round(min(each) * pods * HOURS_A_MONTH, 2) if each else None


def to_record(proposals: Sequence[Proposal], as_of: str) -> dict[str, Any]:
    """The proposals as JSON, with the hash that an approval names; ``as_of`` is when the use ends (ISO 8601)."""
    shown = [{**asdict(one), "changes": one.changes} for one in proposals]
    # Through JSON once: what is hashed is what is read again.
    plain = json.loads(json.dumps(shown))
    text = json.dumps([as_of, plain], sort_keys=True)
    return {"as_of": as_of, "proposals": plain, "hash": hashlib.sha256(text.encode()).hexdigest()[:12]}


def estate_part(record: Mapping[str, Any]) -> dict[str, Any]:
    """What of ``right_sizing.bounds`` in estate.yaml an approved record replaces."""
    return {
        one["workload"]: {
            "least": _quantities(one["after"]["min_allowed"]),
            "most": _quantities(one["after"]["max_allowed"]),
        }
        for one in record["proposals"]
        if one["changes"]
    }


def next_steps(record: Mapping[str, Any], regions: Sequence[str]) -> str:
    """What the owner of the estate does with an approved record: nothing here does it."""
    part = "\n".join(f"    {line}" for line in _yaml({"right_sizing": {"bounds": estate_part(record)}}))
    conf = json.dumps({"regions": list(regions), "dry_run": False})
    return (
        f"1. In estate.yaml replace these entries:\n{part}\n2. Trigger day 4; its plan shows the difference once "
        f"more and waits for an approval of its own:\n    airflow dags trigger day4_right_sizing --conf '{conf}'"
    )


def _yaml(tree: Mapping[str, Any], depth: int = 0) -> list[str]:
    lines = []
    for name, value in tree.items():
        inner = isinstance(value, Mapping)
        lines.append(f"{'  ' * depth}{name}:" + ("" if inner else f" {value}"))
        lines += _yaml(value, depth + 1) if inner else []
    return lines


def text_of(record: Mapping[str, Any]) -> str:
    """The proposal as Markdown, for the approver."""
    rows = [_line(one, effect) for one in record["proposals"] for effect in one["effects"]]
    table = [
        "| workload | region | pods | request now | then | USD a month | CPU / memory above it | OOM | throttled |",
        "|---|---|---|---|---|---|---|---|---|",
        *rows,
    ]
    changed = [_change(one) for one in record["proposals"]]
    dollars = "Dollars: the share of the cheapest fitting machine at on-demand list price; spot costs less."
    return "\n".join([*changed, "", *(table if rows else []), "", dollars])


# --- Bounds -----------------------------------------------------------------------------------------------------------


def _unknown(one: Observed) -> list[str]:
    where = f"{one.region}: {one.workload}"
    found = [f"{where} has too little history on {', '.join(one.missing)}: wait for these days"] if one.missing else []
    if not any(len(use.cpu_cores.times) and len(use.memory_bytes.times) for use in one.use):
        found.append(f"{where} has no use on record: check that it runs and that cAdvisor is scraped")
    if one.cpu_floor is None:
        found.append(
            f"{where} is autoscaled, and no VPA has a least CPU of its own for it: run day 4 first, or unpin it"
        )
    if one.throttled is None:
        found.append(f"{where} has no CFS periods on record: check container_cpu_cfs_periods_total")
    return found


def _bounds(
    observed: Sequence[Observed], told: Sequence[Recommendation], before: Bounds, max_throttled: float
) -> tuple[Bounds, list[str]]:
    reasons = ["least: what the quietest region uses at the median, with margin; most: the highest upper bound"]
    least_cpu = max(min(one.lower.cpu_millicores for one in told), *(one.cpu_floor or 0 for one in observed))
    least_memory = min(one.lower.memory_bytes for one in told)
    if any(one.cpu_floor for one in observed):
        reasons.append("least CPU: what a pod needs that carries its autoscaler's target")
    for one in observed:
        if one.oom_kills:
            least_memory = max(least_memory, _after_oom(one))
            reasons.append(f"{one.region}: {one.oom_kills} OOM kill(s): least memory a fifth above what it had")
        if (one.throttled or 0) > max_throttled:
            least_cpu = max(least_cpu, one.requests.cpu_millicores)
            reasons.append(f"{one.region}: throttled in {one.throttled:.1%} of periods: least CPU is not lowered")
    highest = _highest(observed)
    most_cpu = max(*(one.upper.cpu_millicores for one in told), math.ceil(highest.cpu_millicores * MARGIN), least_cpu)
    most_memory = max(*(one.upper.memory_bytes for one in told), math.ceil(highest.memory_bytes * MARGIN), least_memory)
    least, most = Requests(least_cpu, least_memory), Requests(most_cpu, most_memory)
    return Bounds(_settled(least, before.min_allowed), _settled(most, before.max_allowed)), reasons


def _after_oom(one: Observed) -> int:
    return max(round(one.requests.memory_bytes * 1.2), one.requests.memory_bytes + 100 * 2**20)


def _highest(observed: Sequence[Observed]) -> Requests:
    uses = [use for one in observed for use in one.use]
    cores = max(float(use.cpu_cores.values.max(initial=0)) for use in uses)
    return Requests(math.ceil(cores * 1000), math.ceil(max(use.memory_bytes.values.max(initial=0) for use in uses)))


def _settled(wanted: Requests, before: Requests) -> Requests:
    """Rounded up to the grid; a bound that would hardly move stays as it is."""
    return Requests(
        _near(_up(wanted.cpu_millicores, CPU_GRID), before.cpu_millicores),
        _near(_up(wanted.memory_bytes, MEMORY_GRID), before.memory_bytes),
    )


def _up(amount: int, grid: int) -> int:
    return math.ceil(amount / grid) * grid


def _near(amount: int, before: int) -> int:
    return before if abs(amount - before) <= SAME * before else amount


# --- Effects ----------------------------------------------------------------------------------------------------------


def _effect(one: Observed, bounds: Bounds) -> Effect:
    told = recommend(one.use, one.now, _with_floors(one, bounds))
    cpu_above, memory_above = share_above(one.use, told.target)
    return Effect(
        region=one.region,
        pods=one.pods,
        requests_before=one.requests,
        requests_after=told.target,
        usd_month_before=usd_month(one.requests, one.pods, one.offers),
        usd_month_after=usd_month(told.target, one.pods, one.offers),
        cpu_above=round(cpu_above, 4),
        memory_above=round(memory_above, 4),
        throttled=one.throttled,
        oom_kills=one.oom_kills,
        confidence_days=round(told.confidence, 2),
    )


def _with_floors(one: Observed, bounds: Bounds) -> Bounds:
    """The bounds as day 4 applies them in a region: never below what an autoscaled pod needs, nor near the peak."""
    peak = math.ceil(_highest([one]).memory_bytes * MARGIN)
    least, most = bounds.min_allowed, bounds.max_allowed
    floor = Requests(max(least.cpu_millicores, one.cpu_floor or 0), max(least.memory_bytes, peak))
    return Bounds(Bounds(max_allowed=most).cap(floor), most)


def _share(parts: Sequence[Any]) -> float:
    samples = sum(map(len, parts))
    return sum(int(part.sum()) for part in parts) / samples if samples else 0.0


# --- Text -------------------------------------------------------------------------------------------------------------


def _quantities(requests: Mapping[str, int]) -> dict[str, str]:
    """As estate.yaml has them. Memory in MiB: bounds are multiples of 16 of them."""
    return {"cpu": f"{requests['cpu_millicores']}m", "memory": f"{math.ceil(requests['memory_bytes'] / 2**20)}Mi"}


def _shown(requests: Mapping[str, int]) -> str:
    return " and ".join(_quantities(requests).values())


def _change(one: Mapping[str, Any]) -> str:
    before, after = one["before"], one["after"]
    why = "; ".join(one["reasons"])
    if not one["changes"]:
        return f"- {one['workload']}: stays as it is. {why}"
    least = f"least {_shown(before['min_allowed'])} -> {_shown(after['min_allowed'])}"
    most = f"most {_shown(before['max_allowed'])} -> {_shown(after['max_allowed'])}"
    return f"- {one['workload']}: {least}; {most}. {why}"


def _line(one: Mapping[str, Any], effect: Mapping[str, Any]) -> str:
    dollars = " -> ".join(_usd(effect[name]) for name in ("usd_month_before", "usd_month_after"))
    cells = [
        one["workload"],
        effect["region"],
        effect["pods"],
        _shown(effect["requests_before"]),
        _shown(effect["requests_after"]),
        dollars,
        f"{effect['cpu_above']:.1%} / {effect['memory_above']:.1%}",
        effect["oom_kills"],
        "unknown" if effect["throttled"] is None else f"{effect['throttled']:.1%}",
    ]
    return f"| {' | '.join(map(str, cells))} |"


def _usd(value: float | None) -> str:
    return "unknown" if value is None else f"{Decimal(str(value)):,.2f}"
