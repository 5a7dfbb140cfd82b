"""What was asked of AkiDB and what was served, from the plant's own counters: exact, and with no window in between."""

from __future__ import annotations

import re
import time
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from include.estate import Estate
from lab.machine.again import LONGEST_PAUSE_SECONDS, again

ANSWER_SECONDS, PATIENCE_SECONDS = 10, 60.0
GOOD = "200"  # every other status is a request that was not served
SAMPLE = re.compile(r"^(?P<name>\w+)\{(?P<labels>[^}]*)\} (?P<value>\S+)$")
LABEL = re.compile(r'(\w+)="([^"]*)"')


@dataclass(frozen=True)
class Served:
    """Requests that were asked and those that were served (status 200). Counts of requests."""

    asked: float = 0.0
    served: float = 0.0

    def __add__(self, other: Served) -> Served:
        return Served(self.asked + other.asked, self.served + other.served)

    def __sub__(self, other: Served) -> Served:
        return Served(self.asked - other.asked, self.served - other.served)

    @property
    def ratio(self) -> float | None:
        """Served by asked, 0..1; None where nothing was asked."""
        return min(1.0, self.served / self.asked) if self.asked > 0 else None


@dataclass(frozen=True)
class Moment:
    """The counters by region at one moment (``time.time()``)."""

    at: float
    by_region: Mapping[str, Served]

    def since(self, before: Moment) -> dict[str, Served]:
        """What came between two moments, by region; a region that had no series then began from nothing."""
        return {name: found - before.by_region.get(name, Served()) for name, found in self.by_region.items()}


def samples(text: str) -> Iterator[tuple[str, dict[str, str], float]]:
    """Name, labels and value of each sample with labels in Prometheus' text format."""
    for line in text.splitlines():
        if found := SAMPLE.match(line):
            yield found["name"], dict(LABEL.findall(found["labels"])), float(found["value"])


def counted(text: str, estate: Estate) -> dict[str, Served]:
    """Requests by region: those to pods, and those that a route sends to backends outside of the cluster.

    The route's own series for pods would count the same requests twice.
    """
    routing = estate.edge.routing
    in_pods = {name for name, backend in routing.backends.items() if backend.capacity_qps is None}
    of_pods = {name for name, _ in estate.metrics.requests()}
    found: dict[str, Served] = {}
    for name, labels, value in samples(text):
        routed = name == routing.requests_metric and labels.get(routing.backend_label) not in in_pods
        if name in of_pods or routed:
            one = Served(value, value if labels.get("status") == GOOD else 0.0)
            found[labels["region"]] = found.get(labels["region"], Served()) + one
    return found


def page(plant: str) -> str:
    """The plant's series as text, asked for again while it doesn't answer."""

    def read() -> str:
        with urllib.request.urlopen(f"{plant}/metrics", timeout=ANSWER_SECONDS) as answer:
            return str(answer.read().decode())

    return again(PATIENCE_SECONDS, LONGEST_PAUSE_SECONDS)(read)


def now(plant: str, estate: Estate) -> Moment:
    """The counters of this moment."""
    return Moment(time.time(), counted(page(plant), estate))


def availability(before: Moment, after: Moment) -> dict[str, Served]:
    """What was asked and served by region, and of the whole ``estate``."""
    found = after.since(before)
    return {**found, "estate": sum(found.values(), Served())}


def report(found: Mapping[str, Served]) -> dict[str, dict[str, float | None]]:
    """``availability`` of report.json: by region, and of the whole estate."""
    return {
        name: {"asked": round(one.asked, 1), "served": round(one.served, 1), "ratio": _rounded(one.ratio)}
        for name, one in found.items()
    }


def _rounded(ratio: float | None) -> float | None:
    return None if ratio is None else round(ratio, 6)
