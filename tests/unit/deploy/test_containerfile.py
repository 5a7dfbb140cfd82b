"""deploy/Containerfile: the linter finds nothing, and what it can't know is checked here."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
FILE = ROOT / "deploy" / "Containerfile"
TEXT = FILE.read_text()


def instructions(name: str) -> list[str]:
    """The arguments of every instruction of this name, continued lines joined."""
    joined = re.sub(r"\\\n(\s*#.*\n)*\s*", "", TEXT)
    return [line.removeprefix(f"{name} ") for line in joined.splitlines() if line.startswith(f"{name} ")]


def test_hadolint_finds_nothing() -> None:
    linter = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([linter, "--failure-threshold", "style", FILE], capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("", 0)


def test_both_stages_have_one_base_that_a_build_can_pin_by_digest() -> None:
    assert instructions("FROM") == ["${BASE} AS packages", "${BASE}"]
    assert [one.partition(":")[0] for one in instructions("ARG")] == ["BASE=docker.io/library/python"]


def test_packages_are_installed_by_hash_from_wheels_alone() -> None:
    (install,) = [one for one in instructions("RUN") if "pip install" in one]
    for option in ("--require-hashes", "--only-binary :all:", "--requirement requirements.txt"):
        assert option in install
    locked = (ROOT / "requirements.txt").read_text()
    entries = re.findall(r"^\S+==\S+.*\\\n    --hash=sha256:", locked, re.MULTILINE)
    assert len(entries) == len(re.findall(r"^[A-Za-z0-9].*==", locked, re.MULTILINE)) > 200


def test_it_runs_as_a_user_without_rights_who_does_not_own_the_code() -> None:
    assert instructions("USER") == ["50000"]
    assert [one for one in instructions("COPY") if "--chown" in one or "--chmod" in one] == []


def test_no_secret_and_nothing_of_the_lab_can_reach_the_image() -> None:
    assert instructions("ADD") == []
    named = [one for kind in ("ENV", "ARG") for one in instructions(kind)]
    assert [one for one in named if re.search(r"PASSWORD|TOKEN|SECRET|_KEY", one)] == []
    let_in = [line[1:] for line in (ROOT / ".containerignore").read_text().splitlines() if line.startswith("!")]
    copied = [one.split()[0] for one in instructions("COPY") if not one.startswith("--from")]
    assert sorted(let_in) == sorted(copied)
    assert {"lab", "tests", "tools", "deploy", "airflow_settings.yaml"}.isdisjoint(copied)
