"""What is replayed: the morning's step of the estate's own day, or the strongest burst of a trace. Pure functions.

Which burst it is is decided by a rule that looks at the demand alone, before anything is run.
"""

from __future__ import annotations

import csv
import io
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from include.estate import Estate
from lab.service.traffic import Demand, Pattern, Trace, demand_of, load_trace

MINUTE, HOUR, DAY = 60, 3600, 86_400
# A weekday in the middle of the estate's year: plant time is not the clock's, and so every run replays the same day.
MORNING = datetime(2026, 11, 24, 9, tzinfo=UTC).timestamp()
STEP_MINUTES = 10  # the step at the full hour takes 20 minutes around it (lab/service/traffic.py)
SETUP_MINUTES = 50  # of plant time before the surge: the scaling is set up, and the forecast may act 15 minutes ahead
SURGE_MINUTES = 30  # over which latency and errors are judged
AFTER_MINUTES = 10  # replayed after them, for the capacity that is paid
RISE_MINUTES, MEAN_MINUTES = 15, 5
WINDOW_DAYS = 30  # of traffic that a night trains on, as forecast_retrain does
NIGHTS = 4  # before the surge, oldest first
HISTORY_DAYS = WINDOW_DAYS + NIGHTS - 1
TRAINING_DAYS = 8  # at least before a burst: as far as the predictor looks back
STILL_MINUTES = 5  # a value that does not change for so long was not observed
SYNTHETIC_DAYS = 35
SYNTHETIC = "synthetic trace of the drill"


class SurgeError(RuntimeError):
    """The drill can't go on; the message says what happened and what to do."""


@dataclass(frozen=True)
class Surge:
    """One surge. Moments in plant time (Unix seconds): the replay begins at ``begins`` and ends at ``until``; the surge
    is from ``rises`` to ``ends``. ``trace`` is the file of its demand, None for the estate's pattern.
    """

    name: str
    title: str
    begins: float
    rises: float
    ends: float
    until: float
    history_days: int
    trace: Path | None = None

    @property
    def minutes(self) -> int:
        """Plant minutes of the replay."""
        return round((self.until - self.begins) / MINUTE)

    def to_json(self) -> dict[str, Any]:
        """For the report; the trace by its name."""
        moments = {name: utc(getattr(self, name)) for name in ("begins", "rises", "ends", "until")}
        return {**asdict(self), **moments, "trace": self.trace.name if self.trace else None}


def utc(moment: float) -> str:
    """``2026-11-24T09:00Z``."""
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%MZ")


def _around(name: str, title: str, rises: float, days: int, trace: Path | None = None) -> Surge:
    ends = rises + SURGE_MINUTES * MINUTE
    begins, until = rises - SETUP_MINUTES * MINUTE, ends + AFTER_MINUTES * MINUTE
    return Surge(name, title, begins, rises, ends, until, days, trace)


def morning() -> Surge:
    """The 09:00 step of the estate's weekday."""
    title = "the 09:00 step of the estate's weekday"
    return _around("morning", title, MORNING - STEP_MINUTES * MINUTE, HISTORY_DAYS)


def burst(estate: Estate, path: Path) -> Surge:
    """The strongest burst of a trace's second half, after its first eight days. Raises SurgeError, TraceError."""
    trace = load_trace(path, peak_qps=max(estate.traffic.weekday_qps) * estate.demand_scale())
    days = int(len(trace.values) * trace.step // DAY)
    first, last = trace.start + max(TRAINING_DAYS, days / 2) * DAY, trace.start + days * DAY - HOUR
    still = max(STILL_MINUTES, round(3 * trace.step / MINUTE))
    found = strongest_burst(lambda at: trace.qps("", at), first, last, still)
    if found is None:
        raise SurgeError(
            f"{path.name} has no rise in its second half and after {TRAINING_DAYS} days: give a longer trace"
        )
    before = min(HISTORY_DAYS, int((found - trace.start) // DAY))
    name = path.name.removesuffix(".gz").removesuffix(".csv")
    return _around("burst", f"the strongest burst of {name} ({utc(found)})", found, before, path)


def strongest_burst(
    qps: Callable[[float], float], first: float, last: float, still: int = STILL_MINUTES
) -> float | None:
    """The minute in ``first`` .. ``last`` (Unix seconds) after which demand rises most within a quarter of an hour.

    The mean of the last five of the next 15 minutes is compared with that of the five minutes before, so that a single
    high minute is no burst. Where the value stood ``still`` for so many minutes within the quarters of an hour before
    and after, the minute is passed over: traffic that comes back after an outage is no burst. None without any rise.
    """
    start = math.ceil(first / MINUTE) - RISE_MINUTES
    values = [qps(minute * MINUTE) for minute in range(start, math.floor(last / MINUTE) + RISE_MINUTES)]
    best, found = 0.0, None
    for n in range(RISE_MINUTES, len(values) - RISE_MINUTES + 1):
        if stands_still(values[n - RISE_MINUTES : n + RISE_MINUTES], still):
            continue
        rise = _mean(values[n + RISE_MINUTES - MEAN_MINUTES : n + RISE_MINUTES]) - _mean(values[n - MEAN_MINUTES : n])
        if rise > best:
            best, found = rise, (start + n) * float(MINUTE)
    return found


def stands_still(values: Sequence[float], minutes: int) -> bool:
    """Whether so many values in a row are the same."""
    return any(len(set(values[n : n + minutes])) == 1 for n in range(len(values) - minutes + 1))


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def synthetic_trace(seed: int = 5) -> str:
    """Five weeks of made-up traffic as CSV: a smooth day, and each afternoon a burst to three times of it.

    The burst begins between 13:30 and 14:30, on another minute every day, and takes four minutes to rise: that it
    comes can be learned from the days before, its minute can't.
    """
    dice, start = random.Random(seed), datetime(2026, 9, 7, tzinfo=UTC).timestamp()
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["timestamp", "qps"])
    for day in range(SYNTHETIC_DAYS):
        begins = 810 + dice.randrange(60)
        for minute in range(1440):
            at = datetime.fromtimestamp(start + day * DAY + minute * MINUTE, UTC)
            level = 100 - 60 * math.cos(2 * math.pi * (minute - 120) / 1440)
            factor = 1 + 2 * _hump(minute - begins)
            writer.writerow([at.isoformat(), f"{level * factor * dice.gauss(1, 0.03):.2f}"])
    return text.getvalue()


def _hump(minutes: float) -> float:
    """A burst's height, 0 to 1, so many minutes after it began: up in 4, then half as high every 20."""
    if minutes < 0:
        return 0.0
    return min(minutes / 4, 1.0) * math.exp2(-max(0.0, minutes - 4) / 20)


def demand(estate: Estate, surge: Surge) -> Demand:
    """What the plant replays for a surge."""
    found: Demand = demand_of(estate, surge.trace)
    assert isinstance(found, Pattern | Trace)
    return found


def demand_by_minute(estate: Estate, surge: Surge, region: str, extra_minutes: int = 0) -> list[float]:
    """Requests a second offered in the middle of each plant minute of the replay, and ``extra_minutes`` after it."""
    found = demand(estate, surge)
    middles = (surge.begins + (minute + 0.5) * MINUTE for minute in range(surge.minutes + extra_minutes))
    return [found.qps(region, middle) for middle in middles]
