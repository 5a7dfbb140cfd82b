"""The levers by name, loaded only when one is asked for, so that parsing a DAG imports no other lever."""

from __future__ import annotations

from importlib import import_module
from typing import cast

from include.rollout.lever import Lever, Refused

# name -> "module:factory"; the factory takes no argument and returns a Lever. Tests may add their own.
LEVERS: dict[str, str] = {
    "spot_capacity": "include.levers.spot_capacity:SpotCapacity",
    "predictive_scaling": "include.levers.predictive_scaling:PredictiveScaling",
    "cost_monitoring": "include.levers.cost_monitoring:CostMonitoring",
    "cost_cap": "include.levers.cost_cap:CostCap",
}


def lever(name: str) -> Lever:
    """The lever called ``name``. Raises Refused naming the levers that exist."""
    try:
        module, factory = LEVERS[name].split(":")
    except KeyError:
        raise Refused(f"lever {name!r} does not exist; the levers are {', '.join(LEVERS)}") from None
    return cast("Lever", getattr(import_module(module), factory)())
