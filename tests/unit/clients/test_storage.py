"""Objects in a folder, in S3 and in the overlay of a dry run behave alike: whole, once, replaced only if unchanged."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws

from include.clients.overlay import Overlay
from include.clients.storage import S3, Folder, StaleError, Storage, StorageError, open_storage


@pytest.fixture(params=["folder", "s3", "overlay"])
def storage(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Storage]:
    if request.param == "folder":
        yield Folder(tmp_path / "store")
        return
    if request.param == "overlay":
        yield Overlay(Folder(tmp_path / "store"))
        return
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    with mock_aws():
        client = boto3.client("s3", region_name="us-east-1")
        client.create_bucket(Bucket="costs")
        yield S3(client, "costs", "a/prefix")


def test_what_was_put_is_read(storage: Storage) -> None:
    storage.put("a/b", b"1")
    storage.put("a/b", b"2")
    assert storage.read("a/b") == b"2"


def test_a_file_is_put_and_had_as_a_local_file(storage: Storage, tmp_path: Path) -> None:
    (tmp_path / "x.bin").write_bytes(b"data" * 1_000_000)
    storage.put_file("a/x.bin", tmp_path / "x.bin")
    with storage.local("a/x.bin") as path:
        assert path.name == "x.bin"
        assert path.read_bytes() == b"data" * 1_000_000


def test_what_isnt_there_is_not_found(storage: Storage) -> None:
    with pytest.raises(FileNotFoundError):
        storage.read("none")
    with pytest.raises(FileNotFoundError):
        storage.read_with_etag("none")
    with pytest.raises(FileNotFoundError), storage.local("none"):
        pass
    storage.delete("none")


def test_an_object_is_created_once(storage: Storage) -> None:
    storage.create("a", b"first")
    with pytest.raises(FileExistsError):
        storage.create("a", b"second")
    assert storage.read("a") == b"first"


def test_it_is_replaced_only_while_it_is_the_one_that_was_read(storage: Storage) -> None:
    storage.create("a", b"1")
    _, etag = storage.read_with_etag("a")
    storage.replace("a", b"2", etag)
    with pytest.raises(StaleError, match="a was changed by somebody else"):
        storage.replace("a", b"3", etag)
    assert storage.read("a") == b"2"
    storage.delete("a")
    with pytest.raises(StaleError, match="gone"):
        storage.replace("a", b"3", etag)


def test_keys_by_prefix_sorted_without_traces_of_work(storage: Storage) -> None:
    for key in ("b/2", "b/1", "bc", "a"):
        storage.create(key, b"x")
    _, etag = storage.read_with_etag("a")
    storage.replace("a", b"y", etag)
    assert storage.keys() == ["a", "b/1", "b/2", "bc"]
    assert storage.keys("b/") == ["b/1", "b/2"]
    assert storage.keys("b") == ["b/1", "b/2", "bc"]
    assert storage.keys("none/") == []
    assert storage.keys("a/") == []  # an object, and no folder
    storage.delete("b/1")
    assert storage.keys("b/") == ["b/2"]


def test_a_folder_that_cant_be_listed_is_not_an_empty_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Folder(tmp_path)
    store.create("chain/1", b"x")
    scan = os.scandir

    def away(folder: Any) -> Any:
        if str(folder).endswith("chain"):
            raise OSError(errno.EIO, "the server of the folder is away")
        return scan(folder)

    monkeypatch.setattr(os, "scandir", away)
    for prefix in ("", "chain/"):
        with pytest.raises(OSError, match="is away"):
            store.keys(prefix)


def test_of_many_writers_at_once_one_creates(tmp_path: Path) -> None:
    storage, won = Folder(tmp_path), []
    barrier = threading.Barrier(8)

    def write(number: int) -> None:
        barrier.wait()
        try:
            storage.create("a", str(number).encode())
            won.append(number)
        except FileExistsError:
            pass

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert storage.read("a") == str(won[0]).encode()
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("location", ["/data/costs", "file:///data/costs"])
def test_a_path_is_a_folder(location: str) -> None:
    storage = open_storage(location, pytest.fail)
    assert isinstance(storage, Folder)
    assert storage.root == Path("/data/costs")


@pytest.mark.parametrize(("location", "connection"), [("s3://bucket/a", None), ("s3://aws_x@bucket/a", "aws_x")])
def test_s3_with_and_without_a_connection(location: str, connection: str | None) -> None:
    asked: list[Any] = []
    assert isinstance(open_storage(location, asked.append), S3)
    assert asked == [connection]


@pytest.mark.parametrize("location", ["", "relative/path", "gs://bucket/a", "s3:///a", "file://host"])
def test_other_places_are_refused(location: str) -> None:
    with pytest.raises(StorageError, match="give an absolute path"):
        open_storage(location, pytest.fail)
