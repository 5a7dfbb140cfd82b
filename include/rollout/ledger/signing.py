"""Canonical JSON, and documents signed with an Ed25519 key, so that others can check what this project wrote.

What is hashed and signed is canonical JSON (RFC 8785): one text for one content, whichever program wrote it. A signed
document holds ``key``, the id of the key, and ``signature``: that of its canonical JSON without the field
``signature``. tools/verify_ledger.py checks it without anything of this project.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from include.rollout.canonical import canonical

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

Json = Any


class SigningKeyError(ValueError):
    """The signing key can't be used; the message says what is wanted, never what was given."""


class Signer:
    """Signs documents with one private key, which it never shows."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

        self._key = key
        public = key.public_key()
        self.key_id = hashlib.sha256(public.public_bytes(Encoding.Raw, PublicFormat.Raw)).hexdigest()[:16]
        self.public_pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    def __repr__(self) -> str:
        return f"Signer({self.key_id})"

    @classmethod
    def from_text(cls, text: str) -> Signer:
        r"""The signer of a private key in PEM (``openssl genpkey -algorithm ed25519``), its lines ended or by ``\n``.

        Raises SigningKeyError, which does not show the text.
        """
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        try:
            key = load_pem_private_key(text.replace("\\n", "\n").encode(), password=None)
        except (ValueError, TypeError):
            key = None
        if not isinstance(key, Ed25519PrivateKey):
            raise SigningKeyError(
                "is no Ed25519 private key in PEM without a password: make one by `openssl genpkey -algorithm ed25519`"
            )
        return cls(key)

    def sign(self, document: Mapping[str, Json]) -> dict[str, Json]:
        """The document with ``key`` and ``signature``."""
        named = {**document, "key": self.key_id}
        return {**named, "signature": self._key.sign(canonical(named)).hex()}
