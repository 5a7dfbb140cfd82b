"""The AWS clients: made once, paged, and errors with a remedy."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from include.clients.aws import Aws, AwsError, AwsRefusedError


class Pages:
    def __init__(self, pages: list[dict[str, Any]]) -> None:
        self._pages = pages

    def paginate(self, **parameters: Any) -> list[dict[str, Any]]:
        assert parameters == {"Filters": []}
        return self._pages


class Service:
    """A boto3 client with one paginated and one plain operation."""

    error: Exception | None = None

    def can_paginate(self, operation: str) -> bool:
        return operation == "describe_things"

    def get_paginator(self, operation: str) -> Pages:
        assert operation == "describe_things"
        return Pages([{"Things": [1, 2]}, {}, {"Things": [3]}])

    def list_all(self, **parameters: Any) -> dict[str, Any]:
        if self.error:
            raise self.error
        return {"Things": [parameters]}


def aws(error: Exception | None = None) -> tuple[Aws, list[tuple[str, Any]]]:
    made: list[tuple[str, Any]] = []

    def factory(service: str, config: Any) -> Service:
        made.append((service, config))
        client = Service()
        client.error = error
        return client

    return Aws(factory), made


def refused(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "no"}}, "ListAll")


def test_a_client_is_made_once_with_retries_and_timeouts() -> None:
    clients, made = aws()
    assert clients.client("ec2") is clients.client("ec2")
    assert [service for service, _ in made] == ["ec2"]
    config = made[0][1]
    assert config.retries == {"mode": "standard", "total_max_attempts": 5}
    assert (config.connect_timeout, config.read_timeout) == (5, 30)


def test_pages_gives_every_item_paginated_or_not() -> None:
    clients, _ = aws()
    assert list(clients.pages("ec2", "describe_things", "Things", Filters=[])) == [1, 2, 3]
    assert list(clients.pages("ec2", "list_all", "Things", Name="a")) == [{"Name": "a"}]


@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        ("AccessDenied", "Grant the action to the role of the AWS connection"),
        ("ExpiredToken", "Renew the credentials of the AWS connection"),
        ("ThrottlingException", "ThrottlingException: no$"),
    ],
)
def test_refusals_carry_code_and_remedy(code: str, remedy: str) -> None:
    clients, _ = aws(refused(code))
    with pytest.raises(AwsRefusedError, match=remedy) as caught:
        clients.call("sqs", "list_all")
    assert caught.value.code == code
    assert str(caught.value).startswith(f"AWS sqs.list_all: {code}: no")


def test_an_endpoint_that_is_away_names_the_connection() -> None:
    clients, _ = aws(EndpointConnectionError(endpoint_url="http://127.0.0.1:1"))
    with pytest.raises(AwsError, match="check region, endpoint and credentials of the AWS connection"):
        clients.call("sqs", "list_all")
