"""What a boot decides before anything runs: a port of its own for every listener."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import astuple
from pathlib import Path

import pytest
from kubernetes.client import ApiException
from urllib3.exceptions import ReadTimeoutError

from include.clients.prometheus import PrometheusError
from include.estate import load_estate
from lab import world
from lab.cluster import containers


def test_no_two_listeners_get_the_same_port(tmp_path: Path) -> None:
    estate = load_estate()
    names = estate.ordered_regions()
    boot = world._Boot(estate, names, world.Options(folder=tmp_path), lambda _: None)
    with ExitStack() as stack:
        boot._choose_ports(stack)
    ports = [boot.emulator_port, boot.prometheus_port, boot.plant_port, boot.exporter_port]
    ports += boot.device_ports.values()
    for name in names:
        plane = boot.booting[name]
        ports += [plane._etcd_port, plane._peer_port, plane._api_port, plane._kwok_port]
        ports += [*boot.karpenter_ports[name], *astuple(boot.keda_ports[name]), *boot.behind_ports[name].values()]
        ports += [boot.metrics_ports[name], *astuple(boot.vpa_ports[name])]
        assert list(boot.behind_ports[name]) == list(containers.SERVED)
    assert len(ports) == len(set(ports)) == 4 + 5 + 18 * len(names)


def boot_of(folder: Path, stretch: float | None = None) -> world._Boot:
    options = world.Options(folder=folder, stretch=stretch)
    return world._Boot(load_estate(), ["us-east-1"], options, lambda _: None)


SLOW = ReadTimeoutError(None, "/readyz", "Read timed out.")  # type: ignore[arg-type]


@pytest.mark.parametrize("slow", [SLOW, ApiException(503), ApiException(429), PrometheusError("away"), TimeoutError()])
def test_a_wait_of_the_boot_goes_on_when_somebody_is_too_busy_to_answer(tmp_path: Path, slow: Exception) -> None:
    answers = iter([slow, slow, True])

    def condition() -> bool:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    boot_of(tmp_path)._wait_until(condition, "the answer", 30)
    assert next(answers, None) is None


def test_a_wait_of_the_boot_ends_at_a_refusal(tmp_path: Path) -> None:
    def condition() -> bool:
        raise ApiException(403)

    with pytest.raises(ApiException):
        boot_of(tmp_path)._wait_until(condition, "the answer", 30)


def test_every_wait_of_the_boot_is_stretched(tmp_path: Path) -> None:
    assert boot_of(tmp_path).processes.stretch == 1.0
    assert boot_of(tmp_path, 2.5).processes.stretch == 2.5
    with pytest.raises(TimeoutError, match="the moon did not happen within 1 s"):
        boot_of(tmp_path, 100.0)._wait_until(lambda: False, "the moon", 0.01)
