"""One surge, replayed on requests alone and then with the forecast on top; what came of both."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from include.clients.storage import Folder
from include.forecast.traffic.table import TrafficTable
from include.forecast.waste import Bounds
from include.levers.predictive_scaling import PredictiveScaling
from include.levers.predictive_scaling.wanted import forecast_query
from include.prices import load_aws_book
from include.rollout.lever import Target
from lab import world as worlds
from lab.surge import champion as champions
from lab.surge import samples as seen
from lab.surge.measures import ReplayOutcome, needs, outcome
from lab.surge.scenario import MINUTE, NIGHTS, Surge, SurgeError, demand_by_minute, utc
from lab.surge.stage import SurgeStage

SAID_EVERY_MINUTES = 10


def drill(stage: SurgeStage, surge: Surge, profile: str, say: Callable[[str], None]) -> dict[str, Any]:
    """The report's part on one surge."""
    say(f"{surge.title}: {NIGHTS} nights of training before it, profile {profile}")
    champion = train(stage, surge, profile)
    for night in champion.nights:
        say(f"{night.last_day} {night.model or 'nothing'}: {night.reason}")
    say(f"champion {champion.version or 'none'} after {champion.seconds:.0f} s")
    before = replay(stage, surge, False, say)
    after = replay(stage, surge, True, say) if champion.version else None
    return {
        "surge": surge.to_json(),
        "champion": asdict(champion),
        "without_forecast": before.to_json(),
        "with_forecast": None if after is None else after.to_json(),
    }


def train(stage: SurgeStage, surge: Surge, profile: str) -> champions.SurgeChampion:
    """A champion from the history as Prometheus has it; traffic and models of another surge are removed first."""
    traffic = worlds.traffic_folder(stage.folder)
    for folder in (traffic, stage.models.root):
        shutil.rmtree(folder, ignore_errors=True)
    begins = time.time() // MINUTE * MINUTE
    stage.write_history(surge, begins)
    stage.start_prometheus()
    table, shift = TrafficTable(Folder(traffic)), round(begins - surge.begins)
    champions.read_traffic(stage.prometheus, stage.estate, stage.region, surge, shift, table)
    return champions.train(table, stage.models, stage.region, surge, profile)


def replay(stage: SurgeStage, surge: Surge, use_forecast: bool, say: Callable[[str], None]) -> ReplayOutcome:
    """Replay the surge once, and take the scaling out again."""
    name = "with forecast" if use_forecast else "requests alone"
    target = stage.scaling(use_forecast)
    begins = stage.begin(surge, start_replicas(stage, surge, target), lambda text: say(f"{name}: {text}"))
    pace = stage.pace.minute_seconds

    def minute() -> float:
        return (time.time() - begins) / pace

    book = load_aws_book(stage.estate)
    sampler = seen.Sampler(stage.estate, stage.region, stage.cluster("kubeconfig"), book, minute)
    sampler.start()
    lever = PredictiveScaling()
    snapshot = lever.snapshot(target)
    try:
        for step in lever.plan(target).stages:
            figures = lever.apply(target, step)
            say(f"{name}: {_clock(surge, minute())} {step.slot} stands after {figures['seconds']:.0f} s")
        _in_time(surge, minute(), target.settings.lead_minutes)
        _watch(stage, surge, sampler, minute, lambda text: say(f"{name}: {text}"))
        samples = sampler.stop()
        return judged(stage, surge, target, begins, samples)
    finally:
        sampler.stop()
        lever.rollback(target, snapshot)


def start_replicas(stage: SurgeStage, surge: Surge, target: Target) -> int:
    """Replicas of each workload that the requests need at the beginning; the largest where they differ."""
    offered = demand_by_minute(stage.estate, surge, stage.region)[:1]
    return max(needs([qps * share for qps in offered], bounds_of(target))[0] for share in shares(stage).values())


def shares(stage: SurgeStage) -> dict[str, float]:
    """Each workload's share of the demand, as the plant lays it on them."""
    workloads = stage.estate.workloads
    total = sum(workload.replicas for workload in workloads.values())
    return {name: workload.replicas / total for name, workload in workloads.items()}


def bounds_of(target: Target) -> Bounds:
    """How requests become replicas under day 2's settings."""
    return Bounds(target.estate.qps_per_replica(), target.settings.min_replicas, target.settings.max_replicas)


def _in_time(surge: Surge, minute: float, lead_minutes: int) -> None:
    latest = (surge.rises - surge.begins) / MINUTE - lead_minutes
    if minute > latest:
        raise SurgeError(
            f"the scaling stood only {minute:.0f} plant minutes after the beginning, {latest:.0f} were allowed: the "
            "machine does too much else; end that, then run the drill again"
        )


def _watch(
    stage: SurgeStage, surge: Surge, sampler: seen.Sampler, minute: Callable[[], float], say: Callable[[str], None]
) -> None:
    """Wait for the end of the replay, with a line now and then."""
    for until in range(0, surge.minutes + 1, SAID_EVERY_MINUTES):
        if minute() > until:
            continue
        stage.world.processes.wait_until(
            lambda until=until: minute() >= until,  # type: ignore[misc]
            f"plant minute {until}",
            SAID_EVERY_MINUTES * stage.pace.minute_seconds + 30,
        )
        last = sampler.samples[-1]
        replicas = ", ".join(f"{name} {last.ready[name]} of {count} ready" for name, count in last.wanted.items())
        say(f"{_clock(surge, until)} {replicas}, {last.nodes} nodes")


def _clock(surge: Surge, minute: float) -> str:
    return utc(surge.begins + minute * MINUTE)[11:16]


def judged(stage: SurgeStage, surge: Surge, target: Target, begins: float, samples: list[Any]) -> ReplayOutcome:
    """Every figure of a replay that has ended."""
    scaling, minutes, step = target.settings, surge.minutes, stage.pace.minute_seconds
    ahead = scaling.lead_minutes
    offered = demand_by_minute(stage.estate, surge, stage.region, ahead)
    query_of = {name: forecast_query(stage.estate, stage.region, scaling, name) for name in stage.estate.workloads}
    first, last = (round((moment - surge.begins) / MINUTE) for moment in (surge.rises, surge.ends))
    return outcome(
        protocols=seen.counters(stage.prometheus, stage.estate, stage.region, begins, minutes, step),
        samples=[sample for sample in samples if 0 <= sample.minute <= minutes],
        demand={name: [qps * share for qps in offered] for name, share in shares(stage).items()},
        added=seen.added(stage.prometheus, query_of, begins, minutes, step),
        bounds=bounds_of(target),
        window=(first, last),
        target_ms=stage.estate.targets.p95_ms,
        ahead=ahead,
        hold=round(stage.estate.predictive_scaling.scale_down_seconds / MINUTE),
    )
