"""What shows that nothing was cut off or taken out: signed heads, a signed log of them, and the keys they were made by.

Each record of a signed ledger is signed by itself, so that none can be changed or added. That one is gone shows here:

- ``heads/<chain>.json``: number and hash of the chain's last record, written again after each. A chain that ends before
  its head was cut. A head may be behind its chain: the process ended between the two; the next record mends it.
- ``index/000001.json`` ...: a log whose entries name chains with their last record, each entry with the hash of the one
  before. An entry is written when a chain begins, when its change is promoted or restored, and at a run's verdict. A
  chain that the log names and that is not there was taken out.
- The first record of a chain links to the newest entry of the log, so that entries cut off its end are missed by every
  chain that began after them.
- ``keys/<id>.pem``: the public keys, one a file; a key that is no longer in use stays, and so do its signatures.

Nothing here fails a step: the record is kept, and it alone counts.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from include.clients.storage import Storage
from include.rollout.canonical import canonical
from include.rollout.ledger.records import Record, digest
from include.rollout.ledger.signing import Signer
from include.rollout.marks import Step

Json = Any
log = logging.getLogger(__name__)

INDEX, HEADS, KEYS = "index", "heads", "keys"
LOGGED = frozenset({Step.PROMOTED, Step.RESTORED, Step.VERDICT, Step.MEASURED, Step.VALIDATED, Step.REPORTED})
_ENTRY = re.compile(rf"{INDEX}/(\d{{6,}})\.json")
_ATTEMPTS = 20  # entries of the log that may lose the race for a number


@dataclass(frozen=True)
class Head:
    """The last record of a chain: its path, the record's number and the SHA-256 of its bytes."""

    path: str
    number: int
    sha256: str

    def to_json(self) -> dict[str, Json]:
        """The head as the index has it."""
        return {"chain": self.path, "number": self.number, "sha256": self.sha256}


class Seals:
    """Heads, log and keys of one store, signed by one key."""

    def __init__(self, store: Storage, signer: Signer, clock: Callable[[], dt.datetime]) -> None:
        self._store = store
        self._signer = signer
        self._clock = clock
        self._key_is_there = False

    def newest(self) -> str:
        """The newest entry of the log as a link: ``<number>:<SHA-256>``, number 0 without any."""
        number, sha256 = self._last()
        return f"{number}:{sha256}"

    def sealed(self, record: Record, data: bytes) -> None:
        """Write the head of a chain that this record (its bytes) ends, and an entry of the log where one is due."""
        head = Head(record.chain.path, record.sequence, digest(data))
        self._safely(self._publish_key)
        self._safely(self._put_head, record, head)
        if record.sequence == 1 or record.step in LOGGED:
            self.log([head])

    def log(self, heads: Sequence[Head]) -> None:
        """Write an entry of the log."""
        self._safely(self._add_entry, heads)

    def _put_head(self, record: Record, head: Head) -> None:
        body = {"kind": "head", **record.chain.to_json(), **head.to_json(), "time": record.time}
        self._store.put(f"{HEADS}/{head.path}.json", canonical(self._signer.sign(body)))

    def _add_entry(self, heads: Sequence[Head]) -> None:
        rows = [head.to_json() for head in heads]
        for _ in range(_ATTEMPTS):
            number, previous = self._last()
            time = self._clock().astimezone(dt.UTC).isoformat()
            body = {"kind": "index", "number": number + 1, "previous": previous, "time": time, "heads": rows}
            try:
                self._store.create(_entry_key(number + 1), canonical(self._signer.sign(body)))
            except FileExistsError:
                continue
            return
        log.warning("the index of the ledger is being written by others: %s is not in it yet", heads[0].path)

    def _last(self) -> tuple[int, str]:
        numbers = [int(found[1]) for key in self._store.keys(f"{INDEX}/") if (found := _ENTRY.fullmatch(key))]
        number = max(numbers, default=0)
        return number, digest(self._store.read(_entry_key(number))) if number else ""

    def _publish_key(self) -> None:
        if self._key_is_there:
            return
        with contextlib.suppress(FileExistsError):
            self._store.create(f"{KEYS}/{self._signer.key_id}.pem", self._signer.public_pem)
        self._key_is_there = True

    def _safely(self, write: Callable[..., None], *arguments: object) -> None:
        """See the module: what fails here is mended by the next record, and must not fail this one's step."""
        try:
            write(*arguments)
        except Exception as error:  # noqa: BLE001 - whatever the store says, the record is there
            log.warning("the ledger's record is kept, but not sealed yet: %s", error)


def _entry_key(number: int) -> str:
    return f"{INDEX}/{number:06}.json"
