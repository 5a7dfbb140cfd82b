"""The lab's own reading of the edge, from AWS in memory: what differs, what is only named anew, and its dollars."""

from __future__ import annotations

import datetime as dt
import io
import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import boto3
import pytest
from moto import mock_aws

from include.estate import load_estate
from include.rollout.lever import differences
from lab.cloud import edge as clouds
from lab.cloud.cdn import seed_distribution
from lab.cloud.dns import seed_dns
from lab.cloud.functions import await_updated, seed_functions
from lab.cloud.storage import seed_models
from lab.rehearsal import edge_dollars, undo
from lab.rehearsal.edge import EdgeReader, reader

ESTATE = load_estate()
NOW = dt.datetime.now(dt.UTC)
NAMES = ESTATE.edge.functions


@pytest.fixture
def aws() -> Iterator[EdgeReader]:
    clouds.as_aws()
    clouds.reset()
    with mock_aws():
        found = reader(ESTATE, {"aws_endpoint": None, "plant": "http://plant"}, boto3.client)
        lambdas = {region: found.client("lambda", region) for region in {"us-east-1", *ESTATE.regions}}
        version = seed_functions(found.client("iam", "us-east-1"), lambdas, ESTATE)
        seed_distribution(found.client("cloudfront", "us-east-1"), ESTATE, version)
        seed_dns(found.client("route53", "us-east-1"), ESTATE)
        seed_models(found.client("s3", "us-east-1"), ESTATE, NOW)
        yield found


def changed(before: dict[str, Any], aws: EdgeReader) -> list[tuple[str, str]]:
    """The lever of each difference, and where it is."""
    return [(undo.lever_of(found), found.path) for found in differences(before, aws.specs())]


def edit_distribution(aws: EdgeReader, **fields: Any) -> None:
    cloudfront = aws.client("cloudfront", "us-east-1")
    (found,) = cloudfront.list_distributions()["DistributionList"]["Items"]
    read = cloudfront.get_distribution_config(Id=found["Id"])
    config = {**read["DistributionConfig"], **fields}
    cloudfront.update_distribution(Id=found["Id"], IfMatch=read["ETag"], DistributionConfig=config)


def test_two_reads_are_equal_and_every_part_holds_something(aws: EdgeReader) -> None:
    specs = aws.specs()
    assert changed(specs, aws) == []
    assert all(specs.values())
    json.dumps(specs)
    assert specs["functions"]["edge"]["MemorySize"] == 512
    assert specs["functions"]["us-east-1"]["provisioned"] == 0
    # Three latency records, three weighted ones, the devices', one without a check; SOA and NS are the zone's own.
    assert len(specs["record_sets"]) == 8 + 2


def test_a_price_class_is_cdn_price_classs_and_an_association_lambda_edges(aws: EdgeReader) -> None:
    before = aws.specs()
    edit_distribution(aws, PriceClass="PriceClass_100")
    assert changed(before, aws) == [("cdn_price_class", "distribution.PriceClass")]
    edit_distribution(aws, PriceClass="PriceClass_All", Comment="somebody's")
    assert changed(before, aws) == [("unknown", "distribution.Comment")]


def test_a_version_that_does_the_same_is_no_difference_and_one_of_another_size_is(aws: EdgeReader) -> None:
    before = aws.specs()
    assert before["distribution"]["DefaultCacheBehavior"]["LambdaFunctionAssociations"]["Items"][0][
        "LambdaFunctionARN"
    ] == {"function": NAMES.edge, **_of(aws, "1")}
    behaviour = aws_config(aws)["DefaultCacheBehavior"]
    arn = behaviour["LambdaFunctionAssociations"]["Items"][0]["LambdaFunctionARN"]
    behaviour["LambdaFunctionAssociations"]["Items"][0]["LambdaFunctionARN"] = f"{arn.rpartition(':')[0]}:2"
    edit_distribution(aws, DefaultCacheBehavior=behaviour)
    ((lever, path),) = changed(before, aws)
    assert lever == "lambda_edge"
    assert path == "distribution.DefaultCacheBehavior.LambdaFunctionAssociations.Items"


def aws_config(aws: EdgeReader) -> dict[str, Any]:
    found = edge_dollars.distribution(aws.client, ESTATE)
    assert found is not None
    return json.loads(json.dumps(found))  # a copy


def _of(aws: EdgeReader, version: str) -> dict[str, Any]:
    return aws._configuration("us-east-1", NAMES.edge, version)


def test_provisioned_concurrency_and_the_size_of_the_function_are_lambda_edges(aws: EdgeReader) -> None:
    before, functions = aws.specs(), aws.client("lambda", "us-east-1")
    functions.put_provisioned_concurrency_config(
        FunctionName=NAMES.regional, Qualifier=NAMES.regional_alias, ProvisionedConcurrentExecutions=2
    )
    functions.update_function_configuration(FunctionName=NAMES.edge, MemorySize=384)
    assert changed(before, aws) == [
        ("lambda_edge", "functions.edge.MemorySize"),
        ("lambda_edge", "functions.us-east-1.provisioned"),
    ]


