"""Processes behind Deployments: started with the first ready pod, ended with the last, started again when they die."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from include.estate import load_estate
from lab.cluster import containers
from lab.cluster.containers import Behind, Command, RegionSupervisor, UnavailableError, run, table
from lab.cluster.rules import RuleMirror
from lab.machine.processes import Processes

REGION = "us-east-1"


class FakeCluster:
    def __init__(self) -> None:
        self.up: dict[str, tuple[str, ...]] = {}
        self.maps: dict[str, str] = {}
        self.away = False

    def deployed(self, namespace: str, deployment: str) -> tuple[str, ...] | None:
        if self.away:
            raise UnavailableError("the API server can't be reached")
        return self.up.get(f"{namespace}/{deployment}")

    def rules(self) -> dict[str, str]:
        return self.maps


class FakeProcesses:
    def __init__(self) -> None:
        self.alive: set[str] = set()
        self.calls: list[str] = []

    def running(self, name: str) -> bool:
        return name in self.alive

    def start(self, name: str, arguments: Any, env: Mapping[str, str], cwd: Path) -> None:
        self.alive.add(name)
        self.calls.append(f"start {name} {arguments} {dict(env)}")

    def end(self, name: str) -> None:
        self.alive.discard(name)
        self.calls.append(f"end {name}")


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def cluster() -> FakeCluster:
    return FakeCluster()


@pytest.fixture
def processes() -> FakeProcesses:
    return FakeProcesses()


def supervisor(
    cluster: FakeCluster, processes: FakeProcesses, folder: Path, clock: Clock, added: Sequence[str] = ()
) -> RegionSupervisor:
    entries = [Behind("opencost", "opencost", lambda given: Command(["cost", *given], {"A": "1"}), lambda: added)]
    mirror = RuleMirror(folder, "http://prometheus", check=lambda _: "", reload=lambda _: None)
    return RegionSupervisor(REGION, cluster, entries, cast("Processes", processes), mirror, clock)


def test_a_process_lives_as_long_as_its_deployment_has_a_ready_pod(
    cluster: FakeCluster, processes: FakeProcesses, tmp_path: Path
) -> None:
    one = supervisor(cluster, processes, tmp_path, Clock())
    assert one.step() == []
    cluster.up["opencost/opencost"] = ()
    assert one.step() == ["opencost started"]
    assert one.step() == []
    cluster.up.clear()
    assert one.step() == ["opencost ended: no pod of its Deployment is ready"]
    assert processes.calls == ["start us-east-1-opencost ['cost'] {'A': '1'}", "end us-east-1-opencost"]


def test_a_dead_process_is_started_again_after_a_pause_that_doubles(
    cluster: FakeCluster, processes: FakeProcesses, tmp_path: Path
) -> None:
    clock = Clock()
    one = supervisor(cluster, processes, tmp_path, clock)
    cluster.up["opencost/opencost"] = ()
    one.step()
    again = []
    for clock.now in range(1, 20):  # type: ignore[assignment]
        processes.alive.clear()  # it dies at once each time
        if one.step() == ["opencost started again: it had died"]:
            again.append(clock.now)
    assert again == [2, 6, 14]


def test_a_process_runs_with_what_is_deployed_and_is_started_again_at_once_when_that_changes(
    cluster: FakeCluster, processes: FakeProcesses, tmp_path: Path
) -> None:
    added = ["--port", "1"]
    one = supervisor(cluster, processes, tmp_path, Clock(), added)
    cluster.up["opencost/opencost"] = ("--max-age", "30")
    one.step()
    cluster.up["opencost/opencost"] = ("--max-age", "60")
    assert one.step() == ["opencost started again: its arguments have changed"]
    added.append("--fast")
    assert one.step() == ["opencost started again: its arguments have changed"]
    assert one.step() == []
    assert [call.partition(" {")[0] for call in processes.calls] == [
        "start us-east-1-opencost ['cost', '--max-age', '30', '--port', '1']",
        "end us-east-1-opencost",
        "start us-east-1-opencost ['cost', '--max-age', '60', '--port', '1']",
        "end us-east-1-opencost",
        "start us-east-1-opencost ['cost', '--max-age', '60', '--port', '1', '--fast']",
    ]


def test_a_running_process_of_a_killed_supervisor_is_taken_over(
    cluster: FakeCluster, processes: FakeProcesses, tmp_path: Path
) -> None:
    processes.alive.add("us-east-1-opencost")
    cluster.up["opencost/opencost"] = ("--max-age", "30")
    assert supervisor(cluster, processes, tmp_path, Clock()).step() == []


def test_an_outage_changes_nothing_and_is_told_once(
    cluster: FakeCluster, processes: FakeProcesses, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    one = supervisor(cluster, processes, tmp_path, Clock())
    cluster.up["opencost/opencost"] = ()
    one.step()
    cluster.away = True
    stop = threading.Event()
    steps = 0

    class Counting:
        region = REGION

        def step(self) -> list[str]:
            nonlocal steps
            steps += 1
            if steps == 3:
                cluster.away = False
                stop.set()
            return one.step()

    caplog.set_level("INFO")
    run(cast("RegionSupervisor", Counting()), stop, poll_seconds=0)
    assert processes.alive == {"us-east-1-opencost"}
    assert [r.message for r in caplog.records] == [
        "us-east-1: lost: the API server can't be reached; trying again every 0 s",
        "us-east-1: back",
    ]


WHERE = {name: f"http://127.0.0.1:{port}" for port, name in enumerate(containers.SERVED, 21001)}


def test_the_table_has_each_process_on_its_own_port(tmp_path: Path) -> None:
    state = {
        "folder": str(tmp_path),
        "prometheus": "http://127.0.0.1:21000",
        "models": "file:///models",
        "predictor_arguments": [],
        "regions": {REGION: WHERE},
    }
    entries = table(load_estate(), state, REGION)
    assert [(e.namespace, e.deployment) for e in entries] == [
        ("opencost", "opencost"),
        ("kubecost", "kubecost"),
        ("akidb", "traffic-predictor"),
    ]
    assert list(entries[1].command(()).arguments)[1:] == [
        *("-m", "lab.cluster.kubecost", "--port", "21002", "--opencost", "http://127.0.0.1:21001", "--region", REGION)
    ]
    started = entries[2].command(("--max-age", "30", *entries[2].added()))
    assert list(started.arguments)[1:] == ["-m", "include.forecast.server", "--max-age", "30", *entries[2].added()]
    assert "21003" in entries[2].added()


def test_ports_are_held_from_when_the_boot_frees_them(monkeypatch: pytest.MonkeyPatch) -> None:
    class Mark:
        closed = False

        def close(self) -> None:
            self.closed = True

    mark, asked = Mark(), []

    class Stop:
        """Ends the wait that only a signal ends."""

        def is_set(self) -> bool:
            return False

        def wait(self, seconds: float | None = None) -> bool:
            return True

    def hold(port: int) -> Mark | None:
        asked.append(port)
        return mark if len(asked) > 3 else None  # the boot has all at first

    monkeypatch.setattr(containers, "hold_port", hold)
    containers.hold_ports({"regions": {REGION: WHERE}}, cast("threading.Event", Stop()))
    assert asked == [21001, 21002, 21003] * 2
    assert mark.closed
