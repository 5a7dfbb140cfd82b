"""Canonical JSON, and documents signed with an Ed25519 key, so that others can check what this project wrote.

What is hashed and signed is canonical JSON (RFC 8785): one text for one content, whichever program wrote it. A signed
document holds ``key``, the id of the key, and ``signature``: that of its canonical JSON without the field
``signature``. tools/verify_ledger.py checks it without anything of this project.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

Json = Any
LARGEST = 2**53 - 1  # beyond it numbers of JSON are not exact


class SigningKeyError(ValueError):
    """The signing key can't be used; the message says what is wanted, never what was given."""


def canonical(document: Json) -> bytes:
    """The document's only text (RFC 8785). Raises ValueError naming what JSON can't hold exactly."""
    import rfc8785

    # The plain encoder first: it knows every kind of text and mapping that records may hold, and refuses NaN.
    return bytes(rfc8785.dumps(_exact(json.loads(json.dumps(document, allow_nan=False)))))


def _exact(value: Json, path: str = "") -> Json:
    """The value as RFC 8785 has it, where every number is a double: an integer that is none is refused by its place."""
    if isinstance(value, dict):
        return {key: _exact(inner, f"{path}.{key}") for key, inner in value.items()}
    if isinstance(value, list):
        return [_exact(inner, f"{path}[{n}]") for n, inner in enumerate(value)]
    if not isinstance(value, int) or abs(value) <= LARGEST:
        return value
    if f"{value:d}" != _digits(float(value)):
        where = path.removeprefix(".")
        raise ValueError(f"{where} is an integer beyond 2^53, which JSON can't hold exactly: put it on record as text")
    return float(value)  # such as 1e20, which was a float when it was written


def _digits(number: float) -> str:
    import rfc8785

    return bytes(rfc8785.dumps(number)).decode()


def whole_floats(value: Json, at: tuple[str | int, ...] = ()) -> list[list[str | int]]:
    """Where floats without a fraction stand, which RFC 8785 writes like integers: ``1.0`` becomes ``1``."""
    if isinstance(value, Mapping):
        return [path for key, inner in value.items() for path in whole_floats(inner, (*at, str(key)))]
    if isinstance(value, list | tuple):
        return [path for n, inner in enumerate(value) for path in whole_floats(inner, (*at, n))]
    return [list(at)] if isinstance(value, float) and value.is_integer() else []


def with_floats(value: Json, paths: Iterable[Sequence[str | int]]) -> Json:
    """``value`` with floats again at the paths that :func:`whole_floats` gave; hashes of its text depend on them."""
    for *above, last in paths:
        holder = value
        for step in above:
            holder = holder[step]
        holder[last] = float(holder[last])
    return value


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
