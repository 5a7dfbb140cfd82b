"""The programs of a lab device. Run as a file, by each of the small scripts in the device's ``bin``:

    python3 -I -S programs.py FOLDER FAULTS DEVICE PROGRAM ARGUMENT...

Standard library alone, so that a program starts in 20 ms. FOLDER is the device's root, FAULTS the lab's
device_faults.json, read at each use. ``sudo`` does what the device's sudoers file allows, word for word, and no more.
"""

from __future__ import annotations

import ctypes
import fnmatch
import json
import os
import re
import resource
import runpy
import shlex
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

UNIT = "akidb-power.service"
HWMON_SECONDS = 1.0  # after a boot nvpmodel fails for so long: its kernel files aren't there yet
UNIT_SECONDS = 15.0
PR_SET_PDEATHSIG = 1  # of prctl(2)
FOLDERS = {"nvpmodel": "/usr/sbin", "jetson_clocks": "/usr/bin", "systemctl": "/usr/bin"}
Arguments = list[str]


class Machine:
    """The device that a program runs on."""

    def __init__(self, folder: Path, faults: Path, device: str) -> None:
        self.folder, self._faults, self.device = folder, faults, device

    def path(self, name: str) -> Path:
        return self.folder / name.lstrip("/")

    def read(self, name: str) -> str:
        try:
            return self.path(name).read_text(encoding="utf-8")
        except OSError:
            return ""

    def write(self, name: str, document: object) -> None:
        path = self.path(name)
        beside = path.with_name(f".{path.name}.{os.getpid()}")
        beside.write_text(document if isinstance(document, str) else json.dumps(document), encoding="utf-8")
        beside.replace(path)

    def state(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.read(f"lab/{name}.json") or "{}")
        return found

    def fault(self, name: str) -> Any:
        try:
            every = json.loads(self._faults.read_text(encoding="utf-8") or "{}")
        except (OSError, ValueError):
            return None
        return every.get(self.device, {}).get(name)

    def modes(self) -> dict[int, str]:
        found = re.findall(r"^< POWER_MODEL ID=(\d+) NAME=(\S+) >", self.read("/etc/nvpmodel.conf"), re.MULTILINE)
        return {int(number): name for number, name in found}

    def mode_id(self) -> int:
        return int(self.read("/var/lib/nvpmodel/status").partition(":")[2])


def sudo(machine: Machine, arguments: Arguments) -> int:
    """Only with -n, and only what the sudoers file allows."""
    if arguments[:1] != ["-n"] or not _allowed(machine.read("/etc/sudoers.d/akidb-power"), arguments[1:]):
        return _fail("sudo: a password is required", 1)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))  # the kernel's files have room on a full disk
    return ROOT_PROGRAMS[arguments[1]](machine, arguments[2:])


def _allowed(sudoers: str, command: Arguments) -> bool:
    program = f"{FOLDERS.get(command[0], '')}/{command[0]}" if command else ""
    rules = [line.partition("NOPASSWD:")[2] for line in sudoers.splitlines() if "NOPASSWD:" in line]
    for rule in (part.strip() for line in rules for part in line.split(",")):
        name, _, pattern = rule.partition(" ")
        if name == program and fnmatch.fnmatchcase(" ".join(command[1:]), "" if pattern == '""' else pattern):
            return True
    return False


def nvpmodel(machine: Machine, arguments: Arguments) -> int:
    """-q names the mode; -m ID switches, or asks whether to reboot; --force reboots without a question."""
    if time.time() - machine.state("booted").get("at", 0.0) < HWMON_SECONDS:
        return _fail("NVPM ERROR: failed to read PARAM GPU: ARG MAX_FREQ: no such file or directory", 255)
    if arguments == ["-q"]:
        number = machine.mode_id()
        print(f"NV Power Mode: {machine.modes()[number]}\n{number}")
        return 0
    number = int(arguments[1])
    if number not in machine.modes():
        return _fail(f"NVPM ERROR: power model {number} is not defined", 255)
    return _switch(machine, number, "--force" in arguments)


def _switch(machine: Machine, number: int, force: bool) -> int:
    if machine.fault("dies_in_switch"):
        machine.write("lab/down.json", {"why": "died in a switch"})
        time.sleep(60)  # until the power is gone
    if _cores(machine, number) != _cores(machine, machine.mode_id()):
        if not force:
            print(f"NVPM WARN: Reboot required for changing to this power mode: {number}")
            print("NVPM WARN: DO YOU WANT TO REBOOT NOW? enter YES/yes to confirm:")
            return 0
        machine.write("lab/down.json", {"why": "reboot"})
    answers = machine.fault("answers")
    taken = next((n for n, name in machine.modes().items() if name == answers), number)
    machine.write("/var/lib/nvpmodel/status", f"pmode:{taken:04d}\n")
    return 0


def _cores(machine: Machine, number: int) -> list[str]:
    """What only a boot can change: the cores of a mode."""
    block = machine.read("/etc/nvpmodel.conf").partition(f"< POWER_MODEL ID={number} ")[2].partition("<")[0]
    return [line for line in block.splitlines() if line.startswith(("CPU_ONLINE", "TPC_"))]


def jetson_clocks(machine: Machine, arguments: Arguments) -> int:
    """Pin every core to its highest frequency, or let it go again."""
    low = "729600\n" if arguments == ["--restore"] else "1728000\n"
    for path in machine.folder.glob("sys/devices/system/cpu/cpu*/cpufreq/scaling_min_freq"):
        path.write_text(low, encoding="ascii")
    return 0


