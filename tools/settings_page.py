"""docs/reference/settings.md: what may be chosen for one run of each lever, generated from the forms' own models."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from include import levers
from include.estate import load_estate
from include.forms import form_fields
from include.rollout.place import PlaceKind
from include.rollout.settings import RollbackSettings, rollout_settings
from include.week.settings import WeekSettings

HEAD = """# Settings of a run

Generated from the trigger forms' models by `make docs`; edit those, not this file. Defaults are those of this
repository's `include/estate.yaml`: a length of time without a default of its own takes the estate's window of its name.
A value out of bounds and a name that a form doesn't have are refused before anything is read or written.
"""
# The guard and the calendar decide what these get: nobody chooses.
WITHOUT_A_FORM = {"cost_cap", "nonprod_hours"}


@dataclass(frozen=True)
class Part:
    """One table of the page."""

    title: str
    fields: Mapping[str, Mapping[str, Any]]


def parts() -> list[Part]:
    """What every rollout asks for, each lever's own settings, the week's and the rollback's."""
    estate = load_estate()
    common = form_fields(rollout_settings(PlaceKind.REGION), estate)
    found = [Part("Every rollout", common)]
    for name in sorted(levers.LEVERS.keys() - WITHOUT_A_FORM, key=list(levers.LEVERS).index):
        own = form_fields(levers.lever(name).settings_type, estate)
        found.append(Part(name, {field: schema for field, schema in own.items() if field not in common}))
    week = Part("week14", form_fields(WeekSettings, estate))
    return [*found, week, Part("rollback", form_fields(RollbackSettings, estate))]


def page(found: Iterable[Part]) -> str:
    """The whole page as Markdown."""
    lines = [HEAD]
    for part in found:
        lines += [f"## {part.title}", ""]
        lines += [*_table(part.fields), ""] if part.fields else ["Nothing of its own.", ""]
    return "\n".join(lines).rstrip() + "\n"


def _table(fields: Mapping[str, Mapping[str, Any]]) -> Sequence[str]:
    rows = (
        f"| `{name}` | {_value(schema['default'])} | {_bounds(schema)} | {_plain(schema['description'])} |"
        for name, schema in fields.items()
    )
    return ["| setting | default | allowed | what it is |", "|---|---|---|---|", *rows]


def _plain(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _value(value: Any) -> str:
    if value in ("", None, []):
        return "-"
    if isinstance(value, list):
        return ", ".join(str(one) for one in value)
    return (
        str(value) if isinstance(value, int | float) and not isinstance(value, bool) else json.dumps(value).strip('"')
    )


def _bounds(schema: Mapping[str, Any]) -> str:
    """``1 to 3600``, ``0.5 or more``, the choices, or the type."""
    if choices := schema.get("enum") or schema.get("examples") or schema.get("items", {}).get("enum"):
        return ", ".join(str(choice) for choice in choices)
    low, above = schema.get("minimum"), schema.get("exclusiveMinimum")
    high, below = schema.get("maximum"), schema.get("exclusiveMaximum")
    words = [f"{low} or more" if low is not None else "", f"more than {above}" if above is not None else ""]
    words += [f"at most {high}" if high is not None else "", f"less than {below}" if below is not None else ""]
    if low is not None and high is not None:
        return f"{low} to {high}"
    kinds = schema.get("type", "")
    kind = kinds if isinstance(kinds, str) else " or ".join(kinds)
    return ", ".join(word for word in words if word) or {"array": "a list", "object": "a mapping"}.get(kind, kind)
