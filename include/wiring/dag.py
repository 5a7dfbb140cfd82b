"""Arguments of ``@dag``: the form, tags and limits of a rollout, of the rollback and of a scheduled DAG.

A scheduled DAG's file is its docstring and::

    @dag(schedule=CronDataIntervalTimetable("@hourly", timezone="UTC"), **recurring(__doc__, GuardSettings, [Tag.COST]))
    @with_estate
    def cost_guard(estate: Estate) -> None:
        ...

    cost_guard()
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from airflow.sdk import Param, ParamsDict, task  # type: ignore[attr-defined]
from airflow.sdk.exceptions import AirflowFailException
from pydantic import BaseModel

from include import levers
from include.estate import Estate, EstateError, load_estate
from include.forms import form_fields, joined_fields
from include.rollout.place import ESTATE_WIDE
from include.rollout.settings import EVERYTHING, RollbackSettings, form_models
from include.week.settings import WeekSettings
from include.wiring.conventions import DAG_DEFAULT_ARGS, Tag
from include.wiring.deadlines import deadline_of


def rollout_arguments(
    lever: str | Sequence[str], doc_md: str | None, tags: Sequence[Tag], estate: Estate | None = None
) -> dict[str, Any]:
    """Arguments of ``@dag`` for a rollout of one lever or several, but its schedule: params with bounds, one run at a
    time. It asks for regions if one of the levers acts there.

    Raises FormError naming a setting that two levers have and that isn't the same in both.
    """
    estate, _ = estate_or_problem(estate)
    found = [levers.lever(name) for name in ([lever] if isinstance(lever, str) else lever)]
    models = form_models(found) if estate else []
    return arguments(doc_md, tags) | {"params": params_of(models, estate), "deadline": deadline_of(estate)}


def params_of(models: Sequence[type[BaseModel]], estate: Estate | None) -> dict[str, Param]:
    """The params of all models."""
    return {name: _param(schema) for name, schema in joined_fields(models, estate).items()}


def week_arguments(doc_md: str | None, estate: Estate | None = None) -> dict[str, Any]:
    """Arguments of ``@dag`` for the week, but its schedule."""
    estate, _ = estate_or_problem(estate)
    params = params_from(WeekSettings, estate) if estate else {}
    return arguments(doc_md, [Tag.ROLLOUT]) | {"params": params}


def rollback_arguments(doc_md: str | None, estate: Estate | None = None) -> dict[str, Any]:
    """Arguments of ``@dag`` for the rollback DAG, but its schedule; its form is there whether the estate is or not."""
    estate, _ = estate_or_problem(estate)
    params = params_from(RollbackSettings, estate, {"lever": [EVERYTHING, *levers.LEVERS]})
    places = params["regions"].schema
    places["examples"] = [*places.get("examples", ()), ESTATE_WIDE]
    return arguments(doc_md, [Tag.OPERATIONS]) | {"params": params}


def recurring(
    doc_md: str | None,
    model: type[BaseModel],
    tags: Sequence[Tag],
    since: dt.date = dt.date(2026, 11, 1),
    **deviations: Any,
) -> dict[str, Any]:
    """Arguments of ``@dag`` for a scheduled DAG whose form is ``model``, but its schedule.

    It begins with the day ``since``; ``deviations`` take the place of what is usual.
    """
    estate, _ = estate_or_problem(None)
    start = dt.datetime(since.year, since.month, since.day, tzinfo=dt.UTC)
    params = params_from(model, estate) if estate else {}
    return arguments(doc_md, [Tag.RECURRING, *tags]) | {"start_date": start, "params": params} | deviations


def operation(doc_md: str | None, model: type[BaseModel], tags: Sequence[Tag]) -> dict[str, Any]:
    """Arguments of ``@dag`` for an operation that people trigger and whose form is ``model``, but its schedule."""
    estate, _ = estate_or_problem(None)
    return arguments(doc_md, [Tag.OPERATIONS, *tags]) | {"params": params_from(model, estate)}


def schedule_by_estate(make: Callable[[Estate], Any]) -> Any:
    """The schedule that ``make`` gives for the estate; none while that can't be read."""
    estate, _ = estate_or_problem(None)
    return make(estate) if estate else None


def arguments(doc_md: str | None, tags: Sequence[Tag]) -> dict[str, Any]:
    """What every DAG's ``@dag`` has; one run at a time."""
    return {
        "catchup": False,
        "max_active_runs": 1,
        "default_args": DAG_DEFAULT_ARGS,
        "doc_md": doc_md,
        "tags": [tag.value for tag in tags],
    }


def params_from(
    model: type[BaseModel], estate: Estate | None, choices: Mapping[str, Sequence[str]] | None = None
) -> dict[str, Param]:
    """Airflow params for every field of a settings model, with its description, bounds and default."""
    fields = form_fields(model, estate, choices)
    return {name: _param(schema) for name, schema in fields.items()}


class _Shared(dict[str, Any]):
    """A schema that nobody changes: Airflow copies that of each param for each task, a third of all that it parses."""

    def __deepcopy__(self, memo: Any) -> _Shared:
        return self


def without_copies(found: Any) -> None:
    """Take the form's copies out of the DAG of a task: Airflow gives each task one, 90 % of what it then serialises.

    A run's values are those of the DAG's own params and of its conf (``process_params``), with or without the copies. A
    mapped task keeps its one.
    """
    for one in found.operator.dag.tasks:
        if not one.is_mapped:
            one.params = ParamsDict()


def _param(schema: dict[str, Any]) -> Param:
    default, description = schema.pop("default"), schema.pop("description")
    # Airflow's form offers a choice of several from "examples".
    several = {"examples": schema["items"]["enum"]} if "enum" in schema.get("items", {}) else {}
    return Param(default, description, schema=_Shared(schema | several))


def with_estate(wire: Callable[[Estate], None]) -> Callable[[], None]:
    """A DAG's factory that is given the estate; while that can't be read, one task that fails with what is wrong."""

    def factory() -> None:
        estate, problem = estate_or_problem(None)
        if estate is None:
            show_problem(problem)
        else:
            wire(estate)

    # Not functools.wraps: @dag would take the estate for a parameter of the DAG.
    factory.__name__, factory.__doc__, factory.__module__ = wire.__name__, wire.__doc__, wire.__module__
    return factory


def estate_or_problem(estate: Estate | None) -> tuple[Estate | None, str]:
    """``estate``, else the estate's file; None and what is wrong when it can't be read."""
    try:
        return estate or load_estate(), ""
    except EstateError as error:
        return None, str(error)


def show_problem(message: str) -> None:
    """The only task of a DAG whose estate can't be read: it fails with what is wrong."""

    @task(retries=0, doc_md="The estate can't be read. Retrying can't help: correct the file that the message names.")
    def read_estate() -> None:
        raise AirflowFailException(message)

    read_estate()
