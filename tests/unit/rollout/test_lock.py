"""The lock: who may take it, who loses it, and that a conflict is decided by reading again."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

import pytest

from include.rollout.lock import Lease, LeaseConflictError, Lock, LockHeld, LockState, classify, holder_of, lease_body

NOW = dt.datetime(2026, 11, 24, 10, tzinfo=dt.UTC)
OURS, OTHER = "day1_spot/manual__1", "day3_edge/manual__2"


class FakeLeases:
    """One lease with a resource version; ``before_write`` lets somebody be faster."""

    def __init__(self, holder: str | None = None) -> None:
        self.lease: dict[str, Any] | None = None
        self.before_write: Callable[[], None] = lambda: None
        if holder:
            self.hold(holder)

    def hold(self, holder: str | None) -> None:
        version = int(self.lease["metadata"]["resourceVersion"]) if self.lease else 0
        self.lease = {"metadata": {"resourceVersion": str(version + 1)}, "spec": {"holderIdentity": holder}}

    def get(self, name: str) -> Lease | None:
        assert name == "akidb-rollout"
        return self.lease

    def create(self, body: Lease) -> None:
        self.before_write()
        if self.lease is not None:
            raise LeaseConflictError("exists")
        self._store(body, "1")

    def replace(self, body: Lease) -> None:
        self.before_write()
        assert self.lease is not None
        version = self.lease["metadata"]["resourceVersion"]
        if body["metadata"]["resourceVersion"] != version:
            raise LeaseConflictError("changed")
        self._store(body, str(int(version) + 1))

    def _store(self, body: Lease, version: str) -> None:
        self.lease = {**body, "metadata": {**body["metadata"], "resourceVersion": version}}


def lock(leases: FakeLeases, holder: str = OURS) -> Lock:
    return Lock(leases, "us-east-1", holder, lambda: NOW)


def test_a_kept_lease_outlives_its_run_until_it_is_taken_again() -> None:
    leases = FakeLeases(OTHER)
    assert lock(leases).keep() is False  # somebody else's
    assert lock(leases, OTHER).keep() is True
    assert classify(leases.lease, OURS, lambda _: True) is LockState.HELD
    with pytest.raises(LockHeld, match="its gates are unknown: judge them again or undo it, as its verdict says"):
        lock(leases).acquire(lambda _: True)
    lock(leases, OTHER).assert_held()
    # The run goes on: from now on the lease is stale once it has ended, as any other.
    assert lock(leases, OTHER).acquire(lambda _: True) is None
    assert classify(leases.lease, OURS, lambda _: True) is LockState.STALE
    lock(leases, OTHER).keep()
    assert lock(leases).take_over() == OTHER
    lock(leases).release()
    assert classify(leases.lease, OTHER, lambda _: None) is LockState.FREE


def test_the_lease_is_what_kubernetes_takes() -> None:
    assert lease_body(None, OURS, NOW) == {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": "akidb-rollout"},
        "spec": {
            "holderIdentity": OURS,
            "acquireTime": "2026-11-24T10:00:00.000000Z",
            "renewTime": "2026-11-24T10:00:00.000000Z",
            "leaseTransitions": 0,
        },
    }
    old = {"metadata": {"resourceVersion": "7"}, "spec": {"holderIdentity": OURS, "leaseTransitions": 2}}
    released = lease_body(old, None, NOW)
    assert released["metadata"] == {"name": "akidb-rollout", "resourceVersion": "7"}
    assert released["spec"] == {"leaseTransitions": 3, "renewTime": "2026-11-24T10:00:00.000000Z"}


@pytest.mark.parametrize(
    ("holder", "ended", "state"),
    [
        (None, None, LockState.FREE),
        ("", None, LockState.FREE),
        (OURS, True, LockState.OURS),
        (OTHER, False, LockState.HELD),
        (OTHER, None, LockState.HELD),
        (OTHER, True, LockState.STALE),
    ],
)
def test_a_lease_is_stale_only_when_its_run_is_known_to_have_ended(
    holder: str | None, ended: bool | None, state: LockState
) -> None:
    assert classify({"spec": {"holderIdentity": holder}}, OURS, lambda _: ended) is state


def test_taking_and_releasing() -> None:
    leases = FakeLeases()
    assert lock(leases).acquire(lambda _: None) is None
    assert holder_of(leases.lease) == OURS
    assert lock(leases).acquire(lambda _: None) is None
    lock(leases).assert_held()
    assert lock(leases).release() is True
    assert holder_of(leases.lease) == ""
    assert lock(leases).release() is False
    assert lock(leases, OTHER).acquire(lambda _: None) is None


@pytest.mark.parametrize("ended", [False, None])
def test_a_held_lock_is_refused_with_the_holders_name(ended: bool | None) -> None:
    leases = FakeLeases(OTHER)
    with pytest.raises(LockHeld, match=f"us-east-1: {OTHER} holds the lock") as caught:
        lock(leases).acquire(lambda _: ended)
    assert caught.value.holder == OTHER
    assert holder_of(leases.lease) == OTHER


def test_a_stale_lock_is_taken_over_and_its_holder_named() -> None:
    leases = FakeLeases(OTHER)
    assert lock(leases).acquire(lambda holder: holder == OTHER) == OTHER
    assert holder_of(leases.lease) == OURS


def test_a_rollback_takes_a_held_lock_over_and_the_holder_writes_no_more() -> None:
    leases = FakeLeases(OTHER)
    assert lock(leases, "rollback/manual__3").take_over() == OTHER
    with pytest.raises(LockHeld, match="rollback/manual__3 has taken the lock over; this run writes nothing more"):
        lock(leases, OTHER).assert_held()
    assert lock(leases, OTHER).release() is False
    assert holder_of(leases.lease) == "rollback/manual__3"


def test_a_released_lock_is_not_held() -> None:
    with pytest.raises(LockHeld, match="the lock was released"):
        lock(FakeLeases()).assert_held()


@pytest.mark.parametrize("existing", [None, "ended/run"])
def test_whoever_was_faster_keeps_the_lock(existing: str | None) -> None:
    leases = FakeLeases(existing)
    leases.before_write = lambda: leases.hold(OTHER)
    with pytest.raises(LockHeld, match=OTHER):
        lock(leases).acquire(lambda holder: holder == "ended/run")
    assert holder_of(leases.lease) == OTHER


def test_a_conflict_with_no_holder_is_tried_again() -> None:
    leases = FakeLeases()

    def once() -> None:
        leases.before_write = lambda: None
        leases.hold(None)

    leases.before_write = once
    lock(leases).acquire(lambda _: None)
    assert holder_of(leases.lease) == OURS


def test_a_lease_that_never_stands_still_is_given_up() -> None:
    leases = FakeLeases()
    leases.before_write = lambda: leases.hold(None)
    with pytest.raises(LockHeld, match="changes faster than it can be taken"):
        lock(leases).acquire(lambda _: None)


def test_only_the_step_that_has_begun_last_holds_the_lock() -> None:
    leases = FakeLeases()
    older, later = lock(leases), lock(leases)
    older.acquire(lambda _: None)
    older.begin("step_1 a")
    older.assert_held()
    later.begin("undo b")
    later.assert_held()
    assert leases.lease is not None
    assert leases.lease["metadata"]["annotations"] == {"akidb.io/step": "undo b"}
    assert holder_of(leases.lease) == OURS
    lock(leases).assert_held()  # one that never began, such as a check before a snapshot, needs the holder only
    with pytest.raises(
        LockHeld, match=r"us-east-1: a later step of this run has begun \(undo b\); this one was given up"
    ):
        older.assert_held()


def test_a_step_does_not_begin_without_the_lock() -> None:
    with pytest.raises(LockHeld, match="the lock was released"):
        lock(FakeLeases()).begin("step_1 a")
    with pytest.raises(LockHeld, match=f"{OTHER} has taken the lock over"):
        lock(FakeLeases(OTHER)).begin("step_1 a")


def test_a_lock_that_was_given_back_has_no_step() -> None:
    leases = FakeLeases()
    first = lock(leases)
    first.acquire(lambda _: None)
    first.begin("step_1 a")
    first.release()
    lock(leases).acquire(lambda _: None)
    with pytest.raises(LockHeld, match=r"a later step of this run has begun \(unknown\)"):
        first.assert_held()


def test_a_step_begins_also_when_the_lease_changed_since_it_was_read() -> None:
    leases = FakeLeases(OURS)

    def once() -> None:
        leases.before_write = lambda: None
        leases.hold(OURS)

    leases.before_write = once
    step = lock(leases)
    step.begin("step_1 a")
    step.assert_held()
