"""The ledger: chains, races, tampering, secrets and the readers."""

from __future__ import annotations

import datetime as dt
import hashlib
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest

from include.clients.storage import S3, Folder
from include.rollout.ledger import (
    FIRST_LINK,
    Chain,
    Ledger,
    LedgerError,
    Record,
    SecretRefusedError,
    Step,
    digest,
    refuse_secrets,
    run_key,
)

RUN = "manual__2026-11-24T10:00:00+00:00"
CHAIN = Chain("spot_capacity", "us-east-1", "day1_spot", RUN)


class Clock:
    """Each look at it is ``step`` seconds later."""

    def __init__(self, step: int = 1) -> None:
        self.now = dt.datetime(2026, 11, 24, 10, tzinfo=dt.UTC)
        self.step = dt.timedelta(seconds=step)

    def __call__(self) -> dt.datetime:
        self.now += self.step
        return self.now


@pytest.fixture
def store(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


@pytest.fixture
def ledger(store: Folder) -> Ledger:
    return Ledger(store, Clock())


def test_run_keys_are_safe_and_never_alike() -> None:
    assert run_key("scheduled_1-a") == "scheduled_1-a"
    assert run_key(RUN) == "manual__2026-11-24T10-00-00-00-00-e41bd8591e"
    keys = {run_key(name) for name in ("a/b", "a:b", "a.b", "..", "a" * 250, "a" * 249)}
    assert len(keys) == 6
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{1,91}", key) for key in keys)


def test_records_are_numbered_and_chained(ledger: Ledger, tmp_path: Path) -> None:
    first = ledger.append(CHAIN, Step.PLAN, {"hash": "abc"}, {"log": "http://localhost/1"})
    second = ledger.append(CHAIN, Step.TOUCH, {"slot": "step_30"})
    folder = tmp_path / "spot_capacity" / "us-east-1" / "day1_spot--manual__2026-11-24T10-00-00-00-00-e41bd8591e"
    assert sorted(path.name for path in folder.iterdir()) == [
        "000001-plan", "000001.json", "000002-touch", "000002.json"
    ]  # fmt: skip
    assert first.previous == FIRST_LINK
    assert second.previous == digest((folder / "000001.json").read_bytes())
    assert json.loads((folder / "000001.json").read_text()) == {
        "lever": "spot_capacity",
        "region": "us-east-1",
        "dag_id": "day1_spot",
        "run_id": RUN,
        "sequence": 1,
        "previous": FIRST_LINK,
        "step": "plan",
        "time": "2026-11-24T10:00:01+00:00",
        "figures": {"hash": "abc"},
        "links": {"log": "http://localhost/1"},
    }
    assert ledger.records(CHAIN) == [first, second]
    assert ledger.head(CHAIN) == digest((folder / "000002.json").read_bytes())
    assert ledger.head(CHAIN.of("eu-central-1")) is None


def test_a_record_is_never_overwritten(store: Folder) -> None:
    store.create("a/000001.json", b"first")
    with pytest.raises(FileExistsError):
        store.create("a/000001.json", b"second")
    assert store.read("a/000001.json") == b"first"
    assert store.keys("a/") == ["a/000001.json"]


class RacingStore(Folder):
    """Somebody else appends just before the first create."""

    def __init__(self, root: Path, other: Ledger) -> None:
        super().__init__(root)
        self.other: Ledger | None = other

    def create(self, key: str, data: bytes) -> None:
        if (other := self.other) is not None:
            self.other = None
            other.append(CHAIN, Step.SNAPSHOT, {"by": "the other"})
        super().create(key, data)


def test_a_lost_race_appends_after_the_winner(tmp_path: Path, ledger: Ledger) -> None:
    racer = Ledger(RacingStore(tmp_path, ledger), Clock())
    record = racer.append(CHAIN, Step.TOUCH)
    assert record.sequence == 2
    assert [r.step for r in ledger.records(CHAIN)] == ["snapshot", "touch"]


def test_append_once_keeps_the_first_also_in_a_race(tmp_path: Path, ledger: Ledger) -> None:
    racer = Ledger(RacingStore(tmp_path, ledger), Clock())
    assert racer.append_once(CHAIN, Step.SNAPSHOT, {"by": "the loser"}).figures == {"by": "the other", "order": 1}
    assert racer.append_once(CHAIN, Step.SNAPSHOT, {"by": "a retry"}).figures == {"by": "the other", "order": 1}
    assert len(ledger.records(CHAIN)) == 1


def test_two_steps_that_race_for_a_number_do_not_both_get_it(tmp_path: Path, ledger: Ledger) -> None:
    ledger.append(CHAIN, Step.PLAN)
    Ledger(RacingStore(tmp_path, ledger), Clock()).append(CHAIN, Step.TOUCH)
    names = sorted(path.name for path in (tmp_path / CHAIN.path).iterdir())
    assert names == [
        "000001-plan", "000001.json", "000002-snapshot-n1", "000002.json", "000003-touch", "000003.json"
    ]  # fmt: skip


def three(ledger: Ledger, tmp_path: Path) -> list[Path]:
    for step in (Step.PLAN, Step.SNAPSHOT, Step.TOUCH):
        ledger.append(CHAIN, step)
    return sorted(tmp_path.rglob("*.json"))


def test_an_edited_record_breaks_the_chain(ledger: Ledger, tmp_path: Path) -> None:
    second = three(ledger, tmp_path)[1]
    second.write_text(second.read_text().replace('"snapshot"', '"snapshoT"'))
    with pytest.raises(LedgerError, match=r"000003\.json does not follow .* restore the chain from a backup"):
        ledger.records(CHAIN)


def test_a_missing_record_breaks_the_chain(ledger: Ledger, tmp_path: Path) -> None:
    three(ledger, tmp_path)[1].unlink()
    with pytest.raises(LedgerError, match=r"000002\.json is missing"):
        ledger.append(CHAIN, Step.APPLIED)


def test_half_a_record_is_named(ledger: Ledger, tmp_path: Path) -> None:
    three(ledger, tmp_path)[2].write_text("{")
    with pytest.raises(LedgerError, match=r"000003\.json is not a record"):
        ledger.records(CHAIN)


@pytest.mark.parametrize(
    ("figures", "place"),
    [
        ({"conn": {"password": "x"}}, "conn.password"),
        ({"items": [{"sessionToken": "x"}]}, "items[0].sessionToken"),
        ({"client_secret": "x"}, "client_secret"),
        ({"Authorization": "x"}, "Authorization"),
        ({"SecretAccessKey": "x"}, "SecretAccessKey"),
        ({"header": "Bearer abcdefghijklmnop1234"}, "header"),
        ({"note": "key AKIAIOSFODNN7EXAMPLE leaked"}, "note"),
        ({"note": "Authorization: Basic YWRtaW46c2VjcmV0cGFzc3dvcmQ="}, "note"),
        ({"note": "curl -H 'authorization: bearer 5f2c7e0a9b8d4c61'"}, "note"),
        ({"note": "bearer 123e4567-e89b-12d3-a456-426614174000"}, "note"),
        ({"note": "it is eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N"}, "note"),
        ({"note": "REGISTRY_PASSWORD=hunter2-hunter2"}, "note"),
        ({"note": "AWS_SECRET_ACCESS_KEY = 'wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY'"}, "note"),
        ({"note": "pull with ghp_16C7e42F292c6912E7710c838347Ae178B4a"}, "note"),
        ({"note": "postgresql://airflow:s3cr3t@db:5432/airflow"}, "note"),
        ({"note": "-----BEGIN RSA PRIVATE KEY-----"}, "note"),
    ],
)
def test_secrets_are_refused_by_name_and_not_shown(figures: dict[str, Any], place: str) -> None:
    with pytest.raises(SecretRefusedError, match=re.escape(place)) as caught:
        refuse_secrets(figures)
    assert "AKIA" not in str(caught.value)


@pytest.mark.parametrize(
    "reason",
    [
        "basic configuration-change of the pools",
        "Basic availability-and-latency checks passed, see CHG-2026-11-28",
        "bearer authentication-of-the-ingress moves to IRSA",
        "bearer misconfiguration-in-eu-central-1 fixed by platform-lead",
        "basic m7g.2xlarge-and-c7g.xlarge instances, price book 2026-11-01",
        "asiapacificnortheast moves after the canary",
        "rotated the token=expired one, secret=akidb/prod and password=unchanged stay",
        "see https://wiki.example.org/rollouts/2026-11-28 and s3://ledger@bucket/prefix",
        "postgresql://airflow:***@db:5432/airflow is the metadata database",
        "image sha256:0123456789abcdef0123456789abcdef of the predictor",
    ],
)
def test_an_honest_reason_is_no_secret(reason: str) -> None:
    refuse_secrets({"reason": reason})


def test_settings_that_only_sound_like_secrets_pass() -> None:
    refuse_secrets({
        "metadataOptions": {"httpTokens": "required"},
        "secretName": "tls",
        "automountServiceAccountToken": False,
        "token": None,
    })  # fmt: skip


def test_a_refused_record_is_not_written(ledger: Ledger) -> None:
    with pytest.raises(SecretRefusedError):
        ledger.append(CHAIN, Step.PLAN, {"token": "x"})
    assert ledger.records(CHAIN) == []


def test_not_a_number_is_refused(ledger: Ledger) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        ledger.append(CHAIN, Step.PLAN, {"value": float("nan")})


class ClientError(Exception):
    def __init__(self, code: str) -> None:
        self.response = {"Error": {"Code": code}}


class FakeS3:
    """put_object with If-None-Match, get_object and a paginator of two keys a page."""

    class exceptions:  # noqa: N801 - boto3's own name
        ClientError = ClientError
        NoSuchKey = KeyError

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.error = ""

    def put_object(self, Bucket: str, Key: str, Body: bytes, IfNoneMatch: str) -> None:  # noqa: N803
        assert (Bucket, IfNoneMatch) == ("akidb-ledger", "*")
        if self.error or Key in self.objects:
            raise ClientError(self.error or "PreconditionFailed")
        self.objects[Key] = Body

    def get_object(self, Bucket: str, Key: str) -> dict[str, Any]:  # noqa: N803
        data = self.objects[Key]
        return {"Body": io.BytesIO(data), "ETag": f'"{hashlib.md5(data, usedforsecurity=False).hexdigest()}"'}

    def get_paginator(self, name: str) -> FakeS3:
        assert name == "list_objects_v2"
        return self

    def paginate(self, Bucket: str, Prefix: str) -> list[dict[str, Any]]:  # noqa: N803
        keys = sorted(key for key in self.objects if key.startswith(Prefix))
        return [{"Contents": [{"Key": key} for key in keys[n : n + 2]]} for n in range(0, len(keys), 2)] or [{}]


def test_s3_creates_only_what_is_absent() -> None:
    client = FakeS3()
    ledger = Ledger(S3(client, "akidb-ledger", "/prod/"), Clock())
    for step in (Step.PLAN, Step.SNAPSHOT, Step.TOUCH):
        ledger.append(CHAIN, step)
    assert [record.step for record in ledger.records(CHAIN)] == ["plan", "snapshot", "touch"]
    assert all(key.startswith("prod/spot_capacity/us-east-1/day1_spot--") for key in client.objects)
    store = S3(client, "akidb-ledger", "prod")
    key = store.keys("spot_capacity/")[0]
    with pytest.raises(FileExistsError):
        store.create(key, b"")
    with pytest.raises(FileNotFoundError):
        store.read("spot_capacity/nothing.json")


def test_s3_tells_a_race_from_a_failure() -> None:
    client = FakeS3()
    store = S3(client, "akidb-ledger", "")
    client.error = "ConditionalRequestConflict"
    with pytest.raises(FileExistsError):
        store.create("a/000001.json", b"")
    client.error = "AccessDenied"
    with pytest.raises(ClientError):
        store.create("a/000001.json", b"")


def touch(ledger: Ledger, chain: Chain, origin: Chain | None = None) -> None:
    ledger.append_once(chain, Step.SNAPSHOT, {}, {"origin": origin.path} if origin else {})
    ledger.append(chain, Step.TOUCH)


def restore(ledger: Ledger, chain: Chain, by: Chain | None = None, *, complete: bool = True) -> None:
    ledger.append(by or chain, Step.RESTORED, {"complete": complete}, {"restores": chain.path})


def run(name: str, region: str = "us-east-1", dag_id: str = "day1_spot") -> Chain:
    return Chain("spot_capacity", region, dag_id, name)


def standing(ledger: Ledger) -> list[tuple[str, bool]]:
    return [(r.chain.run_id, r.promoted) for r in ledger.standing("spot_capacity", "us-east-1")]


def test_a_snapshot_alone_is_no_change(ledger: Ledger) -> None:
    ledger.append(run("one"), Step.SNAPSHOT)
    assert standing(ledger) == []


def test_promoted_runs_stand_until_they_are_restored_by_any_run(ledger: Ledger) -> None:
    for name in ("one", "two"):
        touch(ledger, run(name))
        ledger.append(run(name), Step.PROMOTED)
    assert standing(ledger) == [("one", True), ("two", True)]
    assert ledger.unfinished("spot_capacity", "us-east-1") is None
    restore(ledger, run("two"), by=run("undo", dag_id="rollback"))
    assert standing(ledger) == [("one", True)]


def test_an_unfinished_run_is_found_until_it_is_wholly_restored(ledger: Ledger) -> None:
    touch(ledger, run("one"))
    restore(ledger, run("one"), complete=False)
    unfinished = ledger.unfinished("spot_capacity", "us-east-1")
    assert unfinished is not None
    assert unfinished.chain == run("one")
    restore(ledger, run("one"))
    assert ledger.unfinished("spot_capacity", "us-east-1") is None


def test_a_run_that_resumes_another_stands_for_both(ledger: Ledger) -> None:
    touch(ledger, run("one"))
    touch(ledger, run("two"), origin=run("one"))
    assert standing(ledger) == [("two", False)]
    restore(ledger, run("two"))
    assert standing(ledger) == []


def test_touched_regions_come_in_the_order_that_is_asked_for(ledger: Ledger) -> None:
    for region in ("ap-northeast-1", "eu-central-1", "us-east-1"):
        touch(ledger, run("one", region))
    ledger.append(run("one", "ap-northeast-1"), Step.TOUCH)
    restore(ledger, run("one", "eu-central-1"))
    regions = ["us-east-1", "eu-central-1", "ap-northeast-1"]
    assert ledger.touched(run("one", "estate"), regions) == ["us-east-1", "ap-northeast-1"]


@pytest.mark.parametrize("step", [-5, 0, 1], ids=["backwards", "stopped", "forwards"])
def test_no_clock_decides_what_stands(store: Folder, step: int) -> None:
    ledger = Ledger(store, Clock(step))
    touch(ledger, run("one"))
    assert standing(ledger) == [("one", False)]
    restore(ledger, run("one"))
    assert standing(ledger) == []
    for name in ("b", "a", "c"):
        touch(ledger, run(name))
        ledger.append(run(name), Step.PROMOTED)
    assert standing(ledger) == [("b", True), ("a", True), ("c", True)]
    restore(ledger, run("c"), by=run("undo", dag_id="rollback"))
    assert standing(ledger) == [("b", True), ("a", True)]
    assert [r.order for r in ledger.standing("spot_capacity", "us-east-1")] == [2, 3]


def test_a_run_that_writes_after_it_was_restored_stands_again(ledger: Ledger) -> None:
    touch(ledger, run("one"))
    restore(ledger, run("one"), by=run("undo", dag_id="rollback"))
    ledger.append(run("one"), Step.TOUCH)
    assert standing(ledger) == [("one", False)]
    restore(ledger, run("one"))
    ledger.append(run("one"), Step.STOPPED)
    assert standing(ledger) == []


def test_what_was_accepted_no_longer_stands(ledger: Ledger) -> None:
    touch(ledger, run("one"))
    ledger.append(run("one"), Step.RESTORED, {"complete": False, "accepted": True}, {"restores": run("one").path})
    assert standing(ledger) == []


class CountingStore(Folder):
    """Counts requests; ``lost`` marks are not written, as when a process ends right after a record."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.lists: list[str] = []
        self.reads: list[str] = []
        self.lost: set[str] = set()

    def create(self, key: str, data: bytes) -> None:
        if any(key.endswith(f"-{step}") for step in self.lost):
            raise ConnectionError("the process was killed")
        super().create(key, data)

    def keys(self, prefix: str) -> list[str]:
        self.lists.append(prefix)
        return super().keys(prefix)

    def read(self, key: str) -> bytes:
        self.reads.append(key)
        return super().read(key)


@pytest.fixture
def counted(tmp_path: Path) -> CountingStore:
    return CountingStore(tmp_path)


def test_what_a_run_touched_is_answered_by_one_list(counted: CountingStore) -> None:
    ledger = Ledger(counted, Clock())
    for number in range(5):
        for region in ("us-east-1", "eu-central-1"):
            touch(ledger, run(f"r{number}", region))
            ledger.append(run(f"r{number}", region), Step.PROMOTED)
            restore(ledger, run(f"r{number}", region)) if number % 2 else None
    counted.lists.clear()
    counted.reads.clear()
    assert ledger.touched(run("r2", "estate"), ["us-east-1", "eu-central-1"]) == ["us-east-1", "eu-central-1"]
    assert ledger.touched(run("r3", "estate"), ["us-east-1", "eu-central-1"]) == []
    assert (counted.lists, counted.reads) == (["spot_capacity/"] * 2, [])
    survey = ledger.survey()
    assert [r.chain.run_id for r in survey.standing if r.chain.place == "us-east-1"] == ["r0", "r2", "r4"]
    assert survey.places == {"us-east-1", "eu-central-1"}
    assert (counted.lists[2:], len(counted.reads)) == ([""], 6)


@pytest.mark.parametrize("lost", [{"touch"}, {"snapshot-n1", "touch"}, {"restored"}])
def test_a_record_whose_mark_was_lost_counts_all_the_same(counted: CountingStore, lost: set[str]) -> None:
    ledger = Ledger(counted, Clock())
    counted.lost = lost
    touch(ledger, run("one"))
    assert standing(ledger) == [("one", False)]
    restore(ledger, run("one"))
    assert standing(ledger) == []
    counted.lost = set()
    assert standing(ledger) == []  # read once more, and marked
    counted.reads.clear()
    assert standing(ledger) == []
    assert counted.reads == []


def test_a_mark_never_stands_for_a_record_that_is_not_there(ledger: Ledger, tmp_path: Path) -> None:
    touch(ledger, run("one"))
    (tmp_path / run("one").path / "000002.json").unlink()
    survey = ledger.survey("spot_capacity/us-east-1")
    assert survey.standing == ()
    assert survey.bad == {
        run("one").path: f"{run('one').path}/000002.json is missing: restore it from a backup of the ledger"
    }
    with pytest.raises(LedgerError, match="is missing"):
        ledger.standing("spot_capacity", "us-east-1")


def test_a_bad_chain_blocks_no_other(ledger: Ledger, tmp_path: Path) -> None:
    for name in ("one", "two"):
        touch(ledger, run(name))
    (tmp_path / run("one").path / "000001.json").write_text("{")
    survey = ledger.survey()
    assert [r.chain.run_id for r in survey.standing] == ["two"]
    assert list(survey.bad) == [run("one").path]
    assert ledger.touched(run("two", "estate"), ["us-east-1"]) == ["us-east-1"]


def test_a_touch_without_a_snapshot_is_a_bad_chain(ledger: Ledger) -> None:
    ledger.append(run("one"), Step.TOUCH)
    assert ledger.survey().bad == {
        run(
            "one"
        ).path: f"{run('one').path} was written to but holds no snapshot: restore it from a backup of the ledger"
    }


def test_the_audit_reads_what_marks_do_not_prove(ledger: Ledger, tmp_path: Path) -> None:
    touch(ledger, run("one"))
    touch(ledger, run("two"))
    path = tmp_path / run("one").path / "000001.json"
    path.write_text(path.read_text().replace('"snapshot"', '"snapshoT"'))
    assert list(ledger.audit()) == [run("one").path]
    assert "000002.json does not follow" in ledger.audit("spot_capacity")[run("one").path]
    assert ledger.audit("another_lever") == {}


OLD = (  # (run, records) as a release without marks wrote them: step, time, figures, links
    ("one", (("snapshot", "10:00", {}, {}), ("touch", "10:01", {}, {}), ("promoted", "10:02", {}, {}))),
    ("two", (("snapshot", "11:00", {}, {}), ("touch", "11:01", {}, {}), ("gate", "11:02", {}, {}))),
    ("three", (("snapshot", "12:00", {}, {"origin": "two"}), ("touch", "12:01", {}, {}))),
    ("four", (("snapshot", "09:00", {}, {}), ("touch", "09:01", {}, {}), ("promoted", "09:02", {}, {}))),
    ("undo", (("undo", "09:10", {}, {}), ("restored", "09:11", {"complete": True}, {"restores": "four"}))),
    ("five", (("plan", "13:00", {}, {}), ("stopped", "13:01", {}, {}))),
)


def write_old(folder: Path) -> None:
    """The records of OLD, byte for byte as they were: numbered names only, no order, no marks."""
    for name, records in OLD:
        previous = FIRST_LINK
        for number, (step, time, figures, links) in enumerate(records, start=1):
            data = json.dumps(
                {
                    "lever": "spot_capacity", "region": "us-east-1", "dag_id": "day1_spot", "run_id": name,
                    "sequence": number, "previous": previous, "step": step,
                    "time": f"2026-11-24T{time}:00+00:00", "figures": figures,
                    "links": {key: f"spot_capacity/us-east-1/day1_spot--{to}" for key, to in links.items()},
                },
                sort_keys=True,
                indent=1,
            ).encode() + b"\n"  # fmt: skip
            path = folder / "spot_capacity" / "us-east-1" / f"day1_spot--{name}" / f"{number:06}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            previous = digest(data)


def test_a_ledger_of_an_older_release_is_read_and_gone_on_with(tmp_path: Path, counted: CountingStore) -> None:
    write_old(tmp_path)
    ledger = Ledger(counted, Clock(-1))
    assert standing(ledger) == [("one", True), ("three", False)]
    unfinished = ledger.unfinished("spot_capacity", "us-east-1")
    assert unfinished is not None
    assert unfinished.chain == run("three")
    assert ledger.audit() == {}
    touch(ledger, run("new"))
    restore(ledger, run("three"), by=run("undo two", dag_id="rollback"))
    assert standing(ledger) == [("one", True), ("new", False)]
    counted.reads.clear()
    assert ledger.touched(run("new", "estate"), ["us-east-1"]) == ["us-east-1"]
    assert counted.reads == []
    ledger.append(run("three"), Step.STOPPED, {"where": "x", "reason": "y"})
    assert [r.step for r in ledger.records(run("three"))] == ["snapshot", "touch", "stopped"]


def test_records_of_an_older_release_are_never_rewritten(tmp_path: Path, ledger: Ledger) -> None:
    write_old(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.json")}
    ledger.survey()
    touch(ledger, run("new"))
    assert {path: path.read_bytes() for path in before} == before


def test_a_store_that_can_only_be_read_is_read(tmp_path: Path) -> None:
    write_old(tmp_path)

    class ReadOnly(Folder):
        def create(self, key: str, data: bytes) -> None:
            raise PermissionError(key)

    ledger = Ledger(ReadOnly(tmp_path))
    assert standing(ledger) == [("one", True), ("three", False)]
    assert list(tmp_path.rglob("*-touch")) == []


def test_the_orders_of_two_regions_and_levers_are_their_own(ledger: Ledger) -> None:
    other = Chain("predictive_scaling", "us-east-1", "day2", "one")
    for chain in (run("one"), run("one", "eu-central-1"), run("two"), other):
        touch(ledger, chain)
    orders = [record.figures["order"] for c in (run("one"), run("one", "eu-central-1"), run("two"), other)
              if isinstance(record := ledger.snapshot(c), Record)]  # fmt: skip
    assert orders == [1, 1, 2, 1]


def test_who_has_undone_a_run_is_answered_by_one_list_and_one_read(counted: CountingStore) -> None:
    ledger = Ledger(counted, Clock())
    touch(ledger, run("one"))
    ledger.append(run("one"), Step.UNDO, {}, {"restores": run("one").path})
    assert ledger.undone_by(run("one")) is None
    undo = run("undo", dag_id="rollback")
    ledger.append(undo, Step.UNDO, {}, {"restores": run("one").path})
    assert standing(ledger) == [("one", False)]  # begun is not done
    counted.lists.clear()
    counted.reads.clear()
    assert ledger.undone_by(run("one")) == undo
    assert ledger.undone_by(run("two")) is None
    assert (len(counted.lists), len(counted.reads)) == (2, 1)


def test_a_list_that_shows_a_mark_before_its_record_is_not_taken_for_a_loss(tmp_path: Path) -> None:
    class Lagging(Folder):
        """Lists a folder while somebody writes to it."""

        def keys(self, prefix: str) -> list[str]:
            return [key for key in super().keys(prefix) if not key.endswith("000002.json")]

    writer = Ledger(Folder(tmp_path), Clock())
    touch(writer, run("one"))
    reader = Ledger(Lagging(tmp_path))
    assert standing(reader) == [("one", False)]
    assert reader.touched(run("one", "estate"), ["us-east-1"]) == ["us-east-1"]
    assert [record.step for record in reader.records(run("one"))] == ["snapshot", "touch"]
    assert reader.audit() == {}
