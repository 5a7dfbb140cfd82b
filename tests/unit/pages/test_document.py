"""One description, two renderings: escaped, on its own, light and dark, and the same bytes again."""

from __future__ import annotations

import dataclasses
import html
import re

from include.pages.chart import Bar, bar_chart
from include.pages.document import Document, Items, Paragraph, Section, Tile, bullets, to_html, to_markdown
from include.pages.style import REST, SERIES, STYLE, TARGET
from include.pages.table import Table

EVIL = "<script>alert('1')</script> & \"quotes\""
TABLE = Table(("name", "USD", "verdict"), ((EVIL, "1.50", "fail"), ("two", "unknown", "")))
PAGE = Document(
    title=f"Cost of {EVIL}",
    over="A report",
    status="provisional",
    lead="Total unknown",
    more=f"{EVIL} without data.",
    head=(Paragraph("One\nline."), Items((("jetson", EVIL), ("", "plain")))),
    tiles=(Tile("cost", "1.50", "USD"),),
    sections=(
        Section("Pictures", (bar_chart(EVIL, [Bar(EVIL, 1.0)], "USD"),)),
        Section("Cost by component", (Paragraph("Strong.", strong=True), TABLE)),
        Section("Lessons", (bullets(EVIL, "two"),)),
        Section("Sources", (Paragraph("none"),)),
    ),
)


def test_markdown_says_everything_but_the_pictures() -> None:
    shown = EVIL.replace("<", "&lt;")
    assert to_markdown(PAGE) == (
        f"# Cost of {shown}\n\n"
        f"**Total unknown**: {shown} without data.\n\n"
        "One line.\n\n"
        f"- jetson: {shown}\n- plain\n\n"
        "## Cost by component\n\n"
        "**Strong.**\n\n"
        f"| name | USD | verdict |\n| --- | --: | --- |\n| {shown} | 1.50 | fail |\n| two | unknown | |\n\n"
        f"## Lessons\n\n- {shown}\n- two\n\n"
        "## Sources\n\nnone\n"
    )


def test_no_text_of_others_is_a_tag_a_picture_a_link_or_a_line_of_its_own_in_markdown() -> None:
    others = (
        "![seen](https://elsewhere.example/p) [Approve](https://elsewhere.example) <img src=x> </p> a < 5 ms\n# Passed"
    )
    part = Document("", sections=(Section(others, (Paragraph(others), Items(((others, others),)), TABLE)),))
    text = to_markdown(part)
    assert re.findall(r"\]\(|<[a-z/]|^# ", text, re.MULTILINE) == []
    assert text.count("a < 5 ms # Passed") == 4


def test_a_part_of_another_page_has_no_title_and_lower_headings() -> None:
    part = Document(title="", sections=(Section("The step", (Paragraph("x"),)),))
    assert to_markdown(part, level=2) == "### The step\n\nx\n"


def test_every_text_is_escaped() -> None:
    page = to_html(PAGE)
    assert "<script" not in page
    assert page.count("&lt;script&gt;") == 12
    assert EVIL in html.unescape(page)


def test_the_page_stands_on_its_own_in_light_and_dark() -> None:
    page = to_html(PAGE)
    assert page.startswith('<!doctype html>\n<html lang="en">\n')
    assert not re.search(r"https?:|url\(|@import|<link|<script|<img|src=", page)
    assert "@media(prefers-color-scheme:dark)" in page
    assert '<meta name="color-scheme" content="light dark">' in page
    assert page == to_html(dataclasses.replace(PAGE))


def test_the_contents_lead_to_the_sections() -> None:
    page = to_html(PAGE)
    anchors = re.findall(r'<a href="#([^"]+)">', page)
    assert anchors == ["pictures", "cost-by-component", "lessons", "sources"]
    assert all(page.count(f'id="{anchor}"') == 1 for anchor in anchors)
    assert "<nav" not in to_html(dataclasses.replace(PAGE, sections=PAGE.sections[:3]))


def test_verdicts_and_figures_are_told_apart() -> None:
    page = to_html(PAGE)
    assert '<td class="n">1.50</td><td class="fail">fail</td>' in page
    assert '<td class="unknown n">unknown</td><td class="s"></td>' in page
    assert '<span class="chip provisional">provisional</span>' in page


def test_each_chart_has_its_table_folded_behind_it() -> None:
    page = to_html(PAGE)
    assert page.count("<figure>") == page.count("<summary>The figures behind it</summary>") == 1
    assert page.count("<table>") == 2


def test_each_colour_of_a_series_is_there_in_light_and_dark_and_on_paper() -> None:
    assert all(STYLE.count(f"--{name}:#") == 3 for name in (*SERIES, REST, TARGET))
