"""Recording and alerting rules that levers leave in a cluster's Prometheus, and whether it has loaded them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from include.levers.world import Object, World
from include.rollout.gates import Figure

MONITORING = "monitoring"  # the namespace of dashboards and rules
Rule = dict[str, Any]


def record(name: str, expression: str, labels: Mapping[str, str]) -> Rule:
    """A recording rule."""
    return {"record": name, "expr": expression} | ({"labels": dict(labels)} if labels else {})


def alert(raw: Mapping[str, str]) -> Rule:
    """An alerting rule of a manifest: a warning of the team platform unless it says otherwise."""
    labels = {"severity": raw.get("severity", "warning"), "team": "platform"}
    annotations = {key: raw[key] for key in ("summary", "remedy", "runbook") if key in raw}
    kept = {key: raw[key] for key in ("alert", "expr", "for")}
    return {**kept, "labels": labels, "annotations": annotations}


def named(prefix: str, parts: Sequence[tuple[str, Sequence[Rule]]]) -> list[dict[str, Any]]:
    """Rule groups; a group's name carries a hash of its rules.

    So it can be seen in Prometheus whether these very rules are loaded.
    """
    return [{"name": f"{prefix} {name} {_digest(rules)}", "rules": list(rules)} for name, rules in parts]


def _digest(rules: Sequence[Rule]) -> str:
    return hashlib.sha256(json.dumps(rules, sort_keys=True).encode()).hexdigest()[:8]


def text(found: Sequence[Mapping[str, Any]]) -> str:
    """The rule file that Prometheus reads; equal groups give equal bytes."""
    return yaml.safe_dump({"groups": list(found)}, sort_keys=False, width=1_000_000, allow_unicode=True)


def names(found: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """(group, rule) of every rule."""
    return [(group["name"], rule.get("record") or rule["alert"]) for group in found for rule in group["rules"]]


# Objects -------------------------------------------------------------------------------------------------------------


def objects(
    manager: str, board: tuple[str, Mapping[str, str]], rules: tuple[str, str, Sequence[Object]], operator: bool
) -> list[Object]:
    """Namespace, dashboard and rules. ``board`` is name and files, ``rules`` name, file and groups.

    ``operator`` says whether the cluster serves PrometheusRule.
    """
    labels = {"app.kubernetes.io/managed-by": manager}
    space = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": MONITORING, "labels": labels}}
    name, file, groups = rules
    if operator:
        api, kind = "monitoring.coreos.com/v1", "PrometheusRule"
        content: Object = {"spec": {"groups": list(groups)}}
        mark = {"release": "prometheus"}  # what a usual installation of the operator selects by
    else:
        api, kind, content = "v1", "ConfigMap", {"data": {file: text(groups)}}
        mark = {"akidb.io/prometheus-rules": "true"}
    return [
        space,
        _named("v1", "ConfigMap", board[0], labels | {"grafana_dashboard": "1"}) | {"data": dict(board[1])},
        _named(api, kind, name, labels | mark) | content,
    ]


def _named(api_version: str, kind: str, name: str, labels: Mapping[str, str]) -> Object:
    metadata = {"name": name, "namespace": MONITORING, "labels": dict(labels)}
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata}


# What Prometheus has of them -----------------------------------------------------------------------------------------


def not_loaded(world: World, wanted: Sequence[tuple[str, str]]) -> Figure:
    """How many of the rules Prometheus has not loaded; without samples while it has none at all."""
    loaded = [(rule.group, rule.name) for rule in world.prometheus.rules()]
    lacking = [name for name in wanted if name not in loaded]
    note = f"not loaded: {', '.join(sorted({rule for _, rule in lacking}))}" if lacking else f"{len(wanted)} loaded"
    return Figure(len(lacking), "rules", len(wanted) if loaded else 0, "Prometheus /api/v1/rules", note)


def with_errors(world: World, wanted: Sequence[tuple[str, str]]) -> Figure | None:
    """How many of the loaded rules failed at their last evaluation; None before the first one of each."""
    groups = {group for group, _ in wanted}
    mine = [rule for rule in world.prometheus.rules() if rule.group in groups]
    if not mine or any(rule.health == "unknown" for rule in mine):
        return None
    failed = [f"{rule.name}: {rule.error}" for rule in mine if rule.health != "ok" or rule.error]
    return Figure(len(failed), "rules", len(mine), "Prometheus /api/v1/rules", "; ".join(failed))


def missing(world: World, wanted: Sequence[tuple[str, str]]) -> list[str]:
    """What keeps the rules from working, for a wait."""
    lacking = not_loaded(world, wanted)
    if lacking.value:
        return [lacking.note]
    failed = with_errors(world, wanted)
    if failed is None:
        return ["the rules have not been evaluated yet"]
    return [failed.note] if failed.value else []
