"""The rehearsal world: three regions of real controllers, one emulated cloud, one Prometheus and the plant.

``up`` boots everything and returns when the estate stands as it does before the rollout; ``down`` leaves nothing.
What the world is made of, and what it can't show, is in lab/README.md.
"""

from __future__ import annotations

import datetime as dt
import json
import shutil
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from include.clients.prometheus import Prometheus, PrometheusError
from include.estate import Estate, EstateError, load_estate
from lab.cluster import containers, karpenter, keda, metrics_server, opencost, telemetry, vpa, workloads
from lab.cluster import control_plane as planes
from lab.devices import boot as booted_devices
from lab.devices.faults import FAULTS_FILE as DEVICE_FAULTS_FILE
from lab.machine import speed
from lab.machine.again import PROBLEMS, may_pass
from lab.machine.processes import Processes, reserved_ports
from lab.machine.programs import find
from lab.service import devices, predictor

REPOSITORY = Path(__file__).parent.parent
DEFAULT_FOLDER = REPOSITORY / ".lab"
SHARED_PORTS = 4  # emulator, Prometheus, plant, the devices' exporter; and one for each device
BEHIND_PORTS = 3  # OpenCost, Kubecost and the predictor, whose processes start when their Deployments are there
ESTATE_READY_SECONDS = 90
SCALERS = {
    "KEDA's metrics adapter": keda.available,
    "metrics-server": metrics_server.available,
    "the VPA's admission controller": vpa.registered,
}


@dataclass(frozen=True)
class Options:
    """How a world is booted. Times in seconds; ``trace`` is a CSV of traffic instead of the estate's pattern.

    ``start`` is where plant time begins (``akidb_service.py``); ``plant_arguments`` and ``predictor_arguments`` end the
    command lines of the plant and of each predictor. ``stretch`` multiplies every time-out; without it the machine's
    speed is measured (``lab/machine/speed.py``).
    """

    folder: Path = DEFAULT_FOLDER
    trace: Path | None = None
    start: str | float = "peak"
    time_scale: float = 1.0
    edge_30ms: bool = False
    history_days: int = 30
    scrape_seconds: int = telemetry.SCRAPE_SECONDS
    node_boot_seconds: float = 8.0
    pod_start_seconds: float = 4.0
    pod_stop_seconds: float = 2.0
    autoscaler_sync_seconds: float = planes.AUTOSCALER_SYNC_SECONDS
    plant_arguments: tuple[str, ...] = ()
    predictor_arguments: tuple[str, ...] = ()
    stretch: float | None = None


@dataclass
class LabWorld:
    """A running world. ``state`` is what ``state.json`` holds; ``seconds`` how long each part of the boot took."""

    estate: Estate
    options: Options
    processes: Processes
    state: dict[str, Any]
    seconds: dict[str, float] = field(default_factory=dict)
    planes: dict[str, planes.Booting] = field(default_factory=dict)

    def down(self) -> None:
        """End every process and remove every temporary file."""
        take_down(self.options.folder)


def models_folder(folder: Path) -> Path:
    """The models of the lab in ``folder``: they outlive it, and whoever boots anew removes them."""
    return folder / "models"


def results_folder(folder: Path) -> Path:
    """What rehearsals and surges of the lab in ``folder`` measured: no tracked file, those are `make bench`'s."""
    return folder / "results"


def traffic_folder(folder: Path) -> Path:
    """The exported traffic of the lab in ``folder``: kept like its models."""
    return folder / "traffic"


def chosen_regions(estate: Estate, names: Iterable[str]) -> list[str]:
    """The regions to boot, canary first. Raises EstateError for a name that the estate does not have."""
    wanted = list(names) or estate.ordered_regions()
    for name in wanted:
        estate.region(name)
    return [name for name in estate.ordered_regions() if name in wanted]


def up(regions: Iterable[str] = (), options: Options | None = None, say: Callable[[str], None] = print) -> LabWorld:
    """Boot the world and wait until the estate is ready. On any failure everything is taken down again."""
    options = options or Options()
    estate = load_estate()
    names = chosen_regions(estate, regions)
    if (options.folder / "state.json").exists():
        raise RuntimeError(f"a lab is already up in {options.folder.name}: run `make lab-down` first")
    take_down(options.folder)  # what a killed run has left
    shutil.rmtree(options.folder / "logs", ignore_errors=True)
    options.folder.mkdir(parents=True, exist_ok=True)
    if options.stretch is None:
        measured = speed.measure()
        say(str(measured))
        options = replace(options, stretch=measured.stretch)
    boot = _Boot(estate, names, options, say)
    try:
        return boot.run()
    except BaseException:
        boot.processes.stop_all()
        take_down(options.folder)
        raise


