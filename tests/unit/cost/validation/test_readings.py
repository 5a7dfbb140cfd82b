"""Where the validation's figures come from: order of preference, coverage, staleness, and the whole on one estate."""

from __future__ import annotations

import datetime as dt
import itertools
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from include.cost.table.bill import Charge, coverage_of, overlap
from include.cost.table.component_cost import readings_of
from include.cost.table.coverage import newest_day
from include.cost.table.days import Window
from include.cost.table.inputs import read_cost_inputs
from include.cost.table.reading import NANO
from include.cost.table.settling import FINAL, PROVISIONAL
from include.cost.table.store import Aside
from include.cost.targets import UNKNOWN
from include.cost.validation.readings import daily_history, validate
from include.cost.validation.records import what_is_missing
from include.cost.validation.verdicts import Line, Validation
from include.estate import Estate, load_estate
from include.prices import load_aws_book
from tests.unit.cost.validation_world import DAY, FakePrometheus, Table, at, estate_day, live_nodes, row

ESTATE = load_estate()
BOOK = load_aws_book()
MONDAY = dt.date(2026, 11, 16)
REGIONS = tuple(ESTATE.regions)
WINDOW = Window(at(MONDAY), at(MONDAY + DAY))


def validated(
    world: Table,
    window: Window = WINDOW,
    prometheus: object = None,
    regions: tuple[str, ...] = REGIONS,
    estate: Estate = ESTATE,
) -> Validation:
    of_region = {region: prometheus or ConnectionError("away") for region in regions}
    return validate(read_cost_inputs(world.table, estate, BOOK, window, regions, of_region))  # type: ignore[arg-type]


def line(validation: Validation, component: str) -> Line:
    return next(line for line in validation.lines if line.component == component)


def test_the_bill_of_the_window_comes_first(tmp_path: Path) -> None:
    world = Table(tmp_path)
    world.put(MONDAY, estate_day(MONDAY))
    validation = validated(world, prometheus=live_nodes())
    dc = line(validation, "central_dc")
    assert (dc.source, dc.coverage, dc.settling) == ("bill (aws)", 1, PROVISIONAL)
    assert dc.usd_24h == 24 * 5 * Decimal("1.0034")  # nodes of three regions; their baseline holds nothing else
    assert dc.beside_usd_month == Decimal("7.2") * Decimal("30.4")  # volumes: 0.10 an hour and region
    assert line(validation, "cloudfront").usd_24h == Decimal(12)
    assert line(validation, "monitoring").usd_month == Decimal(50)
    assert line(validation, "jetson").usd_24h == Decimal("0.36")  # 5 x 20 W x 24 h x 0.15
    total = validation.total
    assert total.unknown == ()
    # The volumes beside the nodes, and 1.20 that no component takes.
    assert total.usd_24h == sum((one.usd_24h or Decimal(0) for one in validation.lines), Decimal("8.4"))
    assert validation.unallocated == {str(WINDOW): "1.20 USD in 24 rows"}


def test_a_component_whose_rows_were_set_aside_is_unknown(tmp_path: Path) -> None:
    world = Table(tmp_path)
    aside = (Aside("cloudfront", "currency EUR", 3, "EUR", Decimal(120), "AWS/1/9/2026-11-01"),)
    world.put(MONDAY, estate_day(MONDAY), aside=aside)
    validation = validated(world, prometheus=live_nodes())
    found = line(validation, "cloudfront")
    assert (found.usd_24h, found.verdict) == (None, "unknown")
    assert "rows of aws can't count for it: 3 row(s), 120.00 EUR: currency EUR" in found.reason
    assert "cloudfront" in validation.total.unknown
    assert line(validation, "s3").usd_24h == Decimal("3.60")


def test_the_cross_check_explains_its_gaps(tmp_path: Path) -> None:
    world = Table(tmp_path)
    world.put(MONDAY, estate_day(MONDAY))
    by_pair = {(gap.left, gap.right): gap for gap in validated(world, prometheus=live_nodes()).gaps}
    gap = by_pair["bill", "node-hours x aws book"]
    assert gap.outside == {"volumes, control plane, balancers": Decimal("7.2")}
    assert (gap.usd, gap.hours_usd, gap.price_usd, gap.unexplained_usd) == (Decimal("7.2"), 0, 0, 0)
    assert gap.finding  # 7.20 of 127.61 is more than 5 %
    assert not by_pair["node-hours x OpenCost's prices", "node-hours x aws book"].finding


