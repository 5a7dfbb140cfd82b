"""One GET that is asked again: what can't be reached or is overloaded is tried later, what is refused is not."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from include.clients.access import Access

ATTEMPTS = 4


@dataclass(frozen=True)
class Asking:
    """How a server is asked. ``timeout`` in seconds; ``error`` is what is raised, ``log`` whose log tells more."""

    session: Any
    access: Access
    timeout: float
    sleep: Callable[[float], None]
    error: type[Exception]
    log: str

    def get(self, address: str, params: Mapping[str, str] | None = None, shown: str = "") -> Any:
        """The answer, whatever its status below 500 but 401, 403 and 429. ``shown`` is the request in the message."""
        import requests

        problem = ""
        for attempt in range(ATTEMPTS):
            if attempt:
                self.sleep(0.5 * 2 ** (attempt - 1) * random.uniform(0.75, 1.25))
            try:
                response = self.session.get(address, params=params, timeout=self.timeout, **self.access.options())
            except requests.exceptions.SSLError as error:
                raise self.error(
                    f"{address}: its certificate is not trusted ({_short(error)}): name the CA file in its "
                    "connection's extra.verify"
                ) from error
            except requests.RequestException as error:
                problem = f"can't be reached ({_short(error)}): check the host of its connection"
                continue
            if response.status_code >= 500 or response.status_code == 429:
                problem = f"answers {response.status_code}{shown and f' to {shown}'}: look at {self.log}"
                continue
            if response.status_code in (401, 403):
                raise self.error(self.access.refused(response.status_code, response.text, "its"))
            return response
        raise self.error(f"{address} {problem} ({ATTEMPTS} attempts)")


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[-160:]
