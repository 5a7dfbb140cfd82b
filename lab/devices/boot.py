"""The devices' part of a boot: their keys, what state.json says of them, and their one process."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lab.devices import keys
from lab.machine.processes import Processes

REPOSITORY = Path(__file__).parents[2]


def described(run_folder: Path, ports: Mapping[str, int]) -> dict[str, dict[str, Any]]:
    """How to reach each device of ``ports`` over SSH, by its name; the keys are made here."""
    folder = (run_folder / "devices" / "keys").resolve()
    hosts = keys.make(folder, ports)
    common = {"host": "127.0.0.1", "key_file": str(folder / keys.CLIENT)}
    return {name: {**common, "port": port, "host_key": hosts[name]} for name, port in ports.items()}


def start(processes: Processes, folder: Path) -> None:
    """Start the devices of the lab in ``folder``, whose state.json is there."""
    processes.start("devices", [sys.executable, "-m", "lab.devices", "--state", folder], cwd=REPOSITORY)
