"""A device in a folder, and a board that answers as it is told to."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jetson_tasks import nvpmodel
from jetson_tasks.agent import BOOT_ID, Agent
from jetson_tasks.board import Board
from jetson_tasks.desired import Desired
from jetson_tasks.desired import parse as parse_desired
from jetson_tasks.nvpmodel import Conf
from jetson_tasks.paths import CONF, HOME, HOSTNAME, MODEL, Files

ROOT = Path(__file__).parents[3]
SAMPLES = {path.stem: path for path in (Path(__file__).parent / "samples").glob("*.conf")}
SAMPLES["orin_nano_super"] = ROOT / "lab" / "devices" / "files" / "orin_nano_super.conf"
NOW = 1_796_000_000.0
NANO = "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super"
TABLE = [
    {"mode": "15W", "watts": 12, "capacity_qps": 200},
    {"mode": "25W", "watts": 17, "capacity_qps": 300},
    {"mode": "MAXN_SUPER", "watts": 22, "capacity_qps": 330},
]
POLICY = {
    "table": TABLE,
    "utilisation": 0.8,
    "hysteresis": 0.1,
    "dwell_seconds": 300,
    "lost_after_seconds": 180,
    "load": {"prometheus": "http://prometheus:9090", "query": "load"},
}


def conf(name: str = "orin_nano_super") -> Conf:
    return nvpmodel.parse(SAMPLES[name].read_text(encoding="utf-8"))


def document(**changes: Any) -> dict[str, Any]:
    """A desired state; a change to None leaves the field out, but for expires_at."""
    base = {"format": 1, "device": "jetson01", "generation": 1, "issued_at": NOW, "expires_at": None}
    merged = {**base, "safe_mode": "MAXN_SUPER", "mode": "15W", **changes}
    return {name: value for name, value in merged.items() if value is not None or name == "expires_at"}


def desired(**changes: Any) -> Desired:
    return parse_desired(json.dumps(document(**changes)))


@dataclass
class FakePrograms:
    """nvpmodel and jetson_clocks. ``answers`` is the mode that is really taken, ``refuses`` how many queries fail
    with ``failure``, a status and an answer.
    """

    conf: Conf
    mode: str = "MAXN_SUPER"
    answers: str | None = None
    refuses: int = 0
    failure: tuple[int, str] = (255, "NVPM ERROR: failed to read PARAM GPU")
    switch_fails: bool = False
    calls: list[str] = field(default_factory=list)

    def run(self, command: list[str]) -> tuple[int, str]:
        assert command[:2] == ["sudo", "-n"]
        self.calls.append(" ".join(command[2:]))
        program, *arguments = command[2:]
        if program == "jetson_clocks":
            return 0, ""
        return self._query() if arguments == ["-q"] else self._switch(arguments)

    def _query(self) -> tuple[int, str]:
        if self.refuses > 0:
            self.refuses -= 1
            return self.failure
        return 0, f"NV Fan Mode:quiet\nNV Power Mode: {self.mode}\n{self.conf.modes[self.mode].id}\n"

    def _switch(self, arguments: list[str]) -> tuple[int, str]:
        if self.switch_fails:
            return 1, "NVPM ERROR: no"
        names = {mode.id: mode.name for mode in self.conf.modes.values()}
        if "--force" not in arguments:
            self.mode = self.answers or names[int(arguments[1])]
        return 0, ""


class Device:
    """jetson01 in a folder: its clock, its load, its programs and its agent."""

    def __init__(self, folder: Path, sample: str = "orin_nano_super", model: str = NANO) -> None:
        self.folder, self.now, self.load = folder, NOW, "100"
        self.files = Files(str(folder))
        self.programs = FakePrograms(conf(sample))
        self.slept: list[float] = []
        for name, text in {
            CONF: SAMPLES[sample].read_text(encoding="utf-8"),
            HOSTNAME: "jetson01\n",
            MODEL: model + "\0",
            BOOT_ID: "boot-1\n",
        }.items():
            self.write(name, text)
        self.files.path(HOME).mkdir(parents=True)

    @property
    def agent(self) -> Agent:
        """A new agent, as each command starts one."""
        board = Board(self.files, self.programs.run, self.slept.append)
        return Agent(self.files, board, lambda: self.now, self.fetch)

    def fetch(self, address: str) -> str:
        assert address == "http://prometheus:9090/api/v1/query?query=load"
        return json.dumps({"data": {"result": [{"value": [self.now, self.load]}] if self.load else []}})

    def write(self, name: str, text: str) -> None:
        path = self.files.path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def apply(self, **changes: Any) -> dict[str, Any]:
        return self.agent.apply(json.dumps(document(**changes)))
