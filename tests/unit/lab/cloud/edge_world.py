"""The estate's edge in memory: moto, repaired to answer as AWS does, with what the lab seeds."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from moto import mock_aws

from include.estate import load_estate
from lab.cloud import edge
from lab.cloud.cdn import seed_distribution
from lab.cloud.dns import seed_dns
from lab.cloud.functions import seed_functions
from lab.cloud.storage import seed_models

NOW = dt.datetime(2026, 11, 24, 12, 0, tzinfo=dt.UTC)
FUNCTION, REGIONAL = "akidb-edge-inference", "akidb-inference"
BUCKET = "akidb-ml-models"


class EdgeWorld:
    """One account. ``close`` ends it: moto's state and the switches are the process's."""

    def __init__(self) -> None:
        edge.as_aws()
        edge.reset()
        self.mock = mock_aws()
        self.mock.start()
        self.estate = load_estate()
        key = {"aws_access_key_id": "x", "aws_secret_access_key": "x", "region_name": "us-east-1"}
        self.session = boto3.Session(**key)
        self.lambdas = {region: self.client(region, "lambda") for region in self.estate.regions}
        self.aws, self.s3 = self.lambdas["us-east-1"], self.client("us-east-1", "s3")
        self.cloudfront, self.route53 = self.client("us-east-1", "cloudfront"), self.client("us-east-1", "route53")
        self.version = seed_functions(self.client("us-east-1", "iam"), self.lambdas, self.estate)
        self.distribution = seed_distribution(self.cloudfront, self.estate, self.version)

    def client(self, region: str, service: str) -> Any:
        """A client that tries once, so that a refusal is seen."""
        return self.session.client(service, region_name=region, config=Config(retries={"total_max_attempts": 1}))

    def seed_rest(self) -> None:
        """DNS and models, which only some tests need."""
        seed_dns(self.route53, self.estate)
        seed_models(self.s3, self.estate, NOW)

    def close(self) -> None:
        edge.reset()
        self.mock.stop()

    # CloudFront -----------------------------------------------------------------------------------------------------

    def config(self) -> tuple[dict[str, Any], str]:
        """The distribution's configuration and its ETag."""
        found = self.cloudfront.get_distribution_config(Id=self.distribution)
        return found["DistributionConfig"], found["ETag"]

    def update(self, **members: Any) -> str:
        """The distribution with other members; the new ETag."""
        config, etag = self.config()
        wanted = {**config, **members}
        done = self.cloudfront.update_distribution(Id=self.distribution, IfMatch=etag, DistributionConfig=wanted)
        return str(done["ETag"])

    def associate(self, arn: str, event: str = "origin-request") -> str:
        """Run a version at an event of the default behaviour."""
        behaviour = self.config()[0]["DefaultCacheBehavior"]
        runs = [{"LambdaFunctionARN": arn, "EventType": event, "IncludeBody": False}]
        associations = {"Quantity": 1, "Items": runs}
        return self.update(DefaultCacheBehavior={**behaviour, "LambdaFunctionAssociations": associations})

    def statuses(self, looks: int) -> list[str]:
        """What so many reads say."""
        read = self.cloudfront.get_distribution
        return [read(Id=self.distribution)["Distribution"]["Status"] for _ in range(looks)]

    # Lambda ---------------------------------------------------------------------------------------------------------

    def revision(self) -> str:
        """The edge function's revision; this is a look at an update."""
        return str(self.aws.get_function_configuration(FunctionName=FUNCTION)["RevisionId"])

    def resize(self, memory: int) -> None:
        """Change $LATEST and wait."""
        self.aws.update_function_configuration(FunctionName=FUNCTION, MemorySize=memory)
        self.revision()

    def publish(self, **settings: Any) -> str:
        """$LATEST with other settings as a new version; its ARN."""
        self.aws.update_function_configuration(FunctionName=FUNCTION, **settings)
        self.revision()
        return str(self.aws.publish_version(FunctionName=FUNCTION)["FunctionArn"])


@contextmanager
def refused(code: str, says: str = "", status: int = 400) -> Iterator[None]:
    """What is inside is refused with AWS's code and HTTP status, in words that hold ``says``."""
    with pytest.raises(ClientError) as caught:
        yield
    response = caught.value.response
    assert response["Error"]["Code"] == code
    assert response["ResponseMetadata"]["HTTPStatusCode"] == status
    assert says in response["Error"]["Message"]


def plain(answer: dict[str, Any]) -> dict[str, Any]:
    """An answer without what tells of the request."""
    return {key: value for key, value in answer.items() if key != "ResponseMetadata"}
