"""The lock of a place: one coordination.k8s.io Lease, held by the run that may change what is there.

A region's lease lies in its cluster, that of a place without a cluster in the ledger's store, in the same form
(leases.py). Decisions are pure; a lease is reached through :class:`Leases`, which the caller makes. A lease is stale
only when Airflow says that its holder's run has ended, never because time has passed. A run that ends undecided keeps
its locks: such a lease does not become stale.
"""

from __future__ import annotations

import datetime as dt
import enum
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from include.rollout.lever import Refused

LEASE = "akidb-rollout"
STEP = "akidb.io/step"  # annotation: the token of the step that writes
KEPT = "akidb.io/kept"  # annotation: held beyond the end of its run
_ATTEMPTS = 5
Lease = Mapping[str, Any]


class LeaseConflictError(RuntimeError):
    """The lease was created or changed by somebody else since it was read (HTTP 409)."""


class Leases(Protocol):
    """Where the lease of one place lies. Leases are the JSON that the Kubernetes API speaks."""

    def get(self, name: str) -> Lease | None:
        """The lease, or None when there is none."""

    def create(self, body: Lease) -> None:
        """Create the lease. Raises LeaseConflictError when it exists."""

    def replace(self, body: Lease) -> None:
        """Replace the lease of this resourceVersion. Raises LeaseConflictError when it was changed since."""


class LockHeld(Refused):
    """Another run holds the lock, or has taken it over."""

    def __init__(self, message: str, holder: str) -> None:
        super().__init__(message)
        self.holder = holder


class LockState(enum.StrEnum):
    """Who holds a lease, seen from one run."""

    FREE = "free"
    OURS = "ours"
    HELD = "held"
    STALE = "stale"


def holder_of(lease: Lease | None) -> str:
    """The holder's ``dag_id/run_id``, empty when nobody holds the lease."""
    return str((lease or {}).get("spec", {}).get("holderIdentity") or "")


def step_of(lease: Lease | None) -> str:
    """The token of the step that writes, empty when none has begun since the lock was taken."""
    return str(((lease or {}).get("metadata", {}).get("annotations") or {}).get(STEP) or "")


def is_kept(lease: Lease | None) -> bool:
    """Whether the holder keeps the lease beyond the end of its run."""
    return KEPT in ((lease or {}).get("metadata", {}).get("annotations") or {})


def classify(lease: Lease | None, ours: str, run_ended: Callable[[str], bool | None]) -> LockState:
    """Whose the lease is. ``run_ended`` answers None when it can't tell, and then the lease is not stale."""
    holder = holder_of(lease)
    if not holder:
        return LockState.FREE
    if holder == ours:
        return LockState.OURS
    return LockState.STALE if not is_kept(lease) and run_ended(holder) is True else LockState.HELD


