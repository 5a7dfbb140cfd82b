"""The week planned: what every component costs before and after in both books, and which lever saves how much of it.

The ``aws`` book prices the simulated fleet and the edge's usage at list prices. The ``plan`` book has the plan's own
lines; what it states for the clusters' four levers together is shared out as the simulation shares out theirs.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

import numpy as np
import numpy.typing as npt

from include.estate import Estate
from include.planner import edge, plan_book, resampling, shapley, simulation
from include.planner import traffic as demand
from include.planner.edge import EdgePart
from include.planner.figures import AWS, PLAN, BookPlan, ComponentPlan, LeverPlan, LineCheck, WeekPlan, cents
from include.planner.fleet import PLAYERS
from include.planner.market import ELSEWHERE
from include.planner.order import CENTRAL_DC, COMPONENTS, GAMES, HOME, ROUTING, WEEK
from include.planner.resampling import Months, percentiles
from include.planner.simulation import STOPS, World
from include.planner.traffic import Traffic
from include.planner.usage import load_usage
from include.prices import AwsBook, PlanBook, load_aws_book

Floats = npt.NDArray[np.float64]
SEED = 14
PLAN_PLAYERS = tuple(name for name in PLAYERS if name != ROUTING)  # routing's 120 is not in the plan's 2,970


@dataclass(frozen=True)
class Share:
    """What one lever saves of one component, USD a month; ``months`` the same by resampled month, None without any."""

    lever: str
    component: str
    in_order: float
    shapley: float
    months: Floats | None = None


def plan(estate: Estate, *, traffic: Traffic | None = None, resamples: int = 0, seed: int = SEED) -> WeekPlan:
    """The week of an estate. ``traffic`` is its own shape for 30 days where none is given.

    Without ``resamples`` no percentiles are known. Raises TooFewInstanceTypesError and PriceBookError as include/prices
    does, TrafficError for a trace that can't be used.
    """
    began = time.process_time()
    used = demand.planned(estate) if traffic is None else traffic
    book, usage = load_aws_book(estate), load_usage()
    world = World(estate, used, book, usage)
    steps = world.simulate(STOPS)
    outside = edge.parts(estate, usage, world.routed_qps())
    seconds = time.process_time() - began
    found = world.simulate(range(1 << len(PLAYERS)))
    months = _months(estate, used, traffic is None, resamples, seed) if resamples else None
    limits = _limits(world, outside)
    books = {
        PLAN: _plan_book(simulation.game(found), months, limits),
        AWS: _aws_book(found.month(), outside, months, limits, f"{book.name} ({book.date})", assumptions(world, book)),
    }
    hours = dict(zip(("before", *PLAYERS), map(float, steps.node_hours()), strict=True))
    lines = tuple(line for texts in simulation.binding(world).values() for line in texts)
    return WeekPlan(books, seconds, estate.demand_scale(), hours, lines)


def _months(estate: Estate, used: Traffic, is_planned: bool, count: int, seed: int) -> Months:
    """Resampled months: of the trace's own days, or of the planned ones as they might scatter."""
    days = used.varied(seed) if is_planned else used
    world = World(estate, days, load_aws_book(estate), load_usage())
    return resampling.resample(world.simulate(range(1 << len(PLAYERS))), days, count, seed)


def _limits(world: World, outside: Sequence[EdgePart]) -> Mapping[str, tuple[str, ...]]:
    found = simulation.binding(world)
    for part in outside:
        found |= part.binding or {}
    return found


# The aws book --------------------------------------------------------------------------------------------------------


def _aws_book(
    month: Floats,
    outside: Sequence[EdgePart],
    months: Months | None,
    limits: Mapping[str, tuple[str, ...]],
    title: str,
    assumptions: tuple[str, ...],
) -> BookPlan:
    saved, before = month[0] - month, {CENTRAL_DC: float(month[0])}
    rows = zip(PLAYERS, shapley.in_order(saved), shapley.parts(saved), _columns(months), strict=True)
    shares = [Share(name, CENTRAL_DC, float(step), float(part), column) for name, step, part, column in rows]
    for part in outside:
        before[part.component] = float(part.before_usd)
        grown = months.requests if months and part.grows else np.ones_like(months.requests) if months else None
        shares += [
            Share(name, part.component, float(usd), float(usd), None if grown is None else float(usd) * grown)
            for name, usd in part.saved.items()
        ]
    notes = (*assumptions, "usage outside the clusters: include/planner/usage.yaml", "a node's disk is not priced")
    return _book(AWS, title, before, shares, limits, notes)


def assumptions(world: World, book: AwsBook) -> tuple[str, ...]:
    """Those of the price book, and of regions whose spot prices it doesn't have."""
    lacking = [name for name, market in zip(world.traffic.regions, world.markets, strict=True) if market.is_assumed]
    if not lacking:
        return book.assumptions
    return (
        *book.assumptions,
        f"no spot prices of {', '.join(lacking)} are known: the savings of {ELSEWHERE} are assumed",
    )


