"""CloudFront, Lambda and CloudWatch in memory (moto, repaired to answer as AWS does), as the lab seeds them."""

from __future__ import annotations

import datetime as dt
import functools
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import boto3
from moto import mock_aws

from include.clients.aws import Aws
from include.clients.probes import ProbeResult
from include.estate import load_estate
from include.levers.lambda_edge import LambdaEdge
from include.levers.lambda_edge.settings import LambdaSettings
from include.levers.world import World as LeverWorld
from include.rollout.lever import Target
from include.rollout.place import ESTATE_WIDE
from include.rollout.settings import build
from lab.cloud import edge_functions, figures, moto_cloudfront, moto_cloudwatch, moto_lambda, moto_provisioned
from lab.cloud.cdn import seed_distribution
from lab.cloud.functions import seed_functions
from lab.cloud.pace import CLOCK as CLOUDS_CLOCK

Object = dict[str, Any]
EDGE, REGIONAL, ALIAS = "akidb-edge-inference", "akidb-inference", "live"
DEFAULT = "default origin-request"
REGIONS = ("us-east-1", "eu-central-1", "ap-northeast-1")


class Clock:
    """A clock that sleeping moves."""

    def __init__(self) -> None:
        self.at = dt.datetime.now(dt.UTC).timestamp()

    def now(self) -> float:
        return self.at

    def sleep(self, seconds: float) -> None:
        self.at += seconds


SEEDING = 60.0  # seconds that the first deployment takes
CLOCK = Clock()
LEVER = LambdaEdge(CLOCK.now, CLOCK.sleep)


def chosen(**more: Any) -> LambdaSettings:
    """The settings of a run: the estate's, with ``more``."""
    return build(LambdaSettings, more, load_estate())


ASKED: set[str] = set()  # the operations that the lever of the newest world has called


@functools.cache
def client(region: str, service: str) -> Any:
    """A boto3 client: made once, as that takes longer than most tests."""
    key = {"aws_access_key_id": "x", "aws_secret_access_key": "x"}
    return boto3.Session(**key, region_name=region).client(service)


@functools.cache
def watched_client(region: str, service: str) -> Any:
    """The lever's own, whose operations are in ASKED."""
    key = {"aws_access_key_id": "x", "aws_secret_access_key": "x"}
    made = boto3.Session(**key, region_name=region).client(service)
    made.meta.events.register("before-call.*.*", lambda model, **_: ASKED.add(model.name))
    return made


