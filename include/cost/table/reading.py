"""What a source says of a component's cost, and everything that such costs are made of."""

from __future__ import annotations

import datetime as dt
import enum
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from include.cost.table.bill import Bill, Charge
from include.cost.table.days import Window, scaled
from include.cost.table.live import LiveCosts
from include.cost.table.settling import PROVISIONAL
from include.cost.table.store import Facts
from include.estate import Estate
from include.prices import AwsBook

MIN_COVERAGE = Decimal("0.95")  # share of the window with data, below which a figure is unknown
NANO = Decimal("1e-9")


class Certainty(enum.StrEnum):
    """How certain a cost is. Provisional: the bill may still change, or a few hours of the window have no data."""

    KNOWN = "known"
    PROVISIONAL = "provisional"
    UNKNOWN = "unknown"


class Lack(enum.StrEnum):
    """What the table lacks for a cost to be known."""

    NO_DATA = "no data"
    SET_ASIDE = "set aside"
    NO_ROW = "no row"
    HOURS = "hours"


@dataclass(frozen=True)
class Reading:
    """What one source says of one component in ``window``; ``usd`` None is unknown, with its ``reason``.

    ``usd`` is what its baseline is about; ``beside_usd`` are dollars of the component that the baseline doesn't hold,
    in ``beside_window``: None is unknown. ``settling`` is "" for a source that nobody revises (a contract, a meter).
    ``lack`` and ``lacking`` (its source, and its detail) say what the table has not.
    """

    component: str
    source: str
    window: Window
    usd: Decimal | None
    coverage: Decimal = Decimal(1)
    settling: str = ""
    reason: str = ""
    notes: tuple[str, ...] = ()
    beside_usd: Decimal | None = Decimal(0)
    beside_window: Window | None = None
    fixed: bool = False  # a price by the month: every day costs the same
    rows: int = 0
    lack: Lack | None = None
    lacking: tuple[str, str] = ("", "")

    @property
    def known(self) -> bool:
        """Whether it has a figure, over enough of its window."""
        return self.usd is not None and self.coverage >= MIN_COVERAGE

    @property
    def status(self) -> Certainty:
        """How certain the figure is."""
        if not self.known or self.beside_usd is None:
            return Certainty.UNKNOWN
        return Certainty.PROVISIONAL if self.settling == PROVISIONAL or self.coverage < 1 else Certainty.KNOWN

    @property
    def whole(self) -> Decimal | None:
        """All dollars of the component over all of the window; None when a part of them is unknown."""
        if self.usd is None or self.beside_usd is None or self.coverage < 1:
            return None
        return self.usd + self.beside_usd

    @property
    def per_day(self) -> tuple[Decimal, Decimal | None] | None:
        """Dollars of 24 hours at this rate: what the baseline is about, and the rest. None when it is unknown."""
        if self.usd is None or not self.known:
            return None
        # Rounded far below a cent: the last digit of a division must not decide a verdict.
        day = scaled(self.usd, self.window)[0].quantize(NANO)
        if self.beside_usd is None:
            return day, None
        return day, scaled(self.beside_usd, self.beside_window or self.window)[0]


@dataclass(frozen=True)
class CostInputs:
    """Everything that a cost is made of. ``history`` gives every version of a source's day, by time of receipt."""

    estate: Estate
    book: AwsBook
    window: Window
    regions: tuple[str, ...]
    bill: Bill
    history: Callable[[str, dt.date], Sequence[Facts]]
    live: LiveCosts = field(default_factory=LiveCosts)
    problems: Mapping[str, str] = field(default_factory=dict)  # why a source could not be brought up to date
    allocations: tuple[Charge, ...] = ()
    table_only: bool = False  # what the table doesn't have is unknown: a contract's price isn't taken from the estate
    covered: dict[tuple[str, Window], int] = field(default_factory=dict, repr=False, compare=False)  # seconds, as found
