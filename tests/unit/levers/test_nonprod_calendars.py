"""Calendars: intervals over days, clock changes, holidays, wishes, and what follows for a namespace."""

from __future__ import annotations

import datetime as dt
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import ValidationError

from include.estate import Calendar, Estate, load_estate
from include.estate.nonprod import weekly
from include.levers.nonprod_hours import hours
from include.levers.nonprod_hours.calendars import Span, asleep_spans, keep_until, sleeps_through
from include.levers.nonprod_hours.decide import Action, Decision, Seen, decide, lead_of
from include.rollout.lever import Refused

WEEK = ("Mon-Thu 20:00 to 08:00", "Fri 20:00 to Mon 08:00")
TOKYO = Calendar(timezone="Asia/Tokyo", asleep=WEEK)
LEAD = dt.timedelta(minutes=10)


def at(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(f"{text}+00:00")


def span_at(calendar: Calendar, moment: str) -> tuple[str, str] | None:
    """Start and end of the sleep at a moment, UTC."""
    span = sleeps_through(calendar, at(moment), dt.timedelta(0))
    return span and (f"{span.start:%a %d %H:%M}", f"{span.end:%a %d %H:%M}")


def test_an_interval_of_several_nights_and_one_over_the_weekend() -> None:
    assert weekly("Mon-Thu 20:00 to 08:00") == [(day * 1440 + 1200, 720) for day in range(4)]
    assert weekly("Fri 20:00 to Mon 08:00") == [(4 * 1440 + 1200, 60 * 60)]
    assert weekly("Sat-Mon 01:00 to 05:30") == [(day * 1440 + 60, 270) for day in (5, 6, 0)]
    assert weekly("Sun 22:00 to Sun 06:00") == [(6 * 1440 + 1320, 7 * 1440 - 960)]


def test_a_week_is_asleep_at_night_and_from_friday_evening_to_monday_morning_in_local_time() -> None:
    assert span_at(TOKYO, "2026-12-02T12:00") == ("Wed 02 11:00", "Wed 02 23:00")  # 20:00 to 08:00 in Tokyo
    assert span_at(TOKYO, "2026-12-05T12:00") == ("Fri 04 11:00", "Sun 06 23:00")
    assert span_at(TOKYO, "2026-12-02T10:59") is None
    assert span_at(TOKYO, "2026-12-02T23:00") is None


@pytest.mark.parametrize(
    ("day", "start", "end"),
    [
        ("2026-03-27T20:00", "Fri 27 19:00", "Mon 30 06:00"),  # winter time at its start, summer time at its end
        ("2026-10-23T20:00", "Fri 23 18:00", "Mon 26 07:00"),
        ("2026-07-03T20:00", "Fri 03 18:00", "Mon 06 06:00"),
    ],
)
def test_a_weekend_keeps_its_wall_clock_over_a_change_of_the_clock(day: str, start: str, end: str) -> None:
    assert span_at(Calendar(timezone="Europe/Berlin", asleep=WEEK), day) == (start, end)


def sunday(text: str) -> Calendar:
    return Calendar(timezone="Europe/Berlin", asleep=(text,))


def test_an_hour_that_comes_twice_begins_sleep_late_and_ends_it_early() -> None:
    # On 2026-10-25 the hour from 02:00 to 03:00 comes twice: from 00:00 and from 01:00 UTC.
    assert span_at(sunday("Sun 02:30 to 08:00"), "2026-10-25T05:00") == ("Sun 25 01:30", "Sun 25 07:00")
    assert span_at(sunday("Sat 20:00 to Sun 02:30"), "2026-10-24T22:00") == ("Sat 24 18:00", "Sun 25 00:30")


def test_an_hour_that_never_comes_begins_sleep_late_and_ends_it_early() -> None:
    # On 2026-03-29 02:30 does not exist: 02:00 is followed by 03:00, at 01:00 UTC.
    assert span_at(sunday("Sun 02:30 to 08:00"), "2026-03-29T04:00") == ("Sun 29 01:30", "Sun 29 06:00")
    assert span_at(sunday("Sat 20:00 to Sun 02:30"), "2026-03-28T22:00") == ("Sat 28 19:00", "Sun 29 00:30")
    assert span_at(sunday("Sun 02:10 to 02:20"), "2026-03-29T01:15") is None


@pytest.mark.parametrize("zone", ["Asia/Tokyo", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "UTC"])
def test_at_each_hour_of_a_year_it_sleeps_as_the_wall_clock_says(zone: str) -> None:
    from zoneinfo import ZoneInfo

    calendar = Calendar(timezone=zone, asleep=WEEK)
    for week in range(0, 365, 7):
        first = at("2026-01-05T00:00") + dt.timedelta(days=week)
        spans = asleep_spans(calendar, first)
        for hour in range(7 * 24):
            moment = first + dt.timedelta(hours=hour, minutes=30)
            local = moment.astimezone(ZoneInfo(zone))
            awake = local.weekday() < 5 and 8 <= local.hour < 20
            assert any(span.start <= moment < span.end for span in spans) is not awake, (zone, moment)


def test_a_public_holiday_and_a_day_off_are_slept_through_and_join_the_nights_around_them() -> None:
    japan = Calendar(timezone="Asia/Tokyo", asleep=WEEK, holidays="JP", days_off=(dt.date(2026, 12, 2),))
    # 2026-11-23 is a Monday and Labour Thanksgiving Day: the weekend goes on to Tuesday 08:00 in Tokyo.
    assert span_at(japan, "2026-11-23T03:00") == ("Fri 20 11:00", "Mon 23 23:00")
    assert span_at(japan, "2026-12-02T03:00") == ("Tue 01 11:00", "Wed 02 23:00")


def test_a_country_without_a_calendar_is_refused_with_the_remedy() -> None:
    with pytest.raises(Refused) as refused:
        asleep_spans(Calendar(timezone="UTC", asleep=WEEK, holidays="XX"), at("2026-12-02T00:00"))
    assert str(refused.value) == (
        "estate.yaml: nonprod.calendars: holidays XX has no calendar: use a code such as JP, or list the days under "
        "days_off"
    )


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("timezone", "Tokio", "is no time zone: use a name such as Asia/Tokyo or Europe/Berlin"),
        ("asleep", ("nightly",), 'write "Fri 20:00 to Mon 08:00", or "Mon-Thu 20:00 to 08:00" for each night'),
        ("asleep", ("Mon-Fri 20:00 to Tue 08:00",), "names several first days and a last one"),
        ("asleep", ("Mon 24:00 to 08:00",), 'write "Fri 20:00 to Mon 08:00"'),
        ("asleep", ("Mon-Sun 08:00 to 08:00",), "leaves no minute of the week awake"),
    ],
)
def test_a_wrong_calendar_is_one_message_with_the_remedy(field: str, value: Any, message: str) -> None:
    with pytest.raises(ValidationError) as error:
        Calendar.model_validate({"timezone": "UTC", "asleep": WEEK, field: value})
    (problem,) = error.value.errors()
    assert message in problem["msg"]


