"""The ledger: append-only JSON records of what every run did, from which reports, the UI page and rollbacks work.

One chain per run and region: ``<lever>/<region>/<dag_id>--<run key>/000001.json`` and so on. A record is created only
if its number is free (a hard link locally, If-None-Match on S3), and carries the SHA-256 of the record before it, so
that a lost, added or edited record breaks the chain. What concerns a run as a whole (preflight, approval, verdict)
stands in a chain whose region is ``estate``; its verdict carries the heads of the region chains.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import os
import re
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

Json = Any
WHOLE_RUN = "estate"  # the region name of the chain that belongs to no region
FIRST_LINK = "0" * 64  # what the first record of a chain carries as the hash of the one before
_ATTEMPTS = 20  # appends that may lose the race for a number before the ledger gives up


class Step:
    """Names of the steps that the engine records; the readers below know these."""

    PREFLIGHT = "preflight"
    PLAN = "plan"  # in the estate's chain: offered for approval; in a region's: confirmed before its first write
    ANSWER = "answer"  # what an approver answered to which plan; written by the task that received the answer
    APPROVAL = "approval"  # the answer was compared with the plan, and the locks are taken
    SNAPSHOT = "snapshot"
    TOUCH = "touch"  # written before a stage is applied
    APPLIED = "applied"
    GATE = "gate"
    STOPPED = "stopped"
    DECISION = "decision"
    PROMOTED = "promoted"
    UNDO = "undo"  # written before a rollback starts
    UNDONE = "undone"
    RESTORED = "restored"  # figures.complete says whether everything is back
    VERDICT = "verdict"


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
        """Every key below the folder ``prefix``, sorted; empty when there is none."""


class FolderStore:
    """Records in a local or mounted folder."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def create(self, key: str, data: bytes) -> None:
        """Write a new file. Raises FileExistsError when it exists."""
        path = self._root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        # open("x") alone could leave half a record when the process is killed; a link appears whole, and only once.
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".new-")
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
        """Every record below ``prefix``."""
        found = (self._root / prefix).rglob("*.json")
        return sorted(path.relative_to(self._root).as_posix() for path in found)


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
        """Every record below ``prefix``."""
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=self._bucket, Prefix=f"{self._prefix}{prefix}/"
        )
        names = (item["Key"].removeprefix(self._prefix) for page in pages for item in page.get("Contents", []))
        return sorted(name for name in names if name.endswith(".json"))


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

    def encode(self) -> bytes:
        """The record's bytes: the same for equal records."""
        return json.dumps(asdict(self), sort_keys=True, indent=1, allow_nan=False).encode() + b"\n"


def digest(data: bytes) -> str:
    """SHA-256 of a record's bytes, in hex."""
    return hashlib.sha256(data).hexdigest()


def verify_chain(chain: Chain, contents: Sequence[bytes]) -> list[Record]:
    """The records of ``contents`` (in the order of their numbers). Raises LedgerError at the first that doesn't fit."""
    records: list[Record] = []
    previous = FIRST_LINK
    for number, data in enumerate(contents, start=1):
        place = f"{chain.path}/{number:06}.json"
        try:
            record = Record(**json.loads(data))
        except (ValueError, TypeError) as error:
            raise LedgerError(f"{place} is not a record ({error}): restore it from a backup of the ledger") from error
        if record.chain != chain or record.sequence != number or record.previous != previous:
            raise LedgerError(
                f"{place} does not follow from the record before it: a record was changed, added or removed; "
                "restore the chain from a backup of the ledger"
            )
        records.append(record)
        previous = digest(data)
    return records


