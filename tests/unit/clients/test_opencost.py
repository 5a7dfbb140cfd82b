"""The allocation client: both flavours, every shape of answer, exact numbers, and errors that say what to do."""

from __future__ import annotations

import datetime as dt
import json
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import requests

from include.clients.access import Access
from include.clients.opencost import AllocationSet, OpenCost, OpenCostError, parse

START = dt.datetime(2026, 11, 23, tzinfo=dt.UTC)
END = START + dt.timedelta(days=1)
EXAMPLE = Path(__file__).parents[3] / "../shared/data/billing/opencost_allocation_examples.json"


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


def answer(data: Any, status: int = 200, **more: Any) -> Any:
    return SimpleNamespace(status_code=status, text=json.dumps({"code": status, "data": data, **more}))


def raw(hour: int = 0, **fields: Any) -> dict[str, Any]:
    window = {"start": f"2026-11-23T{hour:02d}:00:00Z", "end": f"2026-11-23T{hour + 1:02d}:00:00Z"}
    return {"properties": {"cluster": "one"}, "window": window, "minutes": 60, "totalCost": 0.1, **fields}


def client(*answers: Any, **settings: Any) -> tuple[OpenCost, Session, list[float]]:
    session, slept = Session(*answers), list[float]()
    return OpenCost("http://cost/", session=session, sleep=slept.append, **settings), session, slept


def test_opencost_is_asked_with_its_own_path_and_parameters() -> None:
    opencost, session, _ = client(answer([]))
    assert opencost.allocations(START, END) == []
    assert session.sent == [
        {
            "url": "http://cost/allocation/compute",
            "params": {
                "window": "2026-11-23T00:00:00Z,2026-11-24T00:00:00Z",
                "step": "1h",
                "aggregate": "cluster,namespace,controllerKind,controller",
                "includeIdle": "true",
                "accumulate": "false",
            },
            "timeout": 60.0,
            "auth": None,
            "headers": {},
            "verify": True,
            "cert": None,
            "proxies": None,
        }
    ]


def test_kubecost_is_asked_with_its_own_path_and_parameters() -> None:
    kubecost, session, _ = client(
        answer(None), flavour="kubecost", access=Access("http://cost", ("a", "b"), verify="/ca.pem")
    )
    found = kubecost.allocations(START, END, dt.timedelta(days=1), ("namespace",), include_idle=False, accumulate=True)
    assert found == []
    assert session.sent[0]["url"] == "http://cost/model/allocation"
    assert session.sent[0]["params"] == {
        "window": "2026-11-23T00:00:00Z,2026-11-24T00:00:00Z",
        "step": "1d",
        "aggregate": "namespace",
        "idle": "false",
        "accumulate": "true",
    }
    assert (session.sent[0]["verify"], session.sent[0]["auth"]) == ("/ca.pem", ("a", "b"))


def test_a_step_of_other_length_goes_out_in_seconds() -> None:
    assert client()[0].parameters(START, END, dt.timedelta(minutes=10))["step"] == "600s"


def test_an_unknown_flavour_is_refused() -> None:
    with pytest.raises(OpenCostError, match="flavour 'x' is not known: use one of opencost, kubecost"):
        OpenCost("http://cost", "x")


@pytest.mark.parametrize(
    ("start", "end", "step"),
    [(END, START, 3600), (START, END, 0), (START.replace(tzinfo=None), END, 3600)],
)
def test_an_impossible_window_is_refused_before_anything_is_sent(
    start: dt.datetime, end: dt.datetime, step: int
) -> None:
    opencost, session, _ = client()
    with pytest.raises(OpenCostError, match="needs aware times, start < end and a step > 0"):
        opencost.allocations(start, end, dt.timedelta(seconds=step))
    assert session.sent == []


def test_numbers_stay_exact() -> None:
    fields = raw(
        totalCost=0.1, minutes=59.5, cpuCoreHours=1.000000000001, cpuCost=0.3, cpuCostAdjustment=-0.1, ramCost=0
    )
    opencost, _, _ = client(answer([{"akidb": fields}]))
    allocation = opencost.allocations(START, END)[0].allocations[0]
    assert allocation.total_cost == Decimal("0.1")
    assert allocation.minutes == Decimal("59.5")
    assert allocation.cpu_core_hours == Decimal("1.000000000001")
    assert allocation.costs == {"cpu": Decimal("0.2"), "ram": Decimal(0)}


def test_properties_say_who_it_was() -> None:
    properties = {"cluster": "one", "namespace": "akidb", "controller": "akidb-rest", "controllerKind": "deployment"}
    found = parse([{"x": raw(properties=properties)}], "here")[0].allocations[0]
    assert (found.cluster, found.namespace, found.controller) == ("one", "akidb", "akidb-rest")
    assert found.controller_kind == "deployment"
    assert parse([{"x": raw(properties=None)}], "here")[0].allocations[0].cluster is None


@pytest.mark.parametrize("data", [None, [], {}, [None], [{}], [{}, None]])
def test_nothing_known_is_no_set(data: Any) -> None:
    assert parse(data, "here") == []


def test_one_map_and_a_list_of_one_map_say_the_same() -> None:
    one = {"akidb": raw(), "__idle__": raw(totalCost=0.2)}
    assert parse(one, "here") == parse([one], "here")
    assert parse(one, "here")[0].total_cost == Decimal("0.3")
    assert [found.name for found in parse(one, "here")[0].allocations] == ["__idle__", "akidb"]


def test_sets_of_a_step_come_in_order_of_time_and_gaps_stay() -> None:
    sets = parse([{"a": raw(3)}, {}, {"a": raw(1)}], "here")
    assert [(found.start.hour, found.end.hour) for found in sets] == [(1, 2), (3, 4)]


