"""Whether a recommendation may be acted on: it is there, it is fresh, and it is what we get from the same history."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING

from include.clients.kubernetes import LEASE
from include.levers.nodes.requests import Requests, show_cpu, show_memory
from include.levers.owned import read_key
from include.levers.pods import unix
from include.levers.right_sizing.sizes import Recommended, recommended, requests_of, whole_mib
from include.levers.right_sizing.survey import Sized, from_text
from include.levers.right_sizing.wanted import OFF, PREDICTOR, World, vpa_key
from include.levers.world import Object, condition, readable, standing
from include.rollout.lever import Json, Refused

if TYPE_CHECKING:
    from include.levers.right_sizing.history import ByContainer
    from include.levers.right_sizing.recommendation import Recommendation
    from include.levers.right_sizing.recommendation import Requests as Amounts

PROVIDED = "RecommendationProvided"
# Their leases. The admission controller has one always, the others where leader election is on (--leader-elect).
RECOMMENDER, UPDATER, ADMISSION = "vpa-recommender-lease", "vpa-updater", "vpa-admission-controller"
ALIVE_SECONDS = 60.0  # a lease that is older was given up


def show_mib(value: Decimal | None) -> str:
    """Bytes as whole MiB: a recommendation is any number of them."""
    return show_memory(None if value is None else whole_mib(value))


SHOWN: Mapping[str, Callable[[Decimal | None], str]] = {"cpu": show_cpu, "memory": show_mib}


# Our own figure --------------------------------------------------------------------------------------------------


def use_of(world: World, names: Sequence[str]) -> dict[str, ByContainer]:
    """The use of the Deployments' containers, read as the recommender has read it. Raises Refused without it."""
    from include.levers.right_sizing.history import HistoryError, Reading, read_use

    settings = world.settings
    reading = Reading(
        resolution=settings.history_resolution_seconds,
        live_since=recommender_since(world),
        live_step=settings.recommender_interval_seconds,
    )
    try:
        return read_use(world.prometheus, world.estate, world.target.region, names, world.now(), reading)
    except HistoryError as error:
        raise Refused(f"{world.place}: {error}") from error


def twin(world: World, use: ByContainer, container: str) -> Recommendation:
    """What the recommender should recommend for a container. Raises Refused without any use of it."""
    from include.levers.right_sizing.recommendation import NoUseError, recommend

    try:
        return recommend(use.get(container, ()), world.now())
    except NoUseError as error:
        raise Refused(f"{world.place}: container {container}: {error}") from error


def thin(world: World, use: ByContainer, container: str) -> str:
    """The days without a history of a container, as a sentence's part; empty when there is enough."""
    from include.levers.right_sizing.recommendation import missing_days

    days = missing_days(use.get(container, ()), world.settings.history_days, world.now())
    return ", ".join(day.isoformat() for day in days)


def own_figure(world: World, use: ByContainer, container: str) -> dict[str, Decimal]:
    """The twin's target without bounds, in base units."""
    return in_cores_and_bytes(twin(world, use, container).uncapped)


def in_cores_and_bytes(own: Amounts) -> dict[str, Decimal]:
    """What the twin says, in cores and bytes."""
    return {"cpu": Decimal(own.cpu_millicores) / 1000, "memory": Decimal(own.memory_bytes)}


# The recommendation ----------------------------------------------------------------------------------------------


def vpa_of(world: World, name: str) -> Object | None:
    """The live VerticalPodAutoscaler of a Deployment."""
    return read_key(world, vpa_key(world.estate, name))


def recommended_for(world: World, name: str, container: str) -> Recommended | None:
    """What a Deployment's VPA recommends for its container, within the container's limits; None while it does not."""
    vpa, deployment = vpa_of(world, name), standing(world, [name]).get(name)
    if vpa is None or deployment is None or condition(vpa, PROVIDED) != "True":
        return None
    found = recommended(vpa, container)
    limits = requests_of(deployment["spec"]["template"]["spec"], container, "limits")
    return None if found is None else found.capped(limits)


def without_recommendation(world: World, sized: Mapping[str, Json]) -> list[str]:
    """Deployments whose VPA has none, a line each, with what VPA says of it."""
    missing = [name for name, one in sized.items() if recommended_for(world, name, one["container"]) is None]
    return [f"VPA {name} has no recommendation{_message(vpa_of(world, name))}{HINT}" for name in missing]


