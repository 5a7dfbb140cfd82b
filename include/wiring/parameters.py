"""What a run was triggered with, for tasks: its names checked, its values as the settings of its form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow.sdk import get_current_context
from airflow.sdk.exceptions import AirflowFailException

from include.estate import EstateError, load_estate
from include.forms import FormError, Model, build, check_names
from include.rollout.lever import Refused


def settings_of_run(model: type[Model]) -> Model:
    """The current run's settings. Fails the task for good, naming the parameter that is unknown or wrong."""
    context = get_current_context()
    try:
        check_names(_entered(context), list(context["dag"].params))
        return build(model, context["params"], load_estate())
    except (FormError, EstateError) as error:
        raise AirflowFailException(str(error)) from error


def refuse_unknown_names(context: Mapping[str, Any]) -> None:
    """Raise Refused in a run's first task when the run was given a parameter that its form doesn't have.

    The tasks after it are left alone: a run that has begun under an older form must still be able to undo.
    """
    if context["task"].upstream_task_ids:
        return
    try:
        check_names(_entered(context), list(context["dag"].params))
    except FormError as error:
        raise Refused(str(error)) from error


def _entered(context: Mapping[str, Any]) -> list[str]:
    # Airflow merges what it doesn't know into context["params"] too: only the run's own conf says what was entered.
    return list(context["dag_run"].conf or {})
