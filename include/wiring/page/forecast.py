"""The champions and their newest forecasts, for the page: from the registry, and from Prometheus where it answers."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

from include.estate import Estate, load_estate
from include.overview.forecasts import LEAD_SECONDS, ForecastState, champion_state

if TYPE_CHECKING:
    from include.forecast.registry import Registry

MODELS_VARIABLE = "akidb_models"
SHOWN_SECONDS = 3 * 3600


def champions() -> tuple[ForecastState, ...]:
    """The state of every region. Raises what opening the registry's storage raises."""
    from include.forecast.registry import Registry
    from include.wiring.page.reading import open_for_reading

    estate, storage = load_estate(), open_for_reading(MODELS_VARIABLE)
    regions = estate.ordered_regions()
    with ThreadPoolExecutor(max_workers=max(1, len(regions))) as pool:
        return tuple(pool.map(lambda region: _state(Registry(storage, region), region, estate), regions))


def _state(registry: Registry, region: str, estate: Estate) -> ForecastState:
    pointer = registry.pointer()
    if pointer.decision is None:
        state = champion_state(region, None)
        return replace(state, problem=pointer.problem) if pointer.problem else state
    judged = next((d for d in reversed(registry.history()) if "champion_wape" in d.figures), pointer.decision)
    state = champion_state(region, judged.to_json() | {"version": pointer.version})
    try:
        return _with_series(state, region, estate, pointer.version)
    except Exception as error:  # noqa: BLE001 - a region's Prometheus that is away hides nothing else
        return replace(state, problem=f"Prometheus of {region}: {type(error).__name__}: {error}")


def _with_series(state: ForecastState, region: str, estate: Estate, version: str) -> ForecastState:
    from include.forecast.traffic.export import observable_until, observed
    from include.forecast.watch import served
    from include.wiring.connections import prometheus_of

    now = time.time()
    end = observable_until(now)
    start = end - SHOWN_SECONDS
    prometheus = prometheus_of(region, estate)
    came = observed(prometheus, estate, region, start, end, now)
    said = served(prometheus, region, start - LEAD_SECONDS, end, version).own
    return replace(state, came=came, forecast={origin + LEAD_SECONDS: value for origin, value in said.items()})
