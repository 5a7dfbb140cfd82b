"""The estate's Lambda functions before the rollout: inference at the edge, and in each region behind an alias."""

from __future__ import annotations

import io
import json
import time
import zipfile
from collections.abc import Mapping
from typing import Any

from include.estate import Estate

EDGE_REGION = "us-east-1"  # where functions of Lambda@Edge live
MEMORY_MB, TRIAL_MB = 512, 384
EDGE_TIMEOUT, REGIONAL_TIMEOUT = 5, 30  # seconds
PAUSE = 0.05  # seconds between two looks at an update
ROLE = "akidb-inference"
TRIAL = "trial of a staging distribution"  # marks a version of which there are figures, though nothing runs it
SOURCE = "def handler(event, context):\n    return event['Records'][0]['cf']['request'] if 'Records' in event else {}\n"


def seed_functions(iam: Any, lambdas: Mapping[str, Any], estate: Estate) -> str:
    """Make the functions with a client of Lambda for each region's name; us-east-1 has to be among them.

    Version 1 of each is published: the edge's ARN is what this returns, a region's is behind its alias. The edge has a
    version 2, the same code with TRIAL_MB, which a staging distribution once served; $LATEST is as version 1 again.
    """
    role = _role(iam)
    names = estate.edge.functions
    edge = {"Role": role, "Timeout": EDGE_TIMEOUT, "Description": "inference of the smallest model at the edge"}
    version = _publish(lambdas[EDGE_REGION], names.edge, **edge)
    _publish_trial(lambdas[EDGE_REGION], names.edge)
    regional = {"Role": role, "Timeout": REGIONAL_TIMEOUT, "Environment": {"Variables": {"LOG_LEVEL": "info"}}}
    for region in estate.regions:
        if region in lambdas:
            aws = lambdas[region]
            _publish(aws, names.regional, **regional, Architectures=["arm64"])
            aws.create_alias(FunctionName=names.regional, Name=names.regional_alias, FunctionVersion="1")
    return version


def _role(iam: Any) -> str:
    services = ["lambda.amazonaws.com", "edgelambda.amazonaws.com"]
    allow = {"Effect": "Allow", "Principal": {"Service": services}, "Action": "sts:AssumeRole"}
    trust = json.dumps({"Version": "2012-10-17", "Statement": [allow]})
    return str(iam.create_role(RoleName=ROLE, AssumeRolePolicyDocument=trust)["Role"]["Arn"])


def _publish(aws: Any, name: str, **settings: Any) -> str:
    """A function and its version 1; that version's ARN."""
    common = {"FunctionName": name, "Runtime": "python3.13", "Handler": "app.handler", "MemorySize": MEMORY_MB}
    aws.create_function(**common, Code={"ZipFile": _archive()}, **settings)
    return str(aws.publish_version(FunctionName=name)["FunctionArn"])


def _publish_trial(aws: Any, name: str) -> None:
    for memory in (TRIAL_MB, MEMORY_MB):
        aws.update_function_configuration(FunctionName=name, MemorySize=memory)
        await_updated(aws, name)
        if memory == TRIAL_MB:
            aws.publish_version(FunctionName=name, Description=TRIAL)


def await_updated(aws: Any, name: str) -> None:
    """Return when the function's last update is done: until then Lambda refuses the next one."""
    while aws.get_function_configuration(FunctionName=name)["LastUpdateStatus"] == "InProgress":
        time.sleep(PAUSE)


def _archive() -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr(zipfile.ZipInfo("app.py"), SOURCE)  # its fixed date: equal sources give an equal hash
    return packed.getvalue()
