"""A storage whose writes are kept apart: what a dry run would have written, without writing it."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import weakref
from collections.abc import Iterator
from pathlib import Path

from include.clients.storage import Folder, StaleError, Storage


class Overlay:
    """``base`` as it would be after the writes made here, which nobody else sees: the same code runs on it.

    They lie in a temporary folder that goes with this object.
    """

    def __init__(self, base: Storage) -> None:
        self._base = base
        root = Path(tempfile.mkdtemp(prefix="akidb-dry-run-"))
        self._own = Folder(root)
        self._deleted: set[str] = set()
        weakref.finalize(self, shutil.rmtree, root, ignore_errors=True)

    def written(self) -> list[str]:
        """The keys that would have been created or replaced, sorted."""
        return self._own.keys()

    def deleted(self) -> list[str]:
        """The keys that would have been removed, sorted."""
        return sorted(self._deleted)

    def summary(self) -> str:
        """What a run that writes would have done, for people."""
        changes = {"write": self.written(), "remove": self.deleted()}
        parts = [f"{verb} {len(keys)} object(s): {', '.join(keys)}" for verb, keys in changes.items() if keys]
        return f"Dry run: nothing was written. It would {' and '.join(parts) or 'write nothing'}"

    def read(self, key: str) -> bytes:
        """See :class:`include.clients.storage.Storage`."""
        return self._holder(key).read(key)

    def read_with_etag(self, key: str) -> tuple[bytes, str]:
        """See :class:`include.clients.storage.Storage`."""
        return self._holder(key).read_with_etag(key)

    def create(self, key: str, data: bytes) -> None:
        """See :class:`include.clients.storage.Storage`."""
        if key in self.keys(key):
            raise FileExistsError(key)
        self.put(key, data)

    def put(self, key: str, data: bytes) -> None:
        """See :class:`include.clients.storage.Storage`."""
        self._own.put(key, data)
        self._deleted.discard(key)

    def put_file(self, key: str, path: Path) -> None:
        """See :class:`include.clients.storage.Storage`."""
        self._own.put_file(key, path)
        self._deleted.discard(key)

    def replace(self, key: str, data: bytes, etag: str) -> None:
        """See :class:`include.clients.storage.Storage`."""
        try:
            _, current = self.read_with_etag(key)
        except FileNotFoundError:
            raise StaleError(f"{key} is gone: read it again") from None
        if current != etag:
            raise StaleError(f"{key} was changed by somebody else: read it again")
        self.put(key, data)

    def delete(self, key: str) -> None:
        """See :class:`include.clients.storage.Storage`."""
        self._own.delete(key)
        if key in self._base.keys(key):
            self._deleted.add(key)

    def keys(self, prefix: str = "") -> list[str]:
        """See :class:`include.clients.storage.Storage`."""
        there = set(self._base.keys(prefix)) - self._deleted
        return sorted(there | set(self._own.keys(prefix)))

    @contextlib.contextmanager
    def local(self, key: str) -> Iterator[Path]:
        """See :class:`include.clients.storage.Storage`."""
        with self._holder(key).local(key) as path:
            yield path

    def _holder(self, key: str) -> Storage:
        """Where the object is read from. Raises FileNotFoundError for one that was deleted here."""
        if key in self._deleted:
            raise FileNotFoundError(key)
        return self._own if key in self._own.keys(key) else self._base
