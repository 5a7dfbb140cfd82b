"""Why a task failed, in the words of its own log: what a person reads in the rehearsal's output instead of the log.

Pure functions over the lines of one try, as Airflow's API or its log file gives them: mappings, JSON texts or plain
texts. What Airflow says of itself (loading DAGs, starting and ending the task) is no reason.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

SHOWN_CAUSES = 3
# Their message was written for people by the engine; the class would only be in the way.
PLAIN = {"AirflowFailException", "AirflowException", "AirflowSensorTimeout"}
TIMED_OUT = "AirflowTaskTimeout"
FAILED = "Task failed with exception"
BAD = {"error", "critical", "fatal"}
SOURCES, END_OF_GROUP = "::group::Log message source details", "::endgroup::"
KILLED = "Process terminated by signal"
# Beginnings of lines in which Airflow talks of itself, and of the callback that names the failed task.
NOISE = (
    "::",
    "-----",
    "*** ",
    "Log message source",
    "Found local files",
    "DAG bundles loaded",
    "Filling up the DagBag",
    "Worker startup",
    "Stats instance was created",
    "Current task name",
    "Dag name",
    "Previous state of the Task",
    "Task instance ",
    "Task operator",
    "Executing callback",
    "Rescheduling task",
    "Process timed out",
    "Running on_kill",
    "Done. Returned value was",
    "Pushing xcom",
    FAILED,
)
CALLBACK = "its own message and, in a rollout, the task 'verdict' say what was left behind"
LEVELS = "debug|info|warning|error|critical|fatal"
# 2026-11-27T11:15:22.931969Z [error    ] text  or  [2026-11-27T11:15:22.931+0000] {file.py:10} ERROR - text
PLAIN_LINE = re.compile(
    rf"^\[?\d{{4}}-\d\d-\d\d[T ][\d:.,+Z-]+\]? *(?:\{{[^}}]*\}} *)?\[?(?P<level>{LEVELS}) *\]?(?: -)? +(?P<event>.*)$",
    re.IGNORECASE | re.DOTALL,
)
TRACEBACK = "Traceback (most recent call last):"
# Between a cause and what it caused.
BETWEEN = ("During handling of the above", "The above exception was")
EXCEPTION = re.compile(r"^(?P<name>[A-Za-z_][\w.]*)(?:: (?P<message>.*))?$")  # a traceback's own lines are indented


@dataclass(frozen=True)
class Entry:
    """One line of a log; ``errors`` are the exception and its causes, the outermost first, as (class, message)."""

    event: str
    level: str = ""
    errors: tuple[tuple[str, str], ...] = ()

    @property
    def is_noise(self) -> bool:
        """Whether Airflow talks of itself."""
        return not self.event.strip() or self.event.startswith(NOISE) or CALLBACK in self.event


def reason(lines: Sequence[Mapping[str, Any] | str], place: str = "its log") -> str:
    """Why the try with this log failed; ``place`` is where the whole log lies.

    The exception with its causes, else the signal that ended the process, else the last error, else that there is no
    trace of a reason, with the last line that says anything.
    """
    entries = list(_without_sources([_entry(line) for line in lines]))
    before = takewhile(lambda entry: not entry.event.startswith((FAILED, TRACEBACK)), entries)
    said = [entry for entry in before if not entry.is_noise]
    if errors := _errors(entries):
        return _of_exception(errors, said)
    if killed := [entry.event for entry in entries if entry.event.startswith(KILLED)]:
        return f"{killed[-1]}{_last_line(said)}; see {place}"
    if bad := [entry.event for entry in said if entry.level in BAD]:
        return bad[-1]
    return f"its process ended without a trace of why: killed, or lost with its machine{_last_line(said)}; see {place}"


def _without_sources(entries: Iterable[Entry]) -> Iterator[Entry]:
    """Without the group at the top that names the log's own files."""
    inside = False
    for entry in entries:
        inside = entry.event.startswith(SOURCES) or (inside and not entry.event.startswith(END_OF_GROUP))
        if not inside:
            yield entry


def _last_line(said: Sequence[Entry]) -> str:
    events = [entry.event for entry in said if not entry.event.startswith(KILLED)]
    return f"; the last line before: {events[-1]}" if events else ""


def _errors(entries: Sequence[Entry]) -> tuple[tuple[str, str], ...]:
    """The exception that failed the task; those of listeners and callbacks count only when there is no other."""
    raised = [entry for entry in entries if entry.errors]
    of_task = [entry for entry in raised if entry.event.startswith(FAILED)]
    found = (of_task or raised)[-1:]
    return found[0].errors if found else _plain_errors(entries)


def _of_exception(errors: Sequence[tuple[str, str]], said: Sequence[Entry]) -> str:
    """The exception, then each cause that says something else."""
    name, _ = errors[0]
    if name == TIMED_OUT:
        return f"{TIMED_OUT}: it took longer than its execution_timeout{_last_line(said)}"
    shown: list[str] = []
    for text in (_shown(*error) for error in errors):
        if not any(_message(text) in known for known in shown):
            shown.append(text)
    return "; caused by ".join(shown[: SHOWN_CAUSES + 1])


def _shown(name: str, message: str) -> str:
    if name in PLAIN and message:
        return message
    return f"{name}: {message}" if message else name


def _message(shown: str) -> str:
    """A shown exception without its class."""
    return shown.partition(": ")[2] or shown


def _entry(line: Mapping[str, Any] | str) -> Entry:
    if isinstance(line, Mapping):
        return _structured(line)
    try:
        parsed = json.loads(line)
    except ValueError:
        parsed = None
    if isinstance(parsed, Mapping):
        return _structured(parsed)
    matched = PLAIN_LINE.match(line)
    return Entry(matched["event"], matched["level"].lower()) if matched else Entry(line)


def _structured(line: Mapping[str, Any]) -> Entry:
    event = str(line.get("event", ""))
    if event.startswith(KILLED):
        event = f"{KILLED} {line['signal_name']}" if line.get("signal_name") else KILLED
    if line.get("exception"):  # a traceback as text
        event += f"\n{line['exception']}"
    return Entry(event, str(line.get("level", "")).lower(), tuple(_chain(line.get("error_detail") or ())))


def _chain(details: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    """(class, message) of an exception and its causes; those in a group follow it."""
    for detail in details:
        yield str(detail.get("exc_type", "")), str(detail.get("exc_value", "")).strip()
        for inner in detail.get("exceptions") or ():
            yield from _chain(inner)


def _plain_errors(entries: Sequence[Entry]) -> tuple[tuple[str, str], ...]:
    """The exceptions of the last traceback in plain text, the outermost first: it stands last there."""
    found: list[list[str]] = []
    inside = ended = False  # in a traceback; behind one, where only its cause or its message's next line may follow
    for entry in entries:
        ended = ended or bool(entry.level)
        for line in entry.event.splitlines():
            if line.strip() == TRACEBACK:
                found = [] if ended else found
                inside, ended = True, False
            elif inside and (matched := EXCEPTION.match(line)):
                inside = False
                found.append([matched["name"].rpartition(".")[2], matched["message"] or ""])
            elif not line.strip() or line.startswith(BETWEEN):
                ended = False
            elif found and not inside and not ended and not entry.level:
                found[-1][1] += f"\n{line}"
    return tuple((name, message) for name, message in reversed(found))
