"""The client of the latency probes: an answer as it is, retries, and errors that say what to do."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
import requests

from include.clients.access import Access
from include.clients.probes import ProbeResult, Probes, ProbesError, parse

MUMBAI = {"region": "mumbai", "country": "in", "p95_ms": 31.5, "samples": 240, "time": "2026-11-29T10:00:00Z"}
SILENT = {"region": "cape-town", "country": "ZA", "p95_ms": None, "samples": None, "time": None}


class Session:
    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.sent: list[dict[str, Any]] = []

    def get(self, url: str, **request: Any) -> Any:
        self.sent.append({"url": url, **request})
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def answer(body: Any, status: int = 200) -> Any:
    return SimpleNamespace(status_code=status, text=json.dumps(body), json=lambda: body)


def asked(*answers: Any) -> tuple[Probes, Session, list[float]]:
    session, slept = Session(*answers), list[float]()
    access = Access("http://probes.example", headers={"X-Token": "abc"})
    return Probes("http://probes.example/", session=session, access=access, sleep=slept.append), session, slept


def test_every_probe_is_listed_and_a_silent_one_has_no_figure() -> None:
    probes, session, slept = asked(answer([MUMBAI, SILENT]))
    assert probes.results() == [
        ProbeResult("mumbai", "IN", 31.5, 240, 1795946400.0),
        ProbeResult("cape-town", "ZA", None, 0, 0.0),
    ]
    assert session.sent[0]["url"] == "http://probes.example/probes"
    assert session.sent[0]["headers"] == {"X-Token": "abc"}
    assert slept == []


def test_429_and_a_lost_connection_are_tried_again_with_growing_pauses() -> None:
    probes, session, slept = asked(answer("", 429), requests.ConnectionError("reset"), answer([MUMBAI]))
    assert [result.region for result in probes.results()] == ["mumbai"]
    assert len(session.sent) == 3
    assert 0.375 <= slept[0] <= 0.625
    assert 0.75 <= slept[1] <= 1.25


def test_a_server_that_stays_away_is_named_with_the_remedy() -> None:
    probes, _, _ = asked(*[answer("", 503)] * 4)
    with pytest.raises(ProbesError) as caught:
        probes.results()
    assert str(caught.value) == (
        "http://probes.example/probes answers 503: look at the log of what serves the probes (4 attempts)"
    )


def test_refused_credentials_are_not_shown() -> None:
    probes, session, _ = asked(answer("token abc is unknown", 403))
    with pytest.raises(ProbesError) as caught:
        probes.results()
    assert 'http://probes.example refuses the credentials (403: "token *** is unknown")' in str(caught.value)
    assert len(session.sent) == 1


def test_an_answer_that_is_no_json_names_the_address() -> None:
    def no_json() -> Any:
        raise ValueError("no JSON")

    probes, _, _ = asked(SimpleNamespace(status_code=200, text="<html>", json=no_json))
    with pytest.raises(ProbesError, match=r"http://probes.example/probes answers 200 without JSON: give the address"):
        probes.results()


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ({"mumbai": MUMBAI}, "here: the answer is dict, wanted a list of results"),
        (["mumbai"], "here: result 1 is str, wanted an object"),
        ([MUMBAI, {**MUMBAI, "country": ""}], "here: result 2 has no usable country (ValueError '' is no name)"),
        ([{**MUMBAI, "p95_ms": "fast"}], "1 has no usable p95_ms (ValueError 'fast' is no number of zero or more)"),
        ([{**MUMBAI, "p95_ms": float("nan")}], "result 1 has no usable p95_ms (ValueError nan is no number of zero"),
        ([{**MUMBAI, "samples": -1}], "result 1 has no usable samples (ValueError -1 is no number of zero or more)"),
        ([{**MUMBAI, "time": "2026-11-29T10:00:00"}], "result 1 has no usable time (ValueError 2026-11-29T10:00:00"),
        ([{"region": "x", "country": "IN"}], "result 1 has no usable p95_ms (KeyError 'p95_ms')"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_by_result_and_field(body: Any, problem: str) -> None:
    with pytest.raises(ProbesError) as caught:
        parse(body, "here")
    assert problem in str(caught.value)
