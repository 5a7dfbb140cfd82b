"""Real processes behind Deployments: what KWOK's pods only pretend to run, the lab runs for them.

    python -m lab.cluster.containers --state .lab

One process, one thread a region. While a Deployment of ``table`` has a ready pod, its real process runs on this
machine; it ends when the Deployment has no ready pod or is gone, and is started again when it dies, as a kubelet
would. The same thread mirrors the region's rule ConfigMaps into Prometheus (``rules.py``). An outage of the API
server changes nothing: what was last known stays.
"""

from __future__ import annotations

import argparse
import json
import logging
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from include.estate import Estate, load_estate
from lab.cluster import opencost
from lab.cluster.polling import ask
from lab.cluster.rules import RuleMirror
from lab.machine.again import UnavailableError
from lab.machine.processes import Processes, hold_port
from lab.service import predictor

POLL_SECONDS = 1.0
RESTART_SECONDS = 2.0  # after the first death; each further one doubles it
LONGEST_RESTART_SECONDS = 30.0
RULES_NAMESPACE, RULES_LABEL = "monitoring", "akidb.io/prometheus-rules=true"
REPOSITORY = Path(__file__).parents[2]
# The addresses of state.json that processes behind Deployments listen on.
SERVED = (*opencost.SERVED, predictor.SERVED)
log = logging.getLogger("containers")


@dataclass(frozen=True)
class Command:
    """A process: its arguments, and what is added to this process's own environment."""

    arguments: Sequence[object]
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Behind:
    """One Deployment and the process behind it.

    ``command`` gets the arguments of the Deployment's container and what ``added`` gives; it writes the process's files
    and is called at each start. A process whose arguments have changed is started again.
    """

    namespace: str
    deployment: str
    command: Callable[[Sequence[str]], Command]
    added: Callable[[], Sequence[str]] = tuple


class PodCluster(Protocol):
    """The Kubernetes calls that are made here. Both raise UnavailableError."""

    def deployed(self, namespace: str, deployment: str) -> tuple[str, ...] | None: ...
    def rules(self) -> dict[str, str]: ...


def table(estate: Estate, state: Mapping[str, Any], region: str) -> list[Behind]:
    """Every Deployment of ``region`` that has a real process; ``state`` is the lab's state.json."""
    where = state["regions"][region]
    folder = Path(state["folder"]) / "run" / region / "opencost"

    def cost_model(_: Sequence[str]) -> Command:
        opencost.write_files(folder, region, estate)
        return Command(
            [opencost.program()],
            opencost.environment(folder, region, where, str(state["prometheus"])),
        )

    def kubecost(_: Sequence[str]) -> Command:
        port = where["kubecost"].rpartition(":")[2]
        return Command(
            [
                sys.executable,
                "-m",
                "lab.cluster.kubecost",
                "--port",
                port,
                "--opencost",
                where["opencost"],
                "--region",
                region,
            ]
        )

    def forecast(arguments: Sequence[str]) -> Command:
        return Command(predictor.command(arguments), predictor.ENVIRONMENT)

    return [
        Behind("opencost", "opencost", cost_model),
        Behind("kubecost", "kubecost", kubecost),
        Behind(estate.namespace, predictor.DEPLOYMENT, forecast, lambda: predictor.added(state, region)),
    ]


@dataclass
class RegionSupervisor:
    """The processes and rules of one region. ``clock`` in seconds."""

    region: str
    cluster: PodCluster
    entries: Sequence[Behind]
    processes: Processes
    mirror: RuleMirror
    clock: Callable[[], float] = time.monotonic
    _deaths: dict[str, int] = field(default_factory=dict)
    _started: dict[str, float] = field(default_factory=dict)
    _arguments: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def step(self) -> list[str]:
        """Start and end what is due; returns a line for each thing done. Raises UnavailableError."""
        done = [line for entry in self.entries if (line := self._settle(entry))]
        return done + self.mirror.settle(self.region, self.cluster.rules())

    def _settle(self, entry: Behind) -> str | None:
        name = f"{self.region}-{entry.deployment}"
        deployed, running = self.cluster.deployed(entry.namespace, entry.deployment), self.processes.running(name)
        if deployed is None:
            if not running:
                return None
            self._end(name)
            return f"{entry.deployment} ended: no pod of its Deployment is ready"
        arguments = (*deployed, *entry.added())
        why = ""
        if arguments != self._arguments.setdefault(name, arguments):
            self._end(name)
            why = " again: its arguments have changed"
        elif running:
            return None
        deaths = self._deaths.get(name, 0)
        pause = min(RESTART_SECONDS * 2**deaths, LONGEST_RESTART_SECONDS)
        died = name in self._started
        if died and self.clock() - self._started[name] < pause:
            return None
        self._deaths[name] = deaths + died
        self._started[name] = self.clock()
        self._arguments[name] = arguments
        command = entry.command(arguments)
        self.processes.start(name, command.arguments, command.env, REPOSITORY)
        return f"{entry.deployment} started" + (" again: it had died" if died else why)

    def _end(self, name: str) -> None:
        self.processes.end(name)
        for known in (self._started, self._deaths, self._arguments):
            known.pop(name, None)


