"""Every file, command, setting and name that the documents mention exists; a made-up one is found."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.mentions import House, Stale, anchors, pages, stale, stale_pages

HOUSE = House()
PAGE = HOUSE.root / "docs" / "measurements.md"


def problems(line: str) -> list[str]:
    return [found.what for found in stale(PAGE, line, HOUSE)]


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(HOUSE.root)))
def test_every_name_on_the_page_exists(page: Path) -> None:
    assert stale(page, page.read_text(encoding="utf-8"), HOUSE) == []


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("[a page](how-to/made_up.md)", "link to how-to/made_up.md: there is no such file"),
        ("[an anchor](DAGs.md#made-up)", "link to DAGs.md#made-up: the page has no such heading"),
        ("see `include/made_up.py`", "include/made_up.py: there is no such file or folder"),
        ("see `made_up.py`", "made_up.py: there is no such file or folder"),
        ("see `tests/made/`", "tests/made/: there is no such file or folder"),
        ("run `make made-up`", "make made-up: the Makefile has no such target"),
        ("    make rehearsal MADE=1", "make rehearsal MADE=: the Makefile has no such variable"),
        ("    python -m include.made_up FILE", "python -m include.made_up: there is no such module"),
        ("    python -m include.cost ingest --made-up", "--made-up: no command has this option"),
        ("    airflow dags trigger made_up", "made_up: there is no such DAG"),
        ("    airflow backfill create --dag-id made_up", "made_up: there is no such DAG"),
        ("""    airflow dags trigger rollback --conf '{"madeup": 1}'""", "madeup: no DAG has this parameter"),
        ("`include.levers.made`", "include.levers.made: there is no such module, or nothing of that name in it"),
        ("`tools.house.made`", "tools.house.made: there is no such module, or nothing of that name in it"),
        ("set `cost.made_up`", "cost.made_up: the estate has no such field"),
        ("set `regions.<region>.made_up`", "regions.<region>.made_up: the estate has no such field"),
        ("set `accept_made_up_pods`", "accept_made_up_pods: nothing in the sources has this name"),
        ("set `AKIDB_MADE_UP=<image>`", "AKIDB_MADE_UP: nothing in the sources has this name"),
    ],
)
def test_a_made_up_name_is_found(line: str, what: str) -> None:
    assert problems(line) == [what]


@pytest.mark.parametrize(
    "line",
    [
        "[a page](how-to/developing.md), [its heading](how-to/developing.md#commands), [the web](https://example.org/x)",
        "`include/estate.yaml`, `mentions.py`, `include/manifests/*/rbac.yaml`, `benchmarks/results/`",
        "`make rehearsal REGIONS=ap-northeast-1 DAYS=1`; make sure that prose is no command",
        "    python -m include.cost ingest FILE... --reconcile   # the files' --sum",
        """    airflow dags trigger rollback --conf '{"lever": "spot_capacity", "dry_run": false}'""",
        "`cost.components.<name>.rules`, `governance.approvers`, `predictive_scaling.predictor.image`",
        "`include.rollout`, `tools.mentions.House`, `include.levers.base.ManifestLever`",
        "`accept_do_not_disrupt`, `AKIDB_ESTATE`, `kubernetes_<region>`, `.lab/results/`, `s3://connection@bucket/prefix`",
    ],
)
def test_a_name_that_exists_is_not_found(line: str) -> None:
    assert problems(line) == []


def test_a_stale_name_is_said_with_its_page_and_line() -> None:
    (found,) = stale(PAGE, "one\ntwo `made_up.py`", HOUSE)
    assert found == Stale("docs/measurements.md", 2, "made_up.py: there is no such file or folder")
    assert str(found) == "docs/measurements.md:2: made_up.py: there is no such file or folder"


def test_anchors_are_those_of_github() -> None:
    assert anchors("# When it's red\n## `make test`, twice\ntext\n") == {"when-its-red", "make-test-twice"}


def test_every_page_that_a_source_names_exists() -> None:
    assert stale_pages(HOUSE) == []


def test_a_page_that_a_source_makes_up_is_found(tmp_path: Path) -> None:
    (tmp_path / "include").mkdir()
    (tmp_path / "include" / "x.py").write_text('"""How to: docs/how-to/made_up.md."""\n')
    assert stale_pages(House(tmp_path)) == [Stale("include/x.py", 1, "docs/how-to/made_up.md: there is no such page")]
