import json
from decimal import Decimal

import numpy as np
import pytest

from include.estate import EstateError, load_estate
from include.planner import traffic
from include.planner.__main__ import main
from include.planner.figures import UnknownLeverError, WeekPlan
from include.planner.order import COMPONENTS, WEEK
from include.planner.pictures import week_chart
from include.planner.week import plan
from include.planner.words import lever_text, week_text
from include.prices import TooFewInstanceTypesError

ESTATE = load_estate()


@pytest.fixture(scope="module")
def week() -> WeekPlan:
    return plan(ESTATE, resamples=200)


def test_the_plans_book_goes_from_3470_to_its_own_2970(week):
    book = week.books["plan"]
    assert (book.before_usd, book.after_usd) == (Decimal("3470.00"), Decimal("2970.00"))
    assert {one.name: one.after_usd for one in book.components}["central_dc"] == Decimal("1050.00")


@pytest.mark.parametrize("name", ["plan", "aws"])
def test_the_parts_add_up_to_what_the_week_saves(week, name):
    book = week.books[name]
    saved = book.before_usd - book.after_usd
    assert sum(one.shapley_usd for one in book.levers) == saved
    assert sum(one.in_order_usd for one in book.levers) == saved
    assert [one.lever for one in book.levers] == list(WEEK)
    assert [one.name for one in book.components] == list(COMPONENTS)


def test_cost_monitoring_costs_620_in_the_plans_book(week):
    assert week.lever("cost_monitoring")["plan"].shapley_usd == Decimal("-620.00")


def test_routings_120_is_not_part_of_the_plans_total(week):
    found = week.lever("request_routing")
    assert (found["plan"].shapley_usd, found["plan"].p50_usd) == (0, 0)
    assert found["aws"].shapley_usd != 0


def test_what_the_aws_book_says_of_the_estate(week):
    book = week.books["aws"]
    parts = {one.name: (one.before_usd, one.after_usd) for one in book.components}
    assert parts["central_dc"][0] == Decimal("3660.40")  # 5 x 0.29 x 729.6 h x (1 + 1.19 + 1.27)
    assert parts["monitoring"] == (50, 50)
    assert parts["cost_platform"] == (0, 620)
    assert parts["central_dc"][1] < parts["central_dc"][0] * Decimal("0.4")


def test_a_price_class_that_breaks_the_latency_limits_saves_nothing_and_says_why(week):
    found = week.lever("cdn_price_class")["aws"]
    assert found.shapley_usd == 0
    assert any(line.startswith("PriceClass_100: P95 weighted") for line in found.binding)


def test_what_binds_is_named(week):
    lines = "\n".join(week.binding)
    for words in (
        "4 capacity domains",
        "instance types",
        "floor of 2 x c7g.2xlarge",
        "min_replicas 2 binds in 31%",
        "zones",
    ):
        assert words in lines


def test_percentiles_rise_and_lie_near_the_part(week):
    for book in week.books.values():
        for one in book.levers:
            assert one.p10_usd <= one.p50_usd <= one.p90_usd
            assert abs(float(one.p50_usd - one.shapley_usd)) <= 0.05 * abs(float(one.shapley_usd)) + 1


def test_the_same_seed_gives_the_same_figures_and_another_one_others(week):
    assert plan(ESTATE, resamples=200).books == week.books
    assert plan(ESTATE, resamples=200, seed=15).books["aws"].p90_usd != week.books["aws"].p90_usd


def test_without_resampling_no_percentile_is_known():
    found = plan(ESTATE)
    assert {one.p50_usd for book in found.books.values() for one in book.levers} == {None}
    assert found.to_json()["books"]["aws"]["levers"][0]["p90_usd"] is None


def test_a_trace_of_half_the_demand_leaves_more_to_save():
    level = traffic.constant(ESTATE, dict.fromkeys(ESTATE.regions, 5880.0))
    half = traffic.constant(ESTATE, dict.fromkeys(ESTATE.regions, 2940.0))
    after = [plan(ESTATE, traffic=one).books["aws"].components[0].after_usd for one in (level, half)]
    assert after[1] < after[0]


def test_the_regions_are_added_up():
    one = ESTATE.slice("us-east-1")
    alone = plan(one).books["aws"].components[0]
    assert alone.before_usd == Decimal("1057.92")  # 5 x 0.29 x 729.6
    whole = plan(ESTATE).books["aws"].components[0]
    rest = [plan(ESTATE.slice(name)).books["aws"].components[0] for name in ("eu-central-1", "ap-northeast-1")]
    assert whole.after_usd == pytest.approx(
        sum((part.after_usd for part in rest), alone.after_usd), abs=Decimal("0.02")
    )


def test_a_region_without_spot_prices_is_planned_with_an_assumption_that_is_named():
    regions = {"us-west-2": ESTATE.regions["us-east-1"]}
    found = plan(ESTATE.model_copy(update={"regions": regions, "canary_region": "us-west-2"})).books["aws"]
    assert "no spot prices of us-west-2 are known: the savings of us-east-1 are assumed" in found.assumptions
    known = plan(ESTATE.slice("us-east-1")).books["aws"]
    assert float(found.after_usd) == pytest.approx(float(known.after_usd), rel=0.05)


