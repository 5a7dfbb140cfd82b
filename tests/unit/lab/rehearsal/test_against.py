"""Predicted against rehearsed, by exact values."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from include.rollout.ledger import FIRST_LINK, Record, Step
from lab.rehearsal import against
from lab.rehearsal.day3 import EdgeDay
from lab.rehearsal.day4 import Predicted, Realised

AP, US = "ap-northeast-1", "us-east-1"


def realised(lever: str, region: str, usd: float | None, predicted: float | None, nodes: int | None) -> Realised:
    return Realised(lever, region, Predicted(predicted, nodes), 9, 6, usd)


def test_a_levers_regions_are_summed_and_one_unknown_makes_the_whole_unknown() -> None:
    found = against.of_nodes(
        [
            realised("consolidation", AP, 0.7, 0.63, 6),
            realised("consolidation", US, 0.65, 0.67, 5),
            realised("spot_capacity", AP, 1.0, 1.1, None),
            realised("spot_capacity", US, None, 1.1, None),
            realised("cost_monitoring", AP, 0.7, 0.28, None),
        ]
    )
    assert found == {
        "consolidation": {
            "usd_hour_predicted": 1.3,
            "usd_hour_realised": 1.35,
            "node_hours_predicted": 11,
            "node_hours_realised": 12,
            "error": -0.037,
        },
        "spot_capacity": {
            "usd_hour_predicted": 2.2,
            "usd_hour_realised": None,
            "node_hours_predicted": None,
            "node_hours_realised": 12,
            "error": None,
        },
    }


def test_the_edges_levers_are_compared_by_their_components() -> None:
    day = EdgeDay(
        before={},
        after={"route_53": Decimal("7.296"), "request_routing": Decimal("72.96")},
        predicted={"route_53": Decimal("7.296"), "request_routing": Decimal("80.256"), "s3": None},
        latency_before={},
        latency={},
        endings={},
    )
    found = against.of_edge(day)
    assert found["dns_health_checks"] == against.row(0.01, 0.01)
    assert found["request_routing"]["error"] == 0.1
    assert found["storage_tiering"] == against.row(None, None)
    assert "cdn_price_class" not in found


def test_cost_monitoring_is_compared_with_the_platforms_dollars_in_the_validation() -> None:
    def records(region: str) -> list[Record]:
        figures: dict[str, Any] = {"plan": {"usd_month_after": "310"}}
        time = "2026-11-29T10:00:00+00:00"
        return [Record("cost_monitoring", region, "day5", "r", 1, FIRST_LINK, Step.PLAN, time, figures)]

    validation = {"lines": [{"component": "cost_platform", "usd_month": "620.0"}]}
    found = against.of_costs(validation, records, [AP, US])
    assert found == {"cost_monitoring": against.row(0.8498, 0.8498)}
    assert against.of_costs(validation, records, [AP], 0.5) == {"cost_monitoring": against.row(0.4249, 0.4249)}
    assert against.of_costs({"lines": []}, lambda _: [], [AP]) == {"cost_monitoring": against.row(None, None)}


def test_the_table_has_a_line_for_each_lever() -> None:
    rows = {"consolidation": against.row(1.3, 1.35, 11, 12), "lambda_edge": against.row(None, 0.2)}
    assert against.table(rows).splitlines() == [
        "lever          $/hour predicted  realised    error  node-hours/h predicted  realised",
        "-------------  ----------------  --------  -------  ----------------------  --------",
        "consolidation             1.300     1.350    -3.7%                      11        12",
        "lambda_edge             unknown     0.200  unknown                 unknown   unknown",
    ]
