"""Everything that `make setup` does: the virtual environment, the pinned packages, the lab's programs.

Standard library only, run by the machine's own ``python3``. A step that is already done is skipped: packages by
a stamp over the requirements files, programs by their pins (``lab/machine/build.py``). The package download and the
Go builds run side by side, because one waits for the network and the other for the processor.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
REQUIREMENTS = ("requirements.txt", "requirements-dev.txt")
RESULT = ROOT / ".lab" / "results" / "setup.json"  # ignored by git: a set-up changes no tracked file
PUBLISHED = ROOT / "benchmarks" / "results" / "setup.json"  # what `make bench` writes
OLDEST, TOO_NEW = (3, 11), (3, 15)  # Airflow 3.3 and its providers
VENV_SECONDS, PACKAGES_SECONDS = 4, 60  # measured; only the progress line uses them


class SetupError(RuntimeError):
    """A step failed; the message says what, why and what to do."""


def check_python(version: tuple[int, ...] = sys.version_info[:2]) -> None:
    """Raise SetupError when ``version`` (major, minor) can't run the project."""
    if OLDEST <= tuple(version) < TOO_NEW:
        return
    raise SetupError(
        f"Python {version[0]}.{version[1]} can't run this project: it needs {OLDEST[0]}.{OLDEST[1]} or newer, "
        f"below {TOO_NEW[0]}.{TOO_NEW[1]}.\n"
        "Install one and name it: make setup PYTHON=python3.12"
    )


def pinned_block(package: str, requirements: str) -> str:
    """The lines of ``package`` in a compiled requirements text, hashes included.

    Raises SetupError when the package is not pinned there.
    """
    lines = requirements.splitlines()
    for start, line in enumerate(lines):
        if not line.startswith(f"{package}=="):
            continue
        end = start
        while lines[end].rstrip().endswith("\\"):
            end += 1
        return "\n".join(lines[start : end + 1]) + "\n"
    raise SetupError(f"{package} is not pinned in requirements-dev.txt: run `make requirements` and commit the result")


def stamp_of(root: Path, python: str = platform.python_version()) -> str:
    """A digest of everything that decides what is installed: both requirements files and the Python version."""
    digest = hashlib.sha256(python.encode())
    for name in REQUIREMENTS:
        digest.update((root / name).read_bytes())
    return digest.hexdigest()


def _run(what: str, remedy: str, *command: str) -> None:
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        tail = "\n".join((result.stderr or result.stdout).strip().splitlines()[-12:])
        raise SetupError(f"{what} failed:\n{tail}\n{remedy}")


def make_venv(venv: Path) -> None:
    """Create the virtual environment ``venv`` with pip in it, replacing a half-made one."""
    _run(
        "creating .venv",
        "On Debian and Ubuntu the module comes with `apt install python3-venv`; then run `make setup` again.",
        *(sys.executable, "-m", "venv", "--clear", str(venv)),
    )


def install_packages(venv: Path, compiled: bool = True) -> None:
    """Install requirements-dev.txt into ``venv``: uv by pip, the rest by uv; every file is checked by its hash.

    Without byte code (``compiled``) the first start of what is imported takes longer, and the set-up half as long.
    """
    python = str(venv / "bin" / "python")
    remedy = (
        "Check that the package index is reached (PIP_INDEX_URL or UV_DEFAULT_INDEX name another one) and that the "
        "disk has 2 GB free; then run `make setup` again."
    )
    if not (venv / "bin" / "uv").exists():
        text = (ROOT / "requirements-dev.txt").read_text(encoding="utf-8")
        with tempfile.TemporaryDirectory() as folder:
            only_uv = Path(folder) / "uv.txt"
            only_uv.write_text(pinned_block("uv", text), encoding="utf-8")
            _run(
                "installing uv",
                remedy,
                *(python, "-m", "pip", "install", "--quiet", "--require-hashes", "--no-deps", "-r", str(only_uv)),
            )
    _run(
        "installing the Python packages",
        remedy,
        *(str(venv / "bin" / "uv"), "pip", "install", "--quiet", "--python", python),
        # Without byte code Airflow's processes start 2.5 times slower.
        *(["--compile-bytecode"] if compiled else []),
        *("--require-hashes", "-r", "requirements-dev.txt"),
    )


