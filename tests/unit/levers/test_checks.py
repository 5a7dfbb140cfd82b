"""Preflight checks that several levers make."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest

from include.clients.kubernetes import ForbiddenError
from include.clients.prometheus import PrometheusError
from include.cost.table.columns import CostError
from include.estate import load_estate
from include.forecast.registry import RegistryError
from include.levers import checks
from include.levers.world import World
from include.prices import PriceBookError, load_aws_book
from include.rollout.lever import Check, Target

ESTATE = load_estate()


def world(known: frozenset[str] = frozenset(), allowed: tuple[str, ...] = ()) -> World:
    governance = ESTATE.governance.model_copy(update={"may_change_objects_of": list(allowed)})
    prometheus = SimpleNamespace(url="http://prometheus", series_exists=lambda series: series in known)
    clients: Any = SimpleNamespace(prometheus=prometheus)
    return World(Target("us-east-1", ESTATE.model_copy(update={"governance": governance}), "run", None, clients))


@pytest.mark.parametrize("kind", [PrometheusError, RegistryError, CostError, PriceBookError])
def test_an_expected_error_is_a_failed_check_with_a_remedy(kind: type[Exception]) -> None:
    def check(_: World) -> Iterator[Check]:
        yield Check("first", True, "passed")
        raise kind("it is down")

    assert checks.guarded("second", world(), check) == [Check("second", False, "it is down", checks.REPAIR)]


def test_a_refusal_of_the_api_server_names_the_region() -> None:
    def check(_: World) -> Iterator[Check]:
        raise ForbiddenError("may not")
        yield

    assert checks.guarded("pods", world(), check) == [Check("pods", False, "us-east-1: may not", checks.REPAIR)]


def test_what_nobody_expects_is_raised() -> None:
    def check(_: World) -> Iterator[Check]:
        raise KeyError("a defect")
        yield

    with pytest.raises(KeyError, match="a defect"):
        checks.guarded("pods", world(), check)


HELM = {"metadata": {"name": "a", "labels": {"app.kubernetes.io/managed-by": "Helm"}}}
OWN = {"metadata": {"name": "b"}}


def test_objects_of_others_are_refused_unless_the_estate_allows_it() -> None:
    things = {"Deployment a": HELM, "Deployment b": OWN, "Service c": None}
    assert list(checks.owners(world(), things, "undo the change", "remove it in {owner}, or")) == [
        Check(
            "owner of Deployment a",
            False,
            "Deployment a is managed by helm, which would undo the change",
            "remove it in helm, or add helm to governance.may_change_objects_of in estate.yaml",
        )
    ]
    (allowed,) = checks.owners(world(allowed=("helm",)), things, "undo the change", "remove it in {owner}, or")
    assert (allowed.passed, allowed.reason) == (
        True,
        "Deployment a is managed by helm, which the estate allows to change",
    )
    free = {"Deployment b": OWN, "Service c": None}
    (none,) = checks.owners(world(), free, "undo the change", "remove it in {owner}, or")
    assert (none.name, none.passed) == ("objects' owners", True)


def test_a_series_without_a_sample_says_what_to_do() -> None:
    selectors = {"http_requests": "a", "container CPU": "b", "memory": "c"}
    first, second, third = checks.series_exist(world(known=frozenset({"c"})), selectors)
    assert first == Check(
        "metric http_requests",
        False,
        "Prometheus http://prometheus has no sample of a in the last 5 minutes",
        "correct metrics.http_requests or metrics.matchers in estate.yaml, or have Prometheus scrape it with the "
        "labels region and namespace",
    )
    assert second.remedy == "have Prometheus scrape it with the labels region and namespace"
    assert third == Check("metric memory", True, "c has samples")


def test_requests_are_read_with_the_estates_names_and_status_labels() -> None:
    assert checks.request_series(world()) == {
        "http_requests": 'akidb_http_requests_total{region="us-east-1",namespace="akidb"}',
        "http_status_label": 'akidb_http_requests_total{region="us-east-1",namespace="akidb",status!=""}',
        "http_duration": 'akidb_http_request_duration_seconds_bucket{region="us-east-1",namespace="akidb"}',
        "grpc_requests": 'akidb_grpc_requests_total{region="us-east-1",namespace="akidb"}',
        "grpc_status_label": 'akidb_grpc_requests_total{region="us-east-1",namespace="akidb",status!=""}',
        "grpc_duration": 'akidb_grpc_request_duration_seconds_bucket{region="us-east-1",namespace="akidb"}',
    }


def test_a_workloads_own_requests_are_looked_for_where_it_has_matchers() -> None:
    assert checks.own_series(world()) == {}
    rest = ESTATE.workloads["akidb-rest"].model_copy(update={"matchers": 'service="rest"'})
    estate = ESTATE.model_copy(update={"workloads": {**ESTATE.workloads, "akidb-rest": rest}})
    told = World(Target("us-east-1", estate, "run", None, None))
    assert checks.own_series(told) == {
        "requests of akidb-rest": 'akidb_http_requests_total{region="us-east-1",namespace="akidb",service="rest"}'
    }


@pytest.mark.parametrize(("days", "said"), [(365, False), (366, True)])
def test_a_price_book_older_than_a_year_warns(days: int, said: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "node_facts", lambda _: [])
    monkeypatch.setattr(checks, "usd_hour", lambda *_: (Decimal(1), []))
    book = load_aws_book(ESTATE)
    read = dt.datetime.fromisoformat(f"{book.date}T12:00:00+00:00") + dt.timedelta(days=days)
    target = Target("us-east-1", ESTATE, "run", None, SimpleNamespace())
    (check,) = checks.prices(World(target, read.timestamp))
    assert check.passed
    assert (f"the prices of EC2's price book are {days} days old ({book.date})" in check.reason) is said
