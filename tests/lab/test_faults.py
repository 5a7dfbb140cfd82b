"""Whole rehearsals with something killed or failing on purpose: the run ends promoted or rolled back, never half way.

Each boots its own lab in a folder of its own; `make test-faults` runs them (about an hour).
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from lab.machine.processes import OUTAGE_MARK, Processes
from tests.lab.conftest import REGION

pytestmark = pytest.mark.faults
REPOSITORY = Path(__file__).parents[2]
LIMIT_SECONDS = 20 * 60
TASK_PROCESS = re.compile(r"^airflow worker -- [0-9a-f]{8}-")


@contextmanager
def rehearsal(folder: Path, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """A running ``python -m lab.rehearsal``, its output in ``folder/output``; ended like Ctrl-C if it still runs."""
    folder.mkdir(parents=True, exist_ok=True)
    env = {**os.environ, "LAB_DIR": str(folder), "KEEP": "0", **environment}
    with (folder / "output").open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "lab.rehearsal"], cwd=REPOSITORY, env=env, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(timeout=120)


def records(folder: Path, region: str = REGION, lever: str = "spot_capacity") -> list[Mapping[str, Any]]:
    """The region's ledger records so far, oldest first."""
    chains = (folder / "ledger" / lever / region).glob("*/*.json")
    return [json.loads(path.read_text()) for path in sorted(chains)]


def wait_for(process: subprocess.Popen[bytes], condition: Callable[[], bool], what: str) -> None:
    """Until ``condition`` holds while the rehearsal runs."""
    pause = threading.Event()
    begun = time.monotonic()
    while not condition():
        assert process.poll() is None, f"the rehearsal ended before {what}"
        assert time.monotonic() - begun < LIMIT_SECONDS, f"no {what} within {LIMIT_SECONDS} s"
        pause.wait(0.2)


def applying(folder: Path, slot: str, lever: str = "spot_capacity") -> bool:
    """Whether the stage of ``slot`` is being applied and has not been judged."""
    steps = [r["step"] for r in records(folder, lever=lever) if r["figures"].get("slot") == slot]
    return "touch" in steps and "applied" not in steps


def task_processes(folder: Path) -> list[psutil.Process]:
    """The processes of this rehearsal's Airflow that run a task now."""
    scheduler = psutil.Process(Processes(folder / "airflow").started("scheduler").pid)
    found = []
    for process in scheduler.children(recursive=True):
        try:
            # The title is the only mark: it is written over the arguments and the environment.
            if TASK_PROCESS.match(" ".join(process.cmdline())):
                found.append(process)
        except psutil.NoSuchProcess:
            continue
    return found


def outcome(folder: Path, process: subprocess.Popen[bytes]) -> Mapping[str, Any]:
    """The report of the ended rehearsal, after checking that exit status, verdict and live state belong together."""
    status = process.wait(timeout=LIMIT_SECONDS)
    output = (folder / "output").read_text(errors="replace")
    report: Mapping[str, Any] = json.loads((folder / "report.json").read_text())
    assert report["verdict"] in {"promoted", "rolled back"}, output[-3000:]
    fault = report.get("fault") or {"as_expected": report["verdict"] == "promoted"}
    assert (status == 0) == fault["as_expected"], output[-3000:]
    assert report["restored"] == (report["verdict"] == "rolled back"), output[-3000:]
    assert secrets_told(folder) == []
    return report


def secrets_told(folder: Path) -> list[str]:
    """Ledger records and task logs of the rehearsal that hold what only its secrets hold."""
    marks = ("PRIVATE KEY", "client-key-data", "Bearer ", "LS0tLS1CRUdJTiBFQyBQUklWQVRF")  # the last: a key in base64
    places = [*(folder / "ledger").rglob("*.json"), *(folder / "airflow" / "task-logs").rglob("*.log")]
    assert len(places) > 20, "the rehearsal left no ledger or no task logs to look at"
    return [str(path) for path in places if any(mark in path.read_text(errors="replace") for mark in marks)]


def test_a_task_killed_in_the_middle_of_apply_is_tried_again_and_the_run_ends(tmp_path: Path) -> None:
    with rehearsal(tmp_path, REGIONS=REGION, DAYS="1") as process:
        wait_for(process, lambda: applying(tmp_path, "step_2") and bool(task_processes(tmp_path)), "the second step")
        for task in task_processes(tmp_path):
            task.kill()
        report = outcome(tmp_path, process)
    assert report["verdict"] == "promoted"
    assert "it is tried again" in (tmp_path / "output").read_text()


STRUCK = {  # a lever of each day, and a slot of it that takes long enough to be struck
    "1": ("spot_capacity", "step_2"),
    "2": ("predictive_scaling", "reactive"),
    "3": ("request_routing", "weights"),
    "4": ("consolidation", "balanced"),
    "5": ("cost_monitoring", "opencost"),
}


