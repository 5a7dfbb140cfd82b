"""An API server that cuts an answer off, as a killed or a very slow one does, is an outage to the lab's processes."""

from __future__ import annotations

from typing import Any

import pytest
from urllib3.exceptions import ProtocolError, ReadTimeoutError

from lab.cluster import containers, instances
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
@pytest.mark.parametrize("kind", [containers.KubernetesPods, instances.KubernetesNodes])
def test_an_answer_that_is_cut_off_does_not_end_the_process(kind: Any, problem: Exception) -> None:
    cluster = kind.__new__(kind)
    with pytest.raises(UnavailableError, match="the API server can't be reached"):
        cluster._call(lambda **_: CutOff(problem))


def test_half_a_body_is_an_outage_too() -> None:
    class Half:
        data = b'{"items": ['

    cluster = instances.KubernetesNodes.__new__(instances.KubernetesNodes)
    with pytest.raises(UnavailableError):
        cluster._call(lambda **_: Half())
