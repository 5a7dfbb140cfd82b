"""What the predictive-scaling lever wants: pure functions of the estate, the settings and the live state."""

from __future__ import annotations

import copy
import json
import math
import re
import string
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, model_validator

from include.estate import Estate
from include.forecast import gauges
from include.levers import service
from include.levers.common import NodeFact, Object, node_price, total
from include.levers.objects import applied_by, by_key, key_of
from include.levers.predictive_scaling import queries
from include.prices import AwsBook, usd_month
from include.rollout.gates import Comparison, Gate
from include.rollout.lever import Difference, Plan, Stage, Undo, differences
from include.rollout.settings import LONGEST_CONVERGENCE

NAME = "predictive_scaling"
PREDICTOR, REACTIVE, PREDICTIVE = SLOTS = ("predictor", "reactive", "predictive")
MANAGER = "akidb-predictive-scaling"
DEPLOYMENT_NAME = "traffic-predictor"
REQUESTS_TRIGGER, FORECAST_TRIGGER = "requests", "forecast"
MODELS_VARIABLE = "akidb_models"
MANIFESTS = Path(__file__).parents[2] / "manifests" / NAME
ROLE_ANNOTATION = "eks.amazonaws.com/role-arn"
WEEKDAYS, DAYS = 5, 7


class PredictiveSettings(BaseModel):
    """What a person may choose for one run of day 2."""

    model_config = ConfigDict(extra="forbid", frozen=True)

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
        int, Field(ge=1, le=gauges.LONGEST_LEAD, description="How far ahead the forecast's trigger looks, in minutes")
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


def render(manifest: str, values: Mapping[str, Any]) -> list[Object]:
    """The documents of a manifest with its ``${...}`` filled in; values become JSON, which is YAML."""
    template = string.Template((MANIFESTS / manifest).read_text(encoding="utf-8"))
    filled = template.substitute({key: json.dumps(value) for key, value in values.items()})
    # Two parts of one YAML document would share their objects, and a change to one would be one to both.
    return [copy.deepcopy(document) for document in yaml.safe_load_all(filled)]


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
    bodies = render("predictor.yaml", values)
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
    return render("scaledobject.yaml", values)[0]


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


def final(estate: Estate, region: str, settings: PredictiveSettings, models: str) -> list[Object]:
    """All that stands after the last stage."""
    slots = (PREDICTOR, PREDICTIVE) if settings.use_forecast else (REACTIVE,)
    return [body for slot in slots for body in wanted(slot, estate, region, settings, models)]


def every_object(estate: Estate, region: str, settings: PredictiveSettings, models: str) -> list[Object]:
    """All that the lever can write, whatever this run's settings: what a later run of it may add is known before."""
    scaling = PREDICTIVE if settings.use_forecast else REACTIVE
    return [body for slot in (PREDICTOR, scaling) for body in wanted(slot, estate, region, settings, models)]


def ours(live: Object) -> Object | None:
    """The object as this lever last applied it, identity included; None when it never did."""
    return applied_by(MANAGER, live)


def has_forecast(body: Object | None) -> bool:
    """Whether a ScaledObject has the forecast's trigger."""
    triggers = body.get("spec", {}).get("triggers", []) if body else []
    return any(trigger.get("name") == FORECAST_TRIGGER for trigger in triggers)


def without_forecast(body: Object) -> Object:
    """The same ScaledObject without the forecast's trigger."""
    changed = copy.deepcopy(body)
    changed["spec"]["triggers"] = [t for t in body["spec"]["triggers"] if t.get("name") != FORECAST_TRIGGER]
    return changed


def scaled_key(estate: Estate, workload: str) -> str:
    """``ScaledObject akidb/akidb-rest``."""
    return f"ScaledObject {estate.namespace}/{workload}"


# Stages and gates ------------------------------------------------------------------------------------------------


def found_differences(live: Mapping[str, Any], bodies: Sequence[Object]) -> tuple[Difference, ...]:
    """Every wanted field that is another one in the live state; an object that is absent is one difference."""
    found: list[Difference] = []
    objects = by_key(live["objects"])
    for body in bodies:
        key = key_of(body)
        entry = objects.get(key)
        found += [Difference(key, None, "created")] if entry is None else differences(entry["fields"], body, key)
    return tuple(found)


def stages(estate: Estate, settings: PredictiveSettings, live: Mapping[str, Any]) -> tuple[Stage, ...]:
    """The stages of a run. A forecast's trigger that stands already is not taken out on the way."""
    scaling, names = estate.predictive_scaling, " and ".join(estate.workloads)
    span = f"{settings.min_replicas} to {settings.max_replicas} replicas"
    titles = {
        PREDICTOR: f"{scaling.predictor.replicas} pods of {settings.predictor_image} serve the forecast",
        REACTIVE: f"{names}: {span} each by requests, {estate.qps_per_replica():g} a second and replica",
        PREDICTIVE: f"{names}: the forecast of the next {settings.lead_minutes} min may add replicas",
    }
    entries = [by_key(live["objects"]).get(scaled_key(estate, name)) for name in estate.workloads]
    stands = all(entry is not None and has_forecast(entry["ours"]) for entry in entries)
    chosen = [REACTIVE] if not settings.use_forecast else [s for s in SLOTS if not (stands and s == REACTIVE)]
    return tuple(Stage(slot, titles[slot], gates(slot, estate, settings)) for slot in chosen)