def test_an_allocation_is_compared_and_never_added(tmp_path: Path) -> None:
    world = Table(tmp_path)
    world.put(MONDAY, estate_day(MONDAY))
    before = validated(world, prometheus=live_nodes()).total
    rows = [row("Kubernetes", "120", at(MONDAY), 24, region, ResourceId="x") for region in REGIONS[:1]]
    world.put(MONDAY, rows, source="opencost")
    after = validated(world, prometheus=live_nodes())
    assert after.total == before
    gap = next(gap for gap in after.gaps if gap.right == "opencost allocation with idle")
    assert (gap.left, gap.right_usd) == ("bill", Decimal(120))


def test_live_nodes_stand_in_until_the_bill_is_there(tmp_path: Path) -> None:
    world = Table(tmp_path)
    world.put(MONDAY - DAY, estate_day(MONDAY - DAY))
    validation = validated(world, prometheus=live_nodes(4))
    dc = line(validation, "central_dc")
    assert (dc.source, dc.usd_24h, dc.settling) == (
        f"node-hours x aws book {BOOK.date}",
        24 * 4 * Decimal("1.0034"),
        PROVISIONAL,
    )
    assert dc.beside_usd_month == Decimal("7.2") * Decimal("30.4")
    assert dc.notes[0] == "288.00 node-hours"
    s3 = line(validation, "s3")
    assert (s3.source, s3.usd_24h) == ("bill (aws) of 2026-11-15", Decimal("3.6"))
    assert s3.notes[0] == "the bill's day ended 1.0 days before the window's end"
    assert validation.total.unknown == ()


def test_a_stale_bill_is_unknown(tmp_path: Path) -> None:
    world = Table(tmp_path)
    world.put(MONDAY - 4 * DAY, estate_day(MONDAY - 4 * DAY))
    validation = validated(world, prometheus=live_nodes())
    s3 = line(validation, "s3")
    assert (s3.verdict, s3.usd_month) == (UNKNOWN, None)
    assert "ended 4.0 days before the window: stale after 3" in s3.reason
    assert line(validation, "central_dc").beside_usd_month is None
    assert "central_dc" in validation.total.unknown


def test_an_incomplete_day_is_not_the_newest_complete_one(tmp_path: Path) -> None:
    world = Table(tmp_path)
    world.put(MONDAY - 2 * DAY, estate_day(MONDAY - 2 * DAY))
    world.put(MONDAY - DAY, estate_day(MONDAY - DAY, hours=range(20)))
    inputs = read_cost_inputs(world.table, ESTATE, BOOK, WINDOW, REGIONS, {})
    assert newest_day(["aws"], inputs) == Window(at(MONDAY - 2 * DAY), at(MONDAY - DAY))


def test_a_bill_with_a_missing_hour_counts_what_is_there(tmp_path: Path) -> None:
    world = Table(tmp_path)
    world.put(MONDAY, estate_day(MONDAY, hours=range(23)))
    cloudfront = line(validated(world), "cloudfront")
    assert (cloudfront.coverage, cloudfront.usd_24h) == (Decimal(82800) / 86400, Decimal("11.5"))
    assert cloudfront.verdict == "pass"
    world.put(MONDAY, estate_day(MONDAY, hours=range(22)))
    assert line(validated(world), "cloudfront").reason.startswith("bill (aws): 91.7 % of its window has data")


def test_a_component_without_a_row_is_unknown_not_zero(tmp_path: Path) -> None:
    world = Table(tmp_path)
    world.put(MONDAY, [one for one in estate_day(MONDAY) if one["ServiceName"] != "Amazon Simple Storage Service"])
    s3 = line(validated(world, prometheus=live_nodes()), "s3")
    assert (s3.verdict, s3.reason) == (
        UNKNOWN,
        "bill (aws): the bill has no row of it: see cost.components.s3.rules",
    )


def test_without_anything_everything_but_the_contracts_is_unknown(tmp_path: Path) -> None:
    validation = validated(Table(tmp_path))
    known = {one.component for one in validation.lines if one.usd_month is not None}
    assert known == {"monitoring", "cost_platform"}
    assert validation.total.verdict == UNKNOWN
    assert validation.total.usd_month is None
    assert "us-east-1: away" in line(validation, "central_dc").reason


