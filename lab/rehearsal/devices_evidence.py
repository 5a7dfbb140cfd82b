"""What stands on the Jetson devices, read from the lab's own files: the evidence of their undo."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from jetson_tasks import paths
from lab.devices import layout

COUNTED = ("generation", "issued_at")  # of a desired state: how often it was asked for, not what


def devices_folder(folder: Path) -> Path:
    """Where the devices of the lab in ``folder`` have their files."""
    return folder / "run" / "devices"


def specs(folder: Path, devices: Iterable[str]) -> dict[str, Any]:
    """What a rollback must bring back, by device: mode, agent, what it is asked for, whether its unit is enabled."""
    return {"devices": {name: _device(devices_folder(folder) / name) for name in devices}}


def _device(root: Path) -> dict[str, Any]:
    desired = _json(root / paths.DESIRED.lstrip("/"))
    return {
        "mode": layout.mode_of(root),
        "agent": "there" if (root / paths.AGENT.lstrip("/")).exists() else None,
        "desired": None if desired is None else {k: v for k, v in desired.items() if k not in COUNTED},
        "enabled": bool((_json(root / layout.UNIT_WANTED) or {}).get("enabled")),
    }


def _json(path: Path) -> Mapping[str, Any] | None:
    try:
        found: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return found
