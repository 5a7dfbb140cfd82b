"""The pages as HTML: escaped, with landmarks, labels and headings in order, and colours that can be read."""

from __future__ import annotations

import datetime as dt
import itertools
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from include import levers
from include.clients.storage import Folder
from include.cost.report.compute import compute_report
from include.cost.report.files import as_json
from include.cost.report.page import document
from include.estate import load_estate
from include.overview import render
from include.overview.approvals import Approval, Pending
from include.overview.changes import LeverState
from include.overview.costs import CostCopy, CostDay, Costs, day_document
from include.overview.forecasts import ForecastState
from include.overview.latest import Answer
from include.overview.ledger_copy import LedgerCopy
from include.overview.runs import Search, records_of_run, runs_of
from include.overview.score import Evidence
from include.overview.style import STYLE
from include.overview.view import Problem, Sources, view_of
from include.pages.style import DARK, LIGHT
from include.rollout.ledger import WHOLE_RUN, Chain, Step
from tests.unit.cost.cost_world import DAY, table_in
from tests.unit.overview.sample_week import Scribe, write_costs, write_week

NOW = dt.datetime(2026, 11, 26, 12, tzinfo=dt.UTC)
FRAME = render.Frame("/team", "/team/akidb", "akidb", "platform-lead", may_undo=True)
HOSTILE = "<script>alert(1)</script>\"' onload=x <img src=x onerror=alert(1)>"


class Outline(HTMLParser):
    """What an accessibility check looks at first."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.headings: list[int] = []
        self.landmarks: list[str] = []
        self.labels: set[str] = set()
        self.fields: list[str] = []
        self.ids: list[str] = []
        self.references: set[str] = set()
        self.foreign: list[str] = []  # what none of our templates holds
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if tag == "img" or (tag == "script" and "src" not in values) or any(name.startswith("on") for name in values):
            self.foreign.append(self.get_starttag_text() or tag)
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))
        if tag in {"header", "main", "nav"}:
            self.landmarks.append(tag)
        if tag == "label":
            self.labels.add(values["for"])
        if tag == "input":
            self.fields.append(values["id"])
        if "id" in values:
            self.ids.append(values["id"])
        for name in ("aria-labelledby", "aria-describedby"):
            self.references |= set(values.get(name, "").split())


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Every kind of page of the sample week."""
    root = tmp_path_factory.mktemp("render")
    write_week(root / "ledger")
    write_costs(root / "costs", 5)
    content, costs = LedgerCopy(Folder(root / "ledger")).refresh(), CostCopy(Folder(root / "costs")).refresh()
    states = (ForecastState("us-east-1", "000003-x", came={0: 1.0, 60: 2.0}, forecast={60: 2.5}),)
    sources = Sources(Answer(content, NOW), Answer((costs, Evidence()), NOW), Answer(states, NOW))
    view = view_of(load_estate(), list(levers.LEVERS), sources)
    waits = Pending((Approval("day1_spot", "r/1", "await_approval", -1, "Approve day 1?", NOW.isoformat(), ("a",)),))
    run, state = ("day3_edge", "manual__day3"), view.states[0]
    records = records_of_run(content, *run, "", Search())
    rows = runs_of(content)
    row = next(row for row in rows if row.dag_id == run[0])
    return {
        "overview": render.overview_page(view, waits, FRAME),
        "runs": render.runs_page(rows, "gate", [Problem("ledger", "slow")], FRAME),
        "run": render.run_page(run, row, records, "", [], FRAME),
        "costs": render.costs_page(costs, [], FRAME),
        "day": render.day_page(costs.days[1], costs, FRAME),
        "undo": render.undo_page(state.lever, state.place, state.run, state, FRAME),
    }


KINDS = ["overview", "runs", "run", "costs", "day", "undo"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_page_has_one_title_and_no_heading_skips_a_level(pages: dict[str, str], kind: str) -> None:
    headings = Outline(pages[kind]).headings
    assert headings[0] == 1
    assert headings.count(1) == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(headings))


