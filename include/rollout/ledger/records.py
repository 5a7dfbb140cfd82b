"""Chains and their records: one append-only list of steps for each lever, place and run, joined by hashes."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from typing import Any

from include.rollout.canonical import canonical
from include.rollout.ledger.signing import Signer
from include.rollout.marks import Mark, closes, mark_of

Json = Any
WHOLE_RUN = "estate"  # stands for the place in the chain of a run as a whole
FIRST_LINK = "0" * 64  # what the first record of a chain carries as the hash of the one before
_DOES_NOT_FOLLOW = (
    "does not follow from the record before it: a record was changed, added or removed; "
    "restore the chain from a backup of the ledger"
)


class LedgerError(RuntimeError):
    """The ledger can't be used or doesn't add up; the message names the place in it and the remedy."""


@dataclass(frozen=True, order=True)
class Chain:
    """Whose records: one lever, place and run. ``dag_id`` and ``run_id`` are Airflow's."""

    lever: str
    place: str
    dag_id: str
    run_id: str

    @property
    def path(self) -> str:
        """The chain's folder; a run id with signs that a file name can't hold gets a hash in their stead."""
        return f"{self.lever}/{self.place}/{self.dag_id}--{run_key(self.run_id)}"

    def of(self, place: str) -> Chain:
        """The chain of the same run in another place."""
        return Chain(self.lever, place, self.dag_id, self.run_id)

    def to_json(self) -> dict[str, str]:
        """The chain for a record's figures; read back by :meth:`from_json`."""
        return _on_record(asdict(self))

    @classmethod
    def from_json(cls, raw: Mapping[str, str]) -> Chain:
        """The chain that :meth:`to_json` wrote, among other things that ``raw`` may hold."""
        return cls(raw["lever"], raw["region"], raw["dag_id"], raw["run_id"])


@lru_cache(maxsize=4096)  # every record of a run asks for its own
def run_key(run_id: str) -> str:
    """``run_id`` as part of a file name: letters, digits, ``_`` and ``-`` only, at most 91 characters, no two alike."""
    plain = re.sub(r"[^A-Za-z0-9_-]+", "-", run_id)[:80]
    return plain if plain == run_id else f"{plain}-{hashlib.sha256(run_id.encode()).hexdigest()[:10]}"


@dataclass(frozen=True)
class Record:
    """One step of a run. ``time`` is ISO 8601 in UTC, ``previous`` the SHA-256 of the record before it.

    ``key`` names the key that signed it; both it and ``signature`` are empty in a record that nobody signed.
    """

    lever: str
    place: str
    dag_id: str
    run_id: str
    sequence: int
    previous: str
    step: str
    time: str
    figures: Mapping[str, Json] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)
    key: str = ""
    signature: str = ""

    @property
    def chain(self) -> Chain:
        """The chain that the record belongs to."""
        return Chain(self.lever, self.place, self.dag_id, self.run_id)

    @property
    def address(self) -> str:
        """Where the record lies in the ledger's store."""
        return record_key(self.chain.path, self.sequence)

    @property
    def mark(self) -> Mark:
        """What the name of its mark tells."""
        return mark_of(self.chain.path, self.sequence, self.step, self.figures, self.links)

    def encode(self) -> bytes:
        """The record's bytes, canonical JSON: the same for equal records. Older releases wrote another form of JSON."""
        return canonical(self._document())

    def signed(self, signer: Signer | None) -> Record:
        """The record with a signature; as it is without a signer."""
        if signer is None:
            return self
        document = signer.sign(self._document())
        return replace(self, key=document["key"], signature=document["signature"])

    def _document(self) -> dict[str, Json]:
        document = _on_record(asdict(self))
        if not self.signature:
            del document["key"], document["signature"]
        return document

    @classmethod
    def decode(cls, data: bytes) -> Record:
        """The record that :meth:`encode` wrote. Raises ValueError, KeyError or TypeError for anything else."""
        try:
            raw = json.loads(data)
        except RecursionError as error:
            raise ValueError("its JSON is nested too deep") from error
        record = cls(place=raw.pop("region"), **raw)
        if not (isinstance(record.figures, dict) and isinstance(record.links, dict)):
            raise TypeError("figures and links must be objects")
        if not all(isinstance(raw[name], str) for name in ("step", "time")):
            raise TypeError("step and time must be texts")
        return record


def _on_record(raw: dict[str, Json]) -> dict[str, Json]:
    """The name of the place stands under ``region``, as it did when every place was one."""
    return {"region": raw.pop("place"), **raw}


def digest(data: bytes) -> str:
    """SHA-256 of a record's bytes, in hex."""
    return hashlib.sha256(data).hexdigest()


def parsed(path: str, number: int, data: bytes) -> Record:
    """The record of that number in the chain ``path``.

    Raises LedgerError when ``data`` is no record, or that of another chain or number.
    """
    key = record_key(path, number)
    try:
        record = Record.decode(data)
        written = record.chain.path, record.mark.number
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise LedgerError(f"{key} is not a record ({error}): restore it from a backup of the ledger") from error
    if written != (path, number):
        raise LedgerError(f"{key} {_DOES_NOT_FOLLOW}")
    return record


def verify_chain(chain: Chain, contents: Sequence[bytes]) -> list[Record]:
    """The records of ``contents`` (in the order of their numbers). Raises LedgerError at the first that doesn't fit."""
    records: list[Record] = []
    previous = FIRST_LINK
    for number, data in enumerate(contents, start=1):
        record = parsed(chain.path, number, data)
        if record.chain != chain or record.previous != previous:
            raise LedgerError(f"{record_key(chain.path, number)} {_DOES_NOT_FOLLOW}")
        records.append(record)
        previous = digest(data)
    return records


def record_key(path: str, number: int) -> str:
    """Where the record of that number lies."""
    return f"{path}/{number:06}.json"


def last(records: Sequence[Record], step: str) -> Record | None:
    """The last record of ``step``, or None."""
    return next((record for record in reversed(records) if record.step == step), None)


def is_complete_restoration(record: Record) -> bool:
    """Whether the record ends a change: everything of a snapshot is back, or what is not was accepted."""
    return closes(record.step, record.figures)
