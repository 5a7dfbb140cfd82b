"""How the service did over the whole week: availability and throughput, from the records that count its requests.

The records stand in the chains of ``service`` (a region's, and the estate's): MEASURED with ``figures.kind``

- ``availability``: ``asked`` and ``served`` requests between ``since`` and ``until`` (ISO 8601), and what ``includes``
- ``throughput``: ``served_qps`` over ``seconds`` of a load step, ``wanted_qps``, ``p95_ms``
"""

from __future__ import annotations

from collections.abc import Sequence

from include.completion import figures
from include.completion.figures import Figure
from include.completion.history import History
from include.rollout.ledger import Record

AVAILABILITY, THROUGHPUT = "availability", "throughput"
NEEDS = {AVAILABILITY: {"asked", "served", "since", "until"}, THROUGHPUT: {"served_qps"}}
WANTED_QPS = 600  # the plan's, times the estate's demand scale


def newest(history: History, kind: str, regions: Sequence[str]) -> list[Record]:
    """The newest record of a kind of each region that has one."""
    needs = NEEDS[kind]
    whole = [r for r in history.measured if r.figures.get("kind") == kind and needs <= r.figures.keys()]
    found = {r.place: r for r in whole}
    return [found[region] for region in regions if region in found]


def availability(history: History, regions: Sequence[str]) -> Figure | None:
    """Requests served by requests asked for in all regions; None unless each region was counted."""
    records = newest(history, AVAILABILITY, regions)
    if not regions or len(records) < len(regions):
        return None
    return figures.ratio(history, "availability", records, ("figures", "served"), ("figures", "asked"))


def throughput(history: History, regions: Sequence[str]) -> Figure | None:
    """The requests a second that the weakest region served in its load step; None unless each region has one."""
    records = newest(history, THROUGHPUT, regions)
    if not regions or len(records) < len(regions):
        return None
    return figures.least(history, "throughput", records, ("figures", "served_qps"))


def covered(records: Sequence[Record]) -> str:
    """From when to when requests were counted, and with what in it."""
    if not records:
        return ""
    since = min(str(record.figures["since"]) for record in records)
    until = max(str(record.figures["until"]) for record in records)
    includes = sorted({str(what) for record in records for what in record.figures.get("includes", ())})
    return f"{since[:19]} to {until[:19]}" + (f", {', '.join(includes)} included" if includes else "")
