"""Records that add up and have another shape than this release writes: named, left out, and the rest is shown."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from include import levers
from include.clients.storage import Folder
from include.estate import load_estate
from include.overview.latest import Answer
from include.overview.ledger_copy import LedgerContent, LedgerCopy
from include.overview.odd import without_odd
from include.overview.runs import Search, records_of_run, runs_of
from include.overview.view import Sources, view_of
from include.rollout.ledger import WHOLE_RUN, Chain, Step
from tests.unit.overview.sample_week import BEGIN, Scribe, write_week

NAMES = list(levers.LEVERS)
ODD = Chain("spot_capacity", "us-east-1", "day1_spot", "manual__odd")


def show(content: LedgerContent) -> Any:
    """The first page of a ledger, and its runs."""
    return view_of(load_estate(), NAMES, Sources(ledger=Answer(content))), runs_of(content)


@pytest.fixture
def week(tmp_path: Path) -> Path:
    write_week(tmp_path)
    return tmp_path


def read(folder: Path) -> LedgerContent:
    return LedgerCopy(Folder(folder)).refresh()


def test_a_ledger_that_can_be_shown_is_the_same_and_each_of_its_chains_by_itself_too(week: Path) -> None:
    content = read(week)
    assert without_odd(content, show) is content
    for path, chain in content.chains.items():
        show(LedgerContent({path: chain}))


@pytest.mark.parametrize(
    ("step", "figures"),
    [
        (Step.PROMOTED, {"after": {"nodes_by_kind": [["spot", 5]], "nodes": 5, "usd_hour": 1.0}}),
        (Step.PROMOTED, {"after": {"nodes_by_kind": {"spot": "five"}, "nodes": "five", "usd_hour": "much"}}),
        (Step.PLAN, {"plan": {"usd_month_before": {"amount": 3}, "usd_month_after": [], "undo": 7}}),
        (Step.GATE, {"slot": "step_1", "outcome": "pass", "results": 5}),
        (Step.GATE, {"slot": 1, "outcome": ["pass"], "results": ["p95"]}),
        (Step.APPLIED, {"title": {"text": "first"}, "slot": None}),
        (Step.RESTORED, {"complete": "yes", "seconds": "12"}),
    ],
)
def test_whatever_shape_a_figure_has_every_other_chain_is_shown(week: Path, step: str, figures: dict[str, Any]) -> None:
    before, _ = show(read(week))
    scribe = Scribe(week)
    for number, (what, told) in enumerate([(Step.SNAPSHOT, {}), (Step.TOUCH, {"slot": "step_1"}), (step, figures)], 1):
        scribe.write(ODD, what, told)
        assert number == scribe.numbers[ODD.path]
    content = without_odd(read(week), show)
    after, runs = show(content)
    assert {state.lever for state in before.states} <= {state.lever for state in after.states}
    odd = content.chains[ODD.path]
    assert odd.records or "that this release can't show" in odd.problem
    assert records_of_run(content, ODD.dag_id, ODD.run_id, "", Search()) or not odd.records
    assert runs


@pytest.mark.parametrize(
    ("figures", "failure"),
    [
        ({"hash": "89a7a1af48b0", "plans": ["us-east-1"]}, "AttributeError: 'list' object has no attribute 'items'"),
        ({"hash": "89a7a1af48b0", "plans": {"us-east-1": None}}, "AttributeError: 'NoneType' object has no attribute"),
    ],
)
def test_a_plan_of_another_shape_is_named_and_the_week_is_shown(
    week: Path, figures: dict[str, Any], failure: str
) -> None:
    whole = ODD.of(WHOLE_RUN)
    Scribe(week, now=BEGIN + dt.timedelta(days=9)).write(whole, Step.PLAN, figures)
    with pytest.raises(AttributeError):
        show(read(week))
    content = without_odd(read(week), show)
    assert failure in content.problems[whole.path]
    view, _ = show(content)
    assert len(view.problems) == 1
    assert view.states


def test_a_chain_that_cannot_be_shown_is_named_with_what_is_wrong(week: Path) -> None:
    content = read(week)
    path = next(path for path, chain in content.chains.items() if len(chain.records) > 2)
    chain = content.chains[path]
    bad = replace(chain.records[-1], figures={"note": "odd"})
    content = LedgerContent({**content.chains, path: replace(chain, records=(*chain.records[:-1], bad))}, "v1")

    def refuse(some: LedgerContent) -> None:
        if any(record.figures.get("note") == "odd" for one in some.chains.values() for record in one.records):
            raise KeyError("usd_hour")

    kept = without_odd(content, refuse)
    assert kept.version != "v1"
    assert kept.problems[path] == (
        "its records add up, but a figure has a shape that this release can't show (KeyError: 'usd_hour'); the rest is "
        "shown"
    )
    assert {name: one for name, one in kept.chains.items() if name != path} == {
        name: one for name, one in content.chains.items() if name != path
    }
    json.dumps(kept.problems)


def test_a_failure_that_no_chain_brings_about_by_itself_hides_nothing(week: Path) -> None:
    content = read(week)

    def refuse(some: LedgerContent) -> None:
        if len(some.chains) > 1:
            raise ValueError("all together")

    assert without_odd(content, refuse) is content


def test_what_fails_without_any_chain_blames_none(week: Path) -> None:
    content, asked = read(week), list[int]()

    def refuse(some: LedgerContent) -> None:
        asked.append(len(some.chains))
        raise TypeError("a price list of another shape")

    assert without_odd(content, refuse) is content
    assert asked == [0]
