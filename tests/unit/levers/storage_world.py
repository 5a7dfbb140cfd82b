"""S3 in memory (moto, repaired to answer as AWS does), with the models' bucket as the lab seeds it."""

from __future__ import annotations

import copy
import datetime as dt
from types import SimpleNamespace
from typing import Any

import boto3
from moto import mock_aws

from include.clients.aws import Aws
from include.estate import load_estate
from include.levers.storage_tiering import StorageSettings, StorageTiering
from include.levers.world import World as LeverWorld
from include.rollout.lever import Target
from include.rollout.place import ESTATE_WIDE
from include.rollout.settings import build
from lab.cloud import moto_s3
from lab.cloud.storage import seed_models
from tests.unit.levers.dns_world import CLOCK

Object = dict[str, Any]
NOW = dt.datetime.fromtimestamp(1_800_000_000, dt.UTC)
LEVER = StorageTiering(CLOCK.now, CLOCK.sleep)
ROOT = "traffic-predictor/models"
US, AP, EU = "us-east-1", "ap-northeast-1", "eu-central-1"


class World:
    """One account, with the models of every region or of some. ``close`` ends it: moto's state is the process's."""

    def __init__(self, region: str | None = None, at: dt.datetime = NOW, **given: Any) -> None:
        moto_s3.as_aws()
        self.mock = mock_aws()
        self.mock.start()
        CLOCK.at = at.timestamp()
        self.estate = load_estate()
        key = {"aws_access_key_id": "x", "aws_secret_access_key": "x", "region_name": "us-east-1"}
        self.session = boto3.Session(**key)
        self.s3, self.bucket = self.session.client("s3"), self.estate.edge.models.bucket
        seeded = self.estate.slice(region) if region else self.estate
        self.champions = seed_models(self.s3, seeded, at)
        self.asked: set[str] = set()  # the operations that the lever has called
        self.fences: list[int] = []
        settings = build(StorageSettings, given, self.estate)
        clients = SimpleNamespace(aws=Aws(self._client))
        self.target = Target(ESTATE_WIDE, self.estate, "run", settings, clients, lambda: self.fences.append(1))

    def _client(self, service: str, config: Any) -> Any:
        client = self.session.client(service, config=config)
        client.meta.events.register(
            "before-call.*.*", lambda model, **_: self.asked.add(f"{service}:{model.name}") or None
        )
        return client

    def close(self) -> None:
        self.mock.stop()

    @property
    def lever_world(self) -> LeverWorld[StorageSettings]:
        return LEVER.world(self.target)

    def lifecycle(self) -> Object:
        """The lifecycle as S3 tells it; empty where there is none."""
        try:
            found = self.s3.get_bucket_lifecycle_configuration(Bucket=self.bucket)
        except self.s3.exceptions.ClientError as error:
            if error.response["Error"]["Code"] != "NoSuchLifecycleConfiguration":
                raise
            return {}
        return {key: found[key] for key in ("Rules", "TransitionDefaultMinimumObjectSize")}

    def rules(self) -> list[Object]:
        """All rules in their order."""
        rules: list[Object] = self.lifecycle().get("Rules", [])
        return rules

    def put_rules(self, rules: list[Object], **more: str) -> None:
        """Somebody else's write of all rules."""
        self.s3.put_bucket_lifecycle_configuration(Bucket=self.bucket, LifecycleConfiguration={"Rules": rules}, **more)

    def ours(self) -> dict[str, Object]:
        """Our rules by the prefix that they are for."""
        mine = (rule for rule in self.rules() if rule["ID"].startswith("akidb-tier-"))
        return {rule["Filter"]["And"]["Prefix"]: rule for rule in mine}

    def prefixes(self, region: str) -> list[str]:
        """The versions of a region, oldest first."""
        root = f"{ROOT}/{region}/versions/"
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=root)
        keys = [thing["Key"] for page in pages for thing in page["Contents"]]
        return sorted({key.rpartition("/")[0] + "/" for key in keys})

    def move(self, key: str, storage_class: str) -> None:
        """What S3 does at night, or somebody by hand. The object stays as old as it is."""
        head = self.s3.head_object(Bucket=self.bucket, Key=key)
        if head.get("StorageClass") in ("GLACIER", "DEEP_ARCHIVE"):
            self.s3.restore_object(Bucket=self.bucket, Key=key, RestoreRequest={"Days": 1})
        where = {"Bucket": self.bucket, "Key": key, "CopySource": {"Bucket": self.bucket, "Key": key}}
        self.s3.copy_object(**where, StorageClass=storage_class, Metadata=head["Metadata"], MetadataDirective="REPLACE")

    def state(self) -> Object:
        """Every rule by its ID, and the class of every object."""
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=self.bucket)
        classes = {thing["Key"]: thing["StorageClass"] for page in pages for thing in page["Contents"]}
        found = self.lifecycle()
        rules = {f"rule {rule['ID']}": rule for rule in copy.deepcopy(found.pop("Rules", []))}
        return {**classes, **rules, "rule defaults": found}

    def apply_all(self, target: Target | None = None) -> None:
        target = target or self.target
        for stage in LEVER.plan(target).stages:
            LEVER.apply(target, stage)
