"""The function at the edge as it stands, and the size that is to be: what a plan's facts are made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from include.levers import cloudfront
from include.levers.fields import Object
from include.levers.lambda_edge.associations import ASSOCIATIONS, event_of, shown, version_of
from include.levers.lambda_edge.choose import Aim, Choice, Limits, choose, event_refusal
from include.levers.lambda_edge.functions import alike, configuration, versions
from include.levers.lambda_edge.measured import History, history
from include.levers.lambda_edge.money import load_book
from include.levers.lambda_edge.settings import World
from include.prices import DAYS_PER_MONTH
from include.rollout.lever import Json, Refused

X86 = "x86_64"


@dataclass(frozen=True)
class Edge:
    """The distribution, the associations with the function by name, its versions, and the one that runs."""

    distribution: str
    associations: Mapping[str, str]
    every: tuple[Object, ...]
    current: Object

    def facts(self) -> dict[str, Json]:
        """What the snapshot keeps: nothing that moves by itself."""
        similar = {version["FunctionArn"]: version["MemorySize"] for version in alike(self.every, self.current)}
        return {
            "distribution": self.distribution,
            "associations": sorted(self.associations),
            "version": self.current["Version"],
            "arn": self.current["FunctionArn"],
            "memory_mb": self.current["MemorySize"],
            "alike": similar,
        }

    @property
    def events(self) -> list[str]:
        """The event types of the associations."""
        return sorted({event_of(name) for name in self.associations})


def all_associations(world: World) -> tuple[str, dict[str, str]]:
    """The distribution's id, and the ARN of every association of whichever function. Raises Refused without one."""
    found = cloudfront.distribution(world, world.estate.edge.cdn.alias)
    config, _ = cloudfront.DISTRIBUTIONS.read(world, found.id)
    return found.id, shown(config or {})


def look(world: World) -> Edge:
    """The function as CloudFront runs it. Raises Refused when it runs none of its versions, or several."""
    function = world.settings.edge_function
    distribution = cloudfront.distribution(world, world.estate.edge.cdn.alias).id
    associations = ASSOCIATIONS.read(world, f"{distribution} {function}")[0] or {}
    running = sorted({version_of(arn) for arn in associations.values()})
    if len(running) != 1:
        said = f"versions {', '.join(running)}" if running else "none of its versions"
        raise Refused(
            f"{world.place}: distribution {distribution} runs {said} of {function}; one must run: correct "
            "edge_function, or have every behaviour use the same version"
        )
    every = versions(world, function)
    current = next((version for version in every if version["Version"] == running[0]), None)
    if current is None:
        raise Refused(
            f"{world.place}: distribution {distribution} runs {next(iter(associations.values()))}, which Lambda does "
            "not have: see that the AWS connection is of the account that owns the function"
        )
    return Edge(distribution, associations, tuple(every), current)


def architecture(config: Mapping[str, Any]) -> str:
    """``x86_64`` or ``arm64``."""
    return str((config.get("Architectures") or [X86])[0])


def event_reason(world: World, events: Sequence[str]) -> str:
    """Why the events that the function runs on keep the size from being changed; empty when they don't."""
    if not world.settings.change_edge_memory:
        return ""
    found = configuration(world.aws, world.settings.edge_function)
    return event_refusal(events, found["MemorySize"] if found else 0)


def decide(world: World, edge: Edge) -> tuple[Choice, History]:
    """The size to take, and what it was chosen from; refused whatever was measured where the event type says so."""
    chosen = world.settings
    known = history(world, edge.every, edge.current, DAYS_PER_MONTH)
    refused = event_reason(world, edge.events)
    if refused or not chosen.change_edge_memory:
        return Choice(None, (), refused or "change_edge_memory is off: the size stays"), known
    limits = Limits(Decimal(str(chosen.function_p95_limit_ms)), chosen.duration_min_samples)
    rates = load_book().edge_rates(architecture(edge.current))
    return choose(known.sizes, Aim(chosen.memory_aim), limits, rates), known


def is_wanted(facts: Mapping[str, Json]) -> bool:
    """Whether a run looks after the size: another one was chosen, or versions of several sizes exist.

    Then a run before may have switched to the one that runs without having judged it: its gates are looked at again.
    """
    edge, wanted = facts["edge"], facts["wanted_mb"]
    return wanted is not None and {wanted, edge["memory_mb"], *edge["alike"].values()} != {wanted}


def target_of(facts: Mapping[str, Json]) -> str:
    """The ARN of the version that is to run, or what a plan says of one that is not published yet."""
    edge = facts["edge"]
    wanted = facts["wanted_mb"] or edge["memory_mb"]
    if wanted == edge["memory_mb"]:
        return str(edge["arn"])
    fitting = sorted(
        (arn for arn, size in edge["alike"].items() if size == wanted), key=lambda arn: int(version_of(arn))
    )
    return fitting[-1] if fitting else f"a new version at {wanted} MB"
