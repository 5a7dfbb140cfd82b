"""Where a rehearsal keeps what outlives its processes, below the lab's folder."""

from __future__ import annotations

import os
from pathlib import Path

from lab import world

SAFETY = "safety"  # in the ledger's folder: the records of what was rehearsed, which outlive a lab


def lab_folder() -> Path:
    """The folder of the lab: ``$LAB_DIR``, else ``.lab`` of this checkout."""
    return Path(os.environ.get("LAB_DIR") or world.DEFAULT_FOLDER).resolve()


def ledger_folder(folder: Path) -> Path:
    """Where the rehearsal's ledger lies."""
    return folder / "ledger"


def costs_folder(folder: Path) -> Path:
    """Where the rehearsal's cost table and reports lie."""
    return folder / "costs"
