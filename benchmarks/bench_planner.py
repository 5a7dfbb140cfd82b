"""How fast the planner is, and how near to what was rehearsed: ``make bench`` runs it.

The simulation is compared with a named reference in the same run: a plain Python loop over the minutes of one region
and one day under one coalition, with the same rules and the same tables, written out below. Other figures: Shapley
parts, 1,000 resampled months, and estates of 3 to 100 regions. The predictions for every published rehearsal that has
rows are compared with what its lab read. Writes benchmarks/results/planner.json.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.bench_lab_boot import machine
from include.estate import Estate, load_estate
from include.planner import errors, traffic
from include.planner.fleet import EXPECTED, Region
from include.planner.market import market_of
from include.planner.order import PACKING, SCALING, SIZING, SPOT
from include.planner.replicas import policy_of
from include.planner.usage import load_usage
from include.planner.week import plan
from include.prices import load_aws_book

RESULTS = Path(__file__).parent / "results"
LIMITS = {"simulation": 1.0, "with_shapley": 30.0, "with_1000_resamples": 30.0, "100_regions": 35.0}
REGIONS = (3, 10, 30, 100)
LEVERS = frozenset({SPOT, SCALING, SIZING, PACKING})


def many_regions(estate: Estate, count: int) -> Estate:
    """An estate of ``count`` regions: those of the file again and again, each at a price of its own."""
    kinds = list(estate.regions)
    given = dict(list(estate.regions.items())[:1])
    regions = dict(given)
    for number in range(1, count):
        like = estate.regions[kinds[number % len(kinds)]]
        factor = like.on_demand_price_factor * (1 + number / 1000)
        regions[f"{kinds[number % len(kinds)]}-{number}"] = like.model_copy(update={"on_demand_price_factor": factor})
    return estate.model_copy(update={"regions": regions, "canary_region": next(iter(given))})


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds of the processor, and what came of it."""
    began = time.process_time()
    found = work()
    return time.process_time() - began, found


def loop_of_a_day(region: Region, day: int) -> float:
    """The reference: one minute after the other, every lever on; mean USD an hour of the day, without interruptions."""
    policy, sizes = policy_of(region.estate), region.sizes(False, True, True)
    qps = region.load(False).qps.tolist()
    minutes = range(day * 1440, day * 1440 + 1440)
    states = [tuple(_replicas(line, minute, policy) for line in qps) for minute in minutes]
    most = tuple(math.ceil(max(state[n] for state in states) / region.domains) for n in range(len(qps)))
    covers, whole = region.covers(sizes, most), 0.0
    for state in states:
        whole += region.packing(state, covers)[1] * EXPECTED + region.market.small_floor.usd_hour
    return whole / 1440


def _replicas(qps: list[float], minute: int, policy: Any) -> int:
    """Replicas of one workload in one minute: the forecast's and the requests' need, held for the window."""
    held = 0
    for at in range(max(0, minute - policy.hold), minute + 1):
        now = _need(qps[at], policy)
        ahead = max(qps[at : at + policy.lead + 1])
        if ahead > policy.act_above * qps[at]:
            now = max(now, min(_need(ahead, policy), math.floor(policy.cap * now + 1e-9)))
        held = max(held, now)
    return held


def _need(qps: float, policy: Any) -> int:
    return min(policy.most, max(policy.least, math.ceil(qps / policy.qps_each - 1e-9)))


def against_the_loop(estate: Estate) -> dict[str, Any]:
    """Seconds of one region-day by both ways, and how far apart their dollars are."""
    name = next(iter(estate.regions))
    market = market_of(estate, name, load_aws_book(estate), load_usage())
    month = traffic.planned(estate).of_minutes()[0]
    seconds, vector = timed(lambda: Region(estate, market, month, 0.0).minutes(LEVERS).of_days())
    loop_seconds, loop = timed(lambda: loop_of_a_day(Region(estate, market, month, 0.0), 1))
    ours = float(vector.usd_hour[1] - vector.risk[1])
    return {
        "reference": "plain Python loop over one region-day, one coalition",
        "loop_seconds": round(loop_seconds, 4),
        "vector_seconds_a_region_day": round(seconds / 30, 6),
        "loop_by_vector": round(loop_seconds / (seconds / 30), 1),
        "usd_hour_apart": round(abs(ours / loop - 1), 6),
    }


def scaling(estate: Estate) -> dict[str, Any]:
    """Seconds of a whole plan with Shapley parts and 1,000 resamples by number of regions."""
    rows = {}
    for count in REGIONS:
        seconds, found = timed(lambda count=count: plan(many_regions(estate, count), resamples=1000))  # type: ignore[misc]
        rows[str(count)] = {"seconds": round(seconds, 3), "simulation_seconds": round(found.simulation_seconds, 3)}
    each = [row["seconds"] / int(count) for count, row in rows.items()]
    return {"regions": rows, "seconds_a_region_100_by_3": round(each[-1] / each[0], 3)}


def rehearsals(estate: Estate) -> dict[str, Any]:
    """Predicted against read, for each published rehearsal that has rows."""
    found = {}
    for file in sorted(RESULTS.glob("rehearsal_*.json")):
        rows = json.loads(file.read_text(encoding="utf-8")).get("realised")
        if rows:
            found[file.name] = errors.to_json(errors.by_lever(errors.predicted(estate, rows)), file.name)["levers"]
    return found


def measure() -> dict[str, Any]:
    """All of it."""
    estate = load_estate()
    plan(estate)  # imports and caches
    simulated = min(plan(estate).simulation_seconds for _ in range(5))
    shapley, _ = timed(lambda: plan(estate))
    resampled, _ = timed(lambda: plan(estate, resamples=1000))
    return {
        "machine": machine(),
        "limits_seconds": LIMITS,
        "seconds": {
            "simulation": round(simulated, 3),
            "with_shapley": round(shapley, 3),
            "with_1000_resamples": round(resampled, 3),
        },
        "against_a_loop": against_the_loop(estate),
        "scaling": scaling(estate),
        "predicted_against_rehearsed": rehearsals(estate),
    }


def main() -> int:
    """Measure, publish; 1 where a limit is missed."""
    found = measure()
    (RESULTS / "planner.json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(found, indent=2))
    seconds = found["seconds"] | {"100_regions": found["scaling"]["regions"]["100"]["seconds"]}
    missed = [name for name, limit in LIMITS.items() if seconds[name] >= limit]
    if missed:
        print(f"missed: {', '.join(missed)}", file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
