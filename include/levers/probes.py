"""A gate with the measure of its figure, and the time that a measure looks at."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from include.levers.world import World
from include.rollout.gates import Figure, Gate
from include.rollout.lever import Json, Stage


@dataclass(frozen=True)
class GateWindow:
    """What a measure may look at: a stage, what ``apply`` returned for it, and seconds up to now.

    ``recent`` is at most the window that was asked for, ``whole`` the stage from its first write on: what was before
    is not the stage's doing, and would thin out what is.
    """

    stage: Stage
    recent: float
    whole: float
    applied: Mapping[str, Json]

    @classmethod
    def of(cls, world: World, stage: Stage, seconds: float, applied: Mapping[str, Json]) -> GateWindow:
        """The window of ``seconds`` for a stage that ``apply`` began at ``started_at``."""
        whole = max(1.0, world.now() - float(applied["started_at"])) if "started_at" in applied else seconds
        return cls(stage, min(seconds, whole), whole, applied)


# The world is this lever's own, so its settings are typed in the measure: Any here.
Measure = Callable[[Any, GateWindow], Figure | None]


@dataclass(frozen=True)
class Probe:
    """A gate WITH its measure. A figure over a time span says with ``coverage`` how much of it has samples."""

    gate: Gate
    measure: Measure


def measured(
    world: World, probes: Sequence[Probe], stage: Stage, seconds: float, applied: Mapping[str, Json]
) -> dict[str, Figure | None]:
    """The figure of each gate of a stage. A gate of another release has no measure here: it is unknown."""
    window = GateWindow.of(world, stage, seconds, applied)
    measures = {probe.gate.name: probe.measure for probe in probes}
    names = [gate.name for gate in stage.gates]
    return {name: measures[name](world, window) if name in measures else None for name in names}


def at_once(gate: Gate, measure: Callable[[Any], Figure | None]) -> Probe:
    """A probe of the world at this moment, whatever the window."""
    return Probe(gate, lambda world, _: measure(world))


def over_recent(gate: Gate, measure: Callable[[Any, float], Figure | None]) -> Probe:
    """A probe that looks at the last seconds of the stage only, at most as many as the window has."""
    return Probe(gate, lambda world, window: measure(world, window.recent))


def over_stage(gate: Gate, measure: Callable[[Any, float], Figure | None]) -> Probe:
    """A probe that looks at the whole stage, so that what went wrong at its beginning counts too."""
    return Probe(gate, lambda world, window: measure(world, window.whole))
