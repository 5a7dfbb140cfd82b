"""The ledger, and what it says of the changes that stand."""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from include.rollout.ledger.listing import Listing, at_once, is_of_a_place
from include.rollout.ledger.records import Chain, LedgerError, Record, digest, parsed, record_key, verify_chain
from include.rollout.ledger.writing import Writer
from include.rollout.marks import Standing, Step, short_name


@dataclass(frozen=True)
class OpenRun:
    """A run whose changes stand in a place: promoted, or unfinished. ``snapshot`` is what a rollback restores."""

    chain: Chain
    snapshot: Record
    promoted: bool

    @property
    def order(self) -> int:
        """Its place among the snapshots of its lever and place; 0 for one of an older release."""
        return self.snapshot.mark.order


@dataclass(frozen=True)
class Survey:
    """What stands, the earliest first within a lever and place, and by path what is wrong with the bad chains.

    ``places`` are all that the ledger knows.
    """

    standing: tuple[OpenRun, ...]
    bad: Mapping[str, str]
    places: frozenset[str]


@dataclass(frozen=True)
class Kept:
    """A record with the SHA-256 of its bytes."""

    record: Record
    sha256: str


@dataclass(frozen=True)
class Everything:
    """Every record by the path of its chain, and by path what is wrong with the chains that don't add up."""

    chains: Mapping[str, Sequence[Kept]]
    bad: Mapping[str, str]


class Ledger(Writer):
    """Appends to and reads the chains of a store, and says what stands."""

    def touched(self, chain: Chain, places: Iterable[str]) -> list[str]:
        """Those of ``places`` where the run's changes stand (nobody has restored them), in their order: one LIST."""
        marked = self._marked(chain.lever)
        ours = {place: chain.of(place).path for place in places}
        for path in ours.values():
            if path in marked.bad:
                raise LedgerError(marked.bad[path])
        open_paths = {change.path for change in marked.standing()}
        return [place for place, path in ours.items() if path in open_paths]

    def undone_by(self, chain: Chain) -> Chain | None:
        """Another run that has undone, or begun to undo, what this run wrote in its place; or None."""
        ours = short_name(chain.path)
        found = [
            (path, mark.number)
            for path, marks in self._marked(f"{chain.lever}/{chain.place}").chains.items()
            for mark in marks
            if path != chain.path and mark.other == ours and mark.step in {Step.UNDO, Step.RESTORED}
        ]
        if not found:
            return None
        path, number = found[-1]
        return parsed(path, number, self._store.read(record_key(path, number))).chain

    def standing(self, lever: str, place: str) -> list[OpenRun]:
        """The runs whose changes stand in the place, the earliest first: a rollback undoes the last.

        Raises LedgerError when a chain there doesn't add up: then nobody knows.
        """
        survey = self.survey(f"{lever}/{place}")
        if survey.bad:
            raise LedgerError("; ".join(survey.bad.values()))
        return list(survey.standing)

    def unfinished(self, lever: str, place: str) -> OpenRun | None:
        """The run that wrote to the place and was neither promoted nor rolled back: its snapshot stays the origin."""
        runs = [run for run in self.standing(lever, place) if not run.promoted]
        return runs[-1] if runs else None

    def survey(self, below: str = "") -> Survey:
        """What stands below a folder (a lever, or a lever's place; "" is everything), and which chains don't add up.

        One LIST, and one read for each change that stands.
        """
        marked = self._marked(below)
        bad = dict(marked.bad)

        def opened(change: Standing) -> OpenRun | None:
            try:
                record = parsed(
                    change.path, change.snapshot, self._store.read(record_key(change.path, change.snapshot))
                )
            except (LedgerError, FileNotFoundError) as error:
                bad[change.path] = str(error)
                return None
            return OpenRun(record.chain, record, change.promoted)

        found = [run for run in at_once(opened, marked.standing()) if run is not None]
        # Snapshots of an older release have no order: among these their times are all there is.
        found.sort(key=lambda run: (run.order, run.snapshot.time, run.chain))
        return Survey(tuple(found), bad, frozenset(path.split("/")[1] for path in marked.chains))

    def latest_snapshots(self) -> list[Record]:
        """The last snapshot of every lever and place, whether its change stands or not: one LIST, one read for each.

        What can't be read is left out.
        """
        latest: dict[str, tuple[int, str, int]] = {}
        for path, marks in self._marked("").chains.items():
            place = path.rpartition("/")[0]
            for mark in marks:
                if mark.step == Step.SNAPSHOT:
                    latest[place] = max(latest.get(place, (0, "", 0)), (mark.order, path, mark.number))

        def read(found: tuple[int, str, int]) -> Record | None:
            _, path, number = found
            with contextlib.suppress(LedgerError, FileNotFoundError):
                return parsed(path, number, self._store.read(record_key(path, number)))
            return None

        return [record for record in at_once(read, latest.values()) if record is not None]

    def undone_since(self, start: dt.datetime) -> list[Record]:
        """The records of the undos that have begun at ``start`` (aware) or later, anywhere: one LIST, one read each.

        Raises LedgerError when a chain doesn't add up: then nobody knows.
        """
        marked = self._marked("")
        if marked.bad:
            raise LedgerError("; ".join(marked.bad.values()))
        begun = [
            (path, mark.number) for path, marks in marked.chains.items() for mark in marks if mark.step == Step.UNDO
        ]

        def read(one: tuple[str, int]) -> Record:
            path, number = one
            return parsed(path, number, self._store.read(record_key(path, number)))

        found = at_once(read, begun)
        return sorted((r for r in found if dt.datetime.fromisoformat(r.time) >= start), key=lambda record: record.time)

    def audit(self, below: str = "") -> dict[str, str]:
        """Read every record below a folder: path -> what is wrong, for each chain that doesn't add up."""
        listing = Listing(self._keys(below))

        def check(path: str) -> str:
            try:
                contents = [self._store.read(record_key(path, number)) for number in listing.numbers(path)]
                if contents:
                    verify_chain(parsed(path, 1, contents[0]).chain, contents)
            except (LedgerError, FileNotFoundError) as error:
                return str(error)
            return ""

        paths = [path for path in listing.paths if is_of_a_place(path)]
        reasons = at_once(lambda path: self._gap(listing, path) or check(path), paths)
        return {path: reason for path, reason in zip(paths, reasons, strict=True) if reason}

    def everything(self, below: str = "") -> Everything:
        """Every record below a folder, and what is wrong with the chains that don't add up. One LIST, all reads."""
        listing = Listing(self._keys(below))

        def read(path: str) -> list[Kept] | str:
            if gap := self._gap(listing, path):
                return gap
            try:
                contents = [self._store.read(record_key(path, number)) for number in listing.numbers(path)]
                records = verify_chain(parsed(path, 1, contents[0]).chain, contents)
            except (LedgerError, FileNotFoundError) as error:
                return str(error)
            return [Kept(record, digest(data)) for record, data in zip(records, contents, strict=True)]

        found = dict(zip(listing.paths, at_once(read, listing.paths), strict=True))
        bad = {path: reason for path, reason in found.items() if isinstance(reason, str)}
        return Everything({path: kept for path, kept in found.items() if not isinstance(kept, str)}, bad)
