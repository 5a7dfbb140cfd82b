"""The five devices of the lab in one process:

    python -m lab.devices --state .lab

state.json names their ports and keys. ``GET /metrics`` on the exporter's port is what the node_exporter of each device
that is on would say. The load comes from the plant's ``/devices``; while that is silent, it stays as it was.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
import threading
import urllib.request
from collections.abc import Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from lab.devices.device import LabDevice
from lab.devices.exporter import page
from lab.devices.faults import FAULTS_FILE, DeviceFaults
from lab.devices.ssh import HOST, DeviceServer

STEP_SECONDS = 0.2
LOAD_SECONDS = 1.0


class Loads:
    """Requests/s by device, as the plant last gave them."""

    def __init__(self, plant: str) -> None:
        self._address = f"{plant}/devices"
        self._found: dict[str, float] = {}

    def of(self, device: str) -> float:
        return self._found.get(device, 0.0)

    def refresh(self) -> None:
        try:
            with urllib.request.urlopen(self._address, timeout=2) as answer:
                self._found = {name: float(load) for name, load in json.load(answer).items()}
        except (OSError, ValueError):
            return

    async def keep(self) -> None:
        while True:
            await asyncio.to_thread(self.refresh)
            await asyncio.sleep(LOAD_SECONDS)


def exporter(devices: Sequence[LabDevice], port: int) -> ThreadingHTTPServer:
    """An HTTP server on loopback for /metrics; port 0 takes a free one."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = page([device.metrics() for device in devices]).encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class calls it so
            """A scrape every two seconds is not worth a line."""

    return ThreadingHTTPServer((HOST, port), Handler)


def servers(state: Mapping[str, Any], folder: Path, loads: Loads) -> list[DeviceServer]:
    """The servers of every device that ``state`` names; their files lie in the lab's run folder."""
    named = state["devices"]
    faults = DeviceFaults(folder / FAULTS_FILE, named)
    run = folder.resolve() / "run" / "devices"
    return [
        DeviceServer(
            LabDevice(name, run / name, faults, lambda name=name: loads.of(name)),  # type: ignore[misc]
            int(where["port"]),
            run / "keys",
        )
        for name, where in named.items()
    ]


async def serve(found: Sequence[DeviceServer], stop: asyncio.Event) -> None:
    """Step every device until ``stop`` is set."""
    while not stop.is_set():
        for server in found:
            await server.step()
        await asyncio.sleep(STEP_SECONDS)
    for server in found:
        await server.close()


async def run(state: Mapping[str, Any], folder: Path) -> None:
    """The whole process, until a signal."""
    loads, stop = Loads(str(state["plant"])), asyncio.Event()
    found = servers(state, folder, loads)
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    web = exporter([server.device for server in found], int(str(state["devices_exporter"]).rpartition(":")[2]))
    threading.Thread(target=web.serve_forever, daemon=True).start()
    keeping = asyncio.create_task(loads.keep())
    await serve(found, stop)
    keeping.cancel()


def main() -> None:
    """Run the devices until a signal ends the process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--state", type=Path, required=True, help="the lab's folder, which holds state.json")
    folder: Path = parser.parse_args().state
    try:
        state = json.loads((folder / "state.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        sys.exit(f"devices: {folder / 'state.json'} can't be read ({error}): start the lab with `make lab-up`")
    asyncio.run(run(state, folder))


if __name__ == "__main__":
    main()
