import xml.etree.ElementTree as ET

from include.pages.waterfall import Step, waterfall_chart

STEPS = [Step("spot", -60.0, "4 domains"), Step("platform", 20.0), Step("routing <b>", None)]


def draw():
    return waterfall_chart("From 13 to 14", ("week 13", 100.0), STEPS, ("week 14", 60.0), "USD a month")


def test_the_picture_has_a_bar_for_each_sum_and_step_and_says_so_in_words():
    svg = ET.fromstring(draw().svg)
    bars = [part for part in svg.iter() if part.tag.endswith("rect")]
    assert [bar.attrib["class"] for bar in bars] == ["rest", "s3", "target", "s3", "rest"]
    assert svg.attrib["aria-label"] == "From 13 to 14"
    assert "week 13 100.00; spot -60.00; platform +20.00; routing <b> unknown; week 14 60.00" in draw().description


def test_a_step_begins_where_the_last_one_ended():
    rects = [part for part in ET.fromstring(draw().svg).iter() if part.tag.endswith("rect")]
    left = [float(bar.attrib["x"]) for bar in rects]
    width = [float(bar.attrib["width"]) for bar in rects]
    assert left[1] + width[1] == left[0] + width[0]  # falls from 100
    assert left[2] == left[1]  # to 40, and rises from there
    assert width[3] == 1.0  # an unknown step moves nothing


def test_the_table_behind_it_has_the_notes():
    table = draw().table
    assert table.headers == ("", "USD a month", "")
    assert table.rows[1] == ("spot", "-60.00", "4 domains")
    assert table.rows[3] == ("routing <b>", "unknown", "")


def test_texts_are_escaped_and_equal_figures_give_equal_bytes():
    assert "routing &lt;b&gt;" in draw().svg
    assert draw() == draw()
