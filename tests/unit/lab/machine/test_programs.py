"""Where programs come from: the cache by pins, or a folder that holds the pinned version."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.machine import build, go, programs


def _script(path: Path, output: str) -> None:
    path.write_text(f"#!/bin/sh\necho '{output}'\n")
    path.chmod(0o755)


def test_every_pin_stands_in_its_go_module() -> None:
    for program in programs.PROGRAMS:
        text = (programs.GO_MODULES / program.group / "go.mod").read_text()
        assert f"v{program.version}" in text, program.name
        assert program.package in text, program.name


def test_the_cache_key_changes_with_flags_and_not_with_the_checkout() -> None:
    apiserver, scheduler = programs.PROGRAMS[0], programs.PROGRAMS[2]
    assert programs.path_in_cache(apiserver) == programs.path_in_cache(apiserver)
    assert programs.path_in_cache(apiserver).parent != programs.path_in_cache(scheduler).parent


@pytest.mark.parametrize("variable", ["LAB_BIN", "KUBEBUILDER_ASSETS"])
def test_a_given_program_of_the_pinned_version_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.delenv("LAB_BIN", raising=False)
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
    monkeypatch.setenv(variable, str(tmp_path))
    _script(tmp_path / "etcd", "etcd Version: 3.6.8")
    assert programs.find("etcd") == tmp_path / "etcd"


def test_a_given_program_of_another_version_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAB_BIN", str(tmp_path))
    monkeypatch.setenv("AKIDB_CACHE", str(tmp_path / "empty"))
    _script(tmp_path / "etcd", "etcd Version: 3.5.0")
    with pytest.raises(programs.BuildError, match=r"etcd 3\.6\.8 is not built: run `make setup`"):
        programs.find("etcd")


def test_a_failed_build_says_what_failed_and_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = tmp_path / "go"
    fake.write_text("#!/bin/sh\necho 'no such module' >&2\nexit 1\n")
    fake.chmod(0o755)
    monkeypatch.setattr(go, "command", lambda: str(fake))
    monkeypatch.setenv("AKIDB_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("LAB_BIN", raising=False)
    with pytest.raises(programs.BuildError) as failure:
        build.provide_all(say=lambda _: None)
    assert "building kube-apiserver 1.36.3 failed" in str(failure.value)
    assert "no such module" in str(failure.value)
    assert "run `make setup` again" in str(failure.value)
    assert not list((tmp_path / "cache").rglob("*.partial"))
