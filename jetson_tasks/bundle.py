"""The agent as one file, and the files of a device that an administrator installs once.

The same sources give the same bytes wherever they are packed, so that a device's copy is compared by its hash.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from pathlib import Path

FOLDER = Path(__file__).parent
UNIT_FILE = FOLDER / "files" / "akidb-power.service"
SUDOERS_FILE = FOLDER / "files" / "akidb-power.sudoers"
ZIP_DATE = (1980, 1, 1, 0, 0, 0)  # the earliest that a zip file can hold
HERE_ONLY = "bundle.py"  # of no use on a device
START = "import sys\n\nfrom jetson_tasks.__main__ import main\n\nsys.exit(main())\n"


def sources() -> dict[str, str]:
    """The texts of the agent's files by their names inside it."""
    paths = [path for path in sorted(FOLDER.glob("*.py")) if path.name != HERE_ONLY]
    modules = {f"jetson_tasks/{path.name}": path.read_text(encoding="utf-8") for path in paths}
    return {"__main__.py": START, **modules}


def agent_bytes() -> bytes:
    """The agent, a zip file that Python runs: ``python3 agent.pyz status``."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:  # stored, not packed: zlib's releases don't pack alike
        for name, text in sources().items():
            entry = zipfile.ZipInfo(name, ZIP_DATE)
            entry.external_attr = 0o644 << 16
            entry.create_system = 3
            archive.writestr(entry, text.encode("utf-8"))
    return buffer.getvalue()


def version() -> str:
    """The SHA-256 of :func:`agent_bytes`, as a device's status gives it."""
    return hashlib.sha256(agent_bytes()).hexdigest()


def unit_text() -> str:
    """The systemd unit."""
    return UNIT_FILE.read_text(encoding="utf-8")


def sudoers_text() -> str:
    """What the agent's user may do as root."""
    return SUDOERS_FILE.read_text(encoding="utf-8")