@pytest.mark.timeout(7200)  # a week, up to a minute more after each of five kills, on a machine three times slower
def test_a_week_goes_on_whose_scheduler_is_killed_in_the_middle_of_every_day(tmp_path: Path) -> None:
    """With the tasks that it ran, as when its machine is lost; back after a while, as where it is kept running."""
    airflow = tmp_path / "airflow"
    with rehearsal(tmp_path, REGIONS=REGION, DAYS=",".join(STRUCK), UNDO="0") as process:
        for lever, slot in STRUCK.values():
            wait_for(process, lambda lever=lever, slot=slot: applying(tmp_path, slot, lever), f"{lever}'s {slot}")
            with paused_crash_check(airflow):
                for task in task_processes(tmp_path):
                    task.kill()
                away(airflow, "scheduler", 5)
        report = outcome(tmp_path, process)
    assert report["verdict"] == "promoted"
    assert {day: found["verdict"] for day, found in report["days"].items()} == dict.fromkeys(STRUCK, "promoted")


def test_karpenter_away_for_a_while_does_not_leave_the_run_half_way(tmp_path: Path) -> None:
    with rehearsal(tmp_path, REGIONS=REGION, DAYS="1") as process, paused_crash_check(tmp_path):
        wait_for(process, lambda: applying(tmp_path, "step_2"), "the second step")
        away(tmp_path, f"{REGION}-karpenter", 30)
        outcome(tmp_path, process)


@contextmanager
def paused_crash_check(folder: Path) -> Iterator[None]:
    """The rehearsal names crashed processes and stops; while one is killed on purpose it must not."""
    folder.mkdir(parents=True, exist_ok=True)
    marker = folder / OUTAGE_MARK
    marker.touch()
    try:
        yield
    finally:
        marker.unlink(missing_ok=True)


def away(folder: Path, name: str, seconds: float) -> None:
    """Kill -9 a process of the lab and start it again after ``seconds``."""
    processes = Processes(folder)
    processes.kill(name)
    threading.Event().wait(seconds)
    processes.restart(name)


def test_a_gate_that_fails_after_the_canary_rolls_every_touched_region_back(tmp_path: Path) -> None:
    with rehearsal(tmp_path, REGIONS=f"{REGION},us-east-1", FAULT="gate") as process:
        report = outcome(tmp_path, process)
    assert report["verdict"] == "rolled back"
    assert set(report["regions"]) == {REGION, "us-east-1"}
    undone = [region for region in report["regions"] if any(r["step"] == "restored" for r in records(tmp_path, region))]
    assert set(undone) == {REGION, "us-east-1"}
    assert {r["nodes_after"] for r in report["regions"].values()} == {5}


@pytest.mark.parametrize(
    ("fault", "day", "verdict", "lever"),
    [
        ("spot-storm", "1", "rolled back", "spot_capacity"),
        ("api-outage", "1", "", "spot_capacity"),
        ("forecast-down", "2", "promoted", "predictive_scaling"),
        ("etag", "3", "promoted", "lambda_edge"),
    ],
)
def test_a_fault_that_strikes_its_own_day_comes_out_as_expected(
    tmp_path: Path, fault: str, day: str, verdict: str, lever: str
) -> None:
    with rehearsal(tmp_path, REGIONS=REGION, FAULT=fault, DAYS=day) as process:
        found = outcome(tmp_path, process)["fault"]
    assert found["problems"] == []
    assert found["lever"] == lever
    assert found["verdict"] in ([verdict] if verdict else ["promoted", "rolled back"])
    assert found["place"]


def test_an_empty_spot_market_falls_back_to_on_demand_in_its_own_domains(tmp_path: Path) -> None:
    with rehearsal(tmp_path, REGIONS=REGION, FAULT="ice") as process:
        report = outcome(tmp_path, process)
    gates = [r["figures"] for r in records(tmp_path) if r["step"] == "gate" and r["figures"]["slot"] == "step_2"]
    pending = [result for result in gates[0]["results"] if result["gate"] == "pods_pending_too_long"]
    assert pending[0]["outcome"] == "pass"
    assert report["verdict"] == "promoted"


def test_memory_that_leaks_after_a_resize_is_seen_and_the_old_requests_come_back(tmp_path: Path) -> None:
    with rehearsal(tmp_path, REGIONS=f"{REGION},us-east-1", FAULT="oom", DAYS="4") as process:
        report = outcome(tmp_path, process)
    assert report["verdict"] == "rolled back"
    assert report["days"]["4"]["regions"]["us-east-1"]["oom_kills"] > 0
    undone = records(tmp_path, "us-east-1", "right_sizing")
    gates = [r["figures"] for r in undone if r["step"] == "gate" and r["figures"]["slot"].startswith("in_place")]
    failed = [result["gate"] for gate in gates for result in gate["results"] if result["outcome"] == "fail"]
    assert "oom_kills" in failed
    # That the old requests are back on running pods is part of ``restored``: the lab compares them with the start.
    assert any(r["step"] == "restored" for r in undone)
    assert records(tmp_path, REGION, "consolidation") == []
