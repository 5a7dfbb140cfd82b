"""The settings of the cost-truth lever and the objects that it wants: pure functions of estate and settings."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

from include.estate import Estate
from include.levers import alert_rules
from include.levers.cost_monitoring import dashboard, rules
from include.levers.manifests import render
from include.levers.world import Object
from include.rollout.settings import LONGEST_CONVERGENCE

OPENCOST, KUBECOST, DASHBOARD = SLOTS = ("opencost", "kubecost", "dashboard_and_alerts")
CHARTS = {OPENCOST: "opencost", KUBECOST: "cost-analyzer"}  # the Helm chart whose objects are made, or checked
MANAGER = "akidb-cost-monitoring"
DASHBOARD_MAP, RULES = "akidb-cost-dashboard", "akidb-cost-rules"
RULES_FILE = "akidb-cost.rules.yaml"
Version = Annotated[str, Field(pattern=r"^\d+\.\d+\.\d+$")]


class MonitoringSettings(BaseModel):
    """What a person may choose for one run of day 5. Versions are pinned: what was rehearsed is what is rolled out."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    opencost_chart_version: Version = Field("2.5.29", description="Version of the Helm chart opencost")
    opencost_version: Version = Field(
        "1.108.1", description="Version of OpenCost; the chart's own default is another one"
    )
    opencost_image: str = Field(
        "quay.io/kubecost1/kubecost-cost-model:prod-1.108.1",
        description="OpenCost's image; it must end in opencost_version, with or without a digest",
    )
    kubecost_chart_version: Version = Field("2.8.6", description="Version of the Helm chart cost-analyzer")
    kubecost_version: Version = Field("2.8.6", description="Version of Kubecost")
    kubecost_image: str = Field(
        "gcr.io/kubecost1/cost-model:prod-2.8.6",
        description="Kubecost's cost model; it must end in kubecost_version, with or without a digest",
    )
    prometheus_endpoint: str = Field(
        "http://prometheus-server.monitoring.svc",
        pattern="^https?://",
        description="Prometheus as OpenCost and Kubecost reach it inside the cluster",
    )
    opencost_job: str = Field("opencost", min_length=1, description="Prometheus' name of the OpenCost scrape")
    kubecost_job: str = Field("kubecost", min_length=1, description="Prometheus' name of the Kubecost scrape")
    known_usd_day: dict[str, Decimal] = Field(
        {}, description="USD a day by component as the bill last had it; the alerts take week 13 for the others"
    )
    known_as_of: str = Field("", description="The day of known_usd_day, such as 2026-11-23")
    validation_window_seconds: int = Field(gt=0, description="Time span that the validation after the rollout looks at")
    converge_timeout_seconds: int = Field(
        gt=0,
        le=LONGEST_CONVERGENCE,
        description="Longest wait for a Deployment, its series or the rules, in seconds.",
    )

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
        return f"{CHARTS[name]}-{getattr(self, f'{name}_chart_version')}"


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
    return render(f"cost_monitoring/{name}.yaml", values)


def observed(estate: Estate, region: str, settings: MonitoringSettings, operator: bool) -> list[Object]:
    """Dashboard and rules; ``operator`` says whether the cluster serves PrometheusRule."""
    board = {"akidb-cost.json": dashboard.dashboard_json(estate, settings.opencost_job)}
    found = (RULES, RULES_FILE, rules.groups(estate, region, settings.scrape()))
    return alert_rules.objects(MANAGER, (DASHBOARD_MAP, board), found, operator)


def wanted(slot: str, estate: Estate, region: str, settings: MonitoringSettings, operator: bool) -> list[Object]:
    """The objects of a slot, in the order in which they are made."""
    if slot == DASHBOARD:
        return observed(estate, region, settings, operator)
    return installed(slot, estate, region, settings)
