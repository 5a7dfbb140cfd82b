"""What the tasks of all regions have come to, for the last task of a run."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any


def failed_regions(states: Mapping[str, str | None], mapped: str, regions: Sequence[str]) -> list[str]:
    """Region and task of each failure in the mapped task or group ``mapped``."""
    found = []
    for name, state in sorted(states.items()):
        match = re.fullmatch(rf"{re.escape(mapped)}(?:\.(\w+))?_(\d+)", name)
        if match and state == "failed":
            found.append(f"{regions[int(match[2])]}: {match[1] or mapped} failed, its log says why")
    return found


def demoted(seen: Sequence[Mapping[str, Any]]) -> list[str]:
    """What to tell of the champions that have lost their place; ``seen`` as the task returns it."""
    return [str(one["alert"]) for one in seen if (one["decision"] or {}).get("action") == "demoted"]
