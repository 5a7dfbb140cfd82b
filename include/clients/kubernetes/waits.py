"""Waiting for a cluster: what a wait looks at is read once and kept current by watches."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from include.clients.kubernetes.errors import ForbiddenError, NotServedError, TimedOutError, UnreachableError
from include.clients.kubernetes.kinds import POD, Kind
from include.clients.kubernetes.lists import VIEWS, Lists, Views
from include.clients.kubernetes.requests import pause
from include.clients.views import View

SILENCE = 0.1  # seconds without an event after which a watch has told what it knew
FOLLOWED = 8  # views of one wait that are kept current; more of them are quicker read again


class Waits(Lists):
    """The waits of one cluster; see :class:`include.clients.kubernetes.Cluster`."""

    def wait_for(
        self,
        missing: Callable[[], Sequence[str]],
        timeout: float,
        kind: Kind = POD,
        namespace: str | None = None,
        labels: str = "",
        recheck: float = 3.0,
    ) -> float:
        """Wait until ``missing()`` is empty; returns the seconds waited. Raises TimedOutError with what is missing.

        ``missing`` is asked again after each change of a ``kind``, and every ``recheck`` seconds for what that kind
        doesn't show. What it lists is read once and then kept current by watches; that nothing is missing any more is
        seen in the API server's own answer. An API server that is away costs time only, up to ``timeout``.
        """
        start = self._clock()
        views = Views(self)
        left: Sequence[str] = ("the API server has not answered",)
        while True:
            changed = ""
            try:
                changed = "" if views.first(kind, namespace) else self.latest(kind, namespace)
                left = self._looked_at(missing, views)
                if not left:
                    return self._clock() - start
            except UnreachableError as error:
                left = (str(error),)
            remaining = timeout - (self._clock() - start)
            if remaining <= 0:
                raise TimedOutError(left, timeout)
            self._await_change(views, kind, namespace, labels, changed, min(recheck, remaining))

    def _looked_at(self, missing: Callable[[], Sequence[str]], views: Views) -> Sequence[str]:
        seen_before = bool(views)
        token = VIEWS.set(views)
        try:
            left = missing()
        finally:
            VIEWS.reset(token)
        # A view is a moment behind; what was read in this very look is not.
        return missing() if seen_before and not left else left

    def _await_change(
        self, views: Views, kind: Kind, namespace: str | None, labels: str, version: str, seconds: float
    ) -> None:
        try:
            view = views.first(kind, namespace)
            if view:
                self._follow(view, seconds, seconds, until_change=True)
            elif version:
                for _ in self._changes(kind, namespace, labels, "", version, seconds, seconds):
                    break
            else:
                self._sleep(pause(0))
            # Changes come in bursts: looking again after each one would keep the API server busy.
            self._sleep(min(0.2, seconds))
            for number, view in enumerate(views):
                if number < FOLLOWED:
                    self._follow(view, 1.0, SILENCE)
                else:
                    view.forget()
        except UnreachableError:
            return

    def _follow(self, view: View, seconds: float, silence: float, until_change: bool = False) -> None:
        try:
            view.follow(seconds, silence, until_change)
        except (ForbiddenError, NotServedError):
            # Without the right to watch it is read at each look; without a definition the next look says so.
            view.forget()
            self._sleep(silence)
