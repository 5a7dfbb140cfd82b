"""The emulator's CloudWatch: percentiles, and figures of the edge that follow what stands."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from lab.cloud import figures
from lab.cloud.moto_cloudwatch import percentile
from lab.cloud.pace import CLOCK
from tests.unit.lab.cloud.edge_world import NOW, REGIONAL, EdgeWorld, refused

CDN, LAMBDA = "AWS/CloudFront", "AWS/Lambda"
LIVE = {"FunctionName": REGIONAL, "Resource": f"{REGIONAL}:live"}
MINUTE = dt.timedelta(minutes=1)


@pytest.fixture(autouse=True)
def now(world: EdgeWorld) -> None:
    CLOCK.now = NOW.timestamp


def ask(world: EdgeWorld, name: str, of: dict[str, str], stat: str, **where: Any) -> list[float]:
    """The values of the ``span`` before NOW, the oldest first."""
    span, period = where.get("span", MINUTE), where.get("period", 60)
    namespace = where.get("namespace", CDN if "DistributionId" in of else LAMBDA)
    dimensions = [{"Name": key, "Value": value} for key, value in of.items()]
    metric = {"Namespace": namespace, "MetricName": name, "Dimensions": dimensions}
    query = {"Id": "a", "MetricStat": {"Metric": metric, "Period": period, "Stat": stat}}
    answer = world.client(where.get("region", "us-east-1"), "cloudwatch").get_metric_data(
        MetricDataQueries=[query],
        StartTime=NOW - span,
        EndTime=where.get("end", NOW),
        ScanBy="TimestampAscending",
    )
    return [float(value) for value in answer["MetricDataResults"][0]["Values"]]


def test_a_month_of_the_distribution_is_the_plans_traffic(world: EdgeWorld) -> None:
    whole = {"DistributionId": world.distribution, "Region": "Global"}
    month: dict[str, Any] = {"span": dt.timedelta(days=30), "period": 86_400}
    assert len(ask(world, "Requests", whole, "Sum", **month)) == 30
    assert sum(ask(world, "Requests", whole, "Sum", **month)) == pytest.approx(670e6, rel=1e-6)
    assert sum(ask(world, "BytesDownloaded", whole, "Sum", **month)) == pytest.approx(50e12, rel=1e-4)
    assert ask(world, "CacheHitRate", whole, "Average") == [97.0]
    assert ask(world, "Requests", whole, "Sum", region="eu-central-1") == []
    assert ask(world, "Requests", {**whole, "DistributionId": "E0"}, "Sum") == []
    assert ask(world, "Requests", {"DistributionId": world.distribution}, "Sum") == []


def replica(version: int) -> dict[str, str]:
    name = "us-east-1.akidb-edge-inference"
    return {"FunctionName": name, "Resource": f"{name}:{version}"}


def test_durations_are_those_of_each_versions_memory(world: EdgeWorld) -> None:
    fortnight: dict[str, Any] = {"span": dt.timedelta(days=14), "period": 14 * 86_400, "region": "eu-central-1"}
    stats = ("SampleCount", "Average", "p50", "p95", "Minimum", "Maximum")
    first = [ask(world, "Duration", replica(1), stat, **fortnight)[0] for stat in stats]
    trial = [ask(world, "Duration", replica(2), stat, **fortnight)[0] for stat in stats]
    assert first == [3_126_667, 30, 28.5, 44, 21, 90]
    assert trial == [25_000, 34, 32.5, 48, 25, 94]
    assert ask(world, "Duration", replica(2), "SampleCount", region="eu-central-1") == []


def test_points_follow_what_is_associated_now(world: EdgeWorld) -> None:
    later = NOW + 5 * MINUTE
    CLOCK.now = (NOW + MINUTE).timestamp
    world.associate(f"{world.version.rpartition(':')[0]}:2")
    CLOCK.now = later.timestamp
    of_first = ask(world, "Invocations", replica(1), "Sum", span=MINUTE, end=later)
    of_second = ask(world, "Invocations", replica(2), "Sum", span=MINUTE, end=later)
    assert of_first == [155, 155]  # the minute before NOW, and the one until the change
    assert of_second == [155] * 4


def test_a_regions_function_spills_over_only_while_concurrency_is_provisioned(world: EdgeWorld) -> None:
    spilled = "ProvisionedConcurrencySpilloverInvocations"
    where = {"region": "ap-northeast-1"}
    assert ask(world, "Invocations", LIVE, "Sum", **where) == [180]
    assert ask(world, spilled, LIVE, "Sum", **where) == []
    aws = world.lambdas["ap-northeast-1"]
    at_live = {"FunctionName": REGIONAL, "Qualifier": "live"}
    aws.put_provisioned_concurrency_config(**at_live, ProvisionedConcurrentExecutions=2)
    assert ask(world, spilled, LIVE, "Sum", **where) == []
    for _ in range(2):
        aws.get_provisioned_concurrency_config(**at_live)
    assert ask(world, spilled, LIVE, "Sum", **where) == [0]
    assert ask(world, "ProvisionedConcurrencyInvocations", LIVE, "Sum", **where) == [180]
    figures.LEVELS.spillover_share = 0.1
    assert ask(world, spilled, LIVE, "Sum", **where) == [18]
    assert ask(world, spilled, LIVE, "Sum", region="us-east-1") == []


def test_levels_are_what_a_fault_chooses(world: EdgeWorld) -> None:
    figures.LEVELS.reset(error_share=0.05, slower_ms=100.0)
    assert ask(world, "Errors", LIVE, "Sum") == [9]
    assert ask(world, "Duration", LIVE, "p95") == [144]
    assert ask(world, "Throttles", LIVE, "Sum") == [0]


def test_points_that_were_put_are_instead_of_the_figures(world: EdgeWorld) -> None:
    cloudwatch = world.client("us-east-1", "cloudwatch")
    dimensions = [{"Name": key, "Value": value} for key, value in LIVE.items()]
    moment = NOW - MINUTE / 2
    points = [
        {"MetricName": "Duration", "Dimensions": dimensions, "Value": float(value), "Timestamp": moment}
        for value in range(1, 101)
    ]
    cloudwatch.put_metric_data(Namespace=LAMBDA, MetricData=points)
    assert ask(world, "Duration", LIVE, "p95") == [95.05]
    assert ask(world, "Duration", LIVE, "SampleCount") == [100]
    assert ask(world, "Invocations", LIVE, "Sum") == [180]


def test_the_future_and_a_span_without_a_minute_have_no_point(world: EdgeWorld) -> None:
    assert ask(world, "Invocations", LIVE, "Sum", end=NOW + 10 * MINUTE) == [180]
    with refused("ValidationError", "multiple of 60"):
        ask(world, "Invocations", LIVE, "Sum", period=90)


@pytest.mark.parametrize(("percent", "value"), [(0, 1.0), (50, 3.0), (95, 4.8), (100, 5.0)])
def test_a_percentile_lies_between_the_two_nearest_points(percent: float, value: float) -> None:
    assert percentile([1.0, 2.0, 3.0, 4.0, 5.0], percent) == pytest.approx(value)
    assert percentile([], percent) is None
