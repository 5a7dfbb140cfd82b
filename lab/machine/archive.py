"""The built programs in one file: packed here, installed on another machine with the same pins.

    python -m lab.machine.archive [FOLDER]        packs; ``make programs-archive``
    LAB_PROGRAMS=path-or-address make setup       installs; LAB_PROGRAMS_SHA256=, else the .sha256 beside the file

Standard library only. The archive holds what a set-up would build, under the cache keys of this checkout's pins, and
installs nowhere else. Nothing in it is trusted before its checksum is right, and it can only add to the cache.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import http.client
import io
import json
import os
import re
import shutil
import sys
import tarfile
import tempfile
import time
import urllib.request
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Any

from lab.machine.programs import (
    PROGRAMS,
    SHARED_FILES,
    BuildError,
    cache_root,
    find,
    path_in_cache,
    platform_name,
    shared_folder,
)

SOURCE, CHECKSUM = "LAB_PROGRAMS", "LAB_PROGRAMS_SHA256"
CONTENTS = "contents.json"  # the first member: platform, and what lies where
FORMAT = 1
ADDRESS_SECONDS = 60.0  # without a byte
BLOCK = 1 << 20
SMALLEST_EFFORT = 1  # of gzip: more of it saves a tenth of the size and costs minutes
DEFAULT_FOLDER = Path(__file__).parents[2] / ".lab" / "programs"
AGAIN = "pack it again with `make programs-archive`"
Say = Callable[[str], None]


class ArchiveError(BuildError):
    """The archive can't be used; the message says why and what to do. Nothing was installed."""


def expected() -> dict[str, str]:
    """What an archive of these pins holds: place below the cache by name and version."""
    root = cache_root()
    programs = {f"{p.name} {p.version}": path_in_cache(p).relative_to(root).as_posix() for p in PROGRAMS}
    return programs | {name: shared_folder(name).relative_to(root).as_posix() for name in SHARED_FILES}


# Packing -------------------------------------------------------------------------------------------------------------


def pack(folder: Path = DEFAULT_FOLDER) -> Path:
    """Write the archive and its ``.sha256`` into ``folder``; the same programs make the same bytes.

    Raises BuildError naming the first program that is not built.
    """
    contents = {"format": FORMAT, "platform": platform_name(), "places": expected()}
    sources = {place: _source(name) for name, place in expected().items()}
    name = f"akidb-programs-{platform_name().replace('/', '-')}-{_digest_of(contents)[:12]}.tar.gz"
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / name
    partial = target.with_suffix(f".{os.getpid()}.partial")
    try:
        with partial.open("wb") as raw, gzip.GzipFile("", "wb", SMALLEST_EFFORT, raw, mtime=0) as zipped:
            _write(zipped, contents, sources)
        partial.rename(target)
    finally:
        partial.unlink(missing_ok=True)
    digest = sha256(target)
    target.with_name(name + ".sha256").write_text(f"{digest}  {name}\n", encoding="utf-8")
    return target


def _source(name: str) -> Path:
    if name in SHARED_FILES:
        folder = shared_folder(name)
        if not folder.exists():
            raise BuildError(f"{name} is not there: run `make setup`")
        return folder
    return find(name.split(" ")[0])


def _write(stream: gzip.GzipFile, contents: dict[str, Any], sources: dict[str, Path]) -> None:
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as tar:
        text = json.dumps(contents, indent=1, sort_keys=True).encode()
        tar.addfile(_member(CONTENTS, len(text), 0o644), io.BytesIO(text))
        for place, source in sorted(sources.items()):
            for path in sorted(p for p in source.rglob("*") if p.is_file()) if source.is_dir() else [source]:
                inside = place if path == source else f"{place}/{path.relative_to(source).as_posix()}"
                with path.open("rb") as file:
                    tar.addfile(_member(inside, path.stat().st_size, 0o644 if source.is_dir() else 0o755), file)


def _member(name: str, size: int, mode: int) -> tarfile.TarInfo:
    """A member whose owner and time are nobody's, so that they don't change the checksum."""
    member = tarfile.TarInfo(name)
    member.size, member.mode = size, mode
    return member


def _digest_of(contents: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(contents, sort_keys=True).encode()).hexdigest()


