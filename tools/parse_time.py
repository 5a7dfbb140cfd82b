"""How long the DAG files take to parse once Airflow itself is imported: ``python -m tools.parse_time`` prints seconds.

Each measurement is a fresh process with an Airflow home of its own, in seconds of the processor: a parse computes and
waits for nothing, and whatever else the machine does leaves this figure alone. The first one leaves the compiled
modules behind, as an installed project has them; the quickest of those after it counts.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
RUNS = 3
TIMEOUT = 300  # seconds of one process
# DagBag's own module is Airflow's; the operators are what a DAG file of this project imports of it.
PARSE = """
import sys, time
import airflow.sdk
import airflow.providers.standard.operators.hitl, airflow.providers.standard.sensors.date_time
import airflow.timetables.interval
from airflow.dag_processing.dagbag import DagBag
start = time.process_time()
bag = DagBag(dag_folder=sys.argv[1])
seconds = time.process_time() - start
if bag.import_errors or not bag.dags:
    sys.exit(f"the DAG files in {sys.argv[1]} don't load: {bag.import_errors or 'there are none'}")
print(f"seconds={seconds:.6f}")
"""


def parse_seconds(dags: Path = ROOT / "dags", runs: int = RUNS) -> float:
    """Seconds that all files in ``dags`` take, the quickest of ``runs``. Raises RuntimeError when one doesn't load."""
    with tempfile.TemporaryDirectory(prefix="akidb-parse-") as home:
        _parse(dags, Path(home))
        return min(_parse(dags, Path(home)) for _ in range(runs))


def _parse(dags: Path, home: Path) -> float:
    env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"} | {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR",
        "PYTHONPATH": str(ROOT),
    }
    command = [sys.executable, "-c", PARSE, str(dags)]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=TIMEOUT)
    if done.returncode:
        raise RuntimeError(done.stderr.strip()[-2000:])
    return float(done.stdout.rpartition("seconds=")[2])


if __name__ == "__main__":
    print(json.dumps(round(parse_seconds(), 3)))
