"""The estate's file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import yaml
from pydantic import ValidationError

from include.estate.fields import EstateError
from include.estate.problems import explain
from include.estate.whole import Estate

ESTATE_FILE = Path(__file__).parents[1] / "estate.yaml"


def load_estate(path: Path | None = None) -> Estate:
    """Read and validate the estate: ``path``, else ``$AKIDB_ESTATE``, else ``include/estate.yaml``.

    Raises EstateError with one line per wrong field.
    """
    path = path or Path(os.environ.get("AKIDB_ESTATE") or ESTATE_FILE)
    try:
        return _estate_of(path.read_text(encoding="utf-8"), path)
    except OSError as error:
        raise EstateError(
            f"{path.name} can't be read ({error.strerror}): set AKIDB_ESTATE to the estate's file"
        ) from error
    except UnicodeDecodeError as error:
        raise EstateError(f"{path.name} is not UTF-8 text ({error.reason} at byte {error.start})") from error


# A parse asks for the estate several times, and nobody changes what is frozen.
@lru_cache(maxsize=4)
def _estate_of(text: str, path: Path) -> Estate:
    # CSafeLoader is several times faster, and this file is read at every parse.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)(text)
    try:
        node = loader.get_single_node()
        if repeated := dict.fromkeys(_repeated(node)):  # an anchor is looked at wherever it is used
            raise EstateError(f"{path.name} has a key twice, and only one can count: {'; '.join(repeated)}")
        raw = None if node is None else loader.construct_document(node)
    except yaml.YAMLError as error:
        raise EstateError(f"{path.name} is not valid YAML: {' '.join(str(error).split())}") from error
    finally:
        loader.dispose()
    if not isinstance(raw, dict):
        raise EstateError(f"{path.name} must be a mapping of settings, not {type(raw).__name__}")
    try:
        return Estate.model_validate(raw)
    except ValidationError as error:
        raise EstateError(explain(path, error)) from error


def _repeated(node: yaml.Node | None) -> Iterator[str]:
    """Keys that stand twice in one mapping, with their lines; YAML would take the last one and say nothing."""
    if isinstance(node, yaml.SequenceNode):
        for one in node.value:
            yield from _repeated(one)
    elif isinstance(node, yaml.MappingNode):
        lines: dict[str, int] = {}
        for key, value in node.value:
            name, line = str(key.value), key.start_mark.line + 1
            if name in lines:
                yield f"{name} in lines {lines[name]} and {line}"
            lines.setdefault(name, line)
            yield from _repeated(value)
