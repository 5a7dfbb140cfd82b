"""The files of a report: equal bytes, nothing from elsewhere, and what a reader must see."""

from __future__ import annotations

import datetime as dt
import io
import json
import re
from decimal import Decimal
from html.parser import HTMLParser
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from include.cost.report.compute import compute_report
from include.cost.report.files import files_of
from include.cost.report.page import headline, money, sections
from include.cost.report.result import Report
from include.estate import load_estate
from tests.unit.cost.cost_world import DAY, aws_rows, put, put_day, received, table_in

ESTATE = load_estate()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    table = table_in(tmp_path_factory.mktemp("table"), 30)
    put_day(table, DAY, i_1="60")
    return compute_report(table, DAY, ESTATE, None)


@pytest.fixture(scope="module")
def files(report: Report) -> dict[str, bytes]:
    return files_of(report)


def test_the_same_report_gives_the_same_bytes(report: Report, files: dict[str, bytes]) -> None:
    assert files_of(report) == files


def test_a_later_equal_export_changes_no_byte_while_the_day_is_provisional(tmp_path: Path) -> None:
    table = table_in(tmp_path)
    before = files_of(compute_report(table, DAY, ESTATE, None))
    put(table, "aws", DAY, aws_rows(DAY), received=received(DAY, 40), inputs=("another.csv",))
    assert files_of(compute_report(table, DAY, ESTATE, None)) == before


def test_parquet_has_a_row_a_figure(report: Report, files: dict[str, bytes]) -> None:
    table = pq.read_table(io.BytesIO(files["report.parquet"]))
    assert table.column_names == ["day", "section", "key", "metric", "value", "unit", "status", "sources"]
    assert str(table.schema.field("value").type) == "decimal128(28, 12)"
    rows = table.to_pylist()
    assert len(rows) == len(report.rows)
    total = next(row for row in rows if (row["section"], row["metric"]) == ("total", "usd"))
    assert (total["day"], total["value"], total["status"]) == (DAY, Decimal("128.50"), "provisional")


def test_facts(report: Report, files: dict[str, bytes]) -> None:
    facts = json.loads(files["report.json"])
    assert (facts["day"], facts["status"], facts["complete"]) == ("2026-11-18", "provisional", True)
    assert [one["source"] for one in facts["inputs"]] == ["aws", "contracts", "jetson"]
    assert facts["inputs"][0]["billed_usd"] == "106.600000000000"
    assert len(facts["figures"]) == len(report.rows)


class Page(HTMLParser):
    """Collects tags, addresses and text, and checks that tags close."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.open: list[str] = []
        self.text: list[str] = []
        self.tags: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in {"src", "href", "xlink:href"}]
        if tag not in {"meta", "br", "img", "link"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def test_the_page_needs_nothing_from_elsewhere(files: dict[str, bytes]) -> None:
    text = files["report.html"].decode()
    page = Page(text)
    assert page.open == []
    assert {address for address in page.addresses if not address.startswith("#")} == set()
    assert not {"script", "link", "img", "iframe"} & set(page.tags)
    assert "@import" not in text
    assert "url(http" not in text
    assert page.tags.count("svg") == 2
    # What is referred to must be there once; two charts of one page must not share a name.
    wanted = {*re.findall(r"url\(#([^)]+)\)", text), *(address[1:] for address in page.addresses)}
    assert wanted
    assert all(text.count(f' id="{name}"') == 1 for name in wanted)


def test_the_page_has_no_date_of_its_making(files: dict[str, bytes]) -> None:
    text = files["report.html"].decode()
    assert "<metadata" not in text
    assert "currentColor" in text
    assert "prefers-color-scheme:dark" in text


def test_the_reader_sees_cost_verdict_and_driver(files: dict[str, bytes]) -> None:
    words = " ".join(Page(files["report.html"].decode()).text)
    for text in ("Wednesday, 18 November 2026", "provisional", "128.50", "i-1", "Components", "Anomalies"):
        assert text in words
    markdown = files["report.md"].decode()
    assert "| central dc | 75.40 | 73.00 | 70.24 | 2.76 | 120.41 | fail |" in markdown
    assert "| total | 128.50 | 88.50 |" in markdown


def test_an_unknown_total_is_said_first(tmp_path: Path) -> None:
    table = table_in(tmp_path)
    table.remove("jetson", DAY)
    report = compute_report(table, DAY, ESTATE, None)
    assert headline(report) == "The total is unknown: 1 component(s) have no data. Known so far: 88.20 USD."
    text = files_of(report)["report.md"].decode()
    assert "- jetson: source jetson has no data for 2026-11-18" in text
    assert "| total | unknown | unknown |" in text


def test_names_from_the_bill_are_escaped(tmp_path: Path) -> None:
    table = table_in(tmp_path)
    evil = aws_rows(DAY)[0] | {"ServiceName": "<script>alert(1)</script>|x", "x_CapacityType": None, "x_SourceRow": 99}
    put(table, "aws", DAY, [*aws_rows(DAY), evil])
    made = files_of(compute_report(table, DAY, ESTATE, None))
    assert b"<script>" not in made["report.html"]
    assert b"<script>" not in made["report.md"]
    assert b"| &lt;script>alert(1)&lt;/script>/x | 20.00 |" in made["report.md"]


def test_a_day_without_any_source_has_a_page(tmp_path: Path) -> None:
    report = compute_report(table_in(tmp_path), DAY - dt.timedelta(days=400), ESTATE, None)
    made = files_of(report)
    assert b"The total is unknown: 9 component(s) have no data." in made["report.md"]
    assert [section.title for section in sections(report)] == ["Components", "Month", "Requests", "Anomalies"]


def test_money() -> None:
    assert [money(Decimal(x)) for x in ("1234.5", "0", "0.056", "-0.05", "-3")] == [
        "1,234.50", "0.00", "0.0560", "-0.0500", "-3.00",
    ]  # fmt: skip
