"""The planner's figures for the week, where it is installed."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from include.week.run import Week

BOOK = "aws"  # list prices: what the levers' own plans reckon with
Planned = Callable[[str], Decimal | None]


def planner_of(run: Week) -> tuple[Mapping[str, Any], Planned]:
    """The waterfall of the planner as JSON with its ``text``, and its change of the monthly cost of a lever.

    A planner that fails costs the figures, never the rollout: then the text says why, and each figure is None.
    """
    try:
        found = importlib.import_module("include.planner.week").plan(run.estate)
    except Exception as error:  # noqa: BLE001 - see above
        return {"text": f"The planner's waterfall is not known ({type(error).__name__}: {error})."}, lambda _: None
    text = _text(found)
    whole = set(run.settings.regions) == set(run.estate.regions)
    return {**found.to_json(), "text": text}, lambda lever: _change(found, lever) if whole else None


def _text(found: Any) -> str:
    try:
        return str(importlib.import_module("include.planner.words").week_text(found))
    except Exception as error:  # noqa: BLE001 - the figures are there all the same
        return f"The planner's text is not known ({type(error).__name__}: {error}); its figures are in the ledger."


def _change(found: Any, lever: str) -> Decimal | None:
    """The planner plans for all regions: where only some are chosen its figure is none of theirs."""
    try:
        saving = found.lever(lever)[BOOK].in_order_usd
    except (KeyError, ValueError):
        return None
    return -Decimal(str(saving))
