"""One form for every DAG: a frozen pydantic model in, fields of the trigger form and typed settings out.

A field of the model carries its type, bounds, default and description; ``form_fields`` makes the form of it, ``build``
the settings from what was entered, and ``check_names`` refuses a name that the form doesn't have. A required field
takes its default from the estate: ``regions`` all of its regions, any other the window of its name.
"""

from __future__ import annotations

import datetime as dt
import difflib
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from include.estate import Estate

Model = TypeVar("Model", bound=BaseModel)
# Airflow puts it into the conf of a run that another DAG triggers (TriggerDagRunOperator): nobody has typed it.
INTERNAL_NAMES = frozenset({"openlineage"})


class FormError(ValueError):
    """What was entered can't be used; the message names the field, the value and the remedy."""


class Form(BaseModel):
    """The base of a DAG's settings."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def _in_utc(moment: dt.datetime) -> dt.datetime:
    return moment.astimezone(dt.UTC) if moment.tzinfo else moment.replace(tzinfo=dt.UTC)


Moment = Annotated[dt.datetime, AfterValidator(_in_utc)]  # without an offset it is UTC
Regions = Annotated[tuple[str, ...], Field(min_length=1)]


class Recurring(Form):
    """What every scheduled DAG's form has."""

    dry_run: Annotated[
        bool,
        Field(description="Only show what would be written; nothing is. Off by default, since a schedule must act"),
    ] = False


# --- From the model to the form ---------------------------------------------------------------------------------------


def window_defaults(model: type[BaseModel], estate: Estate | None) -> dict[str, Any]:
    """Defaults from the estate for the fields that have none of their own.

    They are the estate's windows of the same name, and what the model's ``estate_defaults(estate)`` adds if it has it.
    """
    if estate is None:
        return {}
    add = getattr(model, "estate_defaults", None)
    windows = estate.windows.model_dump() | (add(estate) if add else {})
    return {name: windows[name] for name in _required(model) if name in windows}


def _required(model: type[BaseModel]) -> list[str]:
    return [name for name, field in model.model_fields.items() if field.is_required()]


def form_fields(
    model: type[BaseModel], estate: Estate | None, choices: Mapping[str, Sequence[str]] | None = None
) -> dict[str, dict[str, Any]]:
    """A JSON schema with default and description for every field of ``model``.

    ``choices`` bounds a text to a list that only the caller knows. Raises ValueError for a field without a description,
    or with neither a default nor a window of its name.
    """
    defaults = window_defaults(model, estate) | ({"regions": estate.ordered_regions()} if estate else {})
    fields = {}
    for name, schema in model.model_json_schema()["properties"].items():
        field = _flat({key: value for key, value in schema.items() if key != "title"})
        default = schema.get("default", defaults.get(name))
        # JSON knows lists only: Airflow would refuse a tuple as "not of type array" when the run is triggered.
        field["default"] = list(default) if isinstance(default, tuple) else default
        if not field.get("description") or ("default" not in schema and field["default"] is None):
            raise ValueError(f"{model.__name__}.{name} needs a description and a default: a form can't show it without")
        if field["default"] == "":
            field["type"] = ["string", "null"]  # the form takes an empty text for an answer only where null is one
        if name == "regions":
            field |= _regions(estate, name in _required(model))
        fields[name] = field | ({"enum": list(choices[name])} if choices and name in choices else {})
    return fields


def joined_fields(models: Sequence[type[BaseModel]], estate: Estate | None) -> dict[str, dict[str, Any]]:
    """The fields of all ``models`` as one form. Raises FormError for a name that means something else in another."""
    found: dict[str, dict[str, Any]] = {}
    owner: dict[str, str] = {}
    for model in models:
        for name, field in form_fields(model, estate).items():
            if name in found and found[name] != field:
                differ = sorted(key for key in {*found[name], *field} if found[name].get(key) != field.get(key))
                raise FormError(
                    f"{name} of {model.__name__} is not that of {owner[name]} ({', '.join(differ)}): a form shows a "
                    "name once, so let both take it from one model, or rename one of them"
                )
            found[name], owner[name] = field, owner.get(name, model.__name__)
    return found


def _flat(schema: dict[str, Any]) -> dict[str, Any]:
    """``X or null`` as one type of two names: the form has no field for an anyOf."""
    kinds = schema.pop("anyOf", [])
    if len(kinds) != 2 or kinds[1] != {"type": "null"}:
        return schema | ({"anyOf": kinds} if kinds else {})
    return {**kinds[0], **schema, "type": [kinds[0]["type"], "null"]}


def _regions(estate: Estate | None, required: bool) -> dict[str, Any]:
    """Required regions are bound to the estate's; others may name one that has left it, and have them as examples."""
    known = estate.ordered_regions() if estate else []
    bound = {"items": {"type": "string", "enum": known}} if required else {"examples": known}
    return {"uniqueItems": True} | (bound if known else {})


# --- From what was entered to the settings ----------------------------------------------------------------------------


def check_names(given: Iterable[str], known: Collection[str]) -> None:
    """Raise FormError for each name in ``given`` that is not in ``known``, with the nearest one that is."""
    wrong = [name for name in given if name not in known and name not in INTERNAL_NAMES]
    if wrong:
        listed = f"The parameters are {', '.join(known)}" if known else "There are no parameters"
        raise FormError(" ".join([*(_no_such(name, known) for name in wrong), listed]))


def _no_such(name: str, known: Collection[str]) -> str:
    by_spelling = {other.lower().replace("_", ""): other for other in known}
    nearest = difflib.get_close_matches(name.lower().replace("_", "").replace("-", ""), by_spelling, n=1)
    return f"{name}: no such parameter" + (f"; did you mean {by_spelling[nearest[0]]!r}?" if nearest else ".")


def build(model: type[Model], values: Mapping[str, Any], estate: Estate | None) -> Model:
    """The model from those of ``values`` that it knows; missing ones from the windows and its defaults.

    Raises FormError with the field, the value and what is allowed.
    """
    try:
        return model.model_validate(window_defaults(model, estate) | _known(model, values))
    except ValidationError as error:
        raise FormError("; ".join(_problems(error))) from error


def build_on_record(model: type[Model], values: Mapping[str, Any], estate: Estate | None) -> Model:
    """Like :func:`build`, from settings that an earlier run put on record: an undo must not fail on them.

    A value that this release no longer allows gives way to the default.
    """
    known = _known(model, values)
    try:
        model.model_validate(window_defaults(model, estate) | known)
    except ValidationError as error:
        wrong = {problem["loc"][0] for problem in error.errors() if problem["loc"]}
        known = {name: value for name, value in known.items() if name not in wrong}
    return build(model, known, estate)


def _known(model: type[BaseModel], values: Mapping[str, Any]) -> dict[str, Any]:
    """Those of ``values`` that the model knows. The form sends null for a text that was left empty."""
    fields = model.model_fields
    known = {name: value for name, value in values.items() if name in fields}
    return {name: "" if value is None and fields[name].default == "" else value for name, value in known.items()}


def _problems(error: ValidationError) -> Iterable[str]:
    for problem in error.errors(include_url=False):
        field = ".".join(str(part) for part in problem["loc"])
        yield f"{field or 'settings'} (value {problem['input']!r}): {problem['msg']}; correct it in the trigger form"
