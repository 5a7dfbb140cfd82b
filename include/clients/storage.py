"""Objects in a folder or an S3 bucket: whole or not at all, created only if absent, replaced only if unchanged.

``location`` is an absolute path, ``file:///path`` or ``s3://[connection@]bucket/prefix``. Keys are relative paths with
``/``. Both kinds behave alike: a reader sees the old object or the new one, never a half of either.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import io
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit


class StorageError(RuntimeError):
    """A location can't be used; the message names it and the remedy."""


class Storage(Protocol):
    """Where objects lie. An etag names the content of an object: equal bytes may have equal etags, others never."""

    def read(self, key: str) -> bytes:
        """The object's bytes. Raises FileNotFoundError."""

    def read_with_etag(self, key: str) -> tuple[bytes, str]:
        """The object's bytes and the etag for ``replace``. Raises FileNotFoundError."""

    def create(self, key: str, data: bytes) -> None:
        """Write a new object. Raises FileExistsError when the key is taken."""

    def put(self, key: str, data: bytes) -> None:
        """Write the object, in place of the one that may be there."""

    def put_file(self, key: str, path: Path) -> None:
        """Like ``put`` with the bytes of a local file, which is not read into memory."""

    def replace(self, key: str, data: bytes, etag: str) -> None:
        """Write the object if it still is the one of ``etag``. Raises StaleError when it was changed or is gone."""

    def delete(self, key: str) -> None:
        """Remove the object; nothing happens when it is gone."""

    def keys(self, prefix: str = "") -> list[str]:
        """Every key that begins with ``prefix``, sorted."""

    @contextlib.contextmanager
    def local(self, key: str) -> Iterator[Path]:
        """The object as a local file for the length of the block. Raises FileNotFoundError."""


class StaleError(RuntimeError):
    """The object was changed by somebody else since it was read: read it again and decide anew."""


class Folder:
    """Objects in a local or mounted folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._top = str(root)

    def read(self, key: str) -> bytes:
        """See :class:`Storage`."""
        # As a path it would take as long again: a ledger is thousands of small files.
        with io.FileIO(f"{self._top}/{key}") as file:
            return file.readall()

    def read_with_etag(self, key: str) -> tuple[bytes, str]:
        """See :class:`Storage`."""
        data = self.read(key)
        return data, hashlib.sha256(data).hexdigest()

    def create(self, key: str, data: bytes) -> None:
        """See :class:`Storage`."""
        temporary = self._written(key, data)
        try:
            # open("x") could leave half an object when the process is killed; a link appears whole, and only once.
            (self.root / key).hardlink_to(temporary)
        finally:
            temporary.unlink()

    def put(self, key: str, data: bytes) -> None:
        """See :class:`Storage`."""
        self._written(key, data).replace(self.root / key)

    def put_file(self, key: str, path: Path) -> None:
        """See :class:`Storage`."""
        temporary = self._temporary(key)
        with path.open("rb") as source, temporary.open("wb") as target:
            while block := source.read(1 << 20):
                target.write(block)
            target.flush()
            os.fsync(target.fileno())
        temporary.replace(self.root / key)

    def replace(self, key: str, data: bytes, etag: str) -> None:
        """See :class:`Storage`."""
        with self._locked(key):
            try:
                _, current = self.read_with_etag(key)
            except FileNotFoundError:
                raise StaleError(f"{key} is gone: read it again") from None
            if current != etag:
                raise StaleError(f"{key} was changed by somebody else: read it again")
            self.put(key, data)

    def delete(self, key: str) -> None:
        """See :class:`Storage`."""
        (self.root / key).unlink(missing_ok=True)

    def keys(self, prefix: str = "") -> list[str]:
        """See :class:`Storage`."""
        # os.walk knows from the folder itself what is a file; Path.rglob would ask the system for each.
        found = (
            f"{folder[len(self._top) + 1 :]}/{name}".removeprefix("/")
            for folder, _, names in os.walk(self.root / prefix.rpartition("/")[0], onerror=_raise_unless_gone)
            for name in names
            if not name.startswith(".new-")
        )
        return sorted(name for name in found if name.startswith(prefix) and not name.startswith(".locks/"))

    @contextlib.contextmanager
    def local(self, key: str) -> Iterator[Path]:
        """See :class:`Storage`."""
        path = self.root / key
        if not path.is_file():
            raise FileNotFoundError(key)
        yield path

    def _temporary(self, key: str) -> Path:
        path = self.root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".new-")
        os.close(handle)
        return Path(name)

    def _written(self, key: str, data: bytes) -> Path:
        temporary = self._temporary(key)
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            if data:  # nothing of an empty object can be lost
                os.fsync(file.fileno())
        return temporary

    @contextlib.contextmanager
    def _locked(self, key: str) -> Iterator[None]:
        # The kernel gives the lock back when its holder dies: a lock file that must be deleted would outlive a kill.
        folder = self.root / ".locks"
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / hashlib.sha256(key.encode()).hexdigest()[:32]).open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def _raise_unless_gone(error: OSError) -> None:
    """What can't be listed is not empty: os.walk would pass over it, and over the changes that stand there."""
    if not isinstance(error, FileNotFoundError | NotADirectoryError):
        raise error


