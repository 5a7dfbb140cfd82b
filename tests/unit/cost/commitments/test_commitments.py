"""Commitments: the best quantity on the curve, what it saves, what is stranded; refusals; the real bill of 2018."""

from __future__ import annotations

import datetime as dt
import itertools
import json
from decimal import Decimal
from pathlib import Path

import pytest

from include.cost.commitments.analysis import (
    Advice,
    NotEnoughDataError,
    Unused,
    advise,
    analyse,
    best_quantity,
    best_whole,
    compare_clouds,
    curves,
    saving,
    stranded,
    units_of,
)
from include.cost.commitments.offers import CloudPrice, Offer, load_clouds, load_offers
from include.cost.commitments.page import document
from include.cost.commitments.tasks import read_unused
from include.cost.table import machine_hours
from include.cost.table.columns import CapacityType, CostError
from include.estate import load_estate
from include.pages.document import to_markdown
from include.prices import load_aws_book
from tests.unit.cost.validation_world import FakePrometheus, Node, Table, at, row

ESTATE = load_estate()
BOOK = load_aws_book()
START = dt.date(2026, 10, 19)
OFFER = Offer("reserved_instance", 1, "no upfront", "family", Decimal("0.4"), "2026-01-01", "a test", "a test")
PLAN = Offer("savings_plan", 1, "no upfront", "compute", Decimal("0.25"), "2026-01-01", "a test", "a test")


def numbers(*values: int) -> list[Decimal]:
    return [Decimal(value) for value in values]


# --- The curve --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("use", "discount", "quantity"),
    [
        (numbers(5, 5, 5, 5, 5), "0.4", 5),
        (numbers(0, 2, 4, 6, 8), "0.5", 4),  # 4 is used in 3 of 5 hours, more than half; 6 only in 2
        (numbers(0, 2, 4, 6), "0.5", 2),  # 4 in exactly half: it saves nothing more
        (numbers(0, 0, 0, 9), "0.4", 0),
        (numbers(0, 0, 0, 9), "0.8", 9),
        ([], "0.4", 0),
    ],
)
def test_the_best_quantity_is_on_the_percentile_curve(use: list[Decimal], discount: str, quantity: int) -> None:
    assert best_quantity(use, Decimal(discount)) == quantity


def test_no_other_quantity_saves_more() -> None:
    for use in itertools.product(numbers(0, 1, 3), repeat=4):
        for discount in (Decimal("0.2"), Decimal("0.5"), Decimal("0.7")):
            best = saving(use, best_quantity(use, discount), discount)
            assert best >= max(saving(use, Decimal(half) / 2, discount) for half in range(9))
            whole = saving(use, best_whole(use, discount, Decimal(2)), discount)
            assert whole == max(saving(use, Decimal(quantity), discount) for quantity in range(0, 9, 2))


def test_an_instance_is_bought_whole() -> None:
    assert best_whole(numbers(15, 15, 15), Decimal("0.4"), Decimal(8)) == 16  # saves 45 - 28.8; one instance 24 - 14.4
    assert best_whole(numbers(9, 9, 9), Decimal("0.4"), Decimal(8)) == 8
    assert best_whole(numbers(3, 3, 3), Decimal("0.4"), Decimal(8)) == 0


def test_advice_in_figures() -> None:
    use = numbers(16, 16, 16, 32)  # units of 8: 2, 2, 2, 4 xlarge
    found = advise("us-east-1", "c7g", use, Decimal("0.02"), OFFER, ("c7g.xlarge", Decimal(8)))
    assert found == Advice(
        region="us-east-1",
        family="c7g",
        offer="reserved_instance 1y no upfront (family)",
        unit="c7g.xlarge",
        quantity=Decimal(2),
        coverage=Decimal(64) / 80,
        utilisation=Decimal(1),
        break_even_hours=Decimal("437.76"),  # 60 % of 729.6 h
        on_demand_usd_month=Decimal("291.84"),
        saving_usd_month=Decimal("93.3888"),  # 40 % of 2 xlarge: 16 units x 0.02 x 729.6
        status="a test",
    )


def test_nothing_used_is_nothing_bought() -> None:
    found = advise("r", "f", numbers(0, 0, 0), Decimal(1), OFFER, None)
    assert (found.quantity, found.coverage, found.utilisation, found.saving_usd_month) == (0, None, None, 0)


def test_stranded_hours() -> None:
    assert stranded(numbers(3, 1, 0), Decimal(2)) == 3


@pytest.mark.parametrize(
    ("name", "units"),
    [("c7g.large", "4"), ("c7g.xlarge", "8"), ("c7g.2xlarge", "16"), ("m5.24xlarge", "192"), ("t3.nano", "0.25")],
)
def test_normalised_units(name: str, units: str) -> None:
    assert units_of(name) == Decimal(units)


