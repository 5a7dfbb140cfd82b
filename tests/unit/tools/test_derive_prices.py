"""The derivation of the price book: which rows are kept, and that the book's own reader understands them."""

from __future__ import annotations

from decimal import Decimal

from include.prices import SpotAdvice, parse_aws_book
from tools.derive_prices import derive


def source(name: str, **other: str) -> dict[str, str]:
    family, size = name.split(".")
    row = {
        "instance_type": name,
        "family": family,
        "category": name[0],
        "size": size,
        "arch": "arm64",
        "vcpu": "8",
        "memory_mib": "16384",
        "allocatable_cpu": "7.91",
        "allocatable_memory_mib": "14103",
        "on_demand_usd_hour_us_east_1": "0.29",
    }
    return row | other


def test_derive_keeps_what_is_needed_and_leaves_unknown_empty() -> None:
    types = [
        source("m7g.2xlarge"),
        source("c7g.2xlarge"),
        source("c7g.metal"),
        source("x2gd.2xlarge"),
        source("c8g.2xlarge", on_demand_usd_hour_us_east_1=""),
        source("c7i.2xlarge", arch="amd64"),
        source("c5.2xlarge", arch="amd64"),
    ]
    advice = [
        {"region": "us-east-1", "instance_type": "c7g.2xlarge", "savings_pct": "69", "interruption_band": "0"},
        {"region": "eu-west-1", "instance_type": "c7g.2xlarge", "savings_pct": "11", "interruption_band": "4"},
    ]
    text = derive(types, advice)
    header, rows = parse_aws_book("derived", text.splitlines())
    assert header["date"] == "2026-07-20"
    assert [row.instance.name for row in rows] == ["c7g.2xlarge", "c7i.2xlarge", "m7g.2xlarge"]
    assert rows[0].spot == {"us-east-1": SpotAdvice(Decimal("0.69"), 0)}
    assert rows[2].spot == {}
    assert text.splitlines()[-1] == "m7g.2xlarge,m,arm64,8,16384,7.91,14103,0.29,,,,,,"
