"""Every DAG file keeps the rules of the house; each message names the fix."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk import DAG
from airflow.serialization.serialized_objects import DagSerialization

from include.wiring.conventions import DAG_DEFAULT_ARGS, DOC_HEADINGS, Tag
from tools import docs, settings_page

ROOT = Path(__file__).parents[2]
DAGS = ROOT / "dags"
FILES = docs.dag_files(DAGS)
LINES, FACTORY_LINES = 170, 120
FAMILIES = {"rollout": Tag.ROLLOUT, "recurring": Tag.RECURRING, "operations": Tag.OPERATIONS}
# What makes a parse slow: a task imports these in its body.
HEAVY = (
    "pandas",
    "numpy",
    "keras",
    "jax",
    "kubernetes",
    "boto3",
    "great_expectations",
    "pyarrow",
    "duckdb",
    "matplotlib",
    "onnxruntime",
    "lightgbm",
)
# What a DAG file may import; everything else belongs into a task module.
MAY_IMPORT = re.compile(
    r"airflow\.sdk|airflow\.providers\.standard\..+|airflow\.timetables\..+|airflow\.models\.param"
    r"|include\.estate|include\.levers(\.\w+)?|include\.wiring\.(conventions|dag|once|rollback|rollout|week)|include(\.\w+)+\.(tasks|settings)"
)


def ids(paths: list[Path]) -> list[str]:
    return [path.stem for path in paths]


@pytest.fixture(scope="module")
def bag() -> DagBag:
    return parse()


def parse() -> DagBag:
    return DagBag(dag_folder=str(DAGS))


@pytest.fixture(scope="module")
def by_file(bag: DagBag) -> dict[str, list[DAG]]:
    found: dict[str, list[DAG]] = {}
    for dag in bag.dags.values():
        found.setdefault(str(Path(dag.fileloc).resolve()), []).append(dag)
    return found


def the_dag(by_file: dict[str, list[DAG]], path: Path) -> DAG:
    dags = by_file.get(str(path.resolve()), [])
    assert len(dags) == 1, (
        f"{path.name} must define exactly one DAG, not {[d.dag_id for d in dags]}: call its factory once"
    )
    return dags[0]


def changes_the_world(path: Path) -> bool:
    return path.parent.name in {"rollout", "operations"}


def test_there_are_dags() -> None:
    assert FILES, f"no DAG file found in {', '.join(str(DAGS / family) for family in FAMILIES)}"


def test_every_file_loads(bag: DagBag) -> None:
    assert not bag.import_errors, "fix these imports (run the file with .venv/bin/python):\n" + "\n".join(
        f"{name}:\n{error}" for name, error in bag.import_errors.items()
    )


def test_no_dag_file_lies_outside_the_families() -> None:
    strays = sorted(set(DAGS.rglob("*.py")) - set(FILES) - set(DAGS.rglob("__init__.py")))
    assert not strays, f"move {[str(p.relative_to(ROOT)) for p in strays]} into one of {sorted(FAMILIES)}"


@pytest.mark.parametrize("path", FILES, ids=ids(FILES))
class TestFile:
    def test_stem_is_the_dag_id(self, by_file: dict[str, list[DAG]], path: Path) -> None:
        dag = the_dag(by_file, path)
        assert dag.dag_id == path.stem, f"rename the file or the DAG: {path.name} defines {dag.dag_id}"
        assert re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", dag.dag_id), f"{dag.dag_id}: use snake_case"

    def test_task_ids_are_snake_case(self, by_file: dict[str, list[DAG]], path: Path) -> None:
        for task_id in the_dag(by_file, path).task_ids:
            for part in task_id.split("."):
                assert re.fullmatch(r"[a-z][a-z0-9_]*", part), f"{path.name}: task {task_id}: use snake_case"

    def test_documentation_has_every_heading_in_order(self, by_file: dict[str, list[DAG]], path: Path) -> None:
        text = the_dag(by_file, path).doc_md or ""
        found = re.findall(r"(?m)^#+ (.+?)\s*$", text)
        assert [h for h in found if h in DOC_HEADINGS] == list(DOC_HEADINGS), (
            f"{path.name}: the docstring needs these headings in this order: {', '.join(DOC_HEADINGS)}; it has {found}"
        )

    def test_documentation_is_the_docstring(self, by_file: dict[str, list[DAG]], path: Path) -> None:
        docstring = docs.describe(path).text
        assert (the_dag(by_file, path).doc_md or "").strip() == docstring.strip(), f"{path.name}: pass doc_md=__doc__"

    def test_tags(self, by_file: dict[str, list[DAG]], path: Path) -> None:
        tags = set(the_dag(by_file, path).tags)
        unknown = tags - {str(tag) for tag in Tag}
        assert not unknown, f"{path.name}: {sorted(unknown)} are no tags; add them to include.wiring.conventions.Tag"
        family = FAMILIES[path.parent.name]
        assert str(family) in tags, f"{path.name}: lies in {path.parent.name}/, so it needs Tag.{family.name}"

    def test_default_arguments(self, by_file: dict[str, list[DAG]], path: Path) -> None:
        missing = set(DAG_DEFAULT_ARGS) - set(the_dag(by_file, path).default_args)
        assert not missing, f"{path.name}: pass default_args=DAG_DEFAULT_ARGS (missing {sorted(missing)})"

    def test_a_dag_that_changes_the_world_is_a_dry_run_by_default(
        self, by_file: dict[str, list[DAG]], path: Path
    ) -> None:
        params = the_dag(by_file, path).params
        if changes_the_world(path):
            assert "dry_run" in params, f"{path.name}: add a param dry_run with default True"
            assert params["dry_run"] is True, f"{path.name}: dry_run must be True by default"

    def test_a_scheduled_dag_can_be_run_dry_and_acts_by_default(
        self, by_file: dict[str, list[DAG]], path: Path
    ) -> None:
        params = the_dag(by_file, path).params
        if not changes_the_world(path):
            assert "dry_run" in params, f"{path.name}: let its settings inherit include.forms.Recurring"
            assert params["dry_run"] is False, f"{path.name}: a schedule must act: dry_run must be False by default"

    def test_every_param_has_type_and_description(self, by_file: dict[str, list[DAG]], path: Path) -> None:
        params = the_dag(by_file, path).params
        for name in params:
            param = params.get_param(name)
            assert param.description, f"{path.name}: param {name} needs a description; the trigger form shows it"
            assert {"type", "enum", "anyOf"} & set(param.schema), f"{path.name}: param {name} needs a type"

    def test_file_is_short_and_only_wires(self, path: Path) -> None:
        text = path.read_text(encoding="utf-8")
        lines = len(text.splitlines())
        assert lines < LINES, f"{path.name} has {lines} lines: move tasks to include/*/tasks.py ({LINES} at most)"
        functions = [node for node in ast.parse(text).body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
        names = [function.name for function in functions]
        assert set(names) <= {path.stem}, f"{path.name} defines {names}: only the factory {path.stem} may stand here"
        for function in functions:
            size = (function.end_lineno or 0) - function.lineno
            assert size < FACTORY_LINES, f"{path.name}: {function.name} has {size} lines, {FACTORY_LINES} at most"

    def test_file_imports_only_engine_levers_and_tasks(self, path: Path) -> None:
        allowed = set(sys.stdlib_module_names)
        for module in imported_modules(path):
            assert module.split(".")[0] in allowed or MAY_IMPORT.fullmatch(module), (
                f"{path.name} imports {module}: a DAG file wires only; import it in the task module that needs it"
            )


def imported_modules(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            yield node.module or ""
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def serialised(bag: DagBag) -> dict[str, Any]:
    return {name: json.loads(json.dumps(DagSerialization.to_dict(dag))) for name, dag in bag.dags.items()}


@pytest.fixture(scope="module")
def first(bag: DagBag) -> dict[str, Any]:
    """Made once: Airflow checks every field of the form again for every task, seconds for all DAGs."""
    return serialised(bag)


def test_two_parses_serialise_alike(first: dict[str, Any]) -> None:
    second = serialised(parse())
    different = [name for name in first if first[name] != second.get(name)]
    assert not different, (
        f"{different} differ between two parses: a clock, a random value or an unordered set is used at parse, "
        "so that every parse would make a new DAG version"
    )


def test_a_parse_in_another_process_serialises_alike(first: dict[str, Any]) -> None:
    code = f"""
