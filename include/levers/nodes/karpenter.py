"""Karpenter as it is installed: the queue that it listens to, and the labels that its nodes carry. Pure functions."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from include.levers.nodes.scheduling import ARCHITECTURE, HOST, NODE_POOL, ZONE, Labels
from include.prices import InstanceChoice

NAME = "karpenter"
NAMESPACES = ("kube-system", "karpenter")  # where its chart is installed by default, today and before
LABEL = "app.kubernetes.io/name=karpenter"  # wherever else it is
VARIABLE, OPTION = "INTERRUPTION_QUEUE", "interruption-queue"
GLOBAL_SETTINGS = "karpenter-global-settings"  # of releases before 0.33
GLOBAL_KEYS = ("aws.interruptionQueueName", "aws.interruptionQueue", VARIABLE)
OLD_NAMES = {
    "beta.kubernetes.io/arch": ARCHITECTURE,
    "beta.kubernetes.io/os": "kubernetes.io/os",
    "beta.kubernetes.io/instance-type": "node.kubernetes.io/instance-type",
    "failure-domain.beta.kubernetes.io/zone": ZONE,
    "failure-domain.beta.kubernetes.io/region": "topology.kubernetes.io/region",
}

ConfigMaps = Callable[[str], Mapping[str, str] | None]  # a ConfigMap's data by its name, None where it can't be read


def queue_of(deployment: Mapping[str, Any], config_map: ConfigMaps) -> str | None:
    """The interruption queue's name; empty when Karpenter listens to none, None when what says it can't be read."""
    containers = deployment["spec"]["template"]["spec"].get("containers") or []
    for container in containers:
        given = _option([*(container.get("command") or []), *(container.get("args") or [])])
        if given is not None:
            return given  # an argument overrides the environment
    is_known = True
    for container in containers:
        for entry in container.get("env") or []:
            if entry["name"] == VARIABLE:
                return _value(entry, config_map)
        for source in container.get("envFrom") or []:
            name = (source.get("configMapRef") or {}).get("name")
            data = config_map(name) if name else None
            if data is None:
                is_known = False
            elif VARIABLE in data:
                return data[VARIABLE]
    settings = config_map(GLOBAL_SETTINGS)
    given = next((settings[key] for key in GLOBAL_KEYS if settings.get(key)), "") if settings is not None else ""
    return given if given or (is_known and settings is not None) else None


def _option(words: Sequence[str]) -> str | None:
    for index, word in enumerate(words):
        name, equals, value = str(word).lstrip("-").partition("=")
        if name == OPTION and str(word).startswith("-"):
            return value if equals else str((words[index + 1 :] or [""])[0])
    return None


def _value(entry: Mapping[str, Any], config_map: ConfigMaps) -> str | None:
    source = entry.get("valueFrom")
    if not source:
        return str(entry.get("value") or "")
    reference = source.get("configMapKeyRef") or {}
    return (config_map(reference["name"]) or {}).get(reference["key"]) if reference else None


# Labels of its nodes ---------------------------------------------------------------------------------------------


def node_labels(
    pool: str, own: Labels, choices: Iterable[InstanceChoice], region: str, zones: Iterable[str]
) -> list[dict[str, str]]:
    """The label sets that nodes of ``pool`` may carry, one for each instance type and zone; ``own`` are the pool's."""
    place = {"kubernetes.io/os": "linux", "topology.kubernetes.io/region": region, HOST: "a new node"}
    where = [{ZONE: zone} for zone in sorted(zones)] or [{}]
    sorts = [{NODE_POOL: pool, **own, **place, **_type_labels(choice)} for choice in choices]
    return [_with_old_names({**sort, **zone}) for sort in sorts for zone in where]


def _with_old_names(labels: dict[str, str]) -> dict[str, str]:
    """The labels with those of older releases, which nodes carry besides."""
    return labels | {old: labels[new] for old, new in OLD_NAMES.items() if new in labels}


def _type_labels(choice: InstanceChoice) -> dict[str, str]:
    instance, prefix = choice.instance, "karpenter.k8s.aws/instance"
    family = instance.name.split(".")[0]
    generation = re.search(r"\d+", family)
    return {
        "node.kubernetes.io/instance-type": instance.name,
        ARCHITECTURE: instance.arch,
        f"{prefix}-category": instance.category,
        f"{prefix}-family": family,
        f"{prefix}-generation": generation[0] if generation else "",
        f"{prefix}-size": instance.size,
        f"{prefix}-cpu": str(instance.vcpu),
        f"{prefix}-memory": str(instance.memory_mib),
    }
