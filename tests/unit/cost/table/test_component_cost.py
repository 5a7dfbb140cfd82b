"""A component's cost: which source, how much, over how much of the window, how certain; the same for all who ask."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from include.cost.guard.decisions import HistoryCheck
from include.cost.guard.look import spend_of
from include.cost.report.compute import compute_report
from include.cost.table.bill import Bill, Charge
from include.cost.table.component_cost import bill_reading, component_cost, contracts_of, sources_of
from include.cost.table.days import Window, day_window
from include.cost.table.inputs import read_cost_inputs
from include.cost.table.reading import Certainty, CostInputs, Lack, Reading
from include.cost.table.store import Aside, Facts
from include.cost.validation.readings import validate
from include.estate import Estate, load_estate
from include.prices import load_aws_book
from tests.unit.cost.validation_world import DAY, Table, at, estate_day, live_nodes, row

ESTATE, BOOK = load_estate(), load_aws_book()
MONDAY = dt.date(2026, 11, 16)
WINDOW = day_window(MONDAY)
REGIONS = tuple(ESTATE.regions)
D = Decimal
NORMAL = HistoryCheck("normal", D(0), None, None, 0, "")


def charge(component: str, hours: range, usd: str, source: str = "aws", **more: Any) -> list[Charge]:
    given = {"region": "", "machine": None, "hours": D(0), "rows": 1} | more
    return [
        Charge(
            component=component, source=source, start=at(MONDAY, hour), end=at(MONDAY, hour + 1), usd=D(usd), **given
        )
        for hour in hours
    ]


def facts(source: str = "aws", **more: Any) -> Facts:
    given = {"rows": 24, "received": at(MONDAY + DAY, 6), "inputs": ("x",), "content": "c"} | more
    return Facts(source=source, day=MONDAY, billed_usd=D(1), rows_set_aside=0, **given)


def inputs_of(
    charges: list[Charge], *of: Facts, estate: Estate = ESTATE, history: tuple[Facts, ...] = (), **more: Any
) -> CostInputs:
    bill = Bill(tuple(charges), {(one.source, one.day): one for one in of})
    return CostInputs(estate, BOOK, WINDOW, REGIONS, bill, lambda *_: history, **more)


def estate_with(contracts: Mapping[int, Mapping[str, object]] | None = None, **components: dict[str, object]) -> Estate:
    raw = ESTATE.model_dump(mode="json")
    for name, change in components.items():
        raw["cost"]["components"][name] |= change
    for place, change in (contracts or {}).items():
        raw["cost"]["contracts"][place] |= change
    return Estate.model_validate(raw)


# --- Sources ----------------------------------------------------------------------------------------------------------

MIXED = estate_with(
    s3={
        "rules": [
            {"services": ["AmazonS3"]},
            {"sources": ["contracts"], "resources": ["mon*"]},
            {"sources": ["jetson"]},
        ]
    },
    monitoring={"rules": [{"services": ["AmazonCloudWatch"]}]},
)


@pytest.mark.parametrize(
    ("name", "estate", "sources"),
    [
        ("s3", ESTATE, ("aws",)),
        ("jetson", ESTATE, ("jetson",)),
        ("monitoring", ESTATE, ("contracts",)),
        ("unallocated", ESTATE, ("aws",)),
        ("s3", MIXED, ("aws", "jetson", "contracts")),
        ("monitoring", MIXED, ("aws",)),
        ("unallocated", estate_with(monitoring={"rules": [{"services": ["x"]}]}), ("aws", "contracts")),
    ],
)
def test_the_sources_are_those_that_the_rules_name(name: str, estate: Estate, sources: tuple[str, ...]) -> None:
    assert sources_of(name, estate) == sources


@pytest.mark.parametrize(
    ("rule", "takes"),
    [
        ({"sources": ["contracts"], "resources": ["monitor*"]}, True),
        ({"resources": ["monitoring"]}, True),  # a rule without sources takes rows of each, as the table's SQL does
        ({"services": ["Monitoring"]}, True),
        ({"sources": ["aws"], "resources": ["monitoring"]}, False),
        ({"sources": ["contracts"], "resources": ["monitor?ng"]}, False),  # only * stands for anything
        ({"sources": ["contracts"], "skus": ["*"]}, False),  # a contract has no SKU
        ({"sources": ["contracts"], "tags": {"a": "b"}}, False),
    ],
)
def test_a_contract_belongs_to_the_component_whose_rule_takes_its_row(rule: dict[str, object], takes: bool) -> None:
    assert [one.name for one in contracts_of("monitoring", estate_with(monitoring={"rules": [rule]}))] == (
        ["monitoring"] if takes else []
    )


# --- The amount, its coverage and its status --------------------------------------------------------------------------


def summary_of(reading: Reading) -> tuple[Decimal | None, Decimal, Certainty, Lack | None]:
    return reading.usd, reading.coverage, reading.status, reading.lack


@pytest.mark.parametrize(
    ("hours", "of", "expected"),
    [
        (24, facts(), (D(24), D(1), Certainty.PROVISIONAL, None)),
        (24, facts(invoiced=True), (D(24), D(1), Certainty.KNOWN, None)),
        (23, facts(), (D(23), D(82_800) / 86_400, Certainty.PROVISIONAL, Lack.HOURS)),
        (22, facts(), (D(22), D(79_200) / 86_400, Certainty.UNKNOWN, Lack.HOURS)),
        (22, facts(invoiced=True), (D(22), D(1), Certainty.KNOWN, None)),  # nothing was used in the two hours
        (24, facts(missing_hours=(3,)), (D(24), D(82_800) / 86_400, Certainty.PROVISIONAL, Lack.HOURS)),
        (0, facts(), (None, D(0), Certainty.UNKNOWN, Lack.NO_ROW)),
        (0, facts(rows=0), (None, D(0), Certainty.UNKNOWN, Lack.NO_DATA)),
        (24, facts(aside=(Aside("s3", "EUR", 1, "EUR", D(9), ""),)), (None, D(1), Certainty.UNKNOWN, Lack.SET_ASIDE)),
        (24, facts(aside=(Aside("route_53", "EUR", 1, "EUR", D(9), ""),)), (D(24), D(1), Certainty.PROVISIONAL, None)),
    ],
)
def test_what_the_bill_says_of_a_component(
    hours: int, of: Facts, expected: tuple[Decimal | None, Decimal, Certainty, Lack | None]
) -> None:
    assert summary_of(bill_reading("s3", inputs_of(charge("s3", range(hours), "1"), of), WINDOW)) == expected


def test_an_hour_that_no_row_covers_is_named() -> None:
    found = bill_reading("s3", inputs_of(charge("s3", range(1, 23), "1"), facts()), WINDOW)
    assert (found.lack, found.lacking) == (Lack.HOURS, ("aws", "0, 23"))


def test_without_a_partition_the_reason_says_why_it_is_not_there() -> None:
    found = bill_reading("s3", inputs_of([], problems={"aws": "S3 is away"}), WINDOW)
    assert (found.usd, found.reason) == (None, "no partition of aws for 2026-11-16 (S3 is away)")


def test_half_of_a_components_sources_is_not_its_cost() -> None:
    charges = charge("s3", range(24), "1")
    found = bill_reading("s3", inputs_of(charges, facts(), estate=MIXED), WINDOW)
    assert (found.usd, found.lacking[0], found.source) == (None, "jetson", "bill (aws and jetson and contracts)")
    charges += charge("s3", range(24), "0.5", "jetson")
    both = bill_reading("s3", inputs_of(charges, facts(), facts("jetson"), estate=MIXED), WINDOW)
    # The contract, 50 a month, is known from the estate until the table has its day.
    assert both.usd == D(36) + D(50) * 86_400 / (D("30.4") * 86_400)


def test_a_contract_counts_as_the_table_has_it_and_else_at_its_price() -> None:
    of_table = charge("monitoring", range(1), "1.20", "contracts")
    assert component_cost("monitoring", inputs_of(of_table, facts("contracts"))).usd == D("1.20")
    assert component_cost("monitoring", inputs_of([])).usd == D(50) * 86_400 / (D("30.4") * 86_400)
    only_table = bill_reading("monitoring", inputs_of([], table_only=True), WINDOW)
    assert summary_of(only_table) == (None, D(0), Certainty.UNKNOWN, Lack.NO_DATA)


def test_a_contract_that_has_not_begun_costs_nothing_and_is_known() -> None:
    estate = estate_with({1: {"begins": "2026-12-01"}})
    of_table = charge("monitoring", range(1), "1.20", "contracts")
    found = bill_reading(
        "cost_platform", inputs_of(of_table, facts("contracts"), estate=estate, table_only=True), WINDOW
    )
    assert summary_of(found) == (D(0), D(1), Certainty.KNOWN, None)


MACHINES = [
    *charge("central_dc", range(24), "3", region="us-east-1", machine=("c7g.2xlarge", "spot")),
    *charge("central_dc", range(24), "2", region="us-east-1"),
    *charge("central_dc", range(24), "1", region="sa-east-1", machine=("p5.48xlarge", "on_demand")),
]


@pytest.mark.parametrize(
    ("change", "judged", "beside"),
    [
        ({}, "72", "72"),  # list book: machines of the estate's regions, as its baseline
        ({"baseline_usd_month": "1200"}, "144", "0"),
        ({"book": "plan"}, "144", "0"),  # the plan's 1,050 is about all of it
    ],
)
def test_what_central_dcs_baseline_is_about(change: dict[str, object], judged: str, beside: str) -> None:
    found = bill_reading("central_dc", inputs_of(MACHINES, facts(), estate=estate_with(central_dc=change)), WINDOW)
    assert (found.usd, found.beside_usd, found.whole) == (D(judged), D(beside), D(144))


def test_a_charge_of_a_day_belongs_to_the_day_on_which_it_begins_and_a_part_of_a_day_takes_its_share() -> None:
    local = Charge("s3", "aws", at(MONDAY, 4), at(MONDAY, 29), "", None, D(0), D(25), 1)  # a day of 25 hours
    inputs = inputs_of([local], facts())
    assert bill_reading("s3", inputs, WINDOW).usd == D(25)
    assert bill_reading("s3", inputs, Window(at(MONDAY, 4), at(MONDAY, 9))).usd == D(5)


# --- The same for everybody -------------------------------------------------------------------------------------------


def jetson_day(day: dt.date) -> list[dict[str, Any]]:
    return [row("jetson01", "0.0125", at(day, hour)) for hour in range(24)]


def contracts_day(day: dt.date) -> list[dict[str, Any]]:
    prices = {"monitoring": "1.65", "cost-platform": "20.40"}
    return [row(name, usd, at(day), 24, ResourceId=name) for name, usd in prices.items()]


def days(case: str) -> list[dict[str, Any]]:
    """The day's rows of AWS in each case."""
    rows = estate_day(MONDAY, hours=range(22 if case == "settled without two hours" else 24))
    if case == "a year's subscription":
        rows.append(row("Amazon CloudFront", "1000.01", at(MONDAY, 5), 365 * 24))
    if case == "a day in local time":
        rows.append(row("Amazon Route 53", "24", at(MONDAY, 4), 25))
    if case == "machines abroad":
        machine = ("p5.48xlarge", "on_demand")
        rows.append(row("Amazon Elastic Compute Cloud", "1000", at(MONDAY), 24, "sa-east-1", machine))
    return rows