def _columns(months: Months | None) -> list[Floats | None]:
    return [None] * len(PLAYERS) if months is None else list(months.parts.T)


# The plan's book -----------------------------------------------------------------------------------------------------


def _plan_book(saved: Floats, months: Months | None, limits: Mapping[str, tuple[str, ...]]) -> BookPlan:
    book = PlanBook()
    stated = {one.name: float(one.week_13 - one.week_14) for one in book.components}
    shares = [*_stated_central(saved, months, stated[CENTRAL_DC])]
    for component, levers in GAMES.items():
        own = [name for name in levers if name != ROUTING]
        if component != CENTRAL_DC and own:
            (lever,), usd = own, stated[component]
            shares.append(
                Share(lever, component, usd, usd, None if months is None else np.full_like(months.requests, usd))
            )
    before = {one.name: float(one.week_13) for one in book.components}
    notes = (
        *book.assumptions,
        "the 750 of the clusters' four levers is shared out as the simulation shares out theirs",
        "request routing's 120 a month is not part of the plan's 2,970",
    )
    return _book(PLAN, f"{book.name} ({book.date})", before, shares, limits, notes, tuple(plan_book.lines(book)))


def _stated_central(saved: Floats, months: Months | None, stated: float) -> list[Share]:
    """The stated saving of the four levers, in the simulation's proportions without routing."""
    out = PLAYERS.index(ROUTING)
    masks = [mask for mask in range(len(saved)) if not mask >> out & 1]
    values, whole = saved[masks], float(saved[masks[-1]])
    count = len(PLAN_PLAYERS)
    if whole <= 0:  # nothing to go by: in equal parts
        steps = parts = np.full(count, stated / count)
    else:
        steps, parts = (found(values) * stated / whole for found in (shapley.in_order, shapley.parts))
    luck = np.ones(0) if months is None else months.parts.sum(axis=1) / max(float(saved[-1]), 1e-9)
    return [
        Share(name, CENTRAL_DC, float(step), float(part), None if months is None else float(part) * luck)
        for name, step, part in zip(PLAN_PLAYERS, steps, parts, strict=True)
    ]


# Either book ---------------------------------------------------------------------------------------------------------


def _book(
    name: str,
    title: str,
    before: Mapping[str, float],
    shares: Sequence[Share],
    limits: Mapping[str, tuple[str, ...]],
    assumptions: tuple[str, ...],
    lines: tuple[LineCheck, ...] = (),
) -> BookPlan:
    components, exact = [], dict[tuple[str, str], tuple[Decimal, Decimal]]()
    for component in COMPONENTS:
        mine = [one for one in shares if one.component == component]
        start = cents(Decimal(repr(before[component])))
        saved = cents(Decimal(repr(sum(one.in_order for one in mine))))
        components.append(ComponentPlan(component, start, start - saved))
        steps, parts = ([getattr(one, what) for one in mine] for what in ("in_order", "shapley"))
        pairs = zip(mine, shapley.apportioned(steps, saved), shapley.apportioned(parts, saved), strict=True)
        exact |= {(one.lever, component): (step, part) for one, step, part in pairs}
    levers = tuple(_lever(lever, shares, exact, limits) for lever in WEEK)
    p10, p50, p90 = _percentiles(shares)
    return BookPlan(name, title, tuple(components), levers, p50, p90, p10, lines, assumptions)


def _lever(
    lever: str,
    shares: Sequence[Share],
    exact: Mapping[tuple[str, str], tuple[Decimal, Decimal]],
    limits: Mapping[str, tuple[str, ...]],
) -> LeverPlan:
    mine = [one for one in shares if one.lever == lever]
    pairs = [exact[lever, one.component] for one in mine]
    step, part = (sum((pair[place] for pair in pairs), Decimal(0)) for place in (0, 1))
    p10, p50, p90 = _percentiles(mine) if mine else _percentiles_of_nothing(shares)
    return LeverPlan(lever, HOME[lever], step, part, p50, p90, p10, limits.get(lever, ()))


Percentiles = tuple[Decimal | None, Decimal | None, Decimal | None]


def _percentiles(shares: Sequence[Share]) -> Percentiles:
    columns = [one.months for one in shares if one.months is not None]
    if not columns:
        return None, None, None
    low, middle, high = (cents(Decimal(repr(value))) for value in percentiles(np.sum(columns, axis=0)))
    return low, middle, high


def _percentiles_of_nothing(shares: Sequence[Share]) -> Percentiles:
    """A lever that is worth nothing in a book is so in every month."""
    zero = Decimal("0.00") if any(one.months is not None for one in shares) else None
    return zero, zero, zero
