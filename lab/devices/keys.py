"""SSH keys of one lab: a host key for each device and one key for who comes. They end with the lab."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

CLIENT = "client"


def make(folder: Path, devices: Iterable[str]) -> dict[str, str]:
    """Write the keys into ``folder``; returns the public host keys by device, as ``ssh-ed25519 AAAA...``."""
    folder.mkdir(parents=True, exist_ok=True)
    _pair(folder, CLIENT)
    return {device: _pair(folder, device) for device in devices}


def _pair(folder: Path, name: str) -> str:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    path = folder / name
    path.touch(mode=0o600)
    path.write_bytes(private)
    path.with_suffix(".pub").write_bytes(public + b"\n")
    return public.decode()
