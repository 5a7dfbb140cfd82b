"""Repeating what may succeed the next time: reads and writes of Kubernetes that change nothing when they come twice."""

from __future__ import annotations

from kubernetes.client import ApiException
from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_random_exponential
from urllib3.exceptions import HTTPError

TOO_MANY_REQUESTS, SERVER_ERROR = 429, 500
LONGEST_PAUSE_SECONDS = 5.0
PROBLEMS = (ApiException, HTTPError, OSError)  # what a request of the Kubernetes client ends with


class UnavailableError(Exception):
    """A server of the lab can't be reached, or refuses; the message says which and why."""


def may_pass(error: BaseException) -> bool:
    """Whether a request that failed so may succeed when it is repeated: an API server that is busy, or was away."""
    if isinstance(error, ApiException):
        return not error.status or error.status == TOO_MANY_REQUESTS or error.status >= SERVER_ERROR
    return isinstance(error, PROBLEMS)


def again(seconds: float, longest_pause: float = LONGEST_PAUSE_SECONDS) -> Retrying:
    """``again(60)(call, *arguments)``: repeat the call while it may pass, for ``seconds``; then its error is raised."""
    return Retrying(
        retry=retry_if_exception(may_pass),
        stop=stop_after_delay(seconds),
        wait=wait_random_exponential(multiplier=0.2, max=longest_pause),
        reraise=True,
    )