def test_selected_regions_have_their_own_baseline_and_figure(tmp_path: Path) -> None:
    world = Table(tmp_path)
    world.put(MONDAY, estate_day(MONDAY))
    dc = line(validated(world, regions=("us-east-1",), prometheus=live_nodes()), "central_dc")
    assert dc.usd_24h == 24 * 5 * Decimal("0.29")
    assert dc.baseline_usd_month == 5 * Decimal("0.29") * Decimal("729.6")


def test_one_region_away_makes_central_dc_unknown(tmp_path: Path) -> None:
    world = Table(tmp_path)
    world.put(MONDAY - DAY, estate_day(MONDAY - DAY))
    of_region = {region: live_nodes() for region in REGIONS[:2]} | {REGIONS[2]: ConnectionError("no route")}
    validation = validate(read_cost_inputs(world.table, ESTATE, BOOK, WINDOW, REGIONS, of_region))  # type: ignore[arg-type]
    assert line(validation, "central_dc").usd_month is None
    assert f"{REGIONS[2]}: no route" in line(validation, "central_dc").reason


def test_a_short_window_of_the_rehearsal(tmp_path: Path) -> None:
    world = Table(tmp_path)
    world.put(MONDAY - DAY, estate_day(MONDAY - DAY))
    minute = Window(at(MONDAY, 9), at(MONDAY, 9) + dt.timedelta(seconds=60))
    dc = line(validated(world, minute, live_nodes()), "central_dc")
    assert dc.usd_24h == 24 * 5 * Decimal("1.0034")
    assert dc.projection.startswith("60 s window x 1440, x 30.4 days")


def test_a_window_within_an_hour_of_the_bill_takes_its_share(tmp_path: Path) -> None:
    world = Table(tmp_path)
    world.put(MONDAY, estate_day(MONDAY))
    minute = Window(at(MONDAY, 9.5), at(MONDAY, 9.5) + dt.timedelta(seconds=60))
    cloudfront = line(validated(world, minute), "cloudfront")
    assert (cloudfront.source, cloudfront.usd_window) == ("bill (aws)", Decimal("0.5") / 60)
    assert cloudfront.usd_24h == Decimal(12)


def test_final_when_every_row_is_invoiced(tmp_path: Path) -> None:
    world = Table(tmp_path)
    world.put(MONDAY, estate_day(MONDAY), invoiced=True)
    validation = validated(world, prometheus=live_nodes())
    assert validation.total.settling == FINAL


def test_settled_when_two_exports_agree(tmp_path: Path) -> None:
    world = Table(tmp_path)
    world.put(MONDAY, estate_day(MONDAY), received_hours=24)
    assert validated(world, prometheus=live_nodes()).total.settling == PROVISIONAL
    world.put(MONDAY, estate_day(MONDAY), received_hours=73)
    assert validated(world, prometheus=live_nodes()).total.settling == "settled"


def test_the_projection_knows_weekends_once_there_is_history(tmp_path: Path) -> None:
    world = Table(tmp_path)
    for n in range(1, 15):
        day = MONDAY - n * DAY
        factor = Decimal(1) if day.weekday() < 5 else Decimal("0.5")
        rows = [{**one, "EffectiveCost": one["EffectiveCost"] * factor} for one in estate_day(day)]
        world.put(day, rows)
    world.put(MONDAY, estate_day(MONDAY))
    s3 = line(validated(world), "s3")
    assert s3.projection == "x 30.4 days x 0.8571 (weekend 0.50 of a weekday, 14 days)"
    assert s3.usd_month == (Decimal("21.6") / 7 * Decimal("30.4")).quantize(NANO)  # 5 x 3.6 + 2 x 1.8 a week


def test_power_needs_95_percent_of_the_devices_minutes(tmp_path: Path) -> None:
    prometheus = FakePrometheus(watts={"jetson01": 20.0})  # one of five
    jetson = line(validated(Table(tmp_path), prometheus=prometheus), "jetson")
    assert (jetson.usd_month, jetson.coverage) == (None, Decimal("0.2"))


def test_a_contract_that_begins_in_the_window_counts_from_then(tmp_path: Path) -> None:
    first = dt.date(2026, 11, 1)  # the platform's contract begins
    window = Window(at(first, -12), at(first, 12))
    platform = line(validated(Table(tmp_path), window), "cost_platform")
    assert platform.usd_window == Decimal(620) * 43_200 / (Decimal("30.4") * 86_400)


