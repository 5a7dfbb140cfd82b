"""Records of proved faults: which lever lived through which fault, or was restored after it, with which code and plan.

One object a record beside the ledger's chains, created once and never changed: its name tells lever, fault, time,
version and plan, so that one LIST finds the newest of each, and ends in the hash of its content, so that a record that
was changed is refused by name.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import enum
import hashlib
import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from include.clients.storage import Storage
from include.rollout.ledger import SecretRefusedError, refuse_secrets
from include.rollout.ledger.listing import at_once

FOLDER = "safety"
MOST = 2000  # records that one reading opens; the newest come first
MOST_BYTES = 4096  # of one record
_STAMP = "%Y%m%dT%H%M%SZ"
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,79}")
_HEX = re.compile(r"[0-9a-f]{12}")
_KEY = re.compile(
    rf"{FOLDER}/(?P<lever>[a-z][a-z0-9_-]*)/(?P<fault>[a-z-]+)/"
    r"(?P<stamp>\d{8}T\d{6}Z)\.(?P<version>[0-9a-f]{12})\.(?P<plan>[0-9a-f]{12}|-)\.(?P<digest>[0-9a-f]{16})\.json"
)


class SafetyError(RuntimeError):
    """What was to be put on record, or to be read, is no safety record; the message names it and the remedy."""


class Fault(enum.StrEnum):
    """What went wrong on purpose while the lever's change was made, or stood."""

    UNDO = "undo"  # nothing: a plain undo, which tells how long one takes
    GATE = "gate"
    KILL = "kill"
    API_SERVER = "api-server"
    KARPENTER = "karpenter"
    PROMETHEUS = "prometheus"
    SPOT_STORM = "spot-storm"
    ETAG = "etag"
    OOM = "oom"
    ICE = "ice"
    FORECAST_DOWN = "forecast-down"
    ZONE_LOSS = "zone-loss"
    COST_SPIKE = "cost-spike"


class Outcome(enum.StrEnum):
    """How it ended. What did neither has no record: it is not rehearsed."""

    SURVIVED = "survived"  # the change went on, or stands as before
    RESTORED = "restored"  # the change was undone, and proved to be


@dataclass(frozen=True)
class Proved:
    """One fault that a lever was proved against.

    ``seconds``: until all was well again, of a restoration its length; None where nobody measured. ``code_version``
    and ``plan_hash`` are 12 hex digits, the latter "" without a plan of an estate. ``when`` is ISO 8601 with an offset,
    ``source`` says who proved it (``rehearsal``, ``game_day/<run id>``, ``conformance on fakes``), ``place`` where.
    Raises SafetyError naming the field, its value and the remedy.
    """

    lever: str
    fault: Fault
    outcome: Outcome
    seconds: float | None
    code_version: str
    plan_hash: str
    when: str
    source: str
    place: str = ""

    def __post_init__(self) -> None:
        for name, value, right, remedy in self._rules():
            if not right:
                raise SafetyError(f"{name} {value!r} of a safety record can't be used: {remedy}")
        object.__setattr__(self, "fault", Fault(self.fault))
        object.__setattr__(self, "outcome", Outcome(self.outcome))
        object.__setattr__(self, "when", _moment(self.when).isoformat())

    def _rules(self) -> Iterable[tuple[str, Any, bool, str]]:
        yield "lever", self.lever, _is(_NAME, self.lever), "give the lever's name"
        yield "fault", self.fault, self.fault in list(Fault), f"use one of {', '.join(Fault)}"
        yield "outcome", self.outcome, self.outcome in list(Outcome), f"use one of {', '.join(Outcome)}"
        yield "seconds", self.seconds, _is_length(self.seconds), "give seconds, zero or more, or null"
        yield "code_version", self.code_version, _is(_HEX, self.code_version), "give what code_version() returns"
        yield "plan_hash", self.plan_hash, self.plan_hash == "" or _is(_HEX, self.plan_hash), "give 12 hex digits or ''"
        yield "when", self.when, _has_offset(self.when), "give ISO 8601 with an offset, such as 2026-11-29T13:15:00Z"
        yield "source", self.source, _is_line(self.source) and self.source != "", "say in a line who proved it"
        yield "place", self.place, _is_line(self.place), "give a place's name or ''"

    @property
    def key(self) -> str:
        """Where the record lies; equal records have one key."""
        stamp = _moment(self.when).strftime(_STAMP)
        digest = _digest(self.encode())
        return f"{FOLDER}/{self.lever}/{self.fault}/{stamp}.{self.code_version}.{self.plan_hash or '-'}.{digest}.json"

    def encode(self) -> bytes:
        """The record's bytes: the same for equal records."""
        return json.dumps(asdict(self), sort_keys=True, indent=1, allow_nan=False).encode() + b"\n"

    @classmethod
    def decode(cls, data: bytes) -> Proved:
        """The record that :meth:`encode` wrote. Raises SafetyError for anything else."""
        try:
            raw = json.loads(data)
            return cls(**raw)
        except (ValueError, TypeError) as error:
            raise SafetyError(f"it is no safety record ({error})") from error