def served(estate: Estate) -> tuple[service.ServiceGate, ...]:
    """How the service must do while it scales."""
    return (*service.latency_gates(estate), service.error_gate(estate))


def gates(slot: str, estate: Estate, settings: PredictiveSettings) -> tuple[Gate, ...]:
    """The gates of a slot."""
    scaling = estate.predictive_scaling
    at_most, at_least = Comparison.AT_MOST, Comparison.AT_LEAST
    fresh = Gate("forecast_age", at_most, settings.freshness_seconds, "s", 1, "freshness_seconds")
    if slot == PREDICTOR:
        accuracy, against_naive = scaling.min_accuracy, scaling.max_naive_ratio
        source = "estate predictive_scaling"
        return (
            fresh,
            Gate("forecast_accuracy", at_least, accuracy, "ratio", 1, f"{source}.min_accuracy"),
            Gate("forecast_against_naive", at_most, against_naive, "ratio", 1, f"{source}.max_naive_ratio"),
        )
    scaled = (
        Gate("autoscalers_unhealthy", at_most, 0, "workloads", 1, "every HPA must scale"),
        Gate("fallback_active", at_most, 0, "workloads", 1, "metrics must arrive"),
        Gate("replicas_below_need", at_most, 0, "workloads", 1, "requests decide the least"),
        *(pair.gate for pair in served(estate)),
    )
    if slot == REACTIVE:
        return scaled
    source = "estate predictive_scaling.max_false_share"
    return (
        *scaled,
        fresh,
        Gate("false_scale_ups", at_most, scaling.max_false_share, "ratio", 1, source),
    )


# Money -----------------------------------------------------------------------------------------------------------


def need(qps: float, per_replica: float, least: int, most: int) -> int:
    """Replicas of one workload for ``qps`` requests a second, within its bounds."""
    return min(most, max(least, math.ceil(qps / per_replica)))


def replicas_of_week(estate: Estate, settings: PredictiveSettings) -> list[int]:
    """Replicas of all workloads together in each of the week's 168 hours, by the estate's shape of demand."""
    traffic, scale = estate.traffic, estate.demand_scale()
    start = sum(workload.replicas for workload in estate.workloads.values())
    shares = [workload.replicas / start for workload in estate.workloads.values()]
    hours = [traffic.planned_qps(hour, weekend=day >= WEEKDAYS) for day in range(DAYS) for hour in range(24)]
    unit, least, most = estate.qps_per_replica(), settings.min_replicas, settings.max_replicas
    return [sum(need(qps * scale * share, unit, least, most) for share in shares) for qps in hours]


def usd_hours(
    book: AwsBook, region: str, nodes: Sequence[NodeFact], replicas: int, mean: Decimal
) -> tuple[Decimal | None, Decimal | None]:
    """USD an hour now and on average after; only Karpenter's nodes follow the replicas."""
    before = total(node_price(book, region, node) for node in nodes)
    follow = total(node_price(book, region, node) for node in nodes if node.node_pool)
    if before is None or follow is None or not replicas:
        return before, None
    return before, before - follow + follow * mean / replicas


def build_plan(
    estate: Estate,
    region: str,
    settings: PredictiveSettings,
    live: Mapping[str, Any],
    models: str,
    nodes: Sequence[NodeFact],
    replicas: int,
    book: AwsBook,
) -> Plan:
    """The whole plan of one region; ``replicas`` are those of all workloads now."""
    week = replicas_of_week(estate, settings)
    mean = Decimal(sum(week)) / len(week)
    before, after = usd_hours(book, region, nodes, replicas, mean)
    found = found_differences(live, final(estate, region, settings, models))
    return Plan(
        lever=NAME,
        region=region,
        live=live,
        differences=found,
        stages=stages(estate, settings, live),
        usd_month_before=None if before is None else usd_month(before),
        usd_month_after=None if after is None else usd_month(after),
        price_book=f"{book.name} ({book.date})",
        undo=Undo.MINUTES,
        notes=(
            f"the plan's week at demand scale {estate.demand_scale():.2f} needs {min(week)} to {max(week)} replicas, "
            f"{mean:.1f} on average; the cost after is in proportion to them",
            *_notes(settings, live, any(node.node_pool for node in nodes)),
            *book.assumptions,
        ),
    )


def _notes(settings: PredictiveSettings, live: Mapping[str, Any], karpenter: bool) -> list[str]:
    start = ", ".join(f"{name} {count}" for name, count in live["replicas"].items() if count is not None)
    lines = [] if karpenter else ["no node follows the replicas before day 1: the node group keeps its size"]
    if start:
        lines.append(f"the replicas are the autoscaler's from then on; a rollback sets them back: {start}")
    if settings.use_forecast:
        lines += [
            "the forecast only adds: requests decide the least, and without a fresh and sure forecast it adds nothing",
            "to take the forecast's trigger out alone, run this again with use_forecast off: one apply a Deployment, "
            "seconds, and the autoscaling stays",
        ]
    return lines
