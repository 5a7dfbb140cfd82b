"""The export's queries against a real Prometheus: resets, gaps, a new pod, and pods that could not be scraped."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from include.clients.prometheus import Prometheus
from include.estate import load_estate
from include.forecast.traffic.export import observed
from lab.cluster import telemetry
from lab.machine.processes import Processes, reserved_ports
from lab.machine.programs import find

pytestmark = pytest.mark.lab
START = 1_800_000_000 // 86400 * 86400
ESTATE = load_estate()
METRICS = ESTATE.metrics
MINUTES = 60


def counter(metric: str, region: str, pod: str, values: dict[int, float]) -> list[str]:
    labels = f'region="{region}",namespace="akidb",status="200",job="akidb",instance="{pod}"'
    return [f"{metric}{{{labels}}} {value} {START + 60 * minute}" for minute, value in values.items()]


def growing(per_minute: float, minutes: range, start: float = 0.0) -> dict[int, float]:
    return {minute: start + per_minute * (minute - minutes[0]) for minute in minutes}


def up(pod: str, down: range) -> list[str]:
    labels = f'job="akidb",instance="{pod}"'
    return [f"up{{{labels}}} {0 if minute in down else 1} {START + 60 * minute}" for minute in range(MINUTES)]


def lines() -> list[str]:
    http, grpc = METRICS.http_requests, METRICS.grpc_requests
    found: dict[str, list[str]] = {http: [], grpc: [], "up": []}
    for region in ("reset", "gap", "born", "lost"):
        found[grpc] += counter(grpc, region, f"{region}-1", growing(60, range(MINUTES)))
    # One pod restarts between minute 29 and 30 and has counted 120 since.
    restarted = growing(600, range(30), 1e6) | growing(600, range(30, MINUTES), 120)
    found[http] += counter(http, "reset", "reset-1", restarted)
    kept = {m: v for m, v in growing(600, range(MINUTES)).items() if m not in range(20, 25)}
    found[http] += counter(http, "gap", "gap-1", kept)
    found[http] += counter(http, "born", "born-1", growing(600, range(MINUTES)))
    found[http] += counter(http, "born", "born-2", growing(300, range(40, MINUTES), 5))
    # Two pods; one of them can't be scraped for five minutes.
    found[http] += counter(http, "lost", "lost-1", growing(600, range(MINUTES)))
    known = {m: v for m, v in growing(600, range(MINUTES)).items() if m not in range(20, 25)}
    found[http] += counter(http, "lost", "lost-2", known)
    found["up"] += up("lost-2", range(20, 25)) + up("lost-1", range(0))
    return [line for group in found.values() for line in group]


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    folder = tmp_path_factory.mktemp("prometheus")
    text = folder / "samples.txt"
    text.write_text("\n".join([*lines(), "# EOF", ""]))
    command = [find("promtool"), "tsdb", "create-blocks-from", "openmetrics", "--quiet", text, folder / "run" / "data"]
    subprocess.run([str(part) for part in command], check=True, timeout=60, capture_output=True)
    processes = Processes(folder)
    try:
        with reserved_ports(1) as (port,):
            settings = "storage: {tsdb: {retention: {time: 10y}}}\n"
            yield Prometheus(telemetry.start(processes, folder / "run", port, settings))
    finally:
        processes.stop_all()


def exported(prometheus: Prometheus, region: str) -> dict[int, float]:
    """QPS by minute; minute 0 ends at the second sample."""
    now = START + 60 * (MINUTES - 1) + 120.0
    values = observed(prometheus, ESTATE, region, START, START + 60 * (MINUTES - 1), now)
    return {(minute - START) // 60: value for minute, value in values.items()}


def test_a_reset_counts_from_its_new_value(prometheus: Prometheus) -> None:
    found = exported(prometheus, "reset")
    assert sorted(found) == list(range(MINUTES - 1))
    assert {minute: value for minute, value in found.items() if value != 11.0} == {29: 120 / 60 + 1}


def test_a_gap_is_missing_with_the_minutes_at_its_ends(prometheus: Prometheus) -> None:
    found = exported(prometheus, "gap")
    # Samples 20 to 24 are missing: minutes 19 to 24 have no end, and in minute 18 the outage may have begun.
    assert sorted(set(range(MINUTES - 1)) - set(found)) == list(range(18, 25))
    assert set(found.values()) == {11.0}


def test_a_new_pod_counts_from_its_second_sample(prometheus: Prometheus) -> None:
    found = exported(prometheus, "born")
    assert {found[minute] for minute in range(40)} == {11.0}
    assert {found[minute] for minute in range(40, MINUTES - 1)} == {16.0}


def test_a_sum_over_half_of_the_pods_is_missing_not_half_the_traffic(prometheus: Prometheus) -> None:
    found = exported(prometheus, "lost")
    assert sorted(set(range(MINUTES - 1)) - set(found)) == list(range(17, 25))
    assert set(found.values()) == {21.0}
