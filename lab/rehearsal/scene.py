"""The running lab and its Airflow, as a rehearsal sees and reads them."""

from __future__ import annotations

import json
import shutil
import signal
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from include.clients.storage import Folder
from include.estate import Estate
from include.levers import LEVERS
from include.prices import load_aws_book
from include.rollout.ledger import Ledger, OpenRun
from include.rollout.place import DEVICES
from lab import world as worlds
from lab.machine import speed as speeds
from lab.machine.processes import Processes
from lab.machine.speed import Speed
from lab.rehearsal import airflow as airflows
from lab.rehearsal import devices_evidence, edge, served, undo
from lab.rehearsal.airflow_api import Client
from lab.rehearsal.airflow_settings import connect
from lab.rehearsal.evidence import EvidenceReader, readers
from lab.rehearsal.folders import SAFETY, costs_folder, ledger_folder
from lab.rehearsal.hands import LabHands
from lab.rehearsal.run import RehearsalError
from lab.rehearsal.settings import RehearsalSettings

PARSE_SECONDS = 90
RESTORE_SECONDS = 90  # nodes that a rollback has emptied may still be leaving
FOLDERS = (costs_folder, worlds.traffic_folder, worlds.models_folder)


def await_dags(airflow: airflows.Airflow, client: Client, dags: set[str]) -> None:
    """Wait until the DAGs are parsed. Raises RehearsalError with the import errors."""

    def parsed() -> bool:
        errors = client.import_errors()
        if errors:
            shown = "\n".join(f"{e['filename']}:\n{e['stack_trace']}" for e in errors)
            raise RehearsalError(f"DAG files do not load:\n{shown}\nFix them; `make test` finds the same")
        return dags <= client.dag_ids()

    airflow.processes.wait_until(parsed, f"{', '.join(sorted(dags))} being parsed", PARSE_SECONDS)


def forget_old(folder: Path) -> None:
    """Remove what a lab that is gone has left, but for the safety records: they say which code they were made with."""
    for old in FOLDERS:
        shutil.rmtree(old(folder), ignore_errors=True)
    for entry in ledger_folder(folder).glob("*"):
        if entry.is_dir() and entry.name != SAFETY:
            shutil.rmtree(entry, ignore_errors=True)
        elif entry.is_file():
            entry.unlink()


