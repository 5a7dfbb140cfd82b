"""Lists that stay current: read once, then kept so by what a watch says. A wait looks at the same list many times."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

Object = dict[str, Any]
Event = tuple[str, Object]
READ_AGAIN = "ERROR"  # the event that says that a version is forgotten


class View:
    """One list. ``read`` gives its objects and the version that they are as of.

    ``watch`` gives the events after a version, for at most so many seconds, and ends early once nothing has come for
    so many.
    """

    def __init__(
        self,
        read: Callable[[], tuple[list[Object], str]],
        watch: Callable[[str, float, float], Iterable[Event]],
    ) -> None:
        self._read, self._watch = read, watch
        self._objects: dict[tuple[str, str], Object] | None = None
        self._version = ""

    def objects(self) -> list[Object]:
        """The objects as far as the events have told, in the API server's order. They must not be changed."""
        if self._objects is None:
            found, self._version = self._read()
            self._objects = {_place(thing): thing for thing in found}
        return [thing for _, thing in sorted(self._objects.items(), key=lambda entry: entry[0])]

    def forget(self) -> None:
        """Read it anew at the next look."""
        self._objects = None

    def follow(self, seconds: float, silence: float, until_change: bool = False) -> None:
        """Take in what has changed, for at most ``seconds``; with ``until_change`` no longer than to the first one."""
        if self._objects is None:  # it is read anew by who looks next
            return
        for event, thing in self._watch(self._version, seconds, silence):
            if event == READ_AGAIN:
                self._objects = None
                return
            self._version = str(thing["metadata"]["resourceVersion"])
            if event == "BOOKMARK":
                continue
            if event == "DELETED":
                self._objects.pop(_place(thing), None)
            else:
                self._objects[_place(thing)] = thing
            if until_change:
                return


def _place(thing: Object) -> tuple[str, str]:
    return thing["metadata"].get("namespace", ""), thing["metadata"]["name"]
