"""The ledger: append-only JSON records of what every run did, from which reports, the UI page and rollbacks work.

One chain per run and region: ``<lever>/<region>/<dag_id>--<run key>/000001.json`` and so on. A record is created only
if its number is free (a hard link locally, If-None-Match on S3), and carries the SHA-256 of the record before it, so
that a lost, added or edited record breaks the chain. Beside each record stands its mark (marks.py), from whose name one
LIST tells what stands. What concerns a run as a whole (preflight, approval, verdict) stands in a chain whose region is
``estate``; its verdict carries the heads of the region chains.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import json
import logging
import os
import re
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar
from urllib.parse import urlsplit

from include.rollout.marks import Mark, Standing, closes, mark_of, short_name, standing
from include.rollout.marks import Step as Step

log = logging.getLogger(__name__)
Item = TypeVar("Item")
Result = TypeVar("Result")
Json = Any
WHOLE_RUN = "estate"  # the region name of the chain that belongs to no region
FIRST_LINK = "0" * 64  # what the first record of a chain carries as the hash of the one before
_ATTEMPTS = 20  # appends that may lose the race for a number before the ledger gives up
_DOES_NOT_FOLLOW = (
    "does not follow from the record before it: a record was changed, added or removed; "
    "restore the chain from a backup of the ledger"
)
_TEMPORARY = ".new-"  # how files begin that are not whole yet
_AT_ONCE = 32  # requests to the store: each waits for a network
_KEY = re.compile(r"((?:[^/]+/){2}[^/]+)/(?:(\d{6})\.json|(\d{6}-[^/]+))")  # a record's or a mark's


class LedgerError(RuntimeError):
    """The ledger can't be used or doesn't add up; the message names the place and the remedy."""


class SecretRefusedError(ValueError):
    """A record holds what looks like a credential; the message names the field, never its value."""


class Store(Protocol):
    """Where records lie. Keys are relative paths with ``/``."""

    def create(self, key: str, data: bytes) -> None:
        """Write a new object whole or not at all. Raises FileExistsError when the key is taken."""

    def read(self, key: str) -> bytes:
        """The object's bytes. Raises FileNotFoundError."""

    def keys(self, prefix: str) -> list[str]:
        """Every key below the folder ``prefix`` ("" is the whole store), sorted; empty when there is none."""


class FolderStore:
    """Records in a local or mounted folder."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def create(self, key: str, data: bytes) -> None:
        """Write a new file. Raises FileExistsError when it exists."""
        path = self._root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        # open("x") alone could leave half a record when the process is killed; a link appears whole, and only once.
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=_TEMPORARY)
        temporary = Path(name)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            path.hardlink_to(temporary)
        finally:
            temporary.unlink()

    def read(self, key: str) -> bytes:
        """The file's bytes."""
        return (self._root / key).read_bytes()

    def keys(self, prefix: str) -> list[str]:
        """Every file below ``prefix``."""
        found = (
            Path(folder, name).relative_to(self._root).as_posix()
            for folder, _, names in os.walk(self._root / prefix)
            for name in names
            if not name.startswith(_TEMPORARY)
        )
        return sorted(found)


class S3Store:
    """Records in an S3 bucket, through a boto3 client that the caller makes. Needs PutObject, GetObject, ListBucket.

    s3fs' ``mode="create"`` and fsspec's default look first and write then, which two writers can both pass;
    S3's own If-None-Match can't be passed twice.
    """

    def __init__(self, client: Any, bucket: str, prefix: str) -> None:
        self._client = client
        self._bucket = bucket
        self._prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""

    def create(self, key: str, data: bytes) -> None:
        """Put a new object. Raises FileExistsError when it exists or another write to it is under way."""
        try:
            self._client.put_object(
                Bucket=self._bucket, Key=self._prefix + key, Body=data, ContentType="application/json", IfNoneMatch="*"
            )
        except self._client.exceptions.ClientError as error:
            if error.response["Error"]["Code"] in {"PreconditionFailed", "ConditionalRequestConflict"}:
                raise FileExistsError(key) from error
            raise

    def read(self, key: str) -> bytes:
        """The object's bytes."""
        try:
            body: bytes = self._client.get_object(Bucket=self._bucket, Key=self._prefix + key)["Body"].read()
        except self._client.exceptions.NoSuchKey as error:
            raise FileNotFoundError(key) from error
        return body

    def keys(self, prefix: str) -> list[str]:
        """Every object below ``prefix``."""
        below = f"{self._prefix}{prefix}/" if prefix else self._prefix
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=below)
        return sorted(item["Key"].removeprefix(self._prefix) for page in pages for item in page.get("Contents", []))


