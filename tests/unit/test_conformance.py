"""What `make conformance` makes of the rule set's answer and of the list of known gaps."""

from __future__ import annotations

from pathlib import Path

import pytest

from include.cost.table.store import facts_of
from tests.conformance.run import GAPS_FILE, ConformanceError, Outcome, gaps_of, judge, read_gaps, read_outcome
from tests.conformance.samples import DAY, write_samples

RESULT = """<testsuites tests="3" skipped="1"><testsuite name="a">
<testcase name="A-C-001-M :: Nullability"><failure name="A-C-001-M" message="m">Failed</failure></testcase>
<testcase name="B-C-001-M :: Type" />
<testcase name="C-C-001-M :: Format"><error message="m" /></testcase>
<testcase name="D-C-001-M :: Format"><skipped message="m" /></testcase>
</testsuite></testsuites>"""
TABLE = """
| rule | sources | absent source column | why |
|---|---|---|---|
| `A-C-001-M` | aws-cur, jetson | a | b |
| `B-C-001-M` | aws-focus | a | b |
"""


def test_a_failure_and_an_error_are_failed_rules() -> None:
    assert read_outcome(RESULT) == Outcome(3, 1, ("A-C-001-M", "C-C-001-M"))


def test_gaps_are_read_by_source() -> None:
    gaps = read_gaps(TABLE)
    assert gaps == {"aws-cur": {"A-C-001-M"}, "jetson": {"A-C-001-M"}, "aws-focus": {"B-C-001-M"}}
    assert gaps_of("aws", gaps) == {"A-C-001-M", "B-C-001-M"}
    assert gaps_of("contracts", gaps) == set()


def test_a_gap_without_a_reason_is_refused() -> None:
    with pytest.raises(ConformanceError, match="must have the cells rule, sources, absent column, why"):
        read_gaps("| `A-C-001-M` | jetson | a |  |")


def test_only_what_the_list_does_not_say_is_a_problem() -> None:
    outcomes = {"jetson": Outcome(9, 0, ("A-C-001-M", "Z-C-001-M")), "aws-focus": Outcome(9, 0, ())}
    assert judge(outcomes, read_gaps(TABLE)) == [
        "jetson: Z-C-001-M fails and is not listed in focus_gaps.md",
        "aws-focus: B-C-001-M is listed in focus_gaps.md and passes: remove it",
    ]
    assert judge(outcomes, read_gaps(TABLE), stale=False) == [
        "jetson: Z-C-001-M fails and is not listed in focus_gaps.md"
    ]


def test_the_document_can_be_read_and_names_every_source() -> None:
    assert {"contracts", "jetson", "opencost", "kubecost"} <= set(read_gaps(GAPS_FILE.read_text(encoding="utf-8")))


def test_every_source_has_a_sample_with_rows(tmp_path: Path) -> None:
    facts = {name: facts_of(path) for name, path in write_samples(tmp_path).items()}
    assert {one.source for one in facts.values()} == {"aws", "contracts", "jetson", "opencost", "kubecost"}
    assert all(one.rows > 0 for one in facts.values())
    assert {one.day for name, one in facts.items() if name != "aws-cur-2018"} == {DAY}
    assert facts["aws-cur2"].billed_usd == facts["aws-cur"].billed_usd
