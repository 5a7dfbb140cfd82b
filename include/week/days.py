"""The days of the week, and the run ids of their rollouts. Data and pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from include.rollout.ledger import WHOLE_RUN, Chain, run_key

WEEK = "week14"  # the DAG of the week, and its name in the ledger
PREFIX = f"{WEEK}__"
LONGEST_RUN_ID = 250  # characters that Airflow keeps


@dataclass(frozen=True)
class Day:
    """One rollout of the week: the day's number, its DAG, and the levers of that DAG in their order."""

    number: int
    dag: str
    levers: tuple[str, ...]

    @property
    def recorded_as(self) -> str:
        """Under which name the run as a whole is in the ledger: its lever's, of several the DAG's."""
        return self.levers[0] if len(self.levers) == 1 else self.dag

    def chain(self, run_id: str) -> Chain:
        """The chain of the day's run as a whole, for that run id of the day's own."""
        return Chain(self.recorded_as, WHOLE_RUN, self.dag, run_id)

    def chains(self, run_id: str) -> list[Chain]:
        """The chain of each of the day's levers as a whole."""
        return [Chain(lever, WHOLE_RUN, self.dag, run_id) for lever in self.levers]


# The plan's order. A day of two rollouts has two entries, which follow each other.
DAYS = (
    Day(1, "day1_spot", ("spot_capacity",)),
    Day(2, "day2_predictive_scaling", ("predictive_scaling",)),
    Day(
        3,
        "day3_edge",
        (
            "dns_health_checks",
            "storage_tiering",
            "lambda_edge",
            "cdn_price_class",
            "request_routing",
            "edge_monitoring",
        ),
    ),
    Day(4, "day4_right_sizing", ("right_sizing",)),
    Day(4, "day4_consolidation", ("consolidation",)),
    Day(5, "day5_cost_monitoring", ("cost_monitoring",)),
)


def child_run_id(run_id: str) -> str:
    """The run id of every day's run of the week's run ``run_id``: a task that is tried again finds the same run."""
    whole = f"{PREFIX}{run_id}"
    return whole if len(whole) <= LONGEST_RUN_ID else f"{PREFIX}{run_key(run_id)}"


def week_run_id(run_id: str) -> str | None:
    """The week's run that a day's run id was made from; None for any other. One that was too long can't be told."""
    return run_id.removeprefix(PREFIX) or None if run_id.startswith(PREFIX) else None


def selected(days: Sequence[Day], numbers: Sequence[int], first: int) -> list[Day]:
    """Those of ``days`` whose number is chosen and not before ``first``, in their order."""
    return [day for day in days if day.number in numbers and day.number >= first]
