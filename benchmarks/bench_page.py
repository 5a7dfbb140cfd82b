"""How long the page in Airflow takes with a large ledger: ``make bench`` runs it.

10,000 records in a folder and 90 days of cost reports. Measured are the first page when nothing has been read yet,
again when one record is new and when nothing is; each in CPU seconds beside a reference that does the least that can
be done: reading the same files and parsing their JSON. The limit of the issue is one second for the first of them.
``--json`` prints ``{"seconds_10k": ...}`` alone, the wall-clock time of the first page. Writes
benchmarks/results/page.json.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.bench_lab_boot import machine
from include.clients.storage import Folder
from include.overview import render
from include.overview.approvals import Pending
from include.rollout.ledger import Chain, Step
from include.wiring.page.reading import Reading
from tests.unit.overview.sample_week import REGIONS, Scribe, many_records, write_costs, write_week

RESULTS = Path(__file__).parent / "results"
RECORDS, DAYS, DRIVERS = 10_000, 90, 150
LIMIT_SECONDS = 1.0
FRAME = render.Frame("", "/akidb", "akidb", "admin", may_undo=True)


def timed(work: Callable[[], Any]) -> dict[str, float]:
    """CPU and wall-clock seconds of one call."""
    cpu, wall = time.process_time(), time.monotonic()
    work()
    return {"cpu_seconds": round(time.process_time() - cpu, 3), "seconds": round(time.monotonic() - wall, 3)}


def parse_all(root: Path) -> int:
    """The reference: every JSON file below ``root`` read and parsed, one after the other."""
    return sum(1 for path in root.rglob("*.json") if json.loads(path.read_bytes()) is not None)


def measure(root: Path) -> dict[str, Any]:
    """Figures of the first page over a ledger and reports in ``root``."""
    reading = Reading(lambda variable: Folder(root / variable.removeprefix("akidb_")), patience=60.0)

    def page() -> str:
        return render.overview_page(reading.overview(), Pending(), FRAME)

    render.message_page("warm", "the templates are read once in a process")
    reference = timed(lambda: parse_all(root))
    first, second = timed(page), timed(page)
    Scribe(root / "ledger").write(Chain("spot_capacity", REGIONS[0], "day1_spot", "new"), Step.PLAN, {})
    third = timed(page)
    return {
        "records": RECORDS,
        "days": DAYS,
        "reference": reference,
        "first": first,
        "nothing_new": second,
        "one_record_new": third,
        "first_by_reference": round(first["cpu_seconds"] / reference["cpu_seconds"], 2),
    }


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="akidb-page-") as folder:
        root = Path(folder)
        for _ in many_records(root / "ledger", RECORDS):
            pass
        write_week(root / "ledger")
        write_costs(root / "costs", DAYS, extra=DRIVERS)
        found = measure(root)
    if "--json" in sys.argv:
        print(json.dumps({"seconds_10k": found["first"]["seconds"]}))
        return 0
    result = {"machine": machine(), "limit_seconds": LIMIT_SECONDS, **found}
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "page.json").write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))
    return 0 if found["first"]["cpu_seconds"] <= LIMIT_SECONDS else 1


if __name__ == "__main__":
    sys.exit(main())
