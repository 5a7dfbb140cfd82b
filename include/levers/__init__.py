"""The levers by name, loaded only when one is asked for, so that parsing a DAG imports no other lever."""

from __future__ import annotations

import logging
from importlib import import_module
from typing import cast

from include.rollout.lever import Lever, Refused, acts_in
from include.rollout.place import PlaceKind

log = logging.getLogger(__name__)

# name -> "module:factory"; the factory takes no argument and returns a Lever. Tests may add their own.
LEVERS: dict[str, str] = {
    "spot_capacity": "include.levers.spot_capacity:SpotCapacity",
    "predictive_scaling": "include.levers.predictive_scaling:PredictiveScaling",
    "right_sizing": "include.levers.right_sizing:RightSizing",
    "consolidation": "include.levers.consolidation:Consolidation",
    "request_routing": "include.levers.request_routing:RequestRouting",
    "dns_health_checks": "include.levers.dns_health_checks:DnsHealthChecks",
    "cdn_price_class": "include.levers.cdn_price_class:CdnPriceClass",
    "lambda_edge": "include.levers.lambda_edge:LambdaEdge",
    "storage_tiering": "include.levers.storage_tiering:StorageTiering",
    "edge_power": "include.levers.edge_power:EdgePower",
    "edge_monitoring": "include.levers.edge_monitoring:EdgeMonitoring",
    "cost_monitoring": "include.levers.cost_monitoring:CostMonitoring",
    "cost_cap": "include.levers.cost_cap:CostCap",
    "nonprod_hours": "include.levers.nonprod_hours:NonprodHours",
    "game_day": "include.levers.game_day:GameDay",  # the last: a drill is set back before anything that stands under it
}
# old name -> name of today: the ledger keeps the records of a renamed lever under the name that wrote them.
RENAMED: dict[str, str] = {}


def lever(name: str) -> Lever:
    """The lever called ``name``, today or formerly. Raises Refused naming the levers that exist."""
    try:
        module, factory = LEVERS[current_name(name)].split(":")
    except KeyError:
        raise Refused(f"lever {name!r} does not exist; the levers are {', '.join(LEVERS)}") from None
    found = cast("Lever", getattr(import_module(module), factory)())
    if name in RENAMED:
        found.name = name  # what it puts on record belongs to the chains of its old name
    return found


def is_current(name: str) -> bool:
    """Whether a lever has that name today."""
    return name in LEVERS


def current_name(name: str) -> str:
    """The name of today of a lever that may have been renamed."""
    return RENAMED.get(name, name)


def names_on_record(name: str) -> list[str]:
    """The names under which the ledger may have a lever: that of today, then former ones."""
    return [name, *(old for old, new in RENAMED.items() if new == name)]


def undo_order() -> list[str]:
    """The levers in the order in which one run undoes them: each after those that it declares, else the last first."""
    ordered: list[str] = []

    def add(name: str, waiting: tuple[str, ...]) -> None:
        if name in waiting:
            raise Refused(f"undo_after goes in a circle: {' -> '.join([*waiting, name])}; take one of them out")
        for other in _undo_after(name):
            if other in LEVERS and other not in ordered:
                add(other, (*waiting, name))
        if name not in ordered:
            ordered.append(name)

    for name in reversed(LEVERS):
        add(name, ())
    return ordered


def kinds() -> frozenset[PlaceKind]:
    """The kinds of places in which a lever may act."""
    return frozenset(acts_in(found) for name in LEVERS if (found := _loaded(name)) is not None)


def _undo_after(name: str) -> tuple[str, ...]:
    found = _loaded(name)
    return () if found is None else found.undo_after


def _loaded(name: str) -> Lever | None:
    """The lever, or None: one that can't be loaded must not keep the others from being undone."""
    try:
        return lever(name)
    except Exception as error:  # noqa: BLE001 - see above
        log.warning("lever %s can't be loaded: %s: %s", name, type(error).__name__, error)
        return None
