"""The real predictor behind the Deployment of day 2: with a champion it serves, and Prometheus has its forecast."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from kubernetes import client

from include.clients.kubernetes import Cluster
from include.clients.prometheus import Prometheus
from include.clients.storage import Folder
from include.forecast import gauges, watch
from include.forecast.candidates.baselines import Naive
from include.forecast.candidates.candidate import Candidate
from include.forecast.registry import Action, ChampionDecision, Registry
from include.forecast.traffic.series import TrafficSeries
from include.levers.predictive_scaling import PredictiveScaling, queries
from include.levers.predictive_scaling.wanted import PREDICTOR, PredictiveSettings
from include.rollout.lever import Stage, Target
from include.rollout.settings import build
from lab import world as worlds
from lab.cluster import containers, telemetry
from lab.cluster.workloads import api_client
from lab.service import predictor
from tests.lab.conftest import REGION

# One worker boots one lab for all lab tests.
pytestmark = pytest.mark.lab
LEVER = PredictiveScaling()
AS_OF = "2026-11-24T00:00:00Z"
SPREAD = 0.1  # how far P90 lies above P50


@pytest.fixture(scope="module")
def version(world: worlds.LabWorld, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The champion in the lab's registry: the level of the last 15 minutes goes on."""
    start = datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(days=2)
    tail = TrafficSeries(REGION, start, 1, np.full(2 * 1440, 5000.0))
    made = tmp_path_factory.mktemp("made")
    Candidate(Naive(0, scaled=True, minutes=15), 1, 100.0, "JP", np.full(15, SPREAD), tail).save(made)
    registry = Registry(Folder(worlds.models_folder(world.options.folder)), REGION)
    added = registry.add(made, model="now_scaled", window={"last": AS_OF}, metrics={}, code_version="1")
    registry.move(registry.pointer(), ChampionDecision(Action.PROMOTED, added, "", "better", AS_OF))
    return added


@pytest.fixture(scope="module")
def target(world: worlds.LabWorld) -> Target:
    """The region as a task sees it."""
    state = world.state
    clients = SimpleNamespace(
        kubernetes=Cluster(api_client(Path(state["regions"][REGION]["rollout_kubeconfig"]))),
        prometheus=Prometheus(state["prometheus"]),
        location=lambda variable: state["models"],
    )
    given = {"prometheus_endpoint": state["prometheus"], "converge_timeout_seconds": 120}
    return Target(REGION, world.estate, "lab-test", build(PredictiveSettings, given, world.estate), clients)


@pytest.fixture(scope="module")
def snapshot(target: Target, version: str, world: worlds.LabWorld, core: client.CoreV1Api) -> Iterator[Any]:
    """What was there before the Deployment, which is applied and whose forecast has been seen."""
    before = LEVER.snapshot(target)
    try:
        LEVER.apply(target, Stage(PREDICTOR, "", ()))
        yield before
    finally:
        LEVER.rollback(target, before)
        (world.options.folder / predictor.ARGUMENTS_FILE).unlink(missing_ok=True)
        pods = f"app={predictor.DEPLOYMENT}"  # the next tests find the lab as it was
        world.processes.wait_until(
            lambda: not core.list_namespaced_pod("akidb", label_selector=pods).items, "the predictor's pods leaving", 30
        )


def address(world: worlds.LabWorld) -> str:
    return str(world.state["regions"][REGION]["predictor"])


def health(world: worlds.LabWorld) -> dict[str, Any]:
    with urllib.request.urlopen(f"{address(world)}/health", timeout=10) as answer:
        found: dict[str, Any] = json.loads(answer.read())["regions"][REGION]
    return found


def test_the_champion_is_served_and_its_forecast_is_in_prometheus(
    world: worlds.LabWorld, target: Target, version: str, snapshot: Any
) -> None:
    found = health(world)
    assert (found["version"], found["problem"], found["forecast_problem"]) == (version, "", "")
    prometheus: Prometheus = target.clients.prometheus
    shown = prometheus.query(f'{gauges.FORECAST}{{region="{REGION}"}}')
    assert {gauge.labels["job"] for gauge in shown} == {telemetry.PREDICTOR}
    assert len(shown) == 2 * gauges.LONGEST_LEAD

    def by_demand() -> float:
        """The forecast by the demand of now, which is low in the first seconds of a lab; 0 while one is missing."""
        demand = prometheus.value(queries.demand(world.estate, REGION, 10))
        median = prometheus.value(queries.forecast(REGION, gauges.LONGEST_LEAD, 180))
        return median / demand if median and demand else 0.0

    world.processes.wait_until(lambda: 0.8 < by_demand() < 1.2, "the forecast being near the demand", 60)


def test_the_watch_finds_what_was_served_and_by_which_version(
    world: worlds.LabWorld, target: Target, version: str, snapshot: Any
) -> None:
    prometheus: Prometheus = target.clients.prometheus
    now = time.time()
    own, another = (watch.served(prometheus, REGION, now, now, name) for name in (version, "000000-another"))
    (made,) = own.own
    assert now - 300 < made < now
    gauge = f'{gauges.FORECAST}{{region="{REGION}",horizon="15",quantile="0.5"}}'
    assert own.own[made] == pytest.approx(prometheus.value(gauge), rel=0.1)
    assert (another.own, another.every) == ({}, 1)


def test_it_runs_with_what_was_deployed(world: worlds.LabWorld, target: Target, snapshot: Any) -> None:
    running = containers.processes_of(world.options.folder).started(f"{REGION}-{predictor.DEPLOYMENT}")
    own, last = running.command[3:], predictor.added(world.state, REGION)
    assert own[-len(last) :] == list(last)
    deployed = dict(zip(own[::2], own[1::2], strict=True))
    assert (deployed["--max-age"], deployed["--min-replicas"], deployed["--max-replicas"]) == ("180", "4", "40")


def test_arguments_that_a_drill_writes_are_taken_at_once(world: worlds.LabWorld, target: Target, snapshot: Any) -> None:
    def sure() -> float | None:
        return target.clients.prometheus.value(f'{gauges.CONFIDENT}{{region="{REGION}"}}')

    assert sure() == 1
    predictor.write_arguments(world.options.folder, ["--max-spread", str(SPREAD / 2)])
    world.processes.wait_until(lambda: sure() == 0, "a forecast that is not sure", 60)


def test_process_and_forecast_go_with_the_deployment(world: worlds.LabWorld, target: Target, snapshot: Any) -> None:
    LEVER.rollback(target, snapshot)
    gauge = f'{gauges.FORECAST}{{region="{REGION}"}}'
    world.processes.wait_until(lambda: not target.clients.prometheus.query(gauge), "the forecast being gone", 30)
    assert not containers.processes_of(world.options.folder).running(f"{REGION}-{predictor.DEPLOYMENT}")
    assert not telemetry.answers(f"{address(world)}/live")
    assert LEVER.verify_restored(target, snapshot) == []