_NAMES_A_SECRET = re.compile(r"(token|password|passwd|secret|authorization|credentials?|apikey|accesskey)$")
_IS_A_SECRET = re.compile(
    r"\b(bearer|basic) [a-z0-9+/=._-]{16,}|\b(AKIA|ASIA)[A-Z0-9]{16}\b|-----BEGIN [A-Z ]*PRIVATE KEY", re.IGNORECASE
)


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
    elif isinstance(value, str) and _IS_A_SECRET.search(value):
        raise SecretRefusedError(f"{path} holds what looks like a credential: leave it out of the record")


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


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
                figures=figures,
                links=links,
            )
            try:
                self._store.create(f"{chain.path}/{record.sequence:06}.json", record.encode())
            except FileExistsError:
                continue
            return record
        raise LedgerError(
            f"{chain.path} is being written by others ({_ATTEMPTS} appends lost the race): run the task again"
        )

    def _contents(self, chain: Chain) -> list[bytes]:
        keys = self._store.keys(chain.path)
        for number, key in enumerate(keys, start=1):
            if key != f"{chain.path}/{number:06}.json":
                raise LedgerError(f"{chain.path}/{number:06}.json is missing: restore it from a backup of the ledger")
        return [self._store.read(key) for key in keys]

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
        firsts = [Record(**json.loads(self._store.read(key))) for key in first_keys]
        return [record.chain for record in sorted(firsts, key=lambda record: record.time)]

    def history(self, lever: str, region: str) -> list[Record]:
        """Every record of a lever in a region over all runs, in the order of their times."""
        records = [record for chain in self.chains(lever, region) for record in self.records(chain)]
        return sorted(records, key=lambda record: (record.time, record.chain, record.sequence))

    def snapshot(self, chain: Chain) -> Record | None:
        """The snapshot of a run in a region."""
        return last(self.records(chain), Step.SNAPSHOT)

    def touched(self, chain: Chain, regions: Iterable[str]) -> list[str]:
        """Those of ``regions`` where the run's changes stand (nobody has restored them), in the order of touching."""
        times = {}
        for region in regions:
            ours = chain.of(region)
            for run in self.standing(chain.lever, region):
                if run.chain == ours:
                    times[region] = run.touched_at
        return sorted(times, key=lambda region: times[region])

    def standing(self, lever: str, region: str) -> list[OpenRun]:
        """The runs whose changes stand in the region, the earliest first: a rollback undoes the last."""
        return open_runs(self.history(lever, region))

    def unfinished(self, lever: str, region: str) -> OpenRun | None:
        """The run that wrote to the region and was neither promoted nor rolled back: its snapshot stays the origin."""
        runs = [run for run in self.standing(lever, region) if not run.promoted]
        return runs[-1] if runs else None


def last(records: Sequence[Record], step: str) -> Record | None:
    """The last record of ``step``, or None."""
    return next((record for record in reversed(records) if record.step == step), None)


def is_complete_restoration(record: Record) -> bool:
    """Whether the record says that everything of a snapshot is back."""
    return record.step == Step.RESTORED and bool(record.figures.get("complete"))


@dataclass(frozen=True)
class OpenRun:
    """A run whose changes stand in a region: promoted, or unfinished. ``snapshot`` is what a rollback restores."""

    chain: Chain
    snapshot: Record
    promoted: bool
    touched_at: str


def open_runs(history: Sequence[Record]) -> list[OpenRun]:
    """The runs whose changes stand, the earliest first; ``history`` holds one lever and region, in time order.

    A run that resumed an unfinished one has taken its snapshot over and stands for both.
    """
    snapshots: dict[str, Record] = {}
    standing: dict[str, OpenRun] = {}
    for record in history:
        path = record.chain.path
        if record.step == Step.SNAPSHOT:
            snapshots[path] = record
        elif record.step == Step.TOUCH and path not in standing:
            snapshot = snapshots[path]
            standing.pop(snapshot.links.get("origin", ""), None)
            standing[path] = OpenRun(record.chain, snapshot, promoted=False, touched_at=record.time)
        elif record.step == Step.PROMOTED and path in standing:
            standing[path] = replace(standing[path], promoted=True)
        elif is_complete_restoration(record):
            standing.pop(record.links.get("restores", path), None)
    return list(standing.values())
