"""CreateFleet: the pools that a request allows, and those without capacity."""

from __future__ import annotations

import fnmatch
import json
import logging
import re
import urllib.parse
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

log = logging.getLogger(__name__)


class DryPools:
    """Pools without capacity: patterns ``<capacity type>:<instance type>:<zone>``, ``*`` allowed, in a JSON list.

    ``<region>/`` in front limits a pattern to a region. The file is read again whenever it changes; one that can't
    be read leaves the last patterns in force.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int] | None = None
        self._patterns: list[str] = []

    def patterns(self) -> list[str]:
        """The patterns now in force."""
        try:
            stat = self._path.stat()
        except FileNotFoundError:
            self._seen, self._patterns = None, []
            return self._patterns
        if (stat.st_mtime_ns, stat.st_size) != self._seen:
            try:
                self._patterns = [str(pattern) for pattern in json.loads(self._path.read_text(encoding="utf-8"))]
                self._seen = (stat.st_mtime_ns, stat.st_size)
            except (OSError, ValueError) as error:
                log.warning("%s is left unread (%s): it must be a JSON list of patterns", self._path.name, error)
        return self._patterns

    def is_dry(self, region: str, capacity_type: str, instance_type: str, zone: str) -> bool:
        """Whether the pool has no capacity."""
        pool = f"{capacity_type}:{instance_type}:{zone}"
        return any(fnmatch.fnmatchcase(pool if "/" not in p else f"{region}/{pool}", p) for p in self.patterns())


@dataclass(frozen=True)
class Override:
    """One pool that a CreateFleet request allows; ``fields`` are the request's own."""

    config: str
    fields: Mapping[str, str]

    @property
    def instance_type(self) -> str:
        """The pool's instance type."""
        return self.fields.get("InstanceType", "")

    @property
    def zone(self) -> str:
        """The pool's zone; empty when only a subnet is named."""
        return self.fields.get("AvailabilityZone", "")


_OVERRIDE = re.compile(r"LaunchTemplateConfigs\.(\d+)\.Overrides\.(\d+)\.(.+)")


def fleet_overrides(form: Mapping[str, str]) -> list[Override]:
    """The pools of a CreateFleet request, in its order."""
    grouped: dict[tuple[int, int], dict[str, str]] = {}
    for key, value in form.items():
        match = _OVERRIDE.fullmatch(key)
        if match:
            grouped.setdefault((int(match[1]), int(match[2])), {})[match[3]] = value
    return [Override(str(config), fields) for (config, _), fields in sorted(grouped.items())]


def fleet_with_only(form: Mapping[str, str], chosen: Override) -> bytes:
    """The CreateFleet request with one pool left."""
    kept = {key: value for key, value in form.items() if not key.startswith("LaunchTemplateConfigs.")}
    specification = f"LaunchTemplateConfigs.{chosen.config}.LaunchTemplateSpecification."
    for key, value in form.items():
        if key.startswith(specification):
            kept["LaunchTemplateConfigs.1.LaunchTemplateSpecification." + key.removeprefix(specification)] = value
    for key, value in chosen.fields.items():
        kept[f"LaunchTemplateConfigs.1.Overrides.1.{key}"] = value
    return urllib.parse.urlencode(kept).encode()


def capacity_errors(dry: Iterable[Override], capacity_type: str) -> str:
    """The errorSet of a CreateFleet answer: one InsufficientInstanceCapacity a dry pool."""
    items = "".join(
        "<item><errorCode>InsufficientInstanceCapacity</errorCode>"
        "<errorMessage>There is no capacity in this pool (lab).</errorMessage>"
        f"<lifecycle>{capacity_type}</lifecycle><launchTemplateAndOverrides><overrides>"
        f"<instanceType>{escape(o.instance_type)}</instanceType><availabilityZone>{escape(o.zone)}</availabilityZone>"
        f"<subnetId>{escape(o.fields.get('SubnetId', ''))}</subnetId></overrides></launchTemplateAndOverrides></item>"
        for o in dry
    )
    return f"<errorSet>{items}</errorSet>" if items else ""
