"""airflow.cfg of the rehearsal's Airflow: every socket on loopback, every limit stretched."""

from __future__ import annotations

import base64
import os
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path

from lab import world

HOST = "127.0.0.1"
PARALLEL_TASKS = 6  # of all schedulers together
Limit = Callable[[float], str]  # seconds, stretched, as the file has them


def configuration(
    home: Path, port: int, users: Mapping[str, str], passwords_file: Path, stretch: float = 1.0
) -> dict[str, dict[str, str]]:
    """Sections of airflow.cfg. ``users`` maps a name to its role; ``stretch`` multiplies every limit in seconds."""

    def limit(seconds: float) -> str:
        return str(round(seconds * stretch))

    return {
        **_served(home, port, users, passwords_file, limit),
        **_limits(limit),
        "logging": {"base_log_folder": str(home / "task-logs"), "logging_level": "INFO"},
        "usage_data_collection": {"enabled": "False"},
    }


def _served(
    home: Path, port: int, users: Mapping[str, str], passwords_file: Path, limit: Limit
) -> dict[str, dict[str, str]]:
    """What is run, for whom, and where it answers."""
    return {
        "core": {
            "dags_folder": str(world.REPOSITORY / "dags"),
            "plugins_folder": str(world.REPOSITORY / "plugins"),
            "load_examples": "False",
            "executor": "LocalExecutor",
            "parallelism": str(PARALLEL_TASKS),
            "fernet_key": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
            "simple_auth_manager_users": ",".join(f"{name}:{role}" for name, role in users.items()),
            "simple_auth_manager_passwords_file": str(passwords_file),
            "execution_api_server_url": f"http://{HOST}:{port}/execution/",
            "dagbag_import_timeout": limit(30),
        },
        # Four components and every task write one file: who waits for the lock longer than this fails.
        "database": {"sql_alchemy_conn": f"sqlite:///{home / 'airflow.db'}?timeout={limit(30)}"},
        "api": {
            "base_url": f"http://{HOST}:{port}",
            "secret_key": secrets.token_urlsafe(32),
            "worker_timeout": limit(120),
        },
        "api_auth": {"jwt_secret": secrets.token_urlsafe(64)},
    }


def _limits(limit: Limit) -> dict[str, dict[str, str]]:
    """How long the components wait for each other."""
    return {
        # A task's token is made when it is queued: it must outlive the queue.
        "execution_api": {"jwt_expiration_time": limit(600)},
        "scheduler": {
            "scheduler_idle_sleep_time": "0.1",  # a chain of 20 tasks takes 6 s instead of 21 s
            "task_instance_heartbeat_timeout": limit(30),  # a task that was killed is noticed within half a minute
            "task_instance_heartbeat_timeout_detection_interval": "5",
            "task_queued_timeout": limit(600),
            "scheduler_health_check_threshold": limit(30),
            # A scheduler that came back sees tasks that died with the one before only once they are its own. It takes
            # them over when that one has been silent for the threshold above, and looks for that so often (300 s).
            "orphaned_tasks_check_interval": "15",
        },
        "workers": {
            "min_heartbeat_interval": "1",
            # With a heartbeat a second, three that fail would end a healthy task after three slow seconds.
            "max_failed_heartbeats": "10",
            "execution_api_timeout": limit(10),
        },
        "dag_processor": {
            "parsing_processes": "1",
            "refresh_interval": "30",
            # A file that changes is parsed at once; all of them every 30 s would take CPU from what is rehearsed.
            "min_file_process_interval": "600",
            "dag_file_processor_timeout": limit(50),
            "stale_dag_threshold": limit(50),
            "health_check_threshold": limit(30),
        },
        "triggerer": {"triggerer_health_check_threshold": limit(30), "runner_health_check_threshold": limit(30)},
    }


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read."""
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)


def in_ini(sections: Mapping[str, Mapping[str, str]]) -> str:
    """The text of airflow.cfg."""
    # Airflow reads the file with interpolation: a lone % would be an error.
    lines = []
    for section, values in sections.items():
        lines.append(f"[{section}]")
        lines += [f"{key} = {value.replace('%', '%%')}" for key, value in values.items()]
    return "\n".join(lines) + "\n"
