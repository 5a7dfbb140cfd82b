"""ApiServer to one API server. They survive one that is away for less than ``patience`` seconds."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from include.clients.kubernetes.errors import ForbiddenError, UnreachableError, connection_problem, explained
from include.clients.kubernetes.kinds import Kind, Object

JSON = "application/json"
STARTING_SECONDS = 20.0  # how long after an outage a refusal may still be the API server starting
TIMEOUT = (5.0, 30.0)  # seconds to connect, seconds between two bytes


@dataclass(frozen=True)
class Request:
    """One request: ``kind`` is named in messages, ``media`` and ``accept`` are the types of body and answer."""

    method: str
    path: str
    kind: Kind | None = None
    query: Mapping[str, str] = field(default_factory=dict)
    body: Any = None
    media: str = JSON
    accept: str = JSON


class ApiServer:
    """The requests to the API server of one cluster; see :class:`include.clients.kubernetes.Cluster`."""

    def __init__(
        self,
        api_client: Any,
        name: str = "",
        patience: float = 60.0,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._api = api_client
        self.name = name or str(api_client.configuration.host)
        self._patience = patience
        self._sleep = sleep
        self._clock = clock
        self._away_at: float | None = None  # when the API server was last out of reach

    def _open(self, path: str, kind: Kind, query: Mapping[str, str], seconds: float) -> Any:
        timeout = (TIMEOUT[0], seconds + TIMEOUT[0])
        return self._send(Request("GET", path, kind, query), self._patience, timeout)

    def _call(
        self,
        method: str,
        path: str,
        kind: Kind | None = None,
        query: Mapping[str, str] | None = None,
        body: Any = None,
        media: str = JSON,
        patience: float | None = None,
        accept: str = JSON,
    ) -> Object:
        wait = self._patience if patience is None else patience
        response = self._send(Request(method, path, kind, query or {}, body, media, accept), wait, TIMEOUT)
        answer: Object = json.loads(response.data)
        return answer

    def _send(self, request: Request, patience: float, timeout: tuple[float, float]) -> Any:
        start, attempt = self._clock(), 0
        while True:
            try:
                return self._once(request, timeout)
            except UnreachableError:
                self._away_at = self._clock()
                if self._clock() - start >= patience:
                    raise
            except ForbiddenError:
                # An API server that has just started forbids everything until it has read its roles.
                if self._away_at is None or self._clock() - self._away_at >= STARTING_SECONDS:
                    raise
            self._sleep(pause(attempt))
            attempt += 1

    def _once(self, request: Request, timeout: tuple[float, float]) -> Any:
        from kubernetes.client.exceptions import ApiException  # a second to import: not at a DAG's parse
        from urllib3.exceptions import HTTPError

        try:
            return self._api.call_api(
                request.path,
                request.method,
                query_params=[(key, value) for key, value in request.query.items() if value],
                header_params={"Accept": request.accept, "Content-Type": request.media},
                body=request.body,
                auth_settings=["BearerToken"],
                _preload_content=False,
                _request_timeout=timeout,
            )
        except ApiException as error:
            raise explained(error, self.name, request.method, request.path, request.kind) from error
        except (HTTPError, OSError) as error:
            raise UnreachableError(
                f"cluster {self.name} can't be reached ({connection_problem(error)}): check the host and the "
                "certificate of its Kubernetes connection, and the network between"
            ) from error


def pause(attempt: int) -> float:
    """Seconds before the next attempt: 0.25, 0.5, 1, 2, 2 ... with jitter, so that regions don't call in step."""
    return float(min(2.0, 0.25 * 2**attempt) * random.uniform(0.75, 1.25))
