"""Keys of one lab: a pair for each device and one for who comes."""

from __future__ import annotations

from pathlib import Path

from lab.devices import keys


def test_every_device_has_a_key_of_its_own_that_only_its_owner_reads(tmp_path: Path) -> None:
    found = keys.make(tmp_path / "keys", ["jetson01", "jetson02"])
    assert list(found) == ["jetson01", "jetson02"]
    assert all(key.startswith("ssh-ed25519 AAAA") for key in found.values())
    assert found["jetson01"] != found["jetson02"]
    private = [path for path in (tmp_path / "keys").iterdir() if path.suffix != ".pub"]
    assert {path.name for path in private} == {"client", "jetson01", "jetson02"}
    assert {path.stat().st_mode & 0o777 for path in private} == {0o600}
    assert (tmp_path / "keys/jetson01.pub").read_text() == found["jetson01"] + "\n"
