"""A healthy Deployment and its pods, with what a test changes of them."""

from __future__ import annotations

from typing import Any

from include.levers.workloads import Finding
from tests.unit.levers import spot_world
from tests.unit.levers.spot_world import Object


def deployment(replicas: int | None = 15, **spec: Any) -> Object:
    """A healthy Deployment; what is named replaces fields of its spec, None takes one away."""
    made = spot_world.deployment("akidb-rest", "akidb", replicas or 1)
    made["spec"] |= {"replicas": replicas, **spec}
    return made


def templated(**spec: Any) -> Object:
    made = deployment()
    made["spec"]["template"]["spec"] |= spec
    return made


def only(findings: Any) -> Finding:
    (found,) = findings
    return found


def term(key: str, operator: str, *values: str) -> Object:
    return {"key": key, "operator": operator, "values": [*values]} if values else {"key": key, "operator": operator}