def lease_body(lease: Lease | None, holder: str | None, now: dt.datetime, *, kept: bool = False) -> dict[str, Any]:
    """The lease with a new holder (None releases it), bound to the resourceVersion that was read."""
    time = now.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    metadata: dict[str, Any] = {"name": LEASE} | ({"annotations": {KEPT: "true"}} if kept else {})
    transitions = 0
    if lease is not None:
        metadata["resourceVersion"] = lease["metadata"]["resourceVersion"]
        transitions = int(lease.get("spec", {}).get("leaseTransitions") or 0) + 1
    spec: dict[str, Any] = {"leaseTransitions": transitions, "renewTime": time}
    if holder is not None:
        spec |= {"holderIdentity": holder, "acquireTime": time}
    return {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": spec}


def begun_body(lease: Lease, token: str) -> dict[str, Any]:
    """The lease with the token of the step that writes from now on, bound to the resourceVersion that was read."""
    metadata = {"name": LEASE, "resourceVersion": lease["metadata"]["resourceVersion"], "annotations": {STEP: token}}
    return {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": lease["spec"]}


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


class Lock:
    """The lock of one place, as one run sees it. ``holder`` is the run's ``dag_id/run_id``.

    A step that writes begins with a token of its own: a process that Airflow has given up, and that wakes up after a
    later step of the same run has begun, then writes no more.
    """

    def __init__(self, leases: Leases, place: str, holder: str, clock: Callable[[], dt.datetime] = _now) -> None:
        self._leases = leases
        self._place = place
        self._holder = holder
        self._clock = clock
        self._token = ""

    def acquire(self, run_ended: Callable[[str], bool | None]) -> str | None:
        """Take the lock; taking it again is fine. Returns the holder whose stale lock was taken over, else None.

        Raises LockHeld with the holder's name while its run goes on, or when nobody can tell.
        """
        return self._take(lambda lease: self._refuse_held(lease, run_ended))

    def take_over(self) -> str | None:
        """Take the lock from whoever holds it. Returns that holder, or None when it was free or ours."""
        return self._take(lambda _lease: None)

    def begin(self, token: str) -> None:
        """Let nobody but this step write: an older step of the run fails at its next ``assert_held``.

        ``token`` is new for every try of a step. Raises LockHeld unless this run holds the lock.
        """
        for _ in range(_ATTEMPTS):
            lease = self._leases.get(LEASE)
            self._refuse_lost(lease)
            assert lease is not None
            try:
                self._leases.replace(begun_body(lease, token))
            except LeaseConflictError:
                continue
            self._token = token
            return
        raise LockHeld(f"{self._place}: the lease {LEASE} changes faster than a step can begin", self._holder)

    def assert_held(self) -> None:
        """Raise LockHeld unless this run holds the lock, and its step is the last that has begun: before each write."""
        lease = self._leases.get(LEASE)
        self._refuse_lost(lease)
        if self._token and step_of(lease) != self._token:
            raise LockHeld(
                f"{self._place}: a later step of this run has begun ({step_of(lease) or 'unknown'}); "
                "this one was given up and writes nothing more there",
                self._holder,
            )

    def _refuse_lost(self, lease: Lease | None) -> None:
        holder = holder_of(lease)
        if holder != self._holder:
            by = f"{holder} has taken the lock over" if holder else "the lock was released"
            raise LockHeld(f"{self._place}: {by}; this run writes nothing more there", holder)

    def release(self) -> bool:
        """Give the lock up if this run holds it; returns whether it did. Somebody else's lock is left alone."""
        return self._rewrite(None, kept=False)

    def keep(self) -> bool:
        """Hold the lock beyond the end of this run, until it goes on or a rollback takes it; whether it was ours."""
        return self._rewrite(self._holder, kept=True)

    def is_kept(self) -> bool:
        """Whether this run holds the lock beyond its end."""
        lease = self._leases.get(LEASE)
        return holder_of(lease) == self._holder and is_kept(lease)

    def _rewrite(self, holder: str | None, *, kept: bool) -> bool:
        for _ in range(_ATTEMPTS):
            lease = self._leases.get(LEASE)
            if holder_of(lease) != self._holder:
                return False
            try:
                self._leases.replace(lease_body(lease, holder, self._clock(), kept=kept))
            except LeaseConflictError:
                continue
            return True
        raise LockHeld(f"{self._place}: the lease {LEASE} changes faster than it can be written", self._holder)

    def _take(self, check: Callable[[Lease | None], None]) -> str | None:
        for _ in range(_ATTEMPTS):
            lease = self._leases.get(LEASE)
            holder = holder_of(lease)
            if holder == self._holder and not is_kept(lease):
                return None
            check(lease)
            body = lease_body(lease, self._holder, self._clock())
            try:
                if lease is None:
                    self._leases.create(body)
                else:
                    self._leases.replace(body)
            except LeaseConflictError:
                continue  # somebody was faster: read again who holds it now
            return holder if holder and holder != self._holder else None
        raise LockHeld(f"{self._place}: the lease {LEASE} changes faster than it can be taken; try again", "")

    def _refuse_held(self, lease: Lease | None, run_ended: Callable[[str], bool | None]) -> None:
        if classify(lease, self._holder, run_ended) is LockState.HELD:
            holder = holder_of(lease)
            remedy = "wait for that run to end, or end it, and trigger again"
            if is_kept(lease):
                remedy = "its gates are unknown: judge them again or undo it, as its verdict says, and trigger again"
            raise LockHeld(
                f"{self._place}: {holder} holds the lock; {remedy} (the rollback DAG may take the lock over)", holder
            )
