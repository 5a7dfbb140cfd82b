"""CloudFront in memory (moto, repaired to answer as AWS does): distribution, logs, totals; probes and Prometheus."""

from __future__ import annotations

import copy
import datetime as dt
import time
from dataclasses import replace
from functools import lru_cache
from types import SimpleNamespace
from typing import Any

import boto3
from moto import mock_aws

from include.clients.aws import Aws
from include.clients.probes import ProbeResult
from include.clients.prometheus import Series
from include.estate import load_estate
from include.levers.cdn_price_class import CdnPriceClass, CdnSettings, latency
from include.levers.world import World as LeverWorld
from include.rollout.lever import Target
from include.rollout.place import ESTATE_WIDE
from include.rollout.settings import build
from lab.cloud import edge, moto_cloudfront
from lab.cloud.cdn import seed_distribution, seed_logs
from lab.cloud.functions import seed_functions
from lab.cloud.pace import CLOCK

Object = dict[str, Any]
NOW = 1_800_000_000.0  # 2027-01-15 08:00 UTC
TB = 2**40
PROBES = {
    "oregon": "US",
    "virginia": "US",
    "frankfurt": "DE",
    "london": "GB",
    "tokyo": "JP",
    "sydney": "AU",
    "mumbai": "IN",
    "sao-paulo": "BR",
    "dubai": "AE",
    "cape-town": "ZA",
}


@lru_cache(maxsize=1)
def session() -> Any:
    """One for all worlds: reading AWS's models of its services takes longer than a test."""
    return boto3.Session("x", "x", region_name="us-east-1")


class Clock:
    """A clock that sleeping moves; ``at`` 0 is the machine's."""

    def __init__(self, at: float) -> None:
        self.at = at

    def now(self) -> float:
        return self.at or time.time()

    def sleep(self, seconds: float) -> None:
        self.at += seconds


class ModelProbes:
    """Probes that measure what the model says of the class that the distribution has; ``slower`` ms by probe."""

    def __init__(self, world: World) -> None:
        self.world, self.slower = world, dict[str, float]()

    def results(self) -> list[ProbeResult]:
        now = self.world.price_class()
        return [
            ProbeResult(name, iso, latency.p95_ms(iso, now) + self.slower.get(name, 0.0), 100, self.world.clock.now())
            for name, iso in PROBES.items()
        ]


class RegionPrometheus:
    """A region's Prometheus: the cache hit rate, and requests of which ``failed`` a share fails."""

    url = "http://prometheus"

    def __init__(self, clock: Clock) -> None:
        self.clock, self.hits, self.failed = clock, 97.0, 0.0

    def raw(self, selector: str, seconds: float, at: float) -> list[Series]:
        return [Series({}, tuple((at - n, self.hits) for n in range(int(seconds), -1, -1)))]

    def value(self, expression: str) -> float | None:
        if "unless" in expression:
            return None
        return 1000.0 * self.failed if "5.." in expression else 1000.0

    def query_range(self, expression: str, start: float, end: float, step: float) -> list[Series]:
        count = round((end - start) / step) + 1
        return [Series({}, tuple((start + n * step, 1.0) for n in range(count)))]


