"""One step of a device: look, decide, switch, verify, write down. The commands and the loop are made of it.

The board's answer after a switch is the truth: another mode than the one asked for is an error, and the device goes to
its safe mode and stays there until it is asked again. What it remembers lies in its status file; with a full disk, in
memory.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Dict, Mapping

from jetson_tasks import desired as documents
from jetson_tasks import paths
from jetson_tasks.board import Board, BoardError, UnknownBoard
from jetson_tasks.decisions import DONE, EXIT_CODES, Memory, Problem, Wanted, decide
from jetson_tasks.desired import Desired, RefusedState
from jetson_tasks.load import Fetch, LoadUnknown, load_of
from jetson_tasks.nvpmodel import Conf, ConfError
from jetson_tasks.paths import Files, NotWritten
from jetson_tasks.sensors import board_watts
from jetson_tasks.status import bare, metrics

BOOT_ID = "/proc/sys/kernel/random/boot_id"
Status = Dict[str, Any]
# What a status keeps while the board can't be asked.
REMEMBERED = ("generation", "desired", *Memory(0.0, 0.0).as_json())


@dataclass
class Look:
    """What a device sees in one step, and what comes of it."""

    now: float
    kind: str
    conf: Conf
    mode: str
    memory: Memory
    desired: Desired | None = None
    load_qps: float | None = None
    wanted: Wanted = field(default_factory=lambda: Wanted(None, ""))
    problem: Problem | None = None
    pending: dict[str, Any] | None = None


class Agent:
    """The agent of one device. ``clock`` gives Unix seconds, ``fetch`` answers an address."""

    def __init__(
        self, files: Files, board: Board, clock: Callable[[], float] = time.time, fetch: Fetch | None = None
    ) -> None:
        self._files, self._board, self._clock, self._fetch = files, board, clock, fetch
        self._last: Status = {}  # the newest status, also when it could not be written

    def apply(self, text: str) -> Status:
        """Accept a desired state and carry it out once. Raises RefusedState, and then nothing is written."""
        wanted = documents.parse(text)
        if wanted.device != self._board.hostname():
            raise RefusedState(
                f"device is {wanted.device}, but this is {self._board.hostname()}: correct the connection"
            )
        look = self._look(wanted)
        if isinstance(look, dict):
            return look
        self._check(look, wanted)
        try:
            self._files.replace(paths.DESIRED, json.dumps(wanted.document, sort_keys=True) + "\n")
        except NotWritten as error:
            look.problem = Problem("disk_full", str(error))
            return {**self._document(look), "persisted": False}
        if wanted.generation != self._remembered().get("generation"):
            look.memory.load_at = look.now
        look.memory.forgive()
        return self._carry_out(look)

    def step(self) -> Status:
        """Carry out the desired state that lies on the device, if one does."""
        try:
            text = self._files.read(paths.DESIRED)
            wanted = documents.parse(text) if text else None
        except RefusedState as error:
            return self._keep(self._unable(Problem("state_damaged", f"{paths.DESIRED} is damaged: {error}")))
        look = self._look(wanted)
        return self._keep(look) if isinstance(look, dict) else self._carry_out(look)

    def status(self) -> Status:
        """The status with what the device sees now; nothing is changed."""
        text, remembered = self._files.read(paths.DESIRED), self._remembered()
        look = self._look(documents.parse(text) if text else None)
        if isinstance(look, dict):
            return look
        kept = {name: remembered.get(name) for name in ("wanted", "load_qps", "pending_reboot", "error")}
        document = self._document(look)
        return {**document, **kept, "why": remembered.get("why", ""), "persisted": bool(remembered)}

    def remove(self) -> None:
        """Forget the desired state and everything that was written beside it. Raises OSError."""
        for name in (paths.DESIRED, paths.STATUS, paths.METRICS):
            self._files.remove(name)
        self._last = {}

    def look(self) -> Look:
        """What the device sees. Raises BoardError, ConfError, UnknownBoard."""
        now, kind, conf = self._clock(), self._board.kind(), self._board.conf()
        memory = Memory.of(self._remembered(), now)
        mode = self._board.mode(conf)
        if mode != memory.mode:
            memory.since, memory.mode = now, mode
        return Look(now, kind, conf, mode, memory)

    # Looking ------------------------------------------------------------------------------------------------------

    def _look(self, wanted: Desired | None) -> Look | Status:
        """What the device sees, or the status of one that can't look."""
        try:
            look = self.look()
        except UnknownBoard as error:
            return self._unable(Problem("unknown_board", str(error)))
        except ConfError as error:
            return self._unable(Problem("conf_invalid", str(error)))
        except BoardError as error:
            return self._unable(Problem("nvpmodel_failed", str(error)))
        look.desired = wanted
        return look

    def _unable(self, problem: Problem) -> Status:
        """The status of a device that can't look. It forgets nothing: the reboot of a generation stays the only one."""
        known = {name: value for name, value in self._remembered().items() if name in REMEMBERED}
        status = bare(self._board.hostname(), self._board.model(), self._clock(), problem.as_json())
        return {**status, **known, "agent": agent_version(self._files), "watts": board_watts(self._files)}

    def _check(self, look: Look, wanted: Desired) -> None:
        """Refuse what this device can't do, before anything is written."""
        for name in wanted.modes():
            if name not in look.conf.modes:
                raise RefusedState("mode {} is not one of this device: {}".format(name, ", ".join(look.conf.modes)))
        if wanted.mode is None or wanted.policy is not None:
            self._check_reach(look, wanted)
        held = self._held()
        if held is None:
            return
        if wanted.generation < held["generation"]:
            raise RefusedState(f"generation is {wanted.generation}, and {held['generation']} was accepted")
        if wanted.generation == held["generation"] and wanted.document != held:
            raise RefusedState(f"generation {wanted.generation} was accepted with another content: take the next one")

    def _held(self) -> Mapping[str, Any] | None:
        """The desired state that was accepted last; when its file is damaged, the one that the status remembers."""
        try:
            return documents.parse(self._files.read(paths.DESIRED) or "").document
        except RefusedState:
            found: Mapping[str, Any] | None = self._remembered().get("desired")
            return found

    def _check_reach(self, look: Look, wanted: Desired) -> None:
        for name in wanted.modes():
            differences = look.conf.boot_differences(look.mode, name)
            if differences:
                raise RefusedState(
                    "mode {} needs a reboot from {} ({}): leave it out of schedule and policy".format(
                        name, look.mode, ", ".join(differences[:3])
                    )
                )

    def _read_load(self, look: Look) -> None:
        policy = look.desired.policy if look.desired else None
        if policy is None:
            return
        try:
            look.load_qps = load_of(policy.load, self._files, look.now, policy.lost_after_seconds, self._fetch)
            look.memory.load_at = look.now
        except LoadUnknown:
            look.load_qps = None

    # Acting -------------------------------------------------------------------------------------------------------

    def _carry_out(self, look: Look) -> Status:
        self._read_load(look)
        look.wanted = decide(look.desired, look.mode, look.memory, look.load_qps, look.now)
        look.problem = look.wanted.problem
        name = look.wanted.mode
        if name is not None and name != look.mode and look.desired is not None:
            if look.conf.needs_reboot(look.mode, name):
                self._reboot(look, look.desired, name)
            else:
                self._switch(look, look.desired, name)
        return self._keep(self._document(look))

    def _switch(self, look: Look, wanted: Desired, name: str) -> None:
        problem = self._try(look, name)
        if problem is None:
            return
        look.problem = look.memory.fail(wanted.generation, problem)
        look.wanted = Wanted(wanted.safe_mode, "safe mode: " + problem.message, look.problem)
        if wanted.safe_mode not in (name, look.mode) and not look.conf.needs_reboot(look.mode, wanted.safe_mode):
            self._try(look, wanted.safe_mode)

    def _try(self, look: Look, name: str) -> Problem | None:
        """Switch and verify; ``look.mode`` is what the board answers afterwards."""
        try:
            answered = self._board.switch(look.conf, name)
        except (BoardError, ConfError) as error:
            with contextlib.suppress(BoardError, ConfError):  # a switch that failed may have switched all the same
                self._note(look, self._board.mode(look.conf))
            return Problem("nvpmodel_failed", str(error))
        self._note(look, answered)
        if answered != name:
            return Problem("mode_mismatch", f"mode {name} was asked for and the device answers {answered}")
        return None

    def _note(self, look: Look, answered: str) -> None:
        if answered != look.mode:
            look.mode = look.memory.mode = answered
            look.memory.since = look.now
            look.memory.switches += 1

    def _reboot(self, look: Look, wanted: Desired, name: str) -> None:
        """Ask for the one reboot that a generation may have. It is written down first: a crash must not make it two."""
        boot = self._files.read(BOOT_ID)
        look.pending = {"mode": name, "generation": wanted.generation}
        if look.problem and name != wanted.mode:
            return  # the safe mode, into which nobody allowed a reboot: why it is wanted stays what is wrong
        if look.memory.rebooted_generation == wanted.generation:
            self._asked_before(look, name, boot)
            return
        look.problem = Problem("reboot_pending", f"mode {name} needs a reboot from {look.mode}")
        if not wanted.reboot or name != wanted.mode:
            return
        look.memory.rebooted_generation, look.memory.boot = wanted.generation, boot
        if not self._keep(self._document(look))["persisted"]:
            return
        try:
            self._board.reboot_into(look.conf, name)
        except (BoardError, ConfError) as error:
            look.problem, look.pending = Problem("reboot_failed", str(error)), None

    def _asked_before(self, look: Look, name: str, boot: str | None) -> None:
        if boot == look.memory.boot:
            look.problem = Problem("reboot_pending", f"the reboot into mode {name} is under way")
            return
        look.pending = None
        look.problem = Problem("reboot_failed", f"after its reboot the device is in mode {look.mode}, not {name}")

    # Writing down -------------------------------------------------------------------------------------------------

    def _document(self, look: Look) -> Status:
        status = bare(self._board.hostname(), self._board.model(), look.now, None)
        status.update(look.memory.as_json())
        status.update(
            board=look.kind,
            agent=agent_version(self._files),
            generation=look.desired.generation if look.desired else None,
            mode=look.mode,
            wanted=look.wanted.mode,
            why=look.wanted.why,
            modes=list(look.conf.modes),
            reboot_modes=look.conf.reboot_modes(look.mode),
            load_qps=look.load_qps,
            watts=board_watts(self._files),
            pending_reboot=look.pending,
            desired=look.desired.document if look.desired else None,
            error=look.problem.as_json() if look.problem else None,
        )
        return status

    def _keep(self, status: Status) -> Status:
        """Write status and metrics; with a full disk the status stays in memory and says so."""
        self._last = {**status, "persisted": True}
        try:
            self._files.replace(paths.STATUS, json.dumps(self._last, sort_keys=True) + "\n")
            self._files.replace(paths.METRICS, metrics(status))
        except NotWritten as error:
            self._last = {**status, "persisted": False}
            self._last["error"] = status["error"] or Problem("disk_full", str(error)).as_json()
        return self._last

    def _remembered(self) -> Status:
        """The newest status: the file's, as `apply` writes it too, or the one in memory that could not be written.

        A file of another shape, such as another release's, is none.
        """
        if self._last and not self._last["persisted"]:
            return self._last
        try:
            found = json.loads(self._files.read(paths.STATUS) or "{}")
            Memory.of(found, self._clock())
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
            return {}
        return dict(found)


def exit_code(status: Status) -> int:
    """The exit code of a command that ends with ``status``."""
    if status["error"]:
        return EXIT_CODES[status["error"]["code"]]
    return DONE


def agent_version(files: Files) -> str | None:
    """The SHA-256 of the installed agent; None when it doesn't run from there."""
    path: Path = files.path(paths.AGENT)
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return None
