"""A cluster on an API server in memory (fake_api.py), and the writes that went to it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from include.clients.kubernetes import Cluster
from tests.unit.levers.fake_api import FakeApi

Object = dict[str, Any]
Key = tuple[str, str, str]  # kind, namespace ("" without), name
Path = tuple[str, ...]  # steps as in fieldsV1: f:spec, k:{"name":"a"}, v:"x"


class Writes(list[str]):
    """The writes in their order. ``after`` is called with each one: what it raises is a crash at that write."""

    after: Callable[[str], None] | None = None

    def append(self, text: str) -> None:
        super().append(text)
        if self.after:
            self.after(text)


class Crashed(BaseException):
    """The process has ended here."""


def crash_at(writes: Writes, count: int) -> None:
    """Let the ``count``-th write from now on be the last one: it is done, and the process ends."""
    end = len(writes) + count

    def after(_: str) -> None:
        if len(writes) >= end:
            writes.after = None
            raise Crashed

    writes.after = after


class FakeCluster(Cluster):
    """The real client on a :class:`FakeApi`. Time passes while it sleeps, and then ``settle`` does controllers' work.

    ``stuck``: the controllers do nothing.
    """

    def __init__(self, writes: list[str]) -> None:
        self.seconds, self.stuck = 0.0, False
        self.api = FakeApi(writes, self.pass_time)
        self.objects, self.writes = self.api.objects, writes
        super().__init__(self.api, "fake", 60.0, self.pass_time, lambda: self.seconds)

    @property
    def unserved(self) -> set[str]:
        """Plurals of the kinds without a definition."""
        return self.api.unserved

    @unserved.setter
    def unserved(self, plurals: set[str]) -> None:
        self.api.unserved = plurals

    def pass_time(self, seconds: float) -> None:
        """Sleep."""
        self.seconds += seconds
        if not self.stuck:
            self.settle()

    def settle(self) -> None:
        """What the controllers of every cluster do: collect garbage, notice a Deployment's new generation."""
        self.api.collect()
        for (kind, *_), thing in self.objects.items():
            if kind == "Deployment" and "status" in thing:
                thing["status"]["observedGeneration"] = thing["metadata"].get("generation", 0)

    def put(self, thing: Object) -> Object:
        """Let an object be there."""
        self.objects[thing["kind"], thing["metadata"].get("namespace", ""), thing["metadata"]["name"]] = thing
        return thing

    def state(self, *without: str) -> dict[Key, Object]:
        """Every object but Nodes, Pods and those of the kinds ``without``, without counters of the server."""
        kept = {k: copy.deepcopy(o) for k, o in self.objects.items() if k[0] not in ("Node", "Pod", *without)}
        for thing in kept.values():
            thing["metadata"].pop("generation", None)
            thing.get("status", {}).pop("observedGeneration", None)
            for entry in thing["metadata"].get("managedFields") or []:
                entry.pop("time", None)
        return kept
