"""The templates of include/manifests, filled in."""

from __future__ import annotations

import copy
import json
import string
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from include.levers.world import Object

FOLDER = Path(__file__).parents[1] / "manifests"


def filled(path: str, values: Mapping[str, str], part: str | None = None) -> Any:
    """A document, or one ``part`` of it, of queries and sentences: their ``${...}`` replaced by text as it is."""

    def fill(value: Any) -> Any:
        if isinstance(value, str):
            return string.Template(value).substitute(values)
        if isinstance(value, dict):
            return {key: fill(inner) for key, inner in value.items()}
        return [fill(inner) for inner in value] if isinstance(value, list) else value

    document = yaml.safe_load((FOLDER / path).read_text(encoding="utf-8"))
    return fill(document if part is None else document[part])


def render(path: str, values: Mapping[str, Any]) -> list[Object]:
    """The documents of ``cost_monitoring/opencost.yaml`` with their ``${...}`` filled in; values become JSON."""
    template = string.Template((FOLDER / path).read_text(encoding="utf-8"))
    text = template.substitute({key: json.dumps(value) for key, value in values.items()})
    # Two parts of one YAML document would share their objects, and a change to one would be one to both.
    return [copy.deepcopy(document) for document in yaml.safe_load_all(text)]
