"""Settings of a run: frozen pydantic models, and the form fields that a DAG's parameters are made of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from include.estate import Estate
from include.rollout.gates import MINIMUM_COVERAGE
from include.rollout.lever import Refused
from include.rollout.place import PlaceKind, places_of

Model = TypeVar("Model", bound=BaseModel)
WEEK = 7 * 24 * 3600
LONGEST_CONVERGENCE = 4 * 3600  # upper bound of a lever's converge_timeout_seconds: a task's limit follows from it


class RolloutSettings(BaseModel):
    """What every rollout asks for. Lengths in seconds; one without a default takes the window of its name."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    dry_run: Annotated[bool, Field(description="Only check and plan; nothing is written")] = True
    reason: Annotated[str, Field(max_length=500, description="Why; shown to the approver and kept in the ledger")] = ""
    soak_seconds: Annotated[int, Field(gt=0, le=WEEK, description="Wait after each stage before its gates are judged")]
    gate_window_seconds: Annotated[int, Field(gt=0, le=WEEK, description="Time span that the gates look back on")]
    gate_wait_seconds: Annotated[
        int, Field(ge=0, le=3600, description="How long a gate without data waits for it before it is unknown")
    ] = 300
    minimum_coverage: Annotated[
        float, Field(ge=0, le=1, description="Share of a gate's window that must have samples, or it is unknown")
    ] = MINIMUM_COVERAGE

    def judging(self) -> dict[str, float]:
        """How gates are judged: an approver agrees to it together with the gates."""
        names = ("soak_seconds", "gate_window_seconds", "gate_wait_seconds", "minimum_coverage")
        return {name: getattr(self, name) for name in names}

    def places(self, kind: PlaceKind, estate: Estate) -> list[str]:
        """The names of the places to roll out in, the canary first: all of that kind."""
        return places_of(kind, estate)

    def check_against(self, estate: Estate) -> None:
        """Raise Refused for a place that the estate doesn't have."""


class _InRegions(BaseModel):
    regions: Annotated[
        tuple[str, ...], Field(min_length=1, description="Regions to roll out in; several need the canary among them")
    ]


class RegionRolloutSettings(RolloutSettings, _InRegions):
    """What a rollout in regions asks for besides: in which ones."""

    def check_against(self, estate: Estate) -> None:
        """Raise Refused for a region that the estate doesn't have, or several regions without the canary."""
        known = estate.ordered_regions()
        for region in self.regions:
            if region not in known:
                raise Refused(f"regions: {region!r} is not in the estate; it has {', '.join(known)}")
        if len(set(self.regions)) != len(self.regions):
            raise Refused(f"regions: {', '.join(self.regions)} names a region twice; name each once")
        if len(self.regions) > 1 and estate.canary_region not in self.regions:
            raise Refused(
                f"regions: {', '.join(self.regions)} leave out the canary {estate.canary_region}; "
                "add it, or roll out in one region at a time"
            )

    def places(self, kind: PlaceKind, estate: Estate) -> list[str]:
        """The selected regions, the canary first."""
        return [region for region in places_of(kind, estate) if region in self.regions]


def rollout_settings(kind: PlaceKind) -> type[RolloutSettings]:
    """The settings of a rollout in places of that kind: the form's first part."""
    return RegionRolloutSettings if kind is PlaceKind.REGION else RolloutSettings


def window_defaults(model: type[BaseModel], estate: Estate) -> dict[str, Any]:
    """Defaults from the estate for the fields that have none of their own.

    They are the estate's windows of the same name, and what the model's ``estate_defaults(estate)`` adds if it has it.
    """
    add = getattr(model, "estate_defaults", None)
    windows = estate.windows.model_dump() | (add(estate) if add else {})
    required = (name for name, field in model.model_fields.items() if field.is_required())
    return {name: windows[name] for name in required if name in windows}


def form_fields(model: type[BaseModel], estate: Estate) -> dict[str, dict[str, Any]]:
    """A JSON schema with default and description for every field of ``model``.

    Raises ValueError for a field without a description, or with neither a default nor a window of its name.
    """
    defaults = window_defaults(model, estate) | {"regions": estate.ordered_regions()}
    fields = {}
    for name, schema in model.model_json_schema()["properties"].items():
        schema = {key: value for key, value in schema.items() if key != "title"}
        default = schema.get("default", defaults.get(name))
        # JSON knows lists only: Airflow would refuse a tuple as "not of type array" when the run is triggered.
        schema["default"] = list(default) if isinstance(default, tuple) else default
        if not schema.get("description") or schema["default"] is None:
            raise ValueError(f"{model.__name__}.{name} needs a description and a default: a form can't show it without")
        if schema["default"] == "":
            schema["type"] = ["string", "null"]  # the form takes an empty text for an answer only where null is one
        if name == "regions":
            schema |= {"items": {"type": "string", "enum": defaults["regions"]}, "uniqueItems": True}
        fields[name] = schema
    return fields


def build(model: type[Model], values: Mapping[str, Any], estate: Estate) -> Model:
    """The model from those of ``values`` that it knows; missing ones from the windows and its defaults.

    Raises Refused with the field, the value and what is allowed.
    """
    known = {name: value for name, value in values.items() if name in model.model_fields}
    try:
        return model.model_validate(window_defaults(model, estate) | known)
    except ValidationError as error:
        raise Refused("; ".join(_problems(error))) from error


def build_on_record(model: type[Model], values: Mapping[str, Any], estate: Estate) -> Model:
    """Like :func:`build`, from settings that an earlier run put on record: an undo must not fail on them.

    A value that this release no longer allows gives way to the default.
    """
    known = {name: value for name, value in values.items() if name in model.model_fields}
    try:
        model.model_validate(window_defaults(model, estate) | known)
    except ValidationError as error:
        wrong = {problem["loc"][0] for problem in error.errors() if problem["loc"]}
        known = {name: value for name, value in known.items() if name not in wrong}
    return build(model, known, estate)


def _problems(error: ValidationError) -> Iterable[str]:
    for problem in error.errors(include_url=False):
        field = ".".join(str(part) for part in problem["loc"])
        yield f"{field or 'settings'} (value {problem['input']!r}): {problem['msg']}; correct it in the trigger form"
