"""The lab as the drill needs it: capacity as day 1 leaves it, and for every replay the same beginning.

A replay begins with nodes bought for just the replicas that the requests need then, with a history that ends where the
surge's plant time begins, and with a plant and a Prometheus that know nothing of the replay before.
"""

from __future__ import annotations

import math
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import yaml

from include.clients import kubernetes as k8s
from include.clients.aws import Aws
from include.clients.kubernetes import Cluster
from include.clients.prometheus import Prometheus
from include.clients.storage import Folder
from include.estate import Estate
from include.levers.predictive_scaling import queries
from include.levers.predictive_scaling.wanted import PredictiveSettings
from include.levers.spot_capacity import SpotCapacity
from include.levers.spot_capacity.settings import POOLS, SpotSettings
from include.rollout.lever import Target
from include.rollout.place import Place
from include.rollout.settings import build
from lab import world as worlds
from lab.cluster import telemetry
from lab.cluster.workloads import api_client
from lab.machine.programs import find
from lab.service import history, predictor
from lab.surge.pace import Pace
from lab.surge.scenario import Surge

MANAGER = "akidb-lab"
SPOT_PERCENT = 70  # as day 1 ends, reached in one step here: the way there is not what is drilled
CONVERGE_SECONDS = 240
SETTLE_SECONDS = 180
PLANT_SECONDS = 15  # by which the plant is started before its time begins
HISTORY_MORE_DAYS = 1  # a replay begins in the middle of a day: one more makes whole days of training
JOBS = ("akidb", "kubernetes-cadvisor", telemetry.PREDICTOR)  # what the drill reads, and nothing slower


