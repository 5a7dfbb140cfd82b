"""Where the validation's figures come from: order of preference, coverage, staleness, and the whole on one estate."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from pathlib import Path

from include.cost.readings import Charge, coverage_of, gather, newest_day, overlap, readings_of, validate
from include.cost.store import Aside
from include.cost.validation import FINAL, NANO, PROVISIONAL, UNKNOWN, Line, Validation, Window
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
    return validate(gather(world.table, estate, BOOK, window, regions, of_region))  # type: ignore[arg-type]


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
    assert total.usd_24h == sum((one.usd_24h or Decimal(0) for one in validation.lines), Decimal("7.2"))
    assert validation.unallocated == {str(WINDOW): "1.20 USD in 24 rows"}


def test_a_component_whose_rows_were_set_aside_is_unknown(tmp_path: Path) -> None:
    world = Table(tmp_path)
    aside = (Aside("cloudfront", "currency EUR", 3, "EUR", Decimal(120), "AWS/1/9/2026-11-01"),)
    world.put(MONDAY, estate_day(MONDAY), aside=aside)
    validation = validated(world, prometheus=live_nodes())
    found = line(validation, "cloudfront")
    assert (found.usd_24h, found.verdict) == (None, "unknown")
    assert "rows of it can't count: 3 row(s), 120.00 EUR: currency EUR" in found.reason
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
    inputs = gather(world.table, ESTATE, BOOK, WINDOW, REGIONS, {})
    assert newest_day("aws", inputs) == Window(at(MONDAY - 2 * DAY), at(MONDAY - DAY))


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
    validation = validate(gather(world.table, ESTATE, BOOK, WINDOW, REGIONS, of_region))  # type: ignore[arg-type]
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


def charge(start: float, hours: float, usd: str = "1") -> Charge:
    return Charge("s3", "aws", at(MONDAY, start), at(MONDAY, start + hours), "", None, Decimal(0), Decimal(usd), 1)


def test_coverage_is_judged_by_hourly_rows_where_there_are_any() -> None:
    assert coverage_of([charge(0, 24)], WINDOW) == 1
    assert coverage_of([charge(0, 24), charge(0, 1), charge(0, 1), charge(2, 1)], WINDOW) == Decimal(2) / 24
    assert coverage_of([charge(0, 24 * 30)], WINDOW) == 0  # a month's fee says nothing about a day
    assert coverage_of([], WINDOW) == 0


def test_overlap_is_the_share_of_the_period() -> None:
    assert overlap(charge(-12, 24), WINDOW) == Decimal("0.5")
    assert overlap(charge(30, 1), WINDOW) == 0


def test_contracts_have_one_reading_and_nodes_two(tmp_path: Path) -> None:
    inputs = gather(Table(tmp_path).table, ESTATE, BOOK, WINDOW, REGIONS, {})
    assert len(readings_of("monitoring", inputs)) == 1
    assert [reading.source.split(" ")[0] for reading in readings_of("central_dc", inputs)] == ["bill", "node-hours"]
