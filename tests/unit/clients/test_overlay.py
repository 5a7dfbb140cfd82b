"""The overlay of a dry run: what is below it is read, never changed, and what would have been written is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from include.clients.overlay import Overlay
from include.clients.storage import Folder, StaleError


@pytest.fixture
def below(tmp_path: Path) -> Folder:
    folder = Folder(tmp_path / "store")
    folder.create("kept", b"old")
    folder.create("gone", b"old")
    return folder


def everything(folder: Folder) -> dict[str, bytes]:
    return {key: folder.read(key) for key in folder.keys("")}


def test_what_is_below_is_read_and_stays_as_it_is(below: Folder, tmp_path: Path) -> None:
    before = everything(below)
    overlay = Overlay(below)
    _, etag = overlay.read_with_etag("kept")
    overlay.replace("kept", b"new", etag)
    overlay.create("made", b"1")
    (tmp_path / "file").write_bytes(b"2")
    overlay.put_file("a/file", tmp_path / "file")
    overlay.delete("gone")
    assert {key: overlay.read(key) for key in overlay.keys("")} == {"a/file": b"2", "kept": b"new", "made": b"1"}
    assert everything(below) == before


def test_it_tells_what_a_run_that_writes_would_have_done(below: Folder) -> None:
    overlay = Overlay(below)
    assert overlay.summary() == "Dry run: nothing was written. It would write nothing"
    overlay.put("kept", b"new")
    overlay.put("made", b"1")
    overlay.delete("gone")
    assert (overlay.written(), overlay.deleted()) == (["kept", "made"], ["gone"])
    assert overlay.summary() == (
        "Dry run: nothing was written. It would write 2 object(s): kept, made and remove 1 object(s): gone"
    )


def test_what_was_made_here_and_removed_again_is_no_change(below: Folder) -> None:
    overlay = Overlay(below)
    overlay.put("made", b"1")
    overlay.delete("made")
    overlay.delete("never there")
    assert (overlay.written(), overlay.deleted()) == ([], [])


def test_what_was_removed_here_is_not_found_and_can_be_made_again(below: Folder) -> None:
    overlay = Overlay(below)
    overlay.delete("gone")
    with pytest.raises(FileNotFoundError):
        overlay.read("gone")
    with pytest.raises(FileNotFoundError), overlay.local("gone"):
        pass
    overlay.create("gone", b"again")
    assert (overlay.read("gone"), overlay.deleted()) == (b"again", [])


def test_a_change_below_makes_what_was_read_stale(below: Folder) -> None:
    overlay = Overlay(below)
    _, etag = overlay.read_with_etag("kept")
    below.put("kept", b"by somebody else")
    with pytest.raises(StaleError, match="kept was changed by somebody else"):
        overlay.replace("kept", b"new", etag)