@pytest.mark.parametrize(
    ("namespaces", "message"),
    [
        ({"akidb-staging": "paris"}, "calendar 'paris' does not exist; nonprod.calendars has tokyo"),
        ({"kube-system": "tokyo"}, "namespaces.kube-system is the cluster's own and never sleeps: take it out"),
        ({"akidb": "tokyo"}, "nonprod.namespaces.akidb is the estate's own namespace, production: it never sleeps"),
    ],
)
def test_a_namespace_that_may_not_sleep_is_refused_by_name(namespaces: dict[str, str], message: str) -> None:
    raw = load_estate().model_dump(mode="json")
    raw["nonprod"] = {"calendars": {"tokyo": TOKYO.model_dump(mode="json")}, "namespaces": namespaces}
    with pytest.raises(ValidationError, match=message):
        Estate.model_validate(raw)


NOW = at("2026-12-02T12:00")  # Wednesday 21:00 in Tokyo
NOTES = "akidb.io/keep-until"


def staging(labels: dict[str, str] | None = None, keep: str = "") -> dict[str, Any]:
    kept = {NOTES: keep} if keep else {}
    return {"metadata": {"name": "akidb-staging", "labels": labels or {}, "annotations": kept}}


@pytest.mark.parametrize(
    ("moment", "asleep", "action"),
    [
        ("2026-12-02T12:00", False, Action.SLEEP),
        ("2026-12-02T12:00", True, Action.NOTHING),
        ("2026-12-02T22:30", True, Action.NOTHING),  # 23:00 UTC is 08:00: 30 minutes away
        ("2026-12-02T22:36", True, Action.WAKE),  # the next look, at 22:51, would leave less than the lead
        ("2026-12-02T22:36", False, Action.NOTHING),
        ("2026-12-03T01:00", True, Action.WAKE),
        ("2026-12-03T01:00", False, Action.NOTHING),
    ],
)
def test_it_sleeps_by_its_calendar_and_wakes_a_lead_and_a_look_before_it_is_needed(
    moment: str, asleep: bool, action: Action
) -> None:
    assert decide(Seen(staging(), asleep), TOKYO, at(moment), LEAD).action is action


def test_a_reason_names_the_moment_of_the_end() -> None:
    assert decide(Seen(staging()), TOKYO, NOW, LEAD) == Decision(
        Action.SLEEP, "asleep until Wed 2026-12-02 23:00 UTC by its calendar"
    )


@pytest.mark.parametrize(
    ("seen", "reason"),
    [
        (Seen(staging({"akidb.io/nonprod-hours": "off"}), True), "its label akidb.io/nonprod-hours is off"),
        (Seen(staging(keep="2026-12-03T01:00:00+09:00"), True), "kept awake until Wed 2026-12-02 16:00 UTC"),
        (Seen(staging(), True, woken=True), "this run was asked to wake it"),
    ],
)
def test_a_label_a_wish_and_the_form_wake_it_at_night(seen: Seen, reason: str) -> None:
    assert decide(seen, TOKYO, NOW, LEAD) == Decision(Action.WAKE, reason)


