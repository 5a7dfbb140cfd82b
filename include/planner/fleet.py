"""The nodes of one region, minute by minute, under every coalition of the levers that act on them. Pure.

Without the pools (``spot_capacity``) the fixed node group stands as it is, whatever the other levers do. With them:

- Pods are spread evenly over the capacity domains; three of four are spot. The group's floor stays for system pods.
- Without consolidation Karpenter buys in batches, as a rolling update or an autoscaler brings pods: the cheapest nodes
  that hold a batch, filled by the next ones. It takes away empty nodes only, and pods that go leave the fullest node
  first. So a domain has at most as many nodes as pods and never fewer than hold them; in between it keeps what it has.
- With consolidation a domain has the cheapest nodes that hold its pods, and all domains together so many that each zone
  can have its share of a workload's pods (a wish that Karpenter keeps as long as it can).
- What Karpenter buys costs ``expected_packing`` times the cheapest, the lever's own setting.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from include.estate import Estate
from include.levers.consolidation.settings import ConsolidationSettings
from include.levers.spot_capacity.settings import step_domains
from include.planner import replicas as scaling
from include.planner import sizes as sizing
from include.planner.cover import Cover, Kind, cover
from include.planner.market import Floor, Market
from include.planner.order import CENTRAL_DC, GAMES, PACKING, ROUTING, SCALING, SIZING, SPOT
from include.planner.sizes import Size

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
PLAYERS = GAMES[CENTRAL_DC]
EXPECTED = float(ConsolidationSettings.model_fields["expected_packing"].default)
# One interrupted node: both run for the notice, and its pool is taken for a day, until the next look for a better one.
NOTICE_HOURS, TAKEN_HOURS = 2 / 60, 24.0
HOURS_MONTH = 729.6
SURGE = 0.25  # of a Deployment's replicas come at once in a rolling update


@dataclass(frozen=True)
class Minutes:
    """A region in each minute, [minutes]: nodes, USD an hour, and interruptions of its nodes a month.

    ``risk`` is what of the dollars interruptions are expected to cost.
    """

    nodes: Floats
    usd_hour: Floats
    risk: Floats
    interruptions: Floats

    def of_days(self, minutes: int = 1440) -> Minutes:
        """Means of each day, [days]."""
        parts = (self.nodes, self.usd_hour, self.risk, self.interruptions)
        return Minutes(*(part.reshape(-1, minutes).mean(axis=1) for part in parts))


@dataclass(frozen=True)
class Load:
    """What reaches a region's pods, [workloads, minutes] in requests a second."""

    qps: Floats
    start: tuple[int, ...]


def load_of(estate: Estate, qps: Floats, routed: float) -> Load:
    """A region's requests ([minutes]) by workload, as its replicas share them; ``routed`` of one workload's go away."""
    start = [workload.replicas for workload in estate.workloads.values()]
    shares = np.array([count / sum(start) for count in start])
    shares[list(estate.workloads).index(estate.edge.routing.workload)] *= 1 - routed
    return Load(shares[:, None] * qps, tuple(start))