def test_a_component_without_its_contract_is_unknown(tmp_path: Path) -> None:
    raw = ESTATE.model_dump(mode="json")
    raw["cost"]["contracts"] = []
    platform = line(validated(Table(tmp_path), estate=Estate.model_validate(raw)), "cost_platform")
    assert platform.reason.startswith("contracts: no contract matches cost.components.cost_platform.rules")


# --- Charges that are longer or shorter than the window ---------------------------------------------------------------

BY_DAY = {"Amazon CloudFront": "13", "AWS Lambda": "11", "Amazon Simple Storage Service": "4", "Amazon Route 53": "2"}


def daily_bill(day: dt.date) -> list[dict[str, Any]]:
    return [row(service, usd, at(day), 24) for service, usd in BY_DAY.items()]


def put_days(world: Table, last: dt.date, days: int, *more: dict[str, Any], by_hour: bool = False) -> None:
    """So many days of the same bill up to ``last``; ``more`` are rows beside it, of whatever day."""
    for day in (last - n * DAY for n in range(days)):
        rows = estate_day(day) if by_hour else daily_bill(day)
        world.put(day, [*rows, *(one for one in more if one["ChargePeriodStart"].date() == day)])


def usd_of(world: Table, day: dt.date, component: str) -> Decimal | None:
    return line(validated(world, Window(at(day), at(day + DAY))), component).usd_24h


@pytest.mark.parametrize("day", [1, 28, 29, 30, 31])
def test_a_months_fee_counts_on_each_day_of_its_month(tmp_path: Path, day: int) -> None:
    world, first, last = Table(tmp_path), dt.date(2026, 10, 1), dt.date(2026, 10, day)
    put_days(world, last, 2)
    world.put(first, [*daily_bill(first), row("Amazon CloudFront", "3100", at(first), 31 * 24)])
    assert usd_of(world, last, "cloudfront") == Decimal(113)


@pytest.mark.parametrize(
    ("begun", "days", "usd", "right"),
    [
        (dt.date(2026, 1, 1), 365, "3650", "23"),
        (dt.date(2023, 12, 1), 1096, "1096", "14"),
        (dt.date(2026, 6, 1), 365, "-730", "11"),  # a refund
        (dt.date(2025, 11, 16), 365, "365", "13"),  # ended at the window's start
        (dt.date(2025, 11, 17), 365, "365", "14"),  # ends with the window
    ],
)
def test_a_years_subscription_counts_on_each_of_its_days(
    tmp_path: Path, begun: dt.date, days: int, usd: str, right: str
) -> None:
    world = Table(tmp_path)
    put_days(world, MONDAY, 2)
    facts = world.put(begun, [row("Amazon CloudFront", usd, at(begun), 24 * days)])
    assert usd_of(world, MONDAY, "cloudfront") == Decimal(right)
    assert f"aws {begun} {facts.content[:12]}" in validated(world).inputs


def test_the_history_of_a_component_holds_its_long_charges_too(tmp_path: Path) -> None:
    world, first = Table(tmp_path), dt.date(2026, 1, 1)
    put_days(world, MONDAY, 15)
    world.put(first, [row("Amazon CloudFront", "3650", at(first), 24 * 365)])
    inputs = read_cost_inputs(world.table, ESTATE, BOOK, WINDOW, REGIONS, {})
    assert daily_history("cloudfront", inputs) == {MONDAY - n * DAY: Decimal(23) for n in range(1, 15)}


@pytest.mark.parametrize("by_hour", [True, False])
@pytest.mark.parametrize(("hour", "right"), [(0, "42"), (12.5, "42"), (23.99, "42"), (24, "2"), (-0.01, "2")])
def test_a_charge_at_a_moment_is_a_charge_of_its_day(tmp_path: Path, hour: float, right: str, by_hour: bool) -> None:
    world = Table(tmp_path)
    put_days(world, MONDAY + DAY, 4, row("Amazon Route 53", "40", at(MONDAY, hour), 0), by_hour=by_hour)
    assert usd_of(world, MONDAY, "route_53") == Decimal(right) + (Decimal("0.4") if by_hour else 0)


def test_an_hours_window_has_an_hours_part_of_a_charge_at_a_moment(tmp_path: Path) -> None:
    world = Table(tmp_path)
    put_days(world, MONDAY, 3, row("Amazon Route 53", "48", at(MONDAY, 9), 0), by_hour=True)
    found = line(validated(world, Window(at(MONDAY, 9), at(MONDAY, 10))), "route_53")
    assert (found.usd_window, found.usd_24h) == (Decimal("2.1"), Decimal("50.4"))


