"""The device's load in requests/s: from Prometheus, or from a metrics file that something on the device writes.

Whatever goes wrong, the load is unknown; it is never taken for zero.
"""

from __future__ import annotations

import http.client
import json
import math
import urllib.parse
import urllib.request
from typing import Any, Callable

from jetson_tasks.desired import LoadSource
from jetson_tasks.paths import Files

ANSWER_SECONDS = 5
Fetch = Callable[[str], str]


class LoadUnknown(RuntimeError):  # noqa: N818 - as the other refusals of this project are named
    """The load can't be said; the message says why."""


def load_of(source: LoadSource, files: Files, now: float, oldest_seconds: float, fetch: Fetch | None = None) -> float:
    """Requests/s at this moment. Raises LoadUnknown; a file older than ``oldest_seconds`` says nothing."""
    if source.kind == "prometheus":
        return _sample(source, (fetch or _fetch)(_address(source)))
    return _from_file(source, files, now, oldest_seconds)


def _address(source: LoadSource) -> str:
    return "{}/api/v1/query?{}".format(source.address.rstrip("/"), urllib.parse.urlencode({"query": source.query}))


def _fetch(address: str) -> str:
    if not address.startswith(("http://", "https://")):
        raise LoadUnknown(f"{address} is no http address")
    try:
        with urllib.request.urlopen(address, timeout=ANSWER_SECONDS) as answer:
            return str(answer.read().decode("utf-8", "replace"))
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise LoadUnknown(f"Prometheus can't be asked: {error}") from error


def _sample(source: LoadSource, text: str) -> float:
    try:
        result: Any = json.loads(text)["data"]["result"]
        values = [float(series["value"][1]) for series in result]
    except (ValueError, KeyError, TypeError, IndexError, OverflowError, RecursionError) as error:
        raise LoadUnknown(f"Prometheus' answer to {source.query} is no vector: {text[:200]}") from error
    if len(values) != 1:
        raise LoadUnknown(f"{source.query} has {len(values)} series, not one")
    return _checked(values[0], source.query)


def _from_file(source: LoadSource, files: Files, now: float, oldest_seconds: float) -> float:
    path = files.path(source.address)
    try:
        age, text = now - path.stat().st_mtime, path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise LoadUnknown(f"{source.address} can't be read: {error}") from error
    if age > oldest_seconds:
        raise LoadUnknown(f"{source.address} is {age:.0f} s old")
    if age < -oldest_seconds:  # the clock was set back: nobody knows how old it is
        raise LoadUnknown(f"{source.address} is {-age:.0f} s from the future")
    samples = [line[len(source.query) :] for line in text.splitlines() if _is_of(line, source.query)]
    try:
        values = [_value(sample) for sample in samples]
    except (ValueError, IndexError) as error:
        raise LoadUnknown(f"{source.address} has a {source.query} that is no number: {error}") from error
    if not values:
        raise LoadUnknown(f"{source.address} has no {source.query}")
    return _checked(sum(values), source.query)


def _is_of(line: str, metric: str) -> bool:
    return line.startswith((metric + "{", metric + " "))


def _value(sample: str) -> float:
    """The number behind a series' labels; a timestamp may follow it."""
    return float(sample.rpartition("}")[2].split()[0])


def _checked(value: float, what: str) -> float:
    if not math.isfinite(value) or value < 0:
        raise LoadUnknown(f"{what} is {value}")
    return value
