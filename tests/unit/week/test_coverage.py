"""What one approval for all days covers, to the cent."""

from __future__ import annotations

from decimal import Decimal

import pytest

from include.rollout.lever import Plan, Stage, Undo
from include.week.coverage import Offer, change, hardest, offer_of, offers_hash, outside, words

TENTH = Decimal("0.1")


def plan(before: str | None, after: str | None, undo: Undo = Undo.MINUTES, stages: int = 1) -> Plan:
    steps = tuple(Stage(f"step_{n}", "title", ()) for n in range(stages))
    dollars = [None if usd is None else Decimal(usd) for usd in (before, after)]
    return Plan("toy", "us-east-1", {}, (), steps, dollars[0], dollars[1], "aws", undo)


def offered(usd: str | None, undo: Undo | None = Undo.MINUTES, planner: str | None = None) -> Offer:
    known = [None if text is None else Decimal(text) for text in (usd, planner)]
    return Offer(undo, known[0], known[1], "aws", "" if undo else "no NodePool yet")


def judged(offer: Offer, *plans: Plan) -> list[str]:
    return outside({"toy": offer}, {}, {"toy": plans}, {}, TENTH)


def test_the_change_is_that_of_all_places_and_unknown_when_one_is() -> None:
    assert change([plan("100", "60"), plan("10.50", "20.25")]) == Decimal("-30.25")
    assert change([plan("100", "60"), plan("10", None)]) is None
    assert change([]) == 0


def test_the_hardest_undo_of_all_places_counts() -> None:
    assert hardest([plan("1", "1", Undo.NODE_WAVE), plan("1", "1", Undo.INSTANT)]) is Undo.NODE_WAVE
    assert hardest([]) is None


@pytest.mark.parametrize("after", ["60", "64", "0"])
def test_a_saving_within_the_tolerance_of_the_approved_forty_dollars_is_covered(after: str) -> None:
    assert judged(offered("-40"), plan("100", after)) == []


def test_a_saving_a_cent_below_the_tolerance_is_not() -> None:
    assert judged(offered("-40"), plan("100", "64.01")) == [
        "toy: it saves $35.99 a month, approved was that it saves $40.00 a month (tolerance 10%)"
    ]


def test_the_planners_figure_counts_where_it_promises_less() -> None:
    assert judged(offered("-40", planner="-20"), plan("100", "82")) == []
    assert judged(offered("-20", planner="-40"), plan("100", "82")) == []
    assert judged(offered("-40", planner="-20"), plan("100", "82.01")) == [
        "toy: it saves $17.99 a month, approved was that it saves $20.00 a month (tolerance 10%)"
    ]


def test_a_cost_that_was_approved_may_rise_by_the_tolerance_only() -> None:
    assert judged(offered("620"), plan("0", "682")) == []
    assert judged(offered("620"), plan("0", "682.01")) == [
        "toy: it costs $682.01 a month more, approved was that it costs $620.00 a month more (tolerance 10%)"
    ]


def test_dollars_that_nobody_knew_cover_a_saving_and_no_cost() -> None:
    unknown = offered(None)
    assert judged(unknown, plan(None, None)) == []
    assert judged(unknown, plan("10", "9")) == []
    assert judged(unknown, plan("10", "10.01")) == [
        "toy: it costs $0.01 a month more, and the approved plan did not know the dollars"
    ]


def test_dollars_that_were_known_must_be_known_again() -> None:
    assert judged(offered("-40"), plan(None, None)) == [
        "toy: its dollars are not known, and the approved plan saves $40.00 a month"
    ]


def test_a_lever_that_never_knows_its_dollars_is_covered_by_the_planners() -> None:
    assert judged(offered(None, planner="620"), plan(None, None)) == []
    assert judged(offered(None, planner="620"), plan("0", "700")) == [
        "toy: it costs $700.00 a month more, approved was that it costs $620.00 a month more (tolerance 10%)"
    ]


@pytest.mark.parametrize("undo", [Undo.INSTANT, Undo.MINUTES])
def test_an_undo_that_is_no_harder_is_covered(undo: Undo) -> None:
    assert judged(offered("-40"), plan("100", "60", undo)) == []


def test_a_harder_undo_in_one_place_is_not() -> None:
    assert judged(offered("-80"), plan("100", "60"), plan("100", "60", Undo.NODE_WAVE)) == [
        "toy: its undo is node wave, approved was minutes"
    ]


def test_what_could_not_be_planned_when_it_was_approved_asks_again() -> None:
    assert judged(offered(None, undo=None), plan("100", "60")) == [
        "toy: it could not be planned when the week was approved (no NodePool yet)"
    ]


def test_a_plan_that_writes_nothing_is_covered_whatever_it_costs() -> None:
    assert judged(offered("-40"), plan("60", "60", Undo.IRREVERSIBLE, stages=0)) == []


def test_a_lever_and_a_setting_that_were_not_approved_are_named() -> None:
    found = outside({}, {"soak_seconds": 1800}, {"other": [plan("1", "0")]}, {"soak_seconds": 20, "drill": True}, TENTH)
    assert found == [
        "drill is true, approved was null",
        "soak_seconds is 20, approved was 1800",
        "other is not among the levers that were approved",
    ]


def test_dry_run_and_reason_are_not_compared() -> None:
    approved, now = {"dry_run": True, "reason": "week", "size": 2}, {"dry_run": False, "reason": "", "size": 2}
    assert outside({}, approved, {}, now, TENTH) == []


def test_an_offer_goes_through_the_ledger_unchanged() -> None:
    found = offer_of([plan("100.10", "60"), plan("1", "1", Undo.NODE_WAVE)], Decimal("-33.3"))
    assert found == Offer(Undo.NODE_WAVE, Decimal("-40.10"), Decimal("-33.3"), "aws")
    assert Offer.from_json(found.to_json()) == found
    unplanned = Offer(None, None, None, problem="Refused: no NodePool")
    assert Offer.from_json(unplanned.to_json()) == unplanned


def test_the_hash_covers_levers_settings_undo_dollars_and_tolerance_but_not_the_run() -> None:
    day = {
        "day": 1,
        "dag": "toy_day1",
        "run_id": "a",
        "levers": {"toy": offered("-40").to_json()},
        "settings": {"n": 1},
    }
    same = offers_hash([day], TENTH)
    assert len(same) == 12
    assert offers_hash([{**day, "run_id": "b"}], TENTH) == same
    others = [
        [{**day, "settings": {"n": 2}}],
        [{**day, "levers": {"toy": offered("-40.01").to_json()}}],
        [{**day, "levers": {"toy": offered("-40", Undo.REBOOT).to_json()}}],
        [day, {**day, "day": 2}],
    ]
    assert same not in {offers_hash(days, TENTH) for days in others}
    assert offers_hash([day], Decimal("0.2")) != same


def test_a_change_of_the_cost_in_words() -> None:
    assert words(Decimal("-1234.5")) == "saves $1,234.50 a month"
    assert words(Decimal("620")) == "costs $620.00 a month more"
    assert words(Decimal(0)) == "saves $0.00 a month"