@dataclass(frozen=True)
class Reading:
    """What was read: the newest record first, why a key could not be read, and how many older ones were left out."""

    records: tuple[Proved, ...]
    bad: Mapping[str, str]
    left_out: int = 0


class SafetyRecords:
    """The safety records of a store, that of the ledger."""

    def __init__(self, store: Storage) -> None:
        self._store = store

    def add(self, record: Proved) -> str:
        """Put a record there; returns its key. The same one twice is one. Raises SafetyError for a credential in it."""
        try:
            refuse_secrets(asdict(record))
        except SecretRefusedError as error:
            raise SafetyError(f"safety record of {record.lever}: {error}") from error
        with contextlib.suppress(FileExistsError):
            self._store.create(record.key, record.encode())
        return record.key

    def read(self, levers: Iterable[str] | None = None, most: int = MOST) -> Reading:
        """The newest record of each lever, fault, version and plan; of all levers, or of these.

        One LIST for each name, and at most ``most`` reads. A record that can't be read is named in ``bad``, and no
        older one stands in for it.
        """
        below = [f"{FOLDER}/"] if levers is None else [f"{FOLDER}/{name}/" for name in dict.fromkeys(levers)]
        bad: dict[str, str] = {}
        newest: dict[tuple[str, ...], tuple[str, str]] = {}
        for key in (key for prefix in below for key in self._store.keys(prefix)):
            if (found := _KEY.fullmatch(key)) is None:
                bad[key] = f"{key} has not the name of a safety record: take it away"
                continue
            group = (found["lever"], found["fault"], found["version"], found["plan"])
            newest[group] = max(newest.get(group, ("", "")), (found["stamp"], key))
        chosen = [key for _, key in sorted(newest.values(), reverse=True)]
        opened = at_once(self._open, chosen[:most])
        bad |= {key: found for key, found in zip(chosen, opened, strict=False) if isinstance(found, str)}
        records = tuple(found for found in opened if isinstance(found, Proved))
        return Reading(records, bad, max(0, len(chosen) - most))

    def _open(self, key: str) -> Proved | str:
        """The record, or why it can't be read."""
        try:
            data = self._store.read(key)
            if len(data) > MOST_BYTES:
                raise SafetyError(f"it has {len(data)} bytes, more than {MOST_BYTES}")
            record = Proved.decode(data)
            if record.key != key or record.encode() != data:
                raise SafetyError("its content is not what its name says: it was changed")
        except (SafetyError, FileNotFoundError) as error:
            return f"{key} counts for nothing: {error}; restore it from a backup of the ledger, or take it away"
        return record


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def _is(pattern: re.Pattern[str], value: Any) -> bool:
    return isinstance(value, str) and pattern.fullmatch(value) is not None


def _is_length(value: Any) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return value is None or (number and math.isfinite(value) and value >= 0)


def _is_line(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= 200 and value.isprintable()


def _has_offset(value: Any) -> bool:
    try:
        return dt.datetime.fromisoformat(value).tzinfo is not None
    except (TypeError, ValueError):
        return False


def _moment(when: str) -> dt.datetime:
    """To the second, in UTC: two records of one second and one content are the same."""
    return dt.datetime.fromisoformat(when).astimezone(dt.UTC).replace(microsecond=0)
