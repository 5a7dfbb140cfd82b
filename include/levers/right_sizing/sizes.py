"""What a container requests, what its VPA recommends, and how a resize in place does: pure functions, base units."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import ROUND_CEILING, Decimal
from typing import Any, NamedTuple

from include.levers.nodes.requests import Requests, read_quantities, shown
from include.levers.pods import is_ending, unix
from include.levers.world import Object, name_of
from include.quantities import MIB

RESOURCES = ("cpu", "memory")
PENDING, IN_PROGRESS = "PodResizePending", "PodResizeInProgress"
DEFERRED = "Deferred"
UPDATE_THRESHOLD = Decimal("0.1")  # the updater leaves a pod whose requests are nearer to the target than that


class Recommended(NamedTuple):
    """What a VPA's status recommends for one container; ``uncapped`` is the target without the VPA's bounds."""

    lower: Requests
    target: Requests
    upper: Requests
    uncapped: Requests

    def capped(self, limits: Requests) -> Recommended:
        """As VPA applies it where requests alone are its own: never above a limit of the container."""
        low, target, high = (_under(limits, part) for part in (self.lower, self.target, self.upper))
        return Recommended(low, target, high, self.uncapped)


def _under(limits: Requests, requests: Requests) -> dict[str, Decimal]:
    return {name: min(value, limits.get(name, value)) for name, value in requests.items()}


def recommended(vpa: Mapping[str, Any], container: str) -> Recommended | None:
    """The recommendation for one container; None while there is none for the bounds that its VPA has now."""
    found = ((vpa.get("status") or {}).get("recommendation") or {}).get("containerRecommendations") or []
    mine = next((one for one in found if one["containerName"] == container), None)
    if mine is None:
        return None
    target = mine["target"]
    if not _within_bounds(vpa, container, read_quantities(target)):
        return None
    parts = (mine.get("lowerBound"), target, mine.get("upperBound"), mine.get("uncappedTarget"))
    return Recommended(*(read_quantities(part or target) for part in parts))


def _within_bounds(vpa: Mapping[str, Any], container: str, target: Requests) -> bool:
    policies = (vpa["spec"].get("resourcePolicy") or {}).get("containerPolicies") or []
    mine: Mapping[str, Any] = next((policy for policy in policies if policy.get("containerName") == container), {})
    low, high = (read_quantities(mine.get(bound)) for bound in ("minAllowed", "maxAllowed"))
    return all(low.get(name, value) <= value <= high.get(name, value) for name, value in target.items())


# Containers ------------------------------------------------------------------------------------------------------


def container_of(spec: Mapping[str, Any], name: str) -> Mapping[str, Any] | None:
    """The container called ``name`` of a pod's or a template's spec."""
    return next((c for c in spec.get("containers") or [] if c["name"] == name), None)


def main_container(spec: Mapping[str, Any]) -> str:
    """The container that is sized: the one that requests the most memory; the others stay as they are."""
    containers = spec.get("containers") or []
    return str(max(containers, key=lambda c: _asked(c, "requests").get("memory", Decimal(0)))["name"])


def requests_of(spec: Mapping[str, Any], container: str, part: str = "requests") -> dict[str, Decimal]:
    """CPU and memory that a container of a pod requests (``part`` limits: may use), as far as it says so."""
    return _asked(container_of(spec, container) or {}, part)


def _asked(container: Mapping[str, Any], part: str) -> dict[str, Decimal]:
    found = read_quantities((container.get("resources") or {}).get(part))
    return {name: found[name] for name in RESOURCES if name in found}


def carried_out(pod: Mapping[str, Any], container: str) -> dict[str, Decimal]:
    """What the kubelet has given a container, as the pod's status says; empty while it says nothing."""
    statuses = pod.get("status", {}).get("containerStatuses") or []
    mine: Mapping[str, Any] = next((status for status in statuses if status["name"] == container), {})
    return _asked(mine, "requests")


def is_guaranteed(spec: Mapping[str, Any]) -> bool:
    """Whether a pod's QoS class is Guaranteed: every container's requests are its limits."""
    containers = [*(spec.get("containers") or []), *(spec.get("initContainers") or [])]
    return bool(containers) and all(_is_fixed(container) for container in containers)


