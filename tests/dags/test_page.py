"""The page in Airflow's own API app: who sees it, that every route asks, and what a person reads on it."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from include.clients.storage import Folder
from include.rollout.ledger import WHOLE_RUN, Chain, Step
from include.wiring.page.reading import Reading, open_for_reading
from tests.dags.conftest import Finished
from tests.dags.toy import World
from tests.dags.toy_dags import AP, QUICK, estate_of, rollout_dag
from tests.unit.overview.sample_week import BEGIN, Scribe, write_costs, write_week

ADDRESSES = [
    "/akidb/",
    "/akidb/runs",
    "/akidb/runs/day1_spot/manual__2026-11-20",
    "/akidb/costs",
    "/akidb/costs/2026-11-26",
    "/akidb/undo?lever=spot_capacity&place=us-east-1",
    "/akidb/page.css",
    "/akidb/page.js",
]


@pytest.fixture(scope="module")
def week(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("page")
    write_week(root / "ledger")
    write_costs(root / "costs", 5)
    return root


@pytest.fixture(scope="module")
def airflow(week: Path, airflow_database: None) -> Iterator[Any]:
    """Airflow's own API app with the plugins of the repository, reading the sample week."""
    from airflow import plugins_manager
    from airflow.api_fastapi.app import create_app, create_auth_manager, purge_cached_app
    from fastapi.testclient import TestClient

    reading = Reading(lambda variable: Folder(week / variable.removeprefix("akidb_")), patience=20.0)
    app = create_app(apps="core")
    apps, _ = plugins_manager.get_fastapi_plugins()
    (page,) = [one["app"].app for one in apps if one["url_prefix"] == "/akidb"]
    page.state.reading = lambda: reading
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client
    purge_cached_app()
    create_auth_manager()  # it went with the app, and whoever answers an approval later asks it


def page_app() -> Any:
    from include.wiring.page.app import create_app

    return create_app()


def headers(user: str, role: str | None) -> dict[str, str]:
    from airflow.api_fastapi.app import get_auth_manager
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser

    token = get_auth_manager().generate_jwt(SimpleAuthManagerUser(username=user, role=role))
    return {"Authorization": f"Bearer {token}"}


def read(airflow: Any, address: str, role: str = "user") -> str:
    answer = airflow.get(address, headers=headers("somebody", role))
    assert answer.status_code == 200, answer.text
    text: str = answer.text
    return text


# --- Who sees it ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("address", ADDRESSES)
def test_without_a_login_every_address_answers_401_and_shows_nothing(airflow: Any, address: str) -> None:
    answer = airflow.get(address)
    assert (answer.status_code, answer.json()) == (401, {"detail": "Not authenticated"})


@pytest.mark.parametrize("address", ADDRESSES)
def test_a_user_without_rights_gets_403_and_sees_neither_figures_nor_buttons(airflow: Any, address: str) -> None:
    answer = airflow.get(address, headers=headers("nobody", None))
    assert (answer.status_code, answer.json()) == (403, {"detail": "Forbidden"})


def test_a_dag_in_the_query_does_not_choose_whose_rights_are_asked(airflow: Any) -> None:
    assert airflow.get("/akidb/?dag_id=toy").status_code == 401
    assert airflow.get("/akidb/?dag_id=toy", headers=headers("nobody", None)).status_code == 403


def test_a_token_that_is_not_airflows_is_refused(airflow: Any) -> None:
    assert airflow.get("/akidb/", headers={"Authorization": "Bearer made.up.token"}).status_code == 403


def test_every_route_of_the_app_depends_on_the_right_to_see_the_weeks_runs() -> None:
    from fastapi.routing import APIRoute

    from include.wiring.page.rights import may_see_page, may_see_run

    guards = {}
    for route in page_app().routes:
        assert isinstance(route, APIRoute), f"{route} can't have a guard: take it out of the app"
        guards[route.path] = [dependant.call for dependant in route.dependant.dependencies]
    assert all(may_see_page in calls for calls in guards.values()), guards
    assert may_see_run in guards["/runs/{dag_id}/{run_id:path}"]
    assert len(guards) == 8


