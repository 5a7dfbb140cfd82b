"""Settings of a rollout and of a rollback: frozen models that include/forms.py makes the trigger forms of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from include import forms
from include.estate import Estate
from include.forms import Form, FormError, Model, Regions, form_fields, window_defaults
from include.rollout.gates import MINIMUM_COVERAGE
from include.rollout.lever import Lever, Refused, acts_in
from include.rollout.place import PlaceKind, places_of

__all__ = [
    "EVERYTHING",
    "LONGEST_CONVERGENCE",
    "RegionRolloutSettings",
    "RollbackSettings",
    "RolloutSettings",
    "build",
    "build_on_record",
    "form_fields",
    "form_models",
    "rollout_settings",
    "window_defaults",
]
EVERYTHING = "everything"  # the rollback's choice of every lever
WEEK = 7 * 24 * 3600
LONGEST_CONVERGENCE = 4 * 3600  # upper bound of a lever's converge_timeout_seconds: a task's limit follows from it


class RolloutSettings(Form):
    """What every rollout asks for. Lengths in seconds; one without a default takes the window of its name."""

    dry_run: Annotated[bool, Field(description="Only check and plan; nothing is written")] = True
    deliver: Annotated[
        Literal["apply", "export"],
        Field(
            description="apply: make the change. export: write it as manifests and Terraform beside the ledger, for a "
            "repository; nothing is changed, whatever dry_run says"
        ),
    ] = "apply"
    reason: Annotated[str, Field(max_length=500, description="Why; shown to the approver and kept in the ledger")] = ""
    soak_seconds: Annotated[int, Field(gt=0, le=WEEK, description="Wait after each stage before its gates are judged")]
    gate_window_seconds: Annotated[int, Field(gt=0, le=WEEK, description="Time span that the gates look back on")]
    gate_wait_seconds: Annotated[
        int, Field(ge=0, le=3600, description="How long a gate without data waits for it before it is unknown")
    ] = 300
    minimum_coverage: Annotated[
        float, Field(ge=0, le=1, description="Share of a gate's window that must have samples, or it is unknown")
    ] = MINIMUM_COVERAGE

    @property
    def exports(self) -> bool:
        """Whether the run writes files for a repository, and no change."""
        return self.deliver == "export"

    @property
    def changes(self) -> bool:
        """Whether the run goes on to the approval of its plan, and to its first write."""
        return not (self.dry_run or self.exports)

    def judging(self) -> dict[str, float]:
        """How gates are judged: an approver agrees to it together with the gates."""
        names = ("soak_seconds", "gate_window_seconds", "gate_wait_seconds", "minimum_coverage")
        return {name: getattr(self, name) for name in names}

    def places(self, kind: PlaceKind, estate: Estate) -> list[str]:
        """The names of the places to roll out in, the canary first: all of that kind."""
        return places_of(kind, estate)

    def check_against(self, estate: Estate) -> None:
        """Raise Refused for a place that the estate doesn't have."""


class _InRegions(Form):
    regions: Annotated[Regions, Field(description="Regions to roll out in; several need the canary among them")]


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


def form_models(levers: Sequence[Lever]) -> list[type[BaseModel]]:
    """The models of a rollout's form: the engine's first, which asks for regions if a lever acts there, then each's."""
    kinds = sorted({acts_in(lever) for lever in levers}, key=lambda kind: kind is not PlaceKind.REGION)
    return [rollout_settings(kinds[0]), *(lever.settings_type for lever in levers)]


class RollbackSettings(Form):
    """What the rollback asks for. Its ``regions`` are names of places, also of a region that has left the estate."""

    lever: Annotated[str, Field(description="What to undo")] = EVERYTHING
    regions: Annotated[
        tuple[str, ...], Field(description="Places to undo it in; empty is wherever something stands")
    ] = ()
    run: Annotated[
        str,
        Field(
            max_length=300,
            description="Run id, or dag_id/run_id, to undo; empty for the last change of the lever, or all of "
            "everything",
        ),
    ] = ""
    dry_run: Annotated[bool, Field(description="Only show what would be undone; nothing is written")] = True
    emergency: Annotated[bool, Field(description="Skip the approval; the reason is required")] = False
    accept: Annotated[
        bool,
        Field(
            description="Close what remains, what others have changed and what is out of reach: it no longer counts as "
            "standing"
        ),
    ] = False
    reason: Annotated[str, Field(max_length=500, description="Why; needed for an emergency, kept in the ledger")] = ""


def build(model: type[Model], values: Mapping[str, Any], estate: Estate) -> Model:
    """:func:`include.forms.build`, refusing as the engine does."""
    try:
        return forms.build(model, values, estate)
    except FormError as error:
        raise Refused(str(error)) from error


def build_on_record(model: type[Model], values: Mapping[str, Any], estate: Estate) -> Model:
    """:func:`include.forms.build_on_record`, refusing as the engine does."""
    try:
        return forms.build_on_record(model, values, estate)
    except FormError as error:
        raise Refused(str(error)) from error
