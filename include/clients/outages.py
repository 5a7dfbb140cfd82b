"""A thin client for a hook that takes a program of an estate away and brings it back, where that is no Deployment.

``PUT <address>/outages/<name>`` begins an outage, ``DELETE`` ends it, ``GET`` answers ``{"out": true}`` or false. Each
may be asked twice. The hook is a team's own: it stands where the program's machine is.
"""

from __future__ import annotations

from typing import Any

from include.clients.access import Access


class OutageHookError(RuntimeError):
    """The hook can't be asked or its answer can't be used; the message names its address and the remedy."""


class OutageHook:
    """The hook at ``access``; ``timeout`` is in seconds."""

    def __init__(self, access: Access, timeout: float = 30.0, session: Any = None) -> None:
        if session is None:
            import requests

            session = requests.Session()
        self._session, self._access, self._timeout = session, access, timeout

    def is_out(self, name: str) -> bool:
        """Whether the outage of ``name`` lasts."""
        found = self._ask("GET", name).get("out")
        if not isinstance(found, bool):
            raise OutageHookError(f"{self._url(name)} does not say whether it is out: have it answer {{'out': true}}")
        return found

    def begin(self, name: str) -> None:
        """Take ``name`` away."""
        self._ask("PUT", name)

    def end(self, name: str) -> None:
        """Bring ``name`` back."""
        self._ask("DELETE", name)

    def _url(self, name: str) -> str:
        return f"{self._access.url.rstrip('/')}/outages/{name}"

    def _ask(self, method: str, name: str) -> dict[str, Any]:
        try:
            options = self._access.options() | {"timeout": self._timeout}
            answer = self._session.request(method, self._url(name), **options)
            answer.raise_for_status()
            found = answer.json() if answer.content else {}
        except (OSError, ValueError) as error:  # what requests raises is an OSError
            raise OutageHookError(
                f"{method} {self._url(name)}: {type(error).__name__}: {error}; see that the hook runs and that its "
                "connection is right"
            ) from error
        return found if isinstance(found, dict) else {}