import json
from airflow.dag_processing.dagbag import DagBag
from airflow.serialization.serialized_objects import DagSerialization
bag = DagBag(dag_folder={str(DAGS)!r})
print(json.dumps({{name: DagSerialization.to_dict(dag) for name, dag in bag.dags.items()}}))
"""
    # Text hashes differently there, so that an unordered set shows.
    result = run_python(code, PYTHONHASHSEED="7")
    assert result.returncode == 0, result.stderr
    second = json.loads(result.stdout.splitlines()[-1])
    different = [name for name in first if first[name] != second.get(name)]
    assert not different, f"{different} differ in another process: sort what comes from a set"


def run_python(code: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), **env},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_a_parse_imports_no_heavy_module() -> None:
    code = f"""
import sys, runpy
import airflow.sdk, airflow.providers.standard.operators.hitl
before = set(sys.modules)
for path in {[str(p) for p in FILES]!r}:
    runpy.run_path(path)
print(sorted(name for name in {HEAVY!r} if name in set(sys.modules) - before))
"""
    result = run_python(code)
    assert result.returncode == 0, result.stderr
    found = result.stdout.splitlines()[-1]
    assert found == "[]", f"parsing the DAGs imports {found}: import these in the body of the task that needs them"


def test_with_an_invalid_estate_the_dags_load_with_one_failing_task(tmp_path: Path) -> None:
    wrong = tmp_path / "estate.yaml"
    wrong.write_text((ROOT / "include" / "estate.yaml").read_text().replace("canary_region:", "canary_regoin:"))
    code = f"""