HINT = ": is vpa-recommender running, and does metrics-server know its pods (kubectl top pods)?"


def _message(vpa: Object | None) -> str:
    conditions = (vpa or {}).get("status", {}).get("conditions") or []
    told = [f"{c['type']} {c.get('message', '')}".strip() for c in conditions if c["status"] == "True"]
    return f" ({'; '.join(told)})" if told else ""


def apart(one: Requests, other: Requests) -> float:
    """The largest difference of two recommendations, as a share of the larger amount; none within one bucket.

    A sample that one side has seen and the other not yet moves a percentile to the next bucket of the histogram.
    """
    from include.levers.right_sizing.recommendation import within_one_bucket

    shares = (
        Decimal(0) if within_one_bucket(name, one[name], other[name])
        else abs(one[name] - other[name]) / max(one[name], other[name]) for name in one
    )  # fmt: skip
    return float(max(shares))


def check_actionable(world: World, sized: Mapping[str, Json]) -> list[str]:
    """Refuse to act on recommendations that are missing, stale, starved or not ours; returns what is worth a note.

    ``sized`` are the Deployments that a stage acts on, as a plan keeps them.
    """
    refuse(world, stale(world))
    refuse(world, without_recommendation(world, sized))
    use = {name: one for names in _apart_from_predictor(sized) for name, one in use_of(world, names).items()}
    problems: list[str] = []
    notes: list[str] = []
    for name, one in sized.items():
        problems += _problems(world, name, one, use[name])
        notes += at_bounds(world, name, one)
    refuse(world, problems)
    return notes


def refuse(world: World, problems: Sequence[str]) -> None:
    """Raise Refused with all of them, if there are any."""
    if problems:
        raise Refused(f"{world.place}: {'; '.join(problems)}")


def _apart_from_predictor(sized: Iterable[str]) -> list[list[str]]:
    ours = [name for name in sized if name != PREDICTOR]
    return [names for names in (ours, [PREDICTOR] if PREDICTOR in sized else []) if names]


def _problems(world: World, name: str, one: Mapping[str, Json], use: ByContainer) -> list[str]:
    container, found = one["container"], recommended_for(world, name, one["container"])
    if days := thin(world, use, container):
        return [f"{name}: its use is not known for {days}: {THIN}"]
    assert found is not None
    known = twin(world, use, container)
    own, limit = in_cores_and_bytes(known.uncapped), world.settings.agree_within
    lines = [
        f"{name}: container {container}: VPA recommends {resource} {SHOWN[resource](found.uncapped[resource])}, our "
        f"own figure from the same history is {SHOWN[resource](own[resource])}, more than {limit:.0%} apart: {DISAGREE}"
        for resource in own
        if apart({resource: found.uncapped[resource]}, {resource: own[resource]}) > limit
    ]
    return [*lines, *unread(world, name, one, known), *starved(world, name, one, found.target["memory"])]


THIN = "wait until these days have passed, have Prometheus keep more, or lower history_days"
DISAGREE = (
    "see that the recommender reads this Prometheus (--storage=prometheus) and restart it, and that "
    "recommender_interval_seconds and history_resolution_seconds are its own"
)


UNREAD = (
    "restart it while Prometheus answers: it reads the history at its start alone (--storage=prometheus), and of pods "
    "alone whose kube_pod_labels have what the Deployment's selector asks for"
)
LEAST_KNOWN = 0.5  # of our own confidence: with a bucket of the histogram more, 7 days look like 5


def unread(world: World, name: str, one: Mapping[str, Json], own: Recommendation) -> list[str]:
    """That the recommender knows less of a Deployment than Prometheus, as its upper bounds show; one line or none.

    Its target does not show it: ten minutes of a quiet hour may give the same one as a week, and the next minutes
    another. The upper bound is widened by 1 + 1 / days of history. A bound that is capped shows nothing, so another
    resource's has to; where all are, the updater finds the same bounds with and without the history.
    """
    found = recommended_for(world, name, one["container"])
    least, most = from_text(one["floor"]), most_of(world, name, one["container"])
    limits = {n: max(least[n], value) for n, value in in_cores_and_bytes(own.upper_known_by(LEAST_KNOWN)).items()}
    shown = {n: value for n, value in limits.items() if value < most[n]}
    if found is None or not shown or any(found.upper[n] <= value for n, value in shown.items()):
        return []
    theirs, halved = (" and ".join(f"{n} {SHOWN[n](part[n])}" for n in shown) for part in (found.upper, shown))
    return [
        f"{name}: container {one['container']}: the recommender knows less than half of the {own.confidence:.1f} days "
        f"of samples in Prometheus: its upper bound is {theirs}, with half of them it would be {halved}: {UNREAD}"
    ]


