"""Signatures, heads and index: what is written, what a race or a crash leaves, and what never fails a step."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from include.clients.storage import S3, Folder
from include.rollout import steps
from include.rollout.ledger import Chain, Ledger, Signer, SigningKeyError, Step, canonical, digest
from include.rollout.steps import Run
from tests.unit.rollout.ledger_world import CHAIN, Clock
from tests.unit.rollout.signed_world import EU, pem, signed_ledger, signer
from tests.unit.rollout.test_ledger import ClientError, FakeS3
from tools import verify_ledger


def index(folder: Path) -> list[list[tuple[str, int]]]:
    """Chain and number of each head by entry."""
    entries = [json.loads(path.read_bytes()) for path in sorted((folder / "index").glob("*.json"))]
    return [[(head["chain"], head["number"]) for head in entry["heads"]] for entry in entries]


def states(folder: Path) -> set[str]:
    return set(verify_ledger.Ledger(folder, []).verify("0:"))


def test_a_signed_record_is_canonical_and_says_whose_signature_it_has(tmp_path: Path) -> None:
    record = signed_ledger(tmp_path).append(CHAIN, Step.PLAN, {"hash": "abc"})
    data = (tmp_path / record.address).read_bytes()
    assert data == canonical(json.loads(data))
    assert (record.key, len(record.signature)) == (signer().key_id, 128)
    assert record.links == {"index": "0:"}
    assert record == signed_ledger(tmp_path).records(CHAIN)[0]


def test_the_head_follows_each_record_and_the_index_first_and_decisive_ones(tmp_path: Path) -> None:
    ledger = signed_ledger(tmp_path)
    for step in (Step.PLAN, Step.SNAPSHOT, Step.TOUCH, Step.PROMOTED):
        ledger.append(CHAIN, step)
    ledger.append(EU, Step.PLAN)
    head = json.loads((tmp_path / "heads" / f"{CHAIN.path}.json").read_bytes())
    assert (head["kind"], head["chain"], head["number"]) == ("head", CHAIN.path, 4)
    assert head["sha256"] == digest((tmp_path / CHAIN.path / "000004.json").read_bytes())
    assert index(tmp_path) == [[(CHAIN.path, 1)], [(CHAIN.path, 4)], [(EU.path, 1)]]
    newest = digest((tmp_path / "index" / "000002.json").read_bytes())
    assert ledger.records(EU)[0].links == {"index": f"2:{newest}"}


def test_a_runs_end_names_the_last_record_of_each_of_its_chains(tmp_path: Path) -> None:
    ledger = signed_ledger(tmp_path)
    for chain in (CHAIN, EU):
        ledger.append(chain, Step.PLAN)
        ledger.append(chain, Step.STOPPED)
    ledger.seal([CHAIN, EU, CHAIN.of("ap-northeast-1")])  # the last one has no record
    assert index(tmp_path)[-1] == [(CHAIN.path, 2), (EU.path, 2)]


def test_an_unsigned_ledger_has_neither_heads_nor_index(tmp_path: Path) -> None:
    ledger = Ledger(Folder(tmp_path), Clock())
    record = ledger.append(CHAIN, Step.PLAN)
    ledger.seal([CHAIN])
    assert (record.key, record.signature, record.links) == ("", "", {})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["spot_capacity"]


class Raced(Folder):
    """Somebody else writes an entry of the index just before ours, twice."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.left = 2

    def create(self, key: str, data: bytes) -> None:
        if key.startswith("index/") and self.left:
            self.left -= 1
            signed_ledger(self.root).append(Chain("toy", f"r{self.left}", "d", "r"), Step.PLAN)
        super().create(key, data)


def test_a_lost_race_for_an_entry_is_tried_again_after_the_winners(tmp_path: Path) -> None:
    Ledger(Raced(tmp_path), Clock(), signer()).append(CHAIN, Step.PLAN)
    assert index(tmp_path) == [[("toy/r1/d--r", 1)], [("toy/r0/d--r", 1)], [(CHAIN.path, 1)]]
    assert states(tmp_path) == {"valid"}


class Refusing(Folder):
    """A store that keeps records and nothing else."""

    def put(self, key: str, data: bytes) -> None:
        raise OSError(f"{key}: access denied")

    def create(self, key: str, data: bytes) -> None:
        if key.startswith(("index/", "keys/")):
            raise OSError(f"{key}: access denied")
        super().create(key, data)


def test_a_seal_that_can_not_be_written_fails_no_step_and_the_next_record_mends_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    Ledger(Refusing(tmp_path), Clock(), signer()).append(CHAIN, Step.PLAN)
    assert "not sealed yet" in caplog.text
    signed_ledger(tmp_path).append(CHAIN, Step.PROMOTED)
    assert states(tmp_path) == {"valid"}


class S3WithPut(FakeS3):
    """The fake bucket, which also takes a put without a condition."""

    def put_object(self, Bucket: str, Key: str, Body: bytes, IfNoneMatch: str = "") -> None:  # noqa: N803
        if IfNoneMatch and Key in self.objects:
            raise ClientError("PreconditionFailed")
        self.objects[Key] = Body


def test_on_s3_it_is_the_same(tmp_path: Path) -> None:
    client = S3WithPut()
    ledger = Ledger(S3(client, "akidb-ledger", "prod"), Clock(), signer())
    for step in (Step.PLAN, Step.TOUCH, Step.PROMOTED):
        ledger.append(CHAIN, step)
    for key, data in client.objects.items():
        path = tmp_path / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    assert states(tmp_path / "prod") == {"valid"}


def test_an_integer_that_json_can_not_hold_is_refused_by_its_place(tmp_path: Path) -> None:
    ledger = signed_ledger(tmp_path)
    message = r"figures\.list\[1\]\.bytes is an integer beyond 2\^53, which JSON can't hold exactly: put it on record"
    with pytest.raises(ValueError, match=message):
        ledger.append(CHAIN, Step.PLAN, {"list": [1, {"bytes": 2**53 + 1}]})
    assert ledger.records(CHAIN) == []


@pytest.mark.parametrize("text", ["", "hunter2-hunter2", pem(1)[:60]])
def test_what_is_no_key_is_refused_and_not_shown(text: str) -> None:
    with pytest.raises(SigningKeyError, match="is no Ed25519 private key in PEM") as caught:
        Signer.from_text(text)
    assert not text or text not in str(caught.value)


def test_a_signer_shows_its_public_name_alone() -> None:
    assert repr(signer()) == f"Signer({signer().key_id})"


def test_preflight_says_whether_the_ledger_is_signed(run: Run) -> None:
    def check(ledger: Ledger) -> tuple[bool, str]:
        (found,) = steps.whole_run_checks(replace(run, ledger=ledger), changes=False)
        return found.passed, found.reason

    store = Folder(Path("/nowhere"))
    assert check(Ledger(store, signer=signer())) == (True, f"signed by key {signer().key_id}")
    assert check(Ledger(store)) == (
        True,
        "WARNING: not signed, so that others can't verify it: there is no Airflow connection ledger_signing_key",
    )
    assert check(Ledger(store, problem="the password is no key")) == (False, "the password is no key")
