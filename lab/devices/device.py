"""One device of the lab: on or off, its sensors by mode and load, and its one service."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jetson_tasks.__main__ import SECONDS_VARIABLE
from jetson_tasks.paths import HOME, METRICS, MODEL, ROOT_VARIABLE
from lab.devices import layout
from lab.devices.faults import DeviceFault, DeviceFaults
from lab.service.devices import MODES

BOOT_SECONDS = 3.0
RESTART_SECONDS = 2.0  # of a service that died
AGENT_SECONDS = 5.0  # between two steps of the agent; 60 on a real device
FRESH_SECONDS = 120


@dataclass
class Service:
    """The process of the device's unit, and what was asked when it was started."""

    process: subprocess.Popen[bytes] | None = None
    serial: int = -1
    ended_at: float = 0.0

    @property
    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def end(self) -> None:
        """As systemd does: SIGTERM, and after a while SIGKILL for all that is left."""
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            kill_group(self.process.pid)
            self.process.wait(10)
        self.process = None


@dataclass
class LabDevice:
    """One device. ``step`` is called every few tenths of a second; ``load`` gives its requests/s at this moment."""

    name: str
    folder: Path
    faults: DeviceFaults
    load: Callable[[], float] = lambda: 0.0
    clock: Callable[[], float] = time.time
    boot_seconds: float = BOOT_SECONDS
    is_on: bool = True
    sessions: set[int] = field(default_factory=set)
    service: Service = field(default_factory=Service)
    _back_at: float = 0.0
    _shown: tuple[str, float] = ("", -1.0)

    def __post_init__(self) -> None:
        if not self.folder.exists():
            layout.create(self.folder, self.name, self.faults.path)

    @property
    def environment(self) -> dict[str, str]:
        """What every process of the device finds: its own programs and its own root."""
        return {
            "PATH": str(self.folder / "bin"),
            "HOME": str(self.folder / "home/akidb"),
            "LANG": "C.UTF-8",
            "PYTHONDONTWRITEBYTECODE": "1",
            SECONDS_VARIABLE: f"{AGENT_SECONDS:g}",
            ROOT_VARIABLE: str(self.folder),
        }

    def step(self) -> None:
        """Follow the faults, the asked-for power state, the load and what is wanted of the service."""
        fault = self.faults.of(self.name)
        if self.is_on and (fault.offline or (self.folder / layout.DOWN).exists()):
            self.power_off()
        elif not self.is_on and not fault.offline and self.clock() >= self._back_at:
            self.boot()
        if self.is_on:
            self._follow_fault(fault)
            self._measure()
            self._follow_unit(fault)

    def power_off(self) -> None:
        """End everything at once, as without power."""
        self.is_on, self._back_at = False, self.clock() + self.boot_seconds
        for pid in list(self.sessions):
            kill_group(pid)
        self.sessions.clear()
        if self.service.process is not None:
            kill_group(self.service.process.pid)
            self.service.process.wait(10)
        self.service = Service()

    def boot(self) -> None:
        """Come back with the service when it is enabled."""
        layout.boot(self.folder, self.clock())
        wanted = self._wanted()
        layout.write(self.folder, layout.UNIT_WANTED, json.dumps({**wanted, "active": wanted["enabled"]}))
        self.is_on = True

    def metrics(self) -> str:
        """Its series as its node_exporter gives them: the sensor, and the agent's file while that is new."""
        if not self.is_on:
            return ""
        lines = [f'jetson_power_watts{{device="{self.name}"}} {self.watts():.3f}']
        path = self.folder / METRICS.lstrip("/")
        with contextlib.suppress(FileNotFoundError):
            if self.clock() - path.stat().st_mtime < FRESH_SECONDS:
                lines += path.read_text(encoding="utf-8").splitlines()
        named = [line for line in lines if not line.startswith("#")]
        # The sensor is read now, the agent read it up to a minute ago: one of the two is enough.
        return "\n".join(named[:1] + [line for line in named[1:] if not line.startswith("jetson_power_watts")]) + "\n"

    def watts(self) -> float:
        """What the board draws at this moment."""
        power = MODES[layout.mode_of(self.folder)]
        bench = self._state(layout.BENCH)
        if Path(f"/proc/{bench.get('pid', 'none')}").exists():
            return power.watts(bench["load"] * power.capacity_qps)
        return power.watts(self.load())

    def _measure(self) -> None:
        bench = self._state(layout.BENCH)
        shown = (layout.mode_of(self.folder), round(self.watts(), 3))
        if shown != self._shown:
            layout.show_power(self.folder, shown[1])
            self._shown = shown
        if bench != self._state(layout.BENCH_SHOWN):
            layout.write(self.folder, layout.BENCH_SHOWN, json.dumps(bench))

    def _follow_fault(self, fault: DeviceFault) -> None:
        model = (fault.board or layout.MODEL) + "\0"
        path = self.folder / MODEL.lstrip("/")
        if path.read_text(encoding="utf-8") != model:
            layout.write(self.folder, MODEL, model)

    # The service -------------------------------------------------------------------------------------------------

    def _follow_unit(self, fault: DeviceFault) -> None:
        wanted = self._wanted()
        if self.service.is_running and (not wanted["active"] or wanted["serial"] != self.service.serial):
            self.service.end()
        if wanted["active"] and not self.service.is_running and self._may_start(wanted["serial"]):
            self._start(wanted["serial"])
        if self.service.is_running and self.service.process is not None:
            limit_disk(self.service.process.pid, fault.disk_full)
        self._say(wanted)

    def _may_start(self, serial: int) -> bool:
        """A service that was asked for anew starts at once, one that died after a while."""
        if serial != self.service.serial:
            return True
        if self.service.process is not None:
            self.service.process, self.service.ended_at = None, self.clock()
        return self.clock() - self.service.ended_at >= RESTART_SECONDS

    def _start(self, serial: int) -> None:
        log = self.folder / layout.STATE / "service.log"
        with log.open("ab") as output:
            process = subprocess.Popen(
                [str(self.folder / "bin/python3"), f"{HOME}/agent.pyz", "run"],
                stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, env=self.environment,
                cwd=self.folder, start_new_session=True,
            )  # fmt: skip
        self.service = Service(process, serial)

    def _say(self, wanted: dict[str, Any]) -> None:
        state = "active" if self.service.is_running else "activating" if wanted["active"] else "inactive"
        found = {"state": state, "serial": self.service.serial if self.service.is_running else wanted["serial"]}
        if self._state(layout.UNIT_FOUND) != found:
            layout.write(self.folder, layout.UNIT_FOUND, json.dumps(found))

    def _wanted(self) -> dict[str, Any]:
        return {"enabled": False, "active": False, "serial": 0, **self._state(layout.UNIT_WANTED)}

    def _state(self, name: str) -> dict[str, Any]:
        try:
            found: dict[str, Any] = json.loads((self.folder / name).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        return found


def kill_group(pid: int) -> None:
    """Kill a process and all that it started in its session."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


def limit_disk(pid: int, full: bool) -> None:
    """Take the disk from a running process, or give it back."""
    with contextlib.suppress(ProcessLookupError):
        soft, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        wanted = 0 if full else hard
        if soft != wanted:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (wanted, hard))