def world_of(folder: Path, case: str) -> Table:
    world = Table(folder)
    world.put(MONDAY, jetson_day(MONDAY), source="jetson")
    world.put(MONDAY, contracts_day(MONDAY), source="contracts")
    for received in (24, 96) if case == "settled without two hours" else (24,):
        world.put(MONDAY, days(case), received_hours=received)
    return world


@pytest.mark.parametrize("book", ["list", "plan"])
@pytest.mark.parametrize(
    "case",
    ["a plain day", "settled without two hours", "a year's subscription", "a day in local time", "machines abroad"],
)
def test_report_validation_and_guard_tell_the_same_source_and_amount(tmp_path: Path, case: str, book: str) -> None:
    world, estate = world_of(tmp_path, case), estate_with(central_dc={"book": book})
    report = compute_report(world.table, MONDAY, estate, None)
    of_region = dict.fromkeys(REGIONS, live_nodes())
    inputs = read_cost_inputs(world.table, estate, BOOK, WINDOW, REGIONS, of_region)  # type: ignore[arg-type]
    validation, spend = validate(inputs), spend_of(inputs, NORMAL, (D(1), "flat"))
    assert report.unknown == {}
    for line in validation.lines:
        name = line.component
        usd = report.value("component", name, "usd")
        assert usd is not None
        judged = report.value("component", name, "judged_usd")
        assert line.usd_24h is not None
        assert line.beside_usd_month is not None
        assert (name, line.usd_24h) == (name, judged and judged.quantize(D("1e-9")))
        assert abs(line.usd_24h + line.beside_usd_month / D("30.4") - usd) < D("1e-8")
        rate = spend.rates[name]
        assert rate is not None
        assert abs(rate * 24 - usd) < D("1e-8")
        figure = report.row("component", name, "usd")
        assert figure
        sources = sorted({source.partition("/")[0] for source in figure.sources})
        assert line.source == ("contracts" if sources == ["contracts"] else f"bill ({' and '.join(sources)})")
        assert component_cost(name, inputs).source == line.source
    assert validation.total.unallocated_usd_24h == report.value("component", "unallocated", "usd")
    total = report.value("total", "", "usd")
    assert total is not None
    assert validation.total.usd_24h is not None
    assert abs(validation.total.usd_24h - total) < D("1e-7")


@pytest.mark.parametrize("gone", ["jetson", "aws"])
def test_what_the_table_does_not_have_is_unknown_to_the_report_and_known_otherwise_to_the_others(
    tmp_path: Path, gone: str
) -> None:
    world = world_of(tmp_path, "a plain day")
    world.table.remove(gone, MONDAY)
    inputs = read_cost_inputs(world.table, ESTATE, BOOK, WINDOW, REGIONS, dict.fromkeys(REGIONS, live_nodes()))  # type: ignore[arg-type]
    name = {"jetson": "jetson", "aws": "central_dc"}[gone]
    assert compute_report(world.table, MONDAY, ESTATE, None).unknown[name] == f"source {gone} has no data for {MONDAY}"
    assert component_cost(name, inputs).source.startswith({"jetson": "power", "aws": "node-hours"}[gone])
