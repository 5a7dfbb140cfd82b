"""Five Jetson devices in memory: the agent itself on a folder each, with made-up boards, sudo and systemd."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from include.clients.devices import Device, OfflineError, Ran
from include.clients.prometheus import Series
from include.clients.storage import Folder
from include.estate import load_estate
from include.levers.edge_power import EdgePower
from include.levers.edge_power.settings import PowerSettings
from include.levers.world import World as LeverWorld
from include.rollout.lever import Target
from include.rollout.place import DEVICES
from include.rollout.settings import build
from jetson_tasks import bundle, paths
from jetson_tasks.agent import Agent, exit_code
from jetson_tasks.board import Board
from jetson_tasks.desired import RefusedState
from jetson_tasks.nvpmodel import parse
from jetson_tasks.paths import Files
from tests.unit.levers.dns_world import Clock

Object = dict[str, Any]
# Orin Nano Super: only 7W has fewer cores and needs a reboot.
MODES = {"15W": 0, "25W": 1, "MAXN_SUPER": 2, "7W": 3}
CONF = "\n".join([
    "< PARAM TYPE=FILE NAME=CPU_ONLINE >",
    "CORE_1 /sys/devices/system/cpu/cpu1/online",
    "CORE_5 /sys/devices/system/cpu/cpu5/online",
    *(f"< POWER_MODEL ID={number} NAME={name} >\nCPU_ONLINE CORE_1 1\nCPU_ONLINE CORE_5 {int(name != '7W')}"
      for name, number in MODES.items()),
    "< PM_CONFIG DEFAULT=1 >",
    "",
])  # fmt: skip
MEASURED = {
    "format": 1, "device": "jetson01", "board": "orin-nano-super", "measured_at": 1_799_900_000.0, "seconds": 60,
    "from_mode": "MAXN_SUPER", "error": None, "skipped": [{"mode": "7W", "why": "needs a reboot"}],
    "modes": [
        {"mode": "15W", "watts_idle": 5.0, "watts_full": 11.8, "capacity_qps": 220.0, "samples": 118},
        {"mode": "25W", "watts_idle": 5.6, "watts_full": 16.9, "capacity_qps": 310.0, "samples": 118},
        {"mode": "MAXN_SUPER", "watts_idle": 6.2, "watts_full": 22.4, "capacity_qps": 330.0, "samples": 118},
    ],
}  # fmt: skip
LOAD = 120.0
HWMON = "/sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon1"
WATTS = {row["mode"]: row for row in MEASURED["modes"]}


class FakeDevice(Device):
    """One device: its folder, board, sudo and systemd. ``offline``, ``answers`` and ``refuses`` are faults."""

    def __init__(self, name: str, root: Path, clock: Clock) -> None:
        super().__init__(name, lambda: None)
        self.files, self.clock = Files(str(root)), clock
        self.mode, self.active, self.enabled, self.offline = "MAXN_SUPER", False, False, False
        self.answers: str | None = None  # the mode that nvpmodel gives whatever is asked
        self.dies_in_switch = False
        self.load: float | None = LOAD
        self.draws = 1.0  # of what was measured
        for path, text in {
            paths.HOSTNAME: f"{name}\n", paths.CONF: CONF, paths.UNIT: bundle.unit_text(),
            paths.MODEL: "NVIDIA Jetson Orin Nano Developer Kit Super",
            f"{HWMON}/in1_label": "VDD_IN", f"{HWMON}/in1_input": "5000",
        }.items():  # fmt: skip
            self.files.path(path).parent.mkdir(parents=True, exist_ok=True)
            self.files.path(path).write_text(text, encoding="utf-8")
        self.files.path(paths.HOME).mkdir(parents=True)

    # What a program on it does ------------------------------------------------------------------------------------

    def _program(self, command: list[str]) -> tuple[int, str]:
        conf = parse(CONF)
        match command[2:]:
            case ["nvpmodel", "-q"]:
                return 0, f"NV Power Mode: {self.mode}\n{MODES[self.mode]}\n"
            case ["nvpmodel", "-m", number, *force]:
                name = next(name for name, known in MODES.items() if known == int(number))
                if self.dies_in_switch:
                    self.offline = True
                if conf.needs_reboot(self.mode, name) and not force:
                    return 1, "a reboot is needed"
                self.mode = self.answers or name
                return 0, ""
            case ["systemctl", verb, _]:
                self._systemctl(verb)
                return 0, ""
        return 1, "sudo: a password is required"

    def _measure_power(self) -> None:
        """What the sensors show: the measured watts of the mode at the load."""
        row = WATTS.get(self.mode, WATTS["15W"])
        share = min((self.load or 0) / row["capacity_qps"], 1)
        watts = (row["watts_idle"] + (row["watts_full"] - row["watts_idle"]) * share) * self.draws
        self.files.path(f"{HWMON}/curr1_input").write_text(f"{watts * 1000 / 5:.0f}\n", encoding="ascii")

    def _systemctl(self, verb: str) -> None:
        if verb in ("enable", "disable"):
            self.enabled = verb == "enable"
        else:
            self.active = verb != "stop"

    def _fetch(self, _address: str) -> str:
        result = [] if self.load is None else [{"metric": {}, "value": [self.clock.now(), str(self.load)]}]
        return json.dumps({"status": "success", "data": {"resultType": "vector", "result": result}})

    @property
    def agent(self) -> Agent:
        return Agent(self.files, Board(self.files, self._program, lambda _: None), self.clock.now, self._fetch)

    # What SSH can do ------------------------------------------------------------------------------------------------

    def _reach(self) -> None:
        if self.offline:
            raise OfflineError(f"{self.name} can't be reached (timed out): pending until it is back")

    def run(self, *command: str, stdin: str = "", seconds: float | None = None) -> Ran:
        self._reach()
        if command[:2] == ("sudo", "-n"):
            return Ran(*self._program(list(command)), "")
        if command[0] == "systemctl":
            state = {"is-active": (self.active, "active"), "is-enabled": (self.enabled, "enabled")}[command[1]]
            return Ran(0, f"{state[1]}\n", "") if state[0] else Ran(3, f"in{state[1]}\n", "")
        assert command[:2] == ("python3", paths.AGENT), command
        self._measure_power()
        if not self.files.path(paths.AGENT).exists():
            return Ran(2, "", f"python3: can't open file {paths.AGENT!r}")
        found = self._agent(command[2], stdin)
        self._reach()
        return found

    def _agent(self, verb: str, stdin: str) -> Ran:
        try:
            if verb == "remove":
                self.agent.remove()
                return Ran(0, "{}", "")
            status = self.agent.apply(stdin) if verb == "apply" else self.agent.status()
        except RefusedState as error:
            return Ran(2, "", str(error))
        return Ran(exit_code(status) if verb == "apply" else 0, json.dumps(status), "")

    def read(self, path: str) -> bytes | None:
        self._reach()
        found = self.files.path(path)
        return found.read_bytes() if found.exists() else None

    def put(self, path: str, content: bytes) -> None:
        self._reach()
        self.files.path(path).write_bytes(content)

    def remove(self, path: str) -> None:
        self._reach()
        self.files.path(path).unlink(missing_ok=True)

    def state(self) -> Object:
        """What a lever may change of it; counters of the agent left out."""
        desired = json.loads(self.read(paths.DESIRED) or b"null") if not self.offline else None
        agent = self.files.path(paths.AGENT)
        return {
            "mode": self.mode, "active": self.active, "enabled": self.enabled,
            "desired": {k: v for k, v in desired.items() if k not in ("generation", "issued_at")} if desired else None,
            "agent": hashlib.sha256(agent.read_bytes()).hexdigest() if agent.exists() else None,
            "status": self.files.path(paths.STATUS).exists(),
        }  # fmt: skip


class Prometheus:
    """The load of every device, a value a minute of the last day."""

    url = "http://prometheus.example:9090"

    def query_range(self, expression: str, start: float, end: float, step: float) -> list[Series]:
        times = range(int(start), int(end), int(step))
        return [Series({}, tuple((float(at), LOAD) for at in times))]


CLOCK = Clock()
LEVER = EdgePower(CLOCK.now, CLOCK.sleep)


class World:
    """The devices of the estate, the canary's measurement in a folder."""

    def __init__(self, folder: Path, **given: Any) -> None:
        self.estate = load_estate()
        self.devices = {n: FakeDevice(n, folder / n, CLOCK) for n in self.estate.edge.power.devices}
        self.costs = Folder(folder / "costs")
        self.costs.put(self.estate.edge.power.measured, json.dumps(MEASURED).encode())
        self.fences: list[int] = []
        clients = SimpleNamespace(
            devices=self.devices,
            storage=lambda _variable: self.costs,
            of=lambda _region: SimpleNamespace(prometheus=Prometheus()),
        )
        settings = build(PowerSettings, given, self.estate)
        self.target = Target(DEVICES, self.estate, "run", settings, clients, lambda: self.fences.append(1))

    @property
    def lever_world(self) -> LeverWorld[PowerSettings]:
        return LEVER.world(self.target)

    def state(self) -> Object:
        return {name: device.state() for name, device in self.devices.items()}

    def apply_all(self, target: Target | None = None) -> None:
        target = target or self.target
        for stage in LEVER.plan(target).stages:
            LEVER.apply(target, stage)
