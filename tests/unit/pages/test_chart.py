"""Charts: well-formed, the same bytes for the same figures, readable without seeing them."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET

import pytest

from include.pages.chart import Bar, Chart, Limit, Scale, bar_chart, column_chart, line_chart, round_up

DAYS = ["1 Nov", "2 Nov", "3 Nov"]
STACKS = {"nodes": [10.0, 12.0, 0.0], "refund": [0.0, -2.0, 0.0], "left": [1.0, 1.0, 1.0]}


def columns(**more: object) -> Chart:
    given: dict[str, object] = {"limit": Limit("target", 12.5), "shaded": [0], "unknown": [1], "rest": "left"}
    return column_chart("Cost <by> day", DAYS, STACKS, "USD a day", **(given | more))  # type: ignore[arg-type]


def bars() -> Chart:
    rows = [Bar("s3", 3.9, 3.95), Bar("central dc", 80.0, 70.0, is_bad=True), Bar("jetson", None, 0.36)]
    return bar_chart("Against targets", rows, "USD a day", "target")


def lines() -> Chart:
    return line_chart("Traffic", [0.0, 1, 2], {"came": [1.0, math.nan, 3.0], "P50": [1.0, 2.0, 3.0]}, "hours")


@pytest.mark.parametrize("draw", [columns, bars, lines])
def test_a_chart_has_a_title_a_description_and_its_figures(draw: object) -> None:
    chart: Chart = draw()  # type: ignore[operator]
    svg = ET.fromstring(chart.svg)
    assert svg.attrib["role"] == "img"
    assert svg.attrib["aria-label"] == svg.findtext("title") == chart.title
    assert svg.findtext("desc") == chart.description != ""
    assert len(chart.table.rows) == 3
    assert chart == draw()  # type: ignore[operator]
    assert "#" not in chart.svg  # colours are the style sheet's
    assert "http" not in chart.svg


def test_columns_are_stacked_and_a_refund_goes_below_zero() -> None:
    chart = columns()
    svg = ET.fromstring(chart.svg)
    assert [path.attrib["class"] for path in svg.iter("path")] == ["s1", "s2", "rest"]
    texts = [text.text for text in svg.iter("text")]
    assert "target 12.50" in texts
    assert texts.count("?") == 1
    assert chart.table.rows[1] == ("2 Nov", "12.00", "-2.00", "1.00", "unknown")
    assert chart.table.rows[0] == ("1 Nov", "10.00", "0.00", "1.00", "11.00")
    assert [text for text in texts if text and text.startswith("-")] == ["-2.0"]


def test_a_bar_says_what_is_unknown_and_marks_what_is_above() -> None:
    chart = bars()
    svg = ET.fromstring(chart.svg)
    assert [rect.attrib["class"] for rect in svg.iter("rect")] == ["s3", "target", "s3"]
    assert chart.table.rows == (("s3", "3.90", "3.95"), ("central dc", "80.00", "70.00"), ("jetson", "unknown", "0.36"))
    assert chart.description == "USD a day; the line is the target: s3 3.90; central dc 80.00; jetson unknown."


def test_a_long_line_has_a_short_table() -> None:
    chart = line_chart("Traffic", [float(n) for n in range(2880)], {"came": [1.0] * 2880}, "minutes")
    assert len(chart.table.rows) == 48
    assert chart.table.rows[1] == ("60", "1")


def test_a_chart_of_nothing_is_still_one() -> None:
    assert ET.fromstring(column_chart("Nothing", [], {}, "USD").svg).findtext("title") == "Nothing"
    assert ET.fromstring(bar_chart("Nothing", [], "USD").svg).findtext("title") == "Nothing"
    empty = line_chart("Nothing", [0.0], {"a": [math.nan]}, "hours")
    assert empty.table.rows == (("0", "unknown"),)


def test_an_axis_ends_at_a_round_value() -> None:
    assert [round_up(value) for value in (0.0, 0.022, 1.0, 7.2, 128.5, 6237.0)] == [1.0, 0.025, 1.0, 8.0, 150.0, 8000.0]


def test_what_is_above_the_scale_stands_at_its_top() -> None:
    scale = Scale(0.0, 10.0, 100.0)
    assert (scale.y(0.0), scale.y(10.0), scale.y(99.0)) == (66.0, 14.0, 14.0)
