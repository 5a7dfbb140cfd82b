"""What the old configuration would have cost on the traffic that came, less the bill. Pure.

A saving that nobody can inflate: only what can be simulated from facts counts, the clusters, whose old node group
stands at list price all month. What the platform costs is taken off in full. Of every other component nobody has
measured what it would have cost: its bill is shown, and adds nothing.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from include.estate import Estate
from include.planner.errors import published
from include.planner.figures import cents
from include.planner.fleet import PLAYERS
from include.planner.order import CENTRAL_DC, COST_PLATFORM
from include.planner.simulation import World
from include.planner.traffic import Traffic
from include.planner.usage import load_usage
from include.prices import load_aws_book

NOT_SIMULATED = "nobody has measured what the old configuration would have cost: counts nothing"


@dataclass(frozen=True)
class Baseline:
    """One calendar month (UTC). USD; ``error`` is the share by which the planner missed rehearsals, None unknown.

    ``predicted_usd``: what it says of the clusters with all levers, beside their bill. ``overloaded_minutes``: of all
    regions, in which the old replicas could not have served what came.
    """

    month: str
    days: int
    book: str
    old_usd: Decimal
    predicted_usd: Decimal
    billed: Mapping[str, Decimal]
    error: Decimal | None
    overloaded_minutes: int
    requests: int

    @property
    def saved_usd(self) -> Decimal:
        """The clusters as they were, less their bill and the platform's."""
        return self.old_usd - self.billed[CENTRAL_DC] - self.billed[COST_PLATFORM]

    @property
    def band(self) -> tuple[Decimal, Decimal] | None:
        """The saving if the simulation missed the old configuration by as much as it missed rehearsals."""
        if self.error is None:
            return None
        off = cents(self.old_usd * self.error)
        return self.saved_usd - off, self.saved_usd + off

    def to_json(self) -> dict[str, Any]:
        """As it is published; money as text."""
        band = None if self.band is None else [str(value) for value in self.band]
        return {
            "month": self.month,
            "days": self.days,
            "price_book": self.book,
            "old_configuration_usd": str(self.old_usd),
            "billed_usd": {name: str(usd) for name, usd in self.billed.items()},
            "saved_usd": str(self.saved_usd),
            "saved_usd_band": band,
            "error_share": None if self.error is None else str(self.error),
            "error_from": published().get("source"),
            "predicted_usd": str(self.predicted_usd),
            "overloaded_minutes": self.overloaded_minutes,
            "requests": self.requests,
            "not_simulated": sorted({*self.billed} - {CENTRAL_DC, COST_PLATFORM}),
        }


def baseline(estate: Estate, first: dt.date, traffic: Traffic, billed: Mapping[str, Decimal]) -> Baseline:
    """The month that begins on ``first``: ``traffic`` has all its days, ``billed`` every component's USD."""
    book = load_aws_book(estate)
    world = World(estate, traffic, book, load_usage())
    old, new = (_usd(world, levers) for levers in (frozenset[str](), frozenset(PLAYERS)))
    most = sum(workload.replicas for workload in estate.workloads.values()) * estate.traffic.replica_qps
    return Baseline(
        month=f"{first:%Y-%m}",
        days=traffic.days,
        book=f"{book.name} ({book.date})",
        old_usd=old,
        predicted_usd=new,
        billed=dict(billed),
        error=rehearsed_share(),
        overloaded_minutes=int((traffic.qps > most).sum()),
        requests=round(float(traffic.qps.sum()) * 60),
    )


def _usd(world: World, levers: frozenset[str]) -> Decimal:
    hours = world.traffic.days * 24
    return cents(Decimal(repr(sum(float(one.usd_hour.mean()) for one in world.minutes(levers)) * hours)))


def rehearsed_share() -> Decimal | None:
    """The largest error of a lever's dollars in any region of the last published rehearsal; None without one."""
    found = [abs(row["worst_usd"]) for row in published().get("levers", {}).values() if row["worst_usd"] is not None]
    return Decimal(repr(max(found))) if found else None