def sha256(path: Path) -> str:
    """The checksum of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()


# Installing ----------------------------------------------------------------------------------------------------------


def install_named(say: Say) -> dict[str, float]:
    """Install the archive that ``LAB_PROGRAMS`` names, if it names one; seconds of it. Raises ArchiveError."""
    source = os.environ.get(SOURCE, "")
    if not source:
        return {}
    begun = time.monotonic()
    say(f"  installing the programs of {source}")
    install(source, os.environ.get(CHECKSUM, ""))
    seconds = round(time.monotonic() - begun, 1)
    say(f"    installed in {seconds:.0f} s")
    return {"archive": seconds}


def install(source: str, checksum: str = "") -> None:
    """Add the programs of the archive at the path or address ``source`` to the cache, once ``checksum`` is right."""
    root = cache_root()
    root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=root, prefix="install-") as folder:
        path = _fetched(source, Path(folder)) if _is_address(source) else Path(source).expanduser()
        if not path.is_file():
            raise ArchiveError(f"{SOURCE}={source} is no file: `make programs-archive` on another machine writes one")
        wanted, found = _checksum_of(source, checksum), sha256(path)
        if found != wanted:
            raise ArchiveError(
                f"the checksum of {source} is {found} and should be {wanted}: the file is damaged or another one. "
                f"Get it again, or correct {CHECKSUM}; without {SOURCE} the programs are built"
            )
        unpacked = Path(folder) / "unpacked"
        _unpack(path, source, unpacked)
        for place in expected().values():
            _put(unpacked / place, root / place)


def _put(source: Path, target: Path) -> None:
    if not target.exists():  # what is there is never replaced
        target.parent.mkdir(parents=True, exist_ok=True)
        source.rename(target)


def _is_address(source: str) -> bool:
    return bool(re.match(r"https?://", source))


def _fetched(address: str, folder: Path) -> Path:
    target = folder / "archive"
    with _opened(address) as answer, target.open("wb") as file:
        shutil.copyfileobj(answer, file, BLOCK)
    return target


@contextlib.contextmanager
def _opened(address: str) -> Iterator[Any]:
    """What the address answers. A connection that ends or falls silent on the way is an ArchiveError too."""
    try:
        with urllib.request.urlopen(address, timeout=ADDRESS_SECONDS) as answer:
            yield answer
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise ArchiveError(
            f"{address} can't be read ({error}): correct {SOURCE}, or leave it out to build the programs"
        ) from error


def _checksum_of(source: str, given: str) -> str:
    """The checksum that was named, else that of the file beside the archive."""
    if given:
        text = given
    elif _is_address(source):
        with _opened(source + ".sha256") as answer:
            text = answer.read(1000).decode("ascii", "replace")
    else:
        beside = Path(source + ".sha256").expanduser()
        if not beside.is_file():
            raise ArchiveError(f"{source} has no checksum: name it with {CHECKSUM}=, or put {beside.name} beside it")
        text = beside.read_text(encoding="utf-8")
    checksum = text.split()[0].lower() if text.split() else ""
    if not re.fullmatch(r"[0-9a-f]{64}", checksum):
        raise ArchiveError(f"{checksum or 'nothing'} is no SHA-256: name the 64 hexadecimal digits with {CHECKSUM}=")
    return checksum


def _unpack(path: Path, source: str, target: Path) -> None:
    """Write the members into ``target``: those of the expected places, and nothing else. Raises ArchiveError."""
    try:
        with tarfile.open(path, "r:gz") as tar:
            members = iter(tar)
            first = next(members, None)
            if first is None or first.name != CONTENTS:
                raise ArchiveError(f"{source} is no archive of programs: `make programs-archive` writes one")
            _check_contents(json.loads(_file_of(tar, first).read()), source)
            _write_members(tar, members, source, target)
    except (tarfile.TarError, zlib.error, OSError, EOFError, LookupError, TypeError, ValueError) as error:
        raise ArchiveError(
            f"{source} can't be unpacked ({error}): pack it again with `make programs-archive`"
        ) from error
    missing = [name for name, place in expected().items() if not (target / place).exists()]
    if missing:
        raise ArchiveError(f"{source} lacks {missing[0]}: {AGAIN}")


def _check_contents(contents: Any, source: str) -> None:
    remedy = f"pack one here with `make programs-archive`, or leave {SOURCE} out to build the programs"
    if contents["format"] != FORMAT:
        raise ArchiveError(f"{source} has format {contents['format']}, known is {FORMAT}: {remedy}")
    if contents["platform"] != platform_name():
        raise ArchiveError(f"{source} is for {contents['platform']}, this machine is {platform_name()}: {remedy}")
    here, there = expected(), contents["places"]
    if here != there:
        others = [name for name in sorted({*here, *there}) if here.get(name) != there.get(name)]
        raise ArchiveError(
            f"{source} was packed from other pins, {', '.join(others)} differ: check out its commit, {remedy}"
        )


def _write_members(tar: tarfile.TarFile, members: Iterator[tarfile.TarInfo], source: str, target: Path) -> None:
    places = [PurePosixPath(place) for place in expected().values()]
    for member in members:
        path = PurePosixPath(member.name)
        inside = any(path == place or place in path.parents for place in places)
        if not member.isreg() or not inside or ".." in path.parts:
            raise ArchiveError(f"{source} holds {member.name!r}, which does not belong there: nothing was installed")
        file = target / path
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("wb") as written:
            shutil.copyfileobj(_file_of(tar, member), written, BLOCK)
        file.chmod(0o755 if path in places else 0o644)


def _file_of(tar: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    file = tar.extractfile(member)
    if file is None:
        raise ArchiveError(f"{member.name} of the archive is no file")
    return file


def main() -> None:
    """Pack into the folder of the first argument, else the lab's."""
    target = pack(Path(sys.argv[1]) if len(sys.argv) > 1 else DEFAULT_FOLDER)
    checksum = sha256(target)
    print(
        f"{target}  ({target.stat().st_size / 2**20:.0f} MB)\nsha256 {checksum}, also beside it in {target.name}.sha256"
    )
    print(f"another machine: make setup {SOURCE}=path-or-address {CHECKSUM}={checksum}")


if __name__ == "__main__":
    try:
        main()
    except BuildError as error:
        sys.exit(f"programs-archive: {error}")
