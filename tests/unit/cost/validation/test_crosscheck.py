"""Cross-check: a gap is split into hours, prices and what one source leaves out; the parts add up exactly."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from include.cost.validation.crosscheck import Gap, Measure, compare

WITHIN = Decimal("0.05")
C7G = ("us-east-1", "c7g.2xlarge", "on_demand")
M7G = ("us-east-1", "m7g.xlarge", "spot")


def keys(**by_type: tuple[str, str]) -> Mapping[tuple[str, str, str], tuple[Decimal, Decimal]]:
    names = {"c7g": C7G, "m7g": M7G}
    return {names[name]: (Decimal(hours), Decimal(usd)) for name, (hours, usd) in by_type.items()}


def parts(gap: Gap) -> Decimal:
    return gap.hours_usd + gap.price_usd + sum(gap.outside.values(), Decimal(0)) + gap.unexplained_usd


def test_equal_measures_have_no_gap() -> None:
    one = Measure("a", Decimal(29), keys(c7g=("100", "29")))
    gap = compare(one, Measure("b", Decimal(29), keys(c7g=("100", "29"))), WITHIN)
    assert (gap.usd, gap.share, gap.finding, gap.details) == (0, 0, False, ())


def test_the_gap_is_split_exactly() -> None:
    bill = Measure("bill", Decimal("36.50"), keys(c7g=("100", "30")), {"volumes": Decimal(6)})
    nodes = Measure("nodes", Decimal("23.20"), keys(c7g=("80", "23.20")))
    gap = compare(bill, nodes, WITHIN)
    assert gap.usd == Decimal("13.30")
    assert gap.hours_usd == Decimal("5.80")  # 20 h at 0.29
    assert gap.price_usd == Decimal(1)  # 100 h x (0.30 - 0.29)
    assert gap.outside == {"volumes": Decimal(6)}
    assert gap.unexplained_usd == Decimal("0.50")
    assert parts(gap) == gap.usd
    assert gap.finding
    assert gap.details == (
        "us-east-1 c7g.2xlarge on_demand: 100.00 h against 80.00 h",
        "us-east-1 c7g.2xlarge on_demand: 0.3000 against 0.2900 USD an hour",
    )


def test_hours_that_only_one_side_has_are_named() -> None:
    left = Measure("bill", Decimal(30), keys(c7g=("100", "29"), m7g=("10", "1")))
    gap = compare(left, Measure("nodes", Decimal(29), keys(c7g=("100", "29"))), WITHIN)
    assert (gap.hours_usd, gap.price_usd, gap.unexplained_usd) == (1, 0, 0)
    assert gap.details == ("us-east-1 m7g.xlarge spot: 10.00 h are missing in nodes",)
    assert not gap.finding


def test_a_source_without_types_leaves_its_gap_unexplained() -> None:
    gap = compare(Measure("bill", Decimal(30), keys(c7g=("100", "30"))), Measure("opencost", Decimal(20)), WITHIN)
    assert (gap.hours_usd, gap.price_usd, gap.unexplained_usd) == (0, 0, 10)
    assert gap.finding


def test_a_gap_of_exactly_the_limit_is_no_finding() -> None:
    assert not compare(Measure("a", Decimal(100)), Measure("b", Decimal(95)), WITHIN).finding
    assert compare(Measure("a", Decimal(100)), Measure("b", Decimal("94.99")), WITHIN).finding


def test_nothing_against_nothing() -> None:
    gap = compare(Measure("a", Decimal(0)), Measure("b", Decimal(0)), WITHIN)
    assert (gap.share, gap.finding) == (None, False)


def test_what_the_right_side_alone_holds_counts_against_it() -> None:
    right = Measure("b", Decimal(12), outside={"fee": Decimal(2)})
    gap = compare(Measure("a", Decimal(10)), right, WITHIN)
    assert (gap.outside, gap.unexplained_usd) == ({"fee": Decimal(-2)}, 0)
    assert "fee -2.00, unexplained 0.00" in gap.text