def _is_fixed(container: Mapping[str, Any]) -> bool:
    limits = _asked(container, "limits")
    return set(limits) == set(RESOURCES) and {**limits, **_asked(container, "requests")} == limits


def in_mib(requests: Requests) -> str:
    """CPU and memory as a person writes them, memory in whole MiB: a recommendation is any number of bytes."""
    return shown({name: whole_mib(value) if name == "memory" else value for name, value in requests.items()})


def whole_mib(value: Decimal) -> Decimal:
    """Bytes rounded up to MiB."""
    return (value / MIB).to_integral_value(ROUND_CEILING) * MIB


# Pods that are resized -------------------------------------------------------------------------------------------


def running(pods: Iterable[Object]) -> list[Object]:
    """The pods that have a node and aren't ending."""
    return [pod for pod in pods if pod["spec"].get("nodeName") and not is_ending(pod)]


def unsized(pod: Object, container: str, wanted: Recommended, within_bounds: bool = False) -> str:
    """What a pod lacks until it has the recommended size, in a line; empty when VPA has no more to do with it.

    ``within_bounds`` is enough where the updater is not waited for: it takes its time with such a pod.
    """
    asked, given = requests_of(pod["spec"], container), carried_out(pod, container)
    if not (near(asked, wanted.target) or (within_bounds and _inside(asked, wanted))):
        return f"{name_of(pod)} requests {in_mib(asked)}, recommended is {in_mib(wanted.target)}{_told(pod)}"
    if given != asked:
        return f"{name_of(pod)} has {in_mib(given)} of the {in_mib(asked)} that it requests{_told(pod)}"
    return ""


def near(asked: Requests, target: Requests) -> bool:
    """Whether requests are so near to the target that the updater leaves them."""
    has = {name: asked.get(name, Decimal(0)) for name in target}
    return all(abs(has[name] - value) <= UPDATE_THRESHOLD * has[name] for name, value in target.items())


def _inside(asked: Requests, wanted: Recommended) -> bool:
    zero = Decimal(0)
    return all(wanted.lower.get(n, zero) <= asked.get(n, zero) <= wanted.upper.get(n, zero) for n in wanted.target)


def _told(pod: Object) -> str:
    lines = [f"{c['type']} {c.get('reason', '')}: {c.get('message', '')}".rstrip(": ") for c in resize_conditions(pod)]
    return f" ({'; '.join(lines)})" if lines else ""


def resize_conditions(pod: Mapping[str, Any]) -> list[Object]:
    """What the kubelet says of a resize that it has not carried out."""
    conditions = pod.get("status", {}).get("conditions") or []
    return [c for c in conditions if c["type"] in (PENDING, IN_PROGRESS) and c.get("status") == "True"]


def refused_for(pod: Mapping[str, Any], now: float) -> tuple[str, float] | None:
    """Why the kubelet does not begin a resize (Deferred, Infeasible), and for how many seconds by now."""
    waits = next((c for c in resize_conditions(pod) if c["type"] == PENDING), None)
    if waits is None:
        return None
    return str(waits.get("reason", "")), max(0.0, now - unix(waits["lastTransitionTime"]))


# Killed for memory -----------------------------------------------------------------------------------------------


def killed_since(pods: Iterable[Object], since: float) -> list[str]:
    """Names of pods of which a container was OOM-killed at or after ``since`` (Unix seconds), once for each kill."""
    return [name_of(pod) for pod in pods for ended in _ends(pod) if _is_oom(ended, since)]


def _ends(pod: Object) -> Iterable[Mapping[str, Any]]:
    for status in pod.get("status", {}).get("containerStatuses") or []:
        for state in (status.get("state") or {}, status.get("lastState") or {}):
            yield state.get("terminated") or {}


def _is_oom(ended: Mapping[str, Any], since: float) -> bool:
    # Kubernetes' times are whole seconds.
    return ended.get("reason") == "OOMKilled" and unix(ended["finishedAt"]) >= since - 1
