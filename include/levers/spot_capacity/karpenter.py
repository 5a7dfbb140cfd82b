"""Which interruption queue Karpenter listens to, as its Deployment says: pure functions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from include.rollout.lever import Check

NAME = "karpenter"
NAMESPACES = ("kube-system", "karpenter")  # where its chart is installed by default, today and before
LABEL = "app.kubernetes.io/name=karpenter"  # wherever else it is
POOL = "karpenter.sh/nodepool"
VARIABLE, OPTION = "INTERRUPTION_QUEUE", "interruption-queue"
GLOBAL_SETTINGS = "karpenter-global-settings"  # of releases before 0.33
GLOBAL_KEYS = ("aws.interruptionQueueName", "aws.interruptionQueue", VARIABLE)

ConfigMaps = Callable[[str], Mapping[str, str]]  # a ConfigMap's data by its name, empty where it can't be read


def queue_of(deployment: Mapping[str, Any], config_map: ConfigMaps) -> str | None:
    """The queue's name; empty when Karpenter listens to none, None when what says it can't be read."""
    containers = deployment["spec"]["template"]["spec"].get("containers") or []
    for container in containers:
        told = _option([*(container.get("command") or []), *(container.get("args") or [])])
        if told is not None:
            return told  # an argument overrides the environment
    for container in containers:
        for entry in container.get("env") or []:
            if entry["name"] == VARIABLE:
                return _value(entry, config_map)
        for source in container.get("envFrom") or []:
            name = (source.get("configMapRef") or {}).get("name")
            told = config_map(name).get(VARIABLE) if name and not source.get("prefix") else None
            if told is not None:
                return told
    return _first(config_map(GLOBAL_SETTINGS)) or ""


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
    return config_map(reference["name"]).get(reference["key"]) if reference else None


def _first(data: Mapping[str, str], keys: Iterable[str] = GLOBAL_KEYS) -> str | None:
    return next((data[key] for key in keys if data.get(key)), None)


def queue_check(found: str | None, region: str, wanted: str) -> Check:
    """Whether Karpenter listens to the queue that the estate names for ``region``."""
    if found is None:
        return Check("Karpenter's queue", True, "Karpenter's setting interruptionQueue can't be read: not compared")
    if found == wanted:
        return Check("Karpenter's queue", True, f"Karpenter listens to {wanted}")
    if not found:
        reason = f"Karpenter listens to no interruption queue, so that a notice in {wanted} would be lost"
        return Check("Karpenter's queue", False, reason, f"set Karpenter's settings.interruptionQueue to {wanted}")
    reason = f"Karpenter listens to queue {found}, the estate names {wanted}: a notice would be lost"
    remedy = f"set regions.{region}.interruption_queue to {found} in estate.yaml, or Karpenter's interruptionQueue"
    return Check("Karpenter's queue", False, reason, f"{remedy} to {wanted}")
