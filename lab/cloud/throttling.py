"""Requests that AWS refuses because there are too many: a fault that the emulator and a test can switch on."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from typing import Any

from lab.cloud.calls import Answer

# Service (as in a request's credential scope): status, AWS's code, and how its answer is written.
REFUSALS = {
    "lambda": (429, "TooManyRequestsException", "json"),
    "cloudfront": (400, "Throttling", "xml"),
    "route53": (400, "Throttling", "xml"),
    "s3": (503, "SlowDown", "s3"),
}
MESSAGE = "Rate exceeded"
_LEFT: dict[str, int] = {}  # requests of a service that are yet to be refused


def switch(wanted: Mapping[str, int]) -> None:
    """Refuse the next so many requests of each service. Raises ValueError for a service that isn't known."""
    if unknown := set(wanted) - set(REFUSALS):
        raise ValueError(f"throttle: {sorted(unknown)} is not one of {', '.join(REFUSALS)}")
    _LEFT.clear()
    _LEFT.update(wanted)


def reset() -> None:
    """No request is refused."""
    _LEFT.clear()


def refused(service: str) -> Answer | None:
    """The refusal of the next request of ``service``, which counts; None while it is to be answered."""
    if _LEFT.get(service, 0) <= 0:
        return None
    _LEFT[service] -= 1
    status, code, form = REFUSALS[service]
    if form == "json":
        body = json.dumps({"Reason": "CallerRateLimitExceeded", "Type": "User", "message": MESSAGE})
        return Answer(status, "application/json", body.encode(), code)
    error = f"<Error><Type>Sender</Type><Code>{code}</Code><Message>{MESSAGE}</Message></Error>"
    request = f"<RequestId>{uuid.uuid4()}</RequestId>"
    if form == "s3":
        body = f"<Error><Code>{code}</Code><Message>Please reduce your request rate.</Message>{request}</Error>"
    else:
        body = f"<ErrorResponse>{error}{request}</ErrorResponse>"
    return Answer(status, "text/xml", f'<?xml version="1.0" encoding="UTF-8"?>{body}'.encode(), code)


def throttle(client: Any, requests: int) -> None:
    """Refuse the next requests of a boto3 client of an in-process ``mock_aws``; its retries meet it too."""
    service = client.meta.service_model.signing_name
    switch({**_LEFT, service: requests})
    client.meta.events.register_first("before-send.*.*", _sent)


def _sent(request: Any, **_: Any) -> Any:
    from botocore.awsrequest import AWSResponse

    scope = str(request.headers.get("Authorization", b"")).split("Credential=")[-1].split("/")
    answer = refused(scope[3]) if len(scope) > 3 else None
    if answer is None:
        return None
    from moto.core.botocore_stubber import MockRawResponse

    headers = {"Content-Type": answer.content_type, "x-amzn-errortype": answer.error_type}
    return AWSResponse(request.url, answer.status, headers, MockRawResponse(answer.body))
