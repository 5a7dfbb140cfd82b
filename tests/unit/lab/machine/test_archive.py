"""The built programs in one file: the same bytes from the same programs, installed with the right checksum alone."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
import threading
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from lab.machine import archive, build, programs
from lab.machine.archive import ArchiveError


def fill(cache: Path) -> None:
    """A cache as a set-up leaves it."""
    for place in archive.expected().values():
        path = cache / place
        if place.startswith("manifests"):
            (path / "inner").mkdir(parents=True)
            (path / "inner" / "one.yaml").write_text(f"name: {path.name}")
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"#!/bin/sh\necho {path.name}\n")
            path.chmod(0o755)


@pytest.fixture
def packed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An archive of a full cache; afterwards the cache is another, empty one."""
    for name in ("LAB_BIN", "KUBEBUILDER_ASSETS", archive.SOURCE, archive.CHECKSUM):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AKIDB_CACHE", str(tmp_path / "full"))
    fill(tmp_path / "full")
    made = archive.pack(tmp_path / "made")
    monkeypatch.setenv("AKIDB_CACHE", str(tmp_path / "cache"))
    return made


def files_of(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def rewritten(source: Path, *members: tuple[tarfile.TarInfo, bytes], contents: dict[str, Any] | None = None) -> Path:
    """The archive with other contents, or with members more, and the checksum that fits."""
    target = source.with_name("other.tar.gz")
    with tarfile.open(source) as old, tarfile.open(target, "w:gz") as new:
        for member in old:
            data = old.extractfile(member).read()  # type: ignore[union-attr]
            if member.name == archive.CONTENTS and contents is not None:
                data = json.dumps({**json.loads(data), **contents}).encode()
                member.size = len(data)
            new.addfile(member, io.BytesIO(data))
        for member, data in members:
            member.size = len(data)
            new.addfile(member, io.BytesIO(data))
    target.with_name(target.name + ".sha256").write_text(archive.sha256(target))
    return target


def test_what_was_packed_is_installed_and_found(packed: Path, tmp_path: Path) -> None:
    archive.install(str(packed))
    assert files_of(tmp_path / "cache") == files_of(tmp_path / "full")
    assert programs.missing_programs() == []
    assert programs.missing_folders() == []
    assert programs.find("kubectl").stat().st_mode & 0o777 == 0o755


def test_the_same_programs_make_the_same_archive(packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AKIDB_CACHE", str(tmp_path / "again"))
    fill(tmp_path / "again")
    again = archive.pack(tmp_path / "made again")
    assert again.name == packed.name
    assert again.read_bytes() == packed.read_bytes()
    checksum = packed.with_name(packed.name + ".sha256").read_text()
    assert checksum == f"{hashlib.sha256(packed.read_bytes()).hexdigest()}  {packed.name}\n"


def test_a_program_that_is_not_built_can_not_be_packed(tmp_path: Path, packed: Path) -> None:
    with pytest.raises(programs.BuildError, match=r"is not built: run `make setup`"):
        archive.pack(tmp_path / "made too early")
    assert not list((tmp_path / "made too early").glob("*"))


def test_what_is_in_the_cache_is_never_replaced(packed: Path, tmp_path: Path) -> None:
    etcd = next(p for p in programs.PROGRAMS if p.name == "etcd")
    programs.path_in_cache(etcd).parent.mkdir(parents=True)
    programs.path_in_cache(etcd).write_text("own")
    archive.install(str(packed))
    assert programs.find("etcd").read_text() == "own"


def test_a_named_checksum_wins_over_the_file_beside(packed: Path) -> None:
    with pytest.raises(ArchiveError) as refusal:
        archive.install(str(packed), "ab" * 32)
    assert str(refusal.value) == (
        f"the checksum of {packed} is {archive.sha256(packed)} and should be {'ab' * 32}: the file is damaged or "
        "another one. Get it again, or correct LAB_PROGRAMS_SHA256; without LAB_PROGRAMS the programs are built"
    )


def test_a_damaged_archive_installs_nothing(packed: Path, tmp_path: Path) -> None:
    data = bytearray(packed.read_bytes())
    data[len(data) // 2] ^= 1
    packed.write_bytes(data)
    with pytest.raises(ArchiveError, match="the file is damaged or another one"):
        archive.install(str(packed))
    assert files_of(tmp_path / "cache") == {}


def test_an_archive_without_a_checksum_is_refused(packed: Path) -> None:
    packed.with_name(packed.name + ".sha256").unlink()
    with pytest.raises(ArchiveError) as refusal:
        archive.install(str(packed))
    assert str(refusal.value) == (
        f"{packed} has no checksum: name it with LAB_PROGRAMS_SHA256=, or put {packed.name}.sha256 beside it"
    )
    archive.install(str(packed), archive.sha256(packed))


@pytest.mark.parametrize(("text", "shown"), [("abc", "abc"), (" ", "nothing")])
def test_a_checksum_that_is_none_is_refused(packed: Path, text: str, shown: str) -> None:
    with pytest.raises(ArchiveError) as refusal:
        archive.install(str(packed), text)
    assert str(refusal.value) == (f"{shown} is no SHA-256: name the 64 hexadecimal digits with LAB_PROGRAMS_SHA256=")


def test_another_platform_is_refused(packed: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    other = rewritten(packed, contents={"platform": "darwin/arm64"})
    with pytest.raises(ArchiveError) as refusal:
        archive.install(str(other))
    assert str(refusal.value) == (
        f"{other} is for darwin/arm64, this machine is {programs.platform_name()}: pack one here with "
        "`make programs-archive`, or leave LAB_PROGRAMS out to build the programs"
    )
    assert files_of(tmp_path / "cache") == {}


def test_other_pins_are_refused_by_name(packed: Path) -> None:
    places = archive.expected()
    old = {**places, "keda-operator 2.20.0": places["keda-operator 2.21.0"]}
    del old["keda-operator 2.21.0"]
    other = rewritten(packed, contents={"places": old})
    with pytest.raises(ArchiveError) as refusal:
        archive.install(str(other))
    assert str(refusal.value) == (
        f"{other} was packed from other pins, keda-operator 2.20.0, keda-operator 2.21.0 differ: check out its commit, "
        "pack one here with `make programs-archive`, or leave LAB_PROGRAMS out to build the programs"
    )


def _linked(name: str, target: str) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = tarfile.SYMTYPE, target
    return member


@pytest.mark.parametrize("kind", ["absolute", "above", "beside", "through a manifest", "a link"])
def test_a_member_that_leads_elsewhere_is_refused_and_nothing_is_installed(
    packed: Path, tmp_path: Path, kind: str
) -> None:
    crds = archive.expected()["keda-crds"]
    member = {
        "absolute": tarfile.TarInfo(str(tmp_path / "taken")),
        "above": tarfile.TarInfo("../taken"),
        "beside": tarfile.TarInfo("programs/0000/taken"),
        "through a manifest": tarfile.TarInfo(f"{crds}/../../../../taken"),
        "a link": _linked(f"{crds}/taken", str(tmp_path)),
    }[kind]
    other = rewritten(packed, (member, b"" if kind == "a link" else b"x"))
    with pytest.raises(ArchiveError, match="which does not belong there: nothing was installed"):
        archive.install(str(other))
    assert files_of(tmp_path / "cache") == {}
    assert not list(tmp_path.rglob("taken"))


def test_a_file_that_is_no_archive_of_programs_is_refused(tmp_path: Path, packed: Path) -> None:
    other = tmp_path / "other.tar.gz"
    with tarfile.open(other, "w:gz") as tar:
        tar.add(packed, "inner")
    with pytest.raises(ArchiveError, match=r"is no archive of programs: `make programs-archive` writes one"):
        archive.install(str(other), archive.sha256(other))
    other.write_bytes(gzip.compress(b"text"))
    with pytest.raises(ArchiveError, match=r"can't be unpacked .*: pack it again with `make programs-archive`"):
        archive.install(str(other), archive.sha256(other))


def test_a_path_that_is_not_there_is_named(tmp_path: Path, packed: Path) -> None:
    with pytest.raises(ArchiveError) as refusal:
        archive.install("/nowhere/p.tar.gz")
    assert str(refusal.value) == (
        "LAB_PROGRAMS=/nowhere/p.tar.gz is no file: `make programs-archive` on another machine writes one"
    )


@pytest.fixture
def address(packed: Path) -> Iterator[str]:
    """Where the archive's folder is served."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class calls it so
            pass

    served = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(packed.parent)))
    threading.Thread(target=served.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{served.server_port}"
    served.shutdown()
    served.server_close()


def test_an_address_is_fetched_with_the_checksum_beside_it(
    address: str, packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAB_PROGRAMS", f"{address}/{packed.name}")
    lines: list[str] = []
    assert list(build.provide_all(lines.append)) == ["archive"]
    assert lines == [f"  installing the programs of {address}/{packed.name}", lines[1]]
    assert lines[1].startswith("    installed in ")
    assert programs.missing_programs() == []
    assert build.provide_all(lines.append) == {}


def test_an_address_that_does_not_answer_is_named(address: str) -> None:
    with pytest.raises(ArchiveError) as refusal:
        archive.install(f"{address}/absent.tar.gz")
    assert str(refusal.value) == (
        f"{address}/absent.tar.gz can't be read (HTTP Error 404: File not found): correct LAB_PROGRAMS, or leave "
        "it out to build the programs"
    )


@pytest.mark.parametrize("way", ["silent", "chunked", "cut"])
def test_a_download_that_breaks_off_is_named_and_installs_nothing(
    packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    monkeypatch.setattr(archive, "ADDRESS_SECONDS", 0.2)
    ended = threading.Event()

    class Broken(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.send_response(200)
            name, value = ("Transfer-Encoding", "chunked") if way == "chunked" else ("Content-Length", "5000")
            self.send_header(name, value)
            self.end_headers()
            self.wfile.write(b"ff\r\nhalf")
            if way == "silent":
                ended.wait(5)
            self.close_connection = True

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class calls it so
            pass

    served = ThreadingHTTPServer(("127.0.0.1", 0), Broken)
    threading.Thread(target=served.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{served.server_port}/programs.tar.gz"
    with pytest.raises(ArchiveError, match="the file is damaged" if way == "cut" else "can't be read") as refusal:
        archive.install(address, "ab" * 32)
    ended.set()
    served.shutdown()
    served.server_close()
    assert address in str(refusal.value)
    assert files_of(tmp_path / "cache") == {}


@pytest.mark.parametrize("contents", [b"[]", b"{}", b"null"])
def test_an_archive_that_does_not_say_what_it_holds_is_refused(packed: Path, contents: bytes) -> None:
    other = packed.with_name("other.tar.gz")
    member = tarfile.TarInfo(archive.CONTENTS)
    member.size = len(contents)
    with tarfile.open(other, "w:gz") as tar:
        tar.addfile(member, io.BytesIO(contents))
    with pytest.raises(ArchiveError, match=r"can't be unpacked .*: pack it again with `make programs-archive`"):
        archive.install(str(other), archive.sha256(other))


def test_an_archive_that_is_damaged_inside_is_refused_even_when_its_checksum_fits(packed: Path) -> None:
    data = bytearray(packed.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 40] = b"\xff" * 40
    packed.write_bytes(data)
    with pytest.raises(ArchiveError, match=r"(can't be unpacked|lacks) .*: pack it again with `make programs-archive`"):
        archive.install(str(packed), archive.sha256(packed))
