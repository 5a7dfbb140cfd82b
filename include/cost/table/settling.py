"""Whether a bill may still change: a provider writes a day again until it settles, and invoices it after that."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

from include.cost.table.store import Facts

PROVISIONAL, SETTLED, FINAL = "provisional", "settled", "final"
WEAKEST_FIRST = (PROVISIONAL, SETTLED, FINAL)


def settling_of(facts: Facts, history: Sequence[Facts], settle_hours: int) -> str:
    """provisional, settled or final for one day of a source.

    Settled: the newest export was received ``settle_hours`` after the day's end and says the same as the one before.
    ``history`` is by time of receipt (CostTable.history).
    """
    if facts.invoiced:
        return FINAL
    by_time = {record.received: record for record in (*history, facts)}
    newest = [by_time[at] for at in sorted(by_time)[-2:]]
    day_end = dt.datetime(facts.day.year, facts.day.month, facts.day.day, tzinfo=dt.UTC) + dt.timedelta(days=1)
    old_enough = newest[-1].received - day_end >= dt.timedelta(hours=settle_hours)
    agree = len(newest) == 2 and newest[0].content == newest[1].content != ""
    return SETTLED if old_enough and agree else PROVISIONAL


def weakest(words: Sequence[str]) -> str:
    """The least certain of some settling words; "" when there is none."""
    return min((word for word in words if word), key=WEAKEST_FIRST.index, default="")
