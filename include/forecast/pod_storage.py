"""Storage as the forecast's own programs see it, outside Airflow: by the credentials of their pod or shell."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from include.clients.storage import Storage, open_storage


def pod_storage(location: str, client: Callable[[str | None], Any] | None = None) -> Storage:
    """The storage at ``location``; a connection in it is Airflow's and is not used here."""

    def make(_: str | None) -> Any:
        import boto3

        return boto3.client("s3")

    return open_storage(location, client or make)
