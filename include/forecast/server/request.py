"""What a client may ask: one hour of values, checked; every refusal names the field, the value and the remedy."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

MINUTES = 60
# Above this sums of squares lose their last digits; no service has that much traffic.
MOST_QPS = 1e12
EARLIEST, LATEST = datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
MOST_SHOWN = 10
MINUTE = timedelta(minutes=1)
Qps = Annotated[float, Field(ge=0, le=MOST_QPS, allow_inf_nan=False)]


class RefusedError(ValueError):
    """A request can't be answered. ``problems`` have ``field``, ``value`` and ``remedy`` each."""

    def __init__(self, problems: list[dict[str, Any]]) -> None:
        super().__init__("; ".join(f"{one['field']}: {one['remedy']} (value {one['value']})" for one in problems))
        self.problems = problems


class Hour(BaseModel):
    """The body of ``POST /predict``."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    region: str = Field(description="one of the served regions")
    values: list[Qps] = Field(
        min_length=MINUTES, max_length=MINUTES, description="QPS of 60 minutes, oldest first, none missing"
    )
    timestamps: list[datetime] | None = Field(
        default=None,
        description="ISO start of each minute, UTC where no offset is given; left out: the last 60 whole minutes",
    )
    current_replicas: Annotated[int, Field(ge=0, le=1_000_000)] | None = Field(
        default=None, description="replicas that run now; with them the recommendation keeps the limits of a change"
    )


def read_hour(body: bytes, regions: tuple[str, ...]) -> Hour:
    """The request in ``body``. Raises RefusedError."""
    try:
        hour = Hour.model_validate_json(body)
    except ValidationError as error:
        # The value may be anything a client sent, NaN and whole documents too: shown short.
        problems = [_problem(one) for one in error.errors(include_url=False, include_context=True)[:MOST_SHOWN]]
        raise RefusedError(problems) from None
    if hour.region not in regions:
        raise RefusedError([problem("region", hour.region, f"use one that is served: {', '.join(regions)}")])
    if hour.timestamps is not None:
        check_grid(hour.timestamps)
    return hour


def check_grid(timestamps: list[datetime]) -> None:
    """One a minute, rising. Raises RefusedError naming the first that is not."""
    if len(timestamps) != MINUTES:
        raise RefusedError([problem("timestamps", f"{len(timestamps)} timestamps", "send 60, or leave them out")])
    # Offsets may differ: the differences of times with an offset are right all the same.
    moments = [moment if moment.tzinfo else moment.replace(tzinfo=UTC) for moment in timestamps]
    rising = all(after - before == MINUTE for before, after in pairwise(moments))
    if rising and moments[0] >= EARLIEST and moments[-1] < LATEST:
        return
    for place, moment in enumerate(moments):
        name, shown = f"timestamps[{place}]", timestamps[place].isoformat()
        if not EARLIEST <= moment < LATEST:
            raise RefusedError([problem(name, shown, "use a time between the years 2000 and 2100")])
        if place and moment - moments[place - 1] != MINUTE:
            remedy = f"use the minute after timestamps[{place - 1}] ({timestamps[place - 1].isoformat()})"
            raise RefusedError([problem(name, shown, remedy)])


def utc(moment: datetime) -> datetime:
    """``moment`` in UTC; without an offset it is UTC."""
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def last_minute(hour: Hour, now: datetime) -> datetime:
    """The start of the last of the 60 minutes; by default the last whole minute before ``now``."""
    if hour.timestamps is not None:
        return utc(hour.timestamps[-1])
    return now.replace(second=0, microsecond=0) - MINUTE


def problem(field: str, value: object, remedy: str) -> dict[str, Any]:
    """One problem as clients get it."""
    text = value if isinstance(value, str) else repr(value)
    return {"field": field, "value": text if len(text) <= 80 else f"{text[:77]}...", "remedy": remedy}


def _problem(error: Any) -> dict[str, Any]:
    kind, value = error["type"], error.get("input")
    name = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error["loc"]).lstrip(".")
    if kind in {"too_long", "too_short"}:
        return problem(name, f"{error['ctx']['actual_length']} values", f"send exactly {MINUTES} values, one a minute")
    if kind == "missing":
        return problem(name, "nothing", "add it")
    if kind == "extra_forbidden":
        return problem(name, value, f"remove it: {', '.join(Hour.model_fields)} are known")
    if kind == "json_invalid":
        return problem("body", error["ctx"]["error"], "send a JSON object with region and values")
    if name.startswith("values["):
        return problem(name, value, "use a number of at least 0 and at most 1e12; what was not observed can't be sent")
    if name.startswith("timestamps["):
        return problem(name, value, "use an ISO 8601 text such as 2026-11-24T09:00:00Z")
    return problem(name or "body", value, error["msg"][:1].lower() + error["msg"][1:])
