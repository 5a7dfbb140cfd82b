"""Tables of text: Markdown, columns for a terminal, and which columns are figures."""

from __future__ import annotations

import pytest

from include.pages.table import Table, aligned, to_markdown
from include.pages.texts import percent, usd, words

SHOWN = Table(
    ("component", "verdict", "USD", "share", "source"),
    (("s3", "pass", "1,234.50", "40.0 %", "bill"), ("a | b\nc", "fail", "unknown", "-", ""), ("x", "", "", "", "")),
)


def test_a_column_of_figures_stands_to_the_right_and_the_first_never() -> None:
    assert SHOWN.figures == (False, False, True, True, False)
    assert Table(("year", "n"), (("2026", "1"),)).figures == (False, True)
    assert Table(("a", "b"), ()).figures == (False, False)


@pytest.mark.parametrize(
    "cell", ["0", "-0.0600", "+55", "1,234", "40.0 %", "458 h", "1.5e-3", "unknown", "not defined"]
)
def test_what_reads_as_a_figure(cell: str) -> None:
    assert Table(("name", "x"), (("one", cell), ("two", "5"))).figures[1]


@pytest.mark.parametrize("cell", ["1.4500 -> 0.9000", "2026-11-23", "v1", "yes"])
def test_what_does_not(cell: str) -> None:
    assert not Table(("name", "x"), (("one", cell), ("two", "5"))).figures[1]


def test_markdown_keeps_a_cell_on_its_line() -> None:
    assert to_markdown(SHOWN) == (
        "| component | verdict | USD | share | source |\n"
        "| --- | --- | --: | --: | --- |\n"
        "| s3 | pass | 1,234.50 | 40.0 % | bill |\n"
        "| a / b c | fail | unknown | - | |\n"
        "| x | | | | |"
    )


def test_columns_for_a_terminal() -> None:
    assert aligned([("name", "n"), ("a", "10"), ("long name", "2")], right={1}) == (
        "name        n\n---------  --\na          10\nlong name   2"
    )


def test_figures_in_words() -> None:
    assert [usd(value) for value in ("1234.5", "0.005", None)] == ["1,234.50", "0.00", "unknown"]
    assert [percent(share) for share in ("0.727", None)] == ["72.7 %", "-"]
    assert words("central_dc") == "central dc"