class S3:
    """Objects in an S3 bucket through a boto3 client. Needs PutObject, GetObject, DeleteObject and ListBucket."""

    def __init__(self, client: Any, bucket: str, prefix: str = "") -> None:
        self._client = client
        self._bucket = bucket
        self._prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""

    def read(self, key: str) -> bytes:
        """See :class:`Storage`."""
        return self.read_with_etag(key)[0]

    def read_with_etag(self, key: str) -> tuple[bytes, str]:
        """See :class:`Storage`."""
        try:
            answer = self._client.get_object(Bucket=self._bucket, Key=self._prefix + key)
        except self._client.exceptions.NoSuchKey as error:
            raise FileNotFoundError(key) from error
        return answer["Body"].read(), answer["ETag"]

    def create(self, key: str, data: bytes) -> None:
        """See :class:`Storage`."""
        if not self._put_if(key, data, IfNoneMatch="*"):
            raise FileExistsError(key)

    def put(self, key: str, data: bytes) -> None:
        """See :class:`Storage`."""
        self._client.put_object(Bucket=self._bucket, Key=self._prefix + key, Body=data)

    def put_file(self, key: str, path: Path) -> None:
        """See :class:`Storage`."""
        self._client.upload_file(str(path), self._bucket, self._prefix + key)

    def replace(self, key: str, data: bytes, etag: str) -> None:
        """See :class:`Storage`."""
        if not self._put_if(key, data, IfMatch=etag):
            raise StaleError(f"{key} was changed by somebody else or is gone: read it again")

    def delete(self, key: str) -> None:
        """See :class:`Storage`."""
        self._client.delete_object(Bucket=self._bucket, Key=self._prefix + key)

    def keys(self, prefix: str = "") -> list[str]:
        """See :class:`Storage`."""
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=self._bucket, Prefix=self._prefix + prefix
        )
        return sorted(item["Key"].removeprefix(self._prefix) for page in pages for item in page.get("Contents", []))

    @contextlib.contextmanager
    def local(self, key: str) -> Iterator[Path]:
        """See :class:`Storage`."""
        with tempfile.TemporaryDirectory(prefix="akidb-") as folder:
            path = Path(folder) / Path(key).name
            try:
                self._client.download_file(self._bucket, self._prefix + key, str(path))
            except self._client.exceptions.ClientError as error:
                if error.response["Error"]["Code"] in {"404", "NoSuchKey"}:
                    raise FileNotFoundError(key) from error
                raise
            yield path

    def _put_if(self, key: str, data: bytes, **condition: str) -> bool:
        refused = {"PreconditionFailed", "ConditionalRequestConflict", "NoSuchKey", "412", "409", "404"}
        try:
            self._client.put_object(Bucket=self._bucket, Key=self._prefix + key, Body=data, **condition)
        except self._client.exceptions.ClientError as error:
            if error.response["Error"]["Code"] in refused:
                return False
            raise
        return True


def open_storage(location: str, s3_client: Callable[[str | None], Any]) -> Storage:
    """The storage at ``location``; ``s3_client(connection id or None)`` makes the boto3 client.

    Raises StorageError for anything but a path or S3: other stores have no conditional write.
    """
    parts = urlsplit(location)
    if parts.scheme == "s3" and parts.netloc:
        connection, _, bucket = parts.netloc.rpartition("@")
        return S3(s3_client(connection or None), bucket, parts.path)
    if parts.scheme in {"", "file"} and parts.path.startswith("/"):
        return Folder(Path(parts.path))
    raise StorageError(
        f"location {location!r} can't be used: give an absolute path, file:///path or s3://connection@bucket/prefix "
        "(other stores have no conditional write)"
    )