class World:
    """One account. ``close`` ends it: moto's state is the process's."""

    def __init__(self, real_time: bool = False, begins: float = NOW, **given: Any) -> None:
        edge.as_aws()
        edge.reset()
        self.mock = mock_aws()
        self.mock.start()
        self.clock, self.estate, self.deploying = (
            Clock(0.0 if real_time else begins),
            load_estate(),
            moto_cloudfront.DEPLOYING,
        )
        CLOCK.now = self.clock.now
        self.lever = CdnPriceClass(self.clock.now, self.clock.sleep)
        self.session = session()
        self.cloudfront, self.s3 = self.session.client("cloudfront"), self.session.client("s3")
        lambdas = {"us-east-1": self.session.client("lambda")}
        version = seed_functions(self.session.client("iam"), lambdas, self.estate)
        self.id = seed_distribution(self.cloudfront, self.estate, version)
        self.arn = self.cloudfront.get_distribution(Id=self.id)["Distribution"]["ARN"]
        seed_logs(self.s3, self.estate, self.id, dt.datetime.fromtimestamp(self.clock.now(), dt.UTC), days=1)
        self.put_totals(50 * TB, 670_000_000)
        self.asked: set[str] = set()  # the operations that the lever has called
        self.probes, self.prometheus = ModelProbes(self), RegionPrometheus(self.clock)
        clients = SimpleNamespace(
            aws=Aws(self._client), probes=self.probes, of=lambda _: SimpleNamespace(prometheus=self.prometheus)
        )
        self.fences: list[int] = []
        settings = build(CdnSettings, given, self.estate)
        self.target = Target(ESTATE_WIDE, self.estate, "run", settings, clients, lambda: self.fences.append(1))

    def _client(self, service: str, config: Any) -> Any:
        client = self.session.client(service, config=config)
        client.meta.events.register(
            "before-call.*.*", lambda model, **_: self.asked.add(f"{service}:{model.name}") or None
        )
        return client

    def put_totals(self, size: int, requests: int) -> None:
        """What CloudWatch has counted, as a month of 30.4 days."""
        midnight = dt.datetime.fromtimestamp(self.clock.now() // 86_400 * 86_400, dt.UTC)
        dimensions = [{"Name": "DistributionId", "Value": self.id}, {"Name": "Region", "Value": "Global"}]
        points = [
            {"MetricName": name, "Dimensions": dimensions, "Timestamp": midnight - dt.timedelta(days=n), "Value": value}
            for n in range(1, 31)
            for name, value in (("BytesDownloaded", size / 30.4), ("Requests", requests / 30.4))
        ]
        self.session.client("cloudwatch").put_metric_data(Namespace="AWS/CloudFront", MetricData=points)

    def widen_limits(self) -> None:
        """An estate whose limits class 100 keeps."""
        raw = self.estate.model_dump(mode="json")
        raw["edge"]["latency"]["weighted_p95_ms"] = 60
        for viewers in raw["edge"]["latency"]["viewers"].values():
            viewers["p95_ms"] = 200
        self.estate = type(self.estate).model_validate(raw)
        self.target = replace(self.target, estate=self.estate)

    def close(self) -> None:
        edge.reset()
        self.mock.stop()

    @property
    def lever_world(self) -> LeverWorld[CdnSettings]:
        return self.lever.world(self.target)

    def config(self) -> Object:
        """The distribution's whole configuration."""
        found: Object = self.cloudfront.get_distribution_config(Id=self.id)["DistributionConfig"]
        return found

    def price_class(self) -> str:
        return str(self.config()["PriceClass"])

    def change(self, **fields: Any) -> None:
        """Somebody else's change."""
        found = self.cloudfront.get_distribution_config(Id=self.id)
        config = {**found["DistributionConfig"], **fields}
        self.cloudfront.update_distribution(Id=self.id, DistributionConfig=config, IfMatch=found["ETag"])

    def tags(self) -> dict[str, str]:
        found = self.cloudfront.list_tags_for_resource(Resource=self.arn)["Tags"]["Items"]
        return {tag["Key"]: tag["Value"] for tag in found}

    def delete(self) -> None:
        """Somebody else deletes it."""
        from moto.cloudfront.models import cloudfront_backends
        from moto.core import DEFAULT_ACCOUNT_ID

        del cloudfront_backends[DEFAULT_ACCOUNT_ID]["aws"].distributions[self.id]

    def state(self) -> Object:
        """Configuration and tags of each distribution that exists."""
        listed = self.cloudfront.list_distributions()["DistributionList"].get("Items", [])
        if self.id not in [one["Id"] for one in listed]:
            return {}
        return copy.deepcopy({"the distribution": self.config(), "tags of the distribution": self.tags()})

    def apply_all(self, target: Target | None = None) -> None:
        target = target or self.target
        for stage in self.lever.plan(target).stages:
            self.lever.apply(target, stage)
