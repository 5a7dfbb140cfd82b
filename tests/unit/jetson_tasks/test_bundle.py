"""The agent as one file that runs anywhere, and the files that an administrator installs."""

from __future__ import annotations

import ast
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from jetson_tasks import bundle
from jetson_tasks.paths import AGENT, HOME, UNIT_NAME
from tests.unit.jetson_tasks.device_world import ROOT, Device, document

MODULES = sorted((ROOT / "jetson_tasks").glob("*.py"))
# What Python 3.9 and later brought and modules like these might use; ruff's target finds syntax, not names.
NEWER = {"removeprefix", "removesuffix", "pairwise", "batched", "is_relative_to", "readlink", "walk", "StrEnum", "UTC"}
NEWER |= {"cache", "randbytes", "lcm", "nextafter", "bit_count", "hardlink_to", "with_stem", "add_note", "slots"}


def agent(device: Device, *arguments: str, text: str = "") -> subprocess.CompletedProcess[str]:
    """The installed agent as the device runs it, away from this repository; its board's programs are missing."""
    device.files.path(AGENT).write_bytes(bundle.agent_bytes())
    env = {"JETSON_TASKS_ROOT": str(device.folder), "PATH": str(device.folder), "JETSON_TASKS_SECONDS": "0.1"}
    command = [sys.executable, "-I", str(device.files.path(AGENT)), *arguments]
    # -I drops PYTHONPATH: nothing of the repository is there.
    return subprocess.run(
        command, input=text, env=env, cwd="/", capture_output=True, text=True, check=False, timeout=60
    )


def sudo(device: Device, script: str) -> None:
    path = device.folder / "sudo"
    path.write_text(f"#!/bin/sh\n{script}\n", encoding="ascii")
    path.chmod(0o755)


def test_the_same_sources_give_the_same_bytes() -> None:
    assert bundle.agent_bytes() == bundle.agent_bytes()
    assert bundle.version() == hashlib.sha256(bundle.agent_bytes()).hexdigest()


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_a_module_imports_the_standard_library_and_itself_only(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.split(".")[0] for name in names} <= sys.stdlib_module_names | {"jetson_tasks"}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_a_module_is_python_3_8(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 8))
    names = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    names |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names}
    names |= {word.arg or "" for node in ast.walk(tree) if isinstance(node, ast.Call) for word in node.keywords}
    assert names & NEWER == set()


def test_a_status_comes_from_the_one_file_alone(tmp_path: Path) -> None:
    device = Device(tmp_path)
    sudo(device, 'printf "NV Power Mode: 25W\\n1\\n"')
    done = agent(device, "status")
    status = json.loads(done.stdout)
    assert (done.returncode, status["mode"], status["agent"]) == (0, "25W", bundle.version())


@pytest.mark.parametrize(
    ("script", "changes", "code"),
    [
        ('printf "NV Power Mode: 25W\\n1\\n"', {"mode": "25W"}, 0),
        ('printf "NV Power Mode: 25W\\n1\\n"', {"device": "jetson02"}, 2),
        ('printf "NV Power Mode: 25W\\n1\\n"', {"mode": "15W"}, 3),
        ('printf "NV Power Mode: 25W\\n1\\n"', {"mode": "7W"}, 4),
        ('printf "NV Power Mode: 25W\\n1\\n"', {"expires_at": 1_796_000_001, "safe_mode": "25W"}, 8),
        ('printf "NV Power Mode: 25W\\n1\\n"', {"expires_at": 1_796_000_001}, 3),
    ],
)
def test_apply_ends_with_the_exit_code_of_what_came_of_it(
    tmp_path: Path, script: str, changes: dict[str, object], code: int
) -> None:
    device = Device(tmp_path)
    sudo(device, script)
    past = {"issued_at": 1_000_000_000, **({"expires_at": 1_000_000_001} if "expires_at" in changes else {})}
    done = agent(device, "apply", text=json.dumps({**document(**changes), **past}))
    assert done.returncode == code
    assert (done.stderr.count("\n"), done.stdout) == (1, "") if code == 2 else json.loads(done.stdout)["format"] == 1


def test_a_mode_that_the_device_does_not_have_is_not_measured(tmp_path: Path) -> None:
    device = Device(tmp_path)
    sudo(device, 'printf "NV Power Mode: 25W\\n1\\n"')
    done = agent(device, "measure", "--modes", "25W,40W")
    assert (done.returncode, done.stderr) == (2, "--modes 40W: this device has 15W, 25W, MAXN_SUPER, 7W\n")


def test_a_full_disk_ends_with_5_and_no_half_written_file(tmp_path: Path) -> None:
    device = Device(tmp_path)
    sudo(device, 'printf "NV Power Mode: 25W\\n1\\n"')
    device.files.path(AGENT).write_bytes(bundle.agent_bytes())
    limited = "import resource, runpy, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))"
    start = "sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
    command = [sys.executable, "-I", "-c", f"{limited}; {start}"]
    env = {**os.environ, "JETSON_TASKS_ROOT": str(device.folder), "PATH": str(tmp_path)}
    done = subprocess.run(
        [*command, str(device.files.path(AGENT)), "apply"],
        input=json.dumps(document()), env=env, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert (done.returncode, json.loads(done.stdout)["error"]["code"]) == (5, "disk_full")
    assert [path.name for path in device.files.path(HOME).iterdir()] == ["agent.pyz"]


def test_the_loop_ends_with_a_signal_after_its_step(tmp_path: Path) -> None:
    device = Device(tmp_path)
    sudo(device, 'printf "NV Power Mode: 25W\\n1\\n"')
    device.files.path(AGENT).write_bytes(bundle.agent_bytes())
    env = {"JETSON_TASKS_ROOT": str(device.folder), "PATH": str(device.folder), "JETSON_TASKS_SECONDS": "0.05"}
    command = [sys.executable, "-I", str(device.files.path(AGENT)), "run"]
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        first = json.loads(process.stdout.readline())
        process.terminate()
        assert process.wait(30) == 0
    assert (first["mode"], first["why"], first["error"]) == ("25W", "no desired state", None)


def test_the_unit_runs_the_agent_and_is_closed_where_sudo_allows_it() -> None:
    lines = bundle.unit_text().splitlines()
    assert f"ExecStart=/usr/bin/python3 {AGENT} run" in lines
    assert {"User=akidb", "ProtectSystem=strict", "ProtectHome=yes", "PrivateTmp=yes", "KillMode=mixed"} <= set(lines)
    writable = next(line for line in lines if line.startswith("ReadWritePaths="))
    assert writable == f"ReadWritePaths={HOME} /var/lib/nvpmodel /sys /run/sudo"
    # Each of these implies NoNewPrivileges for a user without CAP_SYS_ADMIN, and sudo would fail.
    implying = ("SystemCall", "Restrict", "PrivateDevices", "ProtectKernel", "ProtectClock", "MemoryDeny", "LockPers")
    assert [line for line in lines if line.startswith(implying)] == []


def test_sudo_is_limited_to_three_programs_and_has_no_asterisk() -> None:
    rules = [line for line in bundle.sudoers_text().splitlines() if not line.startswith(("#", "Defaults"))]
    commands = [part.strip() for rule in rules for part in rule.split("NOPASSWD:")[1].split(",")]
    assert {command.split()[0] for command in commands} == {
        "/usr/sbin/nvpmodel", "/usr/bin/jetson_clocks", "/usr/bin/systemctl",
    }  # fmt: skip
    assert all(command.endswith(UNIT_NAME) for command in commands if "systemctl" in command)
    assert not [command for command in commands if "*" in command]
