"""Canonical JSON (RFC 8785): one text for one content, whichever program wrote it, and however often it was read back.

What is hashed or signed is written so: a number that went through a record may come back as 1 where it was 1.0.
"""

from __future__ import annotations

import json
from typing import Any

Json = Any
LARGEST = 2**53 - 1  # beyond it numbers of JSON are not exact


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
