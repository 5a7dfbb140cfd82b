"""CloudFront's distributions as levers read and write them: found by alias, under the ETag, nothing lost."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from include.clients.aws import AwsRefusedError
from include.levers import cloudfront
from include.levers.cloudfront import DISTRIBUTIONS, Found
from include.levers.documents import Setting
from include.rollout.lever import NotConverged, Refused
from tests.unit.levers.cdn_world import World


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    made.close()


def test_a_distribution_is_found_by_its_alias_among_many(world: World) -> None:
    for number in range(3):
        more = {**world.config(), "Aliases": {"Quantity": 0}, "CallerReference": f"other-{number}"}
        world.cloudfront.create_distribution(DistributionConfig=more)
    domain = world.cloudfront.get_distribution(Id=world.id)["Distribution"]["DomainName"]
    assert cloudfront.distribution(world.lever_world, "cdn.akidb.example") == Found(world.id, world.arn, domain)
    with pytest.raises(Refused, match=r"alias 'akidb.example', found: none of the account's 4. Correct edge.cdn.alias"):
        cloudfront.distribution(world.lever_world, "akidb.example")


def test_two_distributions_with_the_alias_are_both_named(world: World) -> None:
    aws = world.target.clients.aws
    twice = [{"Id": name, "Aliases": {"Items": ["cdn.akidb.example"]}} for name in ("E2", "E1")]
    aws.pages = lambda *_, **__: iter(twice)
    with pytest.raises(Refused, match="found: E1, E2"):
        cloudfront.distribution(world.lever_world, "cdn.akidb.example")


def test_the_document_goes_back_as_it_came_but_for_our_field(world: World) -> None:
    before = world.config()
    assert Setting(DISTRIBUTIONS, world.id, {"HttpVersion": "http2"}).write(world.lever_world)
    assert world.config() == {**before, "HttpVersion": "http2"}
    assert before["DefaultCacheBehavior"]["LambdaFunctionAssociations"]["Quantity"] == 1


def test_a_stale_etag_is_refused_with_awss_own_code(world: World) -> None:
    document, token = DISTRIBUTIONS.read(world.lever_world, world.id)
    assert document is not None
    world.change(Comment="theirs")
    with pytest.raises(AwsRefusedError) as refused:
        DISTRIBUTIONS.write(world.lever_world, world.id, document, token)
    assert refused.value.code == "PreconditionFailed"
    assert refused.value.code in DISTRIBUTIONS.conflicts


def test_what_does_not_exist_has_neither_document_nor_status(world: World) -> None:
    assert DISTRIBUTIONS.read(world.lever_world, "ENONE") == (None, "")
    assert cloudfront.status(world.lever_world, "ENONE") is None
    assert cloudfront.undeployed(world.lever_world, "ENONE") == []
    assert cloudfront.deployed_after_undo(world.lever_world, "ENONE") is None
    with pytest.raises(NotConverged, match="its status is unknown: it does not exist"):
        cloudfront.await_deployed(world.lever_world, "ENONE")


def test_a_change_that_is_deployed_in_time_is_waited_for(world: World) -> None:
    world.deploying.reads = 3
    world.change(Comment="theirs")
    began = world.clock.at
    cloudfront.await_deployed(world.lever_world, world.id)
    assert world.clock.at - began == 15


def test_a_field_that_boto3_does_not_know_is_named_before_it_is_lost(world: World) -> None:
    def newer(response_dict: dict[str, Any], **_: Any) -> None:
        for old in (b"<PriceClass>", b"<TargetOriginId>"):
            response_dict["body"] = response_dict["body"].replace(old, b"<NewField>1</NewField>" + old)

    assert cloudfront.unknown_fields(world.lever_world, world.id) == []
    client = world.target.clients.aws.client("cloudfront")
    client.meta.events.register_first("before-parse.cloudfront.GetDistributionConfig", newer)
    lost = ["CacheBehaviors.Items.NewField", "DefaultCacheBehavior.NewField", "NewField"]
    assert cloudfront.unknown_fields(world.lever_world, world.id) == lost
    (check,) = cloudfront.fields_check(world.lever_world)
    assert (check.passed, check.reason) == (False, f"Distribution {world.id}: boto3 knows no {', '.join(lost)}")
    assert check.remedy == "install a newer boto3: what it doesn't know would be lost by any change"
