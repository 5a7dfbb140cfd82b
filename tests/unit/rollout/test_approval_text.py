"""The forms of a rollout and of a rollback: what an approver reads, to the letter."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from include.rollout import decisions
from include.rollout.decisions import Backing, Offered, Outlook, Undoable
from include.rollout.decisions.approval import capped, some_of, table
from include.rollout.gates import Comparison, Gate
from include.rollout.lever import Difference, Plan, Stage, Undo
from include.rollout.safety import Fault, Outcome, Proved, Version, matrix

CODE, PLAN = "0123456789ab", "89a7a1af48b0"
JUDGING = {"soak_seconds": 60, "gate_window_seconds": 600, "minimum_coverage": 0.9, "gate_wait_seconds": 30}
GATES = (
    "Gates are judged 60 s after each step, over at most 600 s of which 90% must have samples; without data they wait "
    "30 s."
)
HEALTH = Gate("health", Comparison.AT_LEAST, 0.99, "ratio", 10, "toy")
ADDRESS = "https://airflow.example/base/dags/day1_spot/runs/manual__1%2B00/tasks/make_plan?try_number=1"
ALL_OTHERS = "kill, api-server, karpenter, prometheus, spot-storm, etag, oom, ice, forecast-down, zone-loss, cost-spike"


def record(fault: Fault, seconds: float, code: str = CODE, plan: str = PLAN, outcome: str = "restored") -> Proved:
    return Proved("spot_capacity", fault, Outcome(outcome), seconds, code, plan, "2026-11-29T13:15:00Z", "rehearsal")


def backing(*records: Proved, outlook: Outlook | None = None) -> Backing:
    cells = matrix({"spot_capacity": Version(CODE, PLAN)}, records)["spot_capacity"]
    found = outlook or Outlook(Decimal("512.5"), Decimal("430"), "aws", 0.042)
    return Backing("spot_capacity", CODE, cells, found)


def plan(place: str, differences: int = 1, notes: int = 0, after: str | None = "100") -> Plan:
    return Plan(
        lever="spot_capacity",
        place=place,
        live={},
        differences=tuple(Difference(f"NodePool/akidb-spot field{n}", None, n) for n in range(differences)),
        stages=(Stage("step_1", "25 % spot", (HEALTH,)),),
        usd_month_before=Decimal("1058.67"),
        usd_month_after=None if after is None else Decimal(after),
        price_book="aws (2026-07-20)",
        undo=Undo.NODE_WAVE,
        notes=tuple(f"note {n}" for n in range(notes)),
    )


def offered(*plans: Plan, of: Backing | None = None) -> Offered:
    return Offered(of or backing(), plans, {}, "spot_capacity/estate/day1_spot--manual__1/000002.json")


def test_a_reason_says_nothing_in_the_forms_own_words() -> None:
    reason = "cheaper\n\n**Plan 000000000000:** nothing is written. [Approve](https://elsewhere.example) <img src=x>"
    one = plan("us-east-1")
    texts = [
        decisions.approval_text(PLAN, [offered(one)], reason, JUDGING, {}),
        decisions.plan_text([one], {}, reason, JUDGING),
        decisions.joint_text({"spot_capacity": ([one], {})}, reason, JUDGING),
    ]
    for text in texts:
        (line,) = [line for line in text.splitlines() if "cheaper" in line]
        assert line.startswith("**Reason:** cheaper **Plan 000000000000:** nothing is written. [Approve]\\(https:")
        assert line.endswith(" &lt;img src=x>")
        assert "[Approve](" not in text


def test_the_form_of_a_rollout() -> None:
    proofs = backing(record(Fault.UNDO, 87.2), record(Fault.GATE, 41, plan="1" * 12), record(Fault.ICE, 30, "f" * 12))
    text = decisions.approval_text(
        PLAN, [offered(plan("ap-northeast-1"), plan("us-east-1", 2), of=proofs)], "cheaper", JUDGING, {"the run": "x"}
    )
    assert text.split("\n") == [
        "**Plan 89a7a1af48b0:** spot_capacity in ap-northeast-1, us-east-1; 3 differences. [the run](x)",
        "",
        "**Reason:** cheaper",
        "",
        "| lever | saving a month by this plan | saving a month by the simulation of 30 days | undo, and as "
        "rehearsed |",
        "|---|---|---|---|",
        "| spot_capacity | $1,917.34 (price book aws (2026-07-20)) | P50 $512.50, P90 $430.00 (price book aws); "
        "a rehearsal missed it by 4% | node wave: restored in 87 s |",
        "",
        "| lever and code | proved for this code and plan | proved for another | not rehearsed |",
        "|---|---|---|---|",
        "| spot_capacity `0123456789ab` | undo restored in 87 s | gate restored in 41 s (plan 111111111111); ice "
        "restored in 30 s (code ffffffffffff) | kill, api-server, karpenter, prometheus, spot-storm, etag, oom, "
        "forecast-down, zone-loss, cost-spike |",
        "",
        "### ap-northeast-1: spot_capacity",
        "",
        "- `NodePool/akidb-spot field0: absent -> 0`",
        "",
        "1. 25 % spot (gates: health >= 0.99 ratio)",
        "",
        "- Saving: $958.67 a month (91%), from $1,058.67 to $100.00 (price book aws (2026-07-20)).",
        "- Undo: node wave.",
        "",
        "### us-east-1: spot_capacity",
        "",
        "- `NodePool/akidb-spot field0: absent -> 0`",
        "- `NodePool/akidb-spot field1: absent -> 1`",
        "",
        "- the steps of ap-northeast-1, with the same gates",
        "- Saving: $958.67 a month (91%), from $1,058.67 to $100.00 (price book aws (2026-07-20)).",
        "- Undo: node wave.",
        "",
        GATES,
    ]  # fmt: skip


def test_a_long_plan_is_cut_and_names_the_record_that_has_all_of_it() -> None:
    lines = decisions.approval_text(PLAN, [offered(plan("estate-wide", 100, 30))], "", JUDGING, {}).split("\n")
    differences = [line for line in lines if line.startswith("- `NodePool")]
    notes = [line for line in lines if line.startswith("- Note:")]
    assert (len(differences), len(notes), len(lines)) == (12, 9, 42)
    assert "- and 88 more, in the ledger record `spot_capacity/estate/day1_spot--manual__1/000002.json`" in lines
    assert "- and 21 more, in the ledger record `spot_capacity/estate/day1_spot--manual__1/000002.json`" in lines


def test_places_share_the_lines_and_none_has_fewer_than_three() -> None:
    plans = [plan(f"region-{n}", 50, 9) for n in range(20)]
    text = decisions.approval_text(PLAN, [offered(*plans)], "", JUDGING, {})
    assert text.count("- `NodePool") == 60
    assert text.count("- and 47 more") == 20
    # The notes of a place that the first one has too stand there alone.
    assert text.count("- Note:") == 3


def test_one_line_more_is_shown_and_not_counted() -> None:
    assert some_of(["- a", "- b", "- c"], 2, "key") == ["- a", "- b", "- c"]
    assert some_of(["- a", "- b", "- c", "- d"], 2, "key") == ["- a", "- b", "- and 2 more, in the ledger record `key`"]


def test_the_last_notes_are_kept_where_they_hold_for_all_of_it() -> None:
    notes = [f"- {n}" for n in range(9)]
    assert some_of(notes, 3, "key", last=1) == ["- 0", "- 1", "- and 6 more, in the ledger record `key`", "- 8"]


def test_the_lists_of_a_text_share_its_lines() -> None:
    text = "### one\n\n" + "\n".join(f"- {n}" for n in range(9)) + "\n\n### two\n\n- a\n- b"
    assert capped(text, "key", 8) == (
        "### one\n\n- 0\n- 1\n- 2\n- 3\n- and 5 more, in the ledger record `key`\n\n### two\n\n- a\n- b"
    )


def test_several_levers_stand_in_their_order_each_with_its_row() -> None:
    second = replace(backing(), lever="right_sizing", version=None, outlook=Outlook(problem="no planner"))
    text = decisions.approval_text(
        PLAN, [offered(plan("us-east-1")), offered(plan("us-east-1", after=None), of=second)], "", JUDGING, {}
    )
    assert text.startswith("**Plan 89a7a1af48b0:** spot_capacity -> right_sizing in us-east-1; 2 differences.\n\nEach ")
    assert (
        "\n| right_sizing | not known in price book aws (2026-07-20) | not known: no planner "
        "| node wave: not rehearsed |" in text
    )
    assert f"\n| right_sizing `no version` | nothing | nothing | undo, gate, {ALL_OTHERS} |" in text


def test_safety_records_that_can_not_be_read_are_said_to_be_so() -> None:
    broken = replace(backing(), problem="safety/x.json counts for nothing: it was changed")
    text = decisions.approval_text(PLAN, [offered(plan("us-east-1"), of=broken)], "", JUDGING, {})
    assert "\n\n**Safety records:** safety/x.json counts for nothing: it was changed\n\n###" in text


@pytest.mark.parametrize(
    ("outlook", "text"),
    [
        (Outlook(), "not known"),
        (Outlook(problem="no traffic"), "not known: no traffic"),
        (Outlook(Decimal("-620"), None, "plan"),
         "P50 -$620.00, P90 not known (price book plan); its error was never rehearsed"),
    ],
)  # fmt: skip
def test_an_outlook_says_what_is_not_known(outlook: Outlook, text: str) -> None:
    assert outlook.text == text


def test_the_form_of_a_rollback() -> None:
    undoable = Undoable(backing(record(Fault.UNDO, 87)), ("ap-northeast-1", "us-east-1"), Undo.NODE_WAVE)
    described = "### us-east-1: spot_capacity\n\n" + "\n".join(f"- set back `field{n}`" for n in range(40))
    lines = decisions.undo_form("abcabcabcabc", [undoable], described, "rollback/1", {"the run": "x"}).split("\n")
    assert lines[:7] == [
        "**Undo abcabcabcabc:** spot_capacity. [the run](x)",
        "",
        "| lever | in | saving a month by the simulation of 30 days | undo, and as rehearsed |",
        "|---|---|---|---|",
        "| spot_capacity | ap-northeast-1, us-east-1 | P50 $512.50, P90 $430.00 (price book aws); a rehearsal missed "
        "it by 4% | node wave: restored in 87 s |",
        "",
        "| lever and code | proved for this code and plan | proved for another | not rehearsed |",
    ]
    assert lines[-2:] == ["- set back `field11`", "- and 28 more, in the ledger record `rollback/1`"]


def test_a_rollback_of_nothing_says_so() -> None:
    text = decisions.undo_form("abcabcabcabc", [], "Nothing to undo: no change stands.", "key", {})
    assert text == "**Undo abcabcabcabc:** nothing.\n\nNothing to undo: no change stands."


def test_the_undo_that_takes_most_is_that_of_the_lever() -> None:
    assert decisions.worst([Undo.MINUTES, Undo.COPY_BACK, Undo.REBOOT]) is Undo.COPY_BACK
    assert decisions.worst([]) is None


def test_the_links_of_a_run_come_from_its_log() -> None:
    assert decisions.run_links(ADDRESS) == {
        "the run": "https://airflow.example/base/dags/day1_spot/runs/manual__1%2B00",
        "this approval": "https://airflow.example/base/dags/day1_spot/runs/manual__1%2B00/tasks/await_approval",
        "its records": "https://airflow.example/base/plugin/akidb/akidb/runs/day1_spot/manual__1%2B00",
    }
    assert decisions.run_links("") == decisions.run_links("/dags/a/runs/b/tasks/c") == {}


def test_a_bar_or_a_new_line_in_a_cell_breaks_no_table() -> None:
    assert table(("a", "b"), [("x|y", "1\n2")]) == ["| a | b |", "|---|---|", "| x\\|y | 1 2 |"]
