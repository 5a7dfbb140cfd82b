"""The emulator's Lambda refuses what AWS refuses, and changes take their time."""

from __future__ import annotations

import pytest

from lab.cloud import edge_functions
from lab.cloud.moto_lambda import UPDATING
from lab.cloud.moto_provisioned import ALLOCATING
from lab.cloud.pace import CLOCK
from tests.unit.lab.cloud.edge_world import FUNCTION, REGIONAL, EdgeWorld, plain, refused

LIVE = {"FunctionName": REGIONAL, "Qualifier": "live"}
INVALID, CONFLICT = "InvalidParameterValueException", "ResourceConflictException"


def test_the_seeded_functions_are_as_the_estate_says(world: EdgeWorld) -> None:
    found = world.aws.list_versions_by_function(FunctionName=FUNCTION)["Versions"]
    assert [(one["Version"], one["MemorySize"]) for one in found] == [("$LATEST", 512), ("1", 512), ("2", 384)]
    assert len({one["CodeSha256"] for one in found}) == 1
    assert world.version == f"arn:aws:lambda:us-east-1:123456789012:function:{FUNCTION}:1"
    for aws in world.lambdas.values():
        assert aws.get_alias(FunctionName=REGIONAL, Name="live")["FunctionVersion"] == "1"


def test_a_revision_is_a_lock(world: EdgeWorld) -> None:
    old = world.revision()
    world.aws.update_function_configuration(FunctionName=FUNCTION, Timeout=4, RevisionId=old)
    assert world.revision() != old
    world.revision()
    for write, more in (
        (world.aws.update_function_configuration, {"MemorySize": 384}),
        (world.aws.publish_version, {}),
    ):
        with refused("PreconditionFailedException", "The Revision Id provided does not match", status=412):
            write(FunctionName=FUNCTION, RevisionId=old, **more)
    alias = {"FunctionName": REGIONAL, "Name": "live"}
    old = world.aws.get_alias(**alias)["RevisionId"]
    assert world.aws.update_alias(**alias, Description="x", RevisionId=old)["RevisionId"] != old
    with refused("PreconditionFailedException", status=412):
        world.aws.update_alias(**alias, Description="y", RevisionId=old)


def test_while_an_update_is_under_way_no_other_one_begins(world: EdgeWorld) -> None:
    changed = world.aws.update_function_configuration(FunctionName=FUNCTION, MemorySize=256)
    assert changed["LastUpdateStatus"] == "InProgress"
    with refused(CONFLICT, "An update is in progress for resource", status=409):
        world.aws.publish_version(FunctionName=FUNCTION)
    with refused(CONFLICT, status=409):
        world.aws.update_function_configuration(FunctionName=FUNCTION, MemorySize=384)
    read = world.aws.get_function_configuration
    statuses = [read(FunctionName=FUNCTION)["LastUpdateStatus"] for _ in range(2)]
    assert statuses == ["InProgress", "Successful"]
    assert world.aws.publish_version(FunctionName=FUNCTION)["MemorySize"] == 256


def test_an_update_that_is_held_never_ends(world: EdgeWorld) -> None:
    UPDATING.hold = True
    world.aws.update_function_configuration(FunctionName=FUNCTION, MemorySize=256)
    read = world.aws.get_function_configuration
    assert {read(FunctionName=FUNCTION)["LastUpdateStatus"] for _ in range(5)} == {"InProgress"}


def test_memory_and_timeout_have_bounds(world: EdgeWorld) -> None:
    update = world.aws.update_function_configuration
    with refused("ValidationException", "Value '10241' at 'memorySize' failed to satisfy constraint"):
        update(FunctionName=FUNCTION, MemorySize=10_241)
    with refused("ValidationException", "less than or equal to 900"):
        update(FunctionName=FUNCTION, Timeout=901)


def test_a_version_is_new_only_when_something_has_changed_and_numbers_are_used_once(world: EdgeWorld) -> None:
    world.resize(384)
    assert world.aws.publish_version(FunctionName=FUNCTION)["Version"] == "2"  # as the last one
    world.resize(448)
    assert world.aws.publish_version(FunctionName=FUNCTION)["Version"] == "3"
    world.aws.delete_function(FunctionName=FUNCTION, Qualifier="3")
    assert world.aws.publish_version(FunctionName=FUNCTION)["Version"] == "4"
    sha = "A" * 43 + "="
    with refused(INVALID, "is different from current CodeSHA256"):
        world.aws.publish_version(FunctionName=FUNCTION, CodeSha256=sha)


def test_a_version_that_the_edge_runs_is_kept_and_hours_longer(world: EdgeWorld) -> None:
    now = [1000.0]
    CLOCK.now = lambda: now[0]
    says = "because it is a replicated function"
    with refused(INVALID, says):
        world.aws.delete_function(FunctionName=FUNCTION, Qualifier="1")
    with refused(INVALID, says):
        world.aws.delete_function(FunctionName=FUNCTION)
    world.associate(f"{world.version.rpartition(':')[0]}:2")
    now[0] += edge_functions.REPLICA_SECONDS - 1
    with refused(INVALID, says):
        world.aws.delete_function(FunctionName=FUNCTION, Qualifier="1")
    now[0] += 1
    world.aws.delete_function(FunctionName=FUNCTION, Qualifier="1")
    left = world.aws.list_versions_by_function(FunctionName=FUNCTION)["Versions"]
    assert [one["Version"] for one in left] == ["$LATEST", "2"]


