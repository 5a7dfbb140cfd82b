"""What Airflow calls in the triggerer when a rollout's run has missed its deadline: include/wiring/deadlines.py."""

from __future__ import annotations

import asyncio
from typing import Any


async def tell_of_missed_deadline(context: dict[str, Any], **_: Any) -> None:
    """Tell the estate's people, in a thread: ledger, API and notifiers wait for networks."""
    from include.wiring.deadlines import tell_missed

    await asyncio.to_thread(tell_missed, context)