@dataclass
class Scene:
    """What runs, and how it is read; ``speed`` is the slowest that was measured so far."""

    settings: RehearsalSettings
    estate: Estate
    speed: Speed
    airflow: airflows.Airflow
    world: worlds.LabWorld
    lab: Mapping[str, EvidenceReader]
    at_edge: edge.EdgeReader
    client: Client

    @classmethod
    def boot(cls, settings: RehearsalSettings, estate: Estate, speed: Speed) -> Scene:
        """Boot the lab and Airflow side by side, and load the settings. Leaves nothing when it fails."""
        if (settings.folder / "state.json").exists():
            raise RehearsalError(f"a lab is already up in {settings.folder.name}: run `make lab-down` first")
        forget_old(settings.folder)
        print(f"booting {', '.join(settings.regions)} and Airflow", flush=True)
        options = worlds.Options(folder=settings.folder, trace=settings.trace, stretch=speed.stretch)
        made = airflows.Airflow(settings.folder, estate.governance.approvers, speed.stretch, settings.database)
        airflow, world = airflows.start_beside(made, lambda: worlds.up(settings.regions, options))
        import boto3

        lab = readers(estate, world.state, load_aws_book(estate), boto3.client, speed.stretch)
        at_edge = edge.reader(estate, world.state, boto3.client, speed.stretch)
        return cls(settings, estate, speed, airflow, world, lab, at_edge, airflow.client())

    def connect(self, dags: set[str]) -> None:
        """Load the settings and wait for ``dags``."""
        connect(self.airflow, self.world.state, self.settings.folder)
        await_dags(self.airflow, self.client, dags)

    # Reading ---------------------------------------------------------------------------------------------------------

    @property
    def places(self) -> tuple[str, ...]:
        """Where a lever may act in the lab."""
        return (*self.settings.regions, edge.PLACE, DEVICES)

    @property
    def prometheus(self) -> str:
        """Its address."""
        return str(self.world.state["prometheus"])

    def specs(self) -> dict[str, Any]:
        """What a rollback must bring back, by place."""
        devices = devices_evidence.specs(self.settings.folder, self.estate.edge.power.devices)
        regions = {region: reader.specs() for region, reader in self.lab.items()}
        return {**regions, edge.PLACE: self.at_edge.specs(), DEVICES: devices}

    def changes(self, specs: Mapping[str, Any], wait: bool) -> list[undo.Remains]:
        """How the live world differs from ``specs``, read earlier; empty when everything is as it was."""
        pause = threading.Event()
        limit = time.monotonic() + (RESTORE_SECONDS * self.speed.stretch if wait else 0)
        while True:
            found = undo.of_evidence(specs, self.specs())
            if not found or time.monotonic() >= limit:
                return found
            pause.wait(2)

    def counters(self) -> served.Moment:
        """What was asked of the service and served so far."""
        return served.now(str(self.world.state["plant"]), self.estate)

    def ledger(self) -> Ledger:
        """The rehearsal's ledger, to read."""
        return Ledger(Folder(ledger_folder(self.settings.folder)))

    def standing(self) -> dict[undo.Place, list[OpenRun]]:
        """The changes that stand by lever and place, in the ledger's words."""
        places = [(lever, place) for lever in LEVERS for place in self.places]
        found = {place: self.ledger().standing(*place) for place in places}
        return {place: runs for place, runs in found.items() if runs}

    def costs(self, validated: Mapping[str, Any] | None, written: Mapping[str, Any]) -> dict[str, Any] | None:
        """The validation's record and where the completion report lies; None when the run did not get there."""
        if validated is None:
            return None
        folder = costs_folder(self.settings.folder)
        record = json.loads((folder / validated["key"]).read_text(encoding="utf-8"))
        return {"validation": record, "completion": str(folder / written["key"]) if written else None}

    # What runs -------------------------------------------------------------------------------------------------------

    def processes(self) -> tuple[Processes, Processes]:
        """Those of the lab and those of Airflow."""
        return self.world.processes, self.airflow.processes

    def pids(self) -> dict[str, list[int]]:
        """The roots of all processes by part."""
        return {
            name: [entry.pid for entry in processes.registered() if psutil.pid_exists(entry.pid)]
            for name, processes in zip(("lab", "airflow"), self.processes(), strict=True)
        }

    def check_alive(self) -> None:
        """Raise Crashed when one of them has ended."""
        for processes in self.processes():
            processes.check()

    def measure_speed(self) -> None:
        """Once more, since neighbours come and go; a machine that was slow once may be so again."""
        now = speeds.measure()
        if now > self.speed:
            self.speed = now
            self.airflow.stretch = now.stretch
            for processes in self.processes():
                processes.stretch = now.stretch
            print(f"with all that runs now, {now}", flush=True)

    def hands(self) -> LabHands:
        """What faults do to the lab."""
        return LabHands(
            self.estate,
            self.settings.folder,
            self.world.state,
            self.world.processes,
            self.lab,
            self.at_edge.client,
            lambda region: self.estate.region(region).queue,
        )

    def approver(self) -> Client:
        """Who answers: one of the estate's approvers."""
        approvers: Sequence[str] = self.estate.governance.approvers
        return self.airflow.client(approvers[0]) if approvers else self.client

    def keep(self) -> None:
        """Stay up until Ctrl-C."""
        pause = threading.Event()
        try:
            while True:
                self.check_alive()
                pause.wait(5)
        except KeyboardInterrupt:
            print()

    def take_down(self) -> None:
        """End everything. A second Ctrl-C must not leave half a lab behind."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        self.airflow.stop()
        self.world.down()
