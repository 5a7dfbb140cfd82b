"""The edge in the lab's own emulator, over HTTP: seeded, as strict as in memory, and with faults from its file."""

from __future__ import annotations

import datetime as dt
import json
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from botocore.config import Config

from include.clients.aws import RETRIES, Aws, AwsError
from include.estate import load_estate
from lab.cloud import edge, edge_costs, throttling
from lab.cloud.dns import seed_dns
from lab.cloud.emulator import wait_until_ready
from lab.cloud.seed import CloudClients, lab_session, seed_edge
from tests.unit.lab.cloud.edge_world import refused

REPOSITORY = Path(__file__).resolve().parents[4]
ESTATE = load_estate()


class Lab(NamedTuple):
    endpoint: str
    folder: Path
    aws: CloudClients

    def once(self, service: str) -> Any:
        """A client that tries once."""
        config = Config(retries={"total_max_attempts": 1})
        return lab_session().client(service, endpoint_url=self.endpoint, config=config)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    folder = tmp_path_factory.mktemp("cloud")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "lab.cloud.emulator", "--port", str(port), "--folder", str(folder)]
    endpoint = f"http://127.0.0.1:{port}"
    with subprocess.Popen(command, cwd=REPOSITORY) as process:
        try:
            wait_until_ready(endpoint, 120)
            aws = CloudClients(endpoint, "us-east-1")
            seed_dns(aws.route53, ESTATE)
            seed_edge(endpoint, ESTATE, days=1)
            yield Lab(endpoint, folder, aws)
        finally:
            process.terminate()


def test_the_seeded_edge_costs_what_week_13_did(lab: Lab) -> None:
    found = edge_costs.usd_month(edge_costs.clients_at(lab.endpoint), ESTATE, dt.datetime.now(dt.UTC))
    assert {name: float(usd) for name, usd in found.items()} == {
        "cloudfront": 600,
        "lambda_edge": 420,
        "s3": 150,
        "route_53": 100,
    }


def test_what_is_refused_in_memory_is_refused_over_http(lab: Lab) -> None:
    listed = lab.aws.cloudfront.list_distributions()["DistributionList"]["Items"]
    assert [(one["PriceClass"], one["Status"]) for one in listed] == [("PriceClass_All", "Deployed")]
    where = {"Id": listed[0]["Id"]}
    config = lab.aws.cloudfront.get_distribution_config(**where)["DistributionConfig"]
    with refused("PreconditionFailed", status=412):
        lab.aws.cloudfront.update_distribution(**where, IfMatch="E0", DistributionConfig=config)
    functions = getattr(lab.aws, "lambda")
    live = {"FunctionName": ESTATE.edge.functions.regional, "Qualifier": "live"}
    with refused("ProvisionedConcurrencyConfigNotFoundException", status=404):
        functions.get_provisioned_concurrency_config(**live)
    with refused("MalformedXML"):
        lab.aws.s3.put_bucket_lifecycle_configuration(
            Bucket=ESTATE.edge.models.bucket, LifecycleConfiguration={"Rules": []}
        )


def test_the_file_of_faults_holds_a_deployment_and_throttles_a_service(lab: Lab) -> None:
    path = lab.folder / edge.FILE
    path.write_text(json.dumps({"deploying": {"hold": True}, "throttle": {"lambda": 1}}))
    with refused("TooManyRequestsException", status=429):
        lab.once("lambda").list_functions()
    cloudfront = lab.aws.cloudfront
    where = {"Id": cloudfront.list_distributions()["DistributionList"]["Items"][0]["Id"]}
    found = cloudfront.get_distribution_config(**where)
    wanted = {**found["DistributionConfig"], "PriceClass": "PriceClass_200"}
    cloudfront.update_distribution(**where, IfMatch=found["ETag"], DistributionConfig=wanted)
    looks = [cloudfront.get_distribution(**where)["Distribution"]["Status"] for _ in range(3)]
    assert looks == ["InProgress"] * 3
    path.unlink()
    assert cloudfront.get_distribution(**where)["Distribution"]["Status"] == "Deployed"


@pytest.mark.parametrize("service", ["cloudfront", "lambda", "route53", "s3"])
def test_a_write_of_a_lever_that_is_throttled_waits_and_goes_through(lab: Lab, service: str) -> None:
    aws, path = Aws(partial(lab_session().client, endpoint_url=lab.endpoint)), lab.folder / edge.FILE
    write = {"cloudfront": same_distribution, "lambda": same_memory, "route53": tagged, "s3": one_rule}[service](aws)
    path.write_text(json.dumps({"throttle": {service: 2}}))
    assert write()["ResponseMetadata"]["RetryAttempts"] == 2
    path.write_text(json.dumps({"throttle": {service: 2 * RETRIES}}))
    with pytest.raises(AwsError, match=rf"{service}.*{throttling.REFUSALS[service][1]}"):
        write()
    path.unlink()
    throttling_has_ended(lab, service)


def same_distribution(aws: Aws) -> Callable[[], Any]:
    (found,) = aws.pages("cloudfront", "list_distributions", "DistributionList.Items")
    now = aws.call("cloudfront", "get_distribution_config", Id=found["Id"])
    asked = {"Id": found["Id"], "IfMatch": now["ETag"], "DistributionConfig": now["DistributionConfig"]}
    return partial(aws.call, "cloudfront", "update_distribution", **asked)


def same_memory(aws: Aws) -> Callable[[], Any]:
    name = ESTATE.edge.functions.regional
    size = aws.call("lambda", "get_function_configuration", FunctionName=name)["MemorySize"]
    return partial(aws.call, "lambda", "update_function_configuration", FunctionName=name, MemorySize=size)


def tagged(aws: Aws) -> Callable[[], Any]:
    check = next(iter(aws.pages("route53", "list_health_checks", "HealthChecks")))["Id"]
    tags = {"ResourceType": "healthcheck", "ResourceId": check, "AddTags": [{"Key": "seen", "Value": "yes"}]}
    return partial(aws.call, "route53", "change_tags_for_resource", **tags)


def one_rule(aws: Aws) -> Callable[[], Any]:
    rule = {"ID": "old", "Status": "Enabled", "Filter": {"Prefix": "old/"}, "Expiration": {"Days": 400}}
    asked = {"Bucket": ESTATE.edge.models.bucket, "LifecycleConfiguration": {"Rules": [rule]}}
    return partial(aws.call, "s3", "put_bucket_lifecycle_configuration", **asked)


def throttling_has_ended(lab: Lab, service: str) -> None:
    request = {"cloudfront": "list_distributions", "lambda": "list_functions", "route53": "list_hosted_zones"}
    assert (
        getattr(lab.once(service), request.get(service, "list_buckets"))()["ResponseMetadata"]["HTTPStatusCode"] == 200
    )