@pytest.mark.parametrize("kind", KINDS)
def test_a_page_has_a_language_landmarks_and_a_way_past_the_navigation(pages: dict[str, str], kind: str) -> None:
    outline = Outline(pages[kind])
    assert '<html lang="en">' in pages[kind]
    assert outline.landmarks.count("main") == 1
    assert {"header", "nav"} <= set(outline.landmarks)
    assert '<a class="skip" href="#content">' in pages[kind]


@pytest.mark.parametrize("kind", KINDS)
def test_every_field_has_a_label_and_every_reference_leads_to_one_place(pages: dict[str, str], kind: str) -> None:
    outline = Outline(pages[kind])
    assert set(outline.fields) <= outline.labels
    assert outline.references <= set(outline.ids)
    assert len(outline.ids) == len(set(outline.ids))


@pytest.mark.parametrize("kind", KINDS)
def test_what_scrolls_can_be_reached_by_keyboard(pages: dict[str, str], kind: str) -> None:
    for tag in re.findall(r'<(?:pre|div class="scroll")[^>]*>', pages[kind]):
        assert 'tabindex="0"' in tag


@pytest.mark.parametrize("kind", KINDS)
def test_every_picture_has_a_name_a_description_and_a_table_behind_it(pages: dict[str, str], kind: str) -> None:
    text = pages[kind]
    assert text.count("<svg ") == text.count('role="img" aria-label="') == text.count("</title><desc>")
    figures = re.findall(r"<figure>.*?</figure>", text, re.DOTALL)
    assert len(figures) == text.count("<svg ")
    assert all("<table>" in figure for figure in figures)


@pytest.mark.parametrize("kind", KINDS)
def test_addresses_stand_below_the_path_at_which_airflow_is_served(pages: dict[str, str], kind: str) -> None:
    for address in re.findall(r' (?:href|src|action)="([^"]*)"', pages[kind]):
        assert address.startswith(("#", "/team/akidb", "/team/dags/")), address


def test_links_with_the_same_word_are_told_apart_by_what_is_read_out(pages: dict[str, str]) -> None:
    undo = re.findall(r'class="button undo"[^>]*>(.*?)</a>', pages["overview"])
    assert undo[0] == 'Undo<span class="hidden"> spot capacity in ap-northeast-1</span>'
    assert len(set(undo)) == len(undo) == 9


# --- Hostile texts ----------------------------------------------------------------------------------------------------


def test_texts_of_the_ledger_are_escaped_wherever_they_stand(tmp_path: Path) -> None:
    scribe = Scribe(tmp_path)
    chain = Chain("spot_capacity", "us-east-1", "day1_spot", f"run {HOSTILE}")
    plan = {"undo": HOSTILE, "usd_month_before": "2", "usd_month_after": "1", "price_book": HOSTILE, "stages": []}
    scribe.write(chain, Step.PLAN, {"plan": plan})
    scribe.write(chain, Step.SNAPSHOT, {"before": {"nodes": 3, "nodes_by_kind": {HOSTILE: 3}}, "order": 1})
    scribe.write(chain, Step.TOUCH, {"slot": HOSTILE, "title": HOSTILE})
    scribe.write(chain, Step.APPLIED, {"slot": HOSTILE, "title": HOSTILE, "figures": {HOSTILE: HOSTILE}})
    results = [{"gate": HOSTILE, "outcome": "fail", "reason": HOSTILE}]
    scribe.write(chain, Step.GATE, {"outcome": "fail", "slot": HOSTILE, "title": HOSTILE, "results": results})
    scribe.write(chain, Step.STOPPED, {"where": HOSTILE, "reason": HOSTILE})
    scribe.write(chain.of(WHOLE_RUN), Step.VERDICT, {"verdict": HOSTILE, "message": HOSTILE})
    content = LedgerCopy(Folder(tmp_path)).refresh()
    problem = [Problem(HOSTILE, HOSTILE)]
    waits = Pending((Approval(HOSTILE, HOSTILE, HOSTILE, -1, HOSTILE, HOSTILE, (HOSTILE,)),))
    view = view_of(load_estate(), list(levers.LEVERS), Sources(Answer(content, NOW, HOSTILE)))
    records = records_of_run(content, "day1_spot", f"run {HOSTILE}", "", Search())
    row = runs_of(content)[0]
    made = [
        render.overview_page(view, waits, FRAME),
        render.runs_page([row], HOSTILE, problem, FRAME),
        render.run_page(("day1_spot", f"run {HOSTILE}"), row, records, HOSTILE, problem, FRAME),
        render.undo_page(HOSTILE, HOSTILE, HOSTILE, LeverState(HOSTILE, HOSTILE, HOSTILE, HOSTILE, HOSTILE), FRAME),
        render.message_page(HOSTILE, HOSTILE),
    ]
    for text in made:
        assert Outline(text).foreign == []


