"""What a rehearsal shows at its end that others compute: the plan's waterfall, and the page inside Airflow."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import requests

from lab import world as worlds

PAGE = "/akidb/"
PAGE_SECONDS, PLAN_SECONDS, BENCH_SECONDS = 30, 120, 300
BENCH = "benchmarks/bench_page.py"


def waterfall() -> None:
    """The plan's savings lever by lever, in both books."""
    done = _ran("the plan's waterfall", "-m", "include.planner", seconds=PLAN_SECONDS)
    if done:
        print(f"\n{done}", flush=True)


def page(airflow_url: str) -> dict[str, Any]:
    """``page`` of report.json: the status without a login, and the seconds of the page over 10,000 ledger records."""
    return {"without_login": without_login(airflow_url), "seconds_10k": _seconds()}


def without_login(airflow_url: str) -> int | None:
    """The HTTP status of the page for somebody who has not logged in; None without an answer."""
    try:
        return requests.get(f"{airflow_url}{PAGE}", timeout=PAGE_SECONDS, allow_redirects=False).status_code
    except requests.RequestException:
        return None


def _seconds() -> float | None:
    if not (worlds.REPOSITORY / BENCH).exists():
        return None
    answer = _ran("the page's benchmark", "-m", "benchmarks.bench_page", "--json", seconds=BENCH_SECONDS)
    return seconds_10k(answer)


def seconds_10k(text: str) -> float | None:
    """``seconds_10k`` of the benchmark's last line; None where it has none."""
    try:
        return float(json.loads(text.strip().splitlines()[-1])["seconds_10k"])
    except (IndexError, KeyError, TypeError, ValueError):
        return None


def section(markdown: str, title: str) -> list[str]:
    """The lines of a section of a report, without its heading; none where it isn't there."""
    lines = markdown.splitlines()
    begins = next((n for n, line in enumerate(lines) if line == f"## {title}"), len(lines))
    inside = lines[begins + 1 :]
    ends = next((n for n, line in enumerate(inside) if line.startswith("## ")), len(inside))
    return [line for line in inside[:ends] if line.strip()]


def _ran(what: str, *arguments: str, seconds: float) -> str:
    """A program's output; empty after saying why there is none."""
    try:
        done = subprocess.run(
            [sys.executable, *arguments], capture_output=True, text=True, timeout=seconds, check=False,
            cwd=worlds.REPOSITORY,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        print(f"\n{what}: not there within {seconds:.0f} s", flush=True)
        return ""
    if done.returncode:
        print(f"\n{what}: {(done.stderr.strip().splitlines() or ['it failed'])[-1]}", flush=True)
        return ""
    return done.stdout.strip()
