"""A thin client for Prometheus. Missing, NaN and zero are three different answers, and none becomes another."""

from __future__ import annotations

import itertools
import math
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from include.clients.access import Access

MAX_POINTS = 10_000  # of a range query; the server refuses more than 11,000 a series
ATTEMPTS = 4


class PrometheusError(RuntimeError):
    """Prometheus can't be asked or refuses the query; the message names the address, the query and the remedy."""


class PartialResponseError(PrometheusError):
    """The answer lacks what a store that is away would have added (Thanos, Mimir, remote read): it is no evidence."""


@dataclass(frozen=True)
class Sample:
    """One value of one series. ``value`` may be NaN: the series exists, and says that it has no number."""

    labels: Mapping[str, str]
    time: float
    value: float


@dataclass(frozen=True)
class Series:
    """One series: ``points`` are (Unix seconds, value), oldest first."""

    labels: Mapping[str, str]
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Rule:
    """One loaded rule. ``kind`` is ``alerting`` or ``recording``; ``health`` ``ok``, ``err``, or ``unknown`` before its
    first evaluation; ``error`` what its last evaluation said, empty when it went well.
    """

    group: str
    name: str
    kind: str
    health: str
    error: str


class Prometheus:
    """One Prometheus server. ``timeout`` is in seconds; ``session`` a ``requests.Session``, made here by default.

    ``access`` says who asks (default: nobody).
    """

    def __init__(
        self,
        url: str,
        timeout: float = 10.0,
        session: Any = None,
        access: Access | None = None,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if session is None:
            import requests

            session = requests.Session()
        self.url = url.rstrip("/")
        self._timeout = timeout
        self._session = session
        self.access = access or Access(self.url)
        self._sleep = sleep
        self._clock = clock

    def query(self, expression: str, at: float | None = None) -> list[Sample]:
        """The instant vector at Unix time ``at`` (default: now). No series: an empty list."""
        result = self._ask("query", {"query": expression, "time": repr(self._clock() if at is None else at)})
        if result["resultType"] == "scalar":
            return [Sample({}, float(result["result"][0]), float(result["result"][1]))]
        return [Sample(s["metric"], float(s["value"][0]), float(s["value"][1])) for s in result["result"]]

    def value(self, expression: str, at: float | None = None) -> float | None:
        """The one number that the expression gives; None when there is no series or it is NaN.

        Raises PrometheusError when there are several series: aggregate them in the expression.
        """
        samples = self.query(expression, at)
        if len(samples) > 1:
            raise PrometheusError(f"{self.url}: {expression} gives {len(samples)} series, wanted one: aggregate them")
        return None if not samples or math.isnan(samples[0].value) else samples[0].value

    def raw(self, selector: str, seconds: float, at: float | None = None) -> list[Series]:
        """The stored samples of each series in the last ``seconds``, as scraped."""
        end = self._clock() if at is None else at
        result = self._ask("query", {"query": f"{selector}[{max(1, round(seconds))}s]", "time": repr(end)})
        return [_series(s) for s in result["result"]]

    def query_range(self, expression: str, start: float, end: float, step: float) -> list[Series]:
        """The expression at ``start``, ``start + step`` ... ``end`` (Unix seconds), in as few requests as possible.

        A step without a value is absent, never zero.
        """
        merged: dict[tuple[tuple[str, str], ...], list[tuple[float, float]]] = {}
        for first, last in chunks(start, end, step):
            parameters = {"query": expression, "start": repr(first), "end": repr(last), "step": repr(step)}
            for raw in self._ask("query_range", parameters)["result"]:
                series = _series(raw)
                merged.setdefault(tuple(sorted(series.labels.items())), []).extend(series.points)
        return [Series(dict(labels), tuple(points)) for labels, points in merged.items()]

    def series_exists(self, selector: str, seconds: float = 300.0) -> bool:
        """Whether any series matched the selector had a sample in the last ``seconds``."""
        return bool(self.query(f"count(last_over_time({selector}[{max(1, round(seconds))}s]))"))

    def bucket_increases(self, histogram: str, matchers: str, seconds: float) -> dict[float, float] | None:
        """Observations by upper edge (``le``; infinity last) in the last ``seconds``: cumulative, all series summed.

        ``histogram`` has no ``_bucket``; ``matchers`` reads like ``region="us-east-1"``. None when there is no series.
        """
        window = max(1, round(seconds))
        samples = self.query(f"sum by (le) (increase({histogram}_bucket{{{matchers}}}[{window}s]))")
        counts = {float(s.labels["le"]): s.value for s in samples if not math.isnan(s.value)}
        return dict(sorted(counts.items())) or None

    def rules(self) -> list[Rule]:
        """Every alerting and recording rule that the server has loaded, in the order of its groups."""
        return [
            Rule(group["name"], rule["name"], rule["type"], rule["health"], rule.get("lastError") or "")
            for group in self._ask("rules", {}, "get")["groups"]
            for rule in group["rules"]
        ]

    def _ask(self, path: str, parameters: Mapping[str, str], method: str = "post") -> Any:
        import requests

        problem, what = "", parameters.get("query", path)
        for attempt in range(ATTEMPTS):
            if attempt:
                self._sleep(0.5 * 2 ** (attempt - 1) * random.uniform(0.75, 1.25))
            try:
                send = getattr(self._session, method)  # what changes nothing may also be posted, but for the rules
                response = send(
                    f"{self.url}/api/v1/{path}",
                    data=dict(parameters),
                    timeout=self._timeout,
                    **self.access.options(),
                )
            except requests.exceptions.SSLError as error:
                raise PrometheusError(
                    f"{self.url}: its certificate is not trusted ({_short(error)}): name the CA file in its "
                    "connection's extra.verify"
                ) from error
            except requests.RequestException as error:
                problem = f"can't be reached ({_short(error)}): check the host of its connection"
                continue
            if response.status_code in (401, 403):
                raise PrometheusError(self.access.refused(response.status_code, response.text, "its Prometheus"))
            if response.status_code >= 500 or response.status_code == 429:
                problem = f"answers {response.status_code} to {what}"
                continue
            answer = self._answer(response, what)
            missing = partial(answer.get("warnings") or [])
            if not missing:
                return answer["data"]
            if attempt == ATTEMPTS - 1:
                raise PartialResponseError(
                    f"{self.url} answers {what} in part only ({self.access.shown('; '.join(missing))}): bring back the "
                    f"store that it names ({ATTEMPTS} attempts)"
                )
        raise PrometheusError(f"{self.url} {problem} ({ATTEMPTS} attempts)")

    def _answer(self, response: Any, expression: str) -> Any:
        try:
            answer = response.json()
        except ValueError as error:
            raise PrometheusError(
                f"{self.url} answers {response.status_code} without JSON: is this Prometheus? Check the host and the "
                "schema of its connection"
            ) from error
        if answer.get("status") != "success":
            raise PrometheusError(f"{self.url}: {expression}: {answer.get('error', response.status_code)}")
        return answer


def partial(warnings: Sequence[str]) -> list[str]:
    """The warnings that say that an answer is not whole. Hints at a query's style are none of them.

    Such hints stand under ``infos``; Prometheus 2.48 to 2.52 has them among the warnings.
    """
    return [warning for warning in warnings if not warning.startswith("PromQL info")]


def chunks(start: float, end: float, step: float) -> Iterator[tuple[float, float]]:
    """Ranges of at most ``MAX_POINTS`` steps that together cover ``start`` to ``end`` with no step twice."""
    if step <= 0 or end < start:
        raise ValueError(f"needs start <= end and step > 0, not {start}, {end}, {step}")
    steps = math.floor((end - start) / step)
    for first in range(0, steps + 1, MAX_POINTS):
        last = min(first + MAX_POINTS - 1, steps)
        yield start + first * step, start + last * step


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[-160:]


def _series(raw: Mapping[str, Any]) -> Series:
    return Series(raw["metric"], tuple((float(at), float(value)) for at, value in raw["values"]))


def counter_increase(points: tuple[tuple[float, float], ...], born: bool) -> float:
    """How much a counter grew over its raw samples, resets included.

    ``born`` says that the series began inside the window (the process was scraped before without it), so that its
    first value counts too: PromQL's ``increase`` misses exactly the first event of a new series.
    """
    values = [value for _, value in points if not math.isnan(value)]
    if not values:
        return 0.0
    grown = values[0] if born else 0.0
    for before, after in itertools.pairwise(values):
        grown += after - before if after >= before else after
    return grown
