"""The cheapest nodes that hold the same pods: what a packer is measured against. Exact, by integer programming. Pure.

Pods are few distinct shapes, so a node is one of few patterns (so many pods of each shape), and a fleet is how many
nodes of each pattern stand in each domain and zone. Among equal prices fewer nodes are better.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from itertools import groupby, product

MOST_SHAPES = 6  # of one domain; more distinct shapes are merged: patterns grow with their product
NODE_WEIGHT = 1e-6  # USD an hour that a node more may cost: decides among equal prices alone
TIME_LIMIT = 5.0  # seconds of the solver
Cell = tuple[str, str]  # domain and zone
Counts = tuple[int, ...]  # pods of each shape


@dataclass(frozen=True, slots=True)
class Shape:
    """Equal pods of one workload: requests of one pod, and how many there are.

    ``domain``: the only one that they may stand in, None for any. ``zone_skew``: by how many the workload's pods in two
    zones may differ, None for any number; shapes of one workload share it.
    """

    workload: str
    cpu_millicores: int
    memory_bytes: int
    count: int
    domain: str | None = None
    zone_skew: int | None = None


@dataclass(frozen=True, slots=True)
class Offer:
    """A kind of node to be had: its price, and what it leaves for these pods once its DaemonSets run."""

    instance_type: str
    domain: str
    zone: str
    cpu_millicores: int
    memory_bytes: int
    usd_hour: Decimal

    def holds(self, shapes: Sequence[Shape], counts: Counts) -> bool:
        """Whether so many pods of each shape fit."""
        pairs = list(zip(shapes, counts, strict=True))
        cpu = sum(shape.cpu_millicores * count for shape, count in pairs)
        return cpu <= self.cpu_millicores and sum(s.memory_bytes * n for s, n in pairs) <= self.memory_bytes


@dataclass(frozen=True, slots=True)
class Node:
    """One node of a packing, and the most pods of each shape that its place there allows."""

    instance_type: str
    domain: str
    zone: str
    usd_hour: Decimal
    room: Counts


@dataclass(frozen=True, slots=True)
class Packing:
    """The cheapest nodes. ``usd_hour`` is their price, or what it can't be below where ``exact`` is False: the solver
    has run out of time then, and ``nodes`` are the best that it knew.
    """

    usd_hour: Decimal
    nodes: tuple[Node, ...]
    exact: bool


def optimum(shapes: Sequence[Shape], offers: Sequence[Offer], seconds: float = TIME_LIMIT) -> Packing | None:
    """The cheapest ``offers`` that hold ``shapes``; None when none do, or none is found in ``seconds``."""
    wanted = merged([shape for shape in shapes if shape.count])
    if not wanted:
        return Packing(Decimal(0), (), exact=True)
    cells = {cell: choices for cell, choices in _choices(wanted, offers).items() if choices}
    return _solve(wanted, cells, seconds) if cells else None


def merged(shapes: Sequence[Shape]) -> list[Shape]:
    """The shapes, equal ones as one; where they are still too many, each workload's as one of its largest requests."""
    found = _grouped(shapes, lambda s: (s.domain or "", s.workload, s.cpu_millicores, s.memory_bytes))
    most = max(Counter(shape.domain for shape in found).values(), default=0)
    return found if most <= MOST_SHAPES else _grouped(shapes, lambda s: (s.domain or "", s.workload))


def _grouped(shapes: Sequence[Shape], key: Callable[[Shape], tuple[object, ...]]) -> list[Shape]:
    made = []
    for _, group in groupby(sorted(shapes, key=key), key=key):
        same = list(group)
        cpu, memory = max(s.cpu_millicores for s in same), max(s.memory_bytes for s in same)
        made.append(replace(same[0], cpu_millicores=cpu, memory_bytes=memory, count=sum(s.count for s in same)))
    return made


# Patterns --------------------------------------------------------------------------------------------------------


def patterns(shapes: Sequence[Shape], offer: Offer) -> Iterator[Counts]:
    """Every way to fill the node so that no pod more fits."""
    for counts in _fillings(shapes, offer.cpu_millicores, offer.memory_bytes):
        more = (tuple(n + (i == at) for i, n in enumerate(counts)) for at in range(len(shapes)))
        full = all(not offer.holds(shapes, m) or any(n > s.count for n, s in zip(m, shapes, strict=True)) for m in more)
        if full and any(counts):
            yield counts


def _fillings(shapes: Sequence[Shape], cpu: int, memory: int) -> Iterator[Counts]:
    if not shapes:
        yield ()
        return
    first, *rest = shapes
    for count in range(first.count + 1):
        cpu_left, memory_left = cpu - count * first.cpu_millicores, memory - count * first.memory_bytes
        if cpu_left < 0 or memory_left < 0:
            return
        for others in _fillings(rest, cpu_left, memory_left):
            yield (count, *others)


def _choices(shapes: Sequence[Shape], offers: Sequence[Offer]) -> dict[Cell, list[Node]]:
    """What each domain and zone offers: the cheapest type for each pattern, without what another one is better at."""
    found = {}
    for cell, mine in _by_cell(offers).items():
        here = [shape if shape.domain in (None, cell[0]) else replace(shape, count=0) for shape in shapes]
        by_size = {(o.cpu_millicores, o.memory_bytes): o for o in mine}
        known = sorted({counts for offer in by_size.values() for counts in patterns(here, offer)})
        found[cell] = _useful(shapes, known, mine)
    return found