def test_too_few_instance_types_are_refused_with_the_remedy():
    spot = ESTATE.spot.model_copy(update={"min_instance_types": 99})
    with pytest.raises(TooFewInstanceTypesError, match=r"spot.min_instance_types asks for 99.*Widen spot.sizes"):
        plan(ESTATE.model_copy(update={"spot": spot}))


def test_a_pod_that_fits_on_no_node_is_refused_with_its_workload_and_the_remedy():
    estate = load_estate()
    huge = estate.workloads["akidb-rest"].requests.model_copy(update={"cpu": "64"})
    rest = estate.workloads["akidb-rest"].model_copy(update={"requests": huge})
    estate = estate.model_copy(update={"workloads": {**estate.workloads, "akidb-rest": rest}})
    with pytest.raises(
        EstateError, match=r"workloads.akidb-rest.requests: a pod of cpu 64 and memory 2Gi fits on none"
    ):
        plan(estate)


def test_an_estate_without_the_routed_workload_is_refused_by_the_field():
    requests = {"akidb-grpc": "grpc"}
    scaling = ESTATE.predictive_scaling.model_copy(update={"requests": requests})
    alone = {"akidb-grpc": ESTATE.workloads["akidb-grpc"]}
    with pytest.raises(EstateError, match=r"edge.routing.workload: 'akidb-rest' is none of the workloads akidb-grpc"):
        plan(ESTATE.model_copy(update={"workloads": alone, "predictive_scaling": scaling}))


def test_a_month_without_a_request_still_adds_up():
    nothing = traffic.constant(ESTATE, dict.fromkeys(ESTATE.regions, 0.0))
    for book in plan(ESTATE, traffic=nothing, resamples=20).books.values():
        saved = book.before_usd - book.after_usd
        assert (sum(one.shapley_usd for one in book.levers), sum(one.in_order_usd for one in book.levers)) == (
            saved,
            saved,
        )


def test_an_unknown_lever_is_refused_with_those_that_there_are(week):
    with pytest.raises(UnknownLeverError, match="lever 'spott' is not in the week's plan; it has spot_capacity, "):
        week.lever("spott")


# What is printed -----------------------------------------------------------------------------------------------------


def test_json_is_the_only_thing_on_standard_output(capsys):
    assert main(["--json", "--resamples", "50"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found) == {"simulation_seconds", "books"}
    assert set(found["books"]) == {"plan", "aws"}
    for book in found["books"].values():
        assert set(book) == {"before_usd", "after_usd", "components", "levers"}
        saved = book["before_usd"] - book["after_usd"]
        assert sum(one["shapley_usd"] for one in book["levers"]) == pytest.approx(saved, abs=0.01)
        assert set(book["levers"][0]) == {"lever", "shapley_usd", "in_order_usd", "p50_usd", "p90_usd"}


def test_the_terminal_shows_both_books_the_plans_lines_and_what_binds(capsys):
    assert main(["--resamples", "20"]) == 0
    shown = capsys.readouterr().out
    for words in ("spot_capacity", "3,470.00", "2,970.00", "By component", "fails by", "+739.51", "binds: 4 capacity"):
        assert words in shown


def test_an_estate_that_cant_be_planned_ends_with_its_message(monkeypatch, capsys):
    spot = ESTATE.spot.model_copy(update={"min_instance_types": 99})
    monkeypatch.setattr("include.planner.__main__.load_estate", lambda: ESTATE.model_copy(update={"spot": spot}))
    assert main(["--json"]) == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("plan: us-east-1: 18 of ")


def test_a_levers_text_has_both_books_the_error_band_and_what_limits_it(week):
    told = lever_text(week, "spot_capacity")
    assert "book plan (week 14)" in told
    assert "book aws (2026-07-20)" in told
    assert "P50" in told
    assert "missed those of the last rehearsal by up to 9.0%" in told
    assert "Limited by: 4 capacity domains" in told


def test_the_weeks_text_begins_and_ends_with_the_sums(week):
    rows = week_text(week).splitlines()
    assert rows[2].split()[:3] == ["week", "13", "3,470.00"]
    assert rows[2 + len(WEEK) + 1].split()[:3] == ["week", "14", "2,970.00"]


def test_the_picture_goes_from_week_13_to_week_14(week):
    chart = week_chart(week, "aws")
    assert chart.table.rows[0][1] == "8,879.23"
    assert chart.table.rows[-1][0] == "week 14"
    assert len(chart.table.rows) == len(WEEK) + 2


def test_the_simulation_is_fast_enough():
    seconds = [plan(ESTATE).simulation_seconds for _ in range(2)]
    assert min(seconds) < 1


def test_money_is_in_whole_cents(week):
    values = [one.shapley_usd for book in week.books.values() for one in book.levers]
    assert all(np.isclose(float(value * 100) % 1, 0) or np.isclose(float(value * 100) % 1, 1) for value in values)
    assert all(value == value.quantize(Decimal("0.01")) for value in values)
