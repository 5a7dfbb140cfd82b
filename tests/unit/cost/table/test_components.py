"""Rules of components as SQL: what matches, what matches nothing, and what matches two."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import duckdb
import pytest

from include.cost.table.columns import COLUMNS, CostError
from include.cost.table.components import check_components, component_sql
from include.estate import Component, ComponentRule, Estate, load_estate


def estate_with(**rules: list[dict[str, Any]]) -> Estate:
    estate = load_estate()
    components = {
        name: Component(
            book="list", baseline_usd_month=Decimal(1), rules=tuple(ComponentRule(**rule) for rule in found)
        )
        for name, found in rules.items()
    }
    return estate.model_copy(update={"cost": estate.cost.model_copy(update={"components": components})})


def relation(source: str = "aws", **values: str | None) -> str:
    made = dict.fromkeys(COLUMNS, "NULL") | {name: f"'{value}'" for name, value in values.items() if value}
    columns = ", ".join(f'CAST({value} AS {COLUMNS[name]}) AS "{name}"' for name, value in made.items())
    return f"(SELECT {columns}, '{source}' AS source)"


def component(estate: Estate, source: str = "aws", **values: str | None) -> str:
    with duckdb.connect() as connection:
        found = connection.execute(f"SELECT {component_sql(estate)} FROM {relation(source, **values)}").fetchone()
        assert found
        return str(found[0])


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({"ServiceName": "Amazon Elastic Compute Cloud"}, "central_dc"),
        ({"ServiceName": "amazonec2"}, "central_dc"),
        ({"ServiceName": "Amazon Elastic Kubernetes Service"}, "central_dc"),
        ({"ServiceName": "Amazon CloudFront"}, "cloudfront"),
        ({"ServiceName": "AWS Lambda"}, "lambda_edge"),
        ({"ServiceName": "Amazon Simple Storage Service"}, "s3"),
        ({"ServiceName": "Amazon Route 53"}, "route_53"),
        ({"ServiceName": "AWS Glue"}, "unallocated"),
        ({"ServiceName": None}, "unallocated"),
        ({"source": "jetson", "ServiceName": "Edge power"}, "jetson"),
        ({"source": "contracts", "ResourceId": "monitoring"}, "monitoring"),
        ({"source": "contracts", "ResourceId": "cost-platform"}, "cost_platform"),
        ({"source": "contracts", "ResourceId": "other"}, "unallocated"),
        ({"source": "aws", "ResourceId": "monitoring"}, "unallocated"),
    ],
)
def test_the_estates_own_rules(values: dict[str, str], name: str) -> None:
    assert component(load_estate(), **values) == name


@pytest.mark.parametrize(
    ("rule", "values", "matches"),
    [
        ({"resources": ["arn:*:akidb_*"]}, {"ResourceId": "arn:aws:akidb_1"}, True),
        ({"resources": ["arn:*:akidb_*"]}, {"ResourceId": "arn:aws:akidbx1"}, False),
        ({"resources": ["50%"]}, {"ResourceId": "50% off"}, False),
        ({"resources": ["50%*"]}, {"ResourceId": "50% off"}, True),
        ({"skus": ["*SpotUsage:*"]}, {"SkuMeter": "EUC1-SpotUsage:c7g.large"}, True),
        ({"skus": ["SpotUsage:*"]}, {"SkuMeter": "EUC1-SpotUsage:c7g.large"}, False),
        ({"tags": {"CostCenter": "akidb"}}, {"Tags": '{"CostCenter":"akidb"}'}, True),
        ({"tags": {"CostCenter": "akidb"}}, {"Tags": '{"CostCenter":"other"}'}, False),
        ({"tags": {"CostCenter": "akidb"}}, {"Tags": None}, False),
        ({"tags": {"aws:eks.x": "y"}}, {"Tags": '{"aws:eks.x":"y"}'}, True),
        ({"services": ["it''s"]}, {"ServiceName": "it''''s"}, True),
        ({"services": ["a"], "skus": ["b"]}, {"ServiceName": "A", "SkuMeter": "c"}, False),
        ({"services": ["a"], "skus": ["b", "c*"]}, {"ServiceName": "A", "SkuMeter": "cd"}, True),
    ],
)
def test_what_a_rule_matches(rule: dict[str, Any], values: dict[str, str], matches: bool) -> None:
    assert component(estate_with(one=[rule]), **values) == ("one" if matches else "unallocated")


def test_any_rule_of_a_component_is_enough() -> None:
    estate = estate_with(one=[{"services": ["a"]}, {"services": ["b"]}])
    assert component(estate, ServiceName="B") == "one"


def test_a_row_that_matches_two_is_an_error_that_names_both() -> None:
    estate = estate_with(one=[{"services": ["a"]}], two=[{"skus": ["m*"]}], three=[{"services": ["z"]}])
    row = {"ServiceName": "A", "SkuMeter": "meter", "ResourceId": "i-1", "x_SourceFile": "f.csv", "x_SourceRow": "7"}
    with duckdb.connect() as connection:
        with pytest.raises(CostError) as caught:
            check_components(connection, relation(**row), estate)
        assert str(caught.value) == (
            "f.csv row 7 (aws, A, meter, i-1) matches the components one and two: make the rules of cost.components in "
            "the estate's file exclude each other"
        )
        check_components(connection, relation(**row | {"SkuMeter": "other"}), estate)
