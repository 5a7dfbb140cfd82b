"""OpenCost's price file: a price for every node that the bridge can make, found by the node's annotation."""

from __future__ import annotations

import csv
import io
from decimal import Decimal
from pathlib import Path

from include.prices import load_aws_book
from lab.cluster.instances import price_key
from lab.cluster.opencost import environment, price_file, prices

REGION = "ap-northeast-1"
BOOK = load_aws_book()


def test_each_node_finds_its_own_price() -> None:
    known = dict(prices(BOOK, REGION))
    group = {"eks.amazonaws.com/capacityType": "ON_DEMAND", "node.kubernetes.io/instance-type": "c7g.2xlarge"}
    spot = {
        "karpenter.sh/capacity-type": "spot",
        "node.kubernetes.io/instance-type": "c7g.xlarge",
        "topology.kubernetes.io/zone": f"{REGION}c",
    }
    assert Decimal(known[price_key(group)]) == BOOK.on_demand(REGION, "c7g.2xlarge")
    assert Decimal(known[price_key(spot)]) == BOOK.spot(REGION, "c7g.xlarge", f"{REGION}c")
    fallen_back = {**spot, "karpenter.sh/capacity-type": "on-demand"}
    assert Decimal(known[price_key(fallen_back)]) == BOOK.on_demand(REGION, "c7g.xlarge")


def test_a_row_has_neither_region_nor_type_so_that_no_class_price_wins() -> None:
    rows = list(csv.DictReader(io.StringIO(price_file(BOOK, REGION))))
    assert len(rows) == len(dict(prices(BOOK, REGION)))
    assert {(row["Region"], row["InstanceType"], row["AssetClass"], row["InstanceIDField"]) for row in rows} == {
        ("", "", "node", "metadata.annotations.lab.akidb.io/price")
    }
    assert all(row["InstanceID"] == row["InstanceID"].lower() for row in rows)  # OpenCost looks for lower case


def test_each_opencost_sees_its_own_region_alone() -> None:
    where = {
        "opencost": "http://127.0.0.1:21001",
        "apiserver": "https://127.0.0.1:21002",
        "opencost_kubeconfig": "/lab/opencost.kubeconfig",
    }
    env = environment(Path("/lab"), REGION, where, "http://127.0.0.1:21003")
    assert (env["API_PORT"], env["KUBERNETES_PORT"]) == ("21001", "tcp://127.0.0.1:21002")
    assert (env["CLUSTER_ID"], env["PROM_CLUSTER_ID_LABEL"], env["CURRENT_CLUSTER_ID_FILTER_ENABLED"]) == (
        *(REGION, "region", "true"),
    )
    assert env["CSV_PATH"] == "/lab/prices.csv"
