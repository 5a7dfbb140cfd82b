"""Every alert that a lever leaves names the section of a document that says what to do, and the section exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[3]
FILES = sorted((ROOT / "include" / "manifests").glob("*/alerts.yaml"))
ALERTS = [alert for file in FILES for part in yaml.safe_load(file.read_text()).values() for alert in part]


def test_the_two_levers_that_leave_alerts_are_found() -> None:
    assert [file.parent.name for file in FILES] == ["cost_monitoring", "edge_monitoring"]
    assert len(ALERTS) == 13


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_an_alert_has_a_run_book_with_steps(alert: dict[str, str]) -> None:
    page, _, anchor = alert["runbook"].partition("#")
    assert anchor == alert["alert"].lower()
    sections = re.split(r"(?m)^## ", (ROOT / page).read_text())
    (section,) = [text for text in sections if text.startswith(f"{alert['alert']}\n")]
    assert len(section.splitlines()) >= 3, "a heading alone helps nobody"
