"""Predicted against rehearsed, by exact values."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from include.estate import load_estate
from include.planner import errors
from include.rollout.ledger import FIRST_LINK, Record, Step
from lab.rehearsal import against
from lab.rehearsal.day3 import EdgeDay
from lab.rehearsal.day4 import Predicted, Realised

AP, US = "ap-northeast-1", "us-east-1"


def realised(lever: str, region: str, usd: float | None, predicted: float | None, nodes: int | None) -> Realised:
    return Realised(lever, region, Predicted(predicted, nodes), 9, 6, usd)


def test_a_levers_regions_are_summed_beside_what_the_planner_has_of_that_moment() -> None:
    estate = load_estate()
    rows = [realised("spot_capacity", region, usd, None, None) for region, usd in ((AP, 1.6), (US, 1.5))]
    found = against.of_nodes(estate, [*rows, realised("cost_monitoring", AP, 0.7, 0.28, None)])
    assert list(found) == ["spot_capacity"]
    own = errors.predicted(
        estate, [{"lever": "spot_capacity", "region": r, "nodes": 9, "usd_hour": 1} for r in (AP, US)]
    )
    usd = round(sum(one.usd_hour_predicted for one in own), 4)
    assert found["spot_capacity"]["usd_hour_predicted"] == usd
    assert found["spot_capacity"]["usd_hour_realised"] == 3.1
    assert found["spot_capacity"]["error"] == round(usd / 3.1 - 1, 4)
    assert found["spot_capacity"]["node_hours_predicted"] == sum(one.nodes_predicted for one in own)
    assert found["spot_capacity"]["node_hours_realised"] == 18


def test_one_unknown_region_makes_the_whole_unknown() -> None:
    rows = [realised("spot_capacity", AP, 1.6, None, None), realised("spot_capacity", US, None, None, None)]
    found = against.of_nodes(load_estate(), rows)["spot_capacity"]
    assert (found["usd_hour_realised"], found["error"]) == (None, None)
    assert against.of_nodes(load_estate(), []) == {}


def test_what_was_routed_to_the_devices_is_known_before_nodes_are_packed(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []
    real = errors.predicted

    def predicted(estate: Any, rows: Any) -> Any:
        asked.append([row["lever"] for row in rows])
        return real(estate, rows)

    monkeypatch.setattr(errors, "predicted", predicted)
    rows = [realised(lever, AP, 1.0, None, None) for lever in against.OF_NODES]
    assert list(against.of_nodes(load_estate(), rows, routed=True)) == [*against.OF_NODES]
    assert asked == [["spot_capacity", "predictive_scaling", "request_routing", "right_sizing", "consolidation"]]


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
