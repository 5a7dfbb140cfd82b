"""A request to the emulated cloud and its answer, in the shape of each of AWS's protocols."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from xml.sax.saxutils import escape

EC2_NAMESPACE = "http://ec2.amazonaws.com/doc/2016-11-15/"


@dataclass
class Call:
    """One request to AWS. ``action`` is the operation's name, or method and path for REST services."""

    region: str
    service: str
    action: str
    body: bytes
    form: dict[str, str] = field(default_factory=dict)
    note: str = ""
    refused_pools: str = ""  # the errorSet of a CreateFleet that found some pools dry

    def json(self) -> dict[str, Any]:
        """The body of a JSON request; empty when there is none."""
        return dict(json.loads(self.body)) if self.body else {}


@dataclass(frozen=True)
class Answer:
    """A response of the emulator."""

    status: int
    content_type: str
    body: bytes
    error_type: str = ""


def ec2_answer(action: str, inner: str) -> Answer:
    """A successful answer of EC2: ``inner`` is the XML below the response element."""
    text = (
        f'<?xml version="1.0" encoding="UTF-8"?><{action}Response xmlns="{EC2_NAMESPACE}">'
        f"<requestId>{uuid.uuid4()}</requestId>{inner}</{action}Response>"
    )
    return Answer(200, "text/xml", text.encode())


def json_answer(value: Mapping[str, Any]) -> Answer:
    """A successful answer of a JSON service."""
    return Answer(200, "application/x-amz-json-1.1", json.dumps(value).encode())


def query_refusal(code: str, message: str) -> Answer:
    """A refusal (HTTP 400) of a query service such as Auto Scaling."""
    text = (
        f"<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>{escape(message)}</Message></Error>"
        f"<RequestId>{uuid.uuid4()}</RequestId></ErrorResponse>"
    )
    return Answer(400, "text/xml", text.encode())


def eks_refusal(message: str, code: str = "InvalidParameterException") -> Answer:
    """A refusal (HTTP 400) of EKS."""
    return Answer(400, "application/json", json.dumps({"message": message}).encode(), code)
