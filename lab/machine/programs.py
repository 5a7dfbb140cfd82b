"""The lab's programs: real controllers from pinned Go modules, and where they lie in the cache outside the checkout.

Standard library only: it runs before the virtual environment is complete. ``build.py`` makes them, ``archive.py`` packs
and installs them.

Each folder of ``lab/go`` is a Go module whose ``tool`` lines pin one group of programs. A program's cache key is the
hash of everything that decides what it does: ``go.mod``, ``go.sum``, the recipe of a lighter copy (``lighter.py``),
toolchain, tags, link flags and platform. A fresh clone on a warm machine therefore builds nothing.
"""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from lab.machine import lighter
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
    seconds: int  # measured in a cold set-up on 2 cores, another group beside it; only the progress estimate uses it
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


def _vpa(name: str, seconds: int) -> Program:
    package = f"k8s.io/autoscaler/vertical-pod-autoscaler/pkg/{name}"
    return Program(f"vpa-{name}", "vpa", package, "1.8.1", seconds, version_args=())


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
        tags="remove_all_sd",
    ),
    Program(
        "promtool",
        "prometheus",
        "github.com/prometheus/prometheus/cmd/promtool",
        "0.316.0",
        46,
        tags="remove_all_sd",
    ),
    # OpenCost has no flag that tells its version: a given program of this name can't be checked and isn't taken.
    Program("costmodel", "opencost", "github.com/opencost/opencost/cmd/costmodel", "1.108.1", 101, version_args=()),
    Program("keda-operator", "keda", "github.com/kedacore/keda/v2/cmd/operator", "2.21.0", 265, version_args=()),
    Program("keda-adapter", "keda", "github.com/kedacore/keda/v2/cmd/adapter", "2.21.0", 42, version_args=()),
    # Built as a module, metrics-server and the VPA don't know or don't tell their version: none given is taken.
    Program(
        "metrics-server",
        "metrics-server",
        "sigs.k8s.io/metrics-server/cmd/metrics-server",
        "0.9.0",
        85,
        version_args=(),
    ),
    _vpa("recommender", 97),
    _vpa("updater", 30),
    _vpa("admission-controller", 2),
)

# Files that the lab uses beside the programs, read from the very modules the programs were built from.
SHARED_FILES: dict[str, tuple[str, str, str]] = {
    # name: (group, module, folder inside the module)
    "karpenter-crds": ("karpenter", "github.com/aws/karpenter-provider-aws", "pkg/apis/crds"),
    "kwok-crds": ("kwok", "sigs.k8s.io/kwok", "kustomize/crd/bases"),
    "kwok-stages": ("kwok", "sigs.k8s.io/kwok", "kustomize/stage"),
    "kwok-metrics": ("kwok", "sigs.k8s.io/kwok", "kustomize/metrics"),
    "opencost-config": ("opencost", "github.com/opencost/opencost", "configs"),
    "keda-crds": ("keda", "github.com/kedacore/keda/v2", "config/crd/bases"),
    "keda-rbac": ("keda", "github.com/kedacore/keda/v2", "config/rbac"),
    "keda-metrics-server": ("keda", "github.com/kedacore/keda/v2", "config/metrics-server"),
    "metrics-server": ("metrics-server", "sigs.k8s.io/metrics-server", "manifests/base"),
    "gateway-crds": ("gateway", "sigs.k8s.io/gateway-api", "config/crd/standard"),
    "vpa": ("vpa", "k8s.io/autoscaler/vertical-pod-autoscaler", "deploy"),
}


class BuildError(RuntimeError):
    """A program could not be provided; the message says what failed, why and what to do."""


def cache_root() -> Path:
    """The folder that holds built programs: ``$AKIDB_CACHE``, else the user's cache folder."""
    base = os.environ.get("AKIDB_CACHE") or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "akidb"
    return Path(base)


def platform_name() -> str:
    """What built programs run on, such as ``linux/x86_64``."""
    return f"{sys.platform}/{platform.machine()}"


def _key(group: str, *parts: str, recipe: Path | None = None) -> str:
    digest = hashlib.sha256()
    for name in ("go.mod", "go.sum"):
        digest.update((GO_MODULES / group / name).read_bytes())
    for part in lighter.parts(recipe) if recipe else ():
        digest.update(part.relative_to(GO_MODULES).as_posix().encode() + b"\0" + part.read_bytes())
    digest.update("\0".join((TOOLCHAIN, sys.platform, platform.machine(), *parts)).encode())
    return digest.hexdigest()[:16]


def path_in_cache(program: Program) -> Path:
    """Where the built ``program`` lies, whether it is there or not."""
    recipe = lighter.recipe_folder(GO_MODULES / program.group)
    key = _key(program.group, program.package, program.tags, program.ldflags, recipe=recipe)
    return cache_root() / "programs" / key / program.name


def shared_folder(name: str) -> Path:
    """The cached folder of manifests ``name`` (see SHARED_FILES); they are the module's own, whatever its recipe."""
    group, module, folder = SHARED_FILES[name]
    return cache_root() / "manifests" / _key(group, module, folder) / name


def missing_programs() -> list[Program]:
    """What is neither built nor given."""
    return [program for program in PROGRAMS if given(program) is None and not path_in_cache(program).exists()]


def missing_folders() -> list[str]:
    """The folders of manifests that are not there."""
    return [name for name in SHARED_FILES if not shared_folder(name).exists()]


def given(program: Program) -> Path | None:
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
    found = given(program) or path_in_cache(program)
    if not found.exists():
        raise BuildError(f"{name} {program.version} is not built: run `make setup`")
    return found
