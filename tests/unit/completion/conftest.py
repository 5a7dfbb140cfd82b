"""The ledger that the tests of the completion report fill."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.completion.completion_world import Book


@pytest.fixture
def book(tmp_path: Path) -> Book:
    return Book(tmp_path / "ledger")