class KubernetesPods:
    """:class:`PodCluster` through the Kubernetes client."""

    def __init__(self, kubeconfig: str) -> None:
        from kubernetes import client, config

        api = config.new_client_from_config(config_file=kubeconfig)
        self._apps, self._core = client.AppsV1Api(api), client.CoreV1Api(api)

    def deployed(self, namespace: str, deployment: str) -> tuple[str, ...] | None:
        """The arguments of the Deployment's container; None while it has no ready pod."""
        found = ask(self._apps.read_namespaced_deployment, deployment, namespace)
        leaving = "deletionTimestamp" in found.get("metadata", {})
        if leaving or not found.get("status", {}).get("readyReplicas", 0):
            return None
        return tuple(found["spec"]["template"]["spec"]["containers"][0].get("args") or ())

    def rules(self) -> dict[str, str]:
        """The region's rule files by ``<ConfigMap>-<key>``."""
        found = ask(self._core.list_namespaced_config_map, RULES_NAMESPACE, label_selector=RULES_LABEL)
        return {
            f"{item['metadata']['name']}-{key}": text
            for item in found.get("items", [])
            for key, text in (item.get("data") or {}).items()
        }


def run(supervisor: RegionSupervisor, stop: threading.Event, poll_seconds: float = POLL_SECONDS) -> None:
    """Step until ``stop`` is set; an outage is logged when it begins and when it ends."""
    lost = False
    while not stop.is_set():
        try:
            for line in supervisor.step():
                log.info("%s: %s", supervisor.region, line)
            if lost:
                log.info("%s: back", supervisor.region)
            lost = False
        except UnavailableError as error:
            if not lost:
                log.warning("%s: lost: %s; trying again every %.0f s", supervisor.region, error, poll_seconds)
            lost = True
        stop.wait(poll_seconds)


def processes_of(folder: Path) -> Processes:
    """The register of the processes behind Deployments of the lab in ``folder``."""
    return Processes(folder / "run" / "containers", logs=folder / "logs")


def hold_ports(state: Mapping[str, Any], stop: threading.Event) -> None:
    """Keep the ports of processes that may not run yet from other labs, from when the boot gives them free on."""
    wanted = [int(where[name].rpartition(":")[2]) for where in state["regions"].values() for name in SERVED]
    held = []
    while wanted and not stop.is_set():
        marks = {port: hold_port(port) for port in wanted}
        held += [mark for mark in marks.values() if mark is not None]
        wanted = [port for port, mark in marks.items() if mark is None]
        stop.wait(POLL_SECONDS)
    stop.wait()
    for mark in held:
        mark.close()


def main() -> None:
    """Supervise every region of the lab until a signal ends the process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--state", type=Path, required=True, help="the lab's folder, which holds state.json")
    folder: Path = parser.parse_args().state
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stdout)
    try:
        state = json.loads((folder / "state.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        sys.exit(f"behind: {folder / 'state.json'} can't be read ({error}): start the lab with `make lab-up`")
    estate, stop, processes = load_estate(), threading.Event(), processes_of(folder)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    mirror = RuleMirror(folder / "run" / "prometheus" / "rules", str(state["prometheus"]))
    threads = [threading.Thread(target=hold_ports, args=(state, stop), name="ports")]
    for region, where in state["regions"].items():
        supervisor = RegionSupervisor(
            region, KubernetesPods(where["kubeconfig"]), table(estate, state, region), processes, mirror
        )
        threads.append(threading.Thread(target=_run_or_end, args=(supervisor, stop), name=region))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    processes.stop_all()
    if _failed:
        sys.exit(1)


_failed: list[str] = []


def _run_or_end(supervisor: RegionSupervisor, stop: threading.Event) -> None:
    """A defect in one region ends the whole process, so that the lab names it as crashed instead of going on lame."""
    try:
        run(supervisor, stop)
    except Exception:
        log.exception("%s: the supervisor has failed", supervisor.region)
        _failed.append(supervisor.region)
        stop.set()


if __name__ == "__main__":
    main()
