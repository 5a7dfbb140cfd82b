"""What the environment asks of a rehearsal, checked before anything boots."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from include.estate import ESTATE_FILE, Estate, load_estate
from lab import world as worlds
from lab.rehearsal.airflow import SCHEDULERS
from lab.rehearsal.faults import AFTER_THE_CANARY, DAY_OF
from lab.rehearsal.run import RehearsalError
from lab.rehearsal.week import WEEK

WEEK_FILE = worlds.REPOSITORY / "dags/rollout/week14.py"
SWITCHES = {
    "UNDO": "1 undoes everything at the end, 0 leaves the changes standing",
    "KEEP": "1 keeps the UI up until Ctrl-C, 0 does not",
    "WEEK": "1 starts the days by one run of week14, 0 each by a trigger of its own",
}


@dataclass(frozen=True)
class RehearsalSettings:
    """What the environment asks for."""

    folder: Path
    regions: tuple[str, ...] = ()
    days: tuple[int, ...] = tuple(WEEK)
    fault: str = ""
    undo: bool = True
    keep: bool = False
    trace: Path | None = None
    database: str = "sqlite"
    by_week: bool = False
    on_terminal: bool = False


def settings_from(environment: Mapping[str, str], on_terminal: bool) -> RehearsalSettings:
    """What the environment asks for, each variable checked; a wrong one is a RehearsalError."""
    estate = load_estate()
    names = tuple(environment.get("REGIONS", "").replace(",", " ").split())
    chosen = tuple(worlds.chosen_regions(estate, names))
    fault, trace = environment.get("FAULT", ""), environment.get("TRACE", "")
    if fault and fault not in DAY_OF:
        raise RehearsalError(f"FAULT={fault} is not known: use {' or '.join(DAY_OF)}, or leave it out")
    undo, keep, week = (_switch(environment, name) for name in SWITCHES)
    if len(chosen) > 1 and estate.canary_region not in chosen:
        raise RehearsalError(f"REGIONS={','.join(names)} leaves out the canary: add {estate.canary_region}")
    if fault in AFTER_THE_CANARY and len(chosen) < 2:
        does = AFTER_THE_CANARY[fault]
        raise RehearsalError(f"FAULT={fault} {does} after the canary: add a region to REGIONS={','.join(names)}")
    if trace and not Path(trace).is_file():
        raise RehearsalError(f"TRACE={trace} does not exist: name a CSV file of traffic")
    days = _days(environment.get("DAYS", ""), fault)
    if (database := environment.get("DATABASE") or "sqlite") not in SCHEDULERS:
        raise RehearsalError(f"DATABASE={database} is not known: use {' or '.join(SCHEDULERS)}, or leave it out")
    return RehearsalSettings(
        folder=Path(environment.get("LAB_DIR") or worlds.DEFAULT_FOLDER).resolve(),
        regions=chosen,
        days=days,
        fault=fault,
        undo=not fault if undo is None else undo,
        keep=on_terminal if keep is None else keep,
        trace=Path(trace).resolve() if trace else None,
        by_week=(WEEK_FILE.exists() and not fault and days == tuple(WEEK)) if week is None else week,
        on_terminal=on_terminal,
        database=database,
    )


def _switch(environment: Mapping[str, str], name: str) -> bool | None:
    """What a switch says; None where it is left to the rest."""
    value = environment.get(name, "")
    if value not in {"", "0", "1"}:
        raise RehearsalError(f"{name}={value} is not known: {SWITCHES[name]}")
    return None if value == "" else value == "1"


def _days(text: str, fault: str) -> tuple[int, ...]:
    """The days to rehearse, in the week's order; with a fault up to its own day."""
    known = {str(number): number for number in WEEK}
    asked = text.replace(",", " ").split()
    if unknown := [word for word in asked if word not in known]:
        raise RehearsalError(f"DAYS={text} has no day {', '.join(unknown)}: use {', '.join(known)}")
    days = tuple(number for word, number in known.items() if word in asked or not asked)
    if not fault:
        return days
    own = DAY_OF[fault]
    if asked and own not in days:
        raise RehearsalError(f"FAULT={fault} is a fault of day {own}: add it to DAYS={text}")
    return tuple(number for number in days if number <= own)


def open_window(estate: Estate, folder: Path, now: dt.datetime) -> Path | None:
    """A copy of the estate that allows a change now, or None when it does anyway.

    A rehearsal changes nothing real, so it must run on a freeze day too; every other rule of the estate stays.
    """
    if estate.governance.refusal(now) is None:
        return None
    source = Path(os.environ.get("AKIDB_ESTATE") or ESTATE_FILE)
    raw = yaml.safe_load(source.read_text(encoding="utf-8"))
    raw["governance"]["freeze_days"] = []
    raw["governance"]["change_window"] = {"weekdays": list(range(7)), "from_hour": 0, "to_hour": 24}
    copy = folder / "estate.yaml"
    copy.parent.mkdir(parents=True, exist_ok=True)
    copy.write_text(yaml.safe_dump(raw, sort_keys=False), encoding="utf-8")
    return copy


def results_file(settings: RehearsalSettings) -> Path:
    """Where the measurements go: none of another number of regions, fault or database is replaced."""
    fault = f"_{settings.fault}" if settings.fault else ""
    database = f"_{settings.database}" if settings.database != "sqlite" else ""
    return worlds.results_folder(settings.folder) / f"rehearsal_{len(settings.regions)}_regions{fault}{database}.json"
