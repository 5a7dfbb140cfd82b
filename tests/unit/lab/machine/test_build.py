"""The builds: what is one job, in which order, what a person reads meanwhile, and what is left when one fails."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import psutil
import pytest

from lab.machine import build, go, programs

# A Go that answers like the real one: it makes the programs of its packages, or fails for a package of $FAILING.
FAKE_GO = """#!/bin/sh
echo "$@" >> "$LOG"
case "$*" in *"$FAILING"*) echo "no such module" >&2; exit 1;; esac
case "$1" in
  build)
    while [ "$1" != "-o" ]; do shift; done
    out=$2; shift 2
    for package in "$@"; do
      name=${package##*/}
      [ "$name" = v3 ] && name=server
      echo "$package $GOMEMLIMIT" > "$out$name"
    done;;
  list) [ "$2" = -m ] && echo "$MODULE";;
esac
exit 0
"""


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, the fake Go, and the log of its calls."""
    fake = tmp_path / "go"
    fake.write_text(FAKE_GO)
    fake.chmod(0o755)
    module = tmp_path / "module"
    for _, _, folder in programs.SHARED_FILES.values():
        (module / folder).mkdir(parents=True, exist_ok=True)
        (module / folder / "one.yaml").write_text("kind: Role")
    monkeypatch.setattr(go, "command", lambda: str(fake))
    monkeypatch.setattr(build.lighter, "make", lambda _group, _module, target: target.mkdir(parents=True))
    for name in ("LAB_BIN", "KUBEBUILDER_ASSETS", "LAB_PROGRAMS", go.KEEP):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"AKIDB_CACHE": tmp_path / "cache", "LOG": tmp_path / "log", "MODULE": module}.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.setenv("FAILING", "nothing fails")
    monkeypatch.setattr(build, "check_disk", lambda *_: None)
    return tmp_path / "log"


def test_programs_of_one_group_and_the_same_flags_are_one_build_and_the_longest_comes_first() -> None:
    jobs = build.jobs_of(programs.PROGRAMS)
    assert str(jobs[0]) == "kube-apiserver, kube-controller-manager, kube-scheduler, kubectl 1.36.3"
    assert sorted(job.group for job in jobs) == [
        "etcd",
        "karpenter",
        "keda",
        "kubernetes",
        "kwok",
        "metrics-server",
        "opencost",
        "prometheus",
        "vpa",
    ]
    assert [job.seconds for job in jobs] == sorted((job.seconds for job in jobs), reverse=True)


@pytest.mark.parametrize(
    ("package", "name"),
    [
        ("k8s.io/kubernetes/cmd/kube-apiserver", "kube-apiserver"),
        ("go.etcd.io/etcd/server/v3", "server"),
        ("github.com/kedacore/keda/v2/cmd/adapter", "adapter"),
        ("k8s.io/autoscaler/vertical-pod-autoscaler/pkg/admission-controller", "admission-controller"),
        ("example.com/vault", "vault"),
    ],
)
def test_the_name_that_go_gives_a_program(package: str, name: str) -> None:
    assert build.built_name(package) == name


