"""The key that signs the rehearsal's ledger: made once for each lab, kept beside it for its owner alone."""

from __future__ import annotations

import os
from pathlib import Path

from include.clients.storage import Folder
from include.rollout.ledger import Ledger, Signer
from lab.rehearsal.folders import ledger_folder

KEY_FILE = "ledger_signing_key.pem"  # beside the ledger and not in it: who reads the ledger must not be able to sign


def signing_key(folder: Path) -> str:
    """The lab's private key in PEM, made when there is none yet."""
    path = folder / KEY_FILE
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "w") as file:
            file.write(_new_key())
    return path.read_text(encoding="utf-8")


def _new_key() -> str:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    key = Ed25519PrivateKey.generate()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def signed_ledger(folder: Path) -> Ledger:
    """The ledger of the lab in ``folder``, for what the rehearsal itself puts on record."""
    return Ledger(Folder(ledger_folder(folder)), signer=Signer.from_text(signing_key(folder)))
