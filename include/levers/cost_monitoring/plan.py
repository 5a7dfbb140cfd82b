"""What the cost-truth lever wants: pure functions of the estate, the settings and the live state."""

from __future__ import annotations

import copy
import json
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, model_validator

from include.estate import Estate
from include.levers.common import Object
from include.levers.cost_monitoring import dashboard, rules
from include.levers.objects import applied_by, by_key, key_of
from include.prices import PlanBook, load_aws_book
from include.rollout.gates import Comparison, Gate
from include.rollout.lever import Difference, Plan, Stage, Undo, differences
from include.rollout.settings import LONGEST_CONVERGENCE

NAME = "cost_monitoring"
OPENCOST, KUBECOST, DASHBOARD = "opencost", "kubecost", "dashboard_and_alerts"
SLOTS = (OPENCOST, KUBECOST, DASHBOARD)
MANAGER = "akidb-cost-monitoring"
MONITORING = "monitoring"  # the namespace of dashboard and rules
DASHBOARD_MAP, RULES = "akidb-cost-dashboard", "akidb-cost-rules"
RULES_FILE = "akidb-cost.rules.yaml"
MANIFESTS = Path(__file__).parents[2] / "manifests" / "cost_monitoring"
COVERAGE = 0.95  # share of the nodes that OpenCost must have a price for
PLATFORM = "cost_platform"


@dataclass(frozen=True)
class Chart:
    """The Helm chart whose objects are installed, or checked when somebody else has installed them."""

    name: str
    repository: str


CHARTS = {
    OPENCOST: Chart("opencost", "https://opencost.github.io/opencost-helm-chart"),
    KUBECOST: Chart("cost-analyzer", "https://kubecost.github.io/cost-analyzer/"),
}