class Region:
    """One region's minutes under any coalition of PLAYERS; what coalitions have in common is computed once."""

    def __init__(self, estate: Estate, market: Market, qps: Floats, routed: float) -> None:
        self.estate, self.market, self.qps, self.routed = estate, market, qps, routed
        self.domains = estate.spot.domains
        self.spot_domains = step_domains(estate.spot.steps_percent, estate.spot.domains)[-1]
        self.load = cache(self._load)
        self.replicas = cache(self._replicas)
        self.sizes = cache(self._sizes)
        self.covers = cache(self._covers)
        self.states = cache(self._states)
        self.packed = cache(self._packed)
        self.bought = cache(self._bought)

    def minutes(self, levers: frozenset[str]) -> Minutes:
        """The region with these levers. Without scaling fewer requests change nothing: replicas are fixed."""
        if SPOT not in levers:
            return _fixed(self.market.fixed, self.qps.shape[-1])
        scaled, sized = SCALING in levers, SIZING in levers
        moved = ROUTING in levers and (scaled or (sized and PACKING in levers))
        return (self.packed if PACKING in levers else self.bought)(moved, scaled, sized)

    # What coalitions share ------------------------------------------------------------------------------------------

    def _load(self, moved: bool) -> Load:
        return load_of(self.estate, self.qps, self.routed if moved else 0.0)

    def _replicas(self, moved: bool, scaled: bool) -> Floats:
        load = self.load(moved)
        if scaled:
            return scaling.scaled(load.qps, scaling.policy_of(self.estate))
        return np.broadcast_to(np.array(load.start, float)[:, None], load.qps.shape)

    def _sizes(self, moved: bool, scaled: bool, sized: bool) -> tuple[Size, ...]:
        workloads = self.estate.workloads
        if not sized:
            return tuple(sizing.requested(workload) for workload in workloads.values())
        load, pods = self.load(moved), self.replicas(moved, scaled)
        found = zip(workloads, load.qps, pods, strict=True)
        return tuple(sizing.right_sized(self.estate, name, qps, count, scaled) for name, qps, count in found)

    def _states(self, moved: bool, scaled: bool) -> tuple[Ints, Ints]:
        """The distinct numbers of replicas, [states, workloads], and which of them each minute has."""
        pods = self.replicas(moved, scaled).astype(np.int64)
        keys = np.zeros(pods.shape[1], np.int64)
        for row in pods:
            keys = keys * (int(pods.max()) + 1) + row
        _, first, at = np.unique(keys, return_index=True, return_inverse=True)
        return pods[:, first].T, at.reshape(-1)

    def _covers(self, sizes: tuple[Size, ...], most: tuple[int, ...]) -> tuple[Cover, Cover]:
        return cover(self.market.spot, sizes, most), cover(self.market.on_demand, sizes, most)

    # Fleets ---------------------------------------------------------------------------------------------------------

    def _packed(self, moved: bool, scaled: bool, sized: bool) -> Minutes:
        """Each domain on its cheapest nodes; the floor right-sized."""
        sizes, (states, at) = self.sizes(moved, scaled, sized), self.states(moved, scaled)
        most = tuple(math.ceil(count / self.domains) for count in states.max(axis=0))
        table = np.array([self.packing(tuple(map(int, s)), self.covers(sizes, most)) for s in states])
        nodes, usd, risk, interruptions = table[at].T
        floor = self.market.small_floor
        return Minutes(nodes + floor.nodes, usd * EXPECTED + risk + floor.usd_hour, risk, interruptions)

    def packing(self, state: tuple[int, ...], covers: tuple[Cover, Cover]) -> tuple[float, float, float, float]:
        """Nodes, USD an hour, the risk and the interruptions of all domains for so many replicas of each workload."""
        parts = [
            _domain(covers[domain >= self.spot_domains], counts)
            for domain, counts in enumerate(spread(state, self.domains))
        ]
        nodes, usd = sum(one.nodes for one in parts), sum(one.usd for one in parts)
        wanted = self._least_nodes(state)
        for extra in sorted(one.split for one in parts if one.pods > 1):
            if nodes >= wanted:
                break
            nodes, usd = nodes + 1, usd + extra
        risk = sum(self._risk(one.interruptions, one.usd / max(one.nodes, 1)) for one in parts)
        return nodes, usd, risk, sum(one.interruptions for one in parts)

    def _least_nodes(self, state: tuple[int, ...]) -> int:
        """So many that every zone can have its share of each workload's pods."""
        zones = self.market.zones
        return math.ceil(self.domains / zones) * zones if max(state) > self.domains else 0

    def least_nodes_share(self, moved: bool) -> float:
        """The share of the minutes in which the zones' shares ask for more nodes than the domains have."""
        states, at = self.states(moved, True)
        asked = np.array([self._least_nodes(tuple(map(int, state))) > self.domains for state in states])
        return float(asked[at].mean())

    def _bought(self, moved: bool, scaled: bool, sized: bool) -> Minutes:
        """Nodes as they were bought, batch by batch; the floor as it is."""
        pods, sizes = self.replicas(moved, scaled), self.sizes(moved, scaled, sized)
        start = np.array(self.load(moved).start, float)
        first = start.sum() / self.domains / self._held(start, self.sizes(moved, scaled=False, sized=False), 0)[1]
        held = self._held(start, sizes, 0)[1]
        every = pods.sum(axis=0) / self.domains
        nodes = kept(every / held, np.maximum(every, 1.0), first)
        kinds = [self._held(start, sizes, place)[0] for place in (0, 1)]
        counts = (self.spot_domains, self.domains - self.spot_domains)
        usd = sum(count * kind.usd_hour for count, kind in zip(counts, kinds, strict=True)) * EXPECTED
        often = counts[0] * kinds[0].interruptions
        risk, floor = self._risk(often, kinds[0].usd_hour), self.market.floor
        dollars = nodes * (usd + risk) + floor.usd_hour
        return Minutes(nodes * self.domains + floor.nodes, dollars, nodes * risk, nodes * often)

    def _held(self, start: Floats, sizes: tuple[Size, ...], place: int) -> tuple[Kind, float]:
        """The kind of node that a batch is given (``place``: 0 spot, 1 on demand), and how many pods it holds."""
        kinds = (self.market.spot, self.market.on_demand)[place]
        batch = max(1, round(SURGE * float(start.sum()) / self.domains))
        shape = Size(max(s.cpu for s in sizes), max(s.memory for s in sizes))
        rooms = [(kind, min(kind.cpu // shape.cpu, kind.memory // shape.memory)) for kind in kinds]
        able = [(kind, room) for kind, room in rooms if room >= batch] or [max(rooms, key=lambda one: one[1])]
        kind, room = min(able, key=lambda one: (one[0].usd_hour, -one[1]))
        return kind, float(max(1, room))

    def _risk(self, interruptions: float, usd_hour: float) -> float:
        """USD an hour that ``interruptions`` a month of nodes at a price cost."""
        return interruptions / HOURS_MONTH * usd_hour * (NOTICE_HOURS + TAKEN_HOURS * self.market.dearer)


@dataclass(frozen=True)
class Domain:
    """One domain's nodes; ``split`` is what one node more would cost an hour with the pods shared out."""

    pods: int
    nodes: float
    usd: float
    interruptions: float
    split: float


def _domain(table: Cover, counts: tuple[int, ...]) -> Domain:
    usd, nodes = float(table.usd_hour[counts]), float(table.nodes[counts])
    return Domain(sum(counts), nodes, usd, float(table.interruptions[counts]), _split(table, counts) - usd)


def _split(table: Cover, counts: tuple[int, ...]) -> float:
    """The cheapest way to host the pods in two groups, each on nodes of its own."""
    grid = table.usd_hour[tuple(slice(0, n + 1) for n in counts)]
    both = grid + grid[tuple(slice(None, None, -1) for _ in counts)]
    both = both.copy()
    both[(0,) * len(counts)] = both[counts] = math.inf
    return float(both.min())


@cache
def spread(state: tuple[int, ...], domains: int) -> tuple[tuple[int, ...], ...]:
    """Pods of each workload by domain: equal shares, and what is over goes on where the last workload's ended."""
    rows, begin = [], 0
    for count in state:
        each, over = divmod(count, domains)
        rows.append([each + ((place - begin) % domains < over) for place in range(domains)])
        begin = (begin + over) % domains
    return tuple(zip(*rows, strict=True))


def kept(least: Floats, most: Floats, first: float) -> Floats:
    """What is there in each minute when it changes only to stay within ``least`` and ``most``, [minutes].

    Clamping to one range after another is clamping to a third: so a scan doubles its reach in every pass.
    """
    low, high = np.minimum(least, most).copy(), np.array(most, float)
    step = 1
    while step < len(low):
        before_low, before_high = low[:-step].copy(), high[:-step].copy()
        here_low, here_high = low[step:].copy(), high[step:].copy()
        low[step:] = np.clip(before_low, here_low, here_high)
        high[step:] = np.clip(before_high, here_low, here_high)
        step *= 2
    return np.asarray(np.clip(first, low, high))


def _fixed(floor: Floor, minutes: int) -> Minutes:
    same = np.full(minutes, 1.0)
    return Minutes(same * floor.nodes, same * floor.usd_hour, same * 0.0, same * 0.0)


def coalitions() -> Sequence[frozenset[str]]:
    """Every coalition of PLAYERS by its bit mask."""
    return [
        frozenset(name for place, name in enumerate(PLAYERS) if mask >> place & 1) for mask in range(1 << len(PLAYERS))
    ]
