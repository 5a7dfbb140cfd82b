"""Fields of a document that others write too: with a version token, and without one."""

from __future__ import annotations

import copy
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from include.clients.aws import AwsRefusedError
from include.estate import load_estate
from include.levers.documents import Setting, edit
from include.levers.world import World
from include.rollout.lever import Difference, Refused, Target
from include.rollout.place import ESTATE_WIDE

Object = dict[str, Any]
CLASS = {"PriceClass": "PriceClass_200", "Logging": {"Enabled": True}}


class Distributions:
    """One document. ``in_between`` is what somebody does between a read and the write that follows."""

    kind = "Distribution"

    def __init__(self, with_token: bool = True) -> None:
        self.conflicts = frozenset({"PreconditionFailed"} if with_token else ())
        self.document: Object | None = {"PriceClass": "PriceClass_All", "Logging": {"Bucket": "logs"}, "Comment": "a"}
        self.version, self.writes = 1, 0
        self.in_between: list[Callable[[Object], None]] = []

    def read(self, world: World, name: str) -> tuple[Object | None, str]:
        return copy.deepcopy(self.document), str(self.version) if self.conflicts else ""

    def write(self, world: World, name: str, document: Object, token: str) -> None:
        if self.in_between:
            assert self.document is not None
            self.in_between.pop(0)(self.document)
            self.version += 1
        if self.conflicts and token != str(self.version):
            raise AwsRefusedError("412", "PreconditionFailed")
        self.document, self.version, self.writes = copy.deepcopy(document), self.version + 1, self.writes + 1
        after, self.in_between = self.in_between[:1], self.in_between[1:]
        if after and not self.conflicts:  # somebody who read it before writes it whole
            after[0](self.document)


@pytest.fixture
def world() -> World:
    return World(Target(ESTATE_WIDE, load_estate(), "run", None, SimpleNamespace()), lambda: 0.0)


def comment(document: Object) -> None:
    document["Comment"] = "theirs"


def test_our_fields_alone_are_changed_and_a_second_write_changes_nothing(world: World) -> None:
    store = Distributions()
    setting = Setting(store, "E1", CLASS)
    assert [str(d) for d in setting.differences(setting.entry(world))] == [
        "Distribution E1 PriceClass: PriceClass_All -> PriceClass_200",
        "Distribution E1 Logging.Enabled: absent -> true",
    ]
    assert (setting.write(world), setting.write(world), store.writes) == (True, False, 1)
    assert store.document == {
        "PriceClass": "PriceClass_200", "Logging": {"Bucket": "logs", "Enabled": True}, "Comment": "a",
    }  # fmt: skip
    assert setting.differences(setting.entry(world)) == []


def test_somebody_who_was_faster_keeps_what_he_wrote(world: World) -> None:
    store = Distributions()
    store.in_between = [comment, lambda document: document.update(HttpVersion="http3")]
    assert Setting(store, "E1", CLASS).write(world)
    assert store.document is not None
    assert (store.document["Comment"], store.document["HttpVersion"]) == ("theirs", "http3")
    assert store.document["PriceClass"] == "PriceClass_200"
    assert store.writes == 1


def test_without_a_token_it_is_read_again_and_written_again_where_our_fields_were_lost(world: World) -> None:
    store = Distributions(with_token=False)
    store.in_between = [comment, lambda document: document.update(PriceClass="PriceClass_All")]
    assert Setting(store, "E1", {"PriceClass": "PriceClass_200"}).write(world)
    assert store.document is not None
    assert (store.document["PriceClass"], store.writes) == ("PriceClass_200", 2)


def test_others_who_write_all_the_time_are_named_after_five_attempts(world: World) -> None:
    store = Distributions()
    store.in_between = [comment] * 5
    message = "estate-wide: Distribution E1 was changed by others 5 times in between: have them stop, then start again"
    with pytest.raises(Refused, match=message):
        Setting(store, "E1", CLASS).write(world)
    assert store.writes == 0


def test_another_refusal_is_none_of_the_tokens(world: World) -> None:
    store = Distributions()

    def denied(document: Object) -> None:
        raise AwsRefusedError("no", "AccessDenied")

    store.in_between = [denied]
    with pytest.raises(AwsRefusedError, match="no"):
        edit(world, store, "E1", lambda document: {**document, "PriceClass": "x"})


def test_a_document_that_does_not_exist_is_refused_and_said(world: World) -> None:
    store = Distributions()
    store.document = None
    setting = Setting(store, "E1", CLASS)
    assert setting.entry(world) is None
    assert [str(d) for d in setting.differences(None)] == ["Distribution E1: absent -> missing"]
    with pytest.raises(Refused, match="Distribution E1 does not exist: nothing of it can be set"):
        setting.write(world)


def test_what_is_still_ours_is_set_back_and_a_field_that_was_absent_goes(world: World) -> None:
    store = Distributions()
    setting = Setting(store, "E1", CLASS)
    before, was = copy.deepcopy(store.document), setting.entry(world)
    setting.write(world)
    assert [d.path for d in setting.unrestored(world, was)] == [
        "Distribution E1 PriceClass",
        "Distribution E1 Logging.Enabled",
    ]
    report: list[Difference] = []
    store.in_between = [comment]
    assert (setting.restore(world, was, report), report) == ("set back", [])
    assert store.document == {**(before or {}), "Comment": "theirs"}
    assert (setting.unrestored(world, was), setting.restore(world, was, report)) == ([], None)


def test_a_field_that_somebody_has_changed_since_stays_and_is_reported(world: World) -> None:
    store = Distributions()
    setting = Setting(store, "E1", CLASS)
    was = setting.entry(world)
    setting.write(world)
    assert store.document is not None
    store.document["PriceClass"] = "PriceClass_100"
    report: list[Difference] = []
    assert setting.restore(world, was, report) == "set back"
    assert [str(d) for d in report] == ["Distribution E1 PriceClass: PriceClass_All -> PriceClass_100"]
    assert store.document["PriceClass"] == "PriceClass_100"
    assert [d.path for d in setting.unrestored(world, was)] == ["Distribution E1 PriceClass"]
    store.document = None
    report.clear()
    assert setting.restore(world, was, report) is None
    assert [str(d) for d in report] == ["Distribution E1: there -> absent"]
