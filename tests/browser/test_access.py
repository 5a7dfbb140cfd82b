"""Who sees what in the browser: nothing without a login, no button without the right to undo."""

from __future__ import annotations

from playwright.sync_api import expect

from lab.rehearsal.airflow_settings import SERVICE_USER
from tests.browser.conftest import Stage
from tests.browser.person import chromium


def test_without_a_login_there_is_no_figure(stage: Stage) -> None:
    with chromium(stage.airflow.url, stage.airflow.stretch) as somebody:
        for path in ("/akidb/", "/akidb/runs", "/akidb/costs", "/akidb/undo?lever=storage_tiering&place=estate-wide"):
            answer = somebody.page.goto(f"{stage.airflow.url}{path}")
            assert answer is not None
            assert (path, answer.status) == (path, 401)
            assert "Cost rollout:" not in somebody.page.content()


def test_who_may_only_look_finds_no_undo(stage: Stage) -> None:
    with chromium(stage.airflow.url, stage.airflow.stretch) as viewer:
        viewer.log_in(SERVICE_USER, stage.airflow.passwords[SERVICE_USER])
        viewer.open_page()
        expect(viewer.page.locator("#levers")).to_be_visible()
        expect(viewer.page.locator("a.undo")).to_have_count(0)
        expect(viewer.page.locator("#levers")).to_contain_text("you need the right to trigger the DAG rollback")


def test_the_page_stands_in_airflows_navigation_in_light_and_dark(stage: Stage) -> None:
    for dark in (False, True):
        with chromium(stage.airflow.url, stage.airflow.stretch, dark=dark) as lead:
            lead.log_in("platform-lead", stage.airflow.passwords["platform-lead"])
            lead.page.goto(f"{stage.airflow.url}/plugin/akidb")
            frame = lead.page.frame_locator("iframe")
            expect(frame.locator("h1")).to_contain_text("Cost rollout")
            lead.picture(f"in_airflow_{'dark' if dark else 'light'}")
            assert lead.problems == []
