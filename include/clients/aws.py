"""AWS clients of one region, made once each, and the pages of their lists.

``client_factory`` makes a boto3 client by service name: in a task ``AwsBaseHook(...).get_session().client`` with the
connection's endpoint, in a test a fake. This module itself holds no credentials and no endpoint.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol

RETRIES = 5  # attempts of a request, with botocore's "standard" back-off
TIMEOUT = (5, 30)  # seconds to connect, seconds to read


class ClientFactory(Protocol):
    """Makes a boto3 client; ``config`` is a ``botocore.config.Config``."""

    def __call__(self, service: str, config: Any) -> Any:
        """The client of ``service``, such as ``ec2``."""


class AwsError(RuntimeError):
    """AWS refused or could not be reached; the message names the request and the remedy."""


class Aws:
    """Cached clients of one region."""

    def __init__(self, client_factory: ClientFactory) -> None:
        self._factory = client_factory
        self._clients: dict[str, Any] = {}

    def client(self, service: str) -> Any:
        """The boto3 client of ``service`` with standard retries and explicit timeouts."""
        if service not in self._clients:
            from botocore.config import Config

            retries = {"mode": "standard", "total_max_attempts": RETRIES}
            config = Config(retries=retries, connect_timeout=TIMEOUT[0], read_timeout=TIMEOUT[1])
            self._clients[service] = self._factory(service, config=config)
        return self._clients[service]

    def call(self, service: str, operation: str, **parameters: Any) -> dict[str, Any]:
        """One request by its snake_case name. Raises AwsError with the code in ``code``."""
        request = getattr(self.client(service), operation)
        answer: dict[str, Any] = guarded(service, operation, lambda: request(**parameters))
        return answer

    def pages(self, service: str, operation: str, key: str, **parameters: Any) -> Iterator[Any]:
        """Every item under ``key`` (dotted where it lies deeper) of a paginated list."""
        client = self.client(service)
        if not client.can_paginate(operation):
            yield from _items(self.call(service, operation, **parameters), key)
            return
        pages = iter(client.get_paginator(operation).paginate(**parameters))
        while (page := guarded(service, operation, lambda: next(pages, None))) is not None:
            yield from _items(page, key)


def _items(page: Any, key: str) -> Any:
    for part in key.split("."):
        page = page.get(part, {})
    return page or []


class AwsRefusedError(AwsError):
    """AWS answered with an error; ``code`` is AWS's own, such as ``AccessDenied``."""

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code


# Codes that several services use for the same two things.
DENIED = {"AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "AuthFailure", "OptInRequired"}
EXPIRED = {
    "ExpiredToken",
    "ExpiredTokenException",
    "RequestExpired",
    "InvalidClientTokenId",
    "UnrecognizedClientException",
    "SignatureDoesNotMatch",
}


def guarded(service: str, operation: str, request: Callable[[], Any]) -> Any:
    """The request's answer; botocore's errors become AwsError with a remedy."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        return request()
    except ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", ""))
        said = error.response.get("Error", {}).get("Message", "")
        raise AwsRefusedError(f"AWS {service}.{operation}: {code}: {said}{_remedy(code)}", code) from error
    except BotoCoreError as error:
        raise AwsError(
            f"AWS {service}.{operation}: {' '.join(str(error).split())}: check region, endpoint and credentials of the "
            "AWS connection"
        ) from error


def _remedy(code: str) -> str:
    if code in DENIED:
        return ". Grant the action to the role of the AWS connection"
    if code in EXPIRED:
        return ". Renew the credentials of the AWS connection"
    return ""
