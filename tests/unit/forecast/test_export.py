"""Traffic from Prometheus to Parquet: what a minute is, what is missing, what is kept, and a run that is killed."""

from __future__ import annotations

import datetime as dt
import itertools
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from include.clients.prometheus import Prometheus, Sample, Series
from include.clients.storage import Folder
from include.estate import load_estate
from include.forecast.traffic.export import (
    DAYS_PER_REQUEST,
    DayOutcome,
    DayState,
    Exporter,
    batches,
    days_to_export,
    expression_hash,
    failures,
    lost_expression,
    observable_until,
    observed,
    request_expression,
    trusted,
    whole_facts,
)
from include.forecast.traffic.table import (
    MINUTES,
    Day,
    DayFacts,
    TrafficError,
    TrafficTable,
    day_start,
    days_between,
    facts_of,
    key_of,
    write_day,
)

ESTATE = load_estate()
METRICS = ESTATE.metrics
REGION = "us-east-1"
MONDAY = dt.date(2026, 11, 23)
TUESDAY = MONDAY + dt.timedelta(days=1)
NIGHT = float(day_start(TUESDAY) + 900)  # 00:15 after Monday
START = day_start(MONDAY)


class Server(Prometheus):
    """Answers range queries from QPS by start of minute; ``lost`` are minutes in which targets were not reached."""

    def __init__(self, qps: Callable[[int], float | None], lost: Sequence[int] = (), exists: bool = True) -> None:
        self.qps, self.lost, self.exists = qps, lost, exists
        self.asked: list[tuple[int, int]] = []

    def query_range(self, expression: str, start: float, end: float, step: float) -> list[Series]:
        times = range(round(start), round(end) + 1, round(step))
        if "up[" in expression:
            return [Series({}, tuple((float(t), 1.0) for t in times if t - 60 in self.lost))]
        self.asked.append((times[0], times[-1]))
        points = tuple((float(t), value) for t in times if (value := self.qps(t - 60)) is not None)
        return [Series({}, points)] if points else []

    def query(self, expression: str, at: float | None = None) -> list[Sample]:
        return [Sample({}, 0.0, 1.0)] if self.exists else []


def gap(*minutes: int, day: dt.date = MONDAY) -> Callable[[int], float | None]:
    gone = {day_start(day) + 60 * minute for minute in minutes}
    return lambda at: None if at in gone else 100.0


def exporter(
    folder: Path, server: Prometheus, now: float = NIGHT, refused: dict[dt.date, list[str]] | None = None
) -> Exporter:
    return Exporter(server, ESTATE, REGION, TrafficTable(Folder(folder)), lambda days: refused or {}, now)


def whole(value: float = 5.0, day: dt.date = MONDAY) -> Day:
    return Day(REGION, day, tuple([value] * MINUTES))


# --- What is asked ----------------------------------------------------------------------------------------------------


def test_the_query_sums_increases_of_both_counters_and_takes_a_reset_for_its_new_value() -> None:
    mine = '{region="us-east-1",namespace="akidb"}'
    http, grpc = f"akidb_http_requests_total{mine}", f"akidb_grpc_requests_total{mine}"

    def grown(series: str) -> str:
        now, before = f"last_over_time({series}[60s])", f"last_over_time({series}[60s] offset 60s)"
        return f"sum(({now} - {before} >= 0) or ({now} and {before}))"

    assert request_expression(ESTATE, REGION) == f"({grown(http)} + {grown(grpc)}) / 60"


def test_other_queries_have_another_hash() -> None:
    other = ESTATE.model_copy(update={"metrics": METRICS.model_copy(update={"http_requests": "akidb_requests_total"})})
    assert expression_hash(ESTATE, REGION) != expression_hash(other, REGION)
    assert len(expression_hash(ESTATE, REGION)) == 64
    assert "max_over_time(up[60s]) == 0" in lost_expression(ESTATE, REGION)


def test_a_minute_can_be_read_two_minutes_after_its_end() -> None:
    assert observable_until(START + 300.0) == START + 180
    assert observable_until(START + 299.9) == START + 120


def test_six_days_are_one_request_below_the_servers_limit() -> None:
    server = Server(lambda at: 1.0)
    values = observed(server, ESTATE, REGION, START - 5 * 86400, START + 86400, NIGHT)
    assert len(values) == 6 * 1440
    assert server.asked == [(START - 5 * 86400 + 60, START + 86400 + 60)]
    assert (server.asked[0][1] - server.asked[0][0]) // 60 + 1 == 8641


