"""Notices through Airflow's notifiers. What can't be sent is logged: a rollout never fails for a message."""

from __future__ import annotations

import importlib
import inspect
import logging
from collections.abc import Iterator, Mapping
from typing import Any

from include.estate import Estate, EstateError, load_estate
from include.estate.notices import Notice as Told
from include.notices import Notice, fill
from include.rollout.ledger import without_secrets
from include.rollout.lever import Check

log = logging.getLogger(__name__)
_TELLING = 6  # signs of an argument that an error must not repeat
REMEDY = "correct it in the estate's file, or install the provider that has it"


def notify_of(notice: Notice | None, context: Mapping[str, Any], estate: Estate | None = None) -> list[str]:
    """Tell everybody whom the estate names for the notice's event. Returns what went wrong, which is logged too."""
    if notice is None:
        return []
    try:
        told = (estate or load_estate()).notices
    except EstateError as error:
        log.warning("nobody was told of %s: %s", notice.event, error)
        return [str(error)]
    problems = [_send(number, one, notice, context) for number, one in enumerate(told) if one.wants(notice.event)]
    return [problem for problem in problems if problem]


def _send(number: int, told: Told, notice: Notice, context: Mapping[str, Any]) -> str:
    field = f"notices.{number}.notifier"
    try:
        # Not by calling it: that would render the message as a template, and it holds texts of others.
        notifier_class(told.notifier)(**fill(told.arguments, notice)).notify(context)
    except Exception as error:  # noqa: BLE001 - whatever a notifier raises, the rollout goes on
        # The arguments may hold addresses with secrets, and so may the error's text and its traceback.
        problem = f"{field} ({told.notifier}) could not tell of {notice.event}: {type(error).__name__}"
        log.warning("%s", problem)
        return problem
    return ""


def notifier_class(path: str) -> Any:
    """The notifier of a dotted path. Raises ImportError, AttributeError or TypeError naming what is wrong."""
    from airflow.sdk import BaseNotifier

    module, _, name = path.rpartition(".")
    found = getattr(importlib.import_module(module), name)
    if not (inspect.isclass(found) and issubclass(found, BaseNotifier)):
        raise TypeError(f"{path} is no Airflow notifier")
    return found


def notice_checks(estate: Estate) -> list[Check]:
    """One check for each notifier: its class is there, and takes the arguments that the estate gives it."""
    return [_check(number, told) for number, told in enumerate(estate.notices)]


def _without_arguments(error: Exception, arguments: Mapping[str, Any]) -> str:
    """What an error says, or only its type where it repeats an argument: that may be an address with a secret."""
    text = f"{type(error).__name__}: {error}"
    shown = any(len(one) >= _TELLING and one in text for one in _texts(arguments))
    return f"{type(error).__name__} (its text repeats an argument)" if shown else without_secrets(text)


def _texts(value: Any) -> Iterator[str]:
    """Every text in arguments, at any depth."""
    if isinstance(value, Mapping | list | tuple):
        for inner in value.values() if isinstance(value, Mapping) else value:
            yield from _texts(inner)
    elif value is not None:
        yield str(value)


def _check(number: int, told: Told) -> Check:
    field = f"notices.{number}.notifier"
    try:
        notifier_class(told.notifier)(**told.arguments)  # which sends nothing
    except Exception as error:  # noqa: BLE001 - a module may raise anything
        reason = f"{field} (value {told.notifier!r}): {_without_arguments(error, told.arguments)}"
        return Check("notices", passed=False, reason=reason, remedy=REMEDY)
    return Check("notices", passed=True, reason=f"{field}: {told.notifier}")