def _by_cell(offers: Sequence[Offer]) -> dict[Cell, list[Offer]]:
    found: dict[Cell, list[Offer]] = {}
    for offer in offers:
        found.setdefault((offer.domain, offer.zone), []).append(offer)
    return found


def _useful(shapes: Sequence[Shape], known: Sequence[Counts], offers: Sequence[Offer]) -> list[Node]:
    nodes = []
    for counts in known:
        able = [offer for offer in offers if offer.holds(shapes, counts)]
        if able:
            best = min(able, key=lambda offer: (offer.usd_hour, offer.instance_type))
            nodes.append(Node(best.instance_type, best.domain, best.zone, best.usd_hour, counts))
    return [node for node in nodes if not any(_better(other, node) for other in nodes if other is not node)]


def _better(one: Node, other: Node) -> bool:
    """Whether one holds all that the other holds, and more, at no higher price."""
    holds = all(a >= b for a, b in zip(one.room, other.room, strict=True))
    return holds and one.room != other.room and one.usd_hour <= other.usd_hour


# The program -----------------------------------------------------------------------------------------------------


class _Program:
    """Variables by name and rows ``least <= sum(factor * variable) <= most``, as HiGHS takes them."""

    def __init__(self) -> None:
        self.index: dict[object, int] = {}
        self.costs: list[float] = []
        self.rows: list[tuple[dict[int, float], float, float]] = []

    def variable(self, name: object, cost: float = 0.0) -> int:
        """The number of a variable, a new one with its cost."""
        if name not in self.index:
            self.index[name] = len(self.costs)
            self.costs.append(cost)
        return self.index[name]

    def row(self, terms: Mapping[object, float], least: float, most: float) -> None:
        """One condition."""
        self.rows.append(({self.variable(name): factor for name, factor in terms.items()}, least, most))


def _solve(shapes: Sequence[Shape], cells: Mapping[Cell, Sequence[Node]], seconds: float) -> Packing | None:
    import numpy as np
    from scipy.optimize import Bounds, LinearConstraint, milp
    from scipy.sparse import coo_array

    program = _program(shapes, cells)
    entries = [(n, at, factor) for n, (terms, *_) in enumerate(program.rows) for at, factor in terms.items()]
    at_rows, columns, factors = zip(*entries, strict=True)
    size = (len(program.rows), len(program.costs))
    rows = LinearConstraint(
        coo_array((factors, (at_rows, columns)), shape=size).tocsc(),
        np.array([least for _, least, _ in program.rows]),
        np.array([most for *_, most in program.rows]),
    )
    options = {"time_limit": seconds, "mip_rel_gap": 0.0}
    found = milp(
        program.costs, integrality=np.ones(size[1]), bounds=Bounds(0, np.inf), constraints=rows, options=options
    )
    if found.x is None:
        return None
    counts = {name: round(found.x[at]) for name, at in program.index.items() if isinstance(name, Node)}
    nodes = tuple(sorted((n for n, times in counts.items() for _ in range(times)), key=_order))
    price = sum((node.usd_hour for node in nodes), Decimal(0))
    if found.status == 0:
        return Packing(price, nodes, exact=True)
    bound = Decimal(repr(max(0.0, float(found.mip_dual_bound or 0.0) - NODE_WEIGHT * len(nodes))))
    return Packing(min(price, bound), nodes, exact=False)


def _order(node: Node) -> tuple[str, str, str, Counts]:
    return node.domain, node.zone, node.instance_type, node.room


def _program(shapes: Sequence[Shape], cells: Mapping[Cell, Sequence[Node]]) -> _Program:
    """How many nodes of each kind (Node), and how many pods of each shape in each cell (shape's number and cell)."""
    program, endless = _Program(), float("inf")
    for cell, nodes in cells.items():
        for node in nodes:
            program.variable(node, float(node.usd_hour) + NODE_WEIGHT)
        for number in range(len(shapes)):
            room: dict[object, float] = {node: node.room[number] for node in nodes if node.room[number]}
            program.row({**room, (number, cell): -1.0}, 0.0, endless)
    for number, shape in enumerate(shapes):
        program.row({(number, cell): 1.0 for cell in cells}, shape.count, shape.count)
    for workload in sorted({shape.workload for shape in shapes}):
        _spread(program, shapes, workload, cells)
    return program


def _spread(program: _Program, shapes: Sequence[Shape], workload: str, cells: Mapping[Cell, Sequence[Node]]) -> None:
    """A workload's pods in each zone are at least the fewest of a zone, and at most the skew more."""
    mine = [number for number, shape in enumerate(shapes) if shape.workload == workload]
    skew = shapes[mine[0]].zone_skew
    for zone in sorted({zone for _, zone in cells}) if skew is not None else ():
        here = [cell for cell in cells if cell[1] == zone]
        pods: dict[object, float] = dict.fromkeys(product(mine, here), 1.0)
        program.row({**pods, ("fewest", workload): -1.0}, 0.0, float(skew or 0))