class World:
    """One account, at the lever's clock or in real time. ``close`` ends it: moto's state is the process's."""

    def __init__(self, real_time: bool = False, **given: Any) -> None:
        for repairs in (moto_cloudfront, moto_lambda, moto_cloudwatch):
            repairs.as_aws()
        for pace in (moto_cloudfront.DEPLOYING, moto_lambda.UPDATING, moto_provisioned.ALLOCATING):
            pace.reset()
            pace.reads = 0 if real_time else 1
        # Real time, once the world has slept below: what is asked in real time is neither old nor of the future.
        CLOCK.at = time.time() - SEEDING
        edge_functions.reset()
        figures.LEVELS.reset()
        CLOUDS_CLOCK.reset()
        if not real_time:
            CLOUDS_CLOCK.now = CLOCK.now
        self.now: Callable[[], float] = time.time if real_time else lambda: CLOCK.at
        self.mock = mock_aws()
        self.mock.start()
        self.estate = load_estate()
        self.lambdas = {region: client(region, "lambda") for region in REGIONS}
        self.cloudfront = client("us-east-1", "cloudfront")
        self.first = seed_functions(client("us-east-1", "iam"), self.lambdas, self.estate)
        self.distribution = seed_distribution(self.cloudfront, self.estate, self.first)
        CLOCK.sleep(SEEDING)
        ASKED.clear()
        self.fences: list[int] = []
        self.aws = {region: Aws(self._clients_of(region)) for region in REGIONS}
        self.slow: dict[str, float] = {}  # P95 in ms of a part of the world's probe
        clients = SimpleNamespace(aws=self.aws["us-east-1"], of=self._of, probes=SimpleNamespace(results=self.probed))
        settings = chosen(**given)
        self.target = Target(ESTATE_WIDE, self.estate, "run", settings, clients, lambda: self.fences.append(1))

    def _clients_of(self, region: str) -> Callable[..., Any]:
        return lambda service, config: watched_client(region, service)

    def _of(self, region: str) -> Any:
        return SimpleNamespace(aws=self.aws[region])

    def close(self) -> None:
        CLOUDS_CLOCK.reset()
        self.mock.stop()

    def probed(self) -> list[ProbeResult]:
        """A fresh result of each part of the world."""
        viewers = self.estate.edge.latency.viewers
        return [
            ProbeResult(name, group.countries[0], self.slow.get(name, 12.0), 100, self.now())
            for name, group in viewers.items()
        ]

    @property
    def lever_world(self) -> LeverWorld[LambdaSettings]:
        return LEVER.world(self.target)

    def config(self) -> Object:
        """The distribution's whole configuration."""
        found: Object = self.cloudfront.get_distribution_config(Id=self.distribution)["DistributionConfig"]
        return found

    def running(self) -> str:
        """The ARN of the version that the default behaviour runs."""
        items = self.config()["DefaultCacheBehavior"]["LambdaFunctionAssociations"]["Items"]
        return str(items[0]["LambdaFunctionARN"])

    def associate(self, arn: str, event: str = "origin-request") -> None:
        """Somebody else's change of the default behaviour."""
        answer = self.cloudfront.get_distribution_config(Id=self.distribution)
        config = answer["DistributionConfig"]
        item = {"LambdaFunctionARN": arn, "EventType": event, "IncludeBody": False}
        config["DefaultCacheBehavior"]["LambdaFunctionAssociations"] = {"Quantity": 1, "Items": [item]}
        self.cloudfront.update_distribution(Id=self.distribution, DistributionConfig=config, IfMatch=answer["ETag"])

    def latest(self) -> Object:
        """The function at the edge as nobody has published it."""
        found: Object = self.lambdas["us-east-1"].get_function_configuration(FunctionName=EDGE)
        return found

    def update(self, **settings: Any) -> None:
        """Somebody else's change of $LATEST."""
        self.lambdas["us-east-1"].update_function_configuration(FunctionName=EDGE, **settings)
        while self.latest()["LastUpdateStatus"] == "InProgress":
            CLOCK.sleep(1)

    def publish(self, **more: Any) -> str:
        """Somebody else's version of $LATEST; its ARN."""
        return str(self.lambdas["us-east-1"].publish_version(FunctionName=EDGE, **more)["FunctionArn"])

    def provide(self, region: str, units: int) -> None:
        """Somebody else's provisioned concurrency."""
        which = {"FunctionName": REGIONAL, "Qualifier": ALIAS}
        self.lambdas[region].put_provisioned_concurrency_config(**which, ProvisionedConcurrentExecutions=units)

    def versions(self) -> dict[str, int]:
        """The size of each published version."""
        found = self.lambdas["us-east-1"].list_versions_by_function(FunctionName=EDGE)["Versions"]
        return {version["Version"]: version["MemorySize"] for version in found if version["Version"] != "$LATEST"}

    def units(self) -> dict[str, int]:
        """The provisioned units of each region whose alias has any."""
        found = {}
        for region, aws in self.lambdas.items():
            try:
                answer = aws.get_provisioned_concurrency_config(FunctionName=REGIONAL, Qualifier=ALIAS)
            except aws.exceptions.ClientError:
                continue
            found[region] = answer["RequestedProvisionedConcurrentExecutions"]
        return found

    def state(self) -> Object:
        """What the lever may change. Versions stay when it is undone, so they are no part of it."""
        names = {
            region: {f["FunctionName"] for f in aws.list_functions()["Functions"]}
            for region, aws in self.lambdas.items()
        }
        units = self.units()
        found: Object = {f"units {r}": units.get(r, 0) for r in REGIONS if REGIONAL in names[r]}
        return {"distribution": self.config(), "latest MB": self.latest()["MemorySize"], **found}

    def apply_all(self, target: Target | None = None) -> None:
        target = target or self.target
        for stage in LEVER.plan(target).stages:
            LEVER.apply(target, stage)
