"""A ledger in a folder, for its tests."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

from include.rollout.ledger import (
    Chain,
    Ledger,
    Step,
)

RUN = "manual__2026-11-24T10:00:00+00:00"


CHAIN = Chain("spot_capacity", "us-east-1", "day1_spot", RUN)


class Clock:
    """Each look at it is ``step`` seconds later."""

    def __init__(self, step: int = 1) -> None:
        self.now = dt.datetime(2026, 11, 24, 10, tzinfo=dt.UTC)
        self.step = dt.timedelta(seconds=step)

    def __call__(self) -> dt.datetime:
        self.now += self.step
        return self.now


def three(ledger: Ledger, tmp_path: Path) -> list[Path]:
    for step in (Step.PLAN, Step.SNAPSHOT, Step.TOUCH):
        ledger.append(CHAIN, step)
    return sorted(tmp_path.rglob("*.json"))


def touch(ledger: Ledger, chain: Chain, origin: Chain | None = None) -> None:
    ledger.append_once(chain, Step.SNAPSHOT, {}, {"origin": origin.path} if origin else {})
    ledger.append(chain, Step.TOUCH)


def restore(ledger: Ledger, chain: Chain, by: Chain | None = None, *, complete: bool = True) -> None:
    ledger.append(by or chain, Step.RESTORED, {"complete": complete}, {"restores": chain.path})