def test_a_wish_that_has_passed_is_none() -> None:
    assert decide(Seen(staging(keep="2026-12-02T11:00:00+00:00")), TOKYO, NOW, LEAD).action is Action.SLEEP


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("forever", "is 'forever', no moment with an end"),
        ("2026-12-03T01:00:00", "is '2026-12-03T01:00:00', without an offset from UTC"),
        ("2099-01-01T00:00:00+00:00", "is '2099-01-01T00:00:00+00:00', too far away to be an end"),
    ],
)
def test_a_wish_without_an_end_is_refused_with_field_value_and_remedy(text: str, reason: str) -> None:
    with pytest.raises(Refused) as refused:
        keep_until({NOTES: text}, "akidb-staging", NOW)
    assert str(refused.value) == (
        f"Namespace akidb-staging {NOTES} {reason}: annotate it with an end within 31 days, such as "
        "2026-12-02T22:00:00+00:00"
    )


@pytest.mark.parametrize("value", ["Off", "OFF", "false", "no", "disabled", "", "\u3000"])
def test_a_label_that_is_spelled_differently_leaves_it_awake_and_is_named(value: str) -> None:
    decision = decide(Seen(staging({"akidb.io/nonprod-hours": value}), asleep=True), TOKYO, NOW, LEAD)
    assert decision == Decision(Action.WAKE, f"its label akidb.io/nonprod-hours is {value or 'empty'}")


def test_a_label_that_says_on_changes_nothing() -> None:
    assert decide(Seen(staging({"akidb.io/nonprod-hours": "on"})), TOKYO, NOW, LEAD).action is Action.SLEEP


def test_a_wish_that_nobody_can_read_keeps_it_from_sleeping_and_not_from_waking() -> None:
    for asleep, moment in ((False, NOW), (True, NOW), (False, at("2026-12-03T01:00"))):
        with pytest.raises(Refused, match="no moment with an end"):
            decide(Seen(staging(keep="forever"), asleep), TOKYO, moment, LEAD)
    morning = decide(Seen(staging(keep="forever"), asleep=True), TOKYO, at("2026-12-03T01:00"), LEAD)
    assert morning == Decision(Action.WAKE, "needed now or within 25 min by its calendar")


def looked_at(calendar: Calendar, live: dict[str, Any], woken: bool = False, moment: dt.datetime = NOW) -> Any:
    """What a look decides for a namespace that sleeps, and the cluster that it was read from."""
    cluster = SimpleNamespace(get=lambda *_: live, patched=[], patch=lambda *a, **_: cluster.patched.append(a[2]))
    nonprod = SimpleNamespace(namespaces={"akidb-staging": "one"}, calendars={"one": calendar}, default_lead_minutes=10)
    run = SimpleNamespace(
        estate=SimpleNamespace(nonprod=nonprod), clients=lambda _: SimpleNamespace(kubernetes=cluster)
    )
    asked: Any = hours.Hours(run, "us-east-1", moment, 60, woken=["akidb-staging"] if woken else ())  # type: ignore[arg-type]
    change: Any = SimpleNamespace(promoted=True)
    return asked, cluster, hours._looked_at(asked, "akidb-staging", change)


@pytest.mark.parametrize(
    ("labels", "woken"), [({"akidb.io/nonprod-hours": "off"}, False), ({}, True)], ids=["label", "form"]
)
def test_label_and_form_wake_it_although_its_calendar_can_not_be_read(labels: dict[str, str], woken: bool) -> None:
    nowhere = Calendar(timezone="UTC", asleep=WEEK, holidays="XX")
    assert looked_at(nowhere, staging(labels), woken)[2].action is Action.WAKE
    assert isinstance(looked_at(nowhere, staging())[2], Refused)


@pytest.mark.parametrize(
    ("keep", "written"),
    [
        ("", ["2026-12-02T14:00:00+00:00"]),
        ("2026-12-02T13:00:00+00:00", ["2026-12-02T14:00:00+00:00"]),
        ("forever", ["2026-12-02T14:00:00+00:00"]),
        ("2026-12-10T09:00:00+09:00", []),  # a week more was asked for: two hours must not end it
    ],
)
def test_waking_it_now_shortens_no_wish_that_reaches_further(keep: str, written: list[str]) -> None:
    asked, cluster, _ = looked_at(TOKYO, staging(keep=keep), woken=True)
    hours.keep_awake(asked, "akidb-staging")
    assert [body["metadata"]["annotations"][NOTES] for body in cluster.patched] == written


def test_the_lead_is_the_median_of_the_newest_wakes_and_the_default_before_the_first() -> None:
    assert lead_of([], 10) == (dt.timedelta(minutes=10), "10 min, none measured yet")
    assert lead_of([40, 200, 60], 10) == (dt.timedelta(seconds=60), "60 s, the median of 3 measured")
    assert lead_of([9999] * 5 + [60] * 20, 10)[0] == dt.timedelta(seconds=60)


def test_a_span_covers_what_lies_in_it() -> None:
    span = Span(at("2026-12-02T10:00"), at("2026-12-02T12:00"))
    assert span.covers(span.start, span.end)
    assert not span.covers(span.start, span.end + LEAD)