def open_store(location: str, s3_client: Callable[[str | None], Any]) -> Store:
    """The store at ``location``: a path, ``file://`` or ``s3://[connection@]bucket/prefix``.

    ``s3_client(connection id or None)`` makes the boto3 client. Raises LedgerError for anything else: without a
    conditional create two writers could both own a number.
    """
    parts = urlsplit(location)
    if parts.scheme == "s3":
        connection, _, bucket = parts.netloc.rpartition("@")
        return S3Store(s3_client(connection or None), bucket, parts.path)
    if parts.scheme in {"", "file"} and parts.path.startswith("/"):
        return FolderStore(Path(parts.path))
    raise LedgerError(
        f"ledger location {location!r} can't be used: give an absolute path, file:///path or "
        "s3://connection@bucket/prefix (other stores have no create-if-absent)"
    )


@dataclass(frozen=True, order=True)
class Chain:
    """Whose records: one lever, region and run. ``dag_id`` and ``run_id`` are Airflow's."""

    lever: str
    region: str
    dag_id: str
    run_id: str

    @property
    def path(self) -> str:
        """The chain's folder; a run id with signs that a file name can't hold gets a hash in their place."""
        return f"{self.lever}/{self.region}/{self.dag_id}--{run_key(self.run_id)}"

    def of(self, region: str) -> Chain:
        """The chain of the same run in another region."""
        return Chain(self.lever, region, self.dag_id, self.run_id)


def run_key(run_id: str) -> str:
    """``run_id`` as part of a file name: letters, digits, ``_`` and ``-`` only, at most 91 characters, no two alike."""
    plain = re.sub(r"[^A-Za-z0-9_-]+", "-", run_id)[:80]
    return plain if plain == run_id else f"{plain}-{hashlib.sha256(run_id.encode()).hexdigest()[:10]}"


@dataclass(frozen=True)
class Record:
    """One step of a run. ``time`` is ISO 8601 in UTC, ``previous`` the SHA-256 of the record before it."""

    lever: str
    region: str
    dag_id: str
    run_id: str
    sequence: int
    previous: str
    step: str
    time: str
    figures: Mapping[str, Json] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)

    @property
    def chain(self) -> Chain:
        """The chain that the record belongs to."""
        return Chain(self.lever, self.region, self.dag_id, self.run_id)

    @property
    def mark(self) -> Mark:
        """What the name of its mark tells."""
        return mark_of(self.chain.path, self.sequence, self.step, self.figures, self.links)

    def encode(self) -> bytes:
        """The record's bytes: the same for equal records."""
        return json.dumps(asdict(self), sort_keys=True, indent=1, allow_nan=False).encode() + b"\n"


def digest(data: bytes) -> str:
    """SHA-256 of a record's bytes, in hex."""
    return hashlib.sha256(data).hexdigest()


def _parsed(path: str, number: int, data: bytes) -> Record:
    """The record of that place. Raises LedgerError when ``data`` is no record, or one of another place."""
    place = _record_key(path, number)
    try:
        record = Record(**json.loads(data))
        written = record.chain.path, record.mark.number
    except (ValueError, TypeError, AttributeError) as error:
        raise LedgerError(f"{place} is not a record ({error}): restore it from a backup of the ledger") from error
    if written != (path, number):
        raise LedgerError(f"{place} {_DOES_NOT_FOLLOW}")
    return record


def verify_chain(chain: Chain, contents: Sequence[bytes]) -> list[Record]:
    """The records of ``contents`` (in the order of their numbers). Raises LedgerError at the first that doesn't fit."""
    records: list[Record] = []
    previous = FIRST_LINK
    for number, data in enumerate(contents, start=1):
        record = _parsed(chain.path, number, data)
        if record.chain != chain or record.previous != previous:
            raise LedgerError(f"{_record_key(chain.path, number)} {_DOES_NOT_FOLLOW}")
        records.append(record)
        previous = digest(data)
    return records


