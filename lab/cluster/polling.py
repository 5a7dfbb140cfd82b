"""Parts of the lab that bring something into agreement once a second, and survive outages of what they look at."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable
from typing import Any, Protocol

from lab.machine.again import UnavailableError

POLL_SECONDS = 1.0
log = logging.getLogger("instances")


class Part(Protocol):
    """What is stepped. ``step`` returns what it has done, a line each, and raises UnavailableError."""

    @property
    def region(self) -> str:
        """The region that the log names."""
        ...

    def step(self) -> list[str]:
        """Bring into agreement once."""
        ...


def run(part: Part, stop: threading.Event, poll_seconds: float = POLL_SECONDS) -> None:
    """Step until ``stop`` is set; an outage is logged when it begins and when it ends."""
    lost = False
    while not stop.is_set():
        began = time.monotonic()
        try:
            done = part.step()
            if lost:
                log.info("%s: back", part.region)
            lost = False
            for line in done:
                log.info("%s: %s", part.region, line)
        except UnavailableError as error:
            if not lost:
                log.warning("%s: lost: %s; trying again every %.0f s", part.region, error, poll_seconds)
            lost = True
        stop.wait(max(0.0, poll_seconds - (time.monotonic() - began)))


def ask(function: Callable[..., Any], *arguments: Any, passing: tuple[int, ...] = (404,), **named: Any) -> Any:
    """What the API server answers, as JSON: making objects of every poll costs a core. {} for a status in ``passing``.

    Raises UnavailableError for any other failure.
    """
    from kubernetes.client.exceptions import ApiException
    from urllib3.exceptions import HTTPError

    try:
        # The body is read in here too: it is the part that a slow machine or a dying server cuts off.
        return json.loads(function(*arguments, _preload_content=False, _request_timeout=(3, 10), **named).data)
    except ApiException as error:
        if error.status in passing:
            return {}
        raise UnavailableError(f"the API server answered {error.status} {error.reason}") from error
    except (HTTPError, OSError, ValueError) as error:
        raise UnavailableError(f"the API server can't be reached ({type(error).__name__})") from error