def test_nothing_is_asked_of_the_future() -> None:
    server = Server(lambda at: 1.0)
    assert observed(server, ESTATE, REGION, START, START + 86400, START + 60.0) == {}
    assert server.asked == []
    assert sorted(observed(server, ESTATE, REGION, START, START + 86400, START + 300.0)) == [
        START,
        START + 60,
        START + 120,
    ]


# --- What is believed -------------------------------------------------------------------------------------------------


def test_the_minute_in_which_an_outage_began_is_missing_too() -> None:
    values = dict.fromkeys((0, 60, 120, 240, 300), 7.0)
    assert sorted(trusted(values, [], 0, 360, 360)) == [0, 60, 240, 300]
    assert sorted(trusted(values, [], 0, 360, 420)) == [0, 60, 240]
    assert sorted(trusted(values, [], 0, 240, 240)) == [0, 60]


def test_the_last_minute_counts_when_the_next_could_not_be_asked() -> None:
    values = dict.fromkeys((0, 60), 7.0)
    assert sorted(trusted(values, [], 0, 120, 120)) == [0, 60]
    assert sorted(trusted(values, [], 0, 120, 180)) == [0]


def test_a_minute_beside_a_loss_of_targets_is_missing() -> None:
    values = dict.fromkeys(range(0, 600, 60), 7.0)
    assert sorted(trusted(values, [300], 0, 600, 600)) == [0, 60, 120, 420, 480, 540]


def test_not_a_number_is_missing_and_zero_is_zero() -> None:
    values = {0: 0.0, 60: float("nan"), 120: 0.0, 180: float("inf"), 240: 3.0}
    assert trusted(values, [], 0, 300, 300) == {240: 3.0}
    assert trusted({0: 0.0, 60: 0.0}, [], 0, 120, 120) == {0: 0.0, 60: 0.0}


# --- A day ------------------------------------------------------------------------------------------------------------


def test_a_day_knows_its_gaps() -> None:
    day = Day(REGION, MONDAY, (None, 1.0, None, None, 2.0, None) + (None,) * 1434, until=6)
    assert (day.observed, day.longest_gap, day.age, day.complete) == (2, 2, 1, False)
    empty = Day(REGION, MONDAY, (None,) * MINUTES)
    assert (empty.observed, empty.longest_gap, empty.age, empty.complete) == (0, 1440, 1440, True)


def test_days_are_cut_where_nothing_can_be_known_yet() -> None:
    values = {START + 60 * minute: float(minute) for minute in range(2 * MINUTES)}
    days = days_between(values, REGION, MONDAY, 3, day_start(TUESDAY) + 120)
    assert [(day.until, day.observed) for day in days] == [(1440, 1440), (2, 2), (0, 0)]
    assert days[1].qps[:3] == (1440.0, 1441.0, None)


