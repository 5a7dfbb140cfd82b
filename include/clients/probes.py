"""A thin client for the results of latency probes: what viewers in several regions of the world wait for.

``GET <address>/probes`` answers a JSON list, one object for each probe::

    {"region": "mumbai", "country": "IN", "p95_ms": 31.5, "samples": 240, "time": "2026-11-29T10:00:00Z"}

A probe that has measured nothing is listed all the same, with null in its last three fields: nobody takes it for one
that there never was.
"""

from __future__ import annotations

import datetime as dt
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from include.clients.access import Access
from include.clients.asking import Asking

PATH = "/probes"


class ProbesError(RuntimeError):
    """The probes can't be asked or their answer can't be used; the message names address, field and remedy."""


@dataclass(frozen=True)
class ProbeResult:
    """What one probe has measured: P95 in ms over ``samples`` requests, ``time`` (Unix seconds) of the last one.

    ``region`` is the probe's own name, ``country`` an ISO 3166-1 code of two letters. ``p95_ms`` is None when it has
    measured nothing; ``samples`` and ``time`` are 0 then.
    """

    region: str
    country: str
    p95_ms: float | None
    samples: int = 0
    time: float = 0.0


class Probes:
    """The server of the probes' results. ``timeout`` is in seconds; ``access`` says who asks (default: nobody)."""

    def __init__(
        self,
        url: str,
        timeout: float = 10.0,
        session: Any = None,
        access: Access | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        if session is None:
            import requests

            session = requests.Session()
        self.address = f"{url.rstrip('/')}{PATH}"
        log = "the log of what serves the probes"
        self._asking = Asking(session, access or Access(url), timeout, sleep, ProbesError, log)

    def results(self) -> list[ProbeResult]:
        """The newest result of each probe, in the server's order. Raises ProbesError."""
        return parse(self._answer(self._asking.get(self.address)), self.address)

    def _answer(self, response: Any) -> Any:
        try:
            answer = response.json() if response.status_code == 200 else None
        except ValueError:
            answer = None
        if answer is None:
            raise ProbesError(
                f"{self.address} answers {response.status_code} without JSON: give the address of what serves the "
                "probes' results as its connection says"
            )
        return answer


def parse(answer: Any, where: str) -> list[ProbeResult]:
    """The results in an answer. Raises ProbesError naming ``where``, the probe and the field that is wrong."""
    if not isinstance(answer, Sequence) or isinstance(answer, str):
        raise ProbesError(
            f"{where}: the answer is {type(answer).__name__}, wanted a list of results: check its version"
        )
    return [_result(raw, f"{where}: result {number}") for number, raw in enumerate(answer, start=1)]


def _result(raw: Any, where: str) -> ProbeResult:
    if not isinstance(raw, Mapping):
        raise ProbesError(f"{where} is {type(raw).__name__}, wanted an object: check its version")

    def field(name: str, read: Callable[[Any], Any]) -> Any:
        try:
            return read(raw[name])
        except (KeyError, TypeError, ValueError) as error:
            shown = f"{type(error).__name__} {error}"
            raise ProbesError(
                f"{where} has no usable {name} ({shown}): correct it where the probes are served"
            ) from error

    region, country = field("region", _text), field("country", _text).upper()
    p95 = field("p95_ms", lambda value: None if value is None else _positive(value))
    if p95 is None:
        return ProbeResult(region, country, None)
    return ProbeResult(region, country, p95, int(field("samples", _positive)), field("time", _moment))


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{value!r} is no name")
    return value.strip()


def _positive(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        raise ValueError(f"{value!r} is no number of zero or more")
    return float(value)


def _moment(text: Any) -> float:
    at = dt.datetime.fromisoformat(text)
    if at.tzinfo is None:
        raise ValueError(f"{text} has no time zone")
    return at.timestamp()
