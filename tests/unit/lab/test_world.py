"""What a boot decides before anything runs: a port of its own for every listener."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import astuple
from pathlib import Path

from include.estate import load_estate
from lab import behind, world


def test_no_two_listeners_get_the_same_port(tmp_path: Path) -> None:
    estate = load_estate()
    names = estate.ordered_regions()
    boot = world._Boot(estate, names, world.Options(folder=tmp_path), lambda _: None)
    with ExitStack() as stack:
        boot._choose_ports(stack)
    ports = [boot.emulator_port, boot.prometheus_port, boot.plant_port]
    for name in names:
        plane = boot.booting[name]
        ports += [plane._etcd_port, plane._peer_port, plane._api_port, plane._kwok_port]
        ports += [*boot.karpenter_ports[name], *astuple(boot.keda_ports[name]), *boot.behind_ports[name].values()]
        assert list(boot.behind_ports[name]) == list(behind.SERVED)
    assert len(ports) == len(set(ports)) == 3 + 13 * len(names)
