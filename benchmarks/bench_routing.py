"""Who serves a day's requests, at what cost and P95: uniform, the plan's rule, ours, and the optimum, on real traces.

    python -m benchmarks.bench_routing [FOLDER]

Writes benchmarks/results/routing.json. FOLDER (default ../shared/data/traffic) holds the traces; without it a made-up
day is replayed, which the result says. Each trace is scaled so that the 99th percentile of its minutes is PEAK_QPS: the
plan's fleet (Jetson 1,650 and spot 600 requests/s, of which 80 % may be used) is then too small at the peaks only.

- uniform: a quarter to each backend;
- rule: the plan's, for each request of each second, which knows the load of that very second;
- ours: what the lever decides once a minute from the minute BEFORE, as whole weights, with its hysteresis;
- optimum: the linear programme with each minute's true demand, no weights, no hysteresis: nobody who keeps 95 % within
  the budget in every minute is cheaper.

A backend that gets more than it can serve (not only than it may) answers the rest too late: it counts as late for the
P95 and as overloaded. Latencies are the estate's: the plan's P95, and assumed medians. 30 ms, the plan's target, is
replayed on all of each trace, other budgets on three days of the first; the last of these with list prices, by which
Lambda is the dearest and the plan's order of Lambda before on demand costs money.
"""

from __future__ import annotations

import json
import math
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.bench_lab_boot import machine
from include.estate import load_estate
from include.levers.request_routing.backends import NAMES, Backend, Latency
from include.levers.request_routing.optimum import Demand, decide
from include.levers.request_routing.rule import Room, by_rule, by_weights, rule_flows
from include.levers.request_routing.weights import next_weights
from lab.service.traffic import load_trace

RESULTS = Path(__file__).parent / "results"
SHARED = Path(__file__).resolve().parents[1] / ".." / "shared" / "data" / "traffic"
PEAK_QPS = 2400.0
HEADROOM = 0.8
SHARE, GAIN = 0.95, 0.05
TARGET_MS = 30.0
PLAN, LIST = "plan", "list"
MINUTE, DAY = 60, 1440
# name: file, first minute, minutes. Of the World Cup five days in the middle of the tournament.
TRACES = {
    "ms_mongodb_app1": ("ms_mongodb_app1_2018_1min.csv.gz", 0, 11 * DAY),
    "worldcup98": ("worldcup98_1min.csv.gz", 54 * DAY, 5 * DAY),
}
SERVED = {
    "jetson": 1650.0,
    "spot": 600.0,
    "lambda": 20_000.0,
    "on_demand": 20_000.0,
}  # requests/s; the plan's, and ample
# Of the lever on five c7g.2xlarge, Lambda at 512 MB and 30 ms, and the devices' power at 0.15 USD a kWh.
LIST_USD = {"jetson": "0.0039", "spot": "0.0149", "lambda": "0.45", "on_demand": "0.0360"}
REQUESTS = 1_000_000

Flows = np.ndarray[Any, Any]  # (backends, minutes), requests a second


def backends(prices: Mapping[str, str] | None = None) -> list[Backend]:
    """The estate's four, with the plan's prices or others."""
    known = load_estate().edge.routing.backends
    made = []
    for name in NAMES:
        spec = known[name]  # type: ignore[index]
        shape = Latency(spec.latency.p50_ms, spec.latency.p95_ms, spec.latency.network_ms)
        usd = Decimal(prices[name]) if prices else spec.plan_usd_million
        made.append(Backend(name, usd, SERVED[name] * HEADROOM, (shape,)))
    return made


def traces(folder: Path) -> dict[str, list[float]]:
    """Requests a second of each minute; a made-up day where the folder is absent."""
    found = {}
    for name, (file, first, count) in TRACES.items():
        if (folder / file).is_file():
            values = load_trace(folder / file, PEAK_QPS).values[first : first + count]
            found[name] = _scaled(values)
    return found or {"made-up": _scaled([1.2 + math.sin(n / DAY * 2 * math.pi) for n in range(DAY)])}


def _scaled(values: Sequence[float]) -> list[float]:
    top = sorted(values)[math.ceil(0.99 * len(values)) - 1]
    return [value * PEAK_QPS / top for value in values]


def uniform(qps: Sequence[float]) -> Flows:
    """A quarter to each."""
    return np.tile(np.asarray(qps) / len(NAMES), (len(NAMES), 1))


def rule(qps: Sequence[float], budget_ms: float) -> Flows:
    """The plan's rule."""
    return rule_flows(np.asarray(qps), [1.0], [budget_ms], Room())[0]


def ours(qps: Sequence[float], budget_ms: float, some: Sequence[Backend]) -> tuple[Flows, dict[str, Any]]:
    """What the lever decides each minute, and how long that takes."""
    weights: dict[str, int] = {}
    seconds, changes, fallbacks, flows = [], 0, 0, []
    for before, now in zip((qps[0], *qps[:-1]), qps, strict=True):
        begun = time.perf_counter()
        found, decision = next_weights(weights, some, Demand(before, budget_ms), SHARE, GAIN, "on_demand")
        seconds.append(time.perf_counter() - begun)
        changes += found != weights
        fallbacks += bool(decision.fallback)
        weights = found
        flows.append([now * weights[name] / sum(weights.values()) for name in NAMES])
    times = {"p50": 0.5, "p99": 0.99, "max": 1.0}
    took = sorted(seconds)
    solved = {name: round(took[math.ceil(part * len(took)) - 1] * 1000, 2) for name, part in times.items()}
    return np.array(flows).T, {"solve_ms": solved, "changes": changes, "fallback_minutes": fallbacks}


