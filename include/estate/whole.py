"""The whole estate, and the slice of it that a snapshot keeps."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError, model_validator

from include.estate.capacity import PredictiveScalingOptions, RightSizingOptions, Spot
from include.estate.cost import Cost
from include.estate.edge import Edge
from include.estate.fields import EstateError, Part
from include.estate.governance import Governance, Windows
from include.estate.nonprod import Nonprod
from include.estate.notices import Notice
from include.estate.problems import explain
from include.estate.regions import EstateConnections, Region
from include.estate.service import Dns, Metrics, Targets, Traffic, Workload

# A run as a whole and the other places (include/rollout/place.py): a change in such a region would not be found again.
_NO_REGIONS = frozenset({"estate", "estate-wide", "devices"})
_REPAIRS = 5  # rounds in which a slice of another release is made to fit: a repair may uncover what is below it


class Estate(Part):
    """The whole estate."""

    name: str
    namespace: str
    canary_region: str
    connections: EstateConnections = EstateConnections()
    dns: Dns = Dns()
    edge: Edge = Edge()
    regions: Annotated[dict[str, Region], Field(min_length=1)]
    workloads: Annotated[dict[str, Workload], Field(min_length=1)]
    disruption_budget_max_unavailable: str
    metrics: Metrics
    traffic: Traffic
    spot: Spot
    predictive_scaling: PredictiveScalingOptions
    right_sizing: RightSizingOptions = RightSizingOptions(bounds={})
    targets: Targets
    windows: Windows
    governance: Governance
    cost: Cost
    nonprod: Nonprod = Nonprod()
    notices: tuple[Notice, ...] = ()

    @model_validator(mode="after")
    def _canary_exists(self) -> Estate:
        if self.canary_region not in self.regions:
            raise ValueError(f"canary_region {self.canary_region!r} is not one of {', '.join(self.regions)}")
        return self

    @model_validator(mode="after")
    def _regions_have_names_of_their_own(self) -> Estate:
        for name in self.regions:
            if name in _NO_REGIONS or "/" in name:
                raise ValueError(
                    f"regions: {name!r} can't be a region's name: the ledger names something else by it; "
                    "use the name that AWS has for the region"
                )
        return self

    @model_validator(mode="after")
    def _production_never_sleeps(self) -> Estate:
        if self.namespace in self.nonprod.namespaces:
            raise ValueError(
                f"nonprod.namespaces.{self.namespace} is the estate's own namespace, production: it never sleeps; "
                "take it out"
            )
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

    def global_aws(self) -> str:
        """The Airflow connection id for AWS's global services, such as Route 53 and CloudFront."""
        return self.connections.aws or self.region(self.canary_region).connections.aws

    def ordered_regions(self) -> list[str]:
        """The canary first, then the others in the order of the file."""
        return [self.canary_region, *(name for name in self.regions if name != self.canary_region)]

    def slice(self, region: str) -> Estate:
        """The estate with this region alone, which is then its canary. Raises EstateError naming the regions."""
        return self.model_copy(update={"regions": {region: self.region(region)}, "canary_region": region})

    @classmethod
    def from_slice(cls, raw: Mapping[str, Any], present: Estate | None) -> Estate:
        """The slice that :meth:`slice` made and JSON kept, or all of an estate, with the connections of ``present``.

        A slice of another release is read as far as it is understood: what it lacks comes from ``present``, what is no
        longer known is left out. Raises EstateError with what is still wrong then.
        """
        piece: dict[str, Any] = copy.deepcopy(dict(raw))
        region = str(piece.get("canary_region"))
        known: dict[str, Any] = {}
        if present is not None:
            alone = len(piece.get("regions", ())) == 1 and region in present.regions
            known = (present.slice(region) if alone else present).model_dump(mode="json")
            piece["connections"] = known["connections"]
            for name in {*piece.get("regions", ())} & {*known["regions"]}:
                piece["regions"][name]["connections"] = known["regions"][name]["connections"]
        for _ in range(_REPAIRS):
            try:
                return cls.model_validate(piece)
            except ValidationError as error:
                if not all(_repair(piece, problem["type"], problem["loc"], known) for problem in error.errors()):
                    raise EstateError(explain(Path(f"snapshot of {region}"), error)) from error
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

    def routed_share(self) -> float:
        """Share of a region's requests that is the routed workload's: that of its replicas.

        Raises EstateError naming the workloads that there are.
        """
        name = self.edge.routing.workload
        if name not in self.workloads:
            known = ", ".join(self.workloads)
            raise EstateError(f"edge.routing.workload: {name!r} is none of the workloads {known}: name one of them")
        return self.workloads[name].replicas / sum(workload.replicas for workload in self.workloads.values())

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
