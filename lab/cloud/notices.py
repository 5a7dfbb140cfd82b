"""What the lab does to its cloud from outside: interruption notices, and pools that run dry."""

from __future__ import annotations

import datetime as dt
import json
import os
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ACCOUNT = "123456789012"
SPOT_WARNING = "EC2 Spot Instance Interruption Warning"
REBALANCE = "EC2 Instance Rebalance Recommendation"
ALL_SPOT_DRY = ("spot:*:*",)


def warning(
    region: str,
    instance_id: str,
    *,
    drill_id: str | None = None,
    now: dt.datetime | None = None,
    kind: str = SPOT_WARNING,
) -> dict[str, Any]:
    """The EventBridge event that AWS sends two minutes before it takes a spot instance.

    ``drill_id`` goes into the detail as ``drill-id``; Karpenter ignores fields that it doesn't know.
    """
    detail = {"instance-id": instance_id}
    if kind == SPOT_WARNING:
        detail["instance-action"] = "terminate"
    if drill_id:
        detail["drill-id"] = drill_id
    return {
        "version": "0",
        "id": str(uuid.uuid4()),
        "detail-type": kind,
        "source": "aws.ec2",
        "account": ACCOUNT,
        "time": (now or dt.datetime.now(dt.UTC)).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "region": region,
        "resources": [f"arn:aws:ec2:{region}:{ACCOUNT}:instance/{instance_id}"],
        "detail": detail,
    }


def send_to_queue(sqs: Any, queue: str, event: dict[str, Any]) -> None:
    """Put ``event`` on the interruption queue itself; ``sqs`` is a boto3 client of the region."""
    url = sqs.get_queue_url(QueueName=queue)["QueueUrl"]
    sqs.send_message(QueueUrl=url, MessageBody=json.dumps(event))


def send_through_rules(events: Any, event: dict[str, Any]) -> None:
    """Put ``event`` on the event bus, so that the rules carry it; ``events`` is a boto3 client of the region.

    Real EventBridge accepts ``aws.*`` sources from AWS only, the emulator from anybody. Raises RuntimeError when the
    bus refuses the event.
    """
    entry = {
        "Source": event["source"],
        "DetailType": event["detail-type"],
        "Detail": json.dumps(event["detail"]),
        "Resources": event["resources"],
        "Time": dt.datetime.fromisoformat(event["time"]),
    }
    answer = events.put_events(Entries=[entry])
    if answer["FailedEntryCount"]:
        raise RuntimeError(f"the event bus refused the notice: {answer['Entries'][0].get('ErrorMessage', answer)}")


def set_dry_pools(folder: Path, patterns: Sequence[str]) -> None:
    """Let the emulator of ``folder`` refuse the pools of ``patterns`` from its next CreateFleet on; none: lift it.

    A pattern is ``<capacity type>:<instance type>:<zone>`` with ``*`` as wildcard, ``<region>/`` before it at will.
    """
    for pattern in patterns:
        if pattern.rpartition("/")[2].count(":") != 2:
            raise ValueError(f"pattern {pattern!r} must read [region/]capacity-type:instance-type:zone, * allowed")
    target = folder / "ice.json"
    partial = target.with_suffix(f".{os.getpid()}.partial")
    partial.write_text(json.dumps(list(patterns)), encoding="utf-8")
    partial.replace(target)  # atomic: the emulator never reads half a list