import json
from airflow.dag_processing.dagbag import DagBag
bag = DagBag(dag_folder={str(DAGS)!r})
print(json.dumps({{"errors": bag.import_errors, "tasks": {{name: dag.task_ids for name, dag in bag.dags.items()}}}}))
"""
    result = run_python(code, AKIDB_ESTATE=str(wrong))
    assert result.returncode == 0, result.stderr
    answer = json.loads(result.stdout.splitlines()[-1])
    assert answer["errors"] == {}, (
        "with an invalid estate.yaml the DAGs must still load: catch EstateError in the factory"
    )
    assert sorted(answer["tasks"]) == sorted(ids(FILES))
    # The rollback works from the ledger: a broken file must not take the way back away.
    assert "undo_changes" in answer["tasks"].pop("rollback")
    for dag_id, tasks in answer["tasks"].items():
        assert len(tasks) == 1, f"{dag_id}: an invalid estate leaves one task that fails with its message, not {tasks}"


def test_the_settings_reference_is_up_to_date() -> None:
    wanted = settings_page.page(settings_page.parts())
    assert docs.SETTINGS.read_text(encoding="utf-8") == wanted, "docs/reference/settings.md is stale: run `make docs`"


def test_the_page_of_dags_is_up_to_date() -> None:
    wanted = docs.page(docs.describe(path) for path in FILES)
    assert docs.PAGE.exists(), "docs/DAGs.md is missing: run `make docs`"
    assert docs.PAGE.read_text(encoding="utf-8") == wanted, "docs/DAGs.md differs from the docstrings: run `make docs`"
