"""A rollout from the trigger to its undo, all of it in the browser; the lever is real, AWS is S3 in memory."""

from __future__ import annotations

import re

from playwright.sync_api import expect

from include.rollout.place import ESTATE_WIDE
from tests.browser.conftest import Stage
from tests.browser.person import Person

LEVER, PLACE = "storage_tiering", ESTATE_WIDE


def test_a_rollout_is_triggered_approved_watched_and_rolled_back(stage: Stage, lead: Person) -> None:
    before = stage.rules()
    lead.trigger(LEVER)
    lead.answer("Approve")
    lead.open_page()
    lead.wait_for_change(lead.state(LEVER, PLACE).get_by_text("promoted"))
    written = stage.rules()
    assert len(written) > len(before)
    lead.picture("page_promoted")

    lead.page.locator(f'tr[data-lever="{LEVER}"] a.undo').click()
    expect(lead.page.locator("h1")).to_have_text(f"Undo storage tiering in {PLACE}")
    assert lead.page.locator("#f-dry").is_checked()
    lead.page.locator("#f-dry").uncheck()
    lead.page.locator("#f-reason").fill("tried out in the browser")
    lead.picture("page_undo")
    lead.page.locator("#start").click()
    lead.page.wait_for_url(re.compile("/dags/rollback/runs/"))
    lead.open_page()
    lead.wait_for_change(lead.page.locator("#approvals a[data-airflow]"))
    assert stage.rules() == written, "the undo button must write nothing before its run is approved"

    lead.answer("Approve")
    lead.open_page()
    lead.wait_for_change(lead.state(LEVER, PLACE).get_by_text("rolled back"))
    assert stage.rules() == before
    lead.page.locator("#runs a").first.click()
    expect(lead.page.get_by_text("tried out in the browser").first).to_be_visible()
    lead.picture("page_ledger")
    assert lead.problems == []
