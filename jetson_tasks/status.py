"""What a device says of itself: the status document and the metrics file that node_exporter reads. Pure."""

from __future__ import annotations

from typing import Any, List, Mapping

FORMAT = 1
GAUGES = (
    ("jetson_power_watts", "watts", "Watts at the board's input (VDD_IN)."),
    ("jetson_power_load_qps", "load_qps", "Requests/s as the device last read them."),
    ("jetson_power_generation", "generation", "Generation of the desired state."),
    ("jetson_power_updated_seconds", "at", "When the agent last looked, Unix seconds."),
)
Lines = List[str]


def metrics(status: Mapping[str, Any]) -> str:
    """The metrics file of a status; what is unknown has no series."""
    device = 'device="{}"'.format(_escaped(str(status["device"])))
    lines: Lines = []
    for name, field, text in GAUGES:
        lines += _series(name, "gauge", text, device, status.get(field))
    lines += _series("jetson_power_switches_total", "counter", "Switches so far.", device, status.get("switches"))
    safe = int(str(status.get("why", "")).startswith("safe mode"))
    lines += _series("jetson_power_safe_mode", "gauge", "1 while something is wrong.", device, safe)
    mode, error = status.get("mode"), status.get("error")
    if mode is not None:
        labels = f'{device},mode="{_escaped(str(mode))}"'
        lines += _series("jetson_power_mode", "gauge", "The power mode, 1.", labels, 1)
    if error:
        labels = '{},code="{}"'.format(device, error["code"])
        lines += _series("jetson_power_error", "gauge", "What is wrong, 1.", labels, 1)
    return "\n".join(lines) + "\n"


def _series(name: str, kind: str, text: str, labels: str, value: float | None) -> Lines:
    if value is None:
        return []
    return [f"# HELP {name} {text}", f"# TYPE {name} {kind}", f"{name}{{{labels}}} {value:.15g}"]


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def bare(device: str, model: str, now: float, error: Mapping[str, str] | None) -> dict[str, Any]:
    """The status of a device of which nothing but its name is known."""
    return {
        "format": FORMAT,
        "device": device,
        "board": None,
        "model": model,
        "agent": None,
        "at": now,
        "generation": None,
        "mode": None,
        "wanted": None,
        "why": "",
        "modes": [],
        "reboot_modes": [],
        "load_qps": None,
        "watts": None,
        "pending_reboot": None,
        "persisted": False,
        "desired": None,
        "error": dict(error) if error else None,
    }
