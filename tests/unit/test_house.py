"""The house in figures: what is counted, and the limits that the sources keep."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tools import house
from tools.arrows import ArrowsError, circles, layer, upward
from tools.copies import CopyPlace, copies, shapes

LEVER_LINES = {
    "spot_capacity": 1200,
    "predictive_scaling": 850,
    "cost_monitoring": 850,
    # Right-sizing has the recommender's twin and the weekly tuning in it, consolidation the packing and the floor.
    "right_sizing": 3200,
    "consolidation": 3000,
    "nonprod_hours": 1150,
}


@pytest.fixture(scope="module")
def figures() -> dict[str, Any]:
    return house.structure()


def test_no_import_points_upward(figures: dict[str, Any]) -> None:
    assert figures["arrows_up"] == 0


def test_no_imports_go_in_a_circle(figures: dict[str, Any]) -> None:
    assert figures["circles"] == 0


@pytest.mark.parametrize("lever", LEVER_LINES)
def test_a_lever_has_no_more_lines_than_its_limit(lever: str, figures: dict[str, Any]) -> None:
    assert figures["lever_lines"][lever] <= LEVER_LINES[lever]


def test_half_of_the_functions_have_seven_lines_or_fewer(figures: dict[str, Any]) -> None:
    assert figures["functions"]["median"] <= 7


def test_nine_of_ten_functions_have_eighteen_lines_or_fewer(figures: dict[str, Any]) -> None:
    assert figures["functions"]["p90"] <= 18


def test_no_function_has_more_than_forty_lines(figures: dict[str, Any]) -> None:
    assert figures["functions"]["over_40"] == 0


def test_no_module_has_more_than_400_lines(figures: dict[str, Any]) -> None:
    assert figures["modules_over_400"] == []


def test_no_test_module_has_more_than_500_lines(figures: dict[str, Any]) -> None:
    assert figures["test_modules_over_500"] == []


def test_no_six_lines_in_a_row_stand_in_two_levers(figures: dict[str, Any]) -> None:
    assert figures["lever_copies"] == 0


def test_an_arrow_points_upward_when_its_importer_stands_below() -> None:
    down = ("include.wiring.rollout", "include.rollout.steps")
    up = ("include.rollout.rollback", "include.levers")
    assert upward([down, up]) == [up]


def test_the_tasks_of_a_room_stand_beside_the_wiring() -> None:
    assert layer("include.cost.guard.tasks") == layer("include.wiring.dag")
    assert upward([("include.cost.guard.tasks", "include.levers"), ("include.cost.guard.look", "include.levers")]) == [
        ("include.cost.guard.look", "include.levers")
    ]


def test_a_module_without_a_layer_is_refused_by_name() -> None:
    with pytest.raises(ArrowsError, match=r"^include\.attic\.box stands in no layer: add it to LAYERS in tools/arrow"):
        layer("include.attic.box")


def test_a_circle_of_three_siblings_is_found_inside_a_room() -> None:
    room = [("include.cost.a", "include.cost.b.x"), ("include.cost.b.y", "include.cost.c"),
            ("include.cost.c", "include.cost.a"), ("include.cost.d", "include.cost.a")]  # fmt: skip
    assert circles(room) == [["include.cost.a", "include.cost.b", "include.cost.c"]]


def test_a_module_that_imports_its_package_closes_a_circle_when_the_package_imports_it() -> None:
    assert circles([("lab.cloud", "lab.cloud.bill"), ("lab.cloud.bill", "lab.cloud")]) == [
        ["lab.cloud.__init__", "lab.cloud.bill"]
    ]
    assert circles([("lab.cloud", "lab.cloud.bill"), ("lab.cloud.bill", "lab.world")]) == []


def test_a_function_is_counted_from_its_def_to_its_end_without_decorators() -> None:
    source = "@one\n@two\ndef outer() -> None:\n    def inner() -> int:\n        return 1\n\n    inner()\n"
    assert list(house.functions(source)) == [("outer", 5), ("inner", 2)]


def test_figures_of_ten_functions() -> None:
    assert house.function_figures([1, 2, 3, 4, 7, 7, 8, 9, 18, 41]) == {"median": 7, "p90": 18, "over_40": 1}


LINES = "def {0}(x):\n    a = {0}(x, 1)\n    b = a.c[0]\n    if b:\n        d = 'text'\n    return d\n"


def test_six_lines_of_the_same_shape_in_two_levers_are_a_copy() -> None:
    levers = {"spot": {"spot.py": LINES.format("f")}, "scaling": {"scaling.py": "\n\n" + LINES.format("other")}}
    (found,) = copies(levers)
    assert (found.one, found.other, found.lines) == (CopyPlace("scaling.py", 3, 8), CopyPlace("spot.py", 1, 6), 6)
    assert str(found) == "scaling.py:3-8 ~ spot.py:1-6 (6 lines)"


def test_five_lines_or_a_line_of_another_shape_between_are_no_copy() -> None:
    five = LINES.format("f").replace("    return d\n", "")
    between = LINES.format("g").replace("    if b:\n", "    if not b:\n")
    assert copies({"a": {"a.py": five}, "b": {"b.py": five}}) == []
    assert copies({"a": {"a.py": LINES.format("f")}, "b": {"b.py": between}}) == []


def test_a_lever_may_repeat_itself() -> None:
    assert copies({"a": {"a.py": LINES.format("f"), "b.py": LINES.format("g")}}) == []


def test_imports_docstrings_comments_blank_lines_and_brackets_have_no_shape() -> None:
    passed_over = '"""Text\nof two lines."""\nimport os\nfrom x import (\n    y,\n)\n\n# a comment\n'
    source = passed_over + 'z = [\n    f"{y} or",  # one\n]\n'
    assert shapes(source) == [(9, "N = ["), (10, "S ,")]


def test_engine_overhead_is_unknown_until_it_is_measured(tmp_path: Path) -> None:
    result = tmp_path / "engine_overhead.json"
    assert house.engine_overhead(result) is None
    result.write_text(json.dumps({"ratio": 1.12, "machine": {}}))
    assert house.engine_overhead(result) == 1.12
    result.write_text("{}")
    with pytest.raises(house.HouseError, match=r"^engine_overhead: engine_overhead\.json has no ratio; run `make be"):
        house.engine_overhead(result)


def test_the_lines_of_a_lever_are_those_of_its_package_or_of_its_one_module(tmp_path: Path) -> None:
    (tmp_path / "include" / "levers" / "big").mkdir(parents=True)
    big, small = tmp_path / "include" / "levers" / "big" / "plan.py", tmp_path / "include" / "levers" / "small.py"
    big.write_text("x = 1\n")
    small.write_text("x = 1\n")
    found = house.lever_files({"big": "include.levers.big:Big", "small": "include.levers.small:Small"}, tmp_path)
    assert found == {"big": [big], "small": [small]}


def test_one_json_object_and_nothing_else_goes_to_standard_output(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], figures: dict[str, Any]
) -> None:
    monkeypatch.setattr(house, "structure", lambda: figures)
    monkeypatch.setattr(house, "parse_seconds", lambda: 0.5)
    monkeypatch.setattr(house, "engine_overhead", lambda: 1.1)
    assert house.main() == 0
    out, err = capsys.readouterr()
    assert json.loads(out) == figures | {"parse_seconds": 0.5, "engine_overhead": 1.1}
    assert list(json.loads(out)) == [
        *("arrows_up", "circles", "lever_lines", "functions", "modules_over_400", "test_modules_over_500"),
        *("lever_copies", "parse_seconds", "engine_overhead"),
    ]
    assert "parse_seconds          0.5" in err