class _Programs(threading.Thread):
    """Builds the lab's programs with the new environment's Python, which has pip for Go's package."""

    def __init__(self, venv: Path) -> None:
        super().__init__(daemon=True)
        self._command = [str(venv / "bin" / "python"), "-u", "-m", "lab.machine.build"]
        self._process: subprocess.Popen[str] | None = None
        self.seconds: dict[str, float] = {}
        self.error = ""

    def run(self) -> None:
        self._process = subprocess.Popen(
            self._command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        for line in self._process.stdout:
            if line.startswith("{"):
                self.seconds = json.loads(line)
            else:
                print(line, end="", flush=True)
        self.error = self._process.stderr.read().strip()
        self._process.wait()

    @property
    def failed(self) -> bool:
        return self._process is None or self._process.returncode != 0

    def stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()


def stamp_file(venv: Path, wanted: str, whole: bool) -> Path:
    """Where it stands what was installed: a hurried set-up (not ``whole``) is content with a whole one."""
    whole_one = venv / "requirements.sha256"
    return whole_one if whole or _says(whole_one, wanted) else venv / "requirements.quick.sha256"


def _says(stamp: Path, wanted: str) -> bool:
    return stamp.exists() and stamp.read_text(encoding="utf-8") == wanted


def _say(step: int, text: str) -> None:
    print(f"[{step}/3] {text}", flush=True)


def setup(venv: Path, with_programs: bool = True) -> dict[str, float]:
    """Do what is missing; returns the seconds of each step done, empty when there was nothing to do.

    Without programs it is what everything needs that needs no lab, in a hurry: the packages without byte code, which a
    whole set-up makes up for.
    """
    seconds: dict[str, float] = {}
    wanted = stamp_of(ROOT)
    stamp = stamp_file(venv, wanted, with_programs)
    if not (venv / "bin" / "python").exists():
        begun = time.monotonic()
        _say(1, f"virtual environment .venv (about {VENV_SECONDS} s)")
        make_venv(venv)
        seconds["venv"] = time.monotonic() - begun
    programs = _Programs(venv) if with_programs else None
    if programs:
        programs.start()
    try:
        if not _says(stamp, wanted):
            begun = time.monotonic()
            _say(2, f"Python packages (about {PACKAGES_SECONDS} s, longer while programs are built beside)")
            install_packages(venv, compiled=with_programs)
            stamp.write_text(wanted, encoding="utf-8")
            seconds["packages"] = time.monotonic() - begun
            _say(2, f"Python packages installed in {seconds['packages']:.0f} s")
        if programs:
            programs.join()
    except BaseException:
        if programs:
            programs.stop()  # finished programs are kept; a half-built one leaves no file
        raise
    if programs is None:
        return seconds
    if programs.failed:
        raise SetupError(programs.error.removeprefix("setup: ") or "building the lab's programs failed")
    seconds.update(programs.seconds)
    if programs.seconds:
        _say(3, f"programs of the lab: {len(programs.seconds)} steps done")
    return seconds


def record(seconds: dict[str, float], total: float, path: Path = RESULT) -> None:
    """Write what was measured to ``path``; cold means that nothing was there, neither packages nor programs."""
    kind = "cold" if {"venv", "packages", "kube-apiserver"} <= set(seconds) else "warm" if seconds else "nothing to do"
    known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    known[kind] = {
        "command": "make setup",
        "total_seconds": round(total, 1),
        "steps": {name: round(value, 1) for name, value in seconds.items()},
        "cpus": os.cpu_count(),
        "machine": platform.machine(),
        "python": platform.python_version(),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(known, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def main() -> int:
    """Do what is not done yet; 1 when a step failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--measure", action="store_true", help="publish the seconds, even when nothing was to do")
    parser.add_argument("--packages", action="store_true", help="without the lab's programs: what `make plan` needs")
    options = parser.parse_args()
    begun = time.monotonic()
    try:
        check_python()
        if shutil.which("git") is None:
            raise SetupError("git is missing: install it, then run `make setup` again")
        seconds = setup(ROOT / ".venv", with_programs=not options.packages)
    except SetupError as error:
        print(f"setup: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("setup: stopped; what is finished is kept, `make setup` goes on from there", file=sys.stderr)
        return 130
    total = time.monotonic() - begun
    if (seconds and not options.packages) or options.measure:
        record(seconds, total, PUBLISHED if options.measure else RESULT)
    if seconds:
        print(f"setup: done in {total:.0f} s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