def systemctl(machine: Machine, arguments: Arguments) -> int:
    """What a user may ask: is-active and is-enabled."""
    if len(arguments) != 2 or arguments[0] not in ("is-active", "is-enabled"):
        return _fail("Failed to talk to systemd: Access denied", 4)
    verb, unit = arguments
    if unit != UNIT or not machine.path(f"/etc/systemd/system/{unit}").exists():
        print("inactive" if verb == "is-active" else "not-found")
        return 4
    if verb == "is-enabled":
        enabled = bool(machine.state("unit_wanted").get("enabled"))
        print("enabled" if enabled else "disabled")
        return 0 if enabled else 1
    found = machine.state("unit_found").get("state", "inactive")
    print(found)
    return 0 if found == "active" else 3


def systemctl_as_root(machine: Machine, arguments: Arguments) -> int:
    """start, stop, restart, enable and disable of the one unit; returns when it is done."""
    verb = arguments[0]
    if not machine.path(f"/etc/systemd/system/{UNIT}").exists():
        return _fail(f"Failed to {verb} {UNIT}: Unit {UNIT} not found.", 5)
    wanted = {"enabled": False, "active": False, "serial": 0, **machine.state("unit_wanted")}
    if verb in ("enable", "disable"):
        machine.write("lab/unit_wanted.json", {**wanted, "enabled": verb == "enable"})
        return 0
    wanted["active"] = verb != "stop"
    wanted["serial"] += verb == "restart" or machine.state("unit_found").get("state") != "active"
    machine.write("lab/unit_wanted.json", wanted)
    return _await_unit(machine, wanted)


def _await_unit(machine: Machine, wanted: dict[str, Any]) -> int:
    goal = ("active", wanted["serial"]) if wanted["active"] else ("inactive", wanted["serial"])
    end = time.monotonic() + UNIT_SECONDS
    while time.monotonic() < end:
        found = machine.state("unit_found")
        if (found.get("state", "inactive"), found.get("serial", wanted["serial"])) == goal:
            return 0
        time.sleep(0.05)
    return _fail(f"Job for {UNIT} failed: it did not become {goal[0]} in {UNIT_SECONDS:g} s", 1)


def bench(machine: Machine, arguments: Arguments) -> int:
    """--load 0|1 --seconds N: idle or saturated for so long; the requests/s served end the output."""
    given = dict(zip(arguments[::2], arguments[1::2], strict=True))
    load, seconds = float(given["--load"]), float(given["--seconds"])
    machine.write("lab/bench.json", {"load": load, "until": time.time() + seconds})
    time.sleep(seconds)
    table = json.loads(machine.read("/lab/table.json"))
    print(f"load {load:g} for {seconds:g} s")
    print(table[machine.modes()[machine.mode_id()]]["capacity_qps"] * load)
    return 0


def python3(machine: Machine, arguments: Arguments) -> int:
    """Run a Python file of the device, by the device's clock and with its disk."""
    die_with_parent()
    skew = machine.fault("clock_skew_seconds")
    if skew:
        right = time.time
        time.time = lambda: right() + float(skew)
    if machine.fault("disk_full"):
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
    script = machine.path(arguments[0])
    if not script.exists():
        return _fail(f"python3: can't open file '{arguments[0]}': [Errno 2] No such file or directory", 2)
    sys.argv = [str(script), *arguments[1:]]
    runpy.run_path(str(script), run_name="__main__")
    return 0


def die_with_parent() -> None:
    """End with the lab's device, also when that was killed: nothing of a lab may outlive it."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def cat(machine: Machine, arguments: Arguments) -> int:
    """The text of files."""
    for name in arguments:
        if not machine.path(name).is_file():
            return _fail(f"cat: {name}: No such file or directory", 1)
        sys.stdout.write(machine.read(name))
    return 0


def hostname(machine: Machine, arguments: Arguments) -> int:
    """The device's name."""
    del arguments
    sys.stdout.write(machine.read("/etc/hostname"))
    return 0


def not_root(machine: Machine, arguments: Arguments) -> int:
    """What a program of root's says to a user."""
    del machine, arguments
    return _fail("Permission denied: run it as root", 1)


def _fail(text: str, code: int) -> int:
    print(text, file=sys.stderr)
    return code


Program = Callable[[Machine, Arguments], int]
ROOT_PROGRAMS: dict[str, Program] = {
    "nvpmodel": nvpmodel,
    "jetson_clocks": jetson_clocks,
    "systemctl": systemctl_as_root,
}
USER_PROGRAMS: dict[str, Program] = {
    "akidb-bench": bench,
    "cat": cat,
    "hostname": hostname,
    "jetson_clocks": not_root,
    "nvpmodel": not_root,
    "python3": python3,
    "sudo": sudo,
    "systemctl": systemctl,
}


def words_of(command: str) -> Arguments:
    """The words of one simple command. Raises ValueError for an operator of the shell, which this one doesn't have."""
    lexer = shlex.shlex(command, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    words = list(lexer)
    if any(set(word) <= set("();<>|&") for word in words if word):
        raise ValueError("the shell of a lab device runs one simple command")
    return words


def main() -> int:
    """Run the program that the command line names."""
    folder, faults, device, program, *arguments = sys.argv[1:]
    return USER_PROGRAMS[program](Machine(Path(folder), Path(faults), device), arguments)


if __name__ == "__main__":
    sys.exit(main())
