"""The whole ledger in memory: read once, then only what is new, every record checked against the one before it.

It never writes: not even the marks that a reader of the engine would leave behind. What stands follows from the records
themselves. A record that was read is kept, so that one that is changed afterwards is found by the next full reading.
"""

from __future__ import annotations

import contextlib
import gc
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from include.clients.storage import Storage
from include.rollout.ledger import FIRST_LINK, WHOLE_RUN, LedgerError, Record, Step, digest, last
from include.rollout.ledger.listing import Listing, read_each
from include.rollout.ledger.records import parsed, record_key
from include.rollout.marks import Mark, Standing, standing

# The steps whose marks decide what stands; the others' say nothing of it.
MARKING = frozenset({Step.SNAPSHOT, Step.TOUCH, Step.PROMOTED, Step.RESTORED})
Progress = Callable[[int, int], None]  # records read, records that the store lists


@dataclass(frozen=True)
class ChainCopy:
    """A chain as far as it adds up, the hash of its last record, and what is wrong after that ("" for nothing)."""

    records: tuple[Record, ...] = ()
    head: str = FIRST_LINK
    problem: str = ""

    @cached_property
    def hashes(self) -> tuple[str, ...]:
        """SHA-256 of every record, in order."""
        return (*(record.previous for record in self.records[1:]), *([self.head] if self.records else ()))


@dataclass(frozen=True)
class LedgerContent:
    """Every chain by its path. ``version`` is a hash over all heads: equal contents have equal versions."""

    chains: Mapping[str, ChainCopy]
    version: str = ""

    @cached_property
    def problems(self) -> dict[str, str]:
        """Path -> what is wrong, of the chains that don't add up."""
        broken = {path: chain.problem for path, chain in self.chains.items() if chain.problem}
        return dict(sorted({**cut_off(self), **broken}.items()))

    @cached_property
    def records(self) -> int:
        """How many records add up."""
        return sum(len(chain.records) for chain in self.chains.values())

    @cached_property
    def unsigned(self) -> int:
        """How many records carry no signature. Whether a signature is right, tools/verify_ledger.py says."""
        return sum(not record.signature for chain in self.chains.values() for record in chain.records)

    def of_places(self) -> dict[str, ChainCopy]:
        """The chains of places: those of runs as a whole are left out."""
        return {path: chain for path, chain in self.chains.items() if path.split("/")[1] != WHOLE_RUN}


@dataclass
class LedgerCopy:
    """The copy of a store's ledger. ``refresh`` is not for several threads at once."""

    store: Storage
    _chains: dict[str, ChainCopy] = field(default_factory=dict)

    def refresh(self, *, full: bool = False, progress: Progress | None = None) -> LedgerContent:
        """Read what is new, or everything. Raises what the store raises; what was read before is kept then."""
        with _uncollected():
            return self._refresh(full, progress)

    def _refresh(self, full: bool, progress: Progress | None) -> LedgerContent:
        listing = Listing(self.store.keys())
        known = {} if full else self._chains
        wanted = {path: known.get(path, ChainCopy()) for path in listing.paths}
        stale = [path for path, chain in wanted.items() if _is_stale(listing, path, chain)]
        total = sum(len(listing.numbers(path)) for path in listing.paths)
        done = [total - sum(len(listing.numbers(path)) for path in stale)]

        def read(path: str) -> ChainCopy:
            before = wanted[path] if not wanted[path].problem else ChainCopy()
            chain = _extended(self.store, listing, path, before)
            done[0] += len(listing.numbers(path))  # a figure for people: a lost update only makes it smaller
            if progress:
                progress(min(done[0], total), total)
            return chain

        found = dict(zip(stale, read_each(self.store, read, stale), strict=True))
        self._chains = {path: found.get(path, chain) for path, chain in wanted.items()}
        return LedgerContent(self._chains, version_of(self._chains))


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """Without the collector of cycles, which would look again and again through 100,000 objects that stay."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _is_stale(listing: Listing, path: str, chain: ChainCopy) -> bool:
    """Whether a chain must be read: it has grown, shrunk, or didn't add up."""
    return bool(chain.problem or listing.missing(path)) or len(listing.numbers(path)) != len(chain.records)


