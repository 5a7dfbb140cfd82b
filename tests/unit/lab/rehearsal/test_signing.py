"""The lab's signing key: made once, for its owner's eyes only, never inside the ledger."""

from __future__ import annotations

import stat
from pathlib import Path

from include.rollout.ledger import Step
from lab.rehearsal.folders import ledger_folder
from lab.rehearsal.signing import KEY_FILE, signed_ledger, signing_key
from tests.unit.rollout.ledger_world import CHAIN
from tools import verify_ledger


def test_the_key_is_made_once_and_for_its_owner_alone(tmp_path: Path) -> None:
    key = signing_key(tmp_path / "lab")
    assert key.startswith("-----BEGIN PRIVATE KEY-----")
    assert signing_key(tmp_path / "lab") == key
    assert stat.S_IMODE((tmp_path / "lab" / KEY_FILE).stat().st_mode) == 0o600


def test_what_the_rehearsal_puts_on_record_is_signed(tmp_path: Path) -> None:
    signed_ledger(tmp_path).append(CHAIN, Step.MEASURED, {"kind": "throughput", "served_qps": 1.0})
    assert verify_ledger.Ledger(ledger_folder(tmp_path), []).verify("0:") == ["valid", "valid"]
    assert not list(ledger_folder(tmp_path).rglob(KEY_FILE))
