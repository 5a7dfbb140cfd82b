"""What no record may hold: texts that look like credentials."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

Json = Any


class SecretRefusedError(ValueError):
    """A record holds what looks like a credential; the message names the field, never its value."""


_NAMES_A_SECRET = re.compile(r"(token|password|passwd|secret|authorization|credentials?|apikey|accesskey)$")
# What no honest text holds: AWS key ids, private keys, JSON web tokens, tokens of code hosts and chats, URLs with a
# password.
_IS_A_SECRET = re.compile(
    r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b|-----BEGIN [A-Z ]*PRIVATE KEY|\beyJ[\w-]{8,}\.[\w-]{8,}"
    r"|\b(?:gh[a-z]_|github_pat_|glpat-|xox[a-z]-)[\w-]{16,}|\b[a-z][a-z0-9+.-]*://[^\s/:@]+:(?!\*)[^\s/@]+@"
)
# What an honest text may hold too ("basic configuration-change"): the value decides.
_PRESENTS_A_SECRET = re.compile(
    r"\b(?:bearer|basic)\s+([\w+/=.~-]{16,})|(?:password|passwd|secret|token|key)\s*=\s*[\"']?([^\s\"']{8,})",
    re.IGNORECASE,
)
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


def refuse_secrets(value: Json, path: str = "") -> None:
    """Raise SecretRefusedError naming the first field that looks like a credential.

    A name counts when it ends in such a word and holds text: ``httpTokens`` and ``secretName`` are settings.
    """
    if isinstance(value, Mapping):
        for key, inner in value.items():
            field = f"{path}.{key}" if path else str(key)
            plain = re.sub(r"[^a-z]", "", str(key).lower())
            if isinstance(inner, str) and inner and _NAMES_A_SECRET.search(plain):
                raise SecretRefusedError(f"{field} looks like a credential: leave it out of the record")
            refuse_secrets(inner, field)
    elif isinstance(value, list | tuple):
        for position, inner in enumerate(value):
            refuse_secrets(inner, f"{path}[{position}]")
    elif isinstance(value, str) and _holds_a_secret(value):
        raise SecretRefusedError(f"{path} holds what looks like a credential: leave it out of the record")


def without_secrets(text: str) -> str:
    """``text``, or what stands in for an error's text that no record may hold: its step must end all the same."""
    return "its message holds what looks like a credential; read the task's log" if _holds_a_secret(text) else text


def _holds_a_secret(text: str) -> bool:
    if _IS_A_SECRET.search(text):
        return True
    found = _PRESENTS_A_SECRET.finditer(text)
    return any(_looks_random(header, 10) if header else _looks_random(assigned, 6) for header, assigned in
               (match.groups() for match in found))  # fmt: skip


def _looks_random(value: str, length: int) -> bool:
    """Whether a part of ``value`` between its separators mixes letters and digits over ``length`` signs or more.

    Words, versions and dates do not; nearly every key, token and base64 text does.
    """
    parts = re.findall(rf"[A-Za-z0-9]{{{length},}}", value)
    mixed = any(re.search("[A-Za-z]", part) and re.search("[0-9]", part) for part in parts)
    return mixed or _UUID.search(value) is not None
