"""AWS's documents under the names of Terraform's provider: exact, and checked against the provider's own arguments."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from include.levers import terraform
from include.levers.terraform import Untold
from tests.unit.levers.provider_arguments import is_argument, problems

REGION = "eu-central-1"
NEW_YEAR = dt.datetime(2027, 1, 1, tzinfo=dt.UTC)
ATTRIBUTES = {
    "MessageRetentionPeriod": "300",
    "SqsManagedSseEnabled": "true",
    "Policy": '{"Version": "2012-10-17"}',
    "RedrivePolicy": "",
    "QueueArn": "arn:aws:sqs:eu-central-1:1:q",
    "ApproximateNumberOfMessages": "4",
}


def test_a_new_queue_has_our_tags_and_an_existing_one_keeps_its_own() -> None:
    new = terraform.queue("akidb-q", ATTRIBUTES, {"team": "akidb"}, REGION)
    assert (new.address, new.import_id, new.keeps) == ("aws_sqs_queue.akidb_q", None, ())
    assert new.arguments == {
        "name": "akidb-q",
        "region": REGION,
        "message_retention_seconds": 300,
        "sqs_managed_sse_enabled": True,
        "policy": '{"Version": "2012-10-17"}',
        "tags": {"team": "akidb"},
    }
    old = terraform.queue("akidb-q", ATTRIBUTES, {"team": "akidb"}, REGION, "https://sqs/1/akidb-q")
    assert (old.import_id, old.keeps) == ("https://sqs/1/akidb-q@eu-central-1", ("tags", "tags_all"))
    assert "tags" not in old.arguments
    assert problems(new.type, new.arguments) == []


def test_a_rule_and_its_targets_are_imported_by_name_where_they_stand() -> None:
    targets = {"mine": "arn:a", "target-1": "arn:b"}
    found = terraform.event_rule("akidb-health", "{}", targets, REGION, {"mine"})
    assert [(one.address, one.import_id) for one in found] == [
        ("aws_cloudwatch_event_rule.akidb_health", "akidb-health@eu-central-1"),
        ("aws_cloudwatch_event_target.akidb_health_mine", "akidb-health/mine@eu-central-1"),
        ("aws_cloudwatch_event_target.akidb_health_target_1", None),
    ]
    assert [one.import_id for one in terraform.event_rule("akidb-health", "{}", targets, REGION)] == [None] * 3
    assert [line for one in found for line in problems(one.type, one.arguments)] == []


RECORDS: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    (
        {"Name": "api.x.", "Type": "A", "TTL": 60, "ResourceRecords": [{"Value": "192.0.2.1"}], "SetIdentifier": "eu",
         "Weight": 110, "HealthCheckId": "c1"},
        {"zone_id": "Z1", "name": "api.x", "type": "A", "ttl": 60, "records": ["192.0.2.1"], "set_identifier": "eu",
         "weighted_routing_policy": {"weight": 110}, "health_check_id": "c1"},
        "Z1_api.x_A_eu",
    ),
    (
        {"Name": "\\052.x.", "Type": "A", "Failover": "PRIMARY", "SetIdentifier": "p",
         "AliasTarget": {"HostedZoneId": "Z2", "DNSName": "lb.aws.", "EvaluateTargetHealth": True}},
        {"zone_id": "Z1", "name": "*.x", "type": "A", "set_identifier": "p",
         "failover_routing_policy": {"type": "PRIMARY"},
         "alias": {"zone_id": "Z2", "name": "lb.aws.", "evaluate_target_health": True}},
        "Z1_*.x_A_p",
    ),
    (
        {"Name": "t.x.", "Type": "TXT", "TTL": 60, "ResourceRecords": [{"Value": '"a b"'}],
         "GeoProximityLocation": {"Bias": 5, "Coordinates": {"Latitude": "1", "Longitude": "2"}}},
        {"zone_id": "Z1", "name": "t.x", "type": "TXT", "ttl": 60, "records": ["a b"],
         "geoproximity_routing_policy": {"bias": 5, "coordinates": {"latitude": "1", "longitude": "2"}}},
        "Z1_t.x_TXT",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("document", "arguments", "import_id"), RECORDS, ids=["weighted", "alias", "text"])
def test_a_record_set_is_whole_and_imported(document: Any, arguments: Any, import_id: str) -> None:
    found = terraform.record_set("Z1", document)
    assert (found.arguments, found.import_id) == (arguments, import_id)
    assert problems(found.type, found.arguments) == []


def test_a_record_set_of_a_traffic_policy_is_not_told() -> None:
    with pytest.raises(Untold, match=r"record set api.x. has TrafficPolicyInstanceId, for which"):
        terraform.record_set("Z1", {"Name": "api.x.", "Type": "A", "TrafficPolicyInstanceId": "t"})


def test_a_health_check_of_an_alarm_names_it_in_two_arguments() -> None:
    settings = {"Type": "CLOUDWATCH_METRIC", "AlarmIdentifier": {"Name": "down", "Region": REGION}, "Inverted": True}
    found = terraform.health_check("akidb_c1", settings, {"akidb.io/replaces": "c1"}, "c2")
    assert found.arguments == {
        "type": "CLOUDWATCH_METRIC",
        "cloudwatch_alarm_name": "down",
        "cloudwatch_alarm_region": REGION,
        "invert_healthcheck": True,
        "tags": {"akidb.io/replaces": "c1"},
    }
    assert (found.import_id, problems(found.type, found.arguments)) == ("c2", [])


def test_a_lifecycle_has_every_rule_with_its_filter() -> None:
    rules = [
        {"ID": "a", "Status": "Enabled", "Filter": {"Prefix": ""}, "Expiration": {"Date": NEW_YEAR},
         "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 7}},
        {"ID": "b", "Status": "Disabled",
         "Filter": {"And": {"Prefix": "p/", "ObjectSizeGreaterThan": 9, "Tags": [{"Key": "k", "Value": "v"}]}},
         "Transitions": [{"Days": 30, "StorageClass": "GLACIER_IR"}],
         "NoncurrentVersionTransitions": [{"NoncurrentDays": 3, "StorageClass": "GLACIER"}],
         "NoncurrentVersionExpiration": {"NoncurrentDays": 9, "NewerNoncurrentVersions": 2}},
        {"ID": "c", "Status": "Enabled", "Filter": {"Tag": {"Key": "k", "Value": "v"}}, "Expiration": {"Days": 1}},
    ]  # fmt: skip
    document = {"Rules": rules, "TransitionDefaultMinimumObjectSize": "all_storage_classes_128K"}
    found = terraform.lifecycle("models", document, REGION, exists=True)
    first, second, third = found.arguments["rule"]
    assert first["expiration"] == {"date": "2027-01-01T00:00:00Z"}
    assert second["filter"] == {"and": {"prefix": "p/", "object_size_greater_than": 9, "tags": {"k": "v"}}}
    assert second["transition"] == [{"days": 30, "storage_class": "GLACIER_IR"}]
    assert third["filter"] == {"tag": {"key": "k", "value": "v"}}
    assert found.arguments["transition_default_minimum_object_size"] == "all_storage_classes_128K"
    assert (found.import_id, problems(found.type, found.arguments)) == ("models@eu-central-1", [])
    assert terraform.lifecycle("models", {"Rules": []}, REGION, exists=False).import_id is None


def test_units_are_a_resource_of_their_region() -> None:
    found = terraform.provisioned_units(REGION, "infer", "live", 2, exists=True)
    assert (found.name, found.import_id) == ("infer_live_eu_central_1", "infer,live@eu-central-1")
    assert problems(found.type, found.arguments) == []


def test_a_node_group_pins_no_version_and_leaves_its_size_to_an_autoscaler() -> None:
    request = {
        "subnets": ["s1", "s2"], "nodeRole": "arn:role", "labels": {"a": "b"}, "capacityType": "ON_DEMAND",
        "instanceTypes": ["t4g.medium"], "scalingConfig": {"minSize": 3, "desiredSize": 3, "maxSize": 4},
        "tags": {"t": "u"}, "launchTemplate": {"id": "lt-1", "version": "2"}, "amiType": "AL2023_ARM_64_STANDARD",
        "version": "1.34", "releaseVersion": "1.34.2-1",
    }  # fmt: skip
    found = terraform.node_group("akidb", "akidb-system", request, REGION, exists=False)
    assert found.keeps == ("scaling_config[0].desired_size",)
    assert not {"version", "release_version"} & {*found.arguments}
    assert problems(found.type, found.arguments) == []
    assert terraform.node_group("akidb", "g", request, REGION, exists=True).import_id == "akidb:g@eu-central-1"


def test_what_the_provider_would_not_take_is_noticed() -> None:
    assert problems("aws_cloudwatch_event_target", {"rule": 1, "colour": "red"}) == [
        "aws_cloudwatch_event_target.arn is missing",
        "aws_cloudwatch_event_target.rule is int, not string",
        "aws_cloudwatch_event_target has no colour",
    ]
    assert is_argument("aws_eks_node_group", "scaling_config.min_size")
    assert not is_argument("aws_eks_node_group", "scaling_config.size")
