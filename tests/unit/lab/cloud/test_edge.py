"""Faults of the emulated edge: requests that are too many, and the file that switches faults in the lab."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lab.cloud import edge, figures, throttling
from tests.unit.lab.cloud.edge_world import EdgeWorld, refused


@pytest.mark.parametrize(
    ("service", "operation", "code", "status"),
    [
        ("lambda", "list_functions", "TooManyRequestsException", 429),
        ("cloudfront", "list_distributions", "Throttling", 400),
        ("route53", "list_hosted_zones", "Throttling", 400),
        ("s3", "list_buckets", "SlowDown", 503),
    ],
)
def test_so_many_requests_are_refused_in_the_services_words(
    world: EdgeWorld, service: str, operation: str, code: str, status: int
) -> None:
    client: Any = world.client("us-east-1", service)
    throttling.throttle(client, 2)
    for _ in range(2):
        with refused(code, status=status):
            getattr(client, operation)()
    getattr(client, operation)()


def test_a_client_that_retries_gets_through(world: EdgeWorld) -> None:
    client = world.session.client("lambda")
    throttling.throttle(client, 2)
    assert len(client.list_functions()["Functions"]) == 2
    assert throttling.refused("lambda") is None


def test_the_file_switches_faults_and_its_end_heals_them(tmp_path: Path) -> None:
    edge.reset()
    path = tmp_path / edge.FILE
    switches = edge.Switches(path)
    switches.look()
    wanted = {"deploying": {"hold": True}, "throttle": {"cloudfront": 1}, "figures": {"spillover_share": 0.2}}
    path.write_text(json.dumps(wanted))
    switches.look()
    assert [name for name, pace in edge.PACES.items() if pace.hold] == ["deploying"]
    assert figures.LEVELS.spillover_share == 0.2
    assert throttling.refused("cloudfront") is not None
    assert throttling.refused("cloudfront") is None
    switches.look()  # an unchanged file is not taken over again
    assert throttling.refused("cloudfront") is None
    path.unlink()
    switches.look()
    assert not any(pace.hold for pace in edge.PACES.values())
    assert figures.LEVELS.spillover_share == 0


def test_a_file_half_written_is_read_again_at_the_next_request(tmp_path: Path) -> None:
    edge.reset()
    path = tmp_path / edge.FILE
    switches = edge.Switches(path)
    path.write_text('{"deploying": {"ho')
    switches.look()
    path.write_text('{"deploying": {"seconds": 30}}')
    switches.look()
    assert edge.PACES["deploying"].seconds == 30
    edge.reset()
    assert edge.PACES["deploying"].seconds == 0


def test_a_service_that_cannot_be_throttled_is_named() -> None:
    with pytest.raises(ValueError, match="throttle: \\['ec2'\\] is not one of lambda, cloudfront, route53, s3"):
        throttling.switch({"ec2": 1})
