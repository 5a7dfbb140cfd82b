"""The ledger: chains, races, tampering, secrets and the store."""

from __future__ import annotations

import hashlib
import io
import json
import re
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from include.clients.storage import S3, Folder
from include.rollout.ledger import (
    FIRST_LINK,
    Ledger,
    LedgerError,
    SecretRefusedError,
    Step,
    digest,
    refuse_secrets,
    run_key,
)
from include.rollout.ledger.listing import read_each
from tests.unit.rollout.ledger_world import CHAIN, RUN, Clock, three


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


@pytest.mark.parametrize("local", [True, False])
def test_a_reader_waits_for_a_network_with_threads_and_for_a_folder_without(tmp_path: Path, local: bool) -> None:
    store = Folder(tmp_path) if local else S3(SimpleNamespace(), "bucket")
    mine = threading.get_ident()
    found = read_each(store, lambda number: (number, threading.get_ident() == mine), range(40))
    assert found == [(number, local) for number in range(40)]
