"""What the predictive-scaling lever may be told, and the objects that it wants by it: pure functions."""

from __future__ import annotations

import copy
import re
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from include.estate import Estate
from include.forecast.gauges import LONGEST_LEAD
from include.levers.manifests import render
from include.levers.predictive_scaling import queries
from include.levers.world import Object
from include.rollout.lever import Target
from include.rollout.settings import LONGEST_CONVERGENCE

NAME = "predictive_scaling"
PREDICTOR, REACTIVE, PREDICTIVE = SLOTS = ("predictor", "reactive", "predictive")
MANAGER = "akidb-predictive-scaling"
DEPLOYMENT_NAME = "traffic-predictor"
REQUESTS_TRIGGER, FORECAST_TRIGGER = "requests", "forecast"
MODELS_VARIABLE = "akidb_models"
ROLE_ANNOTATION = "eks.amazonaws.com/role-arn"


class PredictiveSettings(BaseModel):
    """What a person may choose for one run of day 2."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    use_forecast: Annotated[
        bool,
        Field(description="Let the forecast add capacity. Off: only its trigger is taken out; the autoscaling stays"),
    ] = True
    predictor_image: Annotated[
        str, Field(pattern=r"[:@][^/:]+$", description="The predictor's image with its tag or digest")
    ]
    predictor_role: Annotated[
        str, Field(pattern=r"^(arn:\S+)?$", description="IAM role with which the predictor reads the models, if any")
    ] = ""
    prometheus_endpoint: Annotated[
        str, Field(pattern="^https?://", description="Prometheus as KEDA and the predictor reach it in the cluster")
    ] = "http://prometheus-server.monitoring.svc"
    endpoint_needs_no_login: Annotated[
        bool,
        Field(description="prometheus_endpoint answers without the credentials that Airflow's connection sends"),
    ] = False
    min_replicas: Annotated[int, Field(ge=1, description="Least replicas of each Deployment")]
    max_replicas: Annotated[int, Field(ge=1, description="Most replicas of each Deployment")]
    lead_minutes: Annotated[
        int, Field(ge=1, le=LONGEST_LEAD, description="How far ahead the forecast's trigger looks, in minutes")
    ]
    polling_seconds: Annotated[int, Field(gt=0, description="How often KEDA asks Prometheus, in seconds")]
    rate_window_seconds: Annotated[
        int, Field(ge=8, description="Time span of the request rate, at least four scrapes, in seconds")
    ]
    scale_down_seconds: Annotated[
        int, Field(ge=0, le=3600, description="How long a lower need must last before replicas go, in seconds")
    ]
    freshness_seconds: Annotated[int, Field(gt=0, description="An older forecast adds nothing; in seconds")]
    double_seconds: Annotated[
        int, Field(ge=1, le=1800, description="The replicas may at most double in so many seconds")
    ] = 15
    halve_seconds: Annotated[
        int, Field(ge=1, le=1800, description="The replicas may at most halve in so many seconds")
    ] = 60
    converge_timeout_seconds: Annotated[
        int,
        Field(gt=0, le=LONGEST_CONVERGENCE, description="Longest wait for the predictor, KEDA or the pods, in seconds"),
    ]

    @classmethod
    def estate_defaults(cls, estate: Estate) -> dict[str, Any]:
        """Defaults of the fields that the estate decides."""
        scaling = estate.predictive_scaling
        return scaling.model_dump(include=set(cls.model_fields)) | {"predictor_image": scaling.predictor.image}

    @model_validator(mode="after")
    def _ordered(self) -> PredictiveSettings:
        if self.min_replicas > self.max_replicas:
            raise ValueError(f"needs min_replicas <= max_replicas, not {self.min_replicas} and {self.max_replicas}")
        return self


# Wanted objects --------------------------------------------------------------------------------------------------


def models_of(target: Target) -> str:
    """Where the models lie, as the Airflow Variable says."""
    return str(target.clients.location(MODELS_VARIABLE))


def pod_location(models: str) -> str:
    """The models' place as a pod reads it: with its own role instead of Airflow's connection."""
    return re.sub(r"^s3://[^/@]+@", "s3://", models)


def predictor(estate: Estate, region: str, settings: PredictiveSettings, models: str) -> list[Object]:
    """The predictor's objects, in the order in which they are made."""
    wanted = estate.predictive_scaling.predictor
    selector = {"app": DEPLOYMENT_NAME}
    arguments = {
        "--host": "0.0.0.0",  # noqa: S104 - inside its pod
        "--port": str(wanted.port),
        "--registry": pod_location(models),
        "--prometheus": settings.prometheus_endpoint,
        "--regions": region,
        "--max-age": str(settings.freshness_seconds),
        # What /predict recommends is for the region, all workloads together.
        "--min-replicas": str(settings.min_replicas * len(estate.workloads)),
        "--max-replicas": str(settings.max_replicas * len(estate.workloads)),
    }
    values = {
        "NAMESPACE": estate.namespace,
        "LABELS": selector | {"app.kubernetes.io/managed-by": MANAGER},
        "SELECTOR": selector,
        "REPLICAS": wanted.replicas,
        "PORT": wanted.port,
        "PORT_TEXT": str(wanted.port),
        "IMAGE": settings.predictor_image,
        "ARGUMENTS": [part for pair in arguments.items() for part in pair],
        "REGION": region,
        "REQUESTS": wanted.requests.model_dump(),
        "LIMITS": wanted.limits.model_dump(),
    }
    bodies = render(f"{NAME}/predictor.yaml", values)
    if settings.predictor_role:
        bodies[0]["metadata"]["annotations"] = {ROLE_ANNOTATION: settings.predictor_role}
    return bodies