def take_down(folder: Path) -> None:
    """End every process registered in ``folder`` and remove the run's files; logs and reports stay."""
    Processes(folder).stop_all()
    containers.processes_of(folder).stop_all()  # those whose supervisor was killed
    shutil.rmtree(folder / "run", ignore_errors=True)
    for name in ("state.json", "processes.json", "plant_faults.json", DEVICE_FAULTS_FILE, predictor.ARGUMENTS_FILE):
        (folder / name).unlink(missing_ok=True)


class _Boot:
    """One boot: the regions side by side, each part as early as what it needs is there."""

    def __init__(self, estate: Estate, names: list[str], options: Options, say: Callable[[str], None]) -> None:
        self.estate = estate
        self.names = names
        self.options = options
        self.say = say
        self.run_folder = options.folder / "run"
        self.stretch = options.stretch or 1.0
        self.processes = Processes(options.folder, stretch=self.stretch)
        self.seconds: dict[str, float] = {}
        self.started = time.monotonic()

    def run(self) -> LabWorld:
        with ExitStack() as stack:
            self._choose_ports(stack)
            with ThreadPoolExecutor(max_workers=len(self.names) + 2) as pool:
                self._boot_all(pool)
            self._wait_for_estate()
        self._note("estate ready")
        return LabWorld(self.estate, self.options, self.processes, self.state, self.seconds, self.booting)

    def _boot_all(self, pool: ThreadPoolExecutor) -> None:
        """Clouds and clusters side by side; the plant and Karpenter as soon as both stand."""
        cloud = pool.submit(self._start_cloud)
        history = pool.submit(self._backfill)
        clusters = list(pool.map(self._start_cluster, self.names))
        self._note("API servers, CRDs and workloads")
        cloud.result()
        bill = pool.submit(self._publish_bill)
        self.state = self._write_state(clusters)
        booted_devices.start(self.processes, self.options.folder)
        self._start_beside("instances", BOOT_SECONDS=str(self.options.node_boot_seconds))
        for plane in clusters:
            self._start_karpenter(plane)
        scalers = [pool.submit(self._start_scalers, plane) for plane in clusters]
        self._start_plant()
        history.result()
        telemetry.start(self.processes, self.run_folder / "prometheus", self.prometheus_port, self._prometheus_config())
        self._start_beside("containers")
        self._note("Prometheus")
        bill.result()
        for done in scalers:
            done.result()
        list(pool.map(self._start_recommender, clusters))
        self._note("KEDA, metrics-server, VPA")

    def _choose_ports(self, stack: ExitStack) -> None:
        each = planes.PORTS_NEEDED + karpenter.PORTS_NEEDED + keda.PORTS_NEEDED + BEHIND_PORTS
        each += metrics_server.PORTS_NEEDED + vpa.PORTS_NEEDED
        named = devices.names(self.estate)
        ports = iter(stack.enter_context(reserved_ports(SHARED_PORTS + len(named) + each * len(self.names))))
        self.emulator_port, self.prometheus_port, self.plant_port, self.exporter_port = islice(ports, SHARED_PORTS)
        self.device_ports = dict(zip(named, islice(ports, len(named)), strict=True))
        self.aws_endpoint = f"http://127.0.0.1:{self.emulator_port}"
        self.booting: dict[str, planes.Booting] = {}
        self.karpenter_ports: dict[str, tuple[int, int]] = {}
        self.keda_ports: dict[str, keda.Ports] = {}
        self.metrics_ports: dict[str, int] = {}
        self.vpa_ports: dict[str, vpa.Ports] = {}
        self.behind_ports: dict[str, dict[str, int]] = {}
        for name in self.names:
            self.booting[name] = planes.Booting(
                name,
                self.estate.region(name).cluster,
                self.run_folder / name,
                list(islice(ports, planes.PORTS_NEEDED)),
                self.processes,
            )
            self.karpenter_ports[name] = (next(ports), next(ports))
            self.keda_ports[name] = keda.Ports(*islice(ports, keda.PORTS_NEEDED))
            self.metrics_ports[name] = next(ports)
            self.vpa_ports[name] = vpa.Ports(*islice(ports, vpa.PORTS_NEEDED))
            self.behind_ports[name] = dict(zip(containers.SERVED, islice(ports, BEHIND_PORTS), strict=True))

    def _start_cloud(self) -> None:
        from lab.cloud.seed import seed, seed_edge

        folder = self.run_folder / "cloud"
        folder.mkdir(parents=True, exist_ok=True)
        self.processes.start(
            "cloud",
            [sys.executable, "-m", "lab.cloud.emulator", "--port", str(self.emulator_port), "--folder", folder],
            cwd=REPOSITORY,
        )
        self.processes.wait_until(
            lambda: telemetry.answers(f"{self.aws_endpoint}/moto-api/data.json"), "the cloud emulator answering", 60
        )
        seed(self.aws_endpoint, self.estate, self.names)
        seed_edge(self.aws_endpoint, self.estate)
        self._note("cloud seeded")

    def _publish_bill(self) -> None:
        from lab.cloud.bill import publish
        from lab.cloud.seed import CloudClients

        for export in self.estate.cost.exports[:1]:  # the account has one bill; other exports would repeat it
            publish(CloudClients(self.aws_endpoint, "us-east-1").s3, export, self.estate, dt.datetime.now(dt.UTC))
        self._note("bill published")

    def _backfill(self) -> None:
        from lab.service.history import backfill

        if self.options.history_days:
            backfill(
                find("promtool"),
                self.run_folder / "prometheus" / "data",
                self.estate,
                self.names,
                time.time(),
                days=self.options.history_days,
                start=self.options.start,
                trace=self.options.trace,
                stretch=self.stretch,
            )
            self._note("history written")

    def _start_cluster(self, name: str) -> planes.ControlPlane:
        booting = self.booting[name]
        booting.write_files()
        booting.start_api_server()
        plane = booting.wait_ready()
        booting.start_controllers(self.options.autoscaler_sync_seconds)
        workloads.install_definitions(plane)
        booting.start_kubelets(
            pod_start_ms=round(self.options.pod_start_seconds * 1000),
            pod_stop_ms=round(self.options.pod_stop_seconds * 1000),
        )
        workloads.create_objects(plane, self.estate)
        return plane

    def _write_state(self, clusters: list[planes.ControlPlane]) -> dict[str, Any]:
        self.clusters = clusters
        state = {
            "folder": str(self.options.folder),
            "aws_endpoint": self.aws_endpoint,
            "prometheus": f"http://127.0.0.1:{self.prometheus_port}",
            "plant": f"http://127.0.0.1:{self.plant_port}",
            "emulator_folder": str(self.run_folder / "cloud"),
            "models": models_folder(self.options.folder).resolve().as_uri(),
            "devices_exporter": f"http://127.0.0.1:{self.exporter_port}",
            "devices": booted_devices.described(self.run_folder, self.device_ports),
            "predictor_arguments": list(self.options.predictor_arguments),
            "regions": {
                plane.region: {
                    "apiserver": plane.server,
                    "kubeconfig": str(plane.kubeconfig("admin")),
                    "rollout_kubeconfig": str(plane.kubeconfig("akidb-rollout")),
                    "opencost_kubeconfig": str(plane.kubeconfig(opencost.USER)),
                    "karpenter_metrics": f"http://127.0.0.1:{self.karpenter_ports[plane.region][0]}/metrics",
                    **{name: f"http://127.0.0.1:{port}" for name, port in self.behind_ports[plane.region].items()},
                }
                for plane in clusters
            },
        }
        (self.options.folder / "state.json").write_text(json.dumps(state, indent=1))
        return state

    def _start_beside(self, name: str, **env: str) -> None:
        """Start a program of the lab that needs nothing but the state file."""
        command = [sys.executable, "-m", f"lab.cluster.{name}", "--state", self.options.folder]
        self.processes.start(name, command, env=env, cwd=REPOSITORY)

    def _start_karpenter(self, plane: planes.ControlPlane) -> None:
        metrics, health = self.karpenter_ports[plane.region]
        karpenter.start(self.processes, self.estate, plane, self.aws_endpoint, metrics, health)

    def _start_scalers(self, plane: planes.ControlPlane) -> None:
        vpa.start(self.processes, plane, self.vpa_ports[plane.region])  # first: its webhook comes 10 s later
        keda.start(self.processes, plane, self.keda_ports[plane.region])
        metrics_server.start(self.processes, plane, self.metrics_ports[plane.region])

    def _start_recommender(self, plane: planes.ControlPlane) -> None:
        vpa.start_recommender(self.processes, plane, self.vpa_ports[plane.region], self.state["prometheus"])

    def _start_plant(self) -> None:
        command: list[str | Path] = [sys.executable, "-m", "lab.service.akidb_service", "--state", self.options.folder]
        command += ["--port", str(self.plant_port), "--time-scale", str(self.options.time_scale)]
        command += ["--start", str(self.options.start)]
        if self.options.edge_30ms:
            command.append("--edge-30ms")
        if self.options.trace:
            command += ["--trace", self.options.trace]
        command += self.options.plant_arguments
        self.processes.start("plant", command, cwd=REPOSITORY)

    def _prometheus_config(self) -> str:
        ports = {
            "karpenter": {name: metrics for name, (metrics, _) in self.karpenter_ports.items()},
            "opencost": {name: port["opencost"] for name, port in self.behind_ports.items()},
            "kubecost": {name: port["kubecost"] for name, port in self.behind_ports.items()},
            telemetry.PREDICTOR: {name: port["predictor"] for name, port in self.behind_ports.items()},
        } | {job: {name: ports.metrics[job] for name, ports in self.vpa_ports.items()} for job in telemetry.VPA}
        targets = telemetry.ScrapeTargets(self.plant_port, ports, self.exporter_port)
        return telemetry.configuration(targets, self.run_folder / "prometheus" / "rules", self.options.scrape_seconds)

    def _wait_for_estate(self) -> None:
        """Until every workload has its replicas, the plant has opened, Karpenter is healthy and SCALERS answer."""
        for plane in self.clusters:
            self._wait_until(
                lambda plane=plane: not workloads.waiting_workloads(plane),  # type: ignore[misc]
                f"the workloads of {plane.region} being ready",
                ESTATE_READY_SECONDS,
            )
            health = self.karpenter_ports[plane.region][1]
            self._wait_until(
                lambda health=health: telemetry.answers(f"http://127.0.0.1:{health}/readyz"),  # type: ignore[misc]
                f"Karpenter of {plane.region} being ready",
                ESTATE_READY_SECONDS,
            )
            for what, holds in SCALERS.items():
                self._wait_until(
                    lambda plane=plane, holds=holds: holds(plane),  # type: ignore[misc]
                    f"{what} of {plane.region} being available",
                    ESTATE_READY_SECONDS,
                )
        for what, page in (("plant", f"{self.plant_port}/health"), ("devices", f"{self.exporter_port}/metrics")):
            answers = partial(telemetry.answers, f"http://127.0.0.1:{page}")
            self._wait_until(answers, f"the {what} answering", 30)
        prometheus = Prometheus(self.state["prometheus"])
        for name in self.names:
            # The memory gauge has no backfilled history: it is there with the first scrape of the plant.
            live = (
                f'{self.estate.metrics.memory}{{region="{name}"}} and on() up{{job="karpenter",region="{name}"}} == 1'
            )
            self._wait_until(
                lambda live=live: bool(prometheus.query(live)),  # type: ignore[misc]
                f"Prometheus having scraped the plant and Karpenter of {name}",
                30,
            )

    def _wait_until(self, condition: Callable[[], bool], what: str, seconds: float) -> None:
        """``Processes.wait_until`` for a condition that may find nobody to answer yet: then it does not hold."""

        def holds() -> bool:
            try:
                return condition()
            except (PrometheusError, *PROBLEMS) as error:
                if isinstance(error, PrometheusError) or may_pass(error):
                    return False
                raise

        self.processes.wait_until(holds, what, seconds)

    def _note(self, what: str) -> None:
        self.seconds[what] = round(time.monotonic() - self.started, 1)
        self.say(f"  {self.seconds[what]:5.1f} s  {what}")


def load_world(folder: Path = DEFAULT_FOLDER) -> dict[str, Any]:
    """The state of the lab that runs in ``folder``. Raises EstateError when none does."""
    path = folder / "state.json"
    if not path.exists():
        raise EstateError(f"no lab is up in {folder.name}: run `make lab-up`")
    state: dict[str, Any] = json.loads(path.read_text())
    return state
