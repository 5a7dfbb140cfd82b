"""Leases of a place without a cluster: one record beside the ledger's chains, replaced only if it is unchanged."""

from __future__ import annotations

import json
from typing import Any

from include.clients.storage import StaleError, Storage
from include.rollout.lock import Lease, LeaseConflictError


class StoreLeases:
    """The lease of one place in a store; its resourceVersion is the store's etag.

    Two leases never have equal bytes while somebody may still hold the older: each change of the holder counts
    ``leaseTransitions`` up, and each step that begins writes a token of its own. So equal etags mean the same lease.
    """

    def __init__(self, store: Storage, place: str) -> None:
        self._store = store
        self._place = place

    def get(self, name: str) -> Lease | None:
        """The lease, or None when there is none."""
        try:
            data, etag = self._store.read_with_etag(self._key(name))
        except FileNotFoundError:
            return None
        lease: dict[str, Any] = json.loads(data)
        return {**lease, "metadata": {**lease["metadata"], "resourceVersion": etag}}

    def create(self, body: Lease) -> None:
        """Create the lease. Raises LeaseConflictError when it exists."""
        try:
            self._store.create(self._key(body["metadata"]["name"]), _encoded(body))
        except FileExistsError as error:
            raise LeaseConflictError(f"the lease of {self._place} exists by now") from error

    def replace(self, body: Lease) -> None:
        """Replace the lease of this resourceVersion. Raises LeaseConflictError when it was changed since."""
        metadata = body["metadata"]
        try:
            self._store.replace(self._key(metadata["name"]), _encoded(body), metadata["resourceVersion"])
        except StaleError as error:
            raise LeaseConflictError(str(error)) from error

    def _key(self, name: str) -> str:
        return f"locks/{self._place}/{name}.json"


def _encoded(body: Lease) -> bytes:
    metadata = {key: value for key, value in body["metadata"].items() if key != "resourceVersion"}
    return json.dumps({**body, "metadata": metadata}, sort_keys=True, indent=1).encode() + b"\n"
