"""A device's files: what an Orin Nano Super has, and what an administrator has installed for the rollout."""

from __future__ import annotations

import json
import shlex
import sys
import uuid
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from jetson_tasks import bundle, paths
from jetson_tasks.agent import BOOT_ID
from lab.service.devices import FIRST_MODE, MODES

CONF_FILE = Path(__file__).parent / "files" / "orin_nano_super.conf"
PROGRAMS_FILE = Path(__file__).parent / "programs.py"
MODEL = "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super"
FIRST_MODE_ID = 2
CORES = 6
KHZ = {"min": "729600", "max": "1728000"}  # of a core
SENSOR = "/sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon1"
MILLIVOLTS = 5040
# What a user finds on the search path; sudo alone reaches the rest as root.
PROGRAMS = ("akidb-bench", "cat", "hostname", "jetson_clocks", "nvpmodel", "python3", "sudo", "systemctl")
STATE = "lab"  # what the device's programs and its supervisor tell each other
TABLE, BENCH, BENCH_SHOWN, DOWN, UNIT_WANTED, UNIT_FOUND, BOOTED = (
    f"{STATE}/{name}.json" for name in ("table", "bench", "bench_shown", "down", "unit_wanted", "unit_found", "booted")
)


def create(folder: Path, device: str, faults: Path) -> None:
    """Lay out the files of ``device`` in ``folder``; ``faults`` is the file that breaks it on purpose."""
    for name, text in _texts(device).items():
        write(folder, name, text)
    for name in (paths.HOME, "/home/akidb", "/tmp"):  # noqa: S108 - a folder of the device's own
        (folder / name.lstrip("/")).mkdir(parents=True, exist_ok=True)
    for program in PROGRAMS:
        path = folder / "bin" / program
        path.parent.mkdir(exist_ok=True)
        command = [sys.executable, "-I", "-S", PROGRAMS_FILE, folder, faults, device, program]
        path.write_text(f'#!/bin/sh\nexec {shlex.join(map(str, command))} "$@"\n', encoding="utf-8")
        path.chmod(0o755)
    show_power(folder, MODES[FIRST_MODE].watts(0))


def _texts(device: str) -> Mapping[str, str]:
    cores = [f"/sys/devices/system/cpu/cpu{core}/cpufreq" for core in range(CORES)]
    frequencies = {f"{core}/scaling_{end}_freq": khz for core in cores for end, khz in KHZ.items()}
    return {
        paths.HOSTNAME: f"{device}\n",
        paths.MODEL: MODEL + "\0",
        paths.CONF: CONF_FILE.read_text(encoding="utf-8"),
        paths.UNIT: bundle.unit_text(),
        paths.SUDOERS: bundle.sudoers_text(),
        "/var/lib/nvpmodel/status": f"pmode:{FIRST_MODE_ID:04d}\n",
        TABLE: json.dumps({mode: asdict(power) for mode, power in MODES.items()}),
        BOOT_ID: f"{uuid.uuid4()}\n",
        f"{SENSOR}/in1_label": "VDD_IN\n",
        f"{SENSOR}/in2_label": "VDD_CPU_GPU_CV\n",
        f"{SENSOR}/in3_label": "NC\n",
        f"{SENSOR}/in7_label": "sum of shunt voltages\n",
        **frequencies,
    }


def write(folder: Path, name: str, text: str) -> None:
    """Replace a file of the device: whoever reads it sees the old text or the new one."""
    path = folder / name.lstrip("/")
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.lab")
    beside.write_text(text, encoding="utf-8")
    beside.replace(path)


def show_power(folder: Path, watts: float) -> None:
    """Let the sensor measure ``watts`` at the board's input, and most of them in the processors."""
    for channel, share in (("1", 1.0), ("2", 0.6)):
        write(folder, f"{SENSOR}/in{channel}_input", f"{MILLIVOLTS}\n")
        write(folder, f"{SENSOR}/curr{channel}_input", f"{watts * share * 1e6 / MILLIVOLTS:.0f}\n")


def boot(folder: Path, moment: float) -> None:
    """What a boot at ``moment`` (Unix seconds) renews: its id, and what the running system had in memory."""
    write(folder, BOOT_ID, f"{uuid.uuid4()}\n")
    write(folder, BOOTED, json.dumps({"at": moment}))
    for name in (BENCH, BENCH_SHOWN, DOWN, UNIT_FOUND):
        (folder / name).unlink(missing_ok=True)


def mode_of(folder: Path) -> str:
    """The name of the mode that the device is in."""
    number = int((folder / "var/lib/nvpmodel/status").read_text(encoding="ascii").partition(":")[2])
    lines = [line.split() for line in (folder / paths.CONF.lstrip("/")).read_text(encoding="utf-8").splitlines()]
    found = {line[2]: line[3] for line in lines if line[:2] == ["<", "POWER_MODEL"]}
    return found[f"ID={number}"].partition("=")[2]
