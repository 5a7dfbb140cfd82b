"""Notices: what happened, what was left behind, and the next command, as texts. Pure."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

APPROVAL_WANTED, ROLLED_BACK = "approval_wanted", "rolled_back"
BUDGET_PASSED, CHAMPION_DEMOTED, DEADLINE_MISSED = "budget_passed", "champion_demoted", "deadline_missed"
_LONGEST = 4000  # characters of a message: what is longer stands in the run
# Verdicts after which a change was undone, or stands and waits for people.
_UNDONE = {
    "rolled back": "was rolled back",
    "unfinished": "is unfinished",
    "unknown": "waits for people: a gate is unknown",
}
_FIELD = re.compile(r"\{(subject|message|html|event|next)\}")


class Ended(Protocol):
    """The end of a run."""

    @property
    def name(self) -> Any:
        """One of the verdicts."""

    @property
    def message(self) -> str:
        """What happened, what was left, the next command."""


@dataclass(frozen=True)
class Notice:
    """One message. ``left`` says what was left behind, ``next_step`` is the command or the place to go to."""

    event: str
    subject: str
    happened: str
    left: str
    next_step: str

    @property
    def message(self) -> str:
        """The message as plain text."""
        happened = self.happened if len(self.happened) <= _LONGEST else f"{self.happened[:_LONGEST]} ... (cut)"
        return f"{happened}\n\nLeft behind: {self.left}\nNext: {self.next_step}"

    @property
    def html(self) -> str:
        """The message for a mail: nothing in it is taken for a tag."""
        return f"<pre>{html.escape(self.message)}</pre>"


def approval_wanted(dag_id: str, run_id: str, subject: str, body: str) -> Notice:
    """A plan waits for an approver; nothing has been changed for it."""
    return Notice(
        APPROVAL_WANTED, f"Approval wanted: {subject}", body, "nothing was changed",
        f"answer in Airflow under Required Actions ({dag_id}, run {run_id}); no answer in time counts as Reject",
    )  # fmt: skip


def rolled_back(dag_id: str, run_id: str, verdict: Ended) -> Notice | None:
    """A run was rolled back, is unfinished or waits for people; None for any other end."""
    words = _UNDONE.get(str(verdict.name))
    if words is None:
        return None
    lines = verdict.message.splitlines()
    following = next((line.removeprefix("Next: ") for line in lines if line.startswith("Next: ")), "")
    left = "; ".join(getattr(verdict, "left_behind", ()))
    return Notice(
        ROLLED_BACK, f"{dag_id} {words}", f"{dag_id} (run {run_id}) {words}.\n{verdict.message}",
        left or "nothing", following or f"read the task verdict of {dag_id}, run {run_id}",
    )  # fmt: skip


def budget_passed(run_id: str, text: str, done: str) -> Notice:
    """The cost guard saw a spike; ``done`` is what it did, with the command that takes it back."""
    return Notice(
        BUDGET_PASSED, "AkiDB spends more than its budget", text, done,
        f"follow the remedy above; the run is cost_guard, {run_id}",
    )  # fmt: skip


def champion_demoted(run_id: str, alerts: str) -> Notice:
    """A forecast lost its place, or nobody knows how good it is."""
    return Notice(
        CHAMPION_DEMOTED, "A traffic forecast lost its place", alerts,
        "scaling goes on with the alternative, and on requests alone where there is none",
        f"read docs/how-to/forecast_operations.md; the run is forecast_watch, {run_id}",
    )  # fmt: skip


def deadline_missed(dag_id: str, run_id: str, due: str, state: str) -> Notice:
    """A run of the week is not done in time; it goes on."""
    return Notice(
        DEADLINE_MISSED, f"{dag_id} is late", f"{dag_id} (run {run_id}) was due at {due} and is {state}.",
        "the run goes on; what it has written stands until its gates have judged it",
        f"look at the run; an answer may be wanted. To stop and undo it: airflow dags trigger rollback --conf "
        f"'{json.dumps({'lever': 'everything', 'dry_run': False})}'",
    )  # fmt: skip


def fill(arguments: Mapping[str, Any], notice: Notice) -> dict[str, Any]:
    """A notifier's arguments with the notice's texts in place of their names, at any depth."""
    texts = {
        "subject": notice.subject, "message": notice.message, "html": notice.html, "event": notice.event,
        "next": notice.next_step,
    }  # fmt: skip

    def filled(value: Any) -> Any:
        if isinstance(value, str):
            return _FIELD.sub(lambda found: texts[found[1]], value)
        if isinstance(value, Mapping):
            return {key: filled(inner) for key, inner in value.items()}
        return [filled(inner) for inner in value] if isinstance(value, list | tuple) else value

    return {name: filled(value) for name, value in arguments.items()}
