"""A lighter copy of a module: what its recipe leaves out, and what it refuses when the module has changed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lab.machine import lighter, programs

BUILDER = """package scaling

func build(kind string) (Scaler, error) {
	switch kind {
	case "cron":
		return NewCron()
	case "kafka", "apache-kafka":
		if true {
			return NewKafka()
		}
	case "prometheus":
		return NewPrometheus()
	default:
		return nil, unknown(kind)
	}
}
"""
KEPT = """package scaling

func build(kind string) (Scaler, error) {
	switch kind {
	case "prometheus":
		return NewPrometheus()
	default:
		return nil, unknown(kind)
	}
}
"""
RECIPE = {
    "module": "example.com/scaler",
    "cases": {"pkg/builder.go": ["prometheus"]},
    "remove": ["pkg/scalers/*_scaler.go", "pkg/{aws,azure}"],
    "keep": ["pkg/scalers/prometheus_scaler.go"],
}


def group_with(folder: Path, recipe: dict[str, object]) -> Path:
    group = folder / "group"
    (group / "lighter" / "files" / "pkg" / "aws").mkdir(parents=True)
    (group / "lighter" / "files" / "pkg" / "aws" / "left_out.go").write_text("package aws\n")
    (group / "lighter" / "recipe.json").write_text(json.dumps(recipe))
    (group / "go.mod").write_text("module lab\n")
    (group / "go.sum").write_text("sums\n")
    return group


def module_in(folder: Path) -> Path:
    module = folder / "module@v1"
    files = [
        "scalers/cron_scaler.go",
        "scalers/prometheus_scaler.go",
        "scalers/scaler.go",
        "aws/sdk.go",
        "azure/sdk.go",
    ]
    for name in [*files, "aws/sdk.go", "azure/sdk.go", "aws/sdk_test.go"]:
        (module / "pkg" / name).parent.mkdir(parents=True, exist_ok=True)
        (module / "pkg" / name).write_text(f"// {name}\n")
    (module / "pkg" / "builder.go").write_text(BUILDER)
    (module / "pkg" / "builder.go").chmod(0o444)  # as in the module cache
    return module


def files_of(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_what_the_recipe_names_is_left_out_and_the_rest_is_the_modules_own(tmp_path: Path) -> None:
    group, module, target = group_with(tmp_path, RECIPE), module_in(tmp_path), tmp_path / "copy"
    lighter.make(group, module, target)
    assert files_of(target) == [
        "go.mod",
        "go.sum",
        "module/pkg/aws/left_out.go",
        "module/pkg/builder.go",
        "module/pkg/scalers/prometheus_scaler.go",
        "module/pkg/scalers/scaler.go",
    ]
    assert (target / "module/pkg/builder.go").read_text() == KEPT
    assert (target / "module/pkg/scalers/scaler.go").read_text() == "// scalers/scaler.go\n"
    assert (target / "go.mod").read_text() == "module lab\n\nreplace example.com/scaler => ./module\n"
    assert (module / "pkg" / "builder.go").read_text() == BUILDER


def test_a_copy_is_made_anew_and_the_same(tmp_path: Path) -> None:
    group, module, target = group_with(tmp_path, RECIPE), module_in(tmp_path), tmp_path / "copy"
    lighter.make(group, module, target)
    first = {name: (target / name).read_bytes() for name in files_of(target)}
    (target / "module" / "pkg" / "left.go").write_text("of an older recipe")
    lighter.make(group, module, target)
    assert {name: (target / name).read_bytes() for name in files_of(target)} == first


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"remove": ["pkg/gcp"]}, "nothing of the module fits pkg/gcp: correct recipe.json"),
        ({"remove": ["pkg/{aws,gcp}"]}, "nothing of the module fits pkg/gcp: correct recipe.json"),
        (
            {"keep": ["pkg/scalers/cpu_scaler.go"]},
            "nothing of the module fits pkg/scalers/cpu_scaler.go: correct recipe.json",
        ),
        (
            {"cases": {"pkg/builder.go": ["cpu", "prometheus"]}},
            "pkg/builder.go has no case cpu: correct cases in recipe.json",
        ),
        ({"cases": {"pkg/b.go": []}}, "example.com/scaler has no file pkg/b.go: correct cases in recipe.json"),
    ],
)
def test_a_recipe_that_does_not_fit_its_module_is_refused_by_its_line(
    tmp_path: Path, change: dict[str, object], message: str
) -> None:
    group = group_with(tmp_path, {**RECIPE, **change})
    with pytest.raises(lighter.RecipeError) as refusal:
        lighter.make(group, module_in(tmp_path), tmp_path / "copy")
    assert str(refusal.value) == message


def test_the_recipe_and_each_of_its_files_are_part_of_the_cache_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(programs, "GO_MODULES", tmp_path)
    group = group_with(tmp_path, RECIPE)
    folder = lighter.recipe_folder(group)
    keys = {programs._key("group", "p"), programs._key("group", "p", recipe=folder)}
    (group / "lighter" / "files" / "pkg" / "aws" / "left_out.go").write_text("package aws // changed\n")
    keys.add(programs._key("group", "p", recipe=folder))
    (group / "lighter" / "recipe.json").write_text(json.dumps({**RECIPE, "keep": []}))
    keys.add(programs._key("group", "p", recipe=folder))
    assert len(keys) == 4


def test_the_lab_builds_keda_and_opencost_from_lighter_copies_and_nothing_else() -> None:
    groups = {program.group for program in programs.PROGRAMS}
    lighter_ones = {group for group in groups if lighter.recipe_folder(programs.GO_MODULES / group)}
    assert lighter_ones == {"keda", "opencost"}
    recipe = lighter.load(programs.GO_MODULES / "keda" / "lighter")
    assert recipe.cases["pkg/scaling/scalers_builder.go"] == (
        "cpu",
        "cron",
        "kubernetes-workload",
        "memory",
        "prometheus",
    )
