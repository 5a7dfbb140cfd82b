"""What a lever is: one change to one part of the estate that can be planned, applied in stages, proved and undone.

Pure data and the :class:`Lever` protocol; nothing here talks to a cluster, a cloud or Airflow.
"""

from __future__ import annotations

import enum
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from decimal import Decimal
from typing import Any, Protocol

from include.estate import Estate
from include.rollout.canonical import canonical
from include.rollout.gates import Comparison, Figure, Gate
from include.rollout.place import Place, PlaceKind

Json = Any  # what json.dumps accepts: snapshots and records hold nothing else


class Undo(enum.StrEnum):
    """What it takes to undo a change, mildest first."""

    INSTANT = "instant"
    MINUTES = "minutes"
    NODE_WAVE = "node wave"
    REBOOT = "reboot"
    COPY_BACK = "copy back"
    BILLING_PERIOD = "billing period"
    IRREVERSIBLE = "irreversible"

    @property
    def words(self) -> str:
        """What an approver reads about it."""
        return _UNDO_WORDS.get(self, f"Undo: {self.value}.")


_UNDO_WORDS = {
    Undo.COPY_BACK: (
        "Undo: **what has moved stays moved**. A rollback stops what follows; data that has moved by then comes back "
        "only by copying it, at the price that the plan and the rollback name."
    ),
    Undo.BILLING_PERIOD: (
        "Undo: **only at the end of the billing period**. Until then the old price can't come back, whatever is undone."
    ),
    Undo.IRREVERSIBLE: (
        "Undo: **impossible**. What this changes can't be brought back: a rollback stops what follows, and no more."
    ),
}


class Refused(RuntimeError):
    """A step refuses to go on. The message says what is wrong, where, and the remedy. Retrying can't help."""


class NotConverged(RuntimeError):
    """The world did not reach the wanted state in time. The message says what is still missing."""


@dataclass(frozen=True)
class Check:
    """One read-only preflight check; a failed one carries the remedy."""

    name: str
    passed: bool
    reason: str
    remedy: str = ""


@dataclass(frozen=True)
class Difference:
    """One field whose ``before`` and ``after`` differ; ``path`` reads like ``NodePool/akidb-spot spec.limits.cpu``."""

    path: str
    before: Json
    after: Json

    def __str__(self) -> str:
        return f"{self.path}: {_show(self.before)} -> {_show(self.after)}"


def differences(before: Json, after: Json, path: str = "") -> tuple[Difference, ...]:
    """Every field in which two JSON values differ, mappings compared key by key, anything else as a whole.

    A key that only one side has reads as None on the other. Sorted by path.
    """
    if not (isinstance(before, Mapping) and isinstance(after, Mapping)):
        return () if before == after else (Difference(path, before, after),)
    found: list[Difference] = []
    for key in sorted({*before, *after}):
        inner = f"{path}.{key}" if path else str(key)
        if (key in before) != (key in after):
            found.append(Difference(inner, before.get(key), after.get(key)))
        else:
            found.extend(differences(before[key], after[key], inner))
    return tuple(found)


def within(path: str, others: Iterable[str]) -> bool:
    """Whether ``path`` is one of the paths ``others``, or names a field below one."""
    return any(path == other or path.startswith((f"{other} ", f"{other}.")) for other in others)


def _show(value: Json) -> str:
    if value is None:
        return "absent"
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
    return text if len(text) <= 120 else text[:117] + "..."


@dataclass(frozen=True)
class Stage:
    """One step of a rollout: written by ``apply``, then soaked, then judged by ``gates``.

    ``slot`` is the fixed place in the DAG (one of the lever's ``slots``), ``title`` what a person reads,
    ``settings`` what ``apply`` needs (JSON only).
    """

    slot: str
    title: str
    gates: tuple[Gate, ...]
    settings: Mapping[str, Json] = field(default_factory=dict)

    @classmethod
    def from_json(cls, raw: Mapping[str, Json]) -> Stage:
        """The stage that ``dataclasses.asdict`` wrote."""
        gates = tuple(Gate(**{**gate, "comparison": Comparison(gate["comparison"])}) for gate in raw["gates"])
        return cls(raw["slot"], raw["title"], gates, raw["settings"])


