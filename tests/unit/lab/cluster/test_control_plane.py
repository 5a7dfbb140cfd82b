"""What a control plane is started with on a slow machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest
import yaml

from lab.cluster import control_plane, keda


class Recorded:
    """Processes that are not started; ``commands`` by the end of their names."""

    def __init__(self, stretch: float) -> None:
        self.stretch = stretch
        self.commands: dict[str, list[str]] = {}

    def start(self, name: str, command: Any, **_: Any) -> None:
        self.commands[name.removeprefix("us-east-1-")] = [str(part) for part in command]


@pytest.mark.parametrize(("stretch", "grace"), [(1.0, 50), (2.4, 120)])
def test_a_node_without_heartbeat_is_given_up_later_where_the_kubelets_stand_in_is_slow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stretch: float, grace: int
) -> None:
    monkeypatch.setattr(control_plane, "find", lambda name: Path(f"/bin/{name}"))
    processes = Recorded(stretch)
    booting = control_plane.Booting("us-east-1", "c", tmp_path, [1, 2, 3, 4], cast("Any", processes))
    booting.start_controllers()
    assert f"--node-monitor-grace-period={grace}s" in processes.commands["kube-controller-manager"]


def test_kwok_serves_the_use_of_pods_on_loopback_and_learns_it_from_objects(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control_plane, "find", lambda name: Path(f"/bin/{name}"))
    monkeypatch.setattr(control_plane, "shared_folder", lambda name: tmp_path / name)
    nodes = tmp_path / "kwok-stages" / "node"
    files = ("fast/node-initialize", "heartbeat-with-lease/node-heartbeat-with-lease")
    for path in [*(nodes / f"{name}.yaml" for name in files), tmp_path / "kwok-metrics/resource/metrics-resource.yaml"]:
        path.parent.mkdir(parents=True)
        path.write_text(f"kind: {path.stem}")
    processes = Recorded(1.0)
    booting = control_plane.Booting("us-east-1", "c", tmp_path, [1, 2, 3, 4], cast("Any", processes))
    booting.start_kubelets(pod_start_ms=4000, pod_stop_ms=2000)
    command = processes.commands["kwok"]
    assert command[-2:] == ["--enable-crds", "ClusterResourceUsage"]
    assert command[command.index("--server-address") + 1] == "127.0.0.1:4"
    documents = list(yaml.safe_load_all((tmp_path / "stages.yaml").read_text()))
    assert [d["kind"] for d in documents[-3:]] == [
        *("node-initialize", "node-heartbeat-with-lease", "metrics-resource"),
    ]
    delays = {d["metadata"]["name"]: d["spec"]["delay"]["durationMilliseconds"] for d in documents[:-3]}
    assert delays == {"pod-ready": 4000, "pod-ready-again": 1000, "pod-delete": 2000}


def test_keda_waits_longer_for_prometheus_on_a_slow_machine() -> None:
    assert keda.environment(1.0)["KEDA_HTTP_DEFAULT_TIMEOUT"] == "3000"
    assert keda.environment(2.4) == {**keda.ENVIRONMENT, "KEDA_HTTP_DEFAULT_TIMEOUT": "7200"}
