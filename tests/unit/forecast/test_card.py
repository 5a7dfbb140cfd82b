"""The model card says what was measured, and its pictures are well-formed."""

from __future__ import annotations

import html
import math
import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest

from include.forecast.candidates.trees import TreeSettings
from include.forecast.card import figure, model_card, operations_text
from include.forecast.evaluation import Operational, WapeDifference
from include.forecast.training import PartResult, TrainingSettings, look_at_test, train_candidates
from include.pages.chart import line_chart, path, tick
from tests.unit.forecast.traffic_series import daily


def test_the_card_has_figures_pictures_and_limits() -> None:
    settings = TrainingSettings(trees=TreeSettings(rounds=10, min_leaf=20), lstm=None)
    trained = train_candidates(replace(daily(days=6), name="us<east"), settings)
    tested = look_at_test(trained)
    page = model_card(trained, tested)
    assert page.count("<svg") == page.count("</svg>") == 2
    assert "us&lt;east" in page
    assert tested.promotion.reason.split(" (")[0] in html.unescape(page)
    assert figure(tested.results[trained.chosen.name].wape) in page
    assert "It may add capacity, never remove it." in page


def test_a_chart_is_xml_and_a_gap_interrupts_its_line() -> None:
    chart = line_chart("a & b", [0.0, 1, 2, 3], {"one": [1.0, math.nan, 3, 4]}, "hours")
    assert ET.fromstring(chart.svg).attrib["aria-label"] == "a & b"
    assert [step[0] for step in path([0.0, 1, 2, 3], [1.0, math.nan, 3, 4], 4.0).split()[::2]] == ["M", "M", "L"]


@pytest.mark.parametrize(("lead", "words"), [(None, "no lead time"), (12.0, "median lead time 12 min")])
def test_what_it_would_have_done_in_words(lead: float | None, words: str) -> None:
    found = Operational(4, 3, lead, 50, 10, 0.0123)
    assert operations_text(PartResult(0.1, 1.0, 0.01, WapeDifference(0, 0), (), found)) == (
        f"3 of 4 rises of more than 20 % foreseen, {words}; 50 minutes asked for more capacity, "
        "10 of them without need, which adds 1.23% node time."
    )


def test_what_is_not_defined_says_so() -> None:
    assert (figure(None), figure(0.5)) == ("not defined", "0.5000")


def test_an_axis_has_no_exponent_and_a_figure_no_negative_zero() -> None:
    assert [tick(value) for value in (0.0, 0.0227, 1.5, 99.95, 312.4, 6237.0)] == [
        "0", "0.023", "1.5", "100.0", "312", "6,237",
    ]  # fmt: skip
    assert [figure(value) for value in (-0.00001, 0.12345, None)] == ["0.0000", "0.1235", "not defined"]
