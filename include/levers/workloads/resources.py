"""What the pods of a workload request, and whether quotas leave room for more of them: findings."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Any

from include.estate import Resources
from include.levers.nodes.requests import Requests, largest, pod_requests, show_cpu, show_memory, shown
from include.levers.pods import title_of
from include.levers.workloads.state import Finding
from include.levers.world import Object, name_of
from include.quantities import quantity


def live_requests(deployment: Object, pods: Iterable[Object]) -> dict[str, Decimal]:
    """What one pod requests: what its template says, or more where others have added to the running ones.

    ``pods`` are the Deployment's own. Injected containers and a VerticalPodAutoscaler show in them only.
    """
    specs = [deployment["spec"]["template"]["spec"], *(pod["spec"] for pod in pods)]
    return largest(map(pod_requests, specs))


def request_findings(deployment: Object, pods: Iterable[Object], wanted: Resources) -> Iterator[Finding]:
    """A Deployment whose pods request nothing, or something else than the estate says."""
    live, name = live_requests(deployment, pods), title_of(deployment)
    asked = {"cpu": quantity(wanted.cpu), "memory": quantity(wanted.memory)}
    given = pod_requests(deployment["spec"]["template"]["spec"])
    missing = [resource for resource in asked if not given.get(resource)]
    if missing:
        reason = (
            f"{name} requests no {' and no '.join(missing)}: Karpenter would pack all of its pods on one node a domain"
        )
        yield Finding(name_of(deployment), reason, f"set requests in its template, such as {shown(asked)}")
    elif any(live[resource] != value for resource, value in asked.items()):
        reason = f"{name} requests {shown(live)} a pod with all of its containers, estate.yaml says {shown(asked)}"
        text = f'{{cpu: "{show_cpu(live["cpu"])}", memory: {show_memory(live["memory"])}}}'
        remedy = f"set workloads.{name_of(deployment)}.requests to {text} in estate.yaml, or correct the Deployment"
        yield Finding(name_of(deployment), reason, remedy)


_ALIASES = {"cpu": "requests.cpu", "memory": "requests.memory", "count/pods": "pods"}
_OTHER_PODS = {"Terminating", "BestEffort"}  # scopes of a quota that pods of a Deployment with requests don't have


def quota_needs(count: int, spec: Mapping[str, Any], requests: Requests) -> dict[str, Decimal]:
    """What ``count`` more pods count for in a ResourceQuota."""
    each = {f"requests.{name}": value for name, value in requests.items()}
    each |= {f"limits.{name}": value for name, value in pod_requests(spec, "limits").items()}
    return {name: value * count for name, value in {**each, "pods": Decimal(1)}.items()}


def quota_findings(quotas: Iterable[Object], needs: Requests, what: str) -> Iterator[Finding]:
    """ResourceQuotas that would refuse pods which a rollout has to make."""
    for quota in quotas:
        if _OTHER_PODS & set(quota["spec"].get("scopes") or []) or quota["spec"].get("scopeSelector"):
            continue
        status = quota.get("status") or {}
        used = {_ALIASES.get(name, name): quantity(value) for name, value in (status.get("used") or {}).items()}
        for name, hard in (quota["spec"].get("hard") or {}).items():
            resource = _ALIASES.get(name, name)
            left = quantity(hard) - used.get(resource, Decimal(0))
            if needs.get(resource, Decimal(0)) > left:
                show = show_memory if resource.endswith("memory") else show_cpu
                needed = f"{what} needs {show(needs[resource])}"
                reason = f"ResourceQuota {name_of(quota)} leaves {show(left)} of {name}, {needed}"
                yield Finding(name_of(quota), reason, "raise the quota for the rollout")
