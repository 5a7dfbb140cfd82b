"""Measure what each mode draws and serves, on a device that is out of service: a mode's label is no figure of either.

The bench program keeps live traffic away while it runs: ``PROGRAM --load 0 --seconds N`` leaves the device idle, and
``PROGRAM --load 1 --seconds N`` saturates it. It prints a line when its load stands, holds the load for N seconds, and
ends with the requests/s that were served in its last line. Samples count between that first line and its end.
"""

from __future__ import annotations

import select
import subprocess
import time
from dataclasses import dataclass
from typing import Any, Callable, Sequence

from jetson_tasks.agent import Look
from jetson_tasks.board import Board, BoardError
from jetson_tasks.decisions import Problem
from jetson_tasks.nvpmodel import Conf, ConfError
from jetson_tasks.paths import Files
from jetson_tasks.sensors import board_watts

FORMAT = 1
SAMPLES_PER_SECOND = 2
LEAST_SAMPLES = 3
BENCH_GRACE_SECONDS = 30


@dataclass(frozen=True)
class Plan:
    """What to measure: seconds for each figure, seconds to settle after a switch, modes (none: all), bench program."""

    seconds: float
    settle: float
    modes: Sequence[str]
    bench: str | None


Bench = Callable[[str, int, float], "Running"]


class Running:
    """A bench program that runs."""

    def __init__(self, command: Sequence[str]) -> None:
        self._first = b""
        self._process = subprocess.Popen(
            list(command), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, bufsize=0
        )

    def await_steady(self, seconds: float) -> None:
        """Wait for its first line. Raises BoardError; a program that has ended says so by its result."""
        output = self._process.stdout
        if output is None or not select.select([output], [], [], seconds)[0]:
            self._process.kill()
            raise BoardError(f"the bench program printed no line in {seconds:g} s")
        self._first = output.readline()

    def is_running(self) -> bool:
        """Whether it holds its load."""
        return self._process.poll() is None

    def result(self, seconds: float) -> str:
        """What it printed, once it has ended. Raises BoardError."""
        try:
            output, _ = self._process.communicate(timeout=seconds + BENCH_GRACE_SECONDS)
        except subprocess.TimeoutExpired as error:
            self._process.kill()
            raise BoardError("the bench program doesn't end") from error
        text = (self._first + output).decode("utf-8", "replace")
        if self._process.returncode:
            raise BoardError(f"the bench program ended with status {self._process.returncode}: {text[-200:]}")
        return text


def start_bench(program: str, load: int, seconds: float) -> Running:
    """Start the bench program. Raises BoardError."""
    try:
        return Running([program, "--load", str(load), "--seconds", f"{seconds:g}"])
    except OSError as error:
        raise BoardError(f"bench program {program} can't be started: {error}") from error


class Measurement:
    """One run of the measure command on one device."""

    def __init__(
        self,
        files: Files,
        board: Board,
        plan: Plan,
        sleep: Callable[[float], None] = time.sleep,
        bench: Bench = start_bench,
    ) -> None:
        self._files, self._board, self._plan, self._sleep, self._bench = files, board, plan, sleep, bench

    def run(self, look: Look) -> dict[str, Any]:
        """The figures of every mode that needs no reboot; the device ends in the mode that it began in."""
        names, skipped = self._choose(look)
        result: dict[str, Any] = {
            "format": FORMAT,
            "device": self._board.hostname(),
            "board": look.kind,
            "measured_at": look.now,
            "seconds": self._plan.seconds,
            "from_mode": look.mode,
            "modes": [],
            "skipped": skipped,
            "error": None,
        }
        try:
            for name in names:
                result["modes"].append(self._mode(look.conf, name))
        except (BoardError, ConfError) as error:
            result["error"] = Problem("nvpmodel_failed", str(error)).as_json()
        return {**result, "error": self._return(look) or result["error"]}

    def _choose(self, look: Look) -> tuple[list[str], list[dict[str, str]]]:
        names = [look.conf.mode(name).name for name in self._plan.modes] or list(look.conf.modes)
        found = {name: look.conf.boot_differences(look.mode, name) for name in names}
        skipped = [{"mode": name, "why": "needs a reboot: " + ", ".join(why[:3])} for name, why in found.items() if why]
        return [name for name, why in found.items() if not why], skipped

    def _mode(self, conf: Conf, name: str) -> dict[str, Any]:
        answered = self._board.switch(conf, name)
        if answered != name:
            raise BoardError(f"mode {name} was asked for and the device answers {answered}")
        self._sleep(self._plan.settle)
        idle, idle_samples, _ = self._under(0)
        full, full_samples, served = self._under(1)
        return {
            "mode": name,
            "watts_idle": idle,
            "watts_full": full,
            "capacity_qps": served,
            "samples": min(idle_samples, full_samples),
        }

    def _under(self, load: int) -> tuple[float | None, int, float | None]:
        """Watts, their samples, and requests/s under a load of the bench program; unknown without one."""
        if self._plan.bench is None:
            return None, 0, None
        running = self._bench(self._plan.bench, load, self._plan.seconds)
        watts = self._watts(running)
        output = running.result(self._plan.seconds)
        mean = sum(watts) / len(watts) if len(watts) >= LEAST_SAMPLES else None
        return None if mean is None else round(mean, 3), len(watts), _served(output) if load else None

    def _watts(self, running: Running) -> list[float]:
        """Samples while the load stands; one that the program's end has overtaken doesn't count."""
        running.await_steady(BENCH_GRACE_SECONDS)
        found: list[float] = []
        pause = min(1 / SAMPLES_PER_SECOND, self._plan.seconds / (2 * LEAST_SAMPLES))
        for _ in range(int(self._plan.seconds / pause)):
            watts = board_watts(self._files)
            if not running.is_running():
                break
            if watts is not None:
                found.append(watts)
            self._sleep(pause)
        return found

    def _return(self, look: Look) -> dict[str, str] | None:
        """Back to the first mode; what is wrong when that fails."""
        try:
            answered = self._board.switch(look.conf, look.mode)
        except (BoardError, ConfError) as error:
            return Problem("nvpmodel_failed", str(error)).as_json()
        if answered == look.mode:
            return None
        message = f"mode {look.mode} was asked for and the device answers {answered}"
        return Problem("mode_mismatch", message).as_json()


def _served(output: str) -> float:
    lines = output.split("\n")
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    try:
        return float(last)
    except ValueError as error:
        raise BoardError(f"the bench program's last line is {last[:100]!r}, not the requests/s served") from error