@dataclass(frozen=True)
class Plan:
    """What would change in one place, what it would save, and how it is undone.

    ``place`` is the place's name (on record as ``region``, as releases before places wrote it).
    ``live`` is the state the plan was made from: only fields that the lever owns, no counters or timestamps, so that
    two reads of an unchanged world are equal.
    """

    lever: str
    place: str
    live: Mapping[str, Json]
    differences: tuple[Difference, ...]
    stages: tuple[Stage, ...]
    usd_month_before: Decimal | None
    usd_month_after: Decimal | None
    price_book: str
    undo: Undo
    notes: tuple[str, ...] = ()

    def hash(self) -> str:
        """12 hex digits over everything an approver agreed to: live state, differences, stages and their gates.

        Predicted dollars are left out: a spot price that moves while somebody reads must not void the approval.
        """
        agreed = {
            "lever": self.lever,
            "region": self.place,
            "live": self.live,
            "differences": [asdict(d) for d in self.differences],
            "stages": [[s.slot, s.title, dict(s.settings), [asdict(gate) for gate in s.gates]] for s in self.stages],
        }
        # What JSON can't hold is text on record; a number may come back from there as another type of the same value.
        read_back = json.loads(canonical(json.loads(json.dumps(agreed, default=str))))
        return hashlib.sha256(json.dumps(read_back, sort_keys=True).encode()).hexdigest()[:12]

    def to_json(self) -> dict[str, Json]:
        """The plan as JSON, dollars as strings so that no digit is lost; read back by :meth:`from_json`."""
        raw: dict[str, Json] = json.loads(json.dumps(asdict(self), default=str))
        return {"region": raw.pop("place"), **raw}

    @classmethod
    def from_json(cls, raw: Mapping[str, Json]) -> Plan:
        """The plan that :meth:`to_json` wrote."""

        def dollars(text: str | None) -> Decimal | None:
            return None if text is None else Decimal(text)

        return cls(
            lever=raw["lever"],
            place=raw["region"],
            live=raw["live"],
            differences=tuple(Difference(**difference) for difference in raw["differences"]),
            stages=tuple(Stage.from_json(stage) for stage in raw["stages"]),
            usd_month_before=dollars(raw["usd_month_before"]),
            usd_month_after=dollars(raw["usd_month_after"]),
            price_book=raw["price_book"],
            undo=Undo(raw["undo"]),
            notes=tuple(raw["notes"]),
        )


def unfenced() -> None:
    """The fence of a target that needs no lock, such as one that only reads."""


@dataclass(frozen=True)
class Target:
    """Where a lever acts: one place of the estate, the run it acts for, its settings and its clients.

    ``place`` may be given by its name. ``clients`` is made by the caller (connections in production and rehearsal,
    fakes in tests); a lever names the attributes that it needs. ``settings`` is the lever's own frozen settings model.
    ``fence`` raises Refused when another run has taken the place's lock over: a lever calls it before each write (or
    batch of writes).
    """

    place: Place
    estate: Estate
    run_id: str
    settings: Any
    clients: Any
    fence: Callable[[], None] = unfenced

    def __post_init__(self) -> None:
        if isinstance(self.place, str):
            object.__setattr__(self, "place", Place.named(self.place))

    @property
    def region(self) -> str:
        """The region's name, for levers that act in regions. Raises ValueError in any other place."""
        if self.place.kind is not PlaceKind.REGION:
            raise ValueError(f"{self.place} is no region: a lever that acts there uses target.place")
        return self.place.name


@dataclass(frozen=True)
class Restored:
    """The result of a rollback: what was set back, and what somebody else had changed and was therefore left alone."""

    steps: tuple[str, ...]
    changed_by_others: tuple[Difference, ...] = ()


