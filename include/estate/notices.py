"""Whom the estate tells of what happens: Airflow notifiers by their dotted path."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from include.estate.fields import Part

Event = Literal["approval_wanted", "rolled_back", "budget_passed", "champion_demoted", "deadline_missed"]
_DOTTED = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+", re.ASCII)


def _dotted(text: str) -> str:
    if not _DOTTED.fullmatch(text):
        raise ValueError(
            "must be the dotted path of a notifier's class, such as "
            "airflow.providers.smtp.notifications.smtp.SmtpNotifier"
        )
    return text


class Notice(Part):
    """One notifier: the events that it is told of (none named: all), and what its class is made with.

    In the texts of ``arguments``, at any depth, {subject}, {message}, {html}, {event} and {next} are filled in. Secrets
    belong into the Airflow connection that the notifier names.
    """

    notifier: Annotated[str, AfterValidator(_dotted)]
    events: tuple[Event, ...] = ()
    arguments: dict[str, Any] = Field(default_factory=dict)

    def wants(self, event: str) -> bool:
        """Whether it is told of an event."""
        return not self.events or event in self.events
