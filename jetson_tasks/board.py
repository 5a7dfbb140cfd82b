"""The programs of the board, through sudo: nvpmodel and jetson_clocks, and nothing else.

``nvpmodel -q`` fails, or answers nothing, while the board still boots, so it is asked again before that is believed.
While jetson_clocks pins the clocks, a switch would be undone by it: it is taken off during a switch and put back after
it.
"""

from __future__ import annotations

import subprocess
import time
from pathlib import Path
from typing import Callable, List, Tuple

from jetson_tasks import nvpmodel
from jetson_tasks.nvpmodel import Conf, ConfError
from jetson_tasks.paths import CONF, HOSTNAME, MODEL, Files

# By what the device tree's model contains; a board that isn't here is refused: nobody has looked at its modes.
BOARDS = (
    ("Orin Nano", "orin-nano"),
    ("Orin NX", "orin-nx"),
    ("AGX Orin", "agx-orin"),
    ("Thor", "thor"),
)
QUERY_PAUSES = (0.5, 1.0, 2.0, 4.0)  # seconds between the tries of a query
PROGRAM_SECONDS = 60
FREQUENCIES = "sys/devices/system/cpu/cpu*/cpufreq/scaling_min_freq"

Run = Callable[[List[str]], Tuple[int, str]]


class BoardError(RuntimeError):
    """The board's programs don't do what they are asked; the message says which and what they answered."""


class UnknownBoard(RuntimeError):  # noqa: N818 - as the other refusals of this project are named
    """The device is none of the known boards; the message names it."""


def run_program(command: list[str]) -> tuple[int, str]:
    """Exit code and output of a program; nobody answers its questions."""
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=PROGRAM_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return 127, str(error)
    return done.returncode, done.stdout.decode("utf-8", "replace")


class Board:
    """One device's board. ``run`` starts a program, ``sleep`` waits."""

    def __init__(self, files: Files, run: Run = run_program, sleep: Callable[[float], None] = time.sleep) -> None:
        self.files, self._run, self._sleep = files, run, sleep

    def hostname(self) -> str:
        """The device's own name."""
        return (self.files.read(HOSTNAME) or "").strip()

    def model(self) -> str:
        """What the device tree calls the board."""
        return (self.files.read(MODEL) or "").strip()

    def kind(self) -> str:
        """The board's name here: "orin-nano-super", "orin-nx" ... Raises UnknownBoard."""
        model = self.model()
        for part, name in BOARDS:
            if part in model:
                return name + "-super" if model.endswith("Super") else name
        known = ", ".join(part for part, _ in BOARDS)
        raise UnknownBoard("the board is {!r}: this agent knows {}".format(model or "not named", known))

    def conf(self) -> Conf:
        """The board's modes. Raises ConfError."""
        text = self.files.read(CONF)
        if text is None:
            raise ConfError(f"{CONF} can't be read: is nvpmodel installed?")
        return nvpmodel.parse(text)

    def mode(self, conf: Conf) -> str:
        """The mode that the board says it is in. Raises BoardError, ConfError."""
        code, answer = self._sudo("nvpmodel", "-q")
        for pause in QUERY_PAUSES:
            if code == 0 and nvpmodel.names_mode(answer):
                break
            self._sleep(pause)
            code, answer = self._sudo("nvpmodel", "-q")
        if code:
            raise BoardError(f"nvpmodel -q failed {len(QUERY_PAUSES) + 1} times: {_short(answer)}")
        return nvpmodel.answered(answer, conf)

    def switch(self, conf: Conf, name: str) -> str:
        """Ask for a mode that needs no reboot; returns what the board answers then. Raises BoardError, ConfError."""
        pinned = self.clocks_pinned()
        if pinned:
            self._must("jetson_clocks", "--restore")
        try:
            self._must("nvpmodel", "-m", str(conf.mode(name).id))
            return self.mode(conf)
        finally:
            if pinned:
                self._must("jetson_clocks")

    def reboot_into(self, conf: Conf, name: str) -> None:
        """Ask for a mode that needs a reboot; the device goes down with it. Raises BoardError, ConfError."""
        self._must("nvpmodel", "-m", str(conf.mode(name).id), "--force")

    def clocks_pinned(self) -> bool:
        """Whether jetson_clocks holds the clocks: it makes every core's least frequency its highest."""
        pairs = [(_read(low), _read(low.with_name("scaling_max_freq"))) for low in self.files.root.glob(FREQUENCIES)]
        return bool(pairs) and all(low is not None and low == high for low, high in pairs)

    def _must(self, *command: str) -> None:
        code, answer = self._sudo(*command)
        if code:
            raise BoardError(f"{' '.join(command)} ended with status {code}: {_short(answer)}")

    def _sudo(self, *command: str) -> tuple[int, str]:
        return self._run(["sudo", "-n", *command])


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="ascii").strip()
    except OSError:
        return None


def _short(text: str) -> str:
    return " ".join(text.split())[:200] or "no answer"
