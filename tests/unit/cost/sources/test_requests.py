"""Measured requests: exact counts from raw samples, resets, gaps, and what is kept."""

from __future__ import annotations

import datetime as dt
import re
from decimal import Decimal
from pathlib import Path

import pytest

from include.clients.prometheus import PrometheusError, Series
from include.clients.storage import Folder
from include.cost.sources.requests import (
    RegionRequests,
    Requests,
    better,
    count_day,
    covered,
    grown,
    kept,
    key_of,
    region_requests,
)
from include.estate import load_estate

DAY = dt.date(2026, 11, 18)
START = dt.datetime(2026, 11, 18, tzinfo=dt.UTC).timestamp()
END = START + 86_400
LATER = dt.datetime(2026, 11, 19, 1, tzinfo=dt.UTC)
ESTATE = load_estate()
Points = tuple[tuple[float, float], ...]


class Fake:
    """Answers ``raw`` from series by metric and pod; windows are open at the left, as Prometheus 3 has them."""

    def __init__(self, series: dict[str, dict[str, Points]], closed: bool = False) -> None:
        self.series = series
        self.closed = closed
        self.asked = 0

    def raw(self, selector: str, seconds: float, at: float | None = None) -> list[Series]:
        self.asked += 1
        match = re.fullmatch(r'(\w+)\{region="[\w-]+",namespace="akidb"\}', selector)
        assert match
        assert at is not None
        found = []
        for pod, points in self.series.get(match[1], {}).items():
            inside = tuple(p for p in points if at - seconds - (self.closed * 1e-9) < p[0] <= at)
            if inside:
                found.append(Series({"__name__": match[1], "pod": pod}, inside))
        return found