_NAMES_A_SECRET = re.compile(r"(token|password|passwd|secret|authorization|credentials?|apikey|accesskey)$")
# What no honest text holds: AWS key ids, private keys, JSON web tokens, tokens of code hosts and chats, URLs with a
# password.
_IS_A_SECRET = re.compile(
    r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b|-----BEGIN [A-Z ]*PRIVATE KEY|\beyJ[\w-]{8,}\.[\w-]{8,}"
    r"|\b(?:gh[a-z]_|github_pat_|glpat-|xox[a-z]-)[\w-]{16,}|\b[a-z][a-z0-9+.-]*://[^\s/:@]+:(?!\*)[^\s/@]+@"
)
# What an honest text may hold too ("basic configuration-change"): the value decides.
_PRESENTS_A_SECRET = re.compile(
    r"\b(?:bearer|basic)\s+([\w+/=.~-]{16,})|(?:password|passwd|secret|token|key)\s*=\s*[\"']?([^\s\"']{8,})",
    re.IGNORECASE,
)
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


def refuse_secrets(value: Json, path: str = "") -> None:
    """Raise SecretRefusedError naming the first field that looks like a credential.

    A name counts when it ends in such a word and holds text: ``httpTokens`` and ``secretName`` are settings.
    """
    if isinstance(value, Mapping):
        for key, inner in value.items():
            place = f"{path}.{key}" if path else str(key)
            plain = re.sub(r"[^a-z]", "", str(key).lower())
            if isinstance(inner, str) and inner and _NAMES_A_SECRET.search(plain):
                raise SecretRefusedError(f"{place} looks like a credential: leave it out of the record")
            refuse_secrets(inner, place)
    elif isinstance(value, list | tuple):
        for position, inner in enumerate(value):
            refuse_secrets(inner, f"{path}[{position}]")
    elif isinstance(value, str) and _holds_a_secret(value):
        raise SecretRefusedError(f"{path} holds what looks like a credential: leave it out of the record")


def without_secrets(text: str) -> str:
    """``text``, or what stands in for an error's text that no record may hold: its step must end all the same."""
    return "its message holds what looks like a credential; read the task's log" if _holds_a_secret(text) else text


def _holds_a_secret(text: str) -> bool:
    if _IS_A_SECRET.search(text):
        return True
    found = _PRESENTS_A_SECRET.finditer(text)
    return any(_looks_random(header, 10) if header else _looks_random(assigned, 6) for header, assigned in
               (match.groups() for match in found))  # fmt: skip


def _looks_random(value: str, length: int) -> bool:
    """Whether a part of ``value`` between its separators mixes letters and digits over ``length`` signs or more.

    Words, versions and dates do not; nearly every key, token and base64 text does.
    """
    parts = re.findall(rf"[A-Za-z0-9]{{{length},}}", value)
    mixed = any(re.search("[A-Za-z]", part) and re.search("[0-9]", part) for part in parts)
    return mixed or _UUID.search(value) is not None


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


def _record_key(path: str, number: int) -> str:
    return f"{path}/{number:06}.json"