class SurgeStage:
    """One region of a booted world. Moments are Unix seconds by the clock unless said otherwise."""

    def __init__(self, world: worlds.LabWorld, region: str, pace: Pace) -> None:
        self.world = world
        self.region = region
        self.pace = pace
        self.folder = world.options.folder
        self.converge_seconds = round(CONVERGE_SECONDS * world.processes.stretch)
        self.plant_seconds = PLANT_SECONDS * world.processes.stretch
        spot = world.estate.spot.model_copy(update={"consolidate_after": f"{pace.consolidate_after}s"})
        self.estate: Estate = world.estate.model_copy(update={"spot": spot})
        self.prometheus = Prometheus(world.state["prometheus"])
        self.models = Folder(worlds.models_folder(self.folder))
        self.admin = self.cluster("kubeconfig")

    def cluster(self, kubeconfig: str) -> Cluster:
        """A client of the region as ``kubeconfig`` (the lab) or ``rollout_kubeconfig`` (Airflow)."""
        return Cluster(api_client(Path(self.world.state["regions"][self.region][kubeconfig])))

    # --- Levers -------------------------------------------------------------------------------------------------------

    def target(self, settings: Any) -> Target:
        """The region as a task of a rollout sees it, with the rights of Airflow's user."""
        clients = SimpleNamespace(
            kubernetes=self.cluster("rollout_kubeconfig"),
            prometheus=self.prometheus,
            aws=Aws(self._aws),
            storage=lambda _: self.models,
            location=lambda _: self.world.state["models"],
        )
        return Target(Place.named(self.region), self.estate, "surge-drill", settings, clients)

    def _aws(self, service: str, config: Any) -> Any:
        import boto3

        return boto3.client(
            service,
            region_name=self.region,
            endpoint_url=self.world.state["aws_endpoint"],
            aws_access_key_id="lab",
            aws_secret_access_key="lab",
            config=config,
        )

    def day_one(self, replicas: int) -> None:
        """Spot capacity as day 1 leaves it; with few replicas, so that few pods have to move."""
        self.scale(replicas)
        given = {"steps_percent": (SPOT_PERCENT,), "drill": False, "converge_timeout_seconds": self.converge_seconds}
        target, lever = self.target(build(SpotSettings, given, self.estate)), SpotCapacity()
        for stage in lever.plan(target).stages:
            lever.apply(target, stage)

    def scaling(self, use_forecast: bool) -> Target:
        """The target of day 2 with waits of the drill's pace."""
        given = {
            **self.pace.settings(),
            "use_forecast": use_forecast,
            "prometheus_endpoint": self.world.state["prometheus"],
            "converge_timeout_seconds": self.converge_seconds,
        }
        return self.target(build(PredictiveSettings, given, self.estate))

    # --- The same beginning -------------------------------------------------------------------------------------------

    def scale(self, replicas: int) -> None:
        """Set the replicas of every workload, and wait until so many are ready and no other pod is left."""
        for name in self.estate.workloads:
            self.admin.patch(k8s.DEPLOYMENT, name, {"spec": {"replicas": replicas}}, self.estate.namespace, MANAGER)

        def settled() -> bool:
            found = [self.admin.get(k8s.DEPLOYMENT, name, self.estate.namespace) for name in self.estate.workloads]
            ready = all(one and one["status"].get("readyReplicas", 0) == replicas for one in found)
            pods = self.admin.list(k8s.POD, self.estate.namespace)
            return ready and len(pods) == replicas * len(found)

        self.world.processes.wait_until(settled, f"{replicas} replicas of each workload being ready", SETTLE_SECONDS)

    def buy_nodes_anew(self, replicas: int) -> None:
        """Let every node of Karpenter's pools go, then have it buy what ``replicas`` of each workload need."""
        self.scale(0)
        for claim in self.claims():
            self.admin.delete(k8s.NODE_CLAIM, claim["metadata"]["name"])
        self.world.processes.wait_until(lambda: not self.claims(), "the old nodes going", SETTLE_SECONDS)
        self.scale(replicas)

    def claims(self) -> list[k8s.Object]:
        """The NodeClaims of the estate's pools."""
        found = self.admin.list(k8s.NODE_CLAIM)
        return [claim for claim in found if claim["metadata"]["labels"].get("karpenter.sh/nodepool") in POOLS.names]

    def write_history(self, surge: Surge, begins: float) -> None:
        """Have Prometheus know nothing but the days before ``surge``, the last of which end at ``begins``.

        Prometheus is down afterwards.
        """
        self.world.processes.end("prometheus")
        data = self._prometheus_folder() / "data"
        shutil.rmtree(data, ignore_errors=True)
        days = surge.history_days + HISTORY_MORE_DAYS
        history.backfill(
            find("promtool"),
            data,
            self.estate,
            [self.region],
            begins,
            days=days,
            start=surge.begins,
            trace=surge.trace,
            stretch=self.world.processes.stretch,
        )

    def start_prometheus(self) -> None:
        """Start Prometheus on the data that are there, scraping at the drill's pace."""
        folder = self._prometheus_folder()
        text = at_pace((folder / "prometheus.yaml").read_text(), self.pace)
        port = int(self.world.state["prometheus"].rpartition(":")[2])
        telemetry.start(self.world.processes, folder, port, text)

    def _prometheus_folder(self) -> Path:
        return self.folder / "run" / "prometheus"

    def begin(self, surge: Surge, replicas: int, say: Callable[[str], None]) -> float:
        """Set everything to the beginning of ``surge``; returns the moment at which its plant time began.

        The region is open and its requests are known when this returns.
        """
        processes = self.world.processes
        processes.end("plant")
        say("new nodes")
        self.buy_nodes_anew(replicas)
        say("history")
        # Written with its end in the future, which it must not be any more when Prometheus starts.
        begins = math.ceil((time.time() + self.plant_seconds) / 60) * 60.0
        self.write_history(surge, begins)
        if time.time() > begins - self.plant_seconds / 2:  # a slow disk: once more, with the time that it took
            begins += 60.0
            self.write_history(surge, begins)
        predictor.write_arguments(self.folder, timeline_arguments(self.pace, begins, surge.begins))
        self._start_plant(surge, replicas, begins)
        processes.wait_until(lambda: time.time() >= begins, "the beginning of plant time", 130)
        self.start_prometheus()
        window = self.pace.rate_window
        own = [queries.own_demand(self.estate, self.region, name, window) for name in self.estate.workloads]
        processes.wait_until(
            lambda: all(self.prometheus.value(query) for query in own), "Prometheus seeing the requests", 60
        )
        return begins

    def _start_plant(self, surge: Surge, replicas: int, begins: float) -> None:
        command: list[str | Path] = [sys.executable, "-m", "lab.service.akidb_service", "--state", self.folder]
        command += ["--port", self.world.state["plant"].rpartition(":")[2], "--time-scale", str(self.pace.time_scale)]
        command += ["--start", str(surge.begins), "--begins", str(begins), "--open-at", str(replicas)]
        if surge.trace:
            command += ["--trace", surge.trace]
        self.world.processes.start("plant", command, cwd=worlds.REPOSITORY)


def timeline_arguments(pace: Pace, begins: float, begins_as: float) -> list[str]:
    """What tells the predictor how the world's time passes (include/forecast/server/__main__.py)."""
    given = {"--minute-seconds": pace.minute_seconds, "--begins": begins, "--begins-as": begins_as}
    return [part for name, value in given.items() for part in (name, f"{value:.10g}")]


def at_pace(configuration: str, pace: Pace) -> str:
    """Prometheus' configuration with the drill's jobs alone, all scraped at its pace."""
    wanted = yaml.safe_load(configuration)
    every = f"{pace.scrape}s"
    wanted["global"] |= {"scrape_interval": every, "scrape_timeout": every, "evaluation_interval": every}
    wanted["scrape_configs"] = [
        {key: value for key, value in job.items() if key not in {"scrape_interval", "scrape_timeout"}}
        for job in wanted["scrape_configs"]
        if job["job_name"] in JOBS
    ]
    return yaml.safe_dump(wanted, sort_keys=False)
