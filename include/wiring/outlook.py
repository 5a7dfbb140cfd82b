"""What the planner's month says of a lever, for the approver."""

from __future__ import annotations

import functools
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from include.estate import Estate
from include.rollout.decisions import Outlook

BOOK = "aws"  # the book of a plan's own dollars
RESAMPLES = 100  # draws of traffic days and interruptions for P50 and P90


def outlook_of(estate: Estate) -> Callable[[str], Outlook]:
    """A function of the lever's name; the month is simulated when the first lever that is in it is asked for.

    It raises what the planner raises: the form says then that nothing is known, and why.
    """

    @functools.cache
    def week() -> Any:
        from include.planner.week import plan

        return plan(estate, resamples=RESAMPLES)

    def of(lever: str) -> Outlook:
        from include.planner.errors import rehearsed_error
        from include.planner.order import WEEK

        if lever not in WEEK:
            return Outlook(problem=f"{lever} is no part of the month's simulation")
        found = week().lever(lever)[BOOK]
        return Outlook(_usd(found.p50_usd), _usd(found.p90_usd), BOOK, rehearsed_error(lever))

    return of


def _usd(value: Any) -> Decimal | None:
    return None if value is None else Decimal(str(value))
