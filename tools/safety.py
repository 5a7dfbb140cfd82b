"""Safety records from where they were made to where they count: ``python -m tools.safety --help``.

The levers' conformance writes .lab/conformance.json; what it proves becomes records of the code as it is now. Records
that a rehearsal or another machine has made are copied into the ledger of the estate that is to lean on them.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from include.clients.storage import Storage, open_storage
from include.rollout.safety import Fault, Outcome, Proved, SafetyError, SafetyRecords, proved

REPOSITORY = Path(__file__).parents[1]
CONFORMANCE, LEDGER = REPOSITORY / ".lab" / "conformance.json", REPOSITORY / ".lab" / "ledger"
OK = "ok"
FAKES, API_SERVER = "conformance on fakes", "conformance on a real API server"
# What a lever must hold for the record: all of the properties, by name of their tests.
PROVES: Mapping[tuple[Fault, str], tuple[str, ...]] = {
    (Fault.UNDO, FAKES): (
        "test_a_change_is_undone_from_the_ledgers_own_json",
        "test_a_second_rollback_writes_nothing",
    ),
    (Fault.KILL, FAKES): (
        "test_a_crash_after_any_write_of_apply_is_undone",
        "test_a_crash_after_any_write_of_the_rollback_is_undone_all_the_same",
    ),
    (Fault.KILL, API_SERVER): (
        "test_its_undo_alone_is_complete_on_an_api_server_although_it_was_killed_half_way",
    ),
}  # fmt: skip


def from_conformance(rows: Mapping[str, Mapping[str, str]], when: str) -> list[Proved]:
    """The records of a table of conformance (lever -> property -> ``ok`` or what else), made at ``when`` (ISO 8601).

    A property that failed, or was left out, proves nothing. No length is known: nobody measures one there.
    """
    return [
        proved(lever, fault, Outcome.RESTORED, None, source=source, when=when)
        for lever, row in rows.items()
        for (fault, source), names in PROVES.items()
        if all(row.get(name) == OK for name in names)
    ]


def keep(records: Sequence[Proved], store: Storage) -> None:
    """Put the records into a store."""
    for record in records:
        SafetyRecords(store).add(record)


def copied(source: Storage, target: Storage) -> tuple[int, list[str]]:
    """Copy every record that can be read; returns how many, and why others could not be."""
    reading = SafetyRecords(source).read()
    keep(reading.records, target)
    return len(reading.records), sorted(reading.bad.values())


def _open(location: str) -> Storage:
    def client(_: str | None) -> Any:
        import boto3

        return boto3.client("s3")

    return open_storage(str(Path(location).resolve()) if "://" not in location else location, client)


def main(arguments: Sequence[str]) -> int:
    """The commands; the exit status is 1 when something could not be read."""
    parser = argparse.ArgumentParser(prog="python -m tools.safety", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    take = commands.add_parser("conformance", help="records of what the levers' conformance has proved")
    take.add_argument("--file", default=str(CONFORMANCE), help="what make lever-conformance wrote")
    take.add_argument("--ledger", default=str(LEDGER), help="the ledger beside which they are kept")
    copy = commands.add_parser("copy", help="copy the records of one ledger to another's")
    copy.add_argument("source", help="a folder, or s3://bucket/prefix")
    copy.add_argument("target", help="a folder, or s3://bucket/prefix")
    chosen = parser.parse_args(arguments)
    try:
        return _copy(chosen.source, chosen.target) if chosen.command == "copy" else _take(chosen.file, chosen.ledger)
    except (SafetyError, OSError, ValueError) as error:
        print(f"nothing was recorded: {error}", file=sys.stderr)
        return 1


def _take(file: str, ledger: str) -> int:
    rows = json.loads(Path(file).read_text(encoding="utf-8"))
    when = dt.datetime.fromtimestamp(Path(file).stat().st_mtime, dt.UTC).isoformat()
    records = from_conformance(rows, when)
    keep(records, _open(ledger))
    print(f"{len(records)} records of {len(rows)} levers beside {ledger}")
    return 0


def _copy(source: str, target: str) -> int:
    count, bad = copied(_open(source), _open(target))
    print("\n".join([f"{count} records copied to {target}", *bad]))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
