"""Typed description of the estate: regions, clusters, workloads, targets, windows and governance.

``include/estate.yaml`` is the one file that is read at DAG parse. Everything else that a task needs comes from
connections, variables and the DAG's parameters. Unknown keys, wrong types and impossible combinations raise
:class:`EstateError` with the field, the value and the remedy.
"""

from __future__ import annotations

import copy
import datetime as dt
import os
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from include.quantities import quantity

ESTATE_FILE = Path(__file__).with_name("estate.yaml")
_REPAIRS = 5  # rounds in which a slice of another release is made to fit: a repair may uncover what is below it
Hour = Annotated[int, Field(ge=0, le=24)]
Share = Annotated[float, Field(ge=0, le=1)]
Seconds = Annotated[int, Field(gt=0)]


class EstateError(ValueError):
    """The estate's description can't be used; the message names the field, the value and the remedy."""


def _text_of_number(value: Any) -> Any:
    """YAML reads ``cpu: 1`` as a number; Kubernetes takes both."""
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _positive(text: str) -> str:
    if quantity(text) <= 0:
        raise ValueError("must be more than zero")
    return text


def _whole_bytes(text: str) -> str:
    if quantity(text) % 1:
        raise ValueError(f"is {quantity(text).normalize():f} bytes: m means thousandths, write M or Mi for megabytes")
    return text


_MATCHER = r'[a-zA-Z_]\w*\s*(?:=~|!~|!=|=)\s*"(?:[^"\\]|\\.)*"'
_MATCHERS = re.compile(rf"(?:{_MATCHER}(?:\s*,\s*{_MATCHER})*)?", re.ASCII)
_AGE = re.compile(r"Never|(?:\d+[smh])+", re.ASCII)


def _label_matchers(text: str) -> str:
    if not _MATCHERS.fullmatch(text):
        raise ValueError('must be PromQL label matchers without braces, such as team="search",env=~"prod.*"')
    return text


def _age(text: str) -> str:
    if not _AGE.fullmatch(text):
        raise ValueError("must be Never or an age that Karpenter reads, such as 720h or 1h30m")
    return text


