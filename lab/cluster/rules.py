"""Rule ConfigMaps of the clusters mirrored into Prometheus, as its operator or a sidecar does in production.

One Prometheus serves all regions here, so a file carries its region in its name. A file that promtool refuses never
gets there; the one before stays.
"""

from __future__ import annotations

import hashlib
import subprocess
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lab.machine.programs import find
from lab.machine.speed import LONGEST_STRETCH

TIMEOUT_SECONDS = 10  # of a reload, which is tried again
CHECK_SECONDS = round(30 * LONGEST_STRETCH)


def promtool_says(file: Path) -> str:
    """Why promtool refuses the rule file, or an empty text."""
    command = [str(find("promtool")), "check", "rules", str(file)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=CHECK_SECONDS, check=False)
    return "" if result.returncode == 0 else " ".join((result.stderr or result.stdout).split())[-400:]


def reload_prometheus(url: str) -> None:
    """Let Prometheus read its rules again. Raises OSError when it refuses or can't be reached."""
    request = urllib.request.Request(f"{url}/-/reload", method="POST")
    with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS):
        pass


def file_name(region: str, name: str) -> str:
    """Where a region's rules of ``name`` lie: no name can leave the folder or be another region's."""
    safe = "".join(c if c.isalnum() or c in "-_." else "_" for c in name.removesuffix(".yaml"))
    return f"{region}@{safe}.yaml"


@dataclass
class RuleMirror:
    """Prometheus' rule ``folder``. ``check`` says why a file is refused, ``reload`` lets Prometheus read the folder."""

    folder: Path
    prometheus: str
    check: Callable[[Path], str] = promtool_says
    reload: Callable[[str], None] = reload_prometheus
    _seen: dict[str, dict[str, str]] = field(default_factory=dict)
    _stale: set[str] = field(default_factory=set)

    def settle(self, region: str, wanted: Mapping[str, str]) -> list[str]:
        """Make the region's files those of ``wanted`` (text by name); a line for each thing done."""
        digests = {name: hashlib.sha256(text.encode()).hexdigest() for name, text in wanted.items()}
        done: list[str] = []
        if digests != self._seen.get(region, {}):
            before = self._seen.get(region, {})
            for name in sorted(digests):
                if digests[name] != before.get(name):
                    done += self._put(region, name, wanted[name])
            for name in sorted(set(before) - set(digests)):
                (self.folder / file_name(region, name)).unlink(missing_ok=True)
                self._stale.add(region)
                done.append(f"rules {name} removed")
            self._seen[region] = digests
        if region in self._stale:
            done += self._reload(region)
        return done

    def _put(self, region: str, name: str, text: str) -> list[str]:
        self.folder.mkdir(parents=True, exist_ok=True)
        target = self.folder / file_name(region, name)
        partial = target.with_suffix(".partial")  # not *.yaml: Prometheus never reads half a file
        partial.write_text(text, encoding="utf-8")
        refused = self.check(partial)
        if refused:
            partial.unlink()
            return [f"rules {name} refused: {refused}"]
        partial.replace(target)
        self._stale.add(region)
        return [f"rules {name} loaded"]

    def _reload(self, region: str) -> list[str]:
        try:
            self.reload(self.prometheus)
        except OSError as error:
            return [f"Prometheus did not reload ({error}); it is tried again"]
        self._stale.discard(region)
        return []
