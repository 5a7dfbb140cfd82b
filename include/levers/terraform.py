"""AWS's own documents as resources of Terraform's aws provider: the same settings under the provider's names. Pure.

A resource that exists is given whole, as it was read, with our change in it: an import of it then plans that change
alone. What a document holds that the provider has no argument for raises :class:`Untold`; the change is then told.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence, Set
from typing import Any

from include.rollout.export import Resource, label

Object = dict[str, Any]
Table = Mapping[str, Any]  # AWS's key -> the argument's name, with the table of what is inside, or what to make of it


class Untold(ValueError):  # noqa: N818 - no error: the change is told by changes.json in its stead
    """A document holds what the provider has no argument for; the message names it."""


def told(document: Mapping[str, Any], table: Table, kind: str) -> Object:
    """A document's fields under the provider's names. Raises Untold naming the first that ``table`` lacks."""
    found: Object = {}
    for key, value in document.items():
        if key not in table:
            raise Untold(f"{kind} has {key}, for which Terraform's aws provider has no argument")
        name, inside = table[key] if isinstance(table[key], tuple) else (table[key], None)
        found[name] = _inner(value, inside, kind)
    return found


def _inner(value: Any, inside: Any, kind: str) -> Any:
    if callable(inside):
        return inside(value)
    if isinstance(inside, Mapping):
        return [told(one, inside, kind) for one in value] if isinstance(value, list) else told(value, inside, kind)
    return value


def imported(import_id: str, region: str) -> str:
    """The id by which a regional resource is imported, whatever the provider's own region."""
    return f"{import_id}@{region}"


# SQS and EventBridge -------------------------------------------------------------------------------------------------


def _flag(text: str) -> bool:
    return str(text).lower() == "true"


_QUEUE: Table = {
    "ContentBasedDeduplication": ("content_based_deduplication", _flag),
    "DeduplicationScope": "deduplication_scope",
    "DelaySeconds": ("delay_seconds", int),
    "FifoQueue": ("fifo_queue", _flag),
    "FifoThroughputLimit": "fifo_throughput_limit",
    "KmsDataKeyReusePeriodSeconds": ("kms_data_key_reuse_period_seconds", int),
    "KmsMasterKeyId": "kms_master_key_id",
    "MaximumMessageSize": ("max_message_size", int),
    "MessageRetentionPeriod": ("message_retention_seconds", int),
    "Policy": "policy",
    "ReceiveMessageWaitTimeSeconds": ("receive_wait_time_seconds", int),
    "RedriveAllowPolicy": "redrive_allow_policy",
    "RedrivePolicy": "redrive_policy",
    "SqsManagedSseEnabled": ("sqs_managed_sse_enabled", _flag),
    "VisibilityTimeout": ("visibility_timeout_seconds", int),
}


def queue(
    name: str, attributes: Mapping[str, str], tags: Mapping[str, str], region: str, url: str | None = None
) -> Resource:
    """A queue. ``url`` is that of one that exists: its tags are then whose they were."""
    known = {key: value for key, value in attributes.items() if key in _QUEUE and value}  # counters are left out
    arguments = {"name": name, "region": region, **told(known, _QUEUE, "a queue")}
    if url is None:
        return Resource("aws_sqs_queue", label(name), {**arguments, "tags": dict(tags)})
    return Resource("aws_sqs_queue", label(name), arguments, imported(url, region), ("tags", "tags_all"))


def event_rule(
    name: str, pattern: str, targets: Mapping[str, str], region: str, stands: Set[str] | None = None
) -> list[Resource]:
    """A rule and its targets (ARN by id); ``stands`` are the ids of a live rule's targets, None without the rule."""
    arguments = {"name": name, "region": region, "event_pattern": pattern, "state": "ENABLED"}
    rule_id = None if stands is None else imported(name, region)
    rule = Resource("aws_cloudwatch_event_rule", label(name), arguments, rule_id)
    return [rule, *(_target(name, one, arn, region, one in (stands or ())) for one, arn in targets.items())]


