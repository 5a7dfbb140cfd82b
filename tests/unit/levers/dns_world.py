"""Route 53 in memory (moto, repaired to answer as AWS does), with the estate's checks and record sets."""

from __future__ import annotations

import copy
from types import SimpleNamespace
from typing import Any

import boto3
from moto import mock_aws

from include.clients.aws import Aws
from include.estate import load_estate
from include.levers.dns_health_checks import DnsHealthChecks, DnsSettings
from include.levers.world import World as LeverWorld
from include.rollout.lever import Target
from include.rollout.place import ESTATE_WIDE
from include.rollout.settings import build
from lab.cloud import moto_route53
from lab.cloud.dns import seed_dns

Object = dict[str, Any]


def chosen(**more: Any) -> DnsSettings:
    """The settings of a run: the estate's, with ``more``."""
    return build(DnsSettings, more, load_estate())


class Clock:
    """A clock that sleeping moves."""

    def __init__(self) -> None:
        self.at = 1_800_000_000.0

    def now(self) -> float:
        return self.at

    def sleep(self, seconds: float) -> None:
        self.at += seconds


CLOCK = Clock()
LEVER = DnsHealthChecks(CLOCK.now, CLOCK.sleep)


class World:
    """One account, with the records of every region or of one. ``close`` ends it: moto's state is the process's."""

    def __init__(self, region: str | None = None, **given: Any) -> None:
        moto_route53.as_aws()
        moto_route53.UNHEALTHY.clear()
        self.mock = mock_aws()
        self.mock.start()
        self.estate = load_estate()
        key = {"aws_access_key_id": "x", "aws_secret_access_key": "x", "region_name": "us-east-1"}
        self.session = boto3.Session(**key)
        self.route53 = self.session.client("route53")
        self.zone = seed_dns(self.route53, self.estate.slice(region) if region else self.estate)
        self.asked: set[str] = set()  # the operations that the lever has called
        aws = Aws(self._client)
        self.fences: list[int] = []
        settings = build(DnsSettings, given, self.estate)
        clients = SimpleNamespace(aws=aws)
        self.target = Target(ESTATE_WIDE, self.estate, "run", settings, clients, lambda: self.fences.append(1))

    def _client(self, service: str, config: Any) -> Any:
        client = self.session.client(service, config=config)
        client.meta.events.register("before-call.*.*", lambda model, **_: self.asked.add(model.name) or None)
        return client

    def close(self) -> None:
        self.mock.stop()

    @property
    def lever_world(self) -> LeverWorld[DnsSettings]:
        return LEVER.world(self.target)

    def checks(self) -> dict[str, Object]:
        """The settings of every check by its id."""
        listed = self.route53.list_health_checks()["HealthChecks"]
        return {check["Id"]: check["HealthCheckConfig"] for check in listed}

    def records(self) -> dict[str, Object]:
        """The record sets by name and set identifier."""
        found = self.route53.list_resource_record_sets(HostedZoneId=self.zone)["ResourceRecordSets"]
        return {f"{record['Name']} {record.get('SetIdentifier', '')}".strip(): record for record in found}

    def used(self) -> dict[str, Object]:
        """The settings of the check of each record set that has one."""
        checks, records = self.checks(), self.records()
        return {name: checks[r["HealthCheckId"]] for name, r in records.items() if r.get("HealthCheckId") in checks}

    def upsert(self, record: Object, action: str = "UPSERT") -> None:
        """Somebody else's change of a record set."""
        changes = {"Changes": [{"Action": action, "ResourceRecordSet": record}]}
        self.route53.change_resource_record_sets(HostedZoneId=self.zone, ChangeBatch=changes)

    def state(self) -> Object:
        """Record sets with the settings of their checks in place of ids, and the settings of all checks."""
        checks = self.checks()
        records = copy.deepcopy(self.records())
        for record in records.values():
            if "HealthCheckId" in record:
                record["HealthCheckId"] = checks.get(record["HealthCheckId"], "unknown")
        return {**records, "checks": sorted(map(str, checks.values()))}

    def apply_all(self, target: Target | None = None) -> None:
        target = target or self.target
        for stage in LEVER.plan(target).stages:
            LEVER.apply(target, stage)
