"""What the parts of the estate are made of: the frozen base model, quantities, shares, lengths and matchers."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from include.quantities import quantity

Hour = Annotated[int, Field(ge=0, le=24)]
Share = Annotated[float, Field(ge=0, le=1)]
Seconds = Annotated[int, Field(gt=0)]


class EstateError(ValueError):
    """The estate's description can't be used; the message names the field, the value and the remedy."""


def _text_of_number(value: Any) -> Any:
    """YAML reads ``cpu: 1`` as a number; Kubernetes takes both."""
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _positive(text: str) -> str:
    if quantity(text) <= 0:
        raise ValueError("must be more than zero")
    return text


def _whole_bytes(text: str) -> str:
    if quantity(text) % 1:
        raise ValueError(f"is {quantity(text).normalize():f} bytes: m means thousandths, write M or Mi for megabytes")
    return text


_MATCHER = r'[a-zA-Z_]\w*\s*(?:=~|!~|!=|=)\s*"(?:[^"\\]|\\.)*"'
_MATCHERS = re.compile(rf"(?:{_MATCHER}(?:\s*,\s*{_MATCHER})*)?", re.ASCII)
_AGE = re.compile(r"Never|(?:\d+[smh])+", re.ASCII)


def _label_matchers(text: str) -> str:
    if not _MATCHERS.fullmatch(text):
        raise ValueError('must be PromQL label matchers without braces, such as team="search",env=~"prod.*"')
    return text


def _age(text: str) -> str:
    if not _AGE.fullmatch(text):
        raise ValueError("must be Never or an age that Karpenter reads, such as 720h or 1h30m")
    return text


Cpu = Annotated[str, BeforeValidator(_text_of_number), AfterValidator(_positive)]
Memory = Annotated[str, BeforeValidator(_text_of_number), AfterValidator(_positive), AfterValidator(_whole_bytes)]
Matchers = Annotated[str, AfterValidator(_label_matchers)]
Age = Annotated[str, AfterValidator(_age)]


class Part(BaseModel):
    """A part of the estate: frozen; an unknown key is refused, and so is a number without an end."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
