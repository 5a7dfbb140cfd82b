"""Airflow's scheduler with its tasks' imports in memory: ``python -m lab.rehearsal.preloaded scheduler ...``.

LocalExecutor forks a process for each task. What the scheduler holds by then need not be imported again, once for each
of the hundred tasks of a rehearsal. Only modules are listed that start no thread: a fork would lose it.
"""

from __future__ import annotations

import importlib
import sys

MODULES = (
    "airflow.sdk.execution_time.task_runner",
    "airflow.providers.cncf.kubernetes.hooks.kubernetes",
    "airflow.providers.amazon.aws.hooks.s3",
    "airflow.providers.standard.operators.hitl",
    "airflow.providers.standard.sensors.date_time",
)


def preload() -> None:
    """Import every module of MODULES. None is of this project: its changes must not need a new scheduler."""
    for name in MODULES:
        importlib.import_module(name)


def main() -> None:
    """Run the ``airflow`` command line with this process's arguments."""
    preload()
    sys.argv[0] = "airflow"
    importlib.import_module("airflow.__main__").main()


if __name__ == "__main__":
    main()
