"""Requests of days: every step counts, pods that came and went too, and what was not scraped is not known."""

from __future__ import annotations

from typing import Any

import pytest

from include.clients.prometheus import Series
from include.estate import load_estate
from include.levers.request_counts import Counted, counted

ESTATE = load_estate()


class Prometheus:
    """Every step has 100 REST and 50 gRPC requests, of which ``failed`` REST ones; ``gaps`` steps have no sample."""

    def __init__(self, failed: float = 0.0, gaps: int = 0) -> None:
        self.failed, self.gaps = failed, gaps
        self.asked: list[tuple[str, float, float, float]] = []

    def query_range(self, expression: str, start: float, end: float, step: float) -> list[Series]:
        self.asked.append((expression, start, end, step))
        steps = int((end - start) // step) + 1 - self.gaps
        if '=~"' in expression:
            value = self.failed if ESTATE.metrics.http_requests in expression else 0.0
            return [Series({}, tuple((start + n * step, value) for n in range(steps)))] if self.failed else []
        value = 100.0 if ESTATE.metrics.http_requests in expression else 50.0
        return [Series({}, tuple((start + n * step, value) for n in range(steps)))]


def count(prometheus: Any, seconds: float = 5 * 86400) -> Counted | None:
    return counted(prometheus, ESTATE, "us-east-1", 1_000_000.0, 1_000_000.0 + seconds)


def test_every_step_of_both_protocols_counts() -> None:
    assert count(Prometheus()) == Counted(1440 * 150.0, 1440 * 150.0, 1.0)  # five days in steps of 300 s


def test_requests_that_failed_on_the_servers_side_were_not_served() -> None:
    assert count(Prometheus(failed=0.5)) == Counted(216_000.0, 216_000.0 - 720.0, 1.0)


@pytest.mark.parametrize(("gaps", "known"), [(72, True), (73, False)])
def test_less_than_95_percent_of_the_steps_is_not_known(gaps: int, known: bool) -> None:
    assert (count(Prometheus(gaps=gaps)) is not None) == known


def test_without_requests_nothing_is_known() -> None:
    assert count(Prometheus(gaps=1440)) is None


def test_a_short_span_is_cut_into_steps_of_at_least_30_seconds() -> None:
    prometheus = Prometheus()
    count(prometheus, 1800)
    expression, start, end, step = prometheus.asked[0]
    assert (start, end, step) == (1_000_030.0, 1_001_800.0, 30.0)
    assert "[30s]" in expression
    assert "offset 30s" in expression
