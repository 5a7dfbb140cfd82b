"""What a judgement says, and that its record is plain, readable and the same each time."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from include.quality.judge import QualityError, judge, to_markdown

ROWS = [
    {"day": "2026-11-23", "region": "us-east-1", "requests": Decimal("10")},
    {"day": "2026-11-24", "region": "us-east-1", "requests": None},
]
FACTS = {"regions": ["us-east-1"]}
BAD = [*ROWS, {"day": "2026-11-24", "region": "mars|venus", "requests": Decimal("-1")}]


def test_the_record_says_everything_and_nothing_of_the_clock() -> None:
    record = judge("requests", ROWS, **FACTS).record
    assert record == {
        "suite": "requests",
        "passed": True,
        "rows": 2,
        "facts": {"regions": ["us-east-1"]},
        "checks": [
            {"expectation": words, "type": kind, "passed": True, "observed": "", "rows": []}
            for words, kind in (
                ("the table has its 3 columns", "ExpectTableColumnsToMatchSet"),
                ("day is never empty", "ExpectColumnValuesToNotBeNull"),
                ("region is never empty", "ExpectColumnValuesToNotBeNull"),
                ("region is one of us-east-1", "ExpectColumnValuesToBeInSet"),
                ("requests is at least 0", "ExpectColumnValuesToBeBetween"),
                ("no two rows have the same day and region", "ExpectCompoundColumnsToBeUnique"),
            )
        ],
    }


def test_two_judgements_of_a_table_are_equal_bytes() -> None:
    first, second = (json.dumps(judge("requests", BAD, **FACTS).record) for _ in range(2))
    assert first == second


def test_a_failure_names_expectation_value_and_row() -> None:
    judgement = judge("requests", BAD, **FACTS)
    assert judgement.failures == (
        "expected that region is one of us-east-1; seen 1 of 3 rows: mars|venus (row 3)",
        "expected that requests is at least 0; seen 1 of 3 rows: -1.0 (row 3)",
    )
    assert not judgement.passed


def test_demand_raises_with_every_failure() -> None:
    judge("requests", ROWS, **FACTS).demand("requests of 2026-11-23")
    with pytest.raises(QualityError) as raised:
        judge("requests", BAD, **FACTS).demand("requests of 2026-11-23")
    assert str(raised.value).startswith(
        "requests of 2026-11-23 fails the suite 'requests': expected that region is one"
    )
    assert "requests is at least 0" in str(raised.value)


def test_a_frame_a_table_a_file_and_rows_are_judged_alike(tmp_path: Path) -> None:
    table = pa.Table.from_pylist(BAD)
    pq.write_table(table, tmp_path / "a.parquet")
    records = [
        judge("requests", made, **FACTS).record for made in (BAD, pd.DataFrame(BAD), table, tmp_path / "a.parquet")
    ]
    assert records == [records[0]] * 4


def test_judging_leaves_the_frame_as_it_was() -> None:
    frame = pd.DataFrame(BAD, index=[7, 8, 9])
    before = frame.copy(deep=True)
    judge("requests", frame, **FACTS)
    pd.testing.assert_frame_equal(frame, before)


def test_dollars_kept_as_text_are_numbers() -> None:
    rows = [{"day": "a", "region": "us-east-1", "requests": "-0.5"}]
    assert judge("requests", rows, **FACTS).failures == (
        "expected that requests is at least 0; seen 1 of 1 rows: -0.5 (row 1)",
    )


def test_only_the_first_rows_and_values_are_shown() -> None:
    rows = [{"day": str(n), "region": f"r{n}", "requests": None} for n in range(30)]
    failure = judge("requests", rows, **FACTS).failures[0]
    assert failure == (
        "expected that region is one of us-east-1; seen 30 of 30 rows: r0, r1, r2 (row 1, 2, 3, 4, 5, 6, 7, 8, 9, 10)"
    )


def test_the_page_can_be_read_offline() -> None:
    page = to_markdown(judge("requests", BAD, **FACTS).record)
    assert page.startswith(
        "# Table requests: FAILED\n\n3 rows; regions ['us-east-1'].\n\n| check | result | seen | rows |"
    )
    assert "| region is one of us-east-1 | FAILED | 1 of 3 rows: mars/venus | 3 |\n" in page
    assert to_markdown(judge("requests", ROWS, **FACTS).record).startswith("# Table requests: passed\n")
