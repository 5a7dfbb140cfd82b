"""Validation: targets, projections and verdicts, exactly; the plan's own mistake can't happen."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
from decimal import Decimal

import pytest

from include.cost.table.columns import CostError
from include.cost.table.component_cost import choose
from include.cost.table.days import Window, scaled
from include.cost.table.reading import Reading
from include.cost.table.record import encode
from include.cost.table.settling import FINAL, PROVISIONAL, SETTLED, settling_of, weakest
from include.cost.table.store import Facts
from include.cost.targets import FAIL, PASS, UNKNOWN, Goal, goal_of
from include.cost.validation.crosscheck import Measure, compare
from include.cost.validation.page import document
from include.cost.validation.records import revision_name
from include.cost.validation.verdicts import (
    Line,
    Validation,
    line_of,
    month_factor,
    total_of,
    verdict_of,
    weekday_share,
)
from include.estate import Estate, load_estate
from include.pages.document import to_markdown
from include.prices import load_aws_book

ESTATE = load_estate()
BOOK = load_aws_book()
REGIONS = tuple(ESTATE.regions)
MONDAY = dt.date(2026, 11, 16)


def at(day: dt.date, hour: int = 0) -> dt.datetime:
    return dt.datetime(day.year, day.month, day.day, hour, tzinfo=dt.UTC)


def day_of(day: dt.date = MONDAY) -> Window:
    return Window(at(day), at(day + dt.timedelta(days=1)))


def reading(component: str, usd: str | None, **more: object) -> Reading:
    value = None if usd is None else Decimal(usd)
    base = Reading(component, "bill (aws)", day_of(), value, reason="" if usd else "no data")
    return dataclasses.replace(base, **more)  # type: ignore[arg-type]


def result(component: str, usd: str | None, **more: object) -> Line:
    return line_of(reading(component, usd, **more), goal_of(component, ESTATE, BOOK, REGIONS), {})


def estate_with(**components: dict[str, object]) -> Estate:
    raw = ESTATE.model_dump(mode="json")
    for name, change in components.items():
        raw["cost"]["components"][name] |= change
    return Estate.model_validate(raw)


# --- The plan's mistake -----------------------------------------------------------------------------------------------


def test_half_the_bill_is_never_a_pass() -> None:
    # The plan added five AWS services (67.34 a day x 30 = 2,020) and called that a pass against 2,970.
    services = {"central_dc": "34.54", "cloudfront": "13.82", "lambda_edge": "11.51", "s3": "3.95", "route_53": "3.52"}
    assert sum(Decimal(usd) for usd in services.values()) == Decimal("67.34")
    lines = [result(name, services.get(name)) for name in ESTATE.cost.components]
    total = total_of(lines)
    verdicts = {line.component: line.verdict for line in lines}
    assert {name for name, verdict in verdicts.items() if verdict == UNKNOWN} == {
        "jetson",
        "monitoring",
        "cost_platform",
    }
    assert (total.verdict, total.usd_month, total.usd_24h) == (UNKNOWN, None, None)
    assert total.unknown == ("jetson", "monitoring", "cost_platform")
    assert total.known_usd_month == Decimal("67.34") * Decimal("30.4")
    assert total.plan_usd_month == Decimal(2970)


def test_the_total_is_the_sum_once_every_component_is_known() -> None:
    lines = [result(name, "1") for name in ESTATE.cost.components]
    total = total_of(lines)
    assert total.usd_24h == Decimal(8)
    assert total.usd_month == Decimal(8) * Decimal("30.4")
    assert total.verdict == PASS
    assert total.target_usd_month == Decimal(1640) + Decimal("2135.2352") + Decimal("10.944")


def test_an_unknown_target_makes_the_total_unknown() -> None:
    goal = Goal("list", None, None, "no price")
    lines = [result("s3", "1"), line_of(reading("jetson", "1"), goal, {})]
    total = total_of(lines)
    assert (total.usd_month, total.target_usd_month, total.verdict) == (Decimal("60.8"), None, UNKNOWN)
    assert lines[1].reason == "no price"


def test_what_the_baseline_does_not_hold_is_in_the_total_and_not_in_the_verdict() -> None:
    line = result("s3", "3.9", beside_usd=Decimal(10))
    total = total_of([line])
    assert (line.verdict, line.usd_month, line.beside_usd_month) == (PASS, Decimal("118.56"), Decimal(304))
    assert (total.verdict, total.usd_month, total.usd_24h) == (FAIL, Decimal("422.56"), Decimal("13.9"))


def test_an_unknown_rest_makes_the_total_unknown() -> None:
    total = total_of([result("s3", "3.9", beside_usd=None)])
    assert (total.verdict, total.usd_month, total.unknown) == (UNKNOWN, None, ("s3",))


def test_a_total_that_missing_data_could_lift_above_the_target_is_unknown() -> None:
    covered = Decimal("0.96")
    total = total_of([result("s3", "3.9", coverage=covered), result("route_53", "2.6")])
    assert total.usd_month == Decimal("197.6")
    assert total.target_usd_month == Decimal(200)
    assert total.verdict == UNKNOWN  # 3.9 / 0.96 would be 202.54


NO_TARGET = Goal("", None, None, "no component takes it: it has no target")


def test_what_no_component_takes_is_in_the_total_and_has_no_target_of_its_own() -> None:
    lines = [result("s3", "3")]
    rest = line_of(reading("unallocated", "1"), NO_TARGET, {})
    total = total_of(lines, rest)
    assert (total.usd_24h, total.usd_month, total.known_usd_month) == (Decimal(4), Decimal("121.6"), Decimal("121.6"))
    assert (total.target_usd_month, total.verdict, total_of(lines).verdict) == (Decimal(120), FAIL, PASS)
    assert (total.unallocated_usd_24h, total.unallocated_usd_month) == (Decimal(1), Decimal("30.4"))


def test_a_rest_that_nobody_knows_makes_the_total_unknown() -> None:
    total = total_of([result("s3", "3")], line_of(reading("unallocated", None), NO_TARGET, {}))
    assert (total.verdict, total.usd_24h, total.unknown) == (UNKNOWN, None, ("unallocated",))
    assert total.known_usd_month == Decimal("91.2")


def test_a_rest_of_which_hours_are_missing_could_lift_the_total() -> None:
    rest = line_of(reading("unallocated", "0.94", coverage=Decimal("0.96")), NO_TARGET, {})
    total = total_of([result("s3", "3")], rest)  # 119.78 of 120, and 120.97 if the missing hours cost as much
    assert (total.verdict, total.usd_month) == (UNKNOWN, Decimal("119.776"))


# --- Verdicts ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("usd", "coverage", "target", "verdict"),
    [
        ("100", "1", "100", PASS),
        ("100.01", "1", "100", FAIL),
        ("96", "0.96", "100", PASS),
        ("97", "0.96", "100", UNKNOWN),
        ("101", "0.96", "100", FAIL),
        ("1", "0.949", "100", UNKNOWN),
        (None, "1", "100", UNKNOWN),
        ("1", "1", None, UNKNOWN),
    ],
)
def test_judge(usd: str | None, coverage: str, target: str | None, verdict: str) -> None:
    figure, goal = (None if text is None else Decimal(text) for text in (usd, target))
    assert verdict_of(figure, Decimal(coverage), goal) == verdict


def test_a_reading_below_95_percent_is_unknown() -> None:
    line = line_of(choose([reading("s3", "1", coverage=Decimal("0.90"))]), Goal("plan", None, Decimal(120), ""), {})
    assert (line.usd_window, line.usd_24h, line.usd_month, line.verdict) == (None, None, None, UNKNOWN)
    assert line.reason == "bill (aws): 90.0 % of its window has data, 95 % are needed"


def test_the_first_known_reading_is_chosen_and_all_reasons_are_given_without_one() -> None:
    unknown = reading("s3", None)
    known = reading("s3", "2", source="bill (aws) of 2026-11-15")
    assert choose([unknown, known]) is known
    assert choose([known, unknown]) is known
    neither = choose([unknown, dataclasses.replace(unknown, source="meter", reason="no series")])
    assert (neither.usd, neither.reason) == (None, "bill (aws): no data; meter: no series")


# --- Targets ----------------------------------------------------------------------------------------------------------


def test_the_plan_book_compares_dollars() -> None:
    goal = goal_of("cloudfront", ESTATE, BOOK, REGIONS)
    assert (goal.book, goal.baseline, goal.target) == ("plan", Decimal(600), Decimal(420))


def test_the_list_book_compares_with_its_own_baseline() -> None:
    goal = goal_of("central_dc", ESTATE, BOOK, REGIONS)
    baseline = 5 * (Decimal("0.29") + Decimal("0.3451") + Decimal("0.3683")) * Decimal("729.6")
    assert (goal.book, goal.baseline) == ("list", baseline)
    assert baseline == Decimal("3660.4032")
    assert goal.target == Decimal("2135.2352")  # 1,050 / 1,800 of it


def test_the_baseline_covers_the_selected_regions_only() -> None:
    goal = goal_of("central_dc", ESTATE, BOOK, ["us-east-1"])
    assert goal.baseline == 5 * Decimal("0.29") * Decimal("729.6")


def test_jetson_is_compared_with_all_devices_in_the_first_mode() -> None:
    goal = goal_of("jetson", ESTATE, BOOK, REGIONS)
    assert goal.baseline == Decimal("13.68")  # 5 x 25 W x 729.6 h x 0.15 USD/kWh
    assert goal.target == Decimal("10.944")


def test_a_baseline_of_the_estate_wins() -> None:
    goal = goal_of("central_dc", estate_with(central_dc={"baseline_usd_month": "1200"}), BOOK, REGIONS)
    assert goal.baseline == Decimal(1200)
    assert goal.target == Decimal(700)


def test_a_list_component_without_baseline_has_no_target() -> None:
    goal = goal_of("s3", estate_with(s3={"book": "list"}), BOOK, REGIONS)
    assert (goal.baseline, goal.target) == (None, None)
    assert goal.derived == "cost.components.s3 is in the list book and has no baseline_usd_month: add it"


def test_an_unknown_component_is_named() -> None:
    with pytest.raises(CostError, match=r"component 'gold' is not in cost\.components: use one of central_dc, "):
        goal_of("gold", ESTATE, BOOK, REGIONS)


# --- The part of a charge in a window ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("start", "end", "part"),
    [
        (at(MONDAY), at(MONDAY + dt.timedelta(days=1)), "12"),
        (at(MONDAY, 12), at(MONDAY, 12) + dt.timedelta(days=1), "6"),
        (at(MONDAY - dt.timedelta(days=5)), at(MONDAY + dt.timedelta(days=5)), "1.2"),
        (at(MONDAY - dt.timedelta(days=5)), at(MONDAY), "0"),
        (at(MONDAY, 9), at(MONDAY, 9), "12"),  # a moment is its day
        (at(MONDAY, 9), at(MONDAY, 8), "12"),
        (at(MONDAY + dt.timedelta(days=1)), at(MONDAY + dt.timedelta(days=1)), "0"),
        (at(MONDAY, 9), at(MONDAY, 9) + dt.timedelta(milliseconds=500), "12"),
    ],
)
def test_a_charge_counts_by_its_time_in_the_window(start: dt.datetime, end: dt.datetime, part: str) -> None:
    assert day_of().part(Decimal(12), start, end) == Decimal(part)


# --- From a window to a month -----------------------------------------------------------------------------------------


def test_a_short_window_says_so() -> None:
    minute = Window(at(MONDAY, 9), at(MONDAY, 9) + dt.timedelta(seconds=60))
    assert scaled(Decimal("0.02"), minute) == (Decimal("28.80"), "60 s window x 1440")
    line = line_of(reading("s3", "0.02", window=minute), Goal("plan", None, Decimal(900), ""), {})
    assert line.usd_month == Decimal("28.8") * Decimal("30.4")
    assert line.projection == "60 s window x 1440, x 30.4 days, flat: 0 weekdays and 0 weekend days of history"


def test_a_whole_day_needs_no_scaling() -> None:
    assert scaled(Decimal(3), day_of()) == (Decimal(3), "")


def history(weekday: str, weekend: str, days: int = 28) -> dict[dt.date, Decimal]:
    found = (MONDAY - dt.timedelta(days=n) for n in range(1, days + 1))
    return {day: Decimal(weekday if day.weekday() < 5 else weekend) for day in found}


def test_a_weekday_counts_its_weekends() -> None:
    factor, text = month_factor(day_of(), history("14", "7"))
    assert factor == Decimal("30.4") * (Decimal(84) / 7 / 14)  # (5 x 14 + 2 x 7) / 7 = 12 a day
    assert text == "x 30.4 days x 0.8571 (weekend 0.50 of a weekday, 28 days)"


def test_a_weekend_day_counts_its_weekdays() -> None:
    saturday = day_of(MONDAY + dt.timedelta(days=5))
    assert month_factor(saturday, history("14", "7"))[0] == Decimal("30.4") * (Decimal(84) / 7 / 7)


def test_too_little_history_is_flat_and_says_so() -> None:
    factor, text = month_factor(day_of(), history("14", "7", days=4))
    assert factor == Decimal("30.4")
    assert text == "x 30.4 days, flat: 2 weekdays and 2 weekend days of history"


def test_a_window_over_a_weekends_edge_has_a_share_of_both() -> None:
    friday = MONDAY + dt.timedelta(days=4)
    assert weekday_share(Window(at(friday, 18), at(friday, 18) + dt.timedelta(days=1))) == Decimal("0.25")


@pytest.mark.parametrize("end", [at(MONDAY), at(MONDAY, 1).replace(tzinfo=None)])
def test_a_window_needs_two_aware_times_in_order(end: dt.datetime) -> None:
    with pytest.raises(CostError, match="give two aware times, the end after the start"):
        Window(at(MONDAY), end)


def test_a_fixed_price_is_the_same_every_day_and_exact() -> None:
    minute = Window(at(MONDAY, 9), at(MONDAY, 9) + dt.timedelta(seconds=60))
    exact = Decimal(50) * 60 / (Decimal("30.4") * 86_400)
    line = line_of(
        reading("monitoring", str(exact), window=minute, fixed=True), Goal("plan", None, Decimal(50), ""), {}
    )
    assert (line.usd_month, line.verdict) == (Decimal(50), PASS)
    assert line.projection == "60 s window x 1440, x 30.4 days, a fixed price"


# --- Settling ---------------------------------------------------------------------------------------------------------


def facts(hours_after: int, content: str, invoiced: bool = False) -> Facts:
    received = at(MONDAY + dt.timedelta(days=1)) + dt.timedelta(hours=hours_after)
    return Facts("aws", MONDAY, 1, Decimal(1), 0, received, ("x",), invoiced, (), content)


@pytest.mark.parametrize(
    ("history", "word"),
    [
        ([facts(24, "a")], PROVISIONAL),
        ([facts(80, "a")], PROVISIONAL),  # old enough, but nothing to agree with
        ([facts(24, "a"), facts(71, "a")], PROVISIONAL),
        ([facts(24, "a"), facts(72, "a")], SETTLED),
        ([facts(72, "a"), facts(96, "b")], PROVISIONAL),
        ([facts(24, "a"), facts(72, "b"), facts(96, "b")], SETTLED),
        ([facts(72, ""), facts(96, "")], PROVISIONAL),
        ([facts(24, "a", invoiced=True)], FINAL),
    ],
)
def test_settling(history: list[Facts], word: str) -> None:
    assert settling_of(history[-1], history, 72) == word


def test_the_weakest_word_counts_and_meters_have_none() -> None:
    assert weakest([FINAL, "", SETTLED]) == SETTLED
    assert weakest([SETTLED, PROVISIONAL]) == PROVISIONAL
    assert weakest(["", ""]) == ""
    assert total_of([result("s3", "1", settling=SETTLED), result("monitoring", "1")]).settling == SETTLED


# --- Records ----------------------------------------------------------------------------------------------------------


def validation() -> Validation:
    lines = (result("s3", "3", settling=PROVISIONAL), result("jetson", None))
    gap = compare(Measure("bill", Decimal(20)), Measure("node-hours", Decimal(10)), Decimal("0.05"))
    return Validation(day_of(), ("us-east-1",), 3, lines, total_of(lines), (gap,), {"the day": "1.00 USD"}, ("aws x",))


def test_the_page_shows_what_no_component_takes_as_a_part_of_the_total() -> None:
    lines = (result("s3", "3"),)
    total = total_of(lines, line_of(reading("unallocated", "1"), NO_TARGET, {}))
    made = dataclasses.replace(validation(), lines=lines, total=total)
    page = to_markdown(document(made.to_json()))
    assert "| unallocated | | 1.00 | 30.40 | | | | | |\n| total | fail | 4.00 | 121.60 | | 120.00 |" in page
    older = made.to_json()
    del older["total"]["unallocated_usd_month"]  # a record from before it was in the total
    assert "| unallocated |" not in to_markdown(document(older))


def test_equal_inputs_give_equal_bytes() -> None:
    one, two = encode(validation().to_json()), encode(validation().to_json())
    assert one == two
    assert json.loads(one)["lines"][0]["usd_month"] == "91.200000000"
    assert json.loads(one)["lines"][1]["usd_month"] is None
    assert revision_name(2, one).startswith("002-")


def test_the_name_says_window_and_regions() -> None:
    assert validation().name == "validations/20261116T000000Z-86400s/us-east-1"
    assert dataclasses.replace(validation(), of_regions=1).name == "validations/20261116T000000Z-86400s/all"


def test_the_page_says_what_is_unknown_and_judges_no_part_of_the_bill() -> None:
    page = to_markdown(document(validation().to_json()))
    assert "**Total unknown**: jetson without data. What is known sums to 91.20 a month; that is no total" in page
    assert "| s3 | pass | 3.00 | 91.20 | 150.00 | 120.00 | plan | 100.0 % | bill (aws) |" in page
    assert "| jetson | unknown | unknown | unknown | 13.68 | 10.94 | list | 100.0 % | bill (aws) |" in page
    assert "only us-east-1 of 3 regions" in page
    assert "FINDING: bill 20.00 against node-hours 10.00: gap 10.00 (50.0 %) = hours 0.00" in page
    assert validation().findings[0].startswith("FINDING: bill")