def most_of(world: World, name: str, container: str) -> dict[str, Decimal]:
    """What a Deployment's container may be given at most: the estate's bound, or its limit."""
    bounds = from_text(world.estate.right_sizing.bounds_of(name).most.model_dump())
    spec = standing(world, [name])[name]["spec"]["template"]["spec"]
    limits = requests_of(spec, container, "limits")
    return {resource: min(bound, limits.get(resource, bound)) for resource, bound in bounds.items()}


def starved(world: World, name: str, one: Mapping[str, Json], recommended_bytes: Decimal | None = None) -> list[str]:
    """Memory at its bound, by VPA or by its own peak: nobody knows how much it would need."""
    most = most_of(world, name, one["container"])["memory"]
    if max(recommended_bytes or Decimal(0), from_text(one["floor"])["memory"]) < most:
        return []
    remedy = f"raise right_sizing.bounds.{name}.most.memory in estate.yaml and its limit, or give it more memory first"
    return [f"{name} needs memory {show_memory(most)} or more, the most that it may have: {remedy}"]


def at_bounds(world: World, name: str, one: Mapping[str, Json]) -> list[str]:
    """A recommendation at one of its bounds, in a line each: the bound decides, not the use."""
    found = recommended_for(world, name, one["container"])
    if found is None:
        return []
    least, most = from_text(one["floor"]), most_of(world, name, one["container"])
    return [
        f"{name}: {resource} is at its {which} {SHOWN[resource](bound[resource])}; by use alone it would be "
        f"{SHOWN[resource](found.uncapped[resource])}"
        for which, bound in (("floor", least), ("bound", most))
        for resource in found.target
        if found.target[resource] == bound[resource] and found.uncapped[resource] != bound[resource]
    ]


# Who is alive ----------------------------------------------------------------------------------------------------


def lease_of(world: World, program: str) -> Object | None:
    """The lease of one of VPA's programs; None where it has none, or its namespace can't be read."""
    found: Object | None = readable(lambda: world.cluster.get(LEASE, program, world.settings.vpa_namespace))
    return found


def silent_for(world: World, program: str) -> float | None:
    """Seconds since a program renewed its lease; None without a lease."""
    renewed = ((lease_of(world, program) or {}).get("spec") or {}).get("renewTime")
    return None if renewed is None else world.now() - unix(renewed)


def recommender_since(world: World) -> float | None:
    """When the recommender has begun to take its own samples (Unix seconds); None while that is not known."""
    taken = ((lease_of(world, RECOMMENDER) or {}).get("spec") or {}).get("acquireTime")
    return None if taken is None else min(unix(taken), world.now())


def stale(world: World) -> list[str]:
    """Programs of VPA that have given their lease up, a line each: what they said before is not fresh."""
    programs = (RECOMMENDER, UPDATER, ADMISSION)
    silent = {program: seconds for program in programs if (seconds := silent_for(world, program)) is not None}
    space = world.settings.vpa_namespace
    return [
        f"{called(program)} has not renewed its lease in {space} for {seconds:.0f} s: start it again"
        for program, seconds in silent.items()
        if seconds > ALIVE_SECONDS
    ]


def called(program: str) -> str:
    """The program that holds a lease."""
    return program.removesuffix("-lease")


def sized_at_all(sized: Mapping[str, Json]) -> dict[str, Json]:
    """Those of a plan's Deployments whose VPA may do more than recommend."""
    return {name: one for name, one in sized.items() if one["highest"] != OFF}


def kept_of(found: Mapping[str, Sized]) -> dict[str, Json]:
    """What plan and snapshot keep of a survey."""
    return {name: one.kept() for name, one in found.items()}
