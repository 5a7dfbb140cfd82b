"""Looks at an Airflow that is up already, such as a rehearsal's kept with KEEP=1, and takes the pictures of the README.

    AKIDB_UI=http://127.0.0.1:PORT AKIDB_UI_PASSWORD=... AKIDB_PICTURES=docs/pictures make browser ONLY=test_running.py

Both are printed at the end of the rehearsal. Collected only when AKIDB_UI is set; it triggers and writes nothing.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from tests.browser.person import Person, chromium


@pytest.fixture(scope="module")
def admin() -> Iterator[Person]:
    with chromium(os.environ["AKIDB_UI"], stretch=3.0) as person:
        person.log_in("admin", os.environ["AKIDB_UI_PASSWORD"])
        yield person


def test_the_page_shows_the_week_and_nothing_is_wrong(admin: Person) -> None:
    admin.open_page()
    expect(admin.page.locator("#problems")).to_have_count(0)
    for section in ("levers", "waterfall", "scorecard", "fleet", "forecast", "costs", "runs"):
        expect(admin.page.locator(f"#{section} h2")).to_be_visible()
    admin.picture("page_overview")
    admin.page.locator("#waterfall").scroll_into_view_if_needed()
    admin.picture("page_waterfall")
    admin.page.locator("#levers").scroll_into_view_if_needed()
    admin.picture("page_levers")
    assert admin.problems == []


def test_a_run_is_read_from_the_ledger_record_by_record(admin: Person) -> None:
    admin.open_page()
    admin.page.locator("#runs td a, #runs th a").first.click()
    admin.page.wait_for_url(re.compile("/akidb/runs/"))
    expect(admin.page.locator("ol.records > li").first).to_be_visible()
    admin.picture("page_run")


def test_the_newest_cost_report_opens(admin: Person) -> None:
    admin.open_page("/akidb/costs")
    expect(admin.page.locator("h1")).to_be_visible()
    admin.picture("page_costs")


def test_the_week_is_drawn_by_airflow_as_a_graph(admin: Person) -> None:
    admin.page.goto(f"{admin.address}/dags/week14")
    admin.page.get_by_title("Show Graph").click()  # else Airflow shows the grid
    expect(admin.page.locator(".react-flow__node").first).to_be_visible()
    admin.picture("airflow_week")
