"""Versions of models in object storage, and which of them is the champion of a region.

    models/<region>/numbers/000003.json                       who holds a version's number
    models/<region>/versions/000003-<content>/<files>         immutable: model.onnx, scaler.json, card.md ...
    models/<region>/versions/000003-<content>/manifest.json   written last: a version without it does not exist
    models/<region>/champion.json                             the pointer, changed by compare-and-set only
    models/<region>/history/000007-0-promoted.json            what became of each candidate, with the reason
    models/<region>/history/000007-1-<as of>-kept-<hash>.json

Keys are relative to the place of the Airflow Variable ``akidb_models``. Nothing here asks the clock: every time is
the end of the data that a decision was made from. The pointer carries its own decision, so that a process killed
between the pointer and the history loses no record: the next one writes it.
"""

from __future__ import annotations

import contextlib
import enum
import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from include.clients.storage import StaleError

if TYPE_CHECKING:
    from include.clients.storage import Storage

MANIFEST = "manifest.json"
ATTEMPTS = 50  # numbers that may be taken by others while one is claimed
_VERSION = re.compile(r"\d{6}-[0-9a-f]{12}")
_TIME = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z")


class RegistryError(RuntimeError):
    """A version can't be read or kept; the message names it and the remedy."""


class CorruptError(RegistryError):
    """A version's files are not what its manifest says."""


class NoChampionError(RegistryError):
    """A region has no champion that can be used; the message says what was tried."""


class Action(enum.StrEnum):
    """What became of a candidate or champion."""

    PROMOTED = "promoted"
    KEPT = "kept"  # the candidate is not better: the champion stays
    DEMOTED = "demoted"  # the champion decayed: another one took its place
    REFUSED = "refused"  # the data or the candidate could not be judged
    LOST = "lost"  # somebody else changed the champion meanwhile: theirs stays


MOVES = (Action.PROMOTED, Action.DEMOTED)  # actions that change the pointer


@dataclass(frozen=True)
class Manifest:
    """What a version is. ``files`` has the SHA-256 of each file; times are those of the data, not of the clock."""

    version: str
    region: str
    model: str  # what kind: lstm, lightgbm, blend, last_week ...
    created: str  # end of the data window
    window: Mapping[str, str]  # first and last minute of the data it was made from
    metrics: Mapping[str, Any]
    code_version: str
    files: Mapping[str, str]

    def to_bytes(self) -> bytes:
        """Equal manifests give equal bytes."""
        return json.dumps(vars(self), sort_keys=True, indent=1, default=dict).encode()

    @classmethod
    def from_bytes(cls, data: bytes, version: str) -> Manifest:
        """The manifest that :meth:`to_bytes` wrote. Raises CorruptError."""
        try:
            return cls(**json.loads(data))
        except (ValueError, TypeError) as error:
            raise CorruptError(f"the manifest of {version} can't be read ({error}): train again") from error


@dataclass(frozen=True)
class ChampionDecision:
    """One entry of the history. ``version`` is what it is about, ``previous`` the champion before it ('' for none)."""

    action: Action
    version: str
    previous: str
    reason: str
    as_of: str  # such as 2026-11-24T00:00:00Z: the end of the data that was judged
    figures: Mapping[str, Any] = field(default_factory=dict)
    serial: int = 0  # how often the pointer had been changed: set by the registry

    def __post_init__(self) -> None:
        if not _TIME.fullmatch(self.as_of):
            raise ValueError(f"as_of must look like 2026-11-24T00:00:00Z, not {self.as_of!r}")

    def to_json(self) -> dict[str, Any]:
        """For the pointer and the history."""
        return {**vars(self), "action": str(self.action), "figures": dict(self.figures)}

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> ChampionDecision:
        """The decision that :meth:`to_json` wrote."""
        return cls(**{**raw, "action": Action(raw["action"])})


@dataclass(frozen=True)
class ChampionPointer:
    """Who is champion, as read: ``etag`` is None when there is no pointer yet. Hand it back to change it."""

    version: str = ""
    serial: int = 0
    decision: ChampionDecision | None = None
    etag: str | None = None
    problem: str = ""  # why the stored pointer could not be used


@dataclass(frozen=True)
class Champion:
    """A champion whose files were verified; ``folder`` holds them. ``problem`` says why it is not the pointer's."""

    manifest: Manifest
    folder: Path
    problem: str = ""

    @property
    def version(self) -> str:
        """The version's id."""
        return self.manifest.version