def _target(rule: str, name: str, arn: str, region: str, stands: bool) -> Resource:
    arguments = {"rule": rule, "region": region, "target_id": name, "arn": arn}
    import_id = imported(f"{rule}/{name}", region) if stands else None
    return Resource("aws_cloudwatch_event_target", label(f"{rule}_{name}"), arguments, import_id)


# Route 53 ------------------------------------------------------------------------------------------------------------

_CHECK: Table = {
    "AlarmIdentifier": ("", None),  # two arguments of its own
    "ChildHealthChecks": "child_healthchecks",
    "Disabled": "disabled",
    "EnableSNI": "enable_sni",
    "FailureThreshold": "failure_threshold",
    "FullyQualifiedDomainName": "fqdn",
    "HealthThreshold": "child_health_threshold",
    "IPAddress": "ip_address",
    "InsufficientDataHealthStatus": "insufficient_data_health_status",
    "Inverted": "invert_healthcheck",
    "MeasureLatency": "measure_latency",
    "Port": "port",
    "Regions": "regions",
    "RequestInterval": "request_interval",
    "ResourcePath": "resource_path",
    "RoutingControlArn": "routing_control_arn",
    "SearchString": "search_string",
    "Type": "type",
}


def health_check(
    name: str, settings: Mapping[str, Any], tags: Mapping[str, str], import_id: str | None = None
) -> Resource:
    """A health check made with ``settings``; ``name`` is the resource's."""
    arguments = told(settings, _CHECK, "a health check")
    alarm = arguments.pop("", None)
    if alarm:
        arguments |= {"cloudwatch_alarm_name": alarm["Name"], "cloudwatch_alarm_region": alarm["Region"]}
    return Resource("aws_route53_health_check", name, {**arguments, "tags": dict(tags)}, import_id)


def _plain_name(name: str) -> str:
    return name.rstrip(".").replace("\\052", "*")


_RECORD: Table = {
    "AliasTarget": (
        "alias",
        {"DNSName": "name", "EvaluateTargetHealth": "evaluate_target_health", "HostedZoneId": "zone_id"},
    ),
    "CidrRoutingConfig": (
        "cidr_routing_policy",
        {"CollectionId": "collection_id", "LocationName": "location_name"},
    ),
    "Failover": ("failover_routing_policy", lambda kind: {"type": kind}),
    "GeoLocation": (
        "geolocation_routing_policy",
        {"ContinentCode": "continent", "CountryCode": "country", "SubdivisionCode": "subdivision"},
    ),
    "GeoProximityLocation": (
        "geoproximity_routing_policy",
        {
            "AWSRegion": "aws_region",
            "Bias": "bias",
            "Coordinates": ("coordinates", {"Latitude": "latitude", "Longitude": "longitude"}),
            "LocalZoneGroup": "local_zone_group",
        },
    ),
    "HealthCheckId": "health_check_id",
    "MultiValueAnswer": "multivalue_answer_routing_policy",
    "Name": ("name", _plain_name),
    "Region": ("latency_routing_policy", lambda region: {"region": region}),
    "ResourceRecords": ("records", lambda records: [record["Value"] for record in records]),
    "SetIdentifier": "set_identifier",
    "TTL": "ttl",
    "Type": "type",
    "Weight": ("weighted_routing_policy", lambda weight: {"weight": weight}),
}
_QUOTED = ("TXT", "SPF")  # the provider quotes these itself


def record_set(zone: str, document: Mapping[str, Any]) -> Resource:
    """A record set that exists, as it is to be. Raises Untold for one that a traffic policy has made."""
    arguments = {"zone_id": zone, **told(document, _RECORD, f"record set {document['Name']}")}
    if arguments["type"] in _QUOTED and "records" in arguments:
        arguments["records"] = [text[1:-1] if text.startswith('"') else text for text in arguments["records"]]
    parts = [zone, arguments["name"], arguments["type"], *filter(None, [arguments.get("set_identifier")])]
    return Resource("aws_route53_record", label("_".join(parts[1:])), arguments, "_".join(parts))


# S3, Lambda and EKS --------------------------------------------------------------------------------------------------


def _moment(value: Any) -> str:
    return value.strftime("%Y-%m-%dT%H:%M:%SZ") if isinstance(value, dt.datetime) else str(value)