class MonitoringSettings(BaseModel):
    """What a person may choose for one run of day 5. Versions are pinned: what was rehearsed is what is rolled out."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    opencost_chart_version: Annotated[
        str, Field(pattern=r"^\d+\.\d+\.\d+$", description="Version of the Helm chart opencost")
    ] = "2.5.29"
    opencost_version: Annotated[
        str,
        Field(pattern=r"^\d+\.\d+\.\d+$", description="Version of OpenCost; the chart's own default is another one"),
    ] = "1.108.1"
    opencost_image: Annotated[
        str, Field(description="OpenCost's image; it must end in opencost_version, with or without a digest")
    ] = "quay.io/kubecost1/kubecost-cost-model:prod-1.108.1"
    kubecost_chart_version: Annotated[
        str, Field(pattern=r"^\d+\.\d+\.\d+$", description="Version of the Helm chart cost-analyzer")
    ] = "2.8.6"
    kubecost_version: Annotated[str, Field(pattern=r"^\d+\.\d+\.\d+$", description="Version of Kubecost")] = "2.8.6"
    kubecost_image: Annotated[
        str, Field(description="Kubecost's cost model; it must end in kubecost_version, with or without a digest")
    ] = "gcr.io/kubecost1/cost-model:prod-2.8.6"
    prometheus_endpoint: Annotated[
        str, Field(pattern="^https?://", description="Prometheus as OpenCost and Kubecost reach it inside the cluster")
    ] = "http://prometheus-server.monitoring.svc"
    opencost_job: Annotated[str, Field(min_length=1, description="Prometheus' name of the OpenCost scrape")] = (
        "opencost"
    )
    kubecost_job: Annotated[str, Field(min_length=1, description="Prometheus' name of the Kubecost scrape")] = (
        "kubecost"
    )
    known_usd_day: Annotated[
        dict[str, Decimal],
        Field(description="USD a day by component as the bill last had it; the alerts take week 13 for the others"),
    ] = {}
    known_as_of: Annotated[str, Field(description="The day of known_usd_day, such as 2026-11-23")] = ""
    validation_window_seconds: Annotated[
        int, Field(gt=0, description="Time span that the validation after the rollout looks at")
    ]
    converge_timeout_seconds: Annotated[
        int,
        Field(
            gt=0,
            le=LONGEST_CONVERGENCE,
            description="Longest wait for a Deployment, its series or the rules, in seconds.",
        ),
    ]

    @model_validator(mode="after")
    def _consistent(self) -> MonitoringSettings:
        for name in (OPENCOST, KUBECOST):
            version, image = getattr(self, f"{name}_version"), getattr(self, f"{name}_image")
            if not image.partition("@")[0].endswith(version):
                raise ValueError(f"{name}_image {image} does not end in {name}_version {version}: change both together")
        if self.known_usd_day and not self.known_as_of:
            raise ValueError("known_usd_day needs known_as_of: say of which day the figures are")
        return self

    def scrape(self) -> rules.Scrape:
        """What the rules need of the settings."""
        return rules.Scrape(self.opencost_job, self.known_usd_day, self.known_as_of)

    def version(self, name: str) -> str:
        """The pinned version of OpenCost or Kubecost."""
        return str(getattr(self, f"{name}_version"))

    def chart(self, name: str) -> str:
        """The pinned chart as its label ``helm.sh/chart`` reads: ``opencost-2.5.29``."""
        return f"{CHARTS[name].name}-{getattr(self, f'{name}_chart_version')}"


# Wanted objects --------------------------------------------------------------------------------------------------


def installed(name: str, estate: Estate, region: str, settings: MonitoringSettings) -> list[Object]:
    """The objects of OpenCost or Kubecost, in the order in which they are made."""
    selector = {"app.kubernetes.io/name": name, "app.kubernetes.io/instance": name}
    labels = {"helm.sh/chart": settings.chart(name), "app.kubernetes.io/version": settings.version(name)} | selector
    values = {
        "NAMESPACE": name,
        "LABELS": labels | {"app.kubernetes.io/managed-by": MANAGER},
        "SELECTOR": selector,
        "IMAGE": getattr(settings, f"{name}_image"),
        "CLUSTER": estate.region(region).cluster,
        "PROMETHEUS": settings.prometheus_endpoint,
    }
    template = string.Template((MANIFESTS / f"{name}.yaml").read_text(encoding="utf-8"))
    filled = template.substitute({key: json.dumps(value) for key, value in values.items()})
    # Two parts of one YAML document would share their objects, and a change to one would be one to both.
    return [copy.deepcopy(document) for document in yaml.safe_load_all(filled)]


def observed(estate: Estate, region: str, settings: MonitoringSettings, operator: bool) -> list[Object]:
    """Dashboard and rules; ``operator`` says whether the cluster serves PrometheusRule."""
    board = {"akidb-cost.json": dashboard.dashboard_json(estate, settings.opencost_job)}
    groups = rules.groups(estate, region, settings.scrape())
    labels = {"app.kubernetes.io/managed-by": MANAGER}
    space = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": MONITORING, "labels": labels}}
    if operator:
        api, kind = "monitoring.coreos.com/v1", "PrometheusRule"
        content: Object = {"spec": {"groups": groups}}
        mark = {"release": "prometheus"}  # what a usual installation of the operator selects by
    else:
        api, kind, content = "v1", "ConfigMap", {"data": {RULES_FILE: rules.text(groups)}}
        mark = {"akidb.io/prometheus-rules": "true"}
    return [
        space,
        _named("v1", "ConfigMap", DASHBOARD_MAP, labels | {"grafana_dashboard": "1"}) | {"data": board},
        _named(api, kind, RULES, labels | mark) | content,
    ]


def _named(api_version: str, kind: str, name: str, labels: Mapping[str, str]) -> Object:
    metadata = {"name": name, "namespace": MONITORING, "labels": dict(labels)}
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata}


def wanted(
    slot: str, estate: Estate, region: str, settings: MonitoringSettings, operator: bool, foreign: Sequence[str]
) -> list[Object]:
    """The objects of a slot; none where somebody else's Deployment stands (``foreign``): that one is only checked."""
    if slot in foreign:
        return []
    if slot == DASHBOARD:
        return observed(estate, region, settings, operator)
    return installed(slot, estate, region, settings)


