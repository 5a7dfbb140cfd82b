"""The process of all devices: its load from the plant, its page of metrics, and its end."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from lab.devices import boot
from lab.machine.processes import Processes, reserved_ports
from lab.service.devices import MODES


class PlantHandler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        assert self.path == "/devices"
        body = json.dumps({"jetson01": 110.0, "jetson02": 0.0}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class calls it so
        pass


@pytest.fixture
def plant() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), PlantHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def page(address: str) -> str:
    try:
        with urllib.request.urlopen(f"{address}/metrics", timeout=10) as answer:
            return str(answer.read().decode())
    except OSError:
        return ""


def test_the_devices_of_a_lab_follow_the_plant_s_load_and_end_with_it(tmp_path: Path, plant: str) -> None:
    processes = Processes(tmp_path)
    with reserved_ports(3) as (exporter, *ports):
        named = dict(zip(("jetson01", "jetson02"), ports, strict=True))
        state = {"plant": plant, "devices_exporter": f"http://127.0.0.1:{exporter}"}
        state |= {"devices": boot.described(tmp_path / "run", named)}  # type: ignore[dict-item]
        (tmp_path / "state.json").write_text(json.dumps(state))
        boot.start(processes, tmp_path)
        first = MODES["MAXN_SUPER"]
        wanted = (
            "# TYPE jetson_power_watts gauge\n"
            f'jetson_power_watts{{device="jetson01"}} {first.watts(110):.3f}\n'
            f'jetson_power_watts{{device="jetson02"}} {first.watts(0):.3f}\n'
        )
        processes.wait_until(lambda: page(str(state["devices_exporter"])) == wanted, "the load of the plant", 60)
    processes.stop_all()
    end = time.monotonic() + 30
    while page(str(state["devices_exporter"])):
        assert time.monotonic() < end


def test_a_lab_that_is_not_up_is_named(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "lab.devices", "--state", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 1
    assert done.stderr.startswith(f"devices: {tmp_path / 'state.json'} can't be read (")
    assert done.stderr.endswith("start the lab with `make lab-up`\n")