def test_runs_of_a_dag_that_the_user_may_not_see_are_not_listed(airflow: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow.api_fastapi.app import get_auth_manager

    assert "day1_spot/manual__2026-11-20" in read(airflow, "/akidb/runs")
    manager, asked = get_auth_manager(), list[str]()
    may = manager.is_authorized_dag

    def not_day_1(*, details: Any, **rest: Any) -> bool:
        asked.append(details.id)
        return details.id != "day1_spot" and may(details=details, **rest)

    monkeypatch.setattr(manager, "is_authorized_dag", not_day_1)
    newest = read(airflow, "/akidb/").partition('<section id="runs"')[2]
    assert "day1_spot" not in newest
    assert "day2_predictive_scaling" in newest
    asked.clear()
    text = read(airflow, "/akidb/runs")
    assert "day1_spot" not in text
    assert "day2_predictive_scaling/" in text
    assert asked.count("day1_spot") == 1


def test_no_route_writes() -> None:
    assert {method for route in page_app().routes for method in route.methods} == {"GET"}


def test_a_viewer_sees_the_figures_and_no_button(airflow: Any) -> None:
    text = read(airflow, "/akidb/", "viewer")
    assert "Saving predicted" in text
    assert 'class="button undo"' not in text
    assert "To undo, you need the right to trigger the DAG rollback." in text


def test_a_viewer_gets_no_undo_form(airflow: Any) -> None:
    answer = airflow.get(ADDRESSES[5], headers=headers("looker", "viewer"))
    assert answer.status_code == 403


def test_people_get_a_refusal_as_a_page_in_words(airflow: Any) -> None:
    answer = airflow.get("/akidb/", headers={"Accept": "text/html"})
    assert answer.status_code == 401
    assert "<h1>Not logged in</h1>" in answer.text


# --- What is on it ----------------------------------------------------------------------------------------------------


def test_the_first_page_says_the_weeks_state_in_its_lead(airflow: Any) -> None:
    assert "2 of 5 days are promoted; day 3 was rolled back; day 4 is unfinished." in read(airflow, "/akidb/")


def test_a_change_that_stands_has_an_undo_link_with_its_lever_place_and_run(airflow: Any) -> None:
    found = re.findall(r'href="(/akidb/undo[^"]+)"', read(airflow, "/akidb/"))
    assert len(found) == 9  # two levers in three regions, two edge levers, and the canary of day 4
    assert found[0] == (
        "/akidb/undo?lever=spot_capacity&amp;place=ap-northeast-1&amp;run=day1_spot%2Fmanual__2026-11-23T08%3A00%3A00%2B00%3A00"
    )


def test_the_undo_page_is_the_form_of_the_rollback_filled_in_as_a_dry_run(airflow: Any) -> None:
    text = read(airflow, "/akidb/undo?lever=spot_capacity&place=us-east-1")
    assert "<h1>Undo spot capacity in us-east-1</h1>" in text
    assert 'id="f-dry" name="dry_run" checked' in text
    conf = re.search(r'<pre tabindex="0" id="conf">(.*?)</pre>', text, re.DOTALL)
    assert conf
    assert json.loads(conf[1].replace("&#34;", '"')) == {
        "lever": "spot_capacity", "regions": ["us-east-1"], "run": "", "dry_run": True, "reason": "",
    }  # fmt: skip


def test_the_names_of_the_undo_form_are_those_of_the_rollbacks_own(airflow: Any) -> None:
    from include.rollout.settings import RollbackSettings

    names = set(re.findall(r'<input[^>]* name="([a-z_]+)"', read(airflow, ADDRESSES[5])))
    assert names <= set(RollbackSettings.model_fields)


def test_a_run_shows_its_records_and_finds_words_in_them(airflow: Any) -> None:
    address = "/akidb/runs/day1_spot/manual__2026-11-20"
    assert "8 records" in read(airflow, address)
    assert "3 records hold restores" in read(airflow, f"{address}?q=restores")
    assert "No record of this run holds nonsense." in read(airflow, f"{address}?q=nonsense")


def test_a_run_id_with_a_slash_and_a_colon_is_found_by_its_quoted_address(airflow: Any) -> None:
    text = read(airflow, "/akidb/runs/day1_spot/manual__2026-11-23T08%3A00%3A00%2B00%3A00")
    assert "promoted in 3 regions" in text


def test_the_runs_are_searched_for_every_word(airflow: Any) -> None:
    text = read(airflow, "/akidb/runs?q=edge_p95_ms+47.5")
    assert "day3_edge" in text
    assert "day2_predictive_scaling" not in text


def test_the_cost_report_of_any_day_is_there_and_knows_its_neighbours(airflow: Any) -> None:
    text = read(airflow, "/akidb/costs/2026-11-25")
    assert "Cost of Wednesday, 25 November 2026" in text
    assert 'rel="prev" href="/akidb/costs/2026-11-24"' in text


def test_a_day_without_a_report_is_named(airflow: Any) -> None:
    answer = airflow.get("/akidb/costs/2020-01-01", headers=headers("somebody", "user"))
    assert (answer.status_code, answer.json()["detail"]) == (
        404, "No report of 2020-01-01 is kept: run cost_report for that day.",
    )  # fmt: skip


def test_a_record_of_another_shape_is_named_and_the_rest_is_shown(tmp_path: Path) -> None:
    write_week(tmp_path / "ledger")
    odd = Chain("spot_capacity", WHOLE_RUN, "day1_spot", "manual__odd")
    Scribe(tmp_path / "ledger", now=BEGIN + dt.timedelta(days=9)).write(odd, Step.PLAN, {"plans": ["us-east-1"]})
    reading = Reading(lambda variable: Folder(tmp_path / variable.removeprefix("akidb_")), patience=20.0)
    found = reading.overview()
    told = {problem.where: problem.text for problem in found.problems}
    assert "a figure has a shape that this release can't show" in told[f"ledger, {odd.path}"]
    assert len(found.states) == 10


def test_a_text_that_is_no_day_is_named(airflow: Any) -> None:
    answer = airflow.get("/akidb/costs?day=today", headers=headers("somebody", "user"))
    assert answer.json() == {"detail": "'today' is no day: write it as 2026-11-23"}


def test_pages_take_nothing_from_elsewhere_and_nothing_inline(airflow: Any) -> None:
    answer = airflow.get("/akidb/", headers=headers("somebody", "user"))
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; style-src 'self'; script-src 'self';")
    assert "frame-ancestors 'self'" in policy
    assert not re.findall(r'(?:src|href)="(?:https?:)?//', answer.text)
    assert not re.findall(r"<script(?! src=)|<style| style=| on[a-z]+=", answer.text)


def test_what_waits_comes_from_airflows_api_as_the_user(airflow: Any) -> None:
    assert "Nothing waits for an answer." in read(airflow, "/akidb/")
    assert "As Airflow's API lists them for somebody." in read(airflow, "/akidb/")


def test_an_approval_that_waits_is_listed_with_a_link_to_its_answer(
    airflow: Any, world: World, run_dag: Callable[..., Finished]
) -> None:
    seen: list[str] = []

    def look() -> None:
        seen.extend(read(airflow, "/akidb/", role) for role in ("user", "viewer"))

    run = run_dag(rollout_dag(world, estate_of(AP)), QUICK, answer="Reject", before_answer=look)
    assert run.tasks["await_approval"] != "success" or run.state == "failed"
    assert len(seen) == 2
    for text in seen:
        found = re.findall(r'<a class="button" data-airflow href="([^"]+)"', text)
        assert len(found) == 1
        assert found[0].startswith("/dags/toy_rollout/runs/")
        assert found[0].endswith("/tasks/await_approval/required_actions")
    assert "Nothing waits for an answer." in read(airflow, "/akidb/")


# --- When something is wrong ------------------------------------------------------------------------------------------


@contextlib.contextmanager
def reads(airflow: Any, reading: Reading) -> Iterator[None]:
    """The mounted page reads from elsewhere meanwhile."""
    from airflow import plugins_manager

    apps, _ = plugins_manager.get_fastapi_plugins()
    (page,) = [one["app"].app for one in apps if one["url_prefix"] == "/akidb"]
    before = page.state.reading
    page.state.reading = lambda: reading
    try:
        yield
    finally:
        page.state.reading = before


def test_a_variable_that_is_not_set_is_named_with_the_remedy(airflow: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AIRFLOW_VAR_AKIDB_LEDGER", raising=False)
    with reads(airflow, Reading(open_for_reading, patience=30.0)):
        text = read(airflow, "/akidb/")
    assert "Airflow Variable &#39;akidb_ledger&#39; is not set: set it to an absolute path or s3://" in text
    assert "The ledger has not been read yet: nothing below is known." in text


def test_variables_are_read_as_tasks_read_them(airflow: Any, week: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_VAR_AKIDB_LEDGER", str(week / "ledger"))
    monkeypatch.setenv("AIRFLOW_VAR_AKIDB_COSTS", str(week / "costs"))
    with reads(airflow, Reading(open_for_reading, patience=30.0)):
        assert "every chain adds up" in read(airflow, "/akidb/")


class Away(Folder):
    """An S3 that is not reached."""

    def keys(self, prefix: str = "") -> list[str]:
        raise ConnectionError('Could not connect to the endpoint URL: "https://s3.example"')


def test_a_store_that_is_away_is_named_on_every_page_and_nothing_reads_as_zero(airflow: Any, tmp_path: Path) -> None:
    with reads(airflow, Reading(lambda variable: Away(tmp_path), patience=30.0)):
        texts = [read(airflow, address) for address in ("/akidb/", "/akidb/runs", "/akidb/runs/a/b", "/akidb/costs")]
        day = airflow.get("/akidb/costs/2026-11-25", headers=headers("somebody", "user"))
    for text in texts:
        assert "can&#39;t be read: ConnectionError: Could not connect to the endpoint URL" in text
    assert "the ledger (Airflow Variable akidb_ledger) can&#39;t be read" in texts[0]
    assert "0.00" not in re.sub(r"<section.*</section>", "", texts[0], flags=re.DOTALL)
    assert day.status_code == 503


class Slow(Folder):
    """An S3 whose LIST takes its time."""

    def __init__(self, root: Path, gate: threading.Event) -> None:
        super().__init__(root)
        self.gate = gate

    def keys(self, prefix: str = "") -> list[str]:
        self.gate.wait(60)
        return super().keys(prefix)


def test_a_slow_store_is_waited_for_only_so_long_and_named(airflow: Any, week: Path) -> None:
    gate = threading.Event()
    reading = Reading(lambda variable: Slow(week / variable.removeprefix("akidb_"), gate), patience=0.05)
    with reads(airflow, reading):
        text = read(airflow, "/akidb/")
        assert "the ledger (Airflow Variable akidb_ledger) is still being read after 0 s" in text
        gate.set()
        reading.patience = 30.0
        assert "every chain adds up" in read(airflow, "/akidb/")


def test_what_nobody_expected_is_a_page_that_says_so_and_tells_no_text_of_the_error(
    airflow: Any, week: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_reading: Reading) -> None:
        raise KeyError("a text of somebody's")

    monkeypatch.setattr(Reading, "overview", fail)
    answer = airflow.get("/akidb/", headers=headers("somebody", "user"))
    assert answer.status_code == 500
    assert "KeyError while the page was made: the API server&#39;s log says where." in answer.text
    assert "somebody" not in answer.text
    assert airflow.get("/akidb/").status_code == 401


# --- Where Airflow shows it -------------------------------------------------------------------------------------------


def test_airflow_shows_it_in_the_navigation_and_on_dags_and_runs_each_by_a_route_of_its_own(airflow: Any) -> None:
    plugins = airflow.get("/api/v2/plugins", headers=headers("platform-lead", "admin")).json()["plugins"]
    (views,) = [plugin["external_views"] for plugin in plugins if plugin["name"] == "akidb_page"]
    assert {view["destination"]: (view["url_route"], view["href"]) for view in views} == {
        "nav": ("akidb", "/akidb/"),
        "dag": ("akidb-dag", "/akidb/runs?q={DAG_ID}"),
        "dag_run": ("akidb-run", "/akidb/runs/{DAG_ID}/{RUN_ID}"),
    }


def test_the_app_is_made_at_the_first_request_only() -> None:
    from include.wiring.page.mounted import MountedPage

    made = []
    mounted = MountedPage(lambda: made.append(1))
    assert made == []
    assert mounted.app is None
    assert made == [1]


def test_the_page_knows_when_the_week_is_from_its_ledger(week: Path) -> None:
    reading = Reading(lambda variable: Folder(week / variable.removeprefix("akidb_")), patience=20.0)
    view = reading.overview()
    assert view.bill_day is not None
    assert view.bill_day.day == dt.date(2026, 11, 26)
