"""What the monthly baseline is triggered with."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from include.forms import Recurring


class BaselineSettings(Recurring):
    """Which month."""

    month: Annotated[
        str,
        Field(
            pattern=r"^(\d{4}-(0[1-9]|1[0-2]))?$",
            description="Month such as 2026-11 (UTC); empty: the last one that is over at the end of the interval",
        ),
    ] = ""
