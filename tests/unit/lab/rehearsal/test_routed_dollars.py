"""What routed requests cost a month, by exact values."""

from __future__ import annotations

from decimal import Decimal

from include.estate import load_estate
from include.prices import load_aws_book
from lab.rehearsal import routed_dollars
from lab.rehearsal.evidence import Node

ESTATE = load_estate()
BOOK = load_aws_book(ESTATE)
AP = "ap-northeast-1"


def test_a_month_costs_each_share_at_its_price_and_is_unknown_where_one_that_serves_has_none() -> None:
    prices = {"spot": Decimal("0.04"), "jetson": Decimal("0.0039"), "lambda": None}
    shares = {"spot": 300.0, "jetson": 100.0, "lambda": 0.0}
    assert routed_dollars.month(shares, prices, Decimal(4000)) == Decimal("123.90")
    assert routed_dollars.month({**shares, "lambda": 1.0}, prices, Decimal(4000)) is None
    assert routed_dollars.month({}, {}, Decimal(4000)) is None


def test_a_pods_million_costs_its_cores_on_the_nodes_of_its_kind_and_others_their_list_price() -> None:
    node = Node("n", "pool", "c7g.2xlarge", "ap-northeast-1a", "on-demand", 8.0, in_node_group=False)
    usd = BOOK.on_demand(AP, "c7g.2xlarge")
    assert usd is not None
    wanted = Decimal(str(float(round(usd, 4)))) / 8 / (Decimal(280) * 3600 / 1_000_000)
    found = routed_dollars.price("on_demand", ESTATE, [node], BOOK, AP, Decimal(1))
    assert found is not None
    assert abs(found - wanted) < Decimal("1e-9")
    assert routed_dollars.price("jetson", ESTATE, [], BOOK, AP, Decimal(1)) == Decimal("0.0039")
    assert routed_dollars.price("spot", ESTATE, [node], BOOK, AP, Decimal(1)) is None


def test_requests_by_backend_are_read_from_the_routes_series() -> None:
    routing = ESTATE.edge.routing
    lines = [
        f'{routing.requests_metric}{{region="{AP}",{routing.backend_label}="spot",status="{status}"}} {count}'
        for status, count in (("200", 30), ("503", 2))
    ]
    assert routed_dollars.by_backend("\n".join(lines), ESTATE) == {AP: {"spot": 32.0}}