Cpu = Annotated[str, BeforeValidator(_text_of_number), AfterValidator(_positive)]
Memory = Annotated[str, BeforeValidator(_text_of_number), AfterValidator(_positive), AfterValidator(_whole_bytes)]
Matchers = Annotated[str, AfterValidator(_label_matchers)]
Age = Annotated[str, AfterValidator(_age)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Connections(_Model):
    """Airflow connection ids of one region."""

    kubernetes: str
    aws: str
    prometheus: str


class NodeGroup(_Model):
    """The managed node group of on-demand nodes as it stands before the rollout."""

    name: str
    instance_type: str
    size: Annotated[int, Field(ge=1)]
    floor: Annotated[int, Field(ge=0, description="nodes that stay for system pods")]
    max_size: Annotated[int, Field(ge=1)]

    @model_validator(mode="after")
    def _ordered(self) -> NodeGroup:
        if not self.floor <= self.size <= self.max_size:
            raise ValueError(f"needs floor <= size <= max_size, not {self.floor}, {self.size}, {self.max_size}")
        return self


class Region(_Model):
    """One region: its cluster, node group and where its prices and connections come from."""

    cluster: str
    interruption_queue: Annotated[
        str | None, Field(min_length=1, description="the queue that Karpenter listens to; left out: the cluster's name")
    ] = None
    node_group: NodeGroup
    node_role: str
    discovery_tag: str
    on_demand_price_factor: Annotated[float, Field(gt=0, description="on-demand price against us-east-1")]
    holidays: Annotated[
        str | None, Field(pattern="^[A-Z]{2}$", description="country whose public holidays its traffic follows")
    ] = None
    connections: Connections

    @property
    def queue(self) -> str:
        """The name of the interruption queue."""
        return self.interruption_queue or self.cluster


class Resources(_Model):
    """Kubernetes quantities of a whole pod: the sum over its containers, sidecars included."""

    cpu: Cpu
    memory: Memory


class Use(_Model):
    """What one pod uses at the weekday peak."""

    cpu_millicores: Annotated[int, Field(gt=0)]
    memory_mib: Annotated[int, Field(gt=0)]


class Workload(_Model):
    """One Deployment of the service."""

    port: Annotated[int, Field(gt=0, lt=65536)]
    replicas: Annotated[int, Field(ge=1)]
    requests: Resources
    limits: Resources
    use_at_peak: Use
    matchers: Annotated[
        Matchers, Field(description="what tells its requests from another workload's with the same counter")
    ] = ""

    @model_validator(mode="after")
    def _within_limits(self) -> Workload:
        for name in ("cpu", "memory"):
            asked, most = getattr(self.requests, name), getattr(self.limits, name)
            if quantity(asked) > quantity(most):
                raise ValueError(f"requests.{name} {asked} is more than limits.{name} {most}")
        return self


class Metrics(_Model):
    """Names of the Prometheus series, and of the labels that carry the status of a request.

    The status labels matter: under a wrong one no error is ever found, which would read as none.
    """

    http_requests: str
    http_status_label: str
    http_duration: str
    grpc_requests: str
    grpc_status_label: str
    grpc_duration: str
    memory: str
    interruptions: str
    matchers: Annotated[
        Matchers | None, Field(description="what tells AkiDB's series from others'; left out: its namespace")
    ] = None

    def counter(self, protocol: Literal["http", "grpc"]) -> str:
        """The request counter of ``http`` or ``grpc``."""
        return self.http_requests if protocol == "http" else self.grpc_requests

    def requests(self) -> tuple[tuple[str, str], ...]:
        """Each request counter with its status label: REST, then gRPC."""
        return (self.http_requests, self.http_status_label), (self.grpc_requests, self.grpc_status_label)


class Traffic(_Model):
    """Capacity of a replica and the daily shape of demand."""

    replica_qps: Annotated[float, Field(gt=0)]
    target_utilisation: Annotated[float, Field(gt=0, le=1)]
    weekday_qps: Annotated[tuple[float, ...], Field(min_length=24, max_length=24)]
    weekend_peak_qps: Annotated[float, Field(gt=0)]
    peak_share_of_capacity: Share

    def planned_qps(self, hour: int, weekend: bool) -> float:
        """The plan's QPS in an hour of the day (0..23, UTC): the weekday's level, at weekends capped."""
        level = self.weekday_qps[hour]
        return min(level, self.weekend_peak_qps) if weekend else level


class Spot(_Model):
    """What the spot lever may build: pool, limits, share."""

    ami_family: str
    ami_alias: str
    architecture: str
    categories: tuple[str, ...]
    sizes: tuple[str, ...]
    min_instance_types: Annotated[int, Field(ge=1)]
    max_interruption_band: Annotated[int, Field(ge=0, le=4)]
    domains: Annotated[int, Field(ge=2, le=20)]
    steps_percent: Annotated[tuple[Annotated[int, Field(gt=0, lt=100)], ...], Field(min_length=1, max_length=3)]
    cpu_limit: Cpu
    memory_limit: Memory
    expire_after: Annotated[Age, Field(description="when nodes go, whatever the budgets say; Never: when they drift")]
    consolidate_after: str
    volume_gib: Annotated[int, Field(ge=20)]
    tags: dict[str, str]

    @model_validator(mode="after")
    def _rising(self) -> Spot:
        if list(self.steps_percent) != sorted(set(self.steps_percent)):
            raise ValueError(f"steps_percent must rise, not {list(self.steps_percent)}")
        return self


class Predictor(_Model):
    """The Deployment that serves the forecast."""

    image: Annotated[str, Field(min_length=1)]
    replicas: Annotated[int, Field(ge=1)]
    port: Annotated[int, Field(gt=0, lt=65536)]
    requests: Resources
    limits: Resources


class PredictiveScaling(_Model):
    """How the workloads scale with requests, and what a forecast may add; replicas are those of one Deployment."""

    min_replicas: Annotated[int, Field(ge=1)]
    max_replicas: Annotated[int, Field(ge=1)]
    requests: Annotated[
        dict[str, Literal["http", "grpc"]], Field(min_length=1, description="the request counter of each workload")
    ]
    polling_seconds: Seconds
    rate_window_seconds: Seconds
    scale_down_seconds: Annotated[int, Field(ge=0, le=3600)]
    fallback_failures: Annotated[int, Field(ge=1)]
    lead_minutes: Annotated[int, Field(ge=1, le=15)]
    freshness_seconds: Seconds
    act_above: Annotated[float, Field(ge=1, description="a smaller rise is left to the reactive trigger")]
    cap: Annotated[float, Field(gt=1, le=2, description="against the capacity of the ready replicas")]
    predictor: Predictor
    min_accuracy: Share
    max_naive_ratio: Annotated[float, Field(ge=1)]
    max_false_share: Share

    @model_validator(mode="after")
    def _ordered(self) -> PredictiveScaling:
        if self.min_replicas > self.max_replicas:
            raise ValueError(f"needs min_replicas <= max_replicas, not {self.min_replicas} and {self.max_replicas}")
        return self


class Targets(_Model):
    """Thresholds that the gates take their figures from."""

    p95_ms: Annotated[float, Field(gt=0)]
    error_ratio: Share
    availability: Share
    interruption_rate: Share
    interruption_stop_rate: Share
    unplanned_notices_per_soak: Annotated[int, Field(ge=0)]
    pending_seconds: Seconds
    cordon_seconds: Annotated[float, Field(gt=0)]
    spot_share: Share


class Windows(_Model):
    """Production lengths of every wait, in seconds."""

    soak_seconds: Seconds
    gate_window_seconds: Seconds
    converge_timeout_seconds: Seconds
    approval_timeout_seconds: Seconds
    validation_window_seconds: Seconds


class ChangeWindow(_Model):
    """When a rollout may start, in UTC."""

    weekdays: Annotated[tuple[Annotated[int, Field(ge=0, le=6)], ...], Field(min_length=1)]
    from_hour: Hour
    to_hour: Hour

    @model_validator(mode="after")
    def _ordered(self) -> ChangeWindow:
        if self.from_hour >= self.to_hour:
            raise ValueError(f"from_hour must be before to_hour, not {self.from_hour} and {self.to_hour}")
        return self


class Governance(_Model):
    """Who may approve, when a change may start, and whose objects may be changed."""

    approvers: tuple[str, ...]
    change_window: ChangeWindow
    freeze_days: tuple[dt.date, ...]
    may_change_objects_of: tuple[str, ...]

    def refusal(self, at: dt.datetime) -> str | None:
        """Why a rollout may not start at ``at`` (aware datetime), or None when it may."""
        at = at.astimezone(dt.UTC)
        if at.date() in self.freeze_days:
            return f"{at.date()} is a freeze day (governance.freeze_days)"
        window = self.change_window
        if at.weekday() not in window.weekdays:
            return f"{at:%A} is outside the change window (governance.change_window.weekdays)"
        if not window.from_hour <= at.hour < window.to_hour:
            return f"{at:%H:%M} UTC is outside the change window {window.from_hour}-{window.to_hour} h"
        return None


class ComponentRule(_Model):
    """Which bill rows belong to a component: those that match every list that is not empty, by any of its entries.

    Entries of ``services`` are FOCUS ServiceNames or AWS product codes, compared without regard to case;
    ``resources`` and ``skus`` are patterns with ``*`` for the resource id and for SkuMeter (the usage type);
    ``tags`` must all be there with these values; ``sources`` are names of this project's cost sources.
    """

    services: tuple[str, ...] = ()
    resources: tuple[str, ...] = ()
    skus: tuple[str, ...] = ()
    tags: dict[str, str] = Field(default_factory=dict)
    sources: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _not_empty(self) -> ComponentRule:
        if not any((self.services, self.resources, self.skus, self.tags, self.sources)):
            raise ValueError(
                "a rule without any condition would take every row: name a service, tag, resource or source"
            )
        return self


class Component(_Model):
    """One of the components that the cost plan is judged by.

    ``book`` says where its target comes from: ``plan`` compares dollars with the plan's week 14; ``list`` compares
    with the same percentage of its own baseline, since list prices and the plan's figures disagree.
    """

    book: Literal["plan", "list"]
    baseline_usd_month: Decimal | None = Field(
        default=None, gt=0, description="list book only: week 13 at list prices; left out for central_dc (its node "
        "groups at on-demand list price) and for jetson (all devices in their first mode)",
    )  # fmt: skip
    rules: Annotated[tuple[ComponentRule, ...], Field(min_length=1)]


class Export(_Model):
    """A cost export in S3. Where two cover the same day of an account, the first in the list counts."""

    name: str
    format: Literal["focus-1.2", "cur-2.0", "cur"]
    connection: str
    bucket: str
    prefix: str


class Contract(_Model):
    """A fixed monthly price: billed by the calendar month, compared with targets over 30.4 days."""

    name: str
    provider: str
    usd_month: Annotated[Decimal, Field(gt=0)]
    begins: dt.date
    ends: dt.date | None = None
    source: Annotated[str, Field(min_length=1, description="the document that the figure was taken from")]


class EdgeDevices(_Model):
    """The Jetson devices and what their power costs. ``watts`` by mode, the mode of week 13 first."""

    count: Annotated[int, Field(ge=0)]
    watts: Annotated[dict[str, Annotated[Decimal, Field(gt=0)]], Field(min_length=1)]
    usd_kwh: Annotated[Decimal, Field(gt=0)]
    power_metric: str
    source: str


class Cost(_Model):
    """What the bill is made of, where it comes from and what it is judged against."""

    currency: Annotated[str, Field(pattern="^[A-Z]{3}$")]
    exports: tuple[Export, ...]
    contracts: tuple[Contract, ...]
    devices: EdgeDevices
    components: Annotated[dict[str, Component], Field(min_length=1)]
    settle_hours: Annotated[int, Field(ge=24, description="age at which two equal exports make a day settled")]
    daily_alert_usd: Annotated[Decimal, Field(gt=0, description="the plan's own alert, beside target / 30.4")]
    spike_ratio: Annotated[float, Field(gt=1, description="spend rate against its own history that is a spike")]
    agree_within: Annotated[
        Share, Field(description="gap between bill, allocation and node-hours that needs no finding")
    ]

    @model_validator(mode="after")
    def _names_once(self) -> Cost:
        for what in ("exports", "contracts"):
            names = [item.name for item in getattr(self, what)]
            if len(set(names)) != len(names):
                raise ValueError(f"{what} has a name twice: {', '.join(names)}")
        return self


class Estate(_Model):
    """The whole estate."""

    name: str
    namespace: str
    canary_region: str
    regions: Annotated[dict[str, Region], Field(min_length=1)]
    workloads: Annotated[dict[str, Workload], Field(min_length=1)]
    disruption_budget_max_unavailable: str
    metrics: Metrics
    traffic: Traffic
    spot: Spot
    predictive_scaling: PredictiveScaling
    targets: Targets
    windows: Windows
    governance: Governance
    cost: Cost

    @model_validator(mode="after")
    def _canary_exists(self) -> Estate:
        if self.canary_region not in self.regions:
            raise ValueError(f"canary_region {self.canary_region!r} is not one of {', '.join(self.regions)}")
        return self

    @model_validator(mode="after")
    def _scaled_workloads_exist(self) -> Estate:
        scaling = self.predictive_scaling
        if set(scaling.requests) != set(self.workloads):
            raise ValueError(
                f"predictive_scaling.requests needs a counter for each of {', '.join(self.workloads)}, "
                f"not for {', '.join(scaling.requests)}"
            )
        for name, workload in self.workloads.items():
            if not scaling.min_replicas <= workload.replicas <= scaling.max_replicas:
                raise ValueError(
                    f"workloads.{name}.replicas {workload.replicas} is outside predictive_scaling.min_replicas "
                    f"{scaling.min_replicas} and max_replicas {scaling.max_replicas}"
                )
        return self

    @model_validator(mode="after")
    def _own_requests_are_told_apart(self) -> Estate:
        readers: dict[tuple[str, str], str] = {}
        for name, protocol in self.predictive_scaling.requests.items():
            counter, own = self.metrics.counter(protocol), self.workloads[name].matchers
            other = next((w for (c, m), w in readers.items() if c == counter and "" in (m, own)), None)
            other = other or readers.get((counter, own))
            if other:
                raise ValueError(
                    f"{other} and {name} would both scale with all of {counter}: set workloads.{other}.matchers and "
                    f'workloads.{name}.matchers to what tells their requests apart, such as service="{name}"'
                )
            readers[counter, own] = name
        return self

    def matchers(self, region: str, workload: str = "") -> str:
        """PromQL label matchers of AkiDB's series in ``region``, without braces.

        Such as ``region="us-east-1",namespace="akidb"``; with ``workload`` those of its own requests only. An empty
        ``region`` is all of them.
        """
        own = self.metrics.matchers
        parts = [f'region="{region}"'] if region else []
        parts += [f'namespace="{self.namespace}"' if own is None else own]
        parts += [self.workloads[workload].matchers] if workload else []
        return ",".join(part for part in parts if part)

    def region(self, name: str) -> Region:
        """The region called ``name``. Raises EstateError naming the regions that exist."""
        try:
            return self.regions[name]
        except KeyError:
            raise EstateError(f"region {name!r} is not in the estate; it has {', '.join(self.regions)}") from None

    def ordered_regions(self) -> list[str]:
        """The canary first, then the others in the order of the file."""
        return [self.canary_region, *(name for name in self.regions if name != self.canary_region)]

    def slice(self, region: str) -> Estate:
        """The estate with this region alone, which is then its canary. Raises EstateError naming the regions."""
        return self.model_copy(update={"regions": {region: self.region(region)}, "canary_region": region})

    @classmethod
    def from_slice(cls, raw: Mapping[str, Any], present: Estate | None) -> Estate:
        """The slice that :meth:`slice` made and JSON kept, with the connections that ``present`` has for its region.

        A slice of another release is read as far as it is understood: what it lacks comes from ``present``, what is no
        longer known is left out. Raises EstateError with what is still wrong then.
        """
        piece: dict[str, Any] = copy.deepcopy(dict(raw))
        region = str(piece.get("canary_region"))
        known: dict[str, Any] = {}
        if present is not None:
            stands_in = present.slice(region) if region in present.regions else present
            known = stands_in.model_dump(mode="json")
        if present is not None and region in present.regions:
            piece["regions"][region]["connections"] = known["regions"][region]["connections"]
        for _ in range(_REPAIRS):
            try:
                return cls.model_validate(piece)
            except ValidationError as error:
                if not all(_repair(piece, problem["type"], problem["loc"], known) for problem in error.errors()):
                    raise EstateError(_explain(Path(f"snapshot of {region}"), error)) from error
        raise EstateError(f"snapshot of {region}: its slice of the estate can't be read by this release")

    def region_choice(self) -> dict[str, Any]:
        """JSON schema of a param that names regions, with the list of them for the trigger form."""
        names = self.ordered_regions()
        return {
            "type": "array",
            "items": {"type": "string", "enum": names},
            "examples": names,
            "minItems": 1,
            "uniqueItems": True,
        }

    def demand_scale(self) -> float:
        """Factor on the plan's QPS that puts the weekday peak at ``peak_share_of_capacity`` of the start capacity.

        A region's plan shape is taken as it stands: with 30 replicas x 350 QPS x 0.8 x 0.7 the peak is 5,880 QPS.
        """
        traffic = self.traffic
        replicas = sum(w.replicas for w in self.workloads.values())
        peak = replicas * self.qps_per_replica() * traffic.peak_share_of_capacity
        return peak / max(traffic.weekday_qps)

    def qps_per_replica(self) -> float:
        """Requests a second that one replica serves at target utilisation."""
        return self.traffic.replica_qps * self.traffic.target_utilisation


def _repair(raw: dict[str, Any], problem: str, location: Sequence[int | str], known: Mapping[str, Any]) -> bool:
    """Take an unknown field out of ``raw``, or its value from ``known``; whether that could be done."""
    if not location:
        return False
    *above, field = location
    holder: Any = raw
    stands_in: Any = known
    try:
        for part in above:
            holder = holder[part]
            stands_in = stands_in.get(part, {})
        if problem == "extra_forbidden":
            del holder[field]
        else:
            holder[field] = stands_in[field]
    except (AttributeError, IndexError, KeyError, TypeError):
        return False
    return True


def load_estate(path: Path | None = None) -> Estate:
    """Read and validate the estate: ``path``, else ``$AKIDB_ESTATE``, else ``include/estate.yaml``.

    Raises EstateError with one line per wrong field.
    """
    path = path or Path(os.environ.get("AKIDB_ESTATE") or ESTATE_FILE)
    try:
        # CSafeLoader is several times faster, and this file is read at every parse.
        raw = yaml.load(path.read_text(encoding="utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except OSError as error:
        raise EstateError(
            f"{path.name} can't be read ({error.strerror}): set AKIDB_ESTATE to the estate's file"
        ) from error
    except yaml.YAMLError as error:
        raise EstateError(f"{path.name} is not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(raw, dict):
        raise EstateError(f"{path.name} must be a mapping of settings, not {type(raw).__name__}")
    try:
        return Estate.model_validate(raw)
    except ValidationError as error:
        raise EstateError(_explain(path, error)) from error


def _explain(path: Path, error: ValidationError) -> str:
    lines = []
    for problem in error.errors(include_url=False):
        field = ".".join(str(part) for part in problem["loc"]) or "estate"
        if problem["type"] == "extra_forbidden":
            text = "is not a known setting: remove it or correct its spelling"
        elif problem["type"] == "missing":
            text = "is missing: add it"
        else:
            value = problem.get("input")
            shown = "" if isinstance(value, dict | BaseModel) else f" (value {value!r})"
            text = f"{problem['msg']}{shown}"
        lines.append(f"{path.name}: {field} {text}")
    return "\n".join(lines)
