"""What a person does in Airflow's UI and on the page, in Chromium; a picture is kept of whatever fails."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from playwright.sync_api import Error, Locator, Page, expect, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome")
PICTURES = Path(os.environ.get("AKIDB_PICTURES") or ".lab/pictures")
SECONDS = 60.0


def browser_problem() -> str:
    """Why no browser can be used here; empty when one can."""
    if any(shutil.which(name) for name in NAMES):
        return ""
    return "there is no Chromium: `apt-get install chromium`"


@contextlib.contextmanager
def chromium(address: str, stretch: float = 1.0, dark: bool = False) -> Iterator[Person]:
    """A browser with an empty profile at Airflow's ``address``; ``stretch`` multiplies its waits."""
    program = next(found for name in NAMES if (found := shutil.which(name)))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        context = browser.new_context(
            viewport={"width": 1440, "height": 1000}, color_scheme="dark" if dark else "light"
        )
        page = context.new_page()
        page.set_default_timeout(SECONDS * 1000 * stretch)
        expect.set_options(timeout=SECONDS * 1000 * stretch)  # an assertion has a limit of its own: 5 s
        person = Person(page, address.rstrip("/"), stretch)
        try:
            yield person
        except BaseException:
            with contextlib.suppress(Error):
                person.picture("failed")
            raise
        finally:
            browser.close()


class Person:
    """Somebody before a browser."""

    def __init__(self, page: Page, address: str, stretch: float) -> None:
        self.page, self.address, self.stretch = page, address, stretch
        self.problems: list[str] = []
        page.on("pageerror", lambda error: self.problems.append(str(error)))

    def log_in(self, user: str, password: str) -> None:
        """Fill in Airflow's form; it is what every address leads to before."""
        self.page.goto(f"{self.address}/")
        self.page.get_by_label(re.compile("user", re.IGNORECASE)).first.fill(user)
        self.page.locator("input[type=password]").fill(password)
        self.page.get_by_role("button", name=re.compile("sign in|log ?in", re.IGNORECASE)).click()
        self.page.wait_for_url(lambda url: "/auth/login" not in url)

    def open_page(self, path: str = "/akidb/") -> None:
        """Go to the rollout's page, outside Airflow's frame."""
        self.page.goto(f"{self.address}{path}")
        expect(self.page.locator("h1")).to_be_visible()

    def trigger(self, dag_id: str) -> None:
        """Trigger ``dag_id`` in Airflow's form with dry_run taken off, everything else as it is."""
        self.page.goto(f"{self.address}/dags/{dag_id}")
        self.page.get_by_test_id("trigger-dag-button").first.click()
        self.switch_off(self.page.get_by_role("dialog"), "dry_run")
        self.page.get_by_test_id("trigger-dag-submit").click()
        self.page.wait_for_url(re.compile(f"/dags/{dag_id}/runs/"))

    def switch_off(self, dialog: Locator, name: str) -> None:
        """Take the tick off a switch of the trigger form."""
        switch = dialog.locator(f'[id="switch:element_{name}"]')
        switch.click()
        expect(switch).to_have_attribute("data-state", "unchecked")

    def answer(self, option: str = "Approve") -> None:
        """From the rollout's page to the question that waits, and answer it."""
        self.open_page()
        link = self.page.locator("#approvals a[data-airflow]").first
        self.wait_for_change(link)
        link.click()
        self.page.get_by_role("button", name=re.compile(f"^{option}", re.IGNORECASE)).first.click()
        expect(
            self.page.get_by_text(re.compile("response (was )?received|received", re.IGNORECASE)).first
        ).to_be_visible()

    def state(self, lever: str, place: str) -> Locator:
        """The cell that says what stands."""
        return self.page.locator(f'tr[data-lever="{lever}"][data-place="{place}"] td.state')

    def wait_for_change(self, wanted: Locator) -> None:
        """Wait until the page shows ``wanted`` by itself: it is not loaded again here."""
        expect(wanted).to_be_visible(timeout=SECONDS * 4000 * self.stretch)

    def picture(self, name: str, folder: Path | None = None) -> Path:
        """A PNG of what is seen now."""
        kept = (folder or PICTURES) / f"{name}.png"
        kept.parent.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=kept)
        return kept