def test_a_check_made_anew_with_the_same_settings_is_no_difference_and_one_left_over_is(aws: EdgeReader) -> None:
    before, route53 = aws.specs(), aws.client("route53", "us-east-1")
    old = next(iter(route53.list_health_checks()["HealthChecks"]))
    new = route53.create_health_check(CallerReference="again", HealthCheckConfig=old["HealthCheckConfig"])
    assert [lever for lever, _ in changed(before, aws)] == ["dns_health_checks"]
    point(aws, old["Id"], new["HealthCheck"]["Id"])
    route53.delete_health_check(HealthCheckId=old["Id"])
    assert changed(before, aws) == []


def point(aws: EdgeReader, old: str, new: str) -> None:
    """Every record set of the check ``old`` uses ``new``."""
    route53 = aws.client("route53", "us-east-1")
    (zone,) = route53.list_hosted_zones()["HostedZones"]
    for _, record, check in list(aws._records()):
        if check == old:
            changes = [{"Action": "UPSERT", "ResourceRecordSet": {**record, "HealthCheckId": new}}]
            route53.change_resource_record_sets(HostedZoneId=zone["Id"], ChangeBatch={"Changes": changes})


def test_a_lifecycle_rule_is_storage_tierings(aws: EdgeReader) -> None:
    before = aws.specs()
    add_rule(aws)
    assert changed(before, aws) == [("storage_tiering", "lifecycle.akidb-tier-1")]


def add_rule(aws: EdgeReader) -> None:
    s3, bucket = aws.client("s3", "us-east-1"), ESTATE.edge.models.bucket
    rule = {"ID": "akidb-tier-1", "Status": "Enabled", "Filter": {"Prefix": ESTATE.edge.models.prefix}}
    moves = [{"Days": 30, "StorageClass": "DEEP_ARCHIVE"}]
    rules = [*edge_dollars.rules_of(s3, bucket)["Rules"], {**rule, "Transitions": moves}]
    s3.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": rules})


def dollars(aws: EdgeReader) -> dict[str, Decimal | None]:
    found = edge_dollars.usd_month(aws.client, ESTATE, NOW)
    return {name: None if usd is None else round(usd, 2) for name, usd in found.items()}


def test_dollars_at_list_prices_before_the_day(aws: EdgeReader) -> None:
    assert dollars(aws) == {
        # 50 TB and 670 M requests by country and tier
        "cloudfront": Decimal("4983.87"),
        # 20.1 M misses x ($0.60 a million + 30 ms x 0.5 GB x $0.00005001)
        "lambda_edge": Decimal("27.14"),
        # 72 x 77.6 GiB and others' 4 x 4.7 GiB, all STANDARD
        "s3": Decimal("128.95"),
        # 3 checks within AWS with 4 options each, one of an address with 3 options
        "route_53": Decimal("18.75"),
    }


def test_each_lever_changes_its_own_component_alone(aws: EdgeReader) -> None:
    before = dollars(aws)
    edit_distribution(aws, PriceClass="PriceClass_100")
    add_rule(aws)
    functions = aws.client("lambda", "us-east-1")
    functions.put_provisioned_concurrency_config(
        FunctionName=NAMES.regional, Qualifier=NAMES.regional_alias, ProvisionedConcurrentExecutions=2
    )
    await_updated(functions, NAMES.regional)
    after = dollars(aws)
    assert after["route_53"] == before["route_53"]
    assert after["cloudfront"] == Decimal("4553.31")
    # 2 x 0.5 GB x 730 h x 3,600 s x $0.0000033334
    assert after["lambda_edge"] == Decimal("35.90")
    assert after["s3"] is not None
    assert Decimal(20) < after["s3"] < Decimal(50)  # what is younger than 30 days stays in STANDARD


def test_without_a_distribution_its_dollars_are_not_known() -> None:
    clouds.as_aws()
    clouds.reset()
    with mock_aws():
        found = reader(ESTATE, {"aws_endpoint": None, "plant": ""}, boto3.client)
        found.client("s3", "us-east-1").create_bucket(Bucket=ESTATE.edge.models.bucket)
        assert dollars(found) == {
            "cloudfront": None, "lambda_edge": None, "s3": Decimal(0), "route_53": Decimal(0),
        }  # fmt: skip


def test_latency_is_read_from_the_plant_and_a_silent_probe_is_null(
    aws: EdgeReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = [{"region": "tokyo", "p95_ms": 11.5}, {"region": "mumbai", "p95_ms": None}]
    asked: list[str] = []

    def urlopen(url: str, timeout: float) -> Any:
        asked.append(url)
        return io.BytesIO(json.dumps(body).encode())

    monkeypatch.setattr("urllib.request.urlopen", urlopen)
    assert aws.latency() == {"tokyo": 11.5, "mumbai": None}
    assert asked == ["http://plant/probes"]