def test_a_version_that_an_alias_leads_to_is_kept_and_so_is_the_alias(world: EdgeWorld) -> None:
    with refused(CONFLICT, "the following aliases reference it: ['live']", status=409):
        world.aws.delete_function(FunctionName=REGIONAL, Qualifier="1")
    with refused(INVALID, "$LATEST can't be deleted"):
        world.aws.delete_function(FunctionName=REGIONAL, Qualifier="$LATEST")
    assert world.aws.get_alias(FunctionName=REGIONAL, Name="live")["FunctionVersion"] == "1"


# Provisioned concurrency -----------------------------------------------------------------------------------------


def test_provisioned_concurrency_is_allocated_in_its_own_time_and_goes(world: EdgeWorld) -> None:
    aws = world.lambdas["eu-central-1"]
    with refused("ProvisionedConcurrencyConfigNotFoundException", status=404):
        aws.get_provisioned_concurrency_config(**LIVE)
    made = plain(aws.put_provisioned_concurrency_config(**LIVE, ProvisionedConcurrentExecutions=2))
    made.pop("LastModified")
    assert made == {
        "RequestedProvisionedConcurrentExecutions": 2,
        "AvailableProvisionedConcurrentExecutions": 0,
        "AllocatedProvisionedConcurrentExecutions": 0,
        "Status": "IN_PROGRESS",
    }
    reads = [aws.get_provisioned_concurrency_config(**LIVE) for _ in range(2)]
    shown = [(read["Status"], read["AvailableProvisionedConcurrentExecutions"]) for read in reads]
    assert shown == [("IN_PROGRESS", 0), ("READY", 2)]
    listed = aws.list_provisioned_concurrency_configs(FunctionName=REGIONAL)["ProvisionedConcurrencyConfigs"]
    arn = f"arn:aws:lambda:eu-central-1:123456789012:function:{REGIONAL}:live"
    assert [(one["FunctionArn"], one["Status"]) for one in listed] == [(arn, "READY")]
    assert world.aws.list_provisioned_concurrency_configs(FunctionName=REGIONAL)["ProvisionedConcurrencyConfigs"] == []
    aws.delete_provisioned_concurrency_config(**LIVE)
    with refused("ProvisionedConcurrencyConfigNotFoundException", status=404):
        aws.get_provisioned_concurrency_config(**LIVE)


def test_it_belongs_on_published_versions_outside_of_the_edge(world: EdgeWorld) -> None:
    put = world.aws.put_provisioned_concurrency_config
    with refused(INVALID, "cannot be applied to unpublished function versions"):
        put(FunctionName=REGIONAL, Qualifier="$LATEST", ProvisionedConcurrentExecutions=1)
    with refused(INVALID, "not supported for Lambda@Edge"):
        put(FunctionName=FUNCTION, Qualifier="1", ProvisionedConcurrentExecutions=1)
    with refused("ResourceNotFoundException", status=404):
        put(FunctionName=REGIONAL, Qualifier="7", ProvisionedConcurrentExecutions=1)


@pytest.mark.parametrize(("first", "second"), [("live", "1"), ("1", "live")])
def test_a_version_has_it_under_one_name(world: EdgeWorld, first: str, second: str) -> None:
    put = world.aws.put_provisioned_concurrency_config
    put(FunctionName=REGIONAL, Qualifier=first, ProvisionedConcurrentExecutions=1)
    with refused(INVALID, "on an already Provisioned version"):
        put(FunctionName=REGIONAL, Qualifier=second, ProvisionedConcurrentExecutions=1)
    put(FunctionName=REGIONAL, Qualifier=first, ProvisionedConcurrentExecutions=3)


def test_it_stays_within_what_the_function_reserves_and_the_region_has(world: EdgeWorld) -> None:
    put = world.aws.put_provisioned_concurrency_config
    with refused(INVALID, "below its minimum value of [100]"):
        put(**LIVE, ProvisionedConcurrentExecutions=901)
    world.aws.put_function_concurrency(FunctionName=REGIONAL, ReservedConcurrentExecutions=5)
    with refused(INVALID, "reservedConcurrentExecution"):
        put(**LIVE, ProvisionedConcurrentExecutions=6)


def test_an_alias_that_moves_is_allocated_anew(world: EdgeWorld) -> None:
    aws = world.lambdas["ap-northeast-1"]
    aws.put_provisioned_concurrency_config(**LIVE, ProvisionedConcurrentExecutions=2)
    ALLOCATING.reads = 0
    assert aws.get_provisioned_concurrency_config(**LIVE)["Status"] == "IN_PROGRESS"
    aws.update_function_configuration(FunctionName=REGIONAL, MemorySize=384)
    aws.get_function_configuration(FunctionName=REGIONAL)
    version = aws.publish_version(FunctionName=REGIONAL)["Version"]
    assert aws.get_provisioned_concurrency_config(**LIVE)["Status"] == "READY"
    ALLOCATING.reads = 1
    aws.update_alias(FunctionName=REGIONAL, Name="live", FunctionVersion=version)
    assert aws.get_provisioned_concurrency_config(**LIVE)["Status"] == "IN_PROGRESS"
