"""What is broken on purpose in the service: ``plant_faults.json`` in the lab's folder, re-read when it changes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FAULTS_FILE = "plant_faults.json"
MOST_LOAD = 10


class FaultError(ValueError):
    """The faults file can't be used; the message names the entry and the remedy."""


@dataclass(frozen=True)
class Leak:
    """Memory that the first serving pod (by name) of ``app`` holds without need, in MiB."""

    app: str
    mib: float


@dataclass(frozen=True)
class Fault:
    """What is broken on purpose in a region.

    Latency added to each request, share of requests answered with 500, memory that one pod leaks, and what the demand
    is multiplied by.
    """

    extra_latency_ms: float = 0.0
    error_ratio: float = 0.0
    leak: Leak | None = None
    load_factor: float = 1.0


def parse_faults(text: str, regions: Mapping[str, Any]) -> dict[str, Fault]:
    """Faults by region from the file's text. Raises FaultError."""
    try:
        raw = json.loads(text or "{}")
        faults = {region: _fault(settings) for region, settings in raw.items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise FaultError(
            f'{FAULTS_FILE}: {error}: write {{"<region>": {{"extra_latency_ms": 80, "error_ratio": 0.01, '
            '"leak": {"app": "akidb-grpc", "mib": 4000}}}'
        ) from error
    for region, fault in faults.items():
        if region not in regions:
            raise FaultError(f"{FAULTS_FILE}: region {region!r} is not running; use one of {', '.join(regions)}")
        if not (fault.extra_latency_ms >= 0 and 0 <= fault.error_ratio <= 1):
            raise FaultError(f"{FAULTS_FILE}: {region}: extra_latency_ms must be 0 or more, error_ratio from 0 to 1")
        if not 0 <= fault.load_factor <= MOST_LOAD:
            raise FaultError(f"{FAULTS_FILE}: {region}: load_factor must be from 0 to {MOST_LOAD}")
        if fault.leak and not (fault.leak.app and fault.leak.mib > 0):
            raise FaultError(f"{FAULTS_FILE}: {region}: leak needs the name of an app, and mib above 0")
    return faults


def _fault(settings: Mapping[str, Any]) -> Fault:
    given = dict(settings)
    leak = given.pop("leak", None)
    return Fault(**given, leak=None if leak is None else Leak(**leak))


class ServiceFaults:
    """The faults in force: those of the last valid file."""

    def __init__(self, path: Path, regions: Mapping[str, Any]) -> None:
        self._path = path
        self._regions = regions
        self._seen: tuple[int, int] | None = None
        self._faults: dict[str, Fault] = {}

    def of(self, region: str) -> Fault:
        """The fault of ``region``; none by default."""
        return self._faults.get(region, Fault())

    def refresh(self) -> None:
        """Read the file if it has changed. A file that can't be used is reported once and changes nothing."""
        try:
            stat = self._path.stat()
            seen = (stat.st_mtime_ns, stat.st_size)
        except FileNotFoundError:
            self._seen, self._faults = None, {}
            return
        if seen == self._seen:
            return
        self._seen = seen
        try:
            self._faults = parse_faults(self._path.read_text(encoding="utf-8"), self._regions)
        except (OSError, FaultError) as error:
            print(f"{error}; the faults stay as they were", flush=True)
