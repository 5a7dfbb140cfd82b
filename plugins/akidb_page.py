"""The page "Rollout" in Airflow's UI: in the navigation, and as a tab of every DAG and run."""

from __future__ import annotations

from typing import Any, ClassVar
from urllib.parse import urlsplit

from airflow.configuration import conf
from airflow.plugins_manager import AirflowPlugin

try:
    from include.wiring.page.mounted import MountedPage
except ImportError:  # a worker loads plugins before its bundle, and with it the project, is on the path
    MountedPage = None  # type: ignore[assignment, misc]

PREFIX = "/akidb"


def _app() -> Any:
    from include.wiring.page.app import create_app

    return create_app()


def _address(path: str = "/") -> str:
    """An address of the page below the path at which Airflow itself is served."""
    return urlsplit(conf.get("api", "base_url", fallback="/")).path.rstrip("/") + PREFIX + path


class AkidbPage(AirflowPlugin):
    """The app, and where the UI shows it. Each view has a ``url_route`` of its own: a second one is dropped."""

    name = "akidb_page"
    fastapi_apps: ClassVar[list[Any]] = (
        [{"app": MountedPage(_app), "url_prefix": PREFIX, "name": "AkiDB cost rollout"}] if MountedPage else []
    )
    external_views: ClassVar[list[Any]] = [
        {"name": "Rollout", "href": _address(), "destination": "nav", "url_route": "akidb"},
        {
            "name": "Ledger",
            "href": _address("/runs?q={DAG_ID}"),
            "destination": "dag",
            "url_route": "akidb-dag",
        },
        {
            "name": "Ledger",
            "href": _address("/runs/{DAG_ID}/{RUN_ID}"),
            "destination": "dag_run",
            "url_route": "akidb-run",
        },
    ]
