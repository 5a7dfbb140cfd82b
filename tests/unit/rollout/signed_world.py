"""A signed ledger in a folder, for the tests of the seals, of the verifier and of the completion report."""

from __future__ import annotations

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from include.clients.storage import Folder
from include.rollout.ledger import Chain, Ledger, Signer, Step
from tests.unit.rollout.ledger_world import CHAIN, Clock

EU = CHAIN.of("eu-central-1")


def pem(seed: int) -> str:
    """A private key as Airflow's connection holds it; the same seed gives the same key."""
    key = Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def signer(seed: int = 1) -> Signer:
    return Signer.from_text(pem(seed))


def signed_ledger(folder: Path, seed: int = 1) -> Ledger:
    return Ledger(Folder(folder), Clock(), signer(seed))


def promoted(ledger: Ledger, chain: Chain = CHAIN) -> None:
    """A run's six records in a place."""
    ledger.append(chain, Step.PLAN, {"hash": "abc"})
    ledger.append(chain, Step.SNAPSHOT, {"snapshot": {"size": 3}})
    ledger.append(chain, Step.TOUCH, {"slot": "step_1"})
    ledger.append(chain, Step.APPLIED, {"slot": "step_1", "figures": {"nodes": 5.0}})
    ledger.append(chain, Step.GATE, {"slot": "step_1", "outcome": "pass", "results": []})
    ledger.append(chain, Step.PROMOTED, {"after": {"nodes": 5}})
