"""The one reading of this process: what its Airflow Variables and connections name."""

from __future__ import annotations

from functools import cache

from include.estate import load_estate
from include.overview.planned import Planned
from include.wiring.page.forecast import champions
from include.wiring.page.reading import Reading, open_for_reading


@cache
def the_reading() -> Reading:
    """The one of this process."""
    return Reading(open_for_reading, forecasts=champions, planned=week_planned)


def week_planned() -> Planned:
    """The planner's week for the estate. Raises EstateError and what the planner raises."""
    from include.overview.planned import planned_of
    from include.planner.week import plan

    return planned_of(plan(load_estate()))