_TAG: Table = {"Key": "key", "Value": "value"}
_SIZES: Table = {
    "ObjectSizeGreaterThan": "object_size_greater_than",
    "ObjectSizeLessThan": "object_size_less_than",
    "Prefix": "prefix",
}
_LATER: Table = {"NewerNoncurrentVersions": "newer_noncurrent_versions", "NoncurrentDays": "noncurrent_days"}
_DAYS: Table = {"Date": ("date", _moment), "Days": "days"}


def _tags(tags: Sequence[Mapping[str, str]]) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in tags}


_RULE: Table = {
    "AbortIncompleteMultipartUpload": (
        "abort_incomplete_multipart_upload",
        {"DaysAfterInitiation": "days_after_initiation"},
    ),
    "Expiration": ("expiration", {**_DAYS, "ExpiredObjectDeleteMarker": "expired_object_delete_marker"}),
    "Filter": ("filter", {**_SIZES, "And": ("and", {**_SIZES, "Tags": ("tags", _tags)}), "Tag": ("tag", _TAG)}),
    "ID": "id",
    "NoncurrentVersionExpiration": ("noncurrent_version_expiration", _LATER),
    "NoncurrentVersionTransitions": ("noncurrent_version_transition", {**_LATER, "StorageClass": "storage_class"}),
    "Prefix": "prefix",
    "Status": "status",
    "Transitions": ("transition", {**_DAYS, "StorageClass": "storage_class"}),
}
SMALLEST = "TransitionDefaultMinimumObjectSize"


def lifecycle(bucket: str, document: Mapping[str, Any], region: str, *, exists: bool) -> Resource:
    """A bucket's whole lifecycle: S3 and the provider know no part of one."""
    arguments: Object = {"bucket": bucket, "region": region}
    arguments["rule"] = [told(one, _RULE, f"rule {one.get('ID')} of {bucket}") for one in document["Rules"]]
    if SMALLEST in document:
        arguments["transition_default_minimum_object_size"] = document[SMALLEST]
    import_id = imported(bucket, region) if exists else None
    return Resource("aws_s3_bucket_lifecycle_configuration", label(bucket), arguments, import_id)


def provisioned_units(region: str, function: str, alias: str, units: int, *, exists: bool) -> Resource:
    """The provisioned concurrency of an alias."""
    arguments: Object = {"function_name": function, "qualifier": alias, "region": region}
    arguments["provisioned_concurrent_executions"] = units
    name, import_id = label(f"{function}_{alias}_{region}"), imported(f"{function},{alias}", region)
    return Resource("aws_lambda_provisioned_concurrency_config", name, arguments, import_id if exists else None)


_GROUP: Mapping[str, str | tuple[str, Table | Callable[..., Any] | None]] = {
    "amiType": "ami_type",
    "capacityType": "capacity_type",
    "diskSize": "disk_size",
    "instanceTypes": "instance_types",
    "labels": "labels",
    "launchTemplate": ("launch_template", {"id": "id", "name": "name", "version": "version"}),
    "nodeRole": "node_role_arn",
    "remoteAccess": (
        "remote_access",
        {"ec2SshKey": "ec2_ssh_key", "sourceSecurityGroups": "source_security_group_ids"},
    ),
    "scalingConfig": ("scaling_config", {"desiredSize": "desired_size", "maxSize": "max_size", "minSize": "min_size"}),
    "subnets": "subnet_ids",
    "tags": "tags",
}
_OF_AN_UPGRADE = ("version", "releaseVersion")  # an upgrade moves them: whoever makes it does not want them pinned


def node_group(cluster: str, name: str, request: Mapping[str, Any], region: str, *, exists: bool) -> Resource:
    """A managed node group as CreateNodegroup is asked for it; its size is an autoscaler's once it stands."""
    wanted = {key: value for key, value in request.items() if key not in _OF_AN_UPGRADE}
    arguments = {"cluster_name": cluster, "node_group_name": name, "region": region}
    arguments |= told(wanted, _GROUP, f"node group {name}")
    import_id = imported(f"{cluster}:{name}", region) if exists else None
    return Resource("aws_eks_node_group", label(name), arguments, import_id, ("scaling_config[0].desired_size",))
