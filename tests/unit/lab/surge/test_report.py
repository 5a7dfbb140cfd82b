"""The drill's tables and sentences, whichever way a drill went."""

from __future__ import annotations

import copy
from typing import Any

from lab.surge import report as texts

LATENCY = {"surge_ms": 40.0, "worst_minute_ms": 120.0, "minutes_above_target": 4}
WITHOUT: dict[str, Any] = {
    "rest": LATENCY,
    "grpc": LATENCY,
    "errors": {"ratio": 0.0123, "worst_minute": 0.2, "failed": 99.0},
    "cover": {
        "median_lead": -1.2,
        "least_lead": -2.5,
        "levels": 14,
        "late": 12,
        "short_minutes": 9.5,
        "most_short": 3,
    },
    "paid": {"replica_minutes": 1000.0, "node_minutes": 600.0, "vcpu_minutes": 2400.0, "usd": 1.5},
    "median_wait_s": 110.0,
    "longest_wait_s": 180.0,
    "nodes_at_start": 6,
    "most_nodes": 10,
    "most_replicas": 22,
    "forecast_minutes": 0,
    "false_replica_minutes": 0,
}
WAITS = [{"name": "HPA sync", "production_s": 15.0, "drill_s": 1.25, "plant_s": 15.0}]


def with_forecast(**changes: Any) -> dict[str, Any]:
    return {**copy.deepcopy(WITHOUT), "forecast_minutes": 20, **changes}


def surge(after: dict[str, Any] | None) -> dict[str, Any]:
    champion = {"model": "seasonal_day", "version": "000001-abc" if after else "", "reason": "better than all"}
    window = {"title": "the step", "rises": "2026-11-24T08:50Z", "ends": "2026-11-24T09:20Z"}
    return {"surge": window, "champion": champion, "without_forecast": WITHOUT, "with_forecast": after}


def report(after: dict[str, Any] | None) -> dict[str, Any]:
    return {
        "date": "2026-11-27",
        "region": "ap-northeast-1",
        "time_scale": 12.0,
        "waits": WAITS,
        "not_scaled": "the scheduler",
        "surges": [surge(after)],
    }


BETTER = with_forecast(
    rest=LATENCY | {"surge_ms": 22.0},
    grpc=LATENCY | {"surge_ms": 39.0},
    errors={"ratio": 0.0, "worst_minute": 0.0, "failed": 0.0},
    paid=WITHOUT["paid"] | {"node_minutes": 655.0},
)


def test_rows_side_by_side() -> None:
    table = {name: cells for name, *cells in texts.rows(surge(BETTER))}
    assert table[""] == ["requests alone", "with forecast", "difference"]
    assert table["P95 REST over the surge, ms"] == ["40.0", "22.0", "-18.0"]
    assert table["errors (refused and lost too), %"] == ["1.230", "0.000", "-1.230"]
    assert table["node-minutes paid"] == ["600", "655", "+55"]
    assert table["median lead of a replica, minutes"] == ["-1.2", "-1.2", "0"]
    assert table["minutes in which the forecast added"] == ["0", "20", "+20"]


def test_an_unknown_figure_is_not_zero() -> None:
    table = {name: cells for name, *cells in texts.rows(surge(with_forecast(paid=WITHOUT["paid"] | {"usd": None})))}
    assert table["nodes paid, USD"] == ["1.5000", "unknown", "unknown"]


def test_without_a_champion_one_column_is_left() -> None:
    assert texts.rows(surge(None))[1] == ("P95 REST over the surge, ms", "40.0", "-", "")
    assert texts.verdict(surge(None)) == "The forecast could not be tried: better than all."


def test_the_verdict_says_what_became_better_and_what_it_cost() -> None:
    assert texts.verdict(surge(BETTER)) == "The forecast made P95 of REST and errors better, for +55 node-minutes."


def test_the_verdict_hides_nothing() -> None:
    worse = with_forecast(rest=LATENCY | {"surge_ms": 60.0})
    assert texts.verdict(surge(worse)) == "The forecast did not help: P95 of REST became worse, for 0 node-minutes."
    mixed = {**BETTER, "errors": WITHOUT["errors"] | {"ratio": 0.05}}
    assert texts.verdict(surge(mixed)) == ("The forecast made P95 of REST better, errors worse, for +55 node-minutes.")
    same = with_forecast()
    assert texts.verdict(surge(same)) == (
        "The forecast did not help: latency and errors differ no more than two replays of the same kind do, "
        "for 0 node-minutes."
    )
    silent = with_forecast(forecast_minutes=0, paid=WITHOUT["paid"] | {"node_minutes": 604.0})
    assert texts.verdict(surge(silent)) == (
        "The forecast never added anything, so it changed nothing (+4 node-minutes; two runs differ by themselves)."
    )


def test_what_two_replays_of_the_same_kind_differ_by_is_a_tie() -> None:
    near = with_forecast(
        rest=LATENCY | {"surge_ms": 53.3},
        grpc=LATENCY | {"surge_ms": 26.7},
        errors=WITHOUT["errors"] | {"ratio": 0.0123 + 0.0007},
    )
    assert "differ no more than" in texts.verdict(surge(near))
    beyond = {**near, "grpc": LATENCY | {"surge_ms": 26.6}, "errors": WITHOUT["errors"] | {"ratio": 0.0123 + 0.0008}}
    assert texts.verdict(surge(beyond)) == ("The forecast made P95 of gRPC better, errors worse, for 0 node-minutes.")


def test_names_are_listed_as_in_a_sentence() -> None:
    assert [texts.listed(names) for names in (["a"], ["a", "b"], ["a", "b", "c"])] == ["a", "a and b", "a, b and c"]


def test_errors_out_of_nothing_are_worse() -> None:
    clean = {**WITHOUT, "errors": {"ratio": 0.0, "worst_minute": 0.0, "failed": 0.0}}
    changed = {**surge(with_forecast()), "without_forecast": clean}
    assert texts.verdict(changed) == "The forecast did not help: errors became worse, for 0 node-minutes."


def test_text_and_markdown_name_the_scale() -> None:
    shown = texts.text(report(BETTER)).splitlines()
    assert shown[0] == "the step (ap-northeast-1, time_scale 12: a plant minute is 5 s)"
    assert shown[1] == "champion seasonal_day 000001-abc: better than all"
    assert shown[3] == "                                     requests alone  with forecast  difference"
    assert shown[5] == "P95 REST over the surge, ms                    40.0           22.0       -18.0"
    page = texts.markdown(report(BETTER))
    assert page.startswith("Run of 2026-11-27, ap-northeast-1, time_scale 12: a plant minute is 5 s.\n\n### The step\n")
    assert "| P95 REST over the surge, ms | 40.0 | 22.0 | -18.0 |" in page
    assert "| HPA sync | 15 | 1.25 | 15 |" in page
    assert page.endswith("Not scaled: the scheduler.")
