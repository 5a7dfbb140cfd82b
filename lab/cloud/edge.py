"""Everything that makes moto's edge AWS's: all repairs at once, and what faults and tests may switch.

In the lab the switches are a file of the emulator's folder, ``edge.json``, looked at with every request:

    {"deploying": {"hold": true}, "updating": {"seconds": 20}, "allocating": {"reads": 3},
     "throttle": {"lambda": 3}, "figures": {"spillover_share": 0.1}, "somebody_else": {"comment": "mine"}}
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lab.cloud import (
    edge_functions,
    figures,
    moto_cloudfront,
    moto_cloudwatch,
    moto_lambda,
    moto_provisioned,
    moto_route53,
    moto_s3,
    throttling,
)
from lab.cloud.pace import CLOCK, Pace

PACES: dict[str, Pace] = {
    "deploying": moto_cloudfront.DEPLOYING,
    "updating": moto_lambda.UPDATING,
    "allocating": moto_provisioned.ALLOCATING,
}
FILE = "edge.json"


def as_aws() -> None:
    """Repair every service of the edge in this process; a second call changes nothing."""
    for service in (moto_route53, moto_cloudfront, moto_lambda, moto_s3, moto_cloudwatch):
        service.as_aws()


def reset() -> None:
    """As a fresh account is: call it before each ``mock_aws``, as the switches are the process's."""
    for pace in PACES.values():
        pace.reset()
    CLOCK.reset()
    edge_functions.reset()
    throttling.reset()
    figures.LEVELS.reset()
    moto_cloudfront.SOMEBODY_ELSE.reset()
    moto_route53.UNHEALTHY.clear()


def switch(wanted: dict[str, Any]) -> None:
    """Set the switches as the file's content says; whatever it leaves out is healthy."""
    for name, pace in PACES.items():
        pace.reset()
        for field, value in wanted.get(name, {}).items():
            setattr(pace, field, value)
    throttling.switch(wanted.get("throttle", {}))
    figures.LEVELS.reset(**wanted.get("figures", {}))
    moto_cloudfront.SOMEBODY_ELSE.reset(**wanted.get("somebody_else", {}))


class Switches:
    """The file of one emulator: read again when it has changed."""

    def __init__(self, path: Path) -> None:
        self._path, self._seen = path, -1

    def look(self) -> None:
        """Take over what the file says now. A file half written is read again at the next request."""
        try:
            changed = self._path.stat().st_mtime_ns
            if changed != self._seen:
                switch(json.loads(self._path.read_text(encoding="utf-8")))
                self._seen = changed
        except FileNotFoundError:
            if self._seen != -1:
                switch({})
            self._seen = -1
        except ValueError:
            return