@pytest.mark.parametrize("days", [1, 20])
def test_an_hourly_row_does_not_make_an_hourly_bill_of_a_daily_one(tmp_path: Path, days: int) -> None:
    world = Table(tmp_path)
    put_days(world, MONDAY, days, *(row("AWS Lambda", "0.01", at(MONDAY, hour), 1) for hour in (3, 7)))
    assert usd_of(world, MONDAY, "s3") == Decimal(4)
    assert usd_of(world, MONDAY, "lambda_edge") == Decimal("11.02")


def test_a_daily_row_does_not_hide_a_missing_hour_of_an_hourly_bill(tmp_path: Path) -> None:
    world = Table(tmp_path)
    rows = [row("Amazon Simple Storage Service", "1", at(MONDAY), 24, ResourceId=f"bucket-{n}") for n in range(500)]
    world.put(MONDAY, [*estate_day(MONDAY, hours=range(20)), *rows])
    assert "83.3 % of its window has data" in line(validated(world), "s3").reason


def test_days_in_local_time_cover_the_day_on_which_clocks_go_back(tmp_path: Path) -> None:
    # Berlin's days: 25 October 2026 has 25 hours, from 22:00 to 23:00 UTC.
    world, edges = Table(tmp_path), [at(dt.date(2026, 10, 23), 22), at(dt.date(2026, 10, 24), 22)]
    edges += [at(dt.date(2026, 10, 25), 23), at(dt.date(2026, 10, 26), 23)]
    for start, end in itertools.pairwise(edges):
        hours = (end - start).total_seconds() / 3600
        world.put(start.date(), [row("Amazon Simple Storage Service", str(hours), start, hours)])
    found = line(validated(world, Window(at(dt.date(2026, 10, 25)), at(dt.date(2026, 10, 26)))), "s3")
    assert (found.coverage, found.usd_24h) == (1, Decimal(24))


# --- What no component takes ------------------------------------------------------------------------------------------


def with_contracts(*contracts: dict[str, Any]) -> Estate:
    raw = ESTATE.model_dump(mode="json")
    given = {"name": "support", "provider": "P", "begins": "2026-01-01", "source": "a test"}
    raw["cost"]["contracts"] += [given | contract for contract in contracts]
    return Estate.model_validate(raw)


def test_the_total_holds_what_no_component_takes_and_the_verdict_follows(tmp_path: Path) -> None:
    world = Table(tmp_path)
    world.put(MONDAY, estate_day(MONDAY, nodes=1))
    before = validated(world, prometheus=live_nodes()).total
    world.put(MONDAY, [*estate_day(MONDAY, nodes=1), row("AWS Support (Enterprise)", "1000", at(MONDAY), 24)])
    after = validated(world, prometheus=live_nodes())
    assert before.usd_24h is not None
    assert (before.verdict, after.total.verdict) == ("pass", "fail")
    assert after.total.usd_24h == before.usd_24h + 1000
    assert (before.unallocated_usd_24h, after.total.unallocated_usd_24h) == (Decimal("1.2"), Decimal("1001.2"))
    assert after.total.target_usd_month == before.target_usd_month
    assert after.unallocated == {str(WINDOW): "1,001.20 USD in 25 rows"}


@pytest.mark.parametrize("component", ["s3", "unallocated"])
def test_dollars_that_were_set_aside_make_their_component_and_the_total_unknown(tmp_path: Path, component: str) -> None:
    world = Table(tmp_path)
    aside = Aside(component, "billed in EUR", 2, "EUR", Decimal("120"), "AWS 1 2026-11")
    world.put(MONDAY, estate_day(MONDAY), aside=(aside,))
    found = validated(world, prometheus=live_nodes())
    assert found.total.usd_24h is None
    assert component in found.total.unknown
    if component == "s3":
        assert line(found, "s3").usd_24h is None
        assert "120.00 EUR" in line(found, "s3").reason


