"""What Airflow mounts: the page's app, made at its first request, so that tasks and parsers load nothing of it."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
AIRFLOW_APP = "akidb.airflow_app"  # in a request's scope: the app of Airflow that the page is mounted in


class MountedPage:
    """An ASGI app. Airflow loads plugins in every process, and only its API server answers requests."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make
        self._app: Any = None
        self._lock = threading.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        scope[AIRFLOW_APP] = scope.get("app")
        await self.app(scope, receive, send)

    @property
    def app(self) -> Any:
        """The FastAPI app itself."""
        with self._lock:
            if self._app is None:
                self._app = self._make()
        return self._app
