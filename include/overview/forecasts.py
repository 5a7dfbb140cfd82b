"""The forecast's champion of each region, how good it was, and what it said against what came."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from include.pages.chart import Chart, line_chart

Json = Any
LEAD_SECONDS = 15 * 60  # how far ahead the forecasts that are shown look


@dataclass(frozen=True)
class ForecastState:
    """A region's champion. ``accuracy`` is 1 - WAPE of the newest judgement (None is unknown), ``naive`` the best
    naive's; ``forecast`` and ``came`` are QPS by the minute (Unix seconds) that they are about."""

    region: str
    champion: str = ""
    action: str = ""
    as_of: str = ""
    reason: str = ""
    accuracy: float | None = None
    naive: float | None = None
    forecast: Mapping[int, float] = field(default_factory=dict)
    came: Mapping[int, float] = field(default_factory=dict)
    problem: str = ""


def champion_state(region: str, pointer: Mapping[str, Json] | None) -> ForecastState:
    """The state that the champion's pointer (champion.json) tells; None is no champion yet."""
    if pointer is None:
        return ForecastState(region, problem="no champion yet: run forecast_retrain")
    decision = pointer.get("decision") or pointer
    figures = decision.get("figures") or {}
    return ForecastState(
        region=region,
        champion=str(decision.get("version", "")),
        action=str(decision.get("action", "")),
        as_of=str(decision.get("as_of", "")),
        reason=str(decision.get("reason", "")),
        accuracy=_accuracy(figures.get("champion_wape", figures.get("wape"))),
        naive=_accuracy(figures.get("best_naive_wape")),
    )


def _accuracy(wape: Json) -> float | None:
    return 1 - float(wape) if isinstance(wape, int | float) and math.isfinite(wape) else None


def forecast_chart(state: ForecastState) -> Chart | None:
    """What came and what was said of it 15 minutes before; None without either."""
    minutes = sorted({*state.forecast, *state.came})
    if len(minutes) < 2:
        return None
    begin = dt.datetime.fromtimestamp(minutes[0], dt.UTC)
    lines = {
        "came": [state.came.get(minute, math.nan) for minute in minutes],
        "forecast 15 minutes before": [state.forecast.get(minute, math.nan) for minute in minutes],
    }
    x = [(minute - minutes[0]) / 60 for minute in minutes]
    return line_chart(f"{state.region}: QPS", x, lines, f"minutes since {begin:%d %b %H:%M} UTC")
