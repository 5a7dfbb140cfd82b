"""Writing: a record at the end of its chain, created only if its number is free."""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from typing import Any

from include.clients.storage import Storage
from include.rollout.ledger.listing import Listing
from include.rollout.ledger.reading import Reader, now
from include.rollout.ledger.records import (
    FIRST_LINK,
    Chain,
    LedgerError,
    Record,
    digest,
    last,
    record_key,
    verify_chain,
)
from include.rollout.ledger.sealing import Head, Seals
from include.rollout.ledger.secrets import refuse_secrets
from include.rollout.ledger.signing import Signer
from include.rollout.marks import Step, closes

Json = Any
_ATTEMPTS = 20  # appends that may lose the race for a number before the ledger gives up


class Writer(Reader):
    """Appends to chains of a store; with a ``signer`` what it writes can be verified by others (sealing.py)."""

    def __init__(
        self,
        store: Storage,
        clock: Callable[[], dt.datetime] = now,
        signer: Signer | None = None,
        problem: str = "",
    ) -> None:
        """``problem`` says why there is no signer although one is wanted."""
        super().__init__(store, clock)
        self.signing_problem = problem
        self._signer = signer
        self._seals = Seals(store, signer, clock) if signer else None

    @property
    def key_id(self) -> str:
        """The key by which it signs; "" when it does not."""
        return self._signer.key_id if self._signer else ""

    def put_beside(self, key: str, data: bytes) -> None:
        """Write what is no record, such as a report whose hash is on record, beside the chains."""
        self._store.put(key, data)

    def seal(self, chains: Iterable[Chain]) -> None:
        """At a run's end: name the last record of each chain in the signed index."""
        if self._seals is None:
            return
        contents = {chain.path: self._contents(chain) for chain in chains}
        heads = [Head(path, len(found), digest(found[-1])) for path, found in contents.items() if found]
        if heads:
            self._seals.log(heads)

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

    def attach(self, chain: Chain, name: str, files: Mapping[str, bytes]) -> str:
        """Lay files beside a chain's records; returns their folder, which is named after their content.

        They are no records: whoever keeps the folder and the files' hashes in one can tell that they are as written.
        """
        content = hashlib.sha256(b"".join(key.encode() + b"\0" + files[key] for key in sorted(files))).hexdigest()
        folder = f"{chain.path}/{name}/{content[:12]}"
        for key, data in files.items():
            with contextlib.suppress(FileExistsError):  # a step that is tried again writes the same
                self._store.create(f"{folder}/{key}", data)
        return folder

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
                links=links if records else {**links, **self._anchor()},
            ).signed(self._signer)
            if self._added(record):
                return record
        raise LedgerError(
            f"{chain.path} is being written by others ({_ATTEMPTS} appends lost the race): run the task again"
        )

    def _anchor(self) -> dict[str, str]:
        """What the first record of a chain links to: the newest entry of the signed index."""
        return {"index": self._seals.newest()} if self._seals else {}

    def _added(self, record: Record) -> bool:
        """Whether the record's number was free: then it is there, with its mark and its seals."""
        data = record.encode()
        try:
            self._store.create(record_key(record.chain.path, record.sequence), data)
        except FileExistsError:
            return False
        self._mark(record)
        if self._seals is not None:
            self._seals.sealed(record, data)
        return True

    def _positions(
        self, chain: Chain, step: str, figures: Mapping[str, Json], links: Mapping[str, str]
    ) -> dict[str, int]:
        """Where a record stands among those of other chains. The place's lock lets one run at a time ask for it."""
        found = {}
        if step == Step.SNAPSHOT:
            marks = self._marked(f"{chain.lever}/{chain.place}").chains.values()
            found["order"] = 1 + max((mark.order for of_chain in marks for mark in of_chain), default=0)
        other = links.get("origin" if step == Step.SNAPSHOT else "restores", chain.path)
        if other != chain.path and (step == Step.SNAPSHOT or closes(step, figures)):
            found["upto"] = len(Listing(self._keys(other)).numbers(other))
        return found
