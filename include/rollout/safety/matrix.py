"""The safety matrix: each lever against each fault, for the code and the plan that are to be rolled out. Pure."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from include.rollout.safety.records import Fault, Outcome, Proved

NOT_REHEARSED = "not rehearsed"


@dataclass(frozen=True)
class Version:
    """What is to be rolled out: ``code`` as code_version() gives it (None: not known), ``plan`` the plan's hash or ''.

    Without a plan, as on a page that shows what stands, any plan counts.
    """

    code: str | None
    plan: str = ""


class State(enum.StrEnum):
    """What a record proves of this version and plan; only the first is a proof."""

    REHEARSED = "rehearsed"
    OTHER_PLAN = "other plan"
    OTHER_VERSION = "other version"
    NEVER = "never"


@dataclass(frozen=True)
class Cell:
    """One lever against one fault; ``record`` is the one that it is read from, None without any."""

    state: State
    record: Proved | None = None

    @property
    def text(self) -> str:
        """What a person reads."""
        record = self.record
        if record is None:
            return NOT_REHEARSED
        if self.state is State.REHEARSED:
            return ended(record)
        if self.state is State.OTHER_VERSION:
            subject, other = "this version", f"version {record.code_version}"
        else:
            subject, other = "this plan", f"plan {record.plan_hash}" if record.plan_hash else "no plan of an estate"
        return f"{NOT_REHEARSED} for {subject} ({ended(record)} with {other} on {record.when[:10]}, {record.source})"


def ended(record: Proved) -> str:
    """``survived``, ``survived, well again after 41 s``, ``restored in 41 s`` or ``restored``."""
    if record.seconds is None:
        return record.outcome.value
    after = "in" if record.outcome is Outcome.RESTORED else ", well again after"
    return f"{record.outcome.value}{' ' if after == 'in' else ''}{after} {record.seconds:.0f} s"


def matrix(versions: Mapping[str, Version], records: Iterable[Proved]) -> dict[str, dict[Fault, Cell]]:
    """Each lever's cells by fault, from the newest record that proves most."""
    by_cell: dict[tuple[str, Fault], list[Proved]] = {}
    for record in sorted(records, key=lambda record: record.when, reverse=True):
        by_cell.setdefault((record.lever, record.fault), []).append(record)
    return {
        lever: {fault: _cell(version, by_cell.get((lever, fault), ())) for fault in Fault}
        for lever, version in versions.items()
    }


def _cell(version: Version, newest_first: Sequence[Proved]) -> Cell:
    same_code = [record for record in newest_first if record.code_version == version.code]
    for record in same_code:
        if version.plan in {"", record.plan_hash}:
            return Cell(State.REHEARSED, record)
    if same_code:
        return Cell(State.OTHER_PLAN, same_code[0])
    return Cell(State.OTHER_VERSION, newest_first[0]) if newest_first else Cell(State.NEVER)
