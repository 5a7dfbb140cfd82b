"""An API server that cuts an answer off, as a killed or a very slow one does, is an outage to the lab's processes."""

from __future__ import annotations

from typing import Any

import pytest
from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import ProtocolError, ReadTimeoutError

from lab.cluster.polling import ask
from lab.machine.again import UnavailableError


class CutOff:
    """An answer whose body never comes whole."""

    def __init__(self, problem: Exception) -> None:
        self._problem = problem

    @property
    def data(self) -> bytes:
        raise self._problem


READ_TIMEOUT = ReadTimeoutError(None, "/", "Read timed out.")  # type: ignore[arg-type]


@pytest.mark.parametrize("problem", [READ_TIMEOUT, ProtocolError("broken"), ConnectionResetError()])
def test_an_answer_that_is_cut_off_does_not_end_the_process(problem: Exception) -> None:
    with pytest.raises(UnavailableError, match="the API server can't be reached"):
        ask(lambda **_: CutOff(problem))


def test_half_a_body_is_an_outage_too() -> None:
    class Half:
        data = b'{"items": ['

    with pytest.raises(UnavailableError):
        ask(lambda **_: Half())


def test_a_status_that_may_pass_is_no_outage() -> None:
    def refuse(**_: Any) -> None:
        raise ApiException(409, "Conflict")

    assert ask(refuse, passing=(404, 409)) == {}
    with pytest.raises(UnavailableError, match="the API server answered 409 Conflict"):
        ask(refuse)
