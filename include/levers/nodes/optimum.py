"""The cheapest nodes that hold the same pods: what a packer is measured against. Exact, by integer programming. Pure.

Pods are few distinct shapes, so a node is one of few patterns (so many pods of each shape), and a fleet is how many
nodes of each pattern stand in each domain and zone. Where there are too many patterns to list, a pod may be cut between
the nodes of its domain and zone: what that costs, no packing is below. Among equal prices fewer nodes are better.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from itertools import groupby, product
from math import prod

MOST_SHAPES = 6  # of one domain; more distinct shapes are merged: patterns grow with their product
MOST_FILLINGS = 50_000  # ways to fill nodes that are listed; a second or so
NODE_WEIGHT = 1e-6  # USD an hour that a node more may cost: decides among equal prices alone
MIB = 2**20
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
    """The cheapest nodes. ``usd_hour`` is their price, or what it can't be below where ``exact`` is False.

    Then the solver has run out of time, and ``nodes`` are the best that it knew; or pods were cut, and ``nodes`` are
    those that would hold them.
    """

    usd_hour: Decimal
    nodes: tuple[Node, ...]
    exact: bool


def optimum(shapes: Sequence[Shape], offers: Sequence[Offer], seconds: float = TIME_LIMIT) -> Packing | None:
    """The cheapest ``offers`` that hold ``shapes``; None when none do, or none is found in ``seconds``."""
    wanted = merged([shape for shape in shapes if shape.count])
    if not wanted:
        return Packing(Decimal(0), (), exact=True)
    if _most_fillings(wanted, offers) > MOST_FILLINGS:
        return _with_pods_cut(wanted, offers, seconds)
    cells = {cell: choices for cell, choices in _choices(wanted, offers).items() if choices}
    one_of = [[float(n == number) for n in range(len(wanted))] for number in range(len(wanted))]
    return _solve(wanted, cells, one_of, seconds) if cells else None


def _with_pods_cut(shapes: Sequence[Shape], offers: Sequence[Offer], seconds: float) -> Packing | None:
    """As if a pod could stand on several nodes of a domain and zone; None where one is larger than every node."""
    if not all(any(_may(s, (o.domain, o.zone)) and o.holds([s], (1,)) for o in offers) for s in shapes):
        return None
    cells: dict[Cell, list[Node]] = {}
    for cell, mine in _by_cell(offers).items():
        sizes = [(o, (o.cpu_millicores, o.memory_bytes // MIB)) for o in mine]
        cells[cell] = _not_undercut([Node(o.instance_type, *cell, o.usd_hour, size) for o, size in sizes])
    asked = [[float(s.cpu_millicores) for s in shapes], [s.memory_bytes / MIB for s in shapes]]
    found = _solve(shapes, cells, asked, seconds)
    return found and Packing(found.usd_hour, tuple(replace(node, room=()) for node in found.nodes), exact=False)


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


def _may(shape: Shape, cell: Cell) -> bool:
    """Whether its pods may stand in the domain."""
    return shape.domain in (None, cell[0])


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


def _most_fillings(shapes: Sequence[Shape], offers: Sequence[Offer]) -> int:
    """How many ways there may be to fill one node of each size in each domain and zone."""
    total = 0
    for cell, mine in _by_cell(offers).items():
        here = [shape for shape in shapes if _may(shape, cell)]
        total += sum(prod(_most_of(shape, size) + 1 for shape in here) for size in {_size(o) for o in mine})
    return total


def _most_of(shape: Shape, size: tuple[int, int]) -> int:
    asked = shape.cpu_millicores, shape.memory_bytes
    return min(shape.count, *(has // need for has, need in zip(size, asked, strict=True) if need > 0))


def _size(offer: Offer) -> tuple[int, int]:
    return offer.cpu_millicores, offer.memory_bytes


def _choices(shapes: Sequence[Shape], offers: Sequence[Offer]) -> dict[Cell, list[Node]]:
    """What each domain and zone offers: the cheapest type for each pattern, without what another one is better at."""
    found = {}
    for cell, mine in _by_cell(offers).items():
        here = [shape if _may(shape, cell) else replace(shape, count=0) for shape in shapes]
        by_size = {_size(offer): offer for offer in mine}
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
    return _not_undercut(nodes)


def _not_undercut(nodes: Sequence[Node]) -> list[Node]:
    return [node for node in nodes if not any(_better(other, node) for other in nodes if other is not node)]


def _better(one: Node, other: Node) -> bool:
    """Whether one has room for all that the other has, and more, at no higher price."""
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


def _solve(
    shapes: Sequence[Shape], cells: Mapping[Cell, Sequence[Node]], asked: Sequence[Sequence[float]], seconds: float
) -> Packing | None:
    import numpy as np
    from scipy.optimize import Bounds, LinearConstraint, milp
    from scipy.sparse import coo_array

    program = _program(shapes, cells, asked)
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


def _program(
    shapes: Sequence[Shape], cells: Mapping[Cell, Sequence[Node]], asked: Sequence[Sequence[float]]
) -> _Program:
    """How many nodes of each kind (Node), and how many pods of each shape in each cell (shape's number and cell).

    ``asked``: of each thing that a node has ``room`` for, what a pod of each shape takes.
    """
    program, endless = _Program(), float("inf")
    for cell, nodes in cells.items():
        for node in nodes:
            program.variable(node, float(node.usd_hour) + NODE_WEIGHT)
        here = [number for number, shape in enumerate(shapes) if _may(shape, cell)]
        for at, each in enumerate(asked):
            room: dict[object, float] = {node: node.room[at] for node in nodes if node.room[at]}
            taken: dict[object, float] = {(number, cell): -each[number] for number in here if each[number]}
            if taken:
                program.row({**room, **taken}, 0.0, endless)
    for number, shape in enumerate(shapes):
        program.row({(number, cell): 1.0 for cell in cells if _may(shape, cell)}, shape.count, shape.count)
    for workload in sorted({shape.workload for shape in shapes}):
        _spread(program, shapes, workload, cells)
    return program


def _spread(program: _Program, shapes: Sequence[Shape], workload: str, cells: Mapping[Cell, Sequence[Node]]) -> None:
    """A workload's pods in each zone are at least the fewest of a zone, and at most the skew more."""
    mine = [number for number, shape in enumerate(shapes) if shape.workload == workload]
    skew = shapes[mine[0]].zone_skew
    for zone in sorted({zone for _, zone in cells}) if skew is not None else ():
        here = [cell for cell in cells if cell[1] == zone]
        places = (place for place in product(mine, here) if _may(shapes[place[0]], place[1]))
        pods: dict[object, float] = dict.fromkeys(places, 1.0)
        program.row({**pods, ("fewest", workload): -1.0}, 0.0, float(skew or 0))