def test_metal_has_no_units() -> None:
    assert units_of("c7g.metal") is None


# --- From the table ---------------------------------------------------------------------------------------------------


def use_of(days: int = 30, seen: int | None = None) -> machine_hours.MachineUse:
    """2 c7g.2xlarge on demand by night, 4 by day, and 3 on spot all the time."""
    start, end = at(START), at(START + dt.timedelta(days=days))
    hours = [start + dt.timedelta(hours=n) for n in range(days * 24)][:seen]
    rows = []
    for hour in hours:
        count = Decimal(4 if 9 <= hour.hour < 18 else 2)
        rows.append(
            machine_hours.HourlyUse(
                hour, "us-east-1", "c7g.2xlarge", CapacityType.ON_DEMAND, count, count * Decimal("0.29")
            )
        )
        rows.append(
            machine_hours.HourlyUse(hour, "us-east-1", "c7g.2xlarge", CapacityType.SPOT, Decimal(3), Decimal("0.27"))
        )
    return machine_hours.MachineUse(start, end, frozenset(hours), tuple(rows))


def test_the_remainder_after_spot_is_what_counts() -> None:
    (curve,) = curves(use_of())
    assert (curve.region, curve.family, curve.smallest) == ("us-east-1", "c7g", "c7g.2xlarge")
    assert (len(curve.units), min(curve.units), max(curve.units)) == (720, 32, 64)
    assert curve.price == Decimal("0.29") / 16


def test_analysis_of_30_days() -> None:
    analysis = analyse(use_of(), "a test", [OFFER, PLAN], [], load_clouds(), ESTATE, BOOK)
    reserved, plan = analysis.advice
    # 9 of 24 hours use 4, less than 60 %: two are bought, always used.
    assert (reserved.quantity, reserved.utilisation, reserved.coverage) == (2, 1, Decimal(2 * 24) / (2 * 24 + 2 * 9))
    assert reserved.saving_usd_month == Decimal("0.4") * 2 * Decimal("0.29") * Decimal("729.6")
    assert (plan.region, plan.quantity, plan.saving_usd_month) == (
        "all",
        Decimal("0.58"),
        Decimal("0.25") * Decimal("0.58") * Decimal("729.6"),
    )
    # With the 3 on spot five would have been bought: by night 3 of them idle now, by day 1.
    assert analysis.before_spot == (
        "us-east-1 c7g, reserved_instance 1y no upfront (family): 5 x c7g.2xlarge by the use with spot would stand "
        "idle 45.0 % of the time",
    )


def test_an_hour_without_use_counts_as_zero_and_an_unseen_one_not_at_all() -> None:
    use = use_of(seen=700)
    quiet = machine_hours.MachineUse(use.start, use.end, use.hours_seen, use.rows[:2])
    (curve,) = curves(quiet)
    assert (len(curve.units), sum(curve.units)) == (700, 32)


@pytest.mark.parametrize(
    ("use", "said"),
    [
        (use_of(days=29), "696 hours of use: a recommendation needs 30 days (720 hours)"),
        (
            use_of(seen=600),
            "600 of 720 hours from 2026-10-19 have data (83.3 %), 95 % are needed: backfill cost_report",
        ),
    ],
)
def test_too_little_data_is_refused(use: machine_hours.MachineUse, said: str) -> None:
    with pytest.raises(NotEnoughDataError) as caught:
        analyse(use, "a test", [OFFER], [], [], ESTATE, BOOK)
    assert str(caught.value) == said


def test_the_page_and_the_record_say_the_same_twice() -> None:
    unused = [Unused("ri-1", "Reserved", Decimal(24), Decimal("4.176"))]
    analysis = analyse(use_of(), "a test", load_offers(), unused, load_clouds(), ESTATE, BOOK)
    record = analysis.to_json()
    assert json.dumps(record) == json.dumps(analysis.to_json())
    page = to_markdown(document(record))
    assert "| us-east-1 | c7g | reserved_instance 1y no upfront (family) | 2 x c7g.2xlarge | 72.7 % | 100.0 % |" in page
    assert "- ri-1 (Reserved): 4.18 paid and not used, 24 units" in page
    assert "| us-east-1 | c7g.2xlarge | 0.2900 | gcp c4a-highcpu-8 us-central1 | 0.3030 | 4.5 % | 2026-11-24 |" in page
    assert "other_clouds.csv has no row for eu-central-1" in page
    assert "ASSUMPTION" in page