def optimum(qps: Sequence[float], budget_ms: float, some: Sequence[Backend]) -> Flows:
    """The least cost of each minute, its demand known to a request a second."""
    known: dict[int, list[float]] = {}
    for rate in {round(value) for value in qps}:
        total = decide(some, [Demand(float(rate), budget_ms)], SHARE).total()
        known[rate] = [total[name] / rate if rate else 0.0 for name in NAMES]
    return np.array([[part * value for part in known[round(value)]] for value in qps]).T


def figures(flows: Flows, budget_ms: float, some: Sequence[Backend]) -> dict[str, float | None]:
    """Dollars per million requests, P95, and how many requests kept to the budget or met an overloaded backend."""
    served = np.minimum(flows, np.array([[SERVED[name]] for name in NAMES]))
    total = float(flows.sum())
    usd = sum(float(b.usd_million) * float(row.sum()) for b, row in zip(some, served, strict=True)) / float(
        served.sum()
    )
    answered = served.sum(axis=1) / total

    def within(milliseconds: float) -> float:
        return sum(part * b.share_within(milliseconds) for part, b in zip(answered, some, strict=True))

    return {
        "usd_million": round(usd, 4),
        "p95_ms": _p95(within),
        "within_budget": round(within(budget_ms), 4),
        "overloaded": round(1 - float(served.sum()) / total, 6),
    }


def _p95(within: Callable[[float], float]) -> float | None:
    low, high = 0.0, 10_000.0
    while high - low > 0.01:
        middle = (low + high) / 2
        low, high = (middle, high) if within(middle) < SHARE else (low, middle)
    return round(high, 1) if high < 9_999 else None  # more than a twentieth is never answered


def replay(qps: Sequence[float], budget_ms: float, some: Sequence[Backend]) -> dict[str, Any]:
    """All four on one trace."""
    decided, how = ours(qps, budget_ms, some)
    flows = {"uniform": uniform(qps), "rule": rule(qps, budget_ms), "ours": decided}
    flows["optimum"] = optimum(qps, budget_ms, some)
    found: dict[str, Any] = {name: figures(flow, budget_ms, some) for name, flow in flows.items()}
    usd = {name: figure["usd_million"] for name, figure in found.items()}
    ratios = {
        "usd_by_rule": round(usd["ours"] / usd["rule"], 4),
        "usd_by_optimum": round(usd["ours"] / usd["optimum"], 4),
    }
    return {**found, "ours_how": how, "ours": {**found["ours"], **ratios}}


def speed() -> dict[str, float]:
    """Requests a second that get their backend, by the rule and by weights, in millions; the best of five."""
    dice = np.random.default_rng(14)
    second, budgets = np.zeros(REQUESTS, dtype=np.int64), dice.choice(np.array([20.0, 30.0, 60.0]), REQUESTS)
    draws = dice.random(REQUESTS)

    def best(run: Callable[[], object]) -> float:
        seconds = []
        for _ in range(5):
            begun = time.perf_counter()
            run()
            seconds.append(time.perf_counter() - begun)
        return round(REQUESTS / min(seconds) / 1e6, 1)

    return {
        "rule_million_a_second": best(lambda: by_rule(second, budgets, Room())),
        "weights_million_a_second": best(lambda: by_weights(draws, [5280, 1920, 1204, 1596])),
    }


def measure(folder: Path) -> dict[str, Any]:
    """The plan's target on every trace, other budgets and list prices on the first days of the first one."""
    found, table = traces(folder), []
    first = next(iter(found))
    runs = [(name, qps, TARGET_MS, PLAN) for name, qps in found.items()]
    runs += [(first, found[first][: 3 * DAY], *how) for how in ((20.0, PLAN), (60.0, PLAN), (60.0, LIST))]
    for name, qps, budget, prices in runs:
        some = backends(LIST_USD if prices == LIST else None)
        row = {"trace": name, "minutes": len(qps), "budget_ms": budget, "prices": prices}
        table.append(row | replay(qps, budget, some))
        print(f"{name}, {budget:g} ms, {prices} prices: done", file=sys.stderr, flush=True)
    return {"machine": machine(), "peak_qps": PEAK_QPS, "speed": speed(), "table": table}


def show(result: Mapping[str, Any]) -> None:
    """Print the table."""
    print(json.dumps(result["speed"]))
    for row in result["table"]:
        print(
            f"{row['trace']} {row['minutes']} min, {row['budget_ms']:g} ms, {row['prices']} prices; {row['ours_how']}"
        )
        for policy in ("uniform", "rule", "ours", "optimum"):
            print(f"  {policy:8} {row[policy]}")


if __name__ == "__main__":
    os.nice(5)
    given = Path(sys.argv[1]) if len(sys.argv) > 1 else SHARED
    if not given.is_dir():
        print(f"{given} is absent: a made-up day is replayed; give another place as the argument", file=sys.stderr)
    outcome = measure(given)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "routing.json").write_text(json.dumps(outcome, indent=1) + "\n")
    show(outcome)
