"""What the bill is made of, where it comes from, and what it is judged against."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import Field, model_validator

from include.estate.fields import Part, Share


class ComponentRule(Part):
    """Which bill rows belong to a component: those that match every list that is not empty, by any of its entries.

    Entries of ``services`` are FOCUS ServiceNames or AWS product codes, compared without regard to case;
    ``resources`` and ``skus`` are patterns with ``*`` for the resource id and for SkuMeter (the usage type);
    ``tags`` must all be there with these values; ``sources`` are names of this project's cost sources.
    """

    services: tuple[str, ...] = ()
    resources: tuple[str, ...] = ()
    skus: tuple[str, ...] = ()
    tags: dict[str, str] = Field(default_factory=dict)
    sources: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _not_empty(self) -> ComponentRule:
        if not any((self.services, self.resources, self.skus, self.tags, self.sources)):
            raise ValueError(
                "a rule without any condition would take every row: name a service, tag, resource or source"
            )
        return self


class Component(Part):
    """One of the components that the cost plan is judged by.

    ``book`` says where its target comes from: ``plan`` compares dollars with the plan's week 14; ``list`` compares
    with the same percentage of its own baseline, since list prices and the plan's figures disagree.
    """

    book: Literal["plan", "list"]
    baseline_usd_month: Decimal | None = Field(
        default=None, gt=0, description="list book only: week 13 at list prices; left out for central_dc (its node "
        "groups at on-demand list price) and for jetson (all devices in their first mode)",
    )  # fmt: skip
    rules: Annotated[tuple[ComponentRule, ...], Field(min_length=1)]


class Export(Part):
    """A cost export in S3. Where two cover the same day of an account, the first in the list counts."""

    name: str
    format: Literal["focus-1.2", "cur-2.0", "cur"]
    connection: str
    bucket: str
    prefix: str


class Contract(Part):
    """A fixed monthly price: billed by the calendar month, compared with targets over 30.4 days."""

    name: str
    provider: str
    usd_month: Annotated[Decimal, Field(gt=0)]
    begins: dt.date
    ends: dt.date | None = None
    source: Annotated[str, Field(min_length=1, description="the document that the figure was taken from")]


class EdgeDevices(Part):
    """The Jetson devices and what their power costs. ``watts`` by mode, the mode of week 13 first."""

    count: Annotated[int, Field(ge=0)]
    watts: Annotated[dict[str, Annotated[Decimal, Field(gt=0)]], Field(min_length=1)]
    usd_kwh: Annotated[Decimal, Field(gt=0)]
    power_metric: str
    source: str


class Cost(Part):
    """What the bill is made of, where it comes from and what it is judged against."""

    currency: Annotated[str, Field(pattern="^[A-Z]{3}$")]
    exports: tuple[Export, ...]
    contracts: tuple[Contract, ...]
    devices: EdgeDevices
    components: Annotated[dict[str, Component], Field(min_length=1)]
    settle_hours: Annotated[int, Field(ge=24, description="age at which two equal exports make a day settled")]
    daily_alert_usd: Annotated[Decimal, Field(gt=0, description="the plan's own alert, beside target / 30.4")]
    spike_ratio: Annotated[float, Field(gt=1, description="spend rate against its own history that is a spike")]
    agree_within: Annotated[
        Share, Field(description="gap between bill, allocation and node-hours that needs no finding")
    ]

    @model_validator(mode="after")
    def _names_once(self) -> Cost:
        for what in ("exports", "contracts"):
            names = [item.name for item in getattr(self, what)]
            if len(set(names)) != len(names):
                raise ValueError(f"{what} has a name twice: {', '.join(names)}")
        return self
