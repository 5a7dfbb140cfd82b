"""Lambda@Edge in the emulated AWS: what CloudFront lets a distribution run, and the replicas that keep a version."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from lab.cloud.notices import ACCOUNT
from lab.cloud.pace import CLOCK

REGION = "us-east-1"
EVENTS = ("viewer-request", "viewer-response", "origin-request", "origin-response")
VIEWER_MEMORY_MB, VIEWER_SECONDS, ORIGIN_SECONDS = 128, 5, 30
PRINCIPALS = {"lambda.amazonaws.com", "edgelambda.amazonaws.com"}
# AWS removes the replicas of a version within hours after its last association has gone; until then they keep it.
REPLICA_SECONDS = 2 * 3600.0
_ARN = re.compile(r"arn:aws:lambda:([a-z0-9-]+):\d{12}:function:([\w-]+)(?::(.+))?")
# What distributions have run since when (Unix seconds), the oldest first.
HISTORY: list[tuple[float, frozenset[str]]] = []


def check(associations: Sequence[Mapping[str, Any]]) -> None:
    """Refuse (InvalidLambdaFunctionAssociation) what CloudFront refuses of one cache behaviour's associations."""
    events = [association["EventType"] for association in associations]
    if len(set(events)) != len(events):
        raise _refusal("An event type can have one Lambda function in a cache behavior.")
    for association in associations:
        if said := _problem(association["LambdaFunctionARN"], association["EventType"]):
            raise _refusal(said)


def _refusal(message: str) -> Exception:
    from moto.cloudfront.exceptions import CloudFrontException

    return CloudFrontException("InvalidLambdaFunctionAssociation", message)


def _problem(arn: str, event: str) -> str:
    """Why a function can't serve an event; empty when it can."""
    parts = _ARN.fullmatch(arn)
    if event not in EVENTS:
        return f"The event type {event!r} is not valid: use one of {', '.join(EVENTS)}."
    if not parts or parts[1] != REGION:
        return f"The function must be in region '{REGION}'. ARN: {arn}"
    if not (parts[3] or "").isdigit():
        said = "The function ARN must reference a specific function version."
        return f"{said} (The ARN must end with the version number.) ARN: {arn}"
    function = _version(arn)
    if function is None:
        return f"The function could not be found. ARN: {arn}"
    return next(_limits(function, arn, event), "")


def _version(arn: str) -> Any:
    from moto.awslambda.exceptions import UnknownFunctionException

    parts = _ARN.fullmatch(arn)
    if not parts:
        return None
    try:
        return backend().get_function(parts[2], parts[3])
    except UnknownFunctionException:
        return None


def backend() -> Any:
    """moto's Lambda of the region where functions of Lambda@Edge live."""
    from moto.awslambda.models import lambda_backends

    return lambda_backends[ACCOUNT][REGION]


def _limits(function: Any, arn: str, event: str) -> Iterator[str]:
    larger, at_event = "is larger than the maximum allowed", "for functions that are triggered by a CloudFront event:"
    viewer = event.startswith("viewer")
    seconds = VIEWER_SECONDS if viewer else ORIGIN_SECONDS
    if viewer and function.memory_size > VIEWER_MEMORY_MB:
        size = f"{function.memory_size} Max allowed: {VIEWER_MEMORY_MB}"
        yield f"The function memory size {larger} size {at_event} {size} Function: {arn}"
    if function.timeout > seconds:
        yield f"The function timeout {larger} {at_event} {function.timeout} Max allowed: {seconds} Function: {arn}"
    refused = {
        "environment variables": function.environment_vars,
        "a VPC": (function.vpc_config or {}).get("SubnetIds"),
        "layers": function.layers,
        "the architecture arm64": "arm64" in function.architectures,
        "a container image": function.package_type == "Image",
        "provisioned concurrency": arn in getattr(backend(), "provisioned", {}),
    }
    yield from (f"The function cannot have {what}. Function: {arn}" for what, has in refused.items() if has)
    if PRINCIPALS - _trusted(function):
        said = "The function execution role must be assumable with edgelambda.amazonaws.com as well as"
        yield f"{said} lambda.amazonaws.com principals. Update the IAM role and try again. Role: {function.role}"


def _trusted(function: Any) -> set[str]:
    """The services that may assume the function's role."""
    from moto.iam.models import iam_backends

    role = iam_backends[function.account_id]["aws"].get_role_by_arn(function.role)
    document: Any = role.assume_role_policy_document
    found: set[str] = set()
    for statement in (json.loads(document) if isinstance(document, str) else document)["Statement"]:
        named = statement["Principal"].get("Service", [])
        found |= {named} if isinstance(named, str) else set(named)
    return found


# Replicas ------------------------------------------------------------------------------------------------------------


def associated(config: Mapping[str, Any]) -> set[str]:
    """The ARNs of the versions that a distribution's configuration runs."""
    others = config["CacheBehaviors"].get("Items", [])
    found = [part["LambdaFunctionAssociations"] for part in (config["DefaultCacheBehavior"], *others)]
    return {each["LambdaFunctionARN"] for part in found for each in part.get("Items", [])}


def changed(distributions: Iterable[Any]) -> None:
    """Remember what the distributions run from now on; the first ones have always run it."""
    running = frozenset(arn for each in distributions for arn in associated(each.distribution_config))
    HISTORY.append((CLOCK.now() if HISTORY else -math.inf, running))


def ran(arn: str) -> Iterator[tuple[float, float]]:
    """When a distribution ran this version: begin and end, which is infinite while one does."""
    ends = [since for since, _ in HISTORY[1:]] + [math.inf]
    yield from ((since, end) for (since, running), end in zip(HISTORY, ends, strict=True) if arn in running)


def is_replicated(arn: str) -> bool:
    """Does a distribution run this version, or did one until a while ago?"""
    return any(CLOCK.now() - end < REPLICA_SECONDS for _, end in ran(arn))


def reset() -> None:
    """As a fresh account is."""
    HISTORY.clear()
