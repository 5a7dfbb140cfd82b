"""The edge in memory, for every test that asks for ``world`` and has none of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.unit.lab.cloud.edge_world import EdgeWorld


@pytest.fixture
def world() -> Iterator[EdgeWorld]:
    """A fresh account with the estate's functions and distribution."""
    made = EdgeWorld()
    yield made
    made.close()