def kept(snapshot: Mapping[str, Json], name: str) -> Json:
    """A part of a snapshot. Raises Refused when it lacks it: what nobody knows can't be restored, nor called so."""
    if name not in snapshot:
        raise Refused(
            f"the snapshot has no {name!r}: another release took it; undo with that release, or restore by hand and "
            "close the change with accept"
        )
    return snapshot[name]


@dataclass(frozen=True)
class NameOnly:
    """Stands where a run has a lever, for what is none: several levers as a whole, a week, the choice "everything".

    It only names the run's own chain.
    """

    name: str


class Lever(Protocol):
    """One change to one part of the estate. Every method may be called again after a crash at any point."""

    name: str
    slots: Sequence[str]  # the fixed stage places, in order; a plan's stages use a subset in the same order
    settings_type: type[Any]  # frozen pydantic model; built from the DAG's params
    undo_after: tuple[str, ...]  # levers whose change in the same place is undone first when one run undoes both
    # Two more may be declared: ``acts_in`` (PlaceKind) and ``needs`` (names of ``target.clients`` that it asks for).
    # See acts_in and needs_of for what holds without.

    def preflight(self, target: Target) -> list[Check]:
        """Read-only checks, each with its reason. Never raises for a failed check."""

    def plan(self, target: Target) -> Plan:
        """The difference between live and wanted state; reads only."""

    def snapshot(self, target: Target) -> dict[str, Json]:
        """Everything needed to restore the fields that the lever owns; reads only, JSON only."""

    def apply(self, target: Target, stage: Stage) -> dict[str, Json]:
        """Write the stage and wait until the world has converged; idempotent. Returns figures for the ledger.

        Raises NotConverged with what is missing, Refused when going on can't help.
        """

    def observe(
        self, target: Target, stage: Stage, window_seconds: int, applied: Mapping[str, Json]
    ) -> dict[str, Figure | None]:
        """Evidence for the stage's gates by gate name; None where there is no data.

        It looks back at most ``window_seconds``, and never to before the stage's first write. ``applied`` is what
        ``apply`` returned for this stage, with that time as ``started_at`` (Unix seconds): what went wrong before a
        crash and its retry counts too. Figures over a time span say with ``coverage`` how much of it has samples.
        """

    def evidence(self, target: Target) -> dict[str, Json]:
        """Figures of the live world as it is now: the before/after columns of the report."""

    def rollback(self, target: Target, snapshot: Mapping[str, Json]) -> Restored:
        """Set the snapshot's fields back, capacity first; idempotent, safe after a crash at any point of apply."""

    def verify_restored(self, target: Target, snapshot: Mapping[str, Json]) -> list[Difference]:
        """Differences from the live fields (``before``) to the snapshot (``after``); empty when all is restored."""


def acts_in(lever: Lever) -> PlaceKind:
    """Where a lever acts: what it declares as ``acts_in``, else in regions."""
    return PlaceKind(getattr(lever, "acts_in", PlaceKind.REGION))


def needs_of(lever: Lever) -> frozenset[str]:
    """The clients that a lever asks for, such as kubernetes: what it declares as ``needs``, else all of a region's."""
    return frozenset(getattr(lever, "needs", ("kubernetes", "prometheus", "aws")))


class Levers(Protocol):
    """The levers that a rollback may meet in the ledger; the caller has the list."""

    def lever(self, name: str) -> Lever:
        """The lever of that name, today or formerly. Raises Refused naming those that exist."""

    def is_current(self, name: str) -> bool:
        """Whether a lever has that name today."""

    def current_name(self, name: str) -> str:
        """The name of today of a lever that may have been renamed."""

    def names_on_record(self, name: str) -> list[str]:
        """The names under which the ledger may have a lever: that of today, then former ones."""

    def undo_order(self) -> list[str]:
        """The levers in the order in which one run undoes them."""

    def kinds(self) -> frozenset[PlaceKind]:
        """The kinds of places in which a lever may act."""
