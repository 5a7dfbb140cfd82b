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


def render(path: str, values: Mapping[str, Any]) -> list[Object]:
    """The documents of ``cost_monitoring/opencost.yaml`` with their ``${...}`` filled in; values become JSON."""
    template = string.Template((FOLDER / path).read_text(encoding="utf-8"))
    filled = template.substitute({key: json.dumps(value) for key, value in values.items()})
    # Two parts of one YAML document would share their objects, and a change to one would be one to both.
    return [copy.deepcopy(document) for document in yaml.safe_load_all(filled)]
