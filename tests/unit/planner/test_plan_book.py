from decimal import Decimal

from include.planner.plan_book import central_after, central_before, lines


def _line(name: str):
    return next(line for line in lines() if line.name == name)


def test_the_lines_of_week_14_add_up_to_the_plans_2970():
    total = _line("total, week 14")
    assert (total.stated, total.derived, total.off) == (Decimal(2970), Decimal(2970), Decimal(0))


def test_the_plans_own_formulas_are_computed_as_they_stand():
    assert central_before() == Decimal("1489.200")
    assert central_after().quantize(Decimal("0.01")) == Decimal("310.49")


def test_a_line_that_its_own_figures_dont_give_fails_by_so_much():
    assert _line("central_dc, week 13").off == Decimal("310.80")
    assert _line("central_dc, week 14").off == Decimal("739.51")
    assert _line("cloudfront, week 14").off == Decimal("-2652.00")
    assert _line("lambda_edge, week 14").off == Decimal("-60.00")
    assert _line("jetson, week 14").derived == Decimal("6.41")


def test_a_line_without_figures_behind_it_is_unknown_and_never_a_pass():
    assert _line("s3, week 14").derived is None
    assert _line("s3, week 14").off is None
    assert _line("cost_platform, week 14").how == "the plan gives no figures behind it"


def test_every_component_has_a_line_in_both_weeks():
    assert len(lines()) == 2 * 8 + 2 + 1
