"""What is wrong with a description, one line per field."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ValidationError


def explain(path: Path, error: ValidationError) -> str:
    """One line per wrong field: the file's name, the field, what is wrong, and the value or the remedy."""
    lines = []
    for problem in error.errors(include_url=False):
        field = ".".join(str(part) for part in problem["loc"]) or "estate"
        if problem["type"] == "extra_forbidden":
            text = "is not a known setting: remove it or correct its spelling"
        elif problem["type"] == "missing":
            text = "is missing: add it"
        else:
            value = problem.get("input")
            # What a notifier is made with may be an address with a secret.
            is_secret = problem["loc"][:1] == ("notices",) and "arguments" in problem["loc"]
            shown = "" if is_secret or isinstance(value, dict | BaseModel) else f" (value {value!r})"
            text = f"{problem['msg']}{shown}"
        lines.append(f"{path.name}: {field} {text}")
    return "\n".join(lines)
