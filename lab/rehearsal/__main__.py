"""The week rehearsed end to end: ``python -m lab.rehearsal`` (``make rehearsal``).

Boots the lab and a real Airflow, starts the week (``week14``, or each day of DAYS by its own trigger) through the
public REST API, answers each approval like a person, prints a line for each record of the ledger, then the day's
table, and writes ``.lab/report.json``; on a terminal a live table stands below. The next day begins when the one
before is promoted. At the end come a load step, the undo of everything through the ``rollback`` DAG, which the lab
proves by its own evidence, the scorecard, the plan's waterfall and the page's address. Exits 0 only when every day is
promoted, or a FAULT came out as expected, and nothing remained; dollars that miss their target don't change that.
Everything is taken down at the end, also on Ctrl-C.

Environment: REGIONS and DAYS (comma-separated), FAULT (gate, ice, spot-storm, api-outage of day 1; forecast-down of day
2; etag of day 3; oom of day 4; with the days before it unless DAYS says otherwise), UNDO (0 | 1; 1 without a FAULT),
KEEP (0 | 1), TRACE (CSV), WEEK (0 | 1; 1 where all days are asked for without a FAULT), LAB_DIR, DATABASE (sqlite, or
postgresql with two schedulers: skipped where PostgreSQL is not installed, an error where AKIDB_SKIP_NOTHING is set).
"""

from __future__ import annotations

import datetime as dt
import os
import signal
import sys

from include.estate import EstateError, load_estate
from lab.machine import speed as speeds
from lab.machine.processes import Crashed
from lab.machine.programs import BuildError
from lab.rehearsal import postgresql
from lab.rehearsal.airflow_api import AirflowError
from lab.rehearsal.conduct import Rehearsal
from lab.rehearsal.postgresql import PostgreSQLError
from lab.rehearsal.run import RehearsalError
from lab.rehearsal.settings import open_window, settings_from


def _end_like_ctrl_c(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


def main() -> int:
    signal.signal(signal.SIGTERM, _end_like_ctrl_c)
    try:
        settings = settings_from(os.environ, sys.stdout.isatty())
        if settings.database == postgresql.NAME and (why := postgresql.missing()):
            print(f"rehearsal: skipped: {why}", file=sys.stderr)
            return 1 if os.environ.get("AKIDB_SKIP_NOTHING") else 0
        estate = load_estate()
        copy = open_window(estate, settings.folder, dt.datetime.now(dt.UTC))
        if copy is not None:
            print(f"{estate.governance.refusal(dt.datetime.now(dt.UTC))}: the rehearsal opens the window in a copy")
            os.environ["AKIDB_ESTATE"] = str(copy)
            estate = load_estate()
        measured = speeds.measure()
        print(measured, flush=True)
        return Rehearsal(settings, estate, measured).run()
    except KeyboardInterrupt:
        print("rehearsal: stopped; everything is taken down", file=sys.stderr)
        return 130
    except (
        AirflowError,
        BuildError,
        Crashed,
        EstateError,
        PostgreSQLError,
        RehearsalError,
        RuntimeError,
        TimeoutError,
    ) as error:
        print(f"rehearsal: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
