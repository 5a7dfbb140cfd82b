"""The arguments of Terraform's aws provider, and what of a resource it would not take."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

ARGUMENTS = json.loads(Path(__file__).with_name("aws_provider_arguments.json").read_text())
TAKES = {"string": str, "number": (int, float), "boolean": bool, "list of string": list, "map of string": Mapping}


def problems(kind: str, arguments: Mapping[str, Any]) -> list[str]:
    """Arguments that the provider does not know, of another type, or that are missing."""
    return [*_problems(kind, arguments, ARGUMENTS[kind])]


def _problems(path: str, given: Mapping[str, Any], known: Mapping[str, Any]) -> Iterator[str]:
    plain = {name.rstrip("!"): inside for name, inside in known.items()}
    yield from (f"{path}.{name[:-1]} is missing" for name in known if name.endswith("!") and name[:-1] not in given)
    for name, value in given.items():
        inside = plain.get(name)
        if inside is None:
            yield f"{path} has no {name}"
        elif isinstance(inside, dict):
            for one in value if isinstance(value, list) else [value]:
                yield from _problems(f"{path}.{name}", one, inside)
        elif not isinstance(value, TAKES[inside.split("/")[0]]):
            yield f"{path}.{name} is {type(value).__name__}, not {inside}"


def is_argument(kind: str, path: str) -> bool:
    """Whether ``a.b[x].c`` leads to an argument of a resource."""
    known: Any = ARGUMENTS[kind]
    for step in path.split("."):
        known = {name.rstrip("!"): inside for name, inside in known.items()}.get(step.partition("[")[0])
        if known is None:
            return False
    return True
