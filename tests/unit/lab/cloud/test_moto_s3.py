"""The emulator's S3 takes the lifecycle configurations that S3 takes, whole; objects are as old as they are said."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from include.clients.storage import S3
from include.forecast.registry import Registry
from lab.cloud.lifecycle import storage_class
from lab.cloud.storage import FOREIGN_RULES
from tests.unit.lab.cloud.edge_world import BUCKET, NOW, EdgeWorld, refused

OURS: dict[str, Any] = {
    "ID": "akidb-models",
    "Status": "Enabled",
    "Filter": {"And": {"Prefix": "traffic-predictor/", "ObjectSizeGreaterThan": 131_072}},
    "Transitions": [{"Days": 30, "StorageClass": "GLACIER_IR"}],
}


@pytest.fixture
def seeded(world: EdgeWorld) -> EdgeWorld:
    world.seed_rest()
    return world


def put(world: EdgeWorld, *rules: dict[str, Any], **more: str) -> dict[str, Any]:
    wanted = {"Rules": list(rules)}
    return dict(world.s3.put_bucket_lifecycle_configuration(Bucket=BUCKET, LifecycleConfiguration=wanted, **more))


def got(world: EdgeWorld) -> dict[str, Any]:
    return dict(world.s3.get_bucket_lifecycle_configuration(Bucket=BUCKET))


# Lifecycle -------------------------------------------------------------------------------------------------------


def test_a_configuration_is_kept_whole_and_replaced_whole(seeded: EdgeWorld) -> None:
    assert got(seeded)["Rules"] == FOREIGN_RULES
    put(seeded, *FOREIGN_RULES, OURS)
    assert got(seeded)["Rules"] == [*FOREIGN_RULES, OURS]
    put(seeded, OURS)
    assert got(seeded)["Rules"] == [OURS]


def test_a_put_that_does_not_hand_the_minimum_size_back_resets_it(seeded: EdgeWorld) -> None:
    varies = "varies_by_storage_class"
    answer = put(seeded, OURS, TransitionDefaultMinimumObjectSize=varies)
    assert answer["TransitionDefaultMinimumObjectSize"] == varies
    assert got(seeded)["TransitionDefaultMinimumObjectSize"] == varies
    assert put(seeded, OURS)["TransitionDefaultMinimumObjectSize"] == "all_storage_classes_128K"
    assert got(seeded)["TransitionDefaultMinimumObjectSize"] == "all_storage_classes_128K"


def steps(*pairs: tuple[int, str]) -> dict[str, Any]:
    return {**OURS, "Transitions": [{"Days": days, "StorageClass": kind} for days, kind in pairs]}


@pytest.mark.parametrize(
    ("code", "says", "rules"),
    [
        ("MalformedXML", "", []),
        ("MalformedXML", "", [{**OURS, "ID": f"rule-{number}"} for number in range(1001)]),
        ("MalformedXML", "", [{**OURS, "Filter": {"And": {"Prefix": "one/"}}}]),
        ("MalformedXML", "", [{**OURS, "Filter": {"Prefix": "two/", "ObjectSizeGreaterThan": 1}}]),
        ("MalformedXML", "", [steps((30, "COLD"))]),
        ("InvalidArgument", "Found same ID for more than one rule", [OURS, OURS]),
        ("InvalidArgument", "exceed allowed limit of 255", [{**OURS, "ID": "x" * 256}]),
        ("InvalidRequest", "At least one action", [{**OURS, "Transitions": []}]),
        ("InvalidArgument", "greater than or equal to 30 for storageClass 'STANDARD_IA'", [steps((29, "STANDARD_IA"))]),
        ("InvalidArgument", "must be 30 days more", [steps((30, "STANDARD_IA"), (59, "GLACIER"))]),
        ("InvalidArgument", "must be 1 days more", [steps((90, "DEEP_ARCHIVE"), (90, "GLACIER"))]),
        ("InvalidRequest", "must be different", [steps((30, "GLACIER"), (60, "GLACIER"))]),
        ("InvalidArgument", "must be greater than 'Days' in the Transition", [{**OURS, "Expiration": {"Days": 30}}]),
    ],
)
def test_what_s3_refuses_changes_nothing(seeded: EdgeWorld, code: str, says: str, rules: list[dict[str, Any]]) -> None:
    with refused(code, says):
        put(seeded, *rules)
    assert got(seeded)["Rules"] == FOREIGN_RULES


def test_steps_that_follow_each_other_in_time_are_taken(seeded: EdgeWorld) -> None:
    rule = steps((30, "STANDARD_IA"), (60, "GLACIER"), (180, "DEEP_ARCHIVE"))
    put(seeded, {**rule, "Expiration": {"Days": 181}})
    assert got(seeded)["Rules"][0]["Transitions"] == rule["Transitions"]


def test_without_rules_there_is_no_configuration(seeded: EdgeWorld) -> None:
    seeded.s3.delete_bucket_lifecycle(Bucket=BUCKET)
    with refused("NoSuchLifecycleConfiguration", status=404):
        got(seeded)


MB, DAYS = 1_000_000, dt.timedelta(days=1)
MODEL = "traffic-predictor/models/us-east-1/versions/000001-0123456789ab/model.onnx"


@pytest.mark.parametrize(
    ("found", "size", "days", "rule"),
    [
        ("STANDARD", MB, 29, OURS),
        ("GLACIER_IR", MB, 30, OURS),
        ("STANDARD", 131_072, 30, OURS),
        ("STANDARD", MB, 99, {**OURS, "Status": "Disabled"}),
        ("STANDARD", MB, 99, {**OURS, "Filter": {"Prefix": "other/"}}),
        ("STANDARD", 1_000, 99, {**OURS, "Filter": {"Prefix": ""}}),
        ("STANDARD", MB, 99, {**OURS, "Filter": {"Tag": {"Key": "a", "Value": "b"}}}),
        ("DEEP_ARCHIVE", MB, 180, steps((30, "STANDARD_IA"), (180, "DEEP_ARCHIVE"))),
        ("STANDARD_IA", MB, 179, steps((30, "STANDARD_IA"), (180, "DEEP_ARCHIVE"))),
    ],
)
def test_the_class_of_an_object_follows_from_the_rules(found: str, size: int, days: int, rule: dict[str, Any]) -> None:
    assert storage_class([rule], MODEL, size, days * DAYS) == found


def test_small_objects_reach_the_archives_where_the_minimum_varies() -> None:
    rule = {**steps((30, "GLACIER")), "Filter": {"Prefix": ""}}
    assert storage_class([rule], MODEL, 1_000, 40 * DAYS) == "STANDARD"
    assert storage_class([rule], MODEL, 1_000, 40 * DAYS, "varies_by_storage_class") == "GLACIER"


# Objects ---------------------------------------------------------------------------------------------------------


def test_models_are_as_old_and_as_large_as_they_were_seeded(seeded: EdgeWorld) -> None:
    pages = seeded.s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix="traffic-predictor/")
    found = {each["Key"]: each for page in pages for each in page["Contents"]}
    newest = [key for key in found if "/us-east-1/versions/000024-" in key and key.endswith("checkpoint.tar")]
    assert [found[key]["LastModified"] for key in newest] == [NOW - dt.timedelta(days=3)]
    assert found[newest[0]]["Size"] == 83_333_333_333
    assert seeded.s3.head_object(Bucket=BUCKET, Key=newest[0])["ContentLength"] == 83_333_333_333
    assert seeded.s3.get_object(Bucket=BUCKET, Key=newest[0])["Body"].read() == b"weights of every epoch"
    assert round(sum(each["Size"] for each in found.values()) / 1e9) == 6_000


def test_the_registry_reads_the_seeded_champions_and_those_before_them(seeded: EdgeWorld) -> None:
    found = {}
    for region in seeded.estate.regions:
        registry = Registry(S3(seeded.s3, BUCKET, "traffic-predictor"), region)
        assert len(registry.versions()) == 24
        assert registry.pointer().serial == 2
        found[region] = [name[:6] for name in registry.champions()]
    assert found == {
        "us-east-1": ["000024", "000014"],
        "eu-central-1": ["000023", "000014"],
        "ap-northeast-1": ["000018", "000014"],
    }


def test_an_archived_object_is_not_read(seeded: EdgeWorld) -> None:
    seeded.s3.put_object(Bucket=BUCKET, Key="cold", Body=b"x", StorageClass="DEEP_ARCHIVE")
    with refused("InvalidObjectState", status=403):
        seeded.s3.get_object(Bucket=BUCKET, Key="cold")