def _at_once(do: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    with ThreadPoolExecutor(max_workers=_AT_ONCE) as pool:
        return list(pool.map(do, items))


class _Listing:
    """The records and marks that one LIST names, by the path of their chain."""

    def __init__(self, keys: Iterable[str]) -> None:
        self.records: dict[str, set[int]] = {}
        self.marks: dict[str, dict[int, Mark]] = {}
        for key in keys:
            found = _KEY.fullmatch(key)
            if found is None:
                continue
            path, number, name = found.groups()
            mark = Mark.parse(name) if name else None
            if number:
                self.records.setdefault(path, set()).add(int(number))
            elif mark is not None:
                self.marks.setdefault(path, {})[mark.number] = mark

    @property
    def paths(self) -> list[str]:
        """Every chain, sorted."""
        return sorted({*self.records, *self.marks})

    def numbers(self, path: str) -> list[int]:
        """The numbers of a chain's records, in order."""
        return sorted(self.records.get(path, ()))

    def missing(self, path: str) -> int | None:
        """The number of the first record that the chain's other names say there must be, or None."""
        there = self.records.get(path, set())
        highest = max({*there, *self.marks.get(path, ())}, default=0)
        return next((number for number in range(1, highest + 1) if number not in there), None)

    def unmarked(self) -> list[tuple[str, int]]:
        """(path, number) of the records without a mark."""
        return [(p, n) for p in self.paths for n in self.numbers(p) if n not in self.marks.get(p, ())]


@dataclass(frozen=True)
class _Marked:
    """Every chain's marks by number, and what is wrong with the chains that don't add up."""

    chains: Mapping[str, Sequence[Mark]]
    bad: Mapping[str, str]

    def standing(self) -> list[Standing]:
        """What stands, of the chains that add up."""
        places: dict[str, dict[str, Sequence[Mark]]] = {}
        for path, marks in self.chains.items():
            places.setdefault(path.rpartition("/")[0], {})[path] = marks
        return [change for chains in places.values() for change in standing(chains) if change.path not in self.bad]


class Ledger:
    """Appends to and reads chains of a store."""

    def __init__(self, store: Store, clock: Callable[[], dt.datetime] = _now) -> None:
        self._store = store
        self._clock = clock

    def append(
        self, chain: Chain, step: str, figures: Mapping[str, Json] | None = None, links: Mapping[str, str] | None = None
    ) -> Record:
        """Add a record at the end of the chain. Raises SecretRefusedError, LedgerError, or ValueError for no JSON."""
        return self._append(chain, step, figures or {}, links or {}, once=False)

    def append_once(
        self, chain: Chain, step: str, figures: Mapping[str, Json] | None = None, links: Mapping[str, str] | None = None
    ) -> Record:
        """Add the chain's only record of ``step``, or return the one that is there already."""
        return self._append(chain, step, figures or {}, links or {}, once=True)

    def _append(
        self, chain: Chain, step: str, figures: Mapping[str, Json], links: Mapping[str, str], *, once: bool
    ) -> Record:
        refuse_secrets(figures, "figures")
        refuse_secrets(links, "links")
        for _ in range(_ATTEMPTS):
            contents = self._contents(chain)
            records = verify_chain(chain, contents)
            if once and (existing := last(records, step)):
                return existing
            record = Record(
                **asdict(chain),
                sequence=len(records) + 1,
                previous=digest(contents[-1]) if contents else FIRST_LINK,
                step=step,
                time=self._clock().astimezone(dt.UTC).isoformat(),
                figures={**figures, **self._positions(chain, step, figures, links)},
                links=links,
            )
            try:
                self._store.create(_record_key(chain.path, record.sequence), record.encode())
            except FileExistsError:
                continue
            self._mark(record)
            return record
        raise LedgerError(
            f"{chain.path} is being written by others ({_ATTEMPTS} appends lost the race): run the task again"
        )

    def _positions(
        self, chain: Chain, step: str, figures: Mapping[str, Json], links: Mapping[str, str]
    ) -> dict[str, int]:
        """Where a record stands among those of other chains. The region's lock lets one run at a time ask for it."""
        found = {}
        if step == Step.SNAPSHOT:
            marks = self._marked(f"{chain.lever}/{chain.region}").chains.values()
            found["order"] = 1 + max((mark.order for of_chain in marks for mark in of_chain), default=0)
        other = links.get("origin" if step == Step.SNAPSHOT else "restores", chain.path)
        if other != chain.path and (step == Step.SNAPSHOT or closes(step, figures)):
            found["upto"] = len(_Listing(self._store.keys(other)).numbers(other))
        return found

    def _mark(self, record: Record) -> None:
        """Write a record's mark. A failure costs the next reader one request, so that it must not fail the step."""
        try:
            self._store.create(f"{record.chain.path}/{record.mark.name}", b"")
        except FileExistsError:
            return
        except Exception as error:  # noqa: BLE001 - the record is kept, and it alone counts
            log.warning("%s: no mark for record %s: %s", record.chain.path, record.sequence, error)

    def _contents(self, chain: Chain) -> list[bytes]:
        listing = _Listing(self._store.keys(chain.path))
        if gap := self._gap(listing, chain.path):
            raise LedgerError(gap)
        return [self._store.read(_record_key(chain.path, number)) for number in listing.numbers(chain.path)]

    def _gap(self, listing: _Listing, path: str) -> str:
        """Which record of a chain is missing, and the remedy; "" when none is.

        A folder that is being written while it is listed may show a mark and not its record: look before saying so.
        """
        while (number := listing.missing(path)) is not None:
            try:
                self._store.read(_record_key(path, number))
            except FileNotFoundError:
                return f"{_record_key(path, number)} is missing: restore it from a backup of the ledger"
            listing.records.setdefault(path, set()).add(number)
        return ""

    def records(self, chain: Chain) -> list[Record]:
        """The chain's records in order, empty when there are none. Raises LedgerError when the chain is broken."""
        return verify_chain(chain, self._contents(chain))

    def head(self, chain: Chain) -> str | None:
        """SHA-256 of the chain's last record, or None for an empty chain."""
        contents = self._contents(chain)
        verify_chain(chain, contents)
        return digest(contents[-1]) if contents else None

    def chains(self, lever: str, region: str) -> list[Chain]:
        """The chains of a lever in a region, the earliest first."""
        first_keys = [key for key in self._store.keys(f"{lever}/{region}") if key.endswith("/000001.json")]
        firsts = _at_once(lambda key: Record(**json.loads(self._store.read(key))), first_keys)
        return [record.chain for record in sorted(firsts, key=lambda record: record.time)]

    def snapshot(self, chain: Chain) -> Record | None:
        """The snapshot of a run in a region."""
        return last(self.records(chain), Step.SNAPSHOT)

    def touched(self, chain: Chain, regions: Iterable[str]) -> list[str]:
        """Those of ``regions`` where the run's changes stand (nobody has restored them), in their order: one LIST."""
        marked = self._marked(chain.lever)
        ours = {region: chain.of(region).path for region in regions}
        for path in ours.values():
            if path in marked.bad:
                raise LedgerError(marked.bad[path])
        open_paths = {change.path for change in marked.standing()}
        return [region for region, path in ours.items() if path in open_paths]

    def undone_by(self, chain: Chain) -> Chain | None:
        """Another run that has undone, or begun to undo, what this run wrote in its region; or None."""
        ours = short_name(chain.path)
        found = [
            (path, mark.number)
            for path, marks in self._marked(f"{chain.lever}/{chain.region}").chains.items()
            for mark in marks
            if path != chain.path and mark.other == ours and mark.step in {Step.UNDO, Step.RESTORED}
        ]
        if not found:
            return None
        path, number = found[-1]
        return _parsed(path, number, self._store.read(_record_key(path, number))).chain

    def standing(self, lever: str, region: str) -> list[OpenRun]:
        """The runs whose changes stand in the region, the earliest first: a rollback undoes the last.

        Raises LedgerError when a chain there doesn't add up: then nobody knows.
        """
        survey = self.survey(f"{lever}/{region}")
        if survey.bad:
            raise LedgerError("; ".join(survey.bad.values()))
        return list(survey.standing)

    def unfinished(self, lever: str, region: str) -> OpenRun | None:
        """The run that wrote to the region and was neither promoted nor rolled back: its snapshot stays the origin."""
        runs = [run for run in self.standing(lever, region) if not run.promoted]
        return runs[-1] if runs else None

    def survey(self, below: str = "") -> Survey:
        """What stands below a folder (a lever, or a lever's region; "" is everything), and which chains don't add up.

        One LIST, and one read for each change that stands.
        """
        marked = self._marked(below)
        bad = dict(marked.bad)

        def opened(change: Standing) -> OpenRun | None:
            try:
                record = _parsed(
                    change.path, change.snapshot, self._store.read(_record_key(change.path, change.snapshot))
                )
            except (LedgerError, FileNotFoundError) as error:
                bad[change.path] = str(error)
                return None
            return OpenRun(record.chain, record, change.promoted)

        found = [run for run in _at_once(opened, marked.standing()) if run is not None]
        # Snapshots of an older release have no order: among these their times are all there is.
        found.sort(key=lambda run: (run.order, run.snapshot.time, run.chain))
        return Survey(tuple(found), bad, frozenset(path.split("/")[1] for path in marked.chains))

    def latest_snapshots(self) -> list[Record]:
        """The last snapshot of every lever and region, whether its change stands or not: one LIST, one read for each.

        What can't be read is left out.
        """
        latest: dict[str, tuple[int, str, int]] = {}
        for path, marks in self._marked("").chains.items():
            place = path.rpartition("/")[0]
            for mark in marks:
                if mark.step == Step.SNAPSHOT:
                    latest[place] = max(latest.get(place, (0, "", 0)), (mark.order, path, mark.number))

        def read(place: tuple[int, str, int]) -> Record | None:
            _, path, number = place
            with contextlib.suppress(LedgerError, FileNotFoundError):
                return _parsed(path, number, self._store.read(_record_key(path, number)))
            return None

        return [record for record in _at_once(read, latest.values()) if record is not None]

    def audit(self, below: str = "") -> dict[str, str]:
        """Read every record below a folder: path -> what is wrong, for each chain that doesn't add up."""
        listing = _Listing(self._store.keys(below))

        def check(path: str) -> str:
            try:
                contents = [self._store.read(_record_key(path, number)) for number in listing.numbers(path)]
                if contents:
                    verify_chain(_parsed(path, 1, contents[0]).chain, contents)
            except (LedgerError, FileNotFoundError) as error:
                return str(error)
            return ""

        paths = [path for path in listing.paths if _is_regions(path)]
        reasons = _at_once(lambda path: self._gap(listing, path) or check(path), paths)
        return {path: reason for path, reason in zip(paths, reasons, strict=True) if reason}

    def _marked(self, below: str) -> _Marked:
        """The marks of all chains below a folder; what has none is read, and marked for the next reader."""
        listing = _Listing(self._store.keys(below))
        bad = {path: gap for path in listing.paths if (gap := self._gap(listing, path))}

        def read(place: tuple[str, int]) -> tuple[str, Mark | str]:
            path, number = place
            try:
                record = _parsed(path, number, self._store.read(_record_key(path, number)))
            except (LedgerError, FileNotFoundError) as error:
                return path, str(error)
            self._mark(record)
            return path, record.mark

        chains = {path: dict(listing.marks.get(path, {})) for path in listing.paths if _is_regions(path)}
        for path, found in _at_once(read, [place for place in listing.unmarked() if _is_regions(place[0])]):
            if isinstance(found, Mark):
                chains[path][found.number] = found
            else:
                bad.setdefault(path, found)
        ordered = {path: [marks[number] for number in sorted(marks)] for path, marks in chains.items()}
        lost = "was written to but holds no snapshot: restore it from a backup of the ledger"
        for path, marks in ordered.items():
            steps = {mark.step for mark in marks}
            if Step.TOUCH in steps and Step.SNAPSHOT not in steps:
                bad.setdefault(path, f"{path} {lost}")
        return _Marked(ordered, {path: reason for path, reason in bad.items() if path in ordered})


def _is_regions(path: str) -> bool:
    return path.split("/")[1] != WHOLE_RUN


def last(records: Sequence[Record], step: str) -> Record | None:
    """The last record of ``step``, or None."""
    return next((record for record in reversed(records) if record.step == step), None)


def is_complete_restoration(record: Record) -> bool:
    """Whether the record ends a change: everything of a snapshot is back, or what is not was accepted."""
    return closes(record.step, record.figures)


@dataclass(frozen=True)
class OpenRun:
    """A run whose changes stand in a region: promoted, or unfinished. ``snapshot`` is what a rollback restores."""

    chain: Chain
    snapshot: Record
    promoted: bool

    @property
    def order(self) -> int:
        """Its place among the snapshots of its lever and region; 0 for one of an older release."""
        return self.snapshot.mark.order


@dataclass(frozen=True)
class Survey:
    """What stands, the earliest first within a lever and region, and by path what is wrong with the bad chains.

    ``regions`` are all that the ledger knows.
    """

    standing: tuple[OpenRun, ...]
    bad: Mapping[str, str]
    regions: frozenset[str]
