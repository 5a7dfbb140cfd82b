"""Which fields of what is wanted are not so: a comparison that ignores what is live and that nobody wants. Pure."""

from __future__ import annotations

import json
from typing import Any

from include.rollout.lever import Difference


def unmet(path: str, live: Any, wanted: Any) -> list[Difference]:
    """Every wanted field whose live value is another one, by its path below ``path``.

    Requirements and the like are compared by their ``key``, JSON documents by what they say, any other list as a whole.
    """
    if live == wanted:
        return []
    live, wanted = _keyed(live), _keyed(wanted)
    if not isinstance(live, dict) or not isinstance(wanted, dict):
        return [] if live == wanted else [Difference(path, live, wanted)]
    joint = "." if " " in path else " "
    return [d for key, value in wanted.items() for d in unmet(f"{path}{joint}{key}", live.get(key), value)]


def _keyed(value: Any) -> Any:
    """A list of requirements as a dictionary by their key, a JSON document as what it holds."""
    if isinstance(value, list) and value and all(isinstance(item, dict) and "key" in item for item in value):
        return {item["key"]: {k: v for k, v in item.items() if k != "key"} for item in value}
    if isinstance(value, str) and value.startswith("{"):
        try:
            return json.loads(value)
        except json.JSONDecodeError:
            return value
    return value