def scaled_object(
    estate: Estate, region: str, settings: PredictiveSettings, workload: str, with_forecast: bool
) -> Object:
    """A workload's ScaledObject, with or without the forecast's trigger."""
    scaling = estate.predictive_scaling
    own = queries.own_demand(estate, region, workload, settings.rate_window_seconds)
    triggers = [_trigger(estate, settings, REQUESTS_TRIGGER, own)]
    if with_forecast:
        ahead = forecast_query(estate, region, settings, workload)
        triggers.append(_trigger(estate, settings, FORECAST_TRIGGER, ahead))
    start = estate.workloads[workload].replicas
    values = {
        "NAME": workload,
        "NAMESPACE": estate.namespace,
        "LABELS": {"app.kubernetes.io/managed-by": MANAGER},
        "MIN": settings.min_replicas,
        "MAX": settings.max_replicas,
        "POLLING": settings.polling_seconds,
        "FAILURES": scaling.fallback_failures,
        "FALLBACK": min(settings.max_replicas, max(settings.min_replicas, start)),
        "SCALE_DOWN": settings.scale_down_seconds,
        "DOUBLE": settings.double_seconds,
        "HALVE": settings.halve_seconds,
        "TRIGGERS": triggers,
    }
    return render(f"{NAME}/scaledobject.yaml", values)[0]


def forecast_query(estate: Estate, region: str, settings: PredictiveSettings, workload: str) -> str:
    """The query of a workload's forecast trigger."""
    return queries.forecast_trigger(
        estate,
        region,
        workload,
        window=settings.rate_window_seconds,
        lead_minutes=settings.lead_minutes,
        freshness=settings.freshness_seconds,
    )


def _trigger(estate: Estate, settings: PredictiveSettings, name: str, query: str) -> Object:
    return {
        "type": "prometheus",
        "name": name,
        "metricType": "AverageValue",
        "metadata": {
            "serverAddress": settings.prometheus_endpoint,
            "query": query,
            "threshold": f"{estate.qps_per_replica():g}",
            "ignoreNullValues": "false",
        },
    }


def wanted(slot: str, estate: Estate, region: str, settings: PredictiveSettings, models: str) -> list[Object]:
    """The objects of a slot."""
    if slot == PREDICTOR:
        return predictor(estate, region, settings, models)
    return [scaled_object(estate, region, settings, name, slot == PREDICTIVE) for name in estate.workloads]


def has_forecast(body: Object | None) -> bool:
    """Whether a ScaledObject has the forecast's trigger."""
    triggers = body.get("spec", {}).get("triggers", []) if body else []
    return any(trigger.get("name") == FORECAST_TRIGGER for trigger in triggers)


def without_forecast(body: Object) -> Object:
    """The same ScaledObject without the forecast's trigger."""
    changed = copy.deepcopy(body)
    changed["spec"]["triggers"] = [t for t in body["spec"]["triggers"] if t.get("name") != FORECAST_TRIGGER]
    return changed
