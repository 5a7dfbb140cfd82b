"""The lock of a place without a cluster: a record in the ledger's store, in a folder and in S3 alike."""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from moto import mock_aws

from include.clients.storage import S3, Folder, Storage
from include.rollout.leases import StoreLeases
from include.rollout.ledger import Chain, Ledger
from include.rollout.lock import LEASE, LeaseConflictError, Lock, LockHeld, lease_body

NOW = dt.datetime(2026, 11, 24, 10, tzinfo=dt.UTC)
OURS, OTHER = "edge_rollout/one", "rollback/two"


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Storage]:
    if request.param == "folder":
        yield Folder(tmp_path / "ledger")
        return
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    with mock_aws():
        client = boto3.client("s3", region_name="us-east-1")
        client.create_bucket(Bucket="ledger")
        yield S3(client, "ledger", "akidb")


def lock(store: Storage, holder: str = OURS) -> Lock:
    return Lock(StoreLeases(store, "estate-wide"), "estate-wide", holder, lambda: NOW)


def test_one_run_holds_it_until_it_gives_it_up(store: Storage) -> None:
    assert lock(store).acquire(lambda _: False) is None
    with pytest.raises(LockHeld, match="estate-wide: edge_rollout/one holds the lock; wait for that run to end"):
        lock(store, OTHER).acquire(lambda _: False)
    lock(store).assert_held()
    assert lock(store).release() is True
    assert lock(store, OTHER).acquire(lambda _: False) is None


def test_a_rollback_takes_it_over_and_the_holder_writes_nothing_more(store: Storage) -> None:
    ours = lock(store)
    ours.acquire(lambda _: False)
    ours.begin("apply 1")
    assert lock(store, OTHER).take_over() == OURS
    with pytest.raises(LockHeld, match="estate-wide: rollback/two has taken the lock over"):
        ours.assert_held()


def test_a_step_that_was_given_up_is_stopped_by_the_next(store: Storage) -> None:
    first, second = lock(store), lock(store)
    first.acquire(lambda _: False)
    first.begin("apply 1")
    second.begin("apply 2")
    second.assert_held()
    with pytest.raises(LockHeld, match="a later step of this run has begun"):
        first.assert_held()


def test_a_lease_that_was_changed_since_it_was_read_is_not_replaced(store: Storage) -> None:
    leases = StoreLeases(store, "estate-wide")
    leases.create(lease_body(None, OURS, NOW))
    with pytest.raises(LeaseConflictError, match="the lease of estate-wide exists by now"):
        leases.create(lease_body(None, OTHER, NOW))
    read = leases.get(LEASE)
    leases.replace(lease_body(read, OTHER, NOW))
    with pytest.raises(LeaseConflictError, match="was changed by somebody else"):
        leases.replace(lease_body(read, OURS, NOW))


def test_a_lease_that_comes_back_to_its_holder_is_another_one(store: Storage) -> None:
    """Ours, given up and ours again at the same second: who read the first must not write over the third."""
    leases, held = StoreLeases(store, "estate-wide"), lock(store)
    held.acquire(lambda _: False)
    read = leases.get(LEASE)
    held.release()
    held.acquire(lambda _: False)
    with pytest.raises(LeaseConflictError):
        leases.replace(lease_body(read, OTHER, NOW))


def test_places_have_their_own_leases_and_no_reader_of_the_ledger_sees_them(store: Storage) -> None:
    ledger = Ledger(store)
    ledger.append(Chain("edge", "estate-wide", "edge_rollout", "one"), "plan")
    lock(store).acquire(lambda _: False)
    devices = StoreLeases(store, "devices")
    assert devices.get(LEASE) is None
    assert store.keys("locks/") == ["locks/estate-wide/akidb-rollout.json"]
    survey = ledger.survey()
    assert (survey.places, survey.bad) == (frozenset({"estate-wide"}), {})
    assert ledger.audit() == {}


def test_of_many_runs_at_once_one_gets_it(tmp_path: Path) -> None:
    store, won = Folder(tmp_path), []
    barrier = threading.Barrier(8)

    def take(number: int) -> None:
        barrier.wait()
        try:
            lock(store, f"edge_rollout/{number}").acquire(lambda _: False)
            won.append(number)
        except LockHeld:
            pass

    threads = [threading.Thread(target=take, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    lock(store, f"edge_rollout/{won[0]}").assert_held()