def test_everything_missing_is_built_and_shared_and_only_that_stays(log: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    seconds = build.provide_all(lines.append)
    assert set(seconds) == {p.name for p in programs.PROGRAMS} | set(programs.SHARED_FILES)
    assert programs.find("etcd").read_text().split()[0] == "go.etcd.io/etcd/server/v3"
    assert programs.find("keda-adapter").read_text().split()[0] == "github.com/kedacore/keda/v2/cmd/adapter"
    assert (programs.shared_folder("keda-crds") / "one.yaml").exists()
    assert sorted(path.name for path in (tmp_path / "cache").iterdir()) == ["build.lock", "manifests", "programs"]
    assert lines[0].startswith(
        "  building kube-apiserver, kube-controller-manager, kube-scheduler, kubectl 1.36.3   "
        "(0 of 16; elapsed 0.0 min, about "
    )
    assert "(16 of 16; " in lines[-1]
    assert "about 0.0 min to go" in lines[-1]


def test_the_second_time_nothing_is_done_and_go_is_not_asked(log: Path) -> None:
    build.provide_all(lambda _: None)
    log.unlink()
    assert build.provide_all(lambda _: None) == {}
    assert not log.exists()


def test_gos_folders_are_kept_on_request(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(go.KEEP, "1")
    build.provide_all(lambda _: None)
    assert go.folder().is_dir()


def test_a_lighter_group_is_built_in_its_copy_and_all_modules_are_fetched_beside_the_first_build(log: Path) -> None:
    build.provide_all(lambda _: None)
    calls = log.read_text().splitlines()
    assert sum(call.startswith("list -deps") for call in calls) == 8
    assert calls.count("mod download github.com/opencost/opencost") == 2  # its copy, its manifests
    one = next(call for call in calls if "cmd/prometheus" in call and call.startswith("build"))
    assert one.startswith("build -trimpath -gcflags=all=-dwarf=false -tags remove_all_sd -ldflags -s -w -o ")


def test_a_failed_group_leaves_the_finished_ones_and_names_itself(
    log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(
        "FAILING", "build -trimpath -gcflags=all=-dwarf=false -ldflags -s -w -o " + str(go.folder() / "out/etcd")
    )
    with pytest.raises(programs.BuildError) as failure:
        build.provide_all(lambda _: None)
    assert str(failure.value).startswith("building etcd 3.6.8 failed (go build in lab/go/etcd):\nno such module\n")
    assert str(failure.value).endswith("run `make setup` again: finished programs are kept.")
    assert programs.find("kube-apiserver").exists()
    assert go.folder().is_dir()  # what is compiled is not compiled again
    with pytest.raises(programs.BuildError, match=r"etcd 3\.6\.8 is not built: run `make setup`"):
        programs.find("etcd")


def test_too_small_a_disk_is_said_before_anything_is_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AKIDB_CACHE", str(tmp_path))
    etcd = [program for program in programs.PROGRAMS if program.name == "etcd"]
    monkeypatch.setitem(build.DISK_MIB, "etcd", 2048)
    lines: list[str] = []
    build.check_disk(etcd, lines.append, free_mib=2048)
    assert lines == [
        f"  needs up to 2.0 GB in {tmp_path}, and 2.0 GB are free; most of it is Go's and is removed at the end"
    ]
    with pytest.raises(programs.BuildError) as refusal:
        build.check_disk(etcd, lines.append, free_mib=1536)
    assert str(refusal.value) == (
        f"building the lab's programs needs 2.0 GB in {tmp_path}, and 1.5 GB are free.\n"
        "Make room, or name a folder on another disk: make setup AKIDB_CACHE=/path/to/folder. Most of it is Go's, "
        "which is removed at the end; LAB_PROGRAMS= installs built programs instead, in 2 GB."
    )
    assert set(build.DISK_MIB) == {program.group for program in programs.PROGRAMS}


def test_a_second_set_up_waits_for_the_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AKIDB_CACHE", str(tmp_path))
    order: list[str] = []
    entered = threading.Event()

    def second() -> None:
        with build.alone(lambda line: (order.append(line), entered.set())):  # type: ignore[func-returns-value]
            order.append("second")

    with build.alone(order.append):
        other = threading.Thread(target=second)
        other.start()
        assert entered.wait(10)
        order.append("first")
    other.join(10)
    assert order == [f"  another set-up builds in {tmp_path}: waiting for its end", "first", "second"]


def test_a_compilers_heap_is_a_share_of_the_free_memory() -> None:
    assert [go.heap_mib(mib) for mib in (1000, 9000, 22000)] == [1000, 1500, 2000]
    settings = go.environment(9000)
    assert (settings["GOGC"], settings["GOMEMLIMIT"]) == ("off", "1500MiB")
    assert settings["GOMODCACHE"] == str(programs.cache_root() / "go" / "modules")


def test_commands_end_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AKIDB_CACHE", str(tmp_path / "cache"))
    slow = tmp_path / "go"
    slow.write_text("#!/bin/sh\necho $$ > pid\nsleep 60 & wait\n")
    slow.chmod(0o755)
    monkeypatch.setattr(go, "command", lambda: str(slow))
    commands, raised = go.Commands(1000), []

    def run() -> None:
        try:
            commands.run(["build"], tmp_path, "building x")
        except go.Stopped as stopped:
            raised.append(str(stopped))

    thread = threading.Thread(target=run)
    thread.start()
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
        time.sleep(0.01)
    commands.stop()
    thread.join(10)
    assert raised == ["building x"]
    group = int((tmp_path / "pid").read_text())
    members = [p for p in psutil.process_iter(["status"]) if p.pid != 0 and os.getpgid(p.pid) == group]
    assert [p for p in members if p.info["status"] != psutil.STATUS_ZOMBIE] == []
    with pytest.raises(go.Stopped):
        commands.run(["build"], tmp_path, "building y")
