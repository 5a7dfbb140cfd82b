"""The Prometheus client: chunks, retries, and three answers that must stay three: missing, NaN, zero."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import requests

from include.clients.access import Access
from include.clients.prometheus import (
    MAX_POINTS,
    PartialResponseError,
    Prometheus,
    PrometheusError,
    Rule,
    Sample,
    Series,
    chunks,
    counter_increase,
    partial,
)


class Session:
    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.sent: list[dict[str, Any]] = []

    def post(self, url: str, **request: Any) -> Any:
        self.sent.append({"url": url, **request})
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def get(self, url: str, **request: Any) -> Any:
        return self.post(f"GET {url}", **request)


def answer(result: Any, kind: str = "vector", status: int = 200) -> Any:
    body = {"status": "success", "data": {"resultType": kind, "result": result}}
    return SimpleNamespace(status_code=status, json=lambda: body, text="")


def vector(*values: str, **labels: str) -> Any:
    return answer([{"metric": labels, "value": [100, value]} for value in values])


def client(*answers: Any) -> tuple[Prometheus, Session, list[float]]:
    session, slept = Session(*answers), list[float]()
    return Prometheus("http://prom/", session=session, sleep=slept.append, clock=lambda: 100.0), session, slept


def test_query_sends_time_and_timeout() -> None:
    prometheus, session, _ = client(vector("1.5", job="a"))
    assert prometheus.query("up") == [Sample({"job": "a"}, 100.0, 1.5)]
    assert session.sent[0]["url"] == "http://prom/api/v1/query"
    assert session.sent[0]["data"] == {"query": "up", "time": "100.0"}
    assert session.sent[0]["timeout"] == 10.0


def test_missing_nan_and_zero_are_kept_apart() -> None:
    prometheus, _, _ = client(vector(), vector("NaN"), vector("0"), vector("NaN"))
    assert prometheus.value("x") is None
    assert prometheus.value("x") is None
    assert prometheus.value("x") == 0.0
    assert math.isnan(prometheus.query("x")[0].value)


def test_value_of_several_series_is_a_mistake() -> None:
    prometheus, _, _ = client(vector("1", "2"))
    with pytest.raises(PrometheusError, match="x gives 2 series, wanted one: aggregate them"):
        prometheus.value("x")


def test_a_scalar_is_a_value_too() -> None:
    prometheus, _, _ = client(answer([100, "3"], "scalar"))
    assert prometheus.value("3") == 3.0


@pytest.mark.parametrize(
    ("end", "expected"),
    [(0, [(0, 0)]), (119, [(0, 60)]), (60 * MAX_POINTS, [(0, 60 * (MAX_POINTS - 1)), (60 * MAX_POINTS,) * 2])],
)
def test_chunks_cover_every_step_once(end: int, expected: list[tuple[float, float]]) -> None:
    assert list(chunks(0, end, 60)) == expected


def test_thirty_days_of_minutes_are_five_requests() -> None:
    steps = [round((last - first) / 60) + 1 for first, last in chunks(0, 30 * 86400 - 60, 60)]
    assert steps == [10_000, 10_000, 10_000, 10_000, 3_200]


def test_query_range_joins_the_chunks_of_a_series() -> None:
    parts = [[{"metric": {"a": "b"}, "values": [[at, "1"]]}] for at in (0, 10_000)]
    prometheus, session, _ = client(*(answer(part, "matrix") for part in parts))
    assert prometheus.query_range("x", 0, 10_000, 1) == [Series({"a": "b"}, ((0.0, 1.0), (10_000.0, 1.0)))]
    assert [sent["data"]["end"] for sent in session.sent] == ["9999.0", "10000.0"] or len(session.sent) == 2


def test_chunks_refuse_a_range_that_runs_backwards() -> None:
    with pytest.raises(ValueError, match="needs start <= end and step > 0"):
        list(chunks(10, 0, 60))


def test_series_exists_looks_back_five_minutes() -> None:
    prometheus, session, _ = client(vector("2"), vector())
    assert prometheus.series_exists('m{region="r"}') is True
    assert prometheus.series_exists("m") is False
    assert session.sent[0]["data"]["query"] == 'count(last_over_time(m{region="r"}[300s]))'


def test_bucket_increases_are_sorted_by_edge_and_none_without_series() -> None:
    result = [{"metric": {"le": le}, "value": [100, v]} for le, v in (("+Inf", "10"), ("0.05", "8"), ("0.01", "NaN"))]
    prometheus, session, _ = client(answer(result), vector())
    assert prometheus.bucket_increases("d", 'region="r"', 20) == {0.05: 8.0, math.inf: 10.0}
    assert session.sent[0]["data"]["query"] == 'sum by (le) (increase(d_bucket{region="r"}[20s]))'
    assert prometheus.bucket_increases("d", "", 20) is None


def test_rules_are_read_by_get_with_their_health() -> None:
    good = {"name": "a:b", "type": "recording", "health": "ok", "query": "1"}
    bad = {"name": "Alert", "type": "alerting", "health": "err", "lastError": "many-to-many", "query": "2"}
    data = {"groups": [{"name": "g", "rules": [good]}, {"name": "h", "rules": [bad]}]}
    found = SimpleNamespace(status_code=200, json=lambda: {"status": "success", "data": data})
    prometheus, session, _ = client(found)
    assert prometheus.rules() == [
        Rule("g", "a:b", "recording", "ok", ""),
        Rule("h", "Alert", "alerting", "err", "many-to-many"),
    ]
    assert session.sent[0]["url"] == "GET http://prom/api/v1/rules"


def test_an_outage_while_the_rules_are_read_names_them() -> None:
    prometheus, _, _ = client(*(answer([], status=503) for _ in range(4)))
    with pytest.raises(PrometheusError, match="answers 503 to rules"):
        prometheus.rules()


def test_an_outage_is_tried_four_times_with_growing_pauses() -> None:
    prometheus, session, slept = client(requests.ConnectionError("refused"), answer([], status=503), vector("1"))
    assert prometheus.value("x") == 1.0
    assert len(session.sent) == 3
    assert 0.375 <= slept[0] <= 0.625
    assert 0.75 <= slept[1] <= 1.25
    dead, session, _ = client(*[requests.ConnectionError("refused")] * 4)
    with pytest.raises(PrometheusError, match=r"http://prom can't be reached \(refused\).*\(4 attempts\)"):
        dead.query("x")


def test_refused_credentials_are_not_tried_again() -> None:
    prometheus, session, _ = client(answer([], status=401))
    with pytest.raises(PrometheusError, match=r"refuses the credentials \(401\): renew login and password"):
        prometheus.query("x")
    assert len(session.sent) == 1


def test_a_refusal_says_what_the_server_answered_and_no_secret() -> None:
    session = Session(SimpleNamespace(status_code=403, text="no org id, key hunter2"))
    access = Access("http://prom", headers={"X-Key": "hunter2"})
    with pytest.raises(PrometheusError, match=r"refuses the credentials \(403: no org id, key \*\*\*\)"):
        Prometheus("http://prom", session=session, access=access).query("x")
    assert session.sent[0]["headers"] == {"X-Key": "hunter2"}


def test_a_certificate_that_is_not_trusted_is_not_tried_again() -> None:
    prometheus, session, _ = client(requests.exceptions.SSLError("self-signed"))
    with pytest.raises(PrometheusError, match=r"certificate is not trusted \(self-signed\): name the CA file"):
        prometheus.query("x")
    assert len(session.sent) == 1


AWAY = "receive series from Addr: 10.0.0.7:10901: rpc error: code = Unavailable"


def with_notes(result: Any = (), **notes: list[str]) -> Any:
    body = {"status": "success", "data": {"resultType": "vector", "result": list(result)}, **notes}
    return SimpleNamespace(status_code=200, json=lambda: body, text="")


def test_an_answer_in_part_is_no_answer() -> None:
    prometheus, _, slept = client(*[with_notes(warnings=[AWAY])] * 4)
    with pytest.raises(PartialResponseError, match=r"answers sum\(x\) in part only \(receive series from .* store"):
        prometheus.value("sum(x)")
    assert len(slept) == 3


def test_an_answer_in_part_that_is_whole_the_next_time_counts() -> None:
    prometheus, _, slept = client(with_notes(warnings=[AWAY]), vector("2"))
    assert prometheus.value("x") == 2.0
    assert len(slept) == 1


@pytest.mark.parametrize("method", ["query", "raw", "query_range", "series_exists", "bucket_increases"])
def test_no_way_of_asking_takes_a_part_for_the_whole(method: str) -> None:
    arguments = {
        "query": ("x",),
        "raw": ("x", 60),
        "query_range": ("x", 0, 60, 60),
        "series_exists": ("x",),
        "bucket_increases": ("x", "", 60),
    }[method]
    prometheus, _, _ = client(*[with_notes(warnings=[AWAY])] * 4)
    with pytest.raises(PartialResponseError):
        getattr(prometheus, method)(*arguments)


def test_hints_at_the_style_of_a_query_are_no_failure() -> None:
    hint = 'PromQL info: metric might not be a counter, name does not end in _total/_sum/_count/_bucket: "x"'
    prometheus, _, _ = client(with_notes(infos=[hint]), with_notes(warnings=[hint]), with_notes(warnings=[]))
    assert [prometheus.query("x") for _ in range(3)] == [[], [], []]
    assert partial([hint, "PromQL warning: encountered a mix of histograms and floats"]) == [
        "PromQL warning: encountered a mix of histograms and floats"
    ]


def test_a_wrong_query_and_a_wrong_server_are_told_apart() -> None:
    def no_json() -> Any:
        raise ValueError("no JSON")

    bad = SimpleNamespace(status_code=400, json=lambda: {"status": "error", "error": "parse error"})
    prometheus, _, _ = client(bad, SimpleNamespace(status_code=200, json=no_json))
    with pytest.raises(PrometheusError, match=r"x\(: parse error"):
        prometheus.query("x(")
    with pytest.raises(PrometheusError, match="without JSON: is this Prometheus"):
        prometheus.query("x")


@pytest.mark.parametrize(
    ("values", "born", "grown"),
    [
        ((5, 5, 7), False, 2),
        ((1,), True, 1),  # the first notice of all
        ((1,), False, 0),
        ((5, 8, 2, 3), False, 6),  # restarted after 8
        ((), True, 0),
        ((math.nan, 1, 3), False, 2),
    ],
)
def test_counter_increase(values: tuple[float, ...], born: bool, grown: float) -> None:
    assert counter_increase(tuple((float(at), float(v)) for at, v in enumerate(values)), born) == grown
