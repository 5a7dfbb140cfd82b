"""Reading the store: whole chains, and the marks of many."""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Callable

from include.clients.storage import Storage
from include.rollout.ledger.listing import Listing, Marked, at_once, is_of_a_place
from include.rollout.ledger.records import Chain, LedgerError, Record, digest, last, parsed, record_key, verify_chain
from include.rollout.marks import Mark, Step

log = logging.getLogger(__name__)


def now() -> dt.datetime:
    """The time in UTC."""
    return dt.datetime.now(dt.UTC)


class Reader:
    """Reads chains of a store. What it finds without a mark it marks, for the next reader."""

    def __init__(self, store: Storage, clock: Callable[[], dt.datetime] = now) -> None:
        self._store = store
        self._clock = clock

    @property
    def store(self) -> Storage:
        """Where the chains lie, for what is kept beside them."""
        return self._store

    def _keys(self, below: str) -> list[str]:
        """Every key below a folder; "" is the whole store."""
        return self._store.keys(f"{below}/" if below else "")

    def records(self, chain: Chain) -> list[Record]:
        """The chain's records in order, empty when there are none. Raises LedgerError when the chain is broken."""
        return verify_chain(chain, self._contents(chain))

    def first(self, chain: Chain) -> Record | None:
        """The chain's first record, with one request; None without any. Raises LedgerError when it is none.

        In a place's chain that is the plan that was confirmed there, in releases that record it.
        """
        try:
            return parsed(chain.path, 1, self._store.read(record_key(chain.path, 1)))
        except FileNotFoundError:
            return None

    def head(self, chain: Chain) -> str | None:
        """SHA-256 of the chain's last record, or None for an empty chain."""
        contents = self._contents(chain)
        verify_chain(chain, contents)
        return digest(contents[-1]) if contents else None

    def chains(self, lever: str, place: str) -> list[Chain]:
        """The chains of a lever in a place, the earliest first."""
        first_keys = [key for key in self._keys(f"{lever}/{place}") if key.endswith("/000001.json")]
        firsts = at_once(lambda key: Record.decode(self._store.read(key)), first_keys)
        return [record.chain for record in sorted(firsts, key=lambda record: record.time)]

    def snapshot(self, chain: Chain) -> Record | None:
        """The snapshot of a run in a place."""
        return last(self.records(chain), Step.SNAPSHOT)

    def _mark(self, record: Record) -> None:
        """Write a record's mark. A failure costs the next reader one request, so that it must not fail the step."""
        try:
            self._store.create(f"{record.chain.path}/{record.mark.name}", b"")
        except FileExistsError:
            return
        except Exception as error:  # noqa: BLE001 - the record is kept, and it alone counts
            log.warning("%s: no mark for record %s: %s", record.chain.path, record.sequence, error)

    def _contents(self, chain: Chain) -> list[bytes]:
        listing = Listing(self._keys(chain.path))
        if gap := self._gap(listing, chain.path):
            raise LedgerError(gap)
        return [self._store.read(record_key(chain.path, number)) for number in listing.numbers(chain.path)]

    def _gap(self, listing: Listing, path: str) -> str:
        """Which record of a chain is missing, and the remedy; "" when none is.

        A folder that is being written while it is listed may show a mark and not its record: look before saying so.
        """
        while (number := listing.missing(path)) is not None:
            try:
                self._store.read(record_key(path, number))
            except FileNotFoundError:
                return f"{record_key(path, number)} is missing: restore it from a backup of the ledger"
            listing.records.setdefault(path, set()).add(number)
        return ""

    def _marked(self, below: str) -> Marked:
        """The marks of all chains below a folder; what has none is read, and marked for the next reader."""
        listing = Listing(self._keys(below))
        bad = {path: gap for path in listing.paths if (gap := self._gap(listing, path))}

        def read(one: tuple[str, int]) -> tuple[str, Mark | str]:
            path, number = one
            try:
                record = parsed(path, number, self._store.read(record_key(path, number)))
            except (LedgerError, FileNotFoundError) as error:
                return path, str(error)
            self._mark(record)
            return path, record.mark

        chains = {path: dict(listing.marks.get(path, {})) for path in listing.paths if is_of_a_place(path)}
        for path, found in at_once(read, [one for one in listing.unmarked() if is_of_a_place(one[0])]):
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
        return Marked(ordered, {path: reason for path, reason in bad.items() if path in ordered})
