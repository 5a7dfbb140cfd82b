"""docs/reference/preflight.md lists exactly the checks that are made."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from include.levers import lever
from tests.unit.levers import (
    cdn_world,
    dns_world,
    edge_watch_world,
    lambda_world,
    monitoring_world,
    packing_world,
    power_world,
    routing_world,
    scaling_world,
    sizing_world,
    spot_world,
    storage_world,
)

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "preflight.md"
# Checks that are made for each of several things, by what the page calls them.
SERIES = {"definition": "definition", "NodePool ": "pool", "metric ": "metric", "health check ": "health check <id>",
          "champion of ": "champion of <region>", "backend ": "backend <Service>",
          "device ": "device <name>", "unit of ": "unit of <device>", "modes of ": "modes of <device>"}  # fmt: skip

WITH_AWS: dict[str, Any] = {
    "dns_health_checks": dns_world.World,
    "storage_tiering": storage_world.World,
    "lambda_edge": lambda: lambda_world.World(real_time=True),
    "cdn_price_class": lambda: cdn_world.World(real_time=True),
    "request_routing": routing_world.World,
}


def target_of(name: str, folder: Path, request: pytest.FixtureRequest) -> Any:
    """A healthy world, in which every check is made."""
    if name == "spot_capacity":
        return spot_world.World().target
    if name == "predictive_scaling":
        return scaling_world.World(folder).target
    if name == "right_sizing":
        return sizing_world.World().target
    if name == "consolidation":
        return packing_world.World().target
    if name == "edge_power":
        return power_world.World(folder).target
    if name == "edge_monitoring":
        return edge_watch_world.World().target
    if name in WITH_AWS:
        world = WITH_AWS[name]()
        request.addfinalizer(world.close)
        return world.target
    return monitoring_world.World().target


def listed(name: str) -> list[str]:
    section = next(part for part in PAGE.read_text().split("\n## ") if part.split("\n", 1)[0].endswith(f", {name}"))
    return re.findall(r"^\| `([^`]+)` \|", section, re.MULTILINE)


def called(check: str) -> str:
    return next((name for first, name in SERIES.items() if check.startswith(first)), check)


@pytest.mark.parametrize(
    "name",
    [
        "spot_capacity",
        "predictive_scaling",
        "right_sizing",
        "consolidation",
        "cost_monitoring",
        "edge_power",
        "edge_monitoring",
        *WITH_AWS,
    ],
)
def test_the_page_lists_every_check_and_no_other(name: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    made = [called(check.name) for check in lever(name).preflight(target_of(name, tmp_path, request))]
    assert listed(name) == list(dict.fromkeys(made))


def test_every_setting_that_the_page_names_exists() -> None:
    known = {
        field for name in ("spot_capacity", "predictive_scaling") for field in lever(name).settings_type.model_fields
    }
    named = set(re.findall(r"`((?:accept|multi|endpoint)_\w+)`", PAGE.read_text()))
    assert named == known & named
    assert {"accept_unmovable_pods", "accept_do_not_disrupt", "multi_arch_images", "endpoint_needs_no_login"} <= named