def counter(per_minute: float, first: float = START - 60, last: float = END, offset: float = 1000) -> Points:
    """A counter scraped once a minute."""
    steps = int((last - first) // 60)
    return tuple((first + n * 60, offset + per_minute * n) for n in range(steps + 1))


def both(**pods: Points) -> dict[str, dict[str, Points]]:
    return {"akidb_http_requests_total": pods, "akidb_grpc_requests_total": pods}


def test_a_day_is_counted_from_the_last_sample_before_it_to_the_last_in_it() -> None:
    # 1,440 minutes of 10 requests, two counters.
    found = region_requests(Fake(both(a=counter(10))), "us-east-1", DAY, ESTATE)  # type: ignore[arg-type]
    assert found == RegionRequests(Decimal(28_800), Decimal(1))


def test_days_add_up_with_nothing_lost_or_counted_twice_at_midnight() -> None:
    points = counter(7, first=START - 90, last=END + 86_400)
    first = grown([points[: 1 + int((END + 90 - START) // 60)]], START)
    second = grown([tuple(p for p in points if p[0] > END - 300)], END)
    whole = points[-1][1] - [value for at, value in points if at <= START][-1]
    assert first + second == whole


def test_older_servers_that_give_both_ends_of_a_range_count_no_sample_twice() -> None:
    found = region_requests(Fake(both(a=counter(10)), closed=True), "us-east-1", DAY, ESTATE)  # type: ignore[arg-type]
    assert found.requests == Decimal(28_800)


def test_a_restart_resets_the_counter_and_loses_nothing_that_was_seen() -> None:
    half = START + 43_200
    points = counter(10, last=half) + tuple((half + 60 + n * 60, 5.0 + 10 * n) for n in range(719))
    # Before: 720 minutes x 10. After: the first value 5, then 718 x 10.
    assert grown([points], START) == 7200 + 5 + 7180


def test_the_first_value_of_a_pod_that_is_born_in_the_day_counts() -> None:
    born = counter(10, first=START + 3600, last=START + 7200, offset=3)
    assert grown([born], START) == 3 + 600


def test_a_gap_makes_the_region_unknown_and_says_how_much_is_covered() -> None:
    points = tuple(p for p in counter(10) if not START + 3600 < p[0] <= START + 3600 + 864 * 5)
    found = region_requests(Fake(both(a=points)), "us-east-1", DAY, ESTATE)  # type: ignore[arg-type]
    assert found.requests is None
    assert found.coverage == Decimal("0.9493")  # 4,380 s between two samples
    assert found.problem == (
        "akidb_http_requests_total: 94.93% of the day has samples; "
        "akidb_grpc_requests_total: 94.93% of the day has samples"
    )


def test_a_day_outside_retention_is_unknown_not_zero() -> None:
    found = region_requests(Fake({}), "us-east-1", DAY, ESTATE)  # type: ignore[arg-type]
    assert (found.requests, found.coverage) == (None, Decimal(0))
    assert found.problem == "akidb_http_requests_total: no sample; akidb_grpc_requests_total: no sample"


def test_silences_of_five_minutes_are_no_gap() -> None:
    assert covered([tuple((START + n * 300, 1.0) for n in range(289))], START) == Decimal(1)
    assert covered([tuple((START + n * 301, 1.0) for n in range(288))], START) < Decimal(1)


def test_one_counter_alone_is_not_the_whole() -> None:
    found = region_requests(Fake({"akidb_http_requests_total": {"a": counter(1)}}), "us-east-1", DAY, ESTATE)  # type: ignore[arg-type]
    assert (found.requests, found.problem) == (None, "akidb_grpc_requests_total: no sample")


def test_the_total_is_unknown_when_a_region_is() -> None:
    known = RegionRequests(Decimal(5), Decimal(1))
    assert Requests(DAY, {"a": known, "b": known}).total == Decimal(10)
    assert Requests(DAY, {"a": known, "b": RegionRequests(None, Decimal(0), "no sample")}).total is None
    assert Requests(DAY, {}).total is None


def test_what_is_kept_reads_back() -> None:
    requests = Requests(DAY, {"a": RegionRequests(Decimal(5), Decimal(1)), "b": RegionRequests(None, Decimal(0), "x")})
    assert Requests.from_json(requests.to_json()) == requests


@pytest.mark.parametrize(
    ("old", "new", "wanted"),
    [
        (None, RegionRequests(None, Decimal(0)), "new"),
        (RegionRequests(None, Decimal("0.5")), RegionRequests(Decimal(1), Decimal(1)), "new"),
        (RegionRequests(Decimal(1), Decimal(1)), RegionRequests(None, Decimal("0.5")), "old"),
        (RegionRequests(None, Decimal("0.5")), RegionRequests(None, Decimal("0.2")), "old"),
        (RegionRequests(None, Decimal("0.2")), RegionRequests(None, Decimal("0.5")), "new"),
    ],
)
def test_the_count_that_knows_more_is_kept(old: RegionRequests | None, new: RegionRequests, wanted: str) -> None:
    assert better(old, new) is (old if wanted == "old" else new)


def test_a_counted_day_is_kept_and_not_asked_for_again(tmp_path: Path) -> None:
    storage = Folder(tmp_path)
    estate = ESTATE.model_copy(
        update={"regions": {"us-east-1": ESTATE.regions["us-east-1"]}, "canary_region": "us-east-1"}
    )
    fake = Fake(both(a=counter(10)))
    first = count_day(storage, DAY, estate, lambda _: fake, LATER)  # type: ignore[arg-type,return-value]
    asked = fake.asked
    # Prometheus has forgotten the day; the report can still be made.
    fake.series = {}
    again = count_day(storage, DAY, estate, lambda _: fake, LATER)  # type: ignore[arg-type,return-value]
    assert first == again == kept(storage, DAY)
    assert (first.total, fake.asked) == (Decimal(28_800), asked)


def test_a_day_that_still_runs_is_not_kept(tmp_path: Path) -> None:
    storage = Folder(tmp_path)
    at = dt.datetime(2026, 11, 18, 12, tzinfo=dt.UTC)
    count_day(storage, DAY, ESTATE, lambda _: Fake({}), at)  # type: ignore[arg-type,return-value]
    assert storage.keys() == []


def test_a_prometheus_that_is_away_is_on_record(tmp_path: Path) -> None:
    def away(region: str) -> Fake:
        raise PrometheusError(f"{region} can't be reached")

    found = count_day(Folder(tmp_path), DAY, ESTATE, away, LATER)  # type: ignore[arg-type]
    assert found.regions["us-east-1"] == RegionRequests(None, Decimal(0), "us-east-1 can't be reached")
    assert (tmp_path / key_of(DAY)).exists()