def test_unused_commitments_of_the_bill(tmp_path: Path) -> None:
    world = Table(tmp_path)
    more = {"CommitmentDiscountId": "ri-1", "CommitmentDiscountType": "Reserved", "CommitmentDiscountStatus": "Unused"}
    rows = [
        row("Amazon Elastic Compute Cloud", "0.174", at(START, hour), **more, CommitmentDiscountQuantity=Decimal(1))
        for hour in range(24)
    ]
    world.put(START, [*rows, row("Amazon Elastic Compute Cloud", "9", at(START))])
    with world.table.files([START], ["aws"]) as files:
        assert machine_hours.unused_commitments(files) == [("ri-1", "Reserved", Decimal(24), Decimal("4.176"))]
    assert machine_hours.unused_commitments([]) == []


def test_of_a_months_unused_part_the_share_in_the_window_counts(tmp_path: Path) -> None:
    world, first = Table(tmp_path), dt.date(2026, 10, 1)
    more = {"CommitmentDiscountId": "ri-1", "CommitmentDiscountType": "Reserved", "CommitmentDiscountStatus": "Unused"}
    fee = row("Amazon Elastic Compute Cloud", "31", at(first), 31 * 24, **more, CommitmentDiscountQuantity=Decimal(744))
    world.put(first, [fee])
    days = at(START), at(START + 2 * dt.timedelta(days=1))
    assert read_unused(world.table, *days) == [Unused("ri-1", "Reserved", Decimal(48), Decimal(2))]
    assert read_unused(world.table, at(dt.date(2026, 11, 1)), at(dt.date(2026, 11, 3))) == []


def test_live_use_counts_nodes_at_full_hours_where_every_region_was_seen() -> None:
    nodes = [Node("a", 0.29), Node("b", 0.1, capacity="spot"), Node("c", 0.3451, region="eu-central-1")]
    gap = range(int(at(START, 3).timestamp()), int(at(START, 3).timestamp()) + 1)
    of_region = {"us-east-1": FakePrometheus(nodes), "eu-central-1": FakePrometheus(nodes, gap=gap)}
    use = machine_hours.live_use(of_region, at(START), at(START, 24), BOOK)  # type: ignore[arg-type]
    assert (len(use.hours_seen), at(START, 3) in use.hours_seen) == (23, False)
    first = [(r.region, str(r.capacity), r.hours, r.usd) for r in use.rows if r.hour == at(START)]
    assert first == [
        ("eu-central-1", "on_demand", 1, Decimal("0.3451")),
        ("us-east-1", "on_demand", 1, Decimal("0.29")),
        ("us-east-1", "spot", 1, Decimal("0.0899")),
    ]
    away = machine_hours.live_use({**of_region, "ap": ConnectionError()}, at(START), at(START, 24), BOOK)  # type: ignore[dict-item]
    assert away.coverage == 0


# --- Price tables -----------------------------------------------------------------------------------------------------


def test_the_tables_are_dated_and_marked() -> None:
    offers, clouds = load_offers(), load_clouds()
    assert [(o.name, o.discount) for o in offers] == [
        ("reserved_instance 1y no upfront (family)", Decimal("0.3725")),
        ("reserved_instance 3y no upfront (family)", Decimal("0.5686")),
        ("savings_plan 1y no upfront (compute)", Decimal("0.1961")),
        ("savings_plan 3y no upfront (compute)", Decimal("0.4314")),
    ]
    assert all(o.status.startswith("ASSUMPTION") and o.date and o.source for o in [*offers, *clouds])
    assert {(c.vcpu, c.memory_gib, c.arch) for c in clouds} == {(8, 16, "arm64")}


def test_a_price_that_is_not_known_stays_unknown() -> None:
    row_of = CloudPrice(
        "gcp", "x", "arm64", 8, 16, "z", "eu-central-1", "on_demand", None, "2026", "retrieved", "?", "s"
    )
    found = {(c.region, c.theirs): c for c in compare_clouds([row_of], ESTATE, BOOK)}
    assert found["eu-central-1", "gcp x z"].theirs_usd_hour is None
    assert found["eu-central-1", "gcp x z"].difference is None
    assert found["us-east-1", ""].status == "other_clouds.csv has no row for us-east-1"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("kind,discount\nx,1\n", "offers.csv: columns are"),
        (
            "kind,term_years,payment,scope,discount,date,status,source\nri,1,no,family,0.3,,ok,s\n",
            "offers.csv line 2: needs 8 values, date and source among them",
        ),
    ],
)
def test_a_wrong_table_is_named(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "offers.csv"
    path.write_text(text)
    with pytest.raises(CostError, match=said):
        load_offers(path)
