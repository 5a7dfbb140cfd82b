"""A registry, its champion and a region that is served, for the tests of the forecast server."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from include.clients.storage import Folder
from include.forecast.candidates.trees import Trees, TreeSettings
from include.forecast.registry import Registry
from include.forecast.server.champions import Champions
from include.forecast.traffic.features import floor_of, windows_of
from tests.unit.forecast.serving_world import REGION, World, candidate, crown, followed, keep, now_scaled, series


@pytest.fixture(scope="module")
def trees() -> Trees:
    data = series(gap=True)
    windows = windows_of(data, floor_of(data.values), "US")
    some = windows.take(np.arange(0, len(windows), 20))
    made = Trees(TreeSettings(rounds=12, min_leaf=10))
    made.fit(some, some)
    return made


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(Folder(tmp_path / "models"), REGION)


@pytest.fixture
def champions(registry: Registry, tmp_path: Path) -> Champions:
    crown(registry, keep(registry, candidate(now_scaled()), tmp_path / "first"))
    return followed(registry)


@pytest.fixture
def world(champions: Champions) -> World:
    return World(champions)
