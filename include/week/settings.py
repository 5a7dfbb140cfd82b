"""The form of the week, and what each day is triggered with."""

from __future__ import annotations

import json
from collections.abc import Sequence
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from include.estate import Estate
from include.forms import Form, FormError, Regions, check_names, form_fields
from include.rollout.lever import Lever, Refused
from include.rollout.settings import build, form_models
from include.week.days import Day, selected

Number = Annotated[int, Field(ge=1, le=5)]
EACH_DAY, ONCE = "each day", "once"
STOP, CONTINUE = "stop", "continue"
WEEK_SECONDS = 7 * 24 * 3600
# What the week alone says, for all days.
_OF_THE_WEEK = ("dry_run", "reason", "regions")


class WeekSettings(Form):
    """What the week asks for."""

    dry_run: Annotated[bool, Field(description="Only check and plan all days; nothing is written or triggered")] = True
    reason: Annotated[str, Field(max_length=500, description="Why; shown to the approvers, kept in the ledger")] = ""
    regions: Annotated[Regions, Field(description="Regions to roll out in; several need the canary among them")]
    days: Annotated[tuple[Number, ...], Field(min_length=1, description="Days to carry out")] = (1, 2, 3, 4, 5)
    first_day: Annotated[Number, Field(description="Day to begin with: resumes a week whose earlier days stand")] = 1
    on_rollback: Annotated[
        Literal["stop", "continue"],
        Field(
            description="After a day that was rolled back, rejected or refused; one that left something behind, or "
            "waits for people, always stops the week"
        ),
    ] = "stop"
    approval: Annotated[
        Literal["each day", "once"],
        Field(description="Ask for each day, or once for all; a day outside what was approved asks again"),
    ] = "each day"
    settings: Annotated[
        dict[str, dict[str, Any]],
        Field(description='Settings of single days by DAG: {"day1_spot": {"soak_seconds": 600}}'),
    ] = {}  # noqa: RUF012 - pydantic copies it, and the form needs a default that it can show
    dollar_tolerance: Annotated[
        float,
        Field(ge=0, le=1, description="Share by which a day may save less than approved before it asks again"),
    ] = 0.1
    week15_gate: Annotated[
        bool, Field(description="After the last day, wait for the window and judge cost, P95 and incidents")
    ] = False
    week15_window_seconds: Annotated[
        int, Field(gt=0, le=4 * WEEK_SECONDS, description="Length of that window; the plan's is 7 days")
    ] = WEEK_SECONDS

    @model_validator(mode="after")
    def _some_day_is_left(self) -> WeekSettings:
        if not any(day >= self.first_day for day in self.days):
            raise ValueError(f"first_day {self.first_day} leaves none of the days {self.days}: choose an earlier one")
        return self

    @property
    def tolerance(self) -> Decimal:
        """``dollar_tolerance``, exact."""
        return Decimal(str(self.dollar_tolerance))

    def chosen(self, days: Sequence[Day]) -> list[Day]:
        """The rollouts of the chosen days, in order. Raises Refused naming a DAG in ``settings`` that is none."""
        known = [day.dag for day in days]
        for dag in self.settings:
            if dag not in known:
                raise Refused(f"settings.{dag}: no such day; the days are {', '.join(known)}")
        return selected(days, self.days, self.first_day)

    def conf(self, day: Day, levers: Sequence[Lever], estate: Estate) -> dict[str, Any]:
        """What the day's DAG is triggered with. Raises Refused naming the field of ``settings`` that is wrong."""
        own = self.settings.get(day.dag, {})
        names = _form(levers, estate)
        at = f"settings.{day.dag}"
        if taken := sorted({*own} & {*_OF_THE_WEEK}):
            raise Refused(f"{at}.{taken[0]}: the week says this for all days; set {taken[0]} in the week's form")
        try:
            check_names(own, names)
        except FormError as error:
            raise Refused(f"{at}: {error}") from error
        whole = {"dry_run": self.dry_run, "reason": self.reason, "regions": list(self.regions)}
        return {name: value for name, value in whole.items() if name in names} | own

    def values(self, day: Day, levers: Sequence[Lever], estate: Estate) -> dict[str, Any]:
        """Every value of the day's form as JSON: what its conf says, else the defaults. Raises Refused like conf."""
        conf = self.conf(day, levers, estate)
        try:
            return form_values(levers, conf, estate)
        except Refused as error:
            raise Refused(f"settings.{day.dag}: {error}") from error


def form_values(levers: Sequence[Lever], params: dict[str, Any] | Any, estate: Estate) -> dict[str, Any]:
    """The values of a rollout's form as JSON, defaults filled in. Raises Refused naming what is wrong."""
    models = form_models(levers)
    found: dict[str, Any] = {}
    for model in models:
        found |= json.loads(build(model, params, estate).model_dump_json())
    return found


def _form(levers: Sequence[Lever], estate: Estate) -> list[str]:
    return [name for model in form_models(levers) for name in form_fields(model, estate)]
