"""The live table of a rehearsal on a terminal: regions by days, and how each region stands now.

:class:`Board` is what is known, :func:`rendered` how it looks. Without a terminal there are lines only.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from include.rollout.ledger import Record, Step
from lab.rehearsal.evidence import EvidenceError, EvidenceFigures

if TYPE_CHECKING:
    from rich.table import Table

LOOK_SECONDS = 15.0  # between two looks at nodes, dollars and latency
WINDOW_SECONDS = 60.0
MARKS = {Step.PROMOTED: "promoted", Step.UNDO: "rolling back", Step.RESTORED: "rolled back"}
HEAD = ("stage now", "gates", "nodes", "spot", "$/h", "P95 ms")


@dataclass
class Row:
    """A region: what it does now, gates passed so far, and each day's word; figures are None until they are read."""

    stage: str = ""
    gates: int = 0
    days: dict[int, str] = field(default_factory=dict)
    figures: EvidenceFigures | None = None


@dataclass
class Board:
    """What the table shows; methods may be called from several threads."""

    regions: Sequence[str]
    days: Sequence[int]
    begun: float = field(default_factory=time.monotonic)
    day: int = 0
    rows: dict[str, Row] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.rows = {region: Row() for region in self.regions}

    def begin(self, day: int) -> None:
        """A day begins."""
        self.day = day
        for row in self.rows.values():
            row.days[day] = "waits"

    def saw(self, record: Record) -> None:
        """Take over a new record of the ledger; one of the whole estate concerns every region."""
        for region in [record.place] if record.place in self.rows else list(self.rows):
            self._take(self.rows[region], record)

    def _take(self, row: Row, record: Record) -> None:
        title = str(record.figures.get("title") or record.figures.get("slot") or "")
        if record.step in (Step.TOUCH, Step.APPLIED):
            row.stage = f"{'writing' if record.step == Step.TOUCH else 'gates of'} {title}"
            row.days[self.day] = "runs"
        elif record.step == Step.GATE:
            row.gates += record.figures.get("outcome") == "pass"
        elif record.step in MARKS and self.day:
            row.days[self.day] = row.stage = MARKS[record.step]

    def look(self, region: str, figures: EvidenceFigures) -> None:
        """Take over a region's figures."""
        self.rows[region].figures = figures

    def end(self, verdict: str) -> None:
        """The day is over in every region that took part."""
        for row in self.rows.values():
            row.days[self.day], row.stage = verdict, ""


def cells(row: Row) -> tuple[str, ...]:
    """How a region stands now, in the order of HEAD."""
    now = row.figures
    if now is None:
        return (row.stage[:40], str(row.gates), "", "", "", "")
    usd = "unknown" if now.usd_hour is None else f"{now.usd_hour:.3f}"
    p95 = "unknown" if now.p95_ms is None else f"{now.p95_ms:.1f}"
    return (row.stage[:40], str(row.gates), str(now.nodes), f"{now.spot_share_pods:.0%}", usd, p95)


def rendered(board: Board) -> Table:
    """The table."""
    from rich.table import Table

    minutes, seconds = divmod(int(time.monotonic() - board.begun), 60)
    table = Table(title=f"{minutes}:{seconds:02d}", title_justify="left")
    for name in ("region", *(f"day {day}" for day in board.days), *HEAD):
        table.add_column(name)
    for region, row in board.rows.items():
        table.add_row(region, *(row.days.get(day, "") for day in board.days), *cells(row))
    return table


@contextmanager
def shown(board: Board, read: Callable[[], Mapping[str, EvidenceFigures]], on_terminal: bool) -> Iterator[None]:
    """Keep the table below what is printed until the block ends; without a terminal, nothing."""
    if not on_terminal:
        yield
        return
    from rich.live import Live

    stop = threading.Event()
    looking = threading.Thread(target=_follow, args=(board, read, stop), name="live", daemon=True)
    with Live(get_renderable=lambda: rendered(board), refresh_per_second=1, redirect_stderr=False):
        looking.start()
        try:
            yield
        finally:
            stop.set()
            sys.stdout.flush()


def _follow(board: Board, read: Callable[[], Mapping[str, EvidenceFigures]], stop: threading.Event) -> None:
    while not stop.wait(LOOK_SECONDS):
        try:
            for region, figures in read().items():
                board.look(region, figures)
        except EvidenceError:
            continue  # a region that is away keeps its last figures
