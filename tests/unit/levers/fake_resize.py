"""The resize subresource of a pod as an API server has it: what it refuses, and the spec that comes of a patch."""

from __future__ import annotations

import copy
from typing import Any

from include.levers.nodes.requests import pod_requests, read_quantities
from tests.unit.levers.fake_answers import refusal

Object = dict[str, Any]


def resized(spec: Object, patch: Object) -> Object:
    """The pod's spec with the patch's requests, container by container."""
    changed = copy.deepcopy(spec)
    for part in patch["spec"]["containers"]:
        container = next((c for c in changed["containers"] if c["name"] == part["name"]), None)
        if container is None:
            raise refusal(422, f"spec.containers: containers may not be added or removed: {part['name']}", "Invalid")
        container["resources"].setdefault("requests", {}).update(part["resources"]["requests"])
    return changed


def refuse_resize(pod: Object, patch: Object, node: Object | None) -> None:
    """Raise what the API server answers to a resize that it does not take."""
    name, wanted = pod["metadata"]["name"], resized(pod["spec"], patch)
    statuses = pod["status"].get("containerStatuses") or []
    if not statuses or any("resources" not in status for status in statuses):
        raise refusal(422, f"Pod {name} is invalid: spec: Forbidden: pod resize is not supported", "Invalid")
    if quality(pod["spec"]) != quality(wanted):
        raise refusal(
            422, f"Pod {name} is invalid: metadata: Pod QOS Class may not change as a result of resizing", "Invalid"
        )
    if node is not None and (node["metadata"].get("labels") or {}).get("kubernetes.io/os", "linux") != "linux":
        raise refusal(403, f'pods "{name}" is forbidden: pod resize is only supported on linux nodes', "Forbidden")
    if node is not None and not _fits(wanted, node):
        causes = [{"reason": "NodeCapacity", "message": "node has insufficient capacity"}]
        raise refusal(403, f'pods "{name}" is forbidden: node did not have enough capacity', "Forbidden", causes=causes)


def _fits(spec: Object, node: Object) -> bool:
    room = read_quantities(node["status"]["allocatable"])
    return all(value <= room.get(resource, value) for resource, value in pod_requests(spec).items())


def quality(spec: Object) -> str:
    """The QoS class of a pod."""
    parts = [c.get("resources") or {} for c in spec["containers"]]
    if not any(part.get("requests") or part.get("limits") for part in parts):
        return "BestEffort"
    fixed = (read_quantities(p.get("requests")) == read_quantities(p.get("limits")) for p in parts)
    return "Guaranteed" if all(fixed) else "Burstable"
