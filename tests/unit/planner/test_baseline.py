import datetime as dt
import json
from decimal import Decimal

import numpy as np
import pytest

from include.clients.storage import Folder
from include.estate import load_estate
from include.forecast.traffic.table import Day, TrafficTable
from include.pages.document import to_html, to_markdown
from include.planner.baseline import counterfactual
from include.planner.baseline.counterfactual import baseline
from include.planner.baseline.month import (
    BaselineError,
    days_of,
    month_before,
    month_named,
    named,
    refuse_incomplete,
    traffic_of,
)
from include.planner.baseline.page import document
from include.planner.baseline.publish import publish
from include.planner.traffic import recorded
from tests.unit.cost.validation_world import Table, at, row

ESTATE = load_estate()
FIRST = dt.date(2026, 11, 1)
DAYS = days_of(FIRST)


def _level(qps: float, days: int = 30):
    return recorded({region: np.full(days * 1440, qps) for region in ESTATE.regions}, FIRST, "test")


BILLED = {"central_dc": Decimal("1500.00"), "cost_platform": Decimal("600.00"), "cloudfront": Decimal("4000.00")}


# Arithmetic ----------------------------------------------------------------------------------------------------------


def test_the_saving_is_the_old_configuration_less_the_clusters_and_the_platforms_bill():
    found = baseline(ESTATE, FIRST, _level(3000.0), BILLED)
    assert found.old_usd == Decimal("3612.24")  # 5 x 0.29 x (1 + 1.19 + 1.27) x 720 h
    assert found.saved_usd == Decimal("1512.24")


def test_cloudfronts_bill_adds_nothing_and_is_named():
    found = baseline(ESTATE, FIRST, _level(3000.0), BILLED)
    assert found.to_json()["not_simulated"] == ["cloudfront"]
    assert baseline(ESTATE, FIRST, _level(3000.0), {**BILLED, "cloudfront": Decimal(0)}).saved_usd == found.saved_usd


def test_the_band_is_the_largest_error_of_the_last_rehearsal_of_what_was_simulated(monkeypatch):
    monkeypatch.setattr(
        counterfactual, "published", lambda: {"levers": {"a": {"worst_usd": -0.08}, "b": {"worst_usd": None}}}
    )
    found = baseline(ESTATE, FIRST, _level(3000.0), BILLED)
    assert found.band == (Decimal("1223.26"), Decimal("1801.22"))


def test_without_a_compared_rehearsal_the_band_is_unknown(monkeypatch):
    monkeypatch.setattr(counterfactual, "published", dict)
    found = baseline(ESTATE, FIRST, _level(3000.0), BILLED)
    assert (found.error, found.band) == (None, None)
    assert "unknown" in to_markdown(document(found))


def test_more_traffic_than_the_old_replicas_serve_is_counted_and_not_charged():
    found = baseline(ESTATE, FIRST, _level(30 * 350 + 1.0), BILLED)
    assert found.overloaded_minutes == 3 * 30 * 1440
    assert found.old_usd == baseline(ESTATE, FIRST, _level(100.0), BILLED).old_usd


def test_what_the_planner_expected_with_every_lever_stands_beside_the_bill():
    found = baseline(ESTATE, FIRST, _level(3000.0), BILLED)
    assert Decimal(900) < found.predicted_usd < Decimal(1500)


# Months --------------------------------------------------------------------------------------------------------------


def test_a_month_has_its_days_whatever_its_length():
    assert (len(days_of(dt.date(2028, 2, 1))), len(days_of(dt.date(2026, 12, 1)))) == (29, 31)
    assert DAYS[0] == FIRST
    assert DAYS[-1] == dt.date(2026, 11, 30)


def test_the_month_before_a_moment_is_the_last_that_is_over():
    assert month_before(dt.datetime(2026, 12, 5, 6, tzinfo=dt.UTC)) == FIRST
    assert month_before(dt.datetime(2027, 1, 1, tzinfo=dt.UTC)) == dt.date(2026, 12, 1)


def test_a_month_is_named_by_year_and_month():
    assert month_named("2026-11") == FIRST
    with pytest.raises(BaselineError, match="month '11/2026' can't be read: write it like 2026-11"):
        month_named("11/2026")


def test_many_days_are_named_in_part():
    assert named(DAYS[:2]) == "2026-11-01, 2026-11-02"
    assert named(DAYS).endswith("2026-11-08 and 22 more")


