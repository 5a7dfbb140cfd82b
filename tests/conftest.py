"""For every test: an Airflow home of its own, and no way out to the network.

The settings must stand in the environment before anything imports Airflow, hence at module level.
"""

from __future__ import annotations

import atexit
import os
import shutil
import socket
import tempfile
from typing import Any

import pytest

_HOME = tempfile.mkdtemp(prefix="akidb-tests-")
atexit.register(shutil.rmtree, _HOME, ignore_errors=True)

for _name in [name for name in os.environ if name.startswith(("AIRFLOW__", "AWS_"))]:
    del os.environ[_name]  # a developer's own settings and credentials must not decide a test
os.environ |= {
    "AIRFLOW_HOME": _HOME,
    "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    "AIRFLOW__CORE__UNIT_TEST_MODE": "True",
    "AIRFLOW__CORE__DAGS_FOLDER": os.path.join(_HOME, "dags"),  # noqa: PTH118 - as a string, before any import
    "AIRFLOW__CORE__PLUGINS_FOLDER": os.path.join(_HOME, "plugins"),  # noqa: PTH118
    "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{_HOME}/airflow.db",
    "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
    # Two parses of a DAG must serialise alike.
    "AIRFLOW__DAG_PROCESSOR__DAG_VERSION_INFLATION_CHECK_LEVEL": "error",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
}

CONFORMANCE = "tests/lab/test_lever_conformance.py"

_connect = socket.socket.connect


def _loopback_only(self: socket.socket, address: Any) -> None:
    host = address[0] if isinstance(address, tuple) else None
    if host is not None and host not in {"127.0.0.1", "::1", "localhost"}:
        raise OSError(f"a test tried to reach {host}:{address[1]}: tests use fakes or the lab on 127.0.0.1")
    _connect(self, address)


socket.socket.connect = _loopback_only  # type: ignore[method-assign]


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """One worker gets all the lab's tests, so that one lab is booted; the other tests go to whoever is free.

    The levers' conformance has two labs more: a lab mostly waits for its controllers, and each lever is undone twice.
    xdist's own ``--dist loadgroup`` writes the group into ``item._nodeid``, which pytest 9.2 no longer reads.
    """
    from xdist.scheduler import LoadScopeScheduling

    class LabTogether(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            if nodeid.startswith(CONFORMANCE):
                return nodeid.partition("[")[0]
            return "lab" if nodeid.startswith("tests/lab/") else nodeid

    return LabTogether(config, log)
