"""Clients that kill the process right after a write, so that a lever's undo can be tried from every point."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

from include.rollout.lever import Target

CLUSTER_WRITES = {"apply", "create", "replace", "patch", "delete", "evict"}
DEVICE_READS = {"status", "-q", "is-active", "is-enabled", "cat"}
CLOUD_READS = ("describe_", "get_", "list_", "receive_")


class Killed(BaseException):
    """Stands for kill -9: no ``except Exception`` of a lever sees it."""


@dataclass
class Writes:
    """The writes so far, by what they did; the process is killed right after write number ``until``."""

    until: int | None = None
    done: list[str] = field(default_factory=list)

    def wrote(self, what: str) -> None:
        """Count a write that reached the server."""
        self.done.append(what)
        if len(self.done) == self.until:
            raise Killed(what)


class _Watched:
    """A client whose writes are counted; everything else goes through."""

    def __init__(self, client: Any, writes: Writes, is_write: Callable[[str, tuple[Any, ...], Any], bool]) -> None:
        self._client, self._writes, self._is_write = client, writes, is_write

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._client, name)
        if not callable(found):
            return found

        def call(*arguments: Any, **named: Any) -> Any:
            answer = found(*arguments, **named)
            if self._is_write(name, arguments, named):
                self._writes.wrote(f"{name} {_subject(arguments)}")
            return answer

        return call


def _subject(arguments: tuple[Any, ...]) -> str:
    first = arguments[0] if arguments else ""
    if isinstance(first, dict):
        return f"{first.get('kind')} {first.get('metadata', {}).get('name')}"
    return " ".join(str(getattr(part, "name", part)) for part in arguments[:2])


def _writes_to_cluster(name: str, arguments: tuple[Any, ...], named: Any) -> bool:
    dry = named.get("dry_run") or (name == "apply" and len(arguments) > 2 and arguments[2])
    return name in CLUSTER_WRITES and not dry


def _writes_to_cloud(name: str, arguments: tuple[Any, ...], named: Any) -> bool:
    return name == "call" and not str(arguments[1]).startswith(CLOUD_READS)


def _writes_to_device(name: str, arguments: tuple[Any, ...], named: Any) -> bool:
    return name in ("put", "remove") or (name == "run" and not DEVICE_READS & {*map(str, arguments)})


def _in_region(clients: Any, writes: Writes) -> SimpleNamespace:
    found = SimpleNamespace(**{n: getattr(clients, n) for n in dir(clients) if not n.startswith("_")})
    if hasattr(found, "aws"):
        found.aws = _Watched(found.aws, writes, _writes_to_cloud)
    return found


def watched(target: Target, until: int | None = None) -> tuple[Target, Writes]:
    """The target with its writes counted, and killed right after write number ``until`` if one is given."""
    writes = Writes(until)
    clients = SimpleNamespace(**{n: getattr(target.clients, n) for n in dir(target.clients) if not n.startswith("_")})
    if hasattr(clients, "kubernetes"):
        clients.kubernetes = _Watched(clients.kubernetes, writes, _writes_to_cluster)
    if hasattr(clients, "aws"):
        clients.aws = _Watched(clients.aws, writes, _writes_to_cloud)
    if hasattr(clients, "of"):
        of = clients.of
        clients.of = lambda region: _in_region(of(region), writes)
    if hasattr(clients, "devices"):
        clients.devices = {n: _Watched(device, writes, _writes_to_device) for n, device in clients.devices.items()}
    return replace(target, clients=clients), writes
