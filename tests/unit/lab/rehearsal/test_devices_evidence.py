"""What stands on the devices, read from a device as the lab lays it out."""

from __future__ import annotations

import json
from pathlib import Path

from jetson_tasks import paths
from lab.devices import layout
from lab.rehearsal import devices_evidence, undo


def test_a_device_is_its_mode_its_agent_what_it_is_asked_for_and_its_unit(tmp_path: Path) -> None:
    root = devices_evidence.devices_folder(tmp_path) / "jetson01"
    layout.create(root, "jetson01", tmp_path / "faults.json")
    before = devices_evidence.specs(tmp_path, ["jetson01"])
    assert before == {"devices": {"jetson01": {"mode": "MAXN_SUPER", "agent": None, "desired": None, "enabled": False}}}
    layout.write(root, paths.AGENT, "agent")
    layout.write(root, paths.DESIRED, json.dumps({"generation": 3, "issued_at": "now", "mode": "15W"}))
    layout.write(root, layout.UNIT_WANTED, json.dumps({"enabled": True, "active": True, "serial": 1}))
    now = devices_evidence.specs(tmp_path, ["jetson01"])
    assert now["devices"]["jetson01"] == {
        "mode": "MAXN_SUPER", "agent": "there", "desired": {"mode": "15W"}, "enabled": True,
    }  # fmt: skip
    remains = undo.of_evidence({"devices": before}, {"devices": now})
    assert {(one.region, one.lever) for one in remains} == {("devices", "edge_power")}