def test_an_accumulated_set_spans_the_windows_of_its_allocations() -> None:
    found = parse([{"early": raw(1), "late": raw(5)}], "here")[0]
    assert (found.start.hour, found.end.hour) == (1, 6)
    assert [(one.start.hour, one.end.hour) for one in found.allocations] == [(1, 2), (5, 6)]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("__idle__", "__idle__"),
        ("one/__idle__", "__idle__"),
        ("one/node/__idle__", "__idle__"),
        ("__unmounted__/__unmounted__", "__unmounted__"),
        ("__unallocated__", "__unallocated__"),
        ("__unallocated__/__unallocated__", "__unallocated__"),
        ("akidb/__unallocated__", None),
        ("akidb/deployment/akidb-rest", None),
    ],
)
def test_special_names_are_told_from_workloads(name: str, kind: str | None) -> None:
    assert parse({name: raw()}, "here")[0].allocations[0].kind == kind


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"totalCost": None}, "totalCost"),
        ({"totalCost": "NaN"}, "totalCost"),
        ({"minutes": None}, "minutes"),
        ({"window": {"start": "2026-11-23T00:00:00Z"}}, "window"),
        ({"window": {"start": "2026-11-23T00:00:00", "end": "2026-11-23T01:00:00"}}, "window"),
        ({"cpuCost": "x"}, "cost or property"),
    ],
)
def test_an_allocation_that_cannot_be_read_names_its_field(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(OpenCostError, match=f"here: allocation 'akidb' has no usable {field} .*: check its version"):
        parse({"akidb": raw(**fields)}, "here")


@pytest.mark.parametrize(("data", "text"), [("x", "data is str"), (["x"], "a set is str")])
def test_another_shape_is_refused(data: Any, text: str) -> None:
    with pytest.raises(OpenCostError, match=f"here: {text}, wanted"):
        parse(data, "here")


def test_an_error_of_the_server_is_tried_again() -> None:
    bad = SimpleNamespace(status_code=503, text="")
    opencost, session, slept = client(
        bad, requests.ConnectionError("refused"), answer(None, 429), answer([{"a": raw()}])
    )
    assert isinstance(opencost.allocations(START, END)[0], AllocationSet)
    assert len(session.sent) == 4
    assert [low <= wait <= 1.67 * low for low, wait in zip((0.375, 0.75, 1.5), slept, strict=True)] == [True] * 3


def test_a_server_that_stays_away_names_address_and_remedy() -> None:
    opencost, _, slept = client(*[requests.ConnectionError("refused")] * 4)
    with pytest.raises(
        OpenCostError,
        match=r"http://cost/allocation/compute can't be reached \(refused\): check the host .* \(4 attempts\)",
    ):
        opencost.allocations(START, END)
    assert len(slept) == 3


def test_a_server_that_keeps_failing_names_the_parameters() -> None:
    opencost, _, _ = client(*[SimpleNamespace(status_code=500, text="")] * 4)
    with pytest.raises(OpenCostError, match="answers 500 to window=2026-11-23T00:00:00Z,2026-11-24T00:00:00Z step=1h"):
        opencost.allocations(START, END)


def test_a_certificate_that_is_not_trusted_is_not_tried_again() -> None:
    opencost, session, _ = client(requests.exceptions.SSLError("self-signed"))
    with pytest.raises(OpenCostError, match=r"certificate is not trusted .*: name the CA file"):
        opencost.allocations(START, END)
    assert len(session.sent) == 1


@pytest.mark.parametrize(
    ("answered", "text"),
    [
        (SimpleNamespace(status_code=401, text=""), r"refuses the credentials \(401\): renew login"),
        (SimpleNamespace(status_code=403, text="no tenant"), r"refuses the credentials \(403: no tenant\): renew"),
        (SimpleNamespace(status_code=404, text=""), r"does not exist \(404\): give the address of an OpenCost"),
        (SimpleNamespace(status_code=200, text="<html>"), "answers 200 without JSON: is this the allocator"),
        (answer(None, 400, message="invalid window"), "refuses window=.*: invalid window: correct the named parameter"),
        (SimpleNamespace(status_code=200, text='{"code": 400, "message": "no step"}'), "refuses window=.*: no step"),
        (SimpleNamespace(status_code=200, text="[]"), "refuses window=.*: 200"),
    ],
)
def test_a_refusal_is_said_once_and_clearly(answered: Any, text: str) -> None:
    opencost, session, _ = client(answered)
    with pytest.raises(OpenCostError, match=text):
        opencost.allocations(START, END)
    assert len(session.sent) == 1


@pytest.mark.skipif(not EXAMPLE.is_file(), reason="needs ../shared/data/billing, which isn't part of the repository")
def test_a_real_answer_of_opencost() -> None:
    example = json.loads(EXAMPLE.read_text(encoding="utf-8"))["GET /allocation/compute 200 example 0"]["response"]
    opencost, _, _ = client(SimpleNamespace(status_code=200, text=json.dumps(example)))
    found = opencost.allocations(START, END)
    assert len(found) == 1
    assert [one.name for one in found[0].allocations] == ["kube-system", "opencost", "prometheus"]
    assert [one.total_cost for one in found[0].allocations] == [
        Decimal("0.425469"),
        Decimal("0.030644"),
        Decimal("0.0"),
    ]
    assert found[0].start == dt.datetime(2023, 1, 18, 11, 38, 45, tzinfo=dt.UTC)
    assert found[0].allocations[1].controller == "opencost"
