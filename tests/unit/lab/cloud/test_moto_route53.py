"""The emulator's Route 53 refuses what AWS refuses."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from lab.cloud import moto_route53
from tests.unit.levers.dns_world import World

TCP: dict[str, Any] = {"Type": "TCP", "IPAddress": "203.0.113.1", "Port": 443, "RequestInterval": 10}


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    made.close()


def code_of(refused: pytest.ExceptionInfo[ClientError]) -> str:
    return str(refused.value.response["Error"]["Code"])


def test_a_reference_gives_the_same_check_and_never_another_one(world: World) -> None:
    make = world.route53.create_health_check
    first = make(CallerReference="r", HealthCheckConfig=TCP)["HealthCheck"]["Id"]
    assert make(CallerReference="r", HealthCheckConfig=TCP)["HealthCheck"]["Id"] == first
    with pytest.raises(ClientError) as refused:
        make(CallerReference="r", HealthCheckConfig={**TCP, "Port": 80})
    assert code_of(refused) == "HealthCheckAlreadyExists"
    world.route53.delete_health_check(HealthCheckId=first)
    with pytest.raises(ClientError) as refused:
        make(CallerReference="r", HealthCheckConfig=TCP)
    assert code_of(refused) == "HealthCheckAlreadyExists"
    with pytest.raises(ClientError) as refused:
        world.route53.delete_health_check(HealthCheckId=first)
    assert code_of(refused) == "NoSuchHealthCheck"


def test_an_update_needs_the_version_that_the_check_has(world: World) -> None:
    made = world.route53.create_health_check(CallerReference="r", HealthCheckConfig=TCP)["HealthCheck"]
    update = world.route53.update_health_check
    changed = update(HealthCheckId=made["Id"], HealthCheckVersion=1, FailureThreshold=5)["HealthCheck"]
    assert (changed["HealthCheckVersion"], changed["HealthCheckConfig"]["FailureThreshold"]) == (2, 5)
    with pytest.raises(ClientError) as refused:
        update(HealthCheckId=made["Id"], HealthCheckVersion=1, FailureThreshold=7)
    assert code_of(refused) == "HealthCheckVersionMismatch"
    assert world.checks()[made["Id"]]["FailureThreshold"] == 5


@pytest.mark.parametrize("field", ["RequestInterval", "MeasureLatency", "Type"])
def test_an_update_cannot_change_what_a_check_was_created_with(world: World, field: str) -> None:
    made = world.route53.create_health_check(CallerReference="r", HealthCheckConfig=TCP)["HealthCheck"]["Id"]

    def slip_in(params: dict[str, Any], **_: Any) -> None:
        end = b"</UpdateHealthCheckRequest>"
        params["body"] = params["body"].replace(end, f"<{field}>30</{field}>".encode() + end)

    world.route53.meta.events.register("before-call.route-53.UpdateHealthCheck", slip_in)
    with pytest.raises(ClientError) as refused:
        world.route53.update_health_check(HealthCheckId=made, FailureThreshold=5)
    assert code_of(refused) == "InvalidInput"
    assert f"{field} can't be changed" in str(refused.value)
    assert world.checks()[made]["RequestInterval"] == 10


def change(world: World, *changes: tuple[str, dict[str, Any]]) -> None:
    batch = [{"Action": action, "ResourceRecordSet": record} for action, record in changes]
    world.route53.change_resource_record_sets(HostedZoneId=world.zone, ChangeBatch={"Changes": batch})


def test_a_batch_is_carried_out_as_a_whole_or_not_at_all(world: World) -> None:
    records = world.records()
    old = records["www.akidb.example."]
    other = {**old, "Name": "other.akidb.example."}
    with pytest.raises(ClientError) as refused:
        change(world, ("CREATE", other), ("DELETE", {**old, "TTL": 61}))
    assert code_of(refused) == "InvalidChangeBatch"
    assert "do not match the current values" in str(refused.value)
    assert world.records() == records
    change(world, ("DELETE", old), ("CREATE", {**old, "TTL": 61}))
    assert world.records()["www.akidb.example."]["TTL"] == 61
    with pytest.raises(ClientError) as refused:
        change(world, ("CREATE", {**old, "TTL": 62}))
    assert "already exists" in str(refused.value)


def test_a_record_set_refers_to_a_check_that_exists(world: World) -> None:
    record = {**world.records()["www.akidb.example."], "HealthCheckId": "00000000-0000-0000-0000-000000000000"}
    with pytest.raises(ClientError) as refused:
        change(world, ("UPSERT", record))
    assert code_of(refused) == "NoSuchHealthCheck"


def weighted(region: str, weight: int, name: str = "weighted.akidb.example.") -> dict[str, Any]:
    record = {"Name": name, "Type": "A", "TTL": 60, "ResourceRecords": [{"Value": "198.51.100.1"}], "Weight": weight}
    return {**record, "SetIdentifier": region} if region else record


def test_the_record_sets_of_a_name_have_one_policy(world: World) -> None:
    change(world, ("CREATE", weighted("us-east-1", 255)), ("CREATE", weighted("eu-central-1", 0)))
    plain = {"Name": "weighted.akidb.example.", "Type": "A", "TTL": 60, "ResourceRecords": [{"Value": "198.51.100.1"}]}
    records = world.records()
    for wrong in (plain, weighted("r", 1, "www.akidb.example."), weighted("r", 1, "api.akidb.example.")):
        with pytest.raises(ClientError) as refused:
            change(world, ("CREATE", wrong))
        assert code_of(refused) == "InvalidChangeBatch"
        assert "as other RRSets exist with the same name and type" in str(refused.value)
    assert world.records() == records


@pytest.mark.parametrize(("region", "weight"), [("", 1), ("r", 256)])
def test_a_weight_has_an_identifier_and_a_bound(world: World, region: str, weight: int) -> None:
    with pytest.raises(ClientError) as refused:
        change(world, ("CREATE", weighted(region, weight)))
    assert code_of(refused) == "InvalidInput"


def test_only_the_record_set_with_that_identifier_goes(world: World) -> None:
    change(world, ("DELETE", world.records()["api.akidb.example. us-east-1"]))
    assert [name for name in world.records() if name.startswith("api")] == [
        "api.akidb.example. eu-central-1",
        "api.akidb.example. ap-northeast-1",
    ]


def test_a_failing_endpoint_is_reported_by_the_checkers(world: World) -> None:
    check = world.records()["edge.akidb.example."]["HealthCheckId"]

    def status() -> str:
        answer = world.route53.get_health_check_status(HealthCheckId=check)["HealthCheckObservations"]
        return str(answer[0]["StatusReport"]["Status"])

    assert status().startswith("Success")
    moto_route53.UNHEALTHY.add("203.0.113.10")
    assert status() == "Failure: the health checker could not connect"
