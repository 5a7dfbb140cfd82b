"""Requests asked and served over days, counted in steps so that pods that came and went in between are in it."""

from __future__ import annotations

from dataclasses import dataclass

from include.clients.prometheus import Prometheus
from include.estate import Estate
from include.levers.service import SERVER_ERRORS

LEAST_STEP, MOST_STEP, STEPS = 30.0, 300.0, 200  # seconds; how many steps a short span is cut into
LEAST_COVERAGE = 0.95  # of the steps must have been scraped: what nobody counted is not known to be served


@dataclass(frozen=True)
class Counted:
    """Requests of a region: ``asked`` were made, ``served`` did not fail on the server's side; ``coverage`` is 0..1."""

    asked: float
    served: float
    coverage: float


def counted(prometheus: Prometheus, estate: Estate, region: str, since: float, until: float) -> Counted | None:
    """REST and gRPC together between two times (Unix seconds). None where a counter is not known well enough."""
    step = min(MOST_STEP, max(LEAST_STEP, (until - since) / STEPS))
    asked = failed = 0.0
    least, mine = 1.0, estate.matchers(region)
    for metric, label in estate.metrics.requests():
        every = _steps(prometheus, f'{metric}{{{mine},{label}!=""}}', since, until, step)
        least = min(least, len(every) / max(1, int((until - since) // step)))
        asked += sum(every)
        failed += sum(_steps(prometheus, f'{metric}{{{mine},{label}=~"{SERVER_ERRORS}"}}', since, until, step))
    if least < LEAST_COVERAGE or not asked:
        return None
    return Counted(asked, asked - failed, min(1.0, least))


def _steps(prometheus: Prometheus, selector: str, since: float, until: float, step: float) -> list[float]:
    """How much a counter grew in each step. A series that was not there a step before counts in full, as in `grown`."""
    window = f"{round(step)}s"
    old = f"sum(increase({selector}[{window}]) and ({selector} offset {window}))"
    new = f"sum({selector} unless ({selector} offset {window}))"
    expression = f"({old} or ({new} * 0)) + ({new} or ({old} * 0))"
    found = prometheus.query_range(expression, since + step, until, step)
    return [value for series in found for _, value in series.points]
