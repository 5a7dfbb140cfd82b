"""What the aws book prices outside the clusters, read from usage.yaml. Its figures are the plan's or assumptions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import Any

from include.estate import Estate
from include.levers.cdn_price_class.usage import Traffic as CdnTraffic
from include.levers.cdn_price_class.usage import Usage as CdnUsage
from include.levers.edge_power.modes import Mode, Table, table_of
from include.levers.lambda_edge.choose import Measured
from include.quantities import cores, quantity

FILE = Path(__file__).with_name("usage.yaml")
TB = 10**12  # as the plan counts: 50 TB in 670 M requests are 74,627 bytes each


@dataclass(frozen=True)
class SystemPods:
    """Pods of the node group."""

    name: str
    replicas: int
    cpu: str
    memory: str


@dataclass(frozen=True)
class Usage:
    """The file's content; ``raw`` holds each component's part as it stands there."""

    raw: Mapping[str, Any]

    @property
    def zones(self) -> list[str]:
        """The zones of a region."""
        return list(self.raw["zones"])

    @property
    def daemons_cpu(self) -> int:
        """Millicores that DaemonSets take on each node."""
        return int(cores(self.raw["daemons"]["cpu"]) * 1000)

    @property
    def daemons_memory(self) -> int:
        """Bytes that DaemonSets take on each node."""
        return int(quantity(self.raw["daemons"]["memory"]))

    @property
    def system(self) -> list[SystemPods]:
        """The node group's pods."""
        return [SystemPods(**one) for one in self.raw["system"]]

    def viewers(self) -> CdnUsage:
        """A month of the distribution by country."""
        cdn = self.raw["cloudfront"]
        whole = sum(cdn["viewers"].values())
        size, requests = int(cdn["tb_month"] * TB), int(cdn["requests_month"])
        found = {c: CdnTraffic(size * n // whole, requests * n // whole) for c, n in cdn["viewers"].items()}
        return CdnUsage(found, len(found), "usage.yaml")

    def durations(self, estate: Estate) -> list[Measured]:
        """Durations of the function by size: the estate's where it has some, and in any case that of today's size."""
        own = [line.split(":") for line in estate.edge.functions.durations]
        assumed = [line.split(":") for line in self.raw["lambda_edge"]["durations"]]
        today, sizes = self.raw["lambda_edge"]["memory_mb"], {int(mb) for mb, *_ in own}
        parts = own + [one for one in assumed if not own or int(one[0]) == today not in sizes]
        return [Measured(int(mb), Decimal(mean), Decimal(p95), int(n), FILE.name) for mb, n, mean, p95 in parts]

    def modes(self) -> Table:
        """The devices' modes."""
        return table_of(Mode(**one) for one in self.raw["jetson"]["modes"])


@lru_cache(maxsize=1)
def load_usage() -> Usage:
    """The repository's file."""
    import yaml

    return Usage(yaml.safe_load(FILE.read_text(encoding="utf-8")))