def test_machines_outside_of_the_estates_regions_are_in_the_total_beside_its_own(tmp_path: Path) -> None:
    world, machine = Table(tmp_path), ("p5.48xlarge", "on_demand")
    abroad = row("Amazon Elastic Compute Cloud", "1000", at(MONDAY), 24, "sa-east-1", machine)
    world.put(MONDAY, estate_day(MONDAY))
    before = validated(world, prometheus=live_nodes())
    world.put(MONDAY, [*estate_day(MONDAY), abroad])
    after = validated(world, prometheus=live_nodes())
    assert line(after, "central_dc").usd_24h == line(before, "central_dc").usd_24h
    assert line(after, "central_dc").beside_usd_month == Decimal("1007.2") * Decimal("30.4")
    assert (before.total.usd_24h or 0) + 1000 == after.total.usd_24h


def test_a_year_that_no_component_takes_counts_by_day(tmp_path: Path) -> None:
    world, first = Table(tmp_path), dt.date(2026, 1, 1)
    world.put(MONDAY, estate_day(MONDAY))
    world.put(first, [row("A product", "3650", at(first), 365 * 24)])
    assert validated(world, prometheus=live_nodes()).total.unallocated_usd_24h == Decimal("11.2")


def test_a_credit_that_no_component_takes_lowers_the_total(tmp_path: Path) -> None:
    world = Table(tmp_path)
    world.put(MONDAY, [*estate_day(MONDAY), row("Credits", "-51.2", at(MONDAY), 24, ChargeCategory="Credit")])
    assert validated(world, prometheus=live_nodes()).total.unallocated_usd_24h == Decimal(-50)


def test_a_contract_that_no_component_takes_is_in_the_total(tmp_path: Path) -> None:
    world = Table(tmp_path)
    world.put(MONDAY, estate_day(MONDAY))
    ended = {"name": "old support", "usd_month": "1520", "ends": str(MONDAY - DAY)}
    estate = with_contracts({"usd_month": "3040", "begins": str(MONDAY)}, ended)
    found = validated(world, prometheus=live_nodes(), estate=estate)
    assert found.total.unallocated_usd_24h == Decimal("101.2")
    assert found.unallocated == {str(WINDOW): "101.20 USD in 25 rows"}


def test_a_bill_whose_rows_all_belong_to_components_leaves_nothing_over(tmp_path: Path) -> None:
    world = Table(tmp_path)
    world.put(MONDAY, [one for one in estate_day(MONDAY) if one["ServiceName"] != "AWS Support"])
    assert validated(world, prometheus=live_nodes()).total.unallocated_usd_24h == 0


def test_without_a_bill_nobody_knows_what_no_component_takes(tmp_path: Path) -> None:
    validation = validated(Table(tmp_path))
    assert validation.total.unknown[-1] == "unallocated"
    assert "unallocated: unknown: the bill has no complete day" in what_is_missing(validation.to_json())


def test_a_stale_bill_says_nothing_about_what_no_component_takes(tmp_path: Path) -> None:
    world = Table(tmp_path)
    world.put(MONDAY - 4 * DAY, estate_day(MONDAY - 4 * DAY))
    total = validated(world, prometheus=live_nodes()).total
    assert (total.unallocated_usd_24h, "unallocated" in total.unknown) == (None, True)


def charge(start: float, hours: float, usd: str = "1") -> Charge:
    return Charge("s3", "aws", at(MONDAY, start), at(MONDAY, start + hours), "", None, Decimal(0), Decimal(usd), 1)


def test_coverage_is_judged_by_hourly_rows_where_there_are_any() -> None:
    assert coverage_of([charge(0, 24)], WINDOW) == 1
    assert coverage_of([charge(0, 24), charge(0, 1), charge(0, 1), charge(2, 1)], WINDOW) == Decimal(2) / 24
    assert coverage_of([charge(0, 24 * 30)], WINDOW) == 0  # a month's fee says nothing about a day
    assert coverage_of([], WINDOW) == 0
    assert coverage_of([charge(0, 24), charge(5, 0), charge(5, 0)], WINDOW) == 1  # nor do two purchases


def test_overlap_is_the_share_of_the_period() -> None:
    assert overlap(charge(-12, 24), WINDOW) == Decimal("0.5")
    assert overlap(charge(30, 1), WINDOW) == 0


def test_contracts_have_one_reading_and_nodes_two(tmp_path: Path) -> None:
    inputs = read_cost_inputs(Table(tmp_path).table, ESTATE, BOOK, WINDOW, REGIONS, {})
    assert len(readings_of("monitoring", inputs)) == 1
    assert [reading.source.split(" ")[0] for reading in readings_of("central_dc", inputs)] == ["bill", "node-hours"]