def _extended(store: Storage, listing: Listing, path: str, chain: ChainCopy) -> ChainCopy:
    """The chain with the records that it lacks, up to the first that doesn't follow."""
    numbers = listing.numbers(path)
    if len(numbers) < len(chain.records):
        chain = ChainCopy()
    records, head = list(chain.records), chain.head
    for number in range(len(records) + 1, 1 + max([0, *numbers, *listing.marks.get(path, ())])):
        try:
            data = store.read(record_key(path, number))
            record = _parsed(path, number, data, records)
        except FileNotFoundError:
            missing = f"{record_key(path, number)} is missing: restore it from a backup of the ledger"
            return ChainCopy(tuple(records), head, missing)
        except LedgerError as error:
            return ChainCopy(tuple(records), head, str(error))
        if record.previous != head:
            return ChainCopy(tuple(records), head, _broken(path, number))
        records.append(record)
        head = digest(data)
    return ChainCopy(tuple(records), head)


def _parsed(path: str, number: int, data: bytes, before: Sequence[Record]) -> Record:
    """The record of that number. One of the same chain as those before it needs no path computed: it is half the time.

    Raises LedgerError for anything else than such a record.
    """
    with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError):
        record = Record.decode(data)
        if before and (record.chain, record.sequence) == (before[0].chain, number):
            return record
    return parsed(path, number, data)


def _broken(path: str, number: int) -> str:
    return (
        f"{record_key(path, number)} does not follow from the record before it: a record was changed, added or "
        "removed; restore the chain from a backup of the ledger"
    )


def version_of(chains: Mapping[str, ChainCopy]) -> str:
    """SHA-256 over paths, heads and problems."""
    text = "\n".join(f"{path} {chain.head} {chain.problem}" for path, chain in sorted(chains.items()))
    return hashlib.sha256(text.encode()).hexdigest()


def cut_off(content: LedgerContent) -> dict[str, str]:
    """Path -> what is wrong, of the chains that have lost the record with which a verdict had joined them."""
    found = {}
    for path, chain in content.chains.items():
        for named, head in _heads(last(chain.records, Step.VERDICT)):
            if head not in content.chains.get(named, ChainCopy()).hashes and not _elsewhere(content, named, head):
                found[named] = (
                    f"{named} has lost its end: the verdict in {path} names a record {head[:12]} that is not there; "
                    "restore the chain from a backup of the ledger"
                )
    return found


def _elsewhere(content: LedgerContent, named: str, head: str) -> bool:
    """Whether another run's chain of that lever and place has the record: the week joins the runs of its days."""
    folder = named.rpartition("/")[0] + "/"
    return any(head in chain.hashes for path, chain in content.chains.items() if path.startswith(folder))


def _heads(verdict: Record | None) -> Iterator[tuple[str, str]]:
    """(path of the chain, hash of its last record) that a verdict names."""
    for name, head in (verdict.links if verdict else {}).items():
        parts = name.split(" ")
        if verdict and len(parts) == 3 and parts[0] == "head":
            yield f"{parts[1]}/{parts[2]}/{verdict.chain.path.rpartition('/')[2]}", head


def standing_changes(content: LedgerContent) -> list[Standing]:
    """What stands, of the chains that add up: from the records, as the engine's marks would say it."""
    problems = content.problems
    places: dict[str, dict[str, list[Mark]]] = {}
    for path, chain in content.of_places().items():
        marks = [record.mark for record in chain.records if record.step in MARKING]
        places.setdefault(path.rpartition("/")[0], {})[path] = marks
    return [change for chains in places.values() for change in standing(chains) if change.path not in problems]