class Registry:
    """The models of one region in a storage."""

    def __init__(self, storage: Storage, region: str) -> None:
        self._storage = storage
        self.region = region
        self._root = f"models/{region}"

    # --- Versions -----------------------------------------------------------------------------------------------------

    def add(
        self,
        folder: Path,
        *,
        model: str,
        window: Mapping[str, str],
        metrics: Mapping[str, Any],
        code_version: str,
    ) -> str:
        """Keep the files of ``folder`` as a new version; returns its id. Killed half way, it can be run again.

        The same files again are the same version: the first manifest stays.
        """
        paths = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
        if not paths or MANIFEST in paths:
            raise RegistryError(f"a version needs files and none called {MANIFEST}; {folder.name} has {sorted(paths)}")
        files = {name: _hash(path.read_bytes()) for name, path in paths.items()}
        version = self._claim(_content(model, files))
        for name, path in paths.items():
            self._create_once(f"{self._root}/versions/{version}/{name}", path.read_bytes())
        manifest = Manifest(
            version, self.region, model, str(window.get("last", "")), window, metrics, code_version, files
        )
        with contextlib.suppress(FileExistsError):
            self._storage.create(f"{self._root}/versions/{version}/{MANIFEST}", manifest.to_bytes())
        return version

    def _claim(self, content: str) -> str:
        taken = self._storage.keys(f"{self._root}/numbers/")
        for key in taken:
            if json.loads(self._storage.read(key))["content"] == content:
                return f"{PurePosixPath(key).stem}-{content[:12]}"
        number = int(PurePosixPath(taken[-1]).stem) + 1 if taken else 1
        for claimed in range(number, number + ATTEMPTS):
            key = f"{self._root}/numbers/{claimed:06d}.json"
            try:
                self._storage.create(key, json.dumps({"content": content}).encode())
            except FileExistsError:
                if json.loads(self._storage.read(key))["content"] != content:
                    continue
            return f"{claimed:06d}-{content[:12]}"
        raise RegistryError(f"{self.region}: no free version number after {ATTEMPTS} attempts: run the task again")

    def _create_once(self, key: str, data: bytes) -> None:
        try:
            self._storage.create(key, data)
        except FileExistsError:
            if self._storage.read(key) != data:
                # A version is immutable: whoever damaged it must not get it repaired in silence.
                raise CorruptError(f"{key} exists with other content: remove that file, then run again") from None

    def versions(self) -> list[str]:
        """The ids of the versions that are whole, oldest first."""
        keys = self._storage.keys(f"{self._root}/versions/")
        return [PurePosixPath(key).parent.name for key in keys if PurePosixPath(key).name == MANIFEST]

    def manifest(self, version: str) -> Manifest:
        """What a version is. Raises CorruptError when it is missing or unreadable."""
        if not _VERSION.fullmatch(version):
            raise CorruptError(f"{version!r} is no version of {self.region}")
        try:
            data = self._storage.read(f"{self._root}/versions/{version}/{MANIFEST}")
        except FileNotFoundError:
            raise CorruptError(f"version {version} of {self.region} has no manifest: train again") from None
        manifest = Manifest.from_bytes(data, version)
        if _content(manifest.model, manifest.files)[:12] != version[-12:]:
            raise CorruptError(f"the manifest of {version} lists other files than it was made with: train again")
        return manifest

    def fetch(self, version: str, folder: Path) -> Manifest:
        """Put a version's files into ``folder``, each verified. Raises CorruptError naming the file."""
        manifest = self.manifest(version)
        for name, digest in manifest.files.items():
            if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
                raise CorruptError(f"version {version} of {self.region} has a file {name!r} outside its folder")
            try:
                data = self._storage.read(f"{self._root}/versions/{version}/{name}")
            except FileNotFoundError:
                raise CorruptError(f"version {version} of {self.region} lacks its file {name}") from None
            if _hash(data) != digest:
                raise CorruptError(f"version {version} of {self.region}: {name} is not what its manifest says")
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        return manifest

    # --- The champion -------------------------------------------------------------------------------------------------

    def pointer(self) -> ChampionPointer:
        """Who is champion now; nothing is written. One that can't be read names no version but can be replaced."""
        try:
            data, etag = self._storage.read_with_etag(self._pointer_key)
        except FileNotFoundError:
            return ChampionPointer(serial=self._last_serial())
        try:
            decision = ChampionDecision.from_json(json.loads(data))
        except (ValueError, TypeError, KeyError) as error:
            problem = f"{self._pointer_key} can't be read ({type(error).__name__})"
            return ChampionPointer(serial=self._last_serial(), etag=etag, problem=problem)
        return ChampionPointer(decision.version, decision.serial, decision, etag)

    @property
    def _pointer_key(self) -> str:
        return f"{self._root}/champion.json"

    def move(self, expected: ChampionPointer, decision: ChampionDecision) -> ChampionDecision:
        """Make ``decision.version`` champion if the pointer still is ``expected``; returns what was recorded.

        When somebody else changed it meanwhile, theirs stays and LOST is recorded. The version must be whole.
        """
        if decision.action not in MOVES:
            raise ValueError(f"{decision.action} does not move the pointer: use record()")
        self.manifest(decision.version)
        moved = ChampionDecision(**{**vars(decision), "serial": expected.serial + 1})
        if expected.decision:
            self._write_history(expected.decision)  # its writer may have been killed before
        data = json.dumps(moved.to_json(), sort_keys=True).encode()
        try:
            if expected.etag is None:
                self._storage.create(self._pointer_key, data)
            else:
                self._storage.replace(self._pointer_key, data, expected.etag)
        except (StaleError, FileExistsError):
            winner = self.pointer()
            if winner.decision == moved:
                return moved  # this very change, written by the try before this one
            why = f"{winner.version or 'another version'} became champion meanwhile, so it stays; {decision.reason}"
            lost = {**vars(decision), "action": Action.LOST, "previous": winner.version, "reason": why}
            return self.record(ChampionDecision(**lost))
        self._write_history(moved)
        return moved

    def record(self, decision: ChampionDecision) -> ChampionDecision:
        """Add a decision that leaves the pointer alone to the history; the same one again adds nothing."""
        if decision.action in MOVES:
            raise ValueError(f"{decision.action} moves the pointer: use move()")
        pointer = self.pointer()
        placed = ChampionDecision(**{**vars(decision), "serial": pointer.serial})
        for entry in (pointer.decision, placed):
            if entry:
                self._write_history(entry)
        return placed

    def history(self, moves_only: bool = False) -> list[ChampionDecision]:
        """Every decision, oldest first; with ``moves_only`` those that changed the pointer, and no other is read."""
        found: list[ChampionDecision] = []
        for key in self._storage.keys(f"{self._root}/history/"):
            if moves_only and "-0-" not in PurePosixPath(key).name[:9]:
                continue
            # One damaged record must not hide the others.
            with contextlib.suppress(ValueError, TypeError, KeyError):
                found.append(ChampionDecision.from_json(json.loads(self._storage.read(key))))
        newest = self.pointer().decision
        return found if newest is None or newest in found else [*found, newest]

    def _write_history(self, decision: ChampionDecision) -> None:
        body = json.dumps(decision.to_json(), sort_keys=True).encode()
        name = f"{decision.serial:06d}-0-{decision.action}"
        if decision.action not in MOVES:
            time = re.sub("[-:]", "", decision.as_of)
            name = f"{decision.serial:06d}-1-{time}-{decision.action}-{_hash(body)[:12]}"
        with contextlib.suppress(FileExistsError):
            self._storage.create(f"{self._root}/history/{name}.json", body)

    def _last_serial(self) -> int:
        keys = self._storage.keys(f"{self._root}/history/")
        return int(PurePosixPath(keys[-1]).name[:6]) if keys else 0

    def champions(self) -> Iterator[str]:
        """The versions that were champion, the newest first, each once; the pointer's own is the first."""
        current = self.pointer().version
        if current:
            yield current
        # Read only when somebody asks for more than the first: it is one object a decision.
        moves = [decision.version for decision in reversed(self.history(moves_only=True))]
        yield from (version for version in dict.fromkeys(moves) if version != current)

    def load_champion(self, folder: Path, but: Sequence[str] = ()) -> Champion:
        """The champion's files in ``folder/<version>``, verified; the last good one when it is damaged.

        ``but`` are versions not to be used. Raises NoChampionError when none is left, saying what is wrong with each.
        """
        pointer = self.pointer()
        problems = [pointer.problem] if pointer.problem else []
        if not pointer.version and not pointer.problem:
            problems.append(f"{self._pointer_key} does not exist")
        for version in (version for version in self.champions() if version not in but):
            place = folder / version
            try:
                manifest = self.fetch(version, place)
            except CorruptError as error:
                problems.append(str(error))
                continue
            why = "; ".join(problems)
            return Champion(manifest, place, f"{why}: {version} is used, the last good champion" if why else "")
        raise NoChampionError(
            f"{self.region} has no champion that can be used ({'; '.join(problems)}): run forecast_retrain"
        )


def _content(model: str, files: Mapping[str, str]) -> str:
    return _hash(json.dumps([model, dict(files)], sort_keys=True).encode())


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
