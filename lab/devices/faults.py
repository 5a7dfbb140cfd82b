"""What is broken on purpose in the devices: ``device_faults.json`` in the lab's folder, read at each use."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

FAULTS_FILE = "device_faults.json"


class DeviceFaultError(ValueError):
    """The faults file can't be used; the message names the entry and the remedy."""


@dataclass(frozen=True)
class DeviceFault:
    """What is broken in a device. ``answers`` is the mode that every switch ends in, ``board`` what it says it is."""

    offline: bool = False
    dies_in_switch: bool = False
    answers: str | None = None
    disk_full: bool = False
    board: str | None = None
    clock_skew_seconds: float = 0.0


def parse(text: str, devices: Mapping[str, object]) -> dict[str, DeviceFault]:
    """Faults by device. Raises DeviceFaultError."""
    known = ", ".join(field.name for field in fields(DeviceFault))
    try:
        found = {device: DeviceFault(**settings) for device, settings in json.loads(text or "{}").items()}
    except (ValueError, TypeError, AttributeError) as error:
        message = f'{FAULTS_FILE}: {error}: write {{"jetson03": {{"offline": true}}}} with fields of {known}'
        raise DeviceFaultError(message) from error
    for device in found:
        if device not in devices:
            raise DeviceFaultError(f"{FAULTS_FILE}: device {device!r} is not there; use one of {', '.join(devices)}")
    return found


class DeviceFaults:
    """The faults in force: those of the last valid file."""

    def __init__(self, path: Path, devices: Mapping[str, object]) -> None:
        self.path, self._devices = path, devices
        self._found: dict[str, DeviceFault] = {}

    def of(self, device: str) -> DeviceFault:
        """The fault of ``device`` at this moment; a file that can't be used changes nothing."""
        try:
            self._found = parse(self.path.read_text(encoding="utf-8"), self._devices)
        except FileNotFoundError:
            self._found = {}
        except (OSError, DeviceFaultError) as error:
            print(f"{error}; the faults stay as they were", flush=True)
        return self._found.get(device, DeviceFault())