def test_a_stored_day_has_the_exact_grid_and_its_facts(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    day = Day(REGION, MONDAY, (None, 0.0) + (5.5,) * 1438)
    path = tmp_path / "day.parquet"
    facts = DayFacts.of(day, "e" * 64)
    write_day(day, facts, path)
    table = pq.read_table(path)
    assert table.column_names == ["timestamp", "qps", "region"]
    assert str(table.schema.field("timestamp").type) == "timestamp[ms, tz=UTC]"
    assert table["qps"].to_pylist()[:3] == [None, 0.0, 5.5]
    times = table["timestamp"].to_pylist()
    assert (times[0].isoformat(), times[-1].isoformat()) == ("2026-11-23T00:00:00+00:00", "2026-11-23T23:59:00+00:00")
    assert {b - a for a, b in itertools.pairwise(times)} == {dt.timedelta(minutes=1)}
    assert facts_of(path) == facts
    again = tmp_path / "again.parquet"
    write_day(day, facts, again)
    assert path.read_bytes() == again.read_bytes()


def test_a_file_cut_short_is_no_day(tmp_path: Path) -> None:
    table = TrafficTable(Folder(tmp_path))
    table.put(whole(), "e")
    path = tmp_path / key_of(REGION, MONDAY)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(TrafficError, match="no day of traffic"):
        facts_of(path)
    assert table.facts(REGION, MONDAY) is None
    with pytest.raises(TrafficError, match=r"is damaged .*: run traffic_export for 2026-11-23 with force"):
        table.series(REGION, MONDAY, MONDAY)


def test_a_series_has_every_minute_and_no_invented_value(tmp_path: Path) -> None:
    table = TrafficTable(Folder(tmp_path))
    table.put(Day(REGION, MONDAY, (None, 0.0) + (5.5,) * 1438), "e")
    series = table.series(REGION, MONDAY, TUESDAY)
    assert len(series) == 2 * MINUTES
    assert str(series.index[0]) == "2026-11-23 00:00:00+00:00"
    assert series.iloc[1:3].tolist() == [0.0, 5.5]
    assert int(series.isna().sum()) == 1 + MINUTES
    assert table.days(REGION) == [MONDAY]


# --- The export -------------------------------------------------------------------------------------------------------


def test_days_are_written_and_then_skipped(tmp_path: Path) -> None:
    server = Server(lambda at: 100.0)
    days = days_to_export(MONDAY, 8)
    first = exporter(tmp_path, server).export(days)
    assert [outcome.state for outcome in first] == [DayState.WRITTEN] * 8
    assert [(end - start) // 60 for start, end in server.asked] == [8640, 2880]
    assert first[-1].key == "region=us-east-1/day=2026-11-23.parquet"
    second = exporter(tmp_path, server).export(days)
    assert [outcome.state for outcome in second] == [DayState.SKIPPED] * 8
    assert len(server.asked) == 2
    assert [o.state for o in exporter(tmp_path, server).export([MONDAY], force=True)] == [DayState.WRITTEN]


def test_a_killed_export_goes_on_where_it_stopped(tmp_path: Path) -> None:
    days = days_to_export(MONDAY, 8)
    server = Server(lambda at: 100.0)

    class Dies(Folder):
        left = 3

        def put_file(self, key: str, path: Path) -> None:
            if self.left == 0:
                raise KeyboardInterrupt
            self.left -= 1
            super().put_file(key, path)

    table = TrafficTable(Dies(tmp_path))
    with pytest.raises(KeyboardInterrupt):
        Exporter(server, ESTATE, REGION, table, lambda days: {}, NIGHT).export(days)
    assert table.days(REGION) == days[:3]
    outcomes = exporter(tmp_path, server).export(days)
    assert [outcome.state for outcome in outcomes] == [DayState.SKIPPED] * 3 + [DayState.WRITTEN] * 5
    assert len(whole_facts(table, REGION, days)) == 8


def test_a_day_with_a_gap_is_asked_again_and_its_gap_filled(tmp_path: Path) -> None:
    assert exporter(tmp_path, Server(gap(600, 601))).export([MONDAY])[0].state == DayState.WRITTEN
    table = TrafficTable(Folder(tmp_path))
    facts = table.facts(REGION, MONDAY)
    assert facts
    assert (facts.observed, facts.longest_gap, facts.complete, facts.whole) == (1437, 3, True, False)
    assert exporter(tmp_path, Server(gap(600, 601))).export([MONDAY])[0].state == DayState.UNCHANGED
    assert exporter(tmp_path, Server(gap())).export([MONDAY])[0].state == DayState.WRITTEN
    assert table.facts(REGION, MONDAY).whole  # type: ignore[union-attr]


def test_what_prometheus_has_forgotten_stays(tmp_path: Path) -> None:
    exporter(tmp_path, Server(gap(600))).export([MONDAY])
    outcome = exporter(tmp_path, Server(gap(*range(1000)))).export([MONDAY])[0]
    assert (outcome.state, outcome.reasons) == (DayState.KEPT, ("1438 minutes are stored, Prometheus has 440 today",))
    outcome = exporter(tmp_path, Server(lambda at: None)).export([MONDAY])[0]
    assert outcome.state == DayState.KEPT
    assert TrafficTable(Folder(tmp_path)).facts(REGION, MONDAY).observed == 1438  # type: ignore[union-attr]


def test_today_is_never_complete(tmp_path: Path) -> None:
    now = START + 3600.0
    server = Server(lambda at: 100.0)
    outcome = exporter(tmp_path, server, now).export([MONDAY, TUESDAY])
    assert [o.state for o in outcome] == [DayState.WRITTEN, DayState.FUTURE]
    facts = TrafficTable(Folder(tmp_path)).facts(REGION, MONDAY)
    assert facts
    assert (facts.complete, facts.until, facts.observed, facts.whole) == (False, 58, 58, False)
    exporter(tmp_path, server).export([MONDAY])
    assert TrafficTable(Folder(tmp_path)).facts(REGION, MONDAY).whole  # type: ignore[union-attr]


def test_a_refused_day_is_set_aside_once_and_nothing_takes_its_place(tmp_path: Path) -> None:
    refused = {MONDAY: ["expected that coverage is at least 0.9 and at most 1; seen 0.5"]}
    export = exporter(tmp_path, Server(gap(*range(0, 1440, 2))), refused=refused)
    first, second = export.export([MONDAY])[0], export.export([MONDAY])[0]
    assert (first.state, first.fresh, second.fresh) == (DayState.REFUSED, True, False)
    table = TrafficTable(Folder(tmp_path))
    assert table.days(REGION) == []
    assert table.aside(REGION) == {first.key: list(refused[MONDAY])}
    assert (tmp_path / f"{first.key}.parquet").exists()
    assert json.loads((tmp_path / f"{first.key}.json").read_text())["day"] == "2026-11-23"


def test_the_day_in_which_the_metrics_begin_is_no_bad_batch(tmp_path: Path) -> None:
    refused = {MONDAY: ["too little"]}
    server = Server(gap(*range(700)), exists=False)
    outcome = exporter(tmp_path, server, refused=refused).export([MONDAY])[0]
    assert (outcome.state, outcome.reasons) == (DayState.BEGINS, ("the metrics begin within this day (740 minutes)",))
    later = Server(gap(*range(700), 900), exists=False)
    assert exporter(tmp_path, later, refused=refused).export([MONDAY])[0].state == DayState.REFUSED
    known = Server(gap(*range(700)), exists=True)
    assert exporter(tmp_path, known, refused=refused).export([MONDAY])[0].state == DayState.REFUSED


def test_a_metric_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrafficError, match=r"us-east-1: Prometheus has no series akidb_http_requests_total\{"):
        exporter(tmp_path, Server(lambda at: None, exists=False)).export([MONDAY])
    absent = exporter(tmp_path, Server(lambda at: None)).export([MONDAY])
    assert [outcome.state for outcome in absent] == [DayState.ABSENT]


def test_batches_break_at_holes_and_at_their_length() -> None:
    days = [*days_to_export(MONDAY, DAYS_PER_REQUEST + 1), MONDAY + dt.timedelta(days=2)]
    assert [len(batch) for batch in batches(days)] == [6, 1, 1]
    assert list(batches([])) == []


def test_an_export_fails_for_its_own_day_and_for_new_refusals() -> None:
    def outcome(day: dt.date, state: DayState, fresh: bool = True) -> DayOutcome:
        return DayOutcome(REGION, day, state, fresh=fresh)

    old = MONDAY - dt.timedelta(days=3)
    assert failures([outcome(MONDAY, DayState.WRITTEN), outcome(old, DayState.ABSENT)], MONDAY) == []
    assert failures([outcome(MONDAY, DayState.KEPT), outcome(old, DayState.REFUSED, fresh=False)], MONDAY) == []
    assert len(failures([outcome(MONDAY, DayState.ABSENT), outcome(old, DayState.REFUSED)], MONDAY)) == 2
    assert len(failures([outcome(MONDAY, DayState.REFUSED, fresh=False)], MONDAY)) == 1


def test_an_outcome_reads_as_a_line() -> None:
    outcome = DayOutcome(REGION, MONDAY, DayState.REFUSED, "aside/x", ("why",))
    assert str(outcome) == "us-east-1 2026-11-23 refused: why (aside/x)"
    assert outcome.to_json() == {
        "region": REGION,
        "day": "2026-11-23",
        "state": "refused",
        "key": "aside/x",
        "reasons": ["why"],
    }


# --- The gate ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("day", "words"),
    [
        (Day(REGION, MONDAY, (1.0,) * 1200 + (None,) * 100 + (1.0,) * 60 + (None,) * 75 + (1.0,) * 5), "coverage"),
        (Day(REGION, MONDAY, (1.0,) * 1200 + (None,) * 121 + (1.0,) * 119), "longest_gap"),
        (Day(REGION, MONDAY, (1.0,) * 1429 + (None,) * 11), "age"),
        (Day(REGION, MONDAY, (1.0,) * 1439 + (-1.0,)), "lowest"),
        (Day(REGION, MONDAY, (1.0,) * 1439 + (1e8,)), "highest"),
        (Day(REGION, MONDAY, (1.0,) * 1439), "minutes"),
    ],
)
def test_the_gate_names_the_expectation_that_failed(day: Day, words: str) -> None:
    from include.quality.traffic import judge_days

    good = whole(day=TUESDAY)
    found = judge_days([good, day])
    assert list(found) == [MONDAY]
    assert any(reason.startswith(f"expected that {words} is ") for reason in found[MONDAY]), found


def test_the_gate_passes_good_days_and_judges_a_short_day_by_what_could_be_observed() -> None:
    from include.quality.traffic import Limits, judge_days

    short = Day(REGION, MONDAY, (1.0,) * 60 + (None,) * 1380, until=60)
    assert judge_days([whole(day=TUESDAY), short]) == {}
    assert judge_days([]) == {}
    found: Any = judge_days([whole(day=TUESDAY), short], Limits(most_qps=2.0))
    assert found == {
        TUESDAY: [f"expected that {column} is at least 0 and at most 2; seen 5" for column in ("lowest", "highest")]
    }