def ours(live: Object) -> Object | None:
    """The object as this lever last applied it, identity included; None when it never did."""
    return applied_by(MANAGER, live)


# The plan --------------------------------------------------------------------------------------------------------


def found_differences(live: Mapping[str, Any], bodies: Sequence[Object]) -> tuple[Difference, ...]:
    """Every wanted field that is another one in the live state; an object that is absent is one difference."""
    found: list[Difference] = []
    objects = by_key(live["objects"])
    for body in bodies:
        key = key_of(body)
        entry = objects.get(key)
        if entry is None:
            found.append(Difference(key, None, "created"))
        elif not entry["left_alone"]:
            found += differences(entry["fields"], body, key)
    return tuple(found)


def gates(slot: str, estate: Estate) -> tuple[Gate, ...]:
    """The gates of a slot: does it answer, and do its figures agree; dollars against a target are no gate."""
    at_least, at_most = Comparison.AT_LEAST, Comparison.AT_MOST
    if slot == OPENCOST:
        gap = estate.cost.agree_within
        return (
            Gate("opencost_node_coverage", at_least, COVERAGE, "ratio", 1, "nodes that must have a price"),
            Gate("opencost_price_gap", at_most, gap, "ratio", 1, "estate cost.agree_within"),
        )
    if slot == KUBECOST:
        return (Gate("kubecost_up", at_least, COVERAGE, "ratio", 1, "scrapes that must succeed"),)
    return (
        Gate("dashboard_queries_without_data", at_most, 0, "queries", 1, "every panel must show data"),
        Gate("rules_not_loaded", at_most, 0, "rules", 1, "every rule must be loaded"),
        Gate("rules_with_errors", at_most, 0, "rules", 1, "every rule must evaluate"),
    )


def stages(estate: Estate, settings: MonitoringSettings, live: Mapping[str, Any]) -> tuple[Stage, ...]:
    """All three slots: what stands already is checked again by its gates."""
    made = []
    for slot in SLOTS:
        if slot == DASHBOARD:
            title = "dashboard of 8 panels and the budget alerts"
        else:
            verb = "checked" if slot in live["foreign"] else "installed"
            title = f"{slot} {settings.version(slot)} ({settings.chart(slot)}) {verb}"
        made.append(Stage(slot, title, gates(slot, estate), {}))
    return tuple(made)


def build_plan(
    estate: Estate, region: str, settings: MonitoringSettings, live: Mapping[str, Any], bodies: Sequence[Object]
) -> Plan:
    """The whole plan of one region; ``bodies`` are the wanted objects of every slot."""
    book, share = PlanBook(), Decimal(len(estate.regions))
    cost = (book.component(PLATFORM).week_14 / share).quantize(Decimal("0.01"))
    there = all(by_key(live["objects"]).get(key_of(body)) is not None for body in bodies)
    return Plan(
        lever=NAME,
        place=region,
        live=live,
        differences=found_differences(live, bodies),
        stages=stages(estate, settings, live),
        usd_month_before=cost if there else Decimal(0),
        usd_month_after=cost,
        price_book=f"{book.name} ({book.date})",
        undo=Undo.MINUTES,
        notes=_notes(estate, settings, live),
    )


def _notes(estate: Estate, settings: MonitoringSettings, live: Mapping[str, Any]) -> tuple[str, ...]:
    platform = PlanBook().component(PLATFORM).week_14
    found = rules.constants(estate, load_aws_book(estate), settings.scrape())
    told = ", ".join(f"{name} {c.usd_day:.2f} ({c.basis} {c.as_of})" for name, c in sorted(found.items()))
    lines = [
        f"the platform is {platform} USD a month for the estate, shared by {len(estate.regions)} regions; it is a "
        "contract's price, not what these pods cost",
        f"in the alerts, USD a day of what has no live series: {told}",
    ]
    there = "somebody else's Deployment stands there; it is checked and left alone"
    lines += [f"{name}: {there}" for name in live["foreign"]]
    if not live["operator"]:
        lines.append(f"PrometheusRule is not served: the rules go into a ConfigMap in {MONITORING}")
    return tuple(lines)
