"""What the ledger has of every lever: runs by lever and place, how each ended, and where each record lies."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from include.rollout.gates import Outcome
from include.rollout.ledger import WHOLE_RUN, Everything, Ledger, Record, Step, is_complete_restoration, last
from include.rollout.place import DEVICES, ESTATE_WIDE

Json = Any
PASS, FAIL, UNKNOWN = Outcome.PASS.value, Outcome.FAIL.value, Outcome.UNKNOWN.value
SERVICE, COMPLETION = "service", "completion"  # whose chains hold how the service did, and what was validated
_DAY = re.compile(r"day(\d+)_")


@dataclass(frozen=True)
class RegionRun:
    """What one run did to one place with one lever. ``source`` is the record that says how it ended."""

    lever: str
    region: str
    run: str
    began: str  # ISO 8601
    ended: str
    outcome: str
    stages: tuple[str, ...]
    reasons: tuple[str, ...]
    source: str = ""

    @property
    def day(self) -> str:
        """The day of the week's plan whose DAG it was, or "-"."""
        found = _DAY.match(self.run)
        return found[1] if found else "-"


def outcome_of(records: Sequence[Record]) -> str:
    """How a run ended in a place: promoted, rolled back, unfinished, or stopped before it wrote anything."""
    ends = [record for record in records if record.step == Step.PROMOTED or is_complete_restoration(record)]
    if ends:
        return "promoted" if ends[-1].step == Step.PROMOTED else "rolled back"
    if last(records, Step.TOUCH) or last(records, Step.UNDO):
        return "unfinished"
    return "stopped" if last(records, Step.STOPPED) else "planned only"


def reasons_of(records: Sequence[Record]) -> tuple[str, ...]:
    """Why gates did not pass and steps stopped, and what others had changed."""
    found: list[str] = []
    for record in records:
        if record.step == Step.GATE and record.figures["outcome"] != PASS:
            found += [str(r["reason"]) for r in record.figures["results"] if r["outcome"] != PASS]
        elif record.step == Step.STOPPED:
            found.append(f"{record.figures['where']}: {record.figures['reason']}")
        elif record.step == Step.UNDONE and record.figures.get("changed_by_others"):
            found.append(f"changed by others and left alone: {'; '.join(record.figures['changed_by_others'])}")
    return tuple(found)


@dataclass(frozen=True)
class History:
    """The records of the levers in the selected places: (lever, place) -> a list of records a run, by time.

    ``whole`` has the chains of runs as a whole, ``measured`` how the service did, ``validated`` the dollars, each by
    time. ``hashes`` is the SHA-256 of each record by its key; ``bad`` says what is wrong with a chain by its path.
    """

    runs: Mapping[tuple[str, str], Sequence[Sequence[Record]]]
    whole: Sequence[Sequence[Record]] = ()
    measured: Sequence[Record] = ()
    validated: Sequence[Record] = ()
    hashes: Mapping[str, str] = field(default_factory=dict)
    bad: Mapping[str, str] = field(default_factory=dict)
    unsigned: int = 0  # records that nobody signed

    @classmethod
    def read(cls, ledger: Ledger, levers: Iterable[str], regions: Iterable[str]) -> History:
        """Everything that the ledger has of ``levers`` in ``regions``, on the devices and for the estate as a whole.

        A chain that doesn't add up is left out and named.
        """
        return cls.of(ledger.everything(), list(levers), [*regions, ESTATE_WIDE, DEVICES])

    @classmethod
    def of(cls, found: Everything, levers: Sequence[str], places: Sequence[str]) -> History:
        """The history in what was read."""
        chains = sorted(([kept.record for kept in chain] for chain in found.chains.values() if chain), key=_began)
        runs: dict[tuple[str, str], list[Sequence[Record]]] = {(n, p): [] for n in levers for p in places}
        for records in chains:
            runs.get((records[0].lever, records[0].place), []).append(records)
        single = [record for records in chains for record in records]
        kept = [one for chain in found.chains.values() for one in chain]
        return cls(
            runs=runs,
            whole=[records for records in chains if records[0].place == WHOLE_RUN],
            measured=_of(single, SERVICE, Step.MEASURED),
            validated=_of(single, COMPLETION, Step.VALIDATED),
            hashes={one.record.address: one.sha256 for one in kept},
            bad=found.bad,
            unsigned=sum(not record.signature for record in single),
        )

    def region_runs(self) -> list[RegionRun]:
        """Every run of every lever in every place, the earliest first; of one that reached no place its verdict."""
        found = [_region_run(records) for runs in self.runs.values() for records in runs if records]
        reached = {(run.lever, run.run) for run in found}
        levers = {lever for lever, _ in self.runs}
        for records in self.whole:
            verdict, first = last(records, Step.VERDICT), records[0]
            if verdict and first.lever in levers and (first.lever, _name(first)) not in reached:
                found.append(_region_run(records, str(verdict.figures["verdict"]), verdict))
        return sorted(found, key=lambda run: (run.began, run.lever, run.region))

    def standing(self, lever: str, region: str) -> Sequence[Record] | None:
        """The records of the newest run, when that one was promoted: an undone change proves nothing any more."""
        touched = [records for records in self.runs.get((lever, region), ()) if _wrote(records)]
        return touched[-1] if touched and outcome_of(touched[-1]) == "promoted" else None

    def promoted(self, lever: str, region: str) -> Record | None:
        """The promotion of the standing run of a lever."""
        return last(self.standing(lever, region) or (), Step.PROMOTED)

    def steps(self, step: str) -> list[Record]:
        """Every record of a step in every run of every lever."""
        return [r for runs in self.runs.values() for records in runs for r in records if r.step == step]

    def gate(self, lever: str, region: str, name: str, slot: str = "") -> list[tuple[Record, int]]:
        """Where the results of one gate stand in the standing run of a lever, of every stage or of ``slot``."""
        gates = [r for r in self.standing(lever, region) or () if r.step == Step.GATE]
        return [
            (record, place)
            for record in gates
            if slot in ("", record.figures["slot"])
            for place, result in enumerate(record.figures["results"])
            if result["gate"] == name
        ]

    def newest(self) -> str:
        """When the last record was written; empty without any."""
        times = [r.time for runs in self.runs.values() for records in runs for r in records]
        return max([*times, *(record.time for record in (*self.measured, *self.validated))], default="")


def _of(records: Iterable[Record], lever: str, step: str) -> list[Record]:
    return sorted((r for r in records if (r.lever, r.step) == (lever, step)), key=lambda record: record.time)


def _began(records: Sequence[Record]) -> str:
    return records[0].time


def _name(record: Record) -> str:
    return f"{record.dag_id}/{record.run_id}"


def _wrote(records: Sequence[Record]) -> bool:
    return bool(last(records, Step.TOUCH) or last(records, Step.UNDO))


def _region_run(records: Sequence[Record], outcome: str = "", end: Record | None = None) -> RegionRun:
    ends = [record for record in records if record.step == Step.PROMOTED or is_complete_restoration(record)]
    return RegionRun(
        lever=records[0].lever,
        region=records[0].place,
        run=_name(records[0]),
        began=records[0].time,
        ended=records[-1].time,
        outcome=outcome or outcome_of(records),
        stages=tuple(_stages(records)),
        reasons=reasons_of(records),
        source=(end or (ends or records)[-1]).address,
    )


def _stages(records: Sequence[Record]) -> Iterator[str]:
    return (str(record.figures.get("title")) for record in records if record.step == Step.APPLIED)
