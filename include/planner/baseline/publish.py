"""A month's saving, computed and kept: the page first, then the record that says it is there."""

from __future__ import annotations

import datetime as dt
import json
from typing import TYPE_CHECKING, Any

from include.cost.table.store import CostTable
from include.estate import Estate
from include.pages.document import to_html, to_markdown
from include.planner.baseline.counterfactual import baseline
from include.planner.baseline.month import billed, days_of, refuse_incomplete, traffic_of
from include.planner.baseline.page import document

if TYPE_CHECKING:
    from include.forecast.traffic.table import TrafficTable

FOLDER = "savings"


def publish(estate: Estate, first: dt.date, traffic: TrafficTable, costs: CostTable) -> dict[str, Any]:
    """Write ``savings/<month>.html``, ``.md`` and last ``.json`` beside the cost table; equal inputs give equal bytes.

    Raises BaselineError naming the days that are missing; nothing is written then, and an older report stands.
    """
    days = days_of(first)
    refuse_incomplete(estate, days, traffic, costs)
    found = baseline(estate, first, traffic_of(estate, days, traffic), billed(estate, days, costs))
    key, page = f"{FOLDER}/{found.month}", document(found)
    text = to_markdown(page)
    record = json.dumps(found.to_json(), sort_keys=True, indent=1)
    for ending, body in ((".html", to_html(page)), (".md", text), (".json", record)):
        costs.storage.put(f"{key}{ending}", body.encode())
    return {"key": f"{key}.json", "saved_usd": str(found.saved_usd), "text": text}
