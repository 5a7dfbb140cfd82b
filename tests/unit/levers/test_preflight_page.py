"""docs/reference/preflight.md lists exactly the checks that are made."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from include.levers import lever
from tests.unit.levers import dns_world, monitoring_world, scaling_world, spot_world

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "preflight.md"
# Checks that are made for each of several things, by what the page calls them.
SERIES = ("definition", "metric", "health check")


def target_of(name: str, folder: Path, account: dns_world.World) -> Any:
    """A healthy world, in which every check is made."""
    if name == "dns_health_checks":
        return account.target
    if name == "spot_capacity":
        return spot_world.World().target
    if name == "predictive_scaling":
        return scaling_world.World(folder).target
    return monitoring_world.World().target


def listed(name: str) -> list[str]:
    section = next(part for part in PAGE.read_text().split("\n## ") if part.split("\n", 1)[0].endswith(f", {name}"))
    return re.findall(r"^\| `([^`]+)` \|", section, re.MULTILINE)


def called(check: str) -> str:
    return next((name for name in SERIES if check.startswith(f"{name} ")), check)


@pytest.fixture
def account() -> Iterator[dns_world.World]:
    """Route 53 in memory."""
    made = dns_world.World()
    yield made
    made.close()


@pytest.mark.parametrize("name", ["spot_capacity", "predictive_scaling", "cost_monitoring", "dns_health_checks"])
def test_the_page_lists_every_check_and_no_other(name: str, tmp_path: Path, account: dns_world.World) -> None:
    made = [called(check.name) for check in lever(name).preflight(target_of(name, tmp_path, account))]
    assert listed(name) == list(dict.fromkeys(made))


def test_every_setting_that_the_page_names_exists() -> None:
    known = {
        field for name in ("spot_capacity", "predictive_scaling") for field in lever(name).settings_type.model_fields
    }
    named = set(re.findall(r"`((?:accept|multi|endpoint)_\w+)`", PAGE.read_text()))
    assert named == known & named
    assert {"accept_unmovable_pods", "accept_do_not_disrupt", "multi_arch_images", "endpoint_needs_no_login"} <= named