def test_texts_of_a_cost_report_are_escaped() -> None:
    raw = {
        "day": "2026-11-26", "status": "settled", "since": None, "unknown": {HOSTILE: HOSTILE}, "inputs": [],
        "requests": None, "targets": {HOSTILE: {"book": HOSTILE, "derived": HOSTILE}},
        "figures": [{"section": "component", "key": HOSTILE, "metric": "usd", "value": "1", "unit": "USD",
                     "status": HOSTILE, "sources": []}],
    }  # fmt: skip
    day = CostDay(dt.date(2026, 11, 26), HOSTILE, 1, raw)
    text = render.day_page(day, Costs((day,), (day.day,)), FRAME) + render.costs_page(Costs((day,)), [], FRAME)
    assert Outline(text).foreign == []


def test_a_hostile_text_that_is_not_escaped_would_be_found() -> None:
    assert Outline(f"<p>{HOSTILE}</p>").foreign == ["<script>", "<img src=x onerror=alert(1)>"]


def test_a_run_id_is_quoted_in_addresses() -> None:
    assert render.run_path("day1_spot/a/b c?d#e") == "day1_spot/a%2Fb%20c%3Fd%23e"


# --- Colours ----------------------------------------------------------------------------------------------------------


def colours(text: str) -> dict[str, str]:
    return dict(re.findall(r"--([a-z0-9]+):(#[0-9a-f]{3,6})", text))


def luminance(colour: str) -> float:
    """Relative luminance as WCAG 2 defines it."""
    digits = colour.lstrip("#")
    digits = "".join(2 * digit for digit in digits) if len(digits) == 3 else digits
    parts = [int(digits[n : n + 2], 16) / 255 for n in (0, 2, 4)]
    red, green, blue = (part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_black_on_white_has_a_contrast_of_21() -> None:
    assert round(contrast("#000", "#ffffff"), 2) == 21.0


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
@pytest.mark.parametrize("ground", ["paper", "card"])
@pytest.mark.parametrize("text", ["ink", "soft", "good", "bad", "odd", "s1"])
def test_every_colour_of_text_can_be_read_on_both_grounds(theme: str, ground: str, text: str) -> None:
    names = colours(theme)
    assert contrast(names[text], names[ground]) >= 4.5


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
def test_the_series_of_a_chart_stand_out_from_their_ground(theme: str) -> None:
    names = colours(theme)
    assert min(contrast(names[f"s{n}"], names["card"]) for n in range(1, 9)) >= 3


def test_airflows_choice_of_theme_wins_over_the_systems() -> None:
    assert ":root[data-theme=dark]{" in STYLE
    assert "@media(prefers-color-scheme:dark){:root:not([data-theme=light]){" in STYLE


# --- The report of a day ----------------------------------------------------------------------------------------------


def test_a_days_report_reads_as_the_published_one_does(tmp_path: Path) -> None:
    estate = load_estate()
    report = compute_report(table_in(tmp_path, 1), DAY, estate, None)
    raw = as_json(report)
    day = CostDay(DAY, "reports/x", 1, raw)
    shown, published = day_document(day, Costs((day,), (DAY,))), document(report)
    assert (shown.title, shown.lead, shown.status, shown.tiles) == (
        published.title, published.lead, published.status, published.tiles,
    )  # fmt: skip
    tables = [(section.title, section.blocks) for section in published.sections if section.title != "Pictures"]
    assert [(section.title, section.blocks) for section in shown.sections if section.title != "Pictures"] == tables
