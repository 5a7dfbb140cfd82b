"""The emulator's CloudFront refuses what AWS refuses, keeps what it is given, and takes its time."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from lab.cloud import edge
from lab.cloud.moto_cloudfront import DEPLOYING
from lab.cloud.pace import CLOCK
from tests.unit.lab.cloud.edge_world import FUNCTION, EdgeWorld, refused

INVALID = "InvalidLambdaFunctionAssociation"


def test_every_member_of_a_configuration_is_kept_and_defaults_are_added(world: EdgeWorld) -> None:
    config, _ = world.config()
    assert config["DefaultCacheBehavior"]["LambdaFunctionAssociations"]["Items"] == [
        {"LambdaFunctionARN": world.version, "EventType": "origin-request", "IncludeBody": False}
    ]
    assert (config["DefaultRootObject"], config["HttpVersion"]) == ("index.html", "http2and3")
    assert config["CustomErrorResponses"]["Items"] == [{"ErrorCode": 503, "ErrorCachingMinTTL": 5}]
    assert config["Logging"] == {"Enabled": False, "IncludeCookies": False, "Bucket": "", "Prefix": ""}
    wanted = copy.deepcopy(config) | {"PriceClass": "PriceClass_100"}
    world.update(PriceClass="PriceClass_100")
    assert world.config()[0] == wanted


def test_an_update_without_an_etag_or_with_an_old_one_is_refused(world: EdgeWorld) -> None:
    config, etag = world.config()
    with refused("InvalidIfMatchVersion", "The If-Match version is missing or not valid"):
        world.cloudfront.update_distribution(Id=world.distribution, DistributionConfig=config)
    newer = world.update(Comment="somebody else's")
    assert newer != etag
    with refused("PreconditionFailed", "didn't meet the preconditions", status=412):
        world.cloudfront.update_distribution(Id=world.distribution, IfMatch=etag, DistributionConfig=config)
    assert world.config()[0]["Comment"] == "somebody else's"


def test_the_caller_reference_of_a_distribution_never_changes(world: EdgeWorld) -> None:
    with refused("IllegalUpdate", "CallerReference"):
        world.update(CallerReference="another")


@pytest.mark.parametrize("member", ["Aliases", "CacheBehaviors", "Logging", "PriceClass", "ViewerCertificate"])
def test_an_update_replaces_the_whole_so_nothing_may_be_left_out(world: EdgeWorld, member: str) -> None:
    config, etag = world.config()
    del config[member]
    with refused("IllegalUpdate", f"{member} is required for updates."):
        world.cloudfront.update_distribution(Id=world.distribution, IfMatch=etag, DistributionConfig=config)


def test_an_update_names_also_what_lacks_within_an_origin(world: EdgeWorld) -> None:
    config, etag = world.config()
    del config["Origins"]["Items"][0]["CustomOriginConfig"]["OriginReadTimeout"]
    with refused("IllegalUpdate", "OriginReadTimeout is required for updates."):
        world.cloudfront.update_distribution(Id=world.distribution, IfMatch=etag, DistributionConfig=config)


@pytest.mark.parametrize(
    ("code", "members"),
    [
        ("InvalidArgument", {"PriceClass": "PriceClass_300"}),
        ("InconsistentQuantities", {"Aliases": {"Quantity": 2, "Items": ["cdn.akidb.example"]}}),
        ("InvalidViewerCertificate", {"ViewerCertificate": {"CloudFrontDefaultCertificate": True}}),
    ],
)
def test_a_configuration_that_cannot_be_is_refused(world: EdgeWorld, code: str, members: dict[str, Any]) -> None:
    before = world.config()
    with refused(code):
        world.update(**members)
    assert world.config() == before


def test_a_behaviour_needs_an_origin_that_exists(world: EdgeWorld) -> None:
    behaviour = {**world.config()[0]["DefaultCacheBehavior"], "TargetOriginId": "nowhere"}
    with refused("NoSuchOrigin", status=404):
        world.update(DefaultCacheBehavior=behaviour)


def test_an_alias_belongs_to_one_distribution(world: EdgeWorld) -> None:
    config, _ = world.config()
    with refused("CNAMEAlreadyExists", status=409):
        world.cloudfront.create_distribution(DistributionConfig={**config, "CallerReference": "second"})
    with refused("DistributionAlreadyExists", status=409):
        world.cloudfront.create_distribution(DistributionConfig=config)


def test_somebody_else_may_change_the_comment_between_a_read_and_the_next_write_once(world: EdgeWorld) -> None:
    config, etag = world.config()
    edge.switch({"somebody_else": {"comment": "theirs"}})
    with refused("PreconditionFailed", "didn't meet the preconditions", status=412):
        world.cloudfront.update_distribution(Id=world.distribution, DistributionConfig=config, IfMatch=etag)
    assert world.config()[0] == {**config, "Comment": "theirs"}
    world.update(PriceClass="PriceClass_100")
    assert world.config()[0] == {**config, "Comment": "theirs", "PriceClass": "PriceClass_100"}


def test_an_enabled_distribution_is_not_deleted(world: EdgeWorld) -> None:
    delete = world.cloudfront.delete_distribution
    with refused("DistributionNotDisabled", status=409):
        delete(Id=world.distribution, IfMatch=world.config()[1])
    etag = world.update(Enabled=False)
    with refused("PreconditionFailed", status=412):
        delete(Id=world.distribution, IfMatch="E0")
    with refused("DistributionNotDisabled", status=409):  # still being deployed
        delete(Id=world.distribution, IfMatch=etag)
    assert world.statuses(2) == ["InProgress", "Deployed"]
    delete(Id=world.distribution, IfMatch=etag)
    with refused("NoSuchDistribution", status=404):
        world.cloudfront.get_distribution(Id=world.distribution)


# Time ------------------------------------------------------------------------------------------------------------


def test_a_change_is_in_progress_for_so_many_reads(world: EdgeWorld) -> None:
    assert world.statuses(1) == ["Deployed"]
    DEPLOYING.reads = 2
    world.update(PriceClass="PriceClass_200")
    world.cloudfront.list_distributions()  # no look
    world.config()
    assert world.statuses(4) == ["InProgress", "InProgress", "Deployed", "Deployed"]


def test_a_change_is_in_progress_for_so_many_seconds(world: EdgeWorld) -> None:
    now = [1000.0]
    CLOCK.now = lambda: now[0]
    DEPLOYING.reads, DEPLOYING.seconds = 0, 300
    world.update(PriceClass="PriceClass_200")
    now[0] = 1299
    assert world.statuses(2) == ["InProgress", "InProgress"]
    now[0] = 1300
    assert world.statuses(1) == ["Deployed"]


def test_what_is_begun_while_deployments_are_held_never_ends_until_they_are_not(world: EdgeWorld) -> None:
    world.update(Comment="before")
    assert world.statuses(2) == ["InProgress", "Deployed"]
    DEPLOYING.hold = True
    assert world.statuses(1) == ["Deployed"]
    world.update(PriceClass="PriceClass_100")
    assert world.statuses(5) == ["InProgress"] * 5
    DEPLOYING.hold = False
    assert world.statuses(1) == ["Deployed"]


# Lambda@Edge -----------------------------------------------------------------------------------------------------


def test_an_association_names_a_numbered_version_that_exists_in_us_east_1(world: EdgeWorld) -> None:
    function = world.version.rpartition(":")[0]
    for arn, says in (
        (function, "must reference a specific function version"),
        (f"{function}:$LATEST", "must reference a specific function version"),
        (f"{function}:live", "must reference a specific function version"),
        (f"{function}:9", "could not be found"),
        (world.version.replace("us-east-1", "eu-central-1"), "must be in region 'us-east-1'"),
    ):
        with refused(INVALID, says):
            world.associate(arn)
    with refused(INVALID, "The event type 'viewer' is not valid"):
        world.associate(world.version, "viewer")


def test_an_event_runs_one_function(world: EdgeWorld) -> None:
    behaviour = world.config()[0]["DefaultCacheBehavior"]
    twice = {"Quantity": 2, "Items": behaviour["LambdaFunctionAssociations"]["Items"] * 2}
    with refused(INVALID, "An event type can have one Lambda function"):
        world.update(DefaultCacheBehavior={**behaviour, "LambdaFunctionAssociations": twice})


@pytest.mark.parametrize("event", ["viewer-request", "viewer-response"])
def test_viewer_events_take_128_mb_and_5_seconds(world: EdgeWorld, event: str) -> None:
    with refused(INVALID, "triggered by a CloudFront event: 512 Max allowed: 128 Function: arn:aws:lambda:us-east-1"):
        world.associate(world.version, event)
    with refused(INVALID, "The function timeout is larger than the maximum allowed"):
        world.associate(world.publish(MemorySize=128, Timeout=6), event)
    world.associate(world.publish(MemorySize=128, Timeout=5), event)


def test_origin_events_take_30_seconds_and_any_memory(world: EdgeWorld) -> None:
    with refused(INVALID, "event: 31 Max allowed: 30 Function:"):
        world.associate(world.publish(Timeout=31))
    world.associate(world.publish(MemorySize=10_240, Timeout=30))


def test_environment_and_provisioned_concurrency_stay_away_from_the_edge(world: EdgeWorld) -> None:
    with refused(INVALID, "cannot have environment variables"):
        world.associate(world.publish(Environment={"Variables": {"A": "b"}}))
    third = world.publish(Environment={"Variables": {}}, MemorySize=256)
    world.aws.put_provisioned_concurrency_config(
        FunctionName=FUNCTION, Qualifier=third.rpartition(":")[2], ProvisionedConcurrentExecutions=1
    )
    with refused(INVALID, "cannot have provisioned concurrency"):
        world.associate(third)


def test_the_role_of_a_function_at_the_edge_trusts_the_edge(world: EdgeWorld) -> None:
    iam = world.client("us-east-1", "iam")
    trust = '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"lambda.amazonaws.com"},'
    trust += '"Action":"sts:AssumeRole"}]}'
    iam.update_assume_role_policy(RoleName="akidb-inference", PolicyDocument=trust)
    with refused(INVALID, "must be assumable with edgelambda.amazonaws.com"):
        world.update(Comment="anything")
