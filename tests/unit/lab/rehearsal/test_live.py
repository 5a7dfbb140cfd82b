"""The live table: what it takes from the ledger's records, and how it looks."""

from __future__ import annotations

from typing import Any

from include.rollout.ledger import FIRST_LINK, Record, Step
from lab.rehearsal import live
from lab.rehearsal.evidence import EvidenceFigures
from lab.rehearsal.live import Board

AP, US = "ap-northeast-1", "us-east-1"
FIGURES = EvidenceFigures(12, 22, 0.727, 0.71, 1.4679, 21.74, 0.0)


def record(step: str, place: str = AP, **figures: Any) -> Record:
    return Record("spot_capacity", place, "day1_spot", "r", 1, FIRST_LINK, step, "2026-11-29T10:00:00+00:00", figures)


def test_a_region_shows_its_stage_its_gates_and_each_days_word() -> None:
    board = Board([AP, US], [1, 2])
    board.begin(1)
    board.saw(record(Step.TOUCH, title="30 % spot"))
    assert (board.rows[AP].stage, board.rows[AP].days, board.rows[US].days) == (
        *("writing 30 % spot", {1: "runs"}),
        {1: "waits"},
    )
    board.saw(record(Step.APPLIED, title="30 % spot"))
    board.saw(record(Step.GATE, outcome="pass"))
    board.saw(record(Step.GATE, outcome="fail"))
    assert (board.rows[AP].stage, board.rows[AP].gates) == ("gates of 30 % spot", 1)
    board.saw(record(Step.UNDO))
    assert board.rows[AP].days == {1: "rolling back"}
    board.end("rolled back")
    assert [row.days for row in board.rows.values()] == [{1: "rolled back"}] * 2


def test_what_concerns_the_whole_estate_shows_in_every_region() -> None:
    board = Board([AP, US], [3])
    board.begin(3)
    board.saw(record(Step.TOUCH, "estate-wide", slot="alias"))
    assert [row.stage for row in board.rows.values()] == ["writing alias"] * 2


def test_figures_are_empty_until_they_are_read_and_unknown_stays_unknown() -> None:
    board = Board([AP], [1])
    assert live.cells(board.rows[AP]) == ("", "0", "", "", "", "")
    board.look(AP, FIGURES)
    assert live.cells(board.rows[AP]) == ("", "0", "12", "73%", "1.468", "21.7")
    board.look(AP, EvidenceFigures(12, 22, 0.0, 0.0, None, None, None))
    assert live.cells(board.rows[AP])[4:] == ("unknown", "unknown")


def test_the_table_has_a_column_for_each_day_and_a_row_for_each_region() -> None:
    board = Board([AP, US], [1, 2])
    table = live.rendered(board)
    assert [column.header for column in table.columns] == [
        "region", "day 1", "day 2", "stage now", "gates", "nodes", "spot", "$/h", "P95 ms",
    ]  # fmt: skip
    assert table.row_count == 2


def test_without_a_terminal_nothing_is_drawn_and_nothing_is_read() -> None:
    def read() -> Any:
        raise AssertionError("read without a terminal")

    with live.shown(Board([AP], [1]), read, on_terminal=False):
        pass