# Tables --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def costs(tmp_path):
    table = Table(tmp_path)
    for day in DAYS:
        rows = [row("AmazonEC2", "40", at(day), 24, "us-east-1"), row("AmazonCloudFront", "130", at(day), 24)]
        table.put(day, rows, received_hours=80, invoiced=True)
        table.put(day, [{**row("Kubecost", "20", at(day), 24), "ResourceId": "cost-platform"}], source="contracts")
    return table


@pytest.fixture
def traffic(tmp_path):
    table = TrafficTable(Folder(tmp_path / "traffic"))
    for region in ESTATE.regions:
        for day in DAYS:
            table.put(Day(region, day, (2800.0,) * 1440), "test")
    return table


def test_a_whole_month_is_published_page_first_and_again_with_equal_bytes(costs, traffic):
    found = publish(ESTATE, FIRST, traffic, costs.table)
    assert found["key"] == "savings/2026-11.json"
    record = json.loads(costs.storage.read("savings/2026-11.json"))
    assert Decimal(record["billed_usd"]["central_dc"]) == Decimal(1200)  # 30 x 40
    assert Decimal(record["billed_usd"]["cost_platform"]) == Decimal(600)
    assert Decimal(record["saved_usd"]) == Decimal("1812.24")
    before = {key: costs.storage.read(key) for key in costs.storage.keys("savings/")}
    assert sorted(before) == ["savings/2026-11.html", "savings/2026-11.json", "savings/2026-11.md"]
    publish(ESTATE, FIRST, traffic, costs.table)
    assert {key: costs.storage.read(key) for key in costs.storage.keys("savings/")} == before


def test_a_page_has_its_picture_and_no_outside_address(costs, traffic):
    publish(ESTATE, FIRST, traffic, costs.table)
    page = costs.storage.read("savings/2026-11.html").decode()
    assert "<svg" in page
    assert "http" not in page


def test_a_day_without_traffic_is_refused_by_name_and_nothing_is_written(costs, traffic):
    traffic.storage.delete("region=us-east-1/day=2026-11-07.parquet")
    with pytest.raises(BaselineError, match="traffic of us-east-1 is missing on 2026-11-07: run traffic_export"):
        publish(ESTATE, FIRST, traffic, costs.table)
    assert costs.storage.keys("savings/") == []


def test_a_day_that_was_hardly_observed_is_missing(costs, traffic):
    seen = tuple(100.0 if minute < 1300 else None for minute in range(1440))
    traffic.put(Day("eu-central-1", FIRST, seen), "test")
    with pytest.raises(BaselineError, match="traffic of eu-central-1 is missing on 2026-11-01"):
        refuse_incomplete(ESTATE, DAYS, traffic, costs.table)


def test_a_bill_that_may_still_change_is_refused_by_name(costs, traffic):
    costs.put(DAYS[-1], [row("AmazonEC2", "40", at(DAYS[-1]), 24)], received_hours=12)
    with pytest.raises(BaselineError, match=r"the bill \(aws\) is not settled on 2026-11-30: wait for 72 h"):
        refuse_incomplete(ESTATE, DAYS, traffic, costs.table)


def test_a_day_without_the_platforms_bill_is_refused_since_the_saving_would_be_too_large(costs, traffic):
    costs.table.remove("contracts", DAYS[4])
    with pytest.raises(BaselineError, match=r"the bill \(contracts\) is missing on 2026-11-05"):
        refuse_incomplete(ESTATE, DAYS, traffic, costs.table)


@pytest.mark.parametrize("name", ["central_dc", "cost_platform"])
def test_an_estate_without_a_component_that_the_saving_is_told_by_is_refused_by_its_name(costs, traffic, name):
    components = {key: one for key, one in ESTATE.cost.components.items() if key != name}
    estate = ESTATE.model_copy(update={"cost": ESTATE.cost.model_copy(update={"components": components})})
    with pytest.raises(BaselineError, match=f"cost.components has no {name}: add it to the estate"):
        refuse_incomplete(estate, DAYS, traffic, costs.table)


def test_a_few_unobserved_minutes_are_interpolated(traffic):
    seen = tuple(None if minute == 10 else float(minute) for minute in range(1440))
    traffic.put(Day("us-east-1", FIRST, seen), "test")
    assert traffic_of(ESTATE, DAYS, traffic).qps[0, 0, 9:12].tolist() == [9.0, 10.0, 11.0]


def test_the_page_renders_for_people():
    text = to_html(document(baseline(ESTATE, FIRST, _level(3000.0), BILLED)))
    assert "USD 1,512.24 saved" in text
