"""Objects of a booting cluster are applied again while its API server is too busy to answer."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
from kubernetes.client import ApiException
from urllib3.exceptions import ProtocolError

from lab.cluster import workloads

DOCUMENT = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "akidb"}}


class FakeApi:
    """Fails with each of ``failures`` before it takes an object."""

    def __init__(self, *failures: Exception) -> None:
        self.failures = list(failures)
        self.applied: list[str] = []
        self.resources = SimpleNamespace(get=lambda **_: SimpleNamespace(server_side_apply=self.apply))

    def apply(self, *, name: str, **_: Any) -> None:
        if self.failures:
            raise self.failures.pop(0)
        self.applied.append(name)


def apply(api: FakeApi) -> None:
    workloads.apply_all(cast("Any", api), [DOCUMENT], longest_pause=0.0)


def test_an_object_is_applied_again_while_that_may_help() -> None:
    api = FakeApi(ApiException(500), ApiException(429), ApiException(0), ProtocolError("reset"), TimeoutError())
    apply(api)
    assert api.applied == ["akidb"]


@pytest.mark.parametrize("status", [400, 403, 404, 409, 422])
def test_a_refused_object_is_not_applied_again(status: int) -> None:
    api = FakeApi(ApiException(status), ApiException(status))
    with pytest.raises(ApiException):
        apply(api)
    assert len(api.failures) == 1
