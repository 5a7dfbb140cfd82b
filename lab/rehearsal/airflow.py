"""A real Airflow for the rehearsal: API server with a login, scheduler, DAG processor, triggerer.

``python -m lab.rehearsal.airflow`` keeps one up against a running lab until Ctrl-C; with ``down`` it ends what a killed
run has left. Everything lies in ``<lab folder>/airflow``; all sockets are on loopback. The database is fresh
at each start: the lab that its old runs acted on is gone. It is SQLite, or a PostgreSQL beside two schedulers.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import requests

from include.estate import EstateError, load_estate
from lab import world
from lab.machine import speed
from lab.machine.processes import Crashed, Processes, reserved_ports
from lab.rehearsal.airflow_api import PATIENCE_SECONDS, TIMEOUT_SECONDS, AirflowError, Client
from lab.rehearsal.airflow_config import HOST, PARALLEL_TASKS, configuration, in_ini, write_private
from lab.rehearsal.airflow_settings import SERVICE_USER, connect
from lab.rehearsal.folders import lab_folder
from lab.rehearsal.postgresql import PostgreSQL, PostgreSQLError

COMPONENTS: dict[str, tuple[str, ...]] = {
    "api-server": ("api-server", "--host", "127.0.0.1", "--workers", "1"),
    # Task logs lie on the same disk: the log servers of scheduler and triggerer would only open ports on all addresses.
    "scheduler": ("scheduler", "--skip-serve-logs"),
    "dag-processor": ("dag-processor",),
    "triggerer": ("triggerer", "--skip-serve-logs"),
}
# SQLite has one writer; only on PostgreSQL may schedulers share the work.
SCHEDULERS = {"sqlite": ("scheduler",), "postgresql": ("scheduler", "scheduler-2")}
ADMIN = "admin"
READY_SECONDS = 120
STOP_SECONDS = 15
BESIDE_NICENESS = "5"  # behind the lab, and still a quarter of a core where neighbours keep every core busy


class Airflow:
    """One Airflow in ``folder/airflow``, with the estate's approvers as users; ``stretch`` multiplies its time-outs.

    ``database`` is ``sqlite`` or ``postgresql``, which brings a second scheduler.
    """

    def __init__(
        self, folder: Path, approvers: tuple[str, ...] = (), stretch: float = 1.0, database: str = "sqlite"
    ) -> None:
        self.home = folder / "airflow"
        self.stretch = stretch
        self.schedulers = SCHEDULERS[database]
        self.server = PostgreSQL(folder, stretch) if database == "postgresql" else None
        # Role `user` may trigger and answer; only the admin may create connections.
        self.users = {ADMIN: "admin", **dict.fromkeys(approvers, "user"), SERVICE_USER: "viewer"}
        self.passwords = {name: secrets.token_urlsafe(12) for name in self.users}
        self.processes = Processes(self.home, stretch=stretch)
        self.url = ""
        self.seconds: dict[str, float] = {}
        self._at_once: subprocess.Popen[bytes] | None = None
        self._unwanted = threading.Event()

    def cancel(self) -> None:
        """Let a start in another thread end soon, with an AirflowError."""
        self._unwanted.set()

    def start(self) -> None:
        """Start all components and wait until they are healthy. Raises Crashed or AirflowError; leaves nothing then."""
        begun = time.monotonic()
        take_down(self.home.parent)
        shutil.rmtree(self.home, ignore_errors=True)  # logs of the Airflow before
        self.home.mkdir(parents=True)
        try:
            with reserved_ports(1) as (port,):
                self.url = f"http://{HOST}:{port}"
                self._write_files(port, self.server.start() if self.server else "")
                self._migrate()
                self.seconds["database"] = round(time.monotonic() - begun, 1)
                for name in ("api-server", *self.schedulers, "dag-processor", "triggerer"):
                    self._start_component(name, port)
                self.processes.wait_until(self._healthy, "Airflow being healthy", READY_SECONDS)
        except BaseException:
            self.stop()
            raise
        self.seconds["healthy"] = round(time.monotonic() - begun, 1)

    def _start_component(self, name: str, port: int) -> None:
        kind = "scheduler" if name in self.schedulers else name
        extra = ("--port", str(port)) if name == "api-server" else ()
        program = "lab.rehearsal.preloaded" if kind == "scheduler" else "airflow"
        command = self._command(*COMPONENTS[kind], *extra, program=program)
        self.processes.start(name, command, env=self._environment())

    def run_at_once(self, dag_id: str, date: dt.date, conf: Mapping[str, Any] | None = None) -> subprocess.Popen[bytes]:
        """Run ``dag_id`` for the day ``date`` without the scheduler and behind the lab; the log is ``<dag_id>.log``.

        Unpausing a DAG that catches up would start a run for each day since its start date.
        """
        given = ["--conf", json.dumps(dict(conf))] if conf else []
        with (self.processes.logs / f"{dag_id}.log").open("ab") as output:
            self._at_once = subprocess.Popen(
                ["nice", "-n", BESIDE_NICENESS, *self._command("dags", "test", dag_id, date.isoformat(), *given)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **self._environment()},
                start_new_session=True,
            )
        return self._at_once

    def stop(self) -> None:
        """End every component and the tasks that still run; secrets and database go, logs stay."""
        if self._at_once is not None and self._at_once.poll() is None:
            os.killpg(self._at_once.pid, signal.SIGKILL)
            self._at_once.wait()
        _stop(self.processes)
        _forget(self.home)
        if self.server is not None:
            self.server.stop()

    def client(self, user: str = ADMIN) -> Client:
        """A client of the REST API, logged in as ``user``."""
        return Client(
            self.url,
            user,
            self.passwords[user],
            timeout=TIMEOUT_SECONDS * self.stretch,
            patience=PATIENCE_SECONDS * self.stretch,
        )

    def task_log(self, dag_id: str, run_id: str, task_id: str, map_index: int, try_number: int) -> Path:
        """Where the log of one try lies."""
        mapped = f"map_index={map_index}" if map_index >= 0 else ""
        folder = self.home / "task-logs" / f"dag_id={dag_id}" / f"run_id={run_id}" / f"task_id={task_id}" / mapped
        return folder / f"attempt={try_number}.log"

    def scheduler_log(self) -> str:
        """What the schedulers have logged so far."""
        logs = [self.processes.logs / f"{name}.log" for name in self.schedulers]
        return "\n".join(log.read_text(encoding="utf-8", errors="replace") for log in logs if log.exists())

    def _write_files(self, port: int, connection: str) -> None:
        passwords = self.home / "passwords.json"
        write_private(passwords, json.dumps(self.passwords))
        write_private(self.home / "airflow.cfg", in_ini(self.sections(port, passwords, connection)))

    def sections(self, port: int, passwords: Path, connection: str) -> dict[str, dict[str, str]]:
        """Sections of airflow.cfg; ``connection`` is the address of a database that isn't SQLite."""
        made = configuration(self.home, port, self.users, passwords, self.stretch)
        made["core"]["parallelism"] = str(PARALLEL_TASKS // len(self.schedulers))  # of each scheduler
        if connection:
            made["database"] = {"sql_alchemy_conn": connection}
        return made

    def _environment(self) -> dict[str, str]:
        return {
            "AIRFLOW_HOME": str(self.home),
            "PYTHONPATH": str(world.REPOSITORY),
            "NO_COLOR": "1",
            # The real credentials of this machine must never be looked up by a task of the rehearsal.
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": "/dev/null",
            "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
        }

    def _command(self, *arguments: str, program: str = "airflow") -> list[str]:
        # Settings of the caller's shell would win over airflow.cfg.
        inherited = [name for name in os.environ if name.startswith("AIRFLOW__")]
        unset = [part for name in inherited for part in ("-u", name)]
        return ["env", *unset, sys.executable, "-m", program, *arguments]

    def _migrate(self) -> None:
        result = subprocess.run(
            self._command("db", "migrate"),
            env={**os.environ, **self._environment()},
            capture_output=True,
            text=True,
            check=False,
        )
        if result.returncode != 0:
            tail = "\n".join((result.stderr or result.stdout).strip().splitlines()[-15:])
            raise AirflowError(f"Airflow's database could not be created:\n{tail}")

    def _healthy(self) -> bool:
        if self._unwanted.is_set():
            raise AirflowError("the start was given up")
        try:
            answer = requests.get(f"{self.url}/api/v2/monitor/health", timeout=5 * self.stretch)
        except requests.RequestException:
            return False
        if not answer.ok:
            return False
        parts = answer.json()
        wanted = ("metadatabase", "scheduler", "dag_processor", "triggerer")
        return all(parts[name]["status"] == "healthy" for name in wanted)

    def memory_mib(self) -> int:
        """Resident memory of all components, shared pages counted once (proportional set size)."""
        total = 0
        database = self.server.processes.registered() if self.server else []
        for entry in [*self.processes.registered(), *database]:
            for process in _family(entry.pid):
                try:
                    total += process.memory_full_info().pss
                except psutil.Error:
                    continue
        return total // 2**20


def _family(pid: int) -> list[psutil.Process]:
    try:
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _stop(processes: Processes) -> None:
    """SIGINT first: on SIGTERM Airflow's components leave their children behind. Whatever is left is killed."""
    members = [
        process
        for entry in processes.registered()
        for process in _family(entry.pid)
        if process.pid != entry.pid or abs(process.create_time() - entry.created) < 1
    ]
    for entry in processes.registered():
        if any(process.pid == entry.pid for process in members):
            os.killpg(entry.pid, signal.SIGINT)  # each component leads its own session
    _, alive = psutil.wait_procs(members, timeout=STOP_SECONDS)
    for process in alive:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(alive, timeout=STOP_SECONDS)
    processes.stop_all()


def _forget(home: Path) -> None:
    for pattern in ("airflow.db*", "airflow.cfg", "passwords.json"):
        for path in home.glob(pattern):
            path.unlink()


def take_down(folder: Path) -> None:
    """End what an earlier Airflow of this lab folder has left, and remove its files but the logs."""
    home = folder / "airflow"
    _stop(Processes(home))
    _forget(home)
    PostgreSQL(folder).stop()


def start_beside(airflow: Airflow, boot: Callable[[], world.LabWorld]) -> tuple[Airflow, world.LabWorld]:
    """Start ``airflow`` while ``boot`` boots the lab; on a failure of either both are taken down."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        starting = pool.submit(airflow.start)
        try:
            booted = boot()
        except BaseException:
            airflow.cancel()
            starting.exception()  # waits; why the lab failed is what the person must read
            airflow.stop()
            raise
        try:
            starting.result()
        except BaseException:
            airflow.stop()
            booted.down()
            raise
    return airflow, booted


def _serve(folder: Path) -> None:
    state = world.load_world(folder)
    measured = speed.measure()
    print(measured, flush=True)
    database = os.environ.get("DATABASE") or "sqlite"
    airflow = Airflow(folder, load_estate().governance.approvers, measured.stretch, database)
    airflow.start()
    try:
        connect(airflow, state, folder)
        print(f"Airflow {airflow.url} after {airflow.seconds['healthy']} s; Ctrl-C ends it")
        print("\n".join(f"  login {name} / {airflow.passwords[name]}" for name in airflow.users), flush=True)
        signal.pause()
    finally:
        airflow.stop()


def main() -> int:
    parser = argparse.ArgumentParser(prog="lab.rehearsal.airflow", description=__doc__)
    parser.add_argument("command", choices=["up", "down"], nargs="?", default="up")
    command = parser.parse_args().command
    try:
        if command == "down":
            take_down(lab_folder())
        else:
            _serve(lab_folder())
    except KeyboardInterrupt:
        return 0
    except (AirflowError, Crashed, EstateError, PostgreSQLError, TimeoutError) as error:
        print(f"airflow: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
