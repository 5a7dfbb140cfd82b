"""For each lever a small region in memory in which it can be rolled out, disturbed and undone.

A new lever needs an entry in ``SCENES``: without one every property of it fails.
"""

from __future__ import annotations

import abc
import copy
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from include.clients.kubernetes import KINDS
from include.estate import Estate
from include.levers.cost_cap import CapSettings, CostCap
from include.levers.spot_capacity import SpotCapacity
from include.rollout.lever import Json, Lever, Target
from include.rollout.settings import build
from jetson_tasks import paths
from tests.unit.levers import (
    cdn_world,
    dns_world,
    edge_watch_world,
    game_world,
    lambda_world,
    monitoring_world,
    nonprod_world,
    packing_world,
    power_world,
    routing_world,
    scaling_world,
    sizing_world,
    spot_world,
    storage_world,
)

Object = dict[str, Any]
# What controllers make and remove by themselves, and what only tells how often something was written.
MOVING_KINDS = {"Node", "NodeClaim", "Pod", "ReplicaSet", "HorizontalPodAutoscaler", "Lease", "Event"}
# The diary of drills stays: the notices that it names must not count as AWS's in a later rollout.
DIARY = "ConfigMap akidb akidb-interruption-drills"
SOMEBODY = "team-search"
THEIR_CHECK = {"Type": "TCP", "IPAddress": "203.0.113.99", "Port": 443, "RequestInterval": 10}
COUNTERS = ("managedFields", "resourceVersion", "generation", "uid", "creationTimestamp")


class Scene(abc.ABC):
    """One lever in one place that can be looked at and disturbed."""

    def __init__(self, lever: Lever, target: Target) -> None:
        self.lever, self.target = lever, target

    @abc.abstractmethod
    def state(self) -> dict[str, Json]:
        """Everything that a lever may change, by name, as the API server and the cloud have it."""

    @abc.abstractmethod
    def disturb(self, before: Mapping[str, Json]) -> dict[str, Callable[[], bool]]:
        """Somebody else changes what the lever has written. For each: whether it is still as they left it."""

    @abc.abstractmethod
    def lose(self) -> str:
        """Something that the lever has changed is deleted by somebody else; the part of a name that tells it."""

    def unserve(self, before: Mapping[str, Json]) -> Callable[[str], bool] | None:
        """The definitions of what the lever wrote go, with all objects of theirs; whether a name is none of them."""
        del before
        return None

    def close(self) -> None:  # noqa: B027 - most scenes have begun nothing
        """End what the scene has begun."""

    def apply_all(self, target: Target | None = None) -> None:
        """Every stage of the plan, in order."""
        target = target or self.target
        for stage in self.lever.plan(target).stages:
            self.lever.apply(target, stage)

    def with_settings(self, **chosen: Any) -> Target:
        """The target with other settings."""
        model = self.lever.settings_type
        settings = build(model, self.target.settings.model_dump() | chosen, self.target.estate)
        return replace(self.target, settings=settings)

    def with_estate(self, change: Callable[[Object], Object]) -> Target:
        """The target with another estate file."""
        raw = change(self.target.estate.model_dump(mode="json"))
        return replace(self.target, estate=Estate.model_validate(raw))


class ClusterScene(Scene):
    """A region: a cluster and what AWS has of it."""

    def __init__(self, lever: Lever, target: Target) -> None:
        super().__init__(lever, target)
        self.cluster = target.clients.kubernetes
        self.objects: dict[tuple[str, str, str], Object] = self.cluster.objects
        self.cloud = self.cluster.cloud

    def state(self) -> dict[str, Json]:
        """Objects without what controllers move, the node group, queue and rules."""
        self.cluster.settle()  # a Node goes after its instance
        kept = {" ".join(key): _content(thing) for key, thing in self.objects.items() if key[0] not in MOVING_KINDS}
        kept.pop(DIARY, None)
        nodes = [o for (kind, *_), o in self.objects.items() if kind == "Node"]
        return kept | {
            "cordoned": sorted(n["metadata"]["name"] for n in nodes if n["spec"].get("unschedulable")),
            "node group": dict(self.cloud.scaling),
            "nodes of the group": len(self.cloud.instances),
            "queue": copy.deepcopy(self.cloud.queue),
            "rules": copy.deepcopy(self.cloud.rules),
        }

    def disturb(self, before: Mapping[str, Json]) -> dict[str, Callable[[], bool]]:
        """One field of each object. What the lever made goes with it, or is reported: nothing is asked of that."""
        touched: dict[str, Callable[[], bool]] = {}
        for key, thing in list(self.objects.items()):
            name = " ".join(key)
            if (
                key[0] not in ("Deployment", "NodePool", "ScaledObject", "VerticalPodAutoscaler", "ConfigMap")
                or name not in self.state()
            ):
                continue
            if before.get(name) == self.state()[name]:
                continue
            change = _changed_by_somebody(key[0], thing)
            body = {"apiVersion": KINDS[key[0]].api_version, "kind": key[0], "metadata": {"name": key[2]}}
            if key[1]:
                body["metadata"]["namespace"] = key[1]
            self.cluster.apply({**body, **change}, SOMEBODY, force=True)
            touched[name] = partial(self._has, key, change) if name in before else lambda: True
        return touched

    def _has(self, key: tuple[str, str, str], part: Object) -> bool:
        return contains(self.objects[key], part)

    def lose(self) -> str:
        """A Deployment, with its pods."""
        del self.objects["Deployment", self.target.estate.namespace, "akidb-grpc"]
        for key in [key for key, thing in self.objects.items() if key[0] == "Pod" and _is_of(thing, "akidb-grpc")]:
            del self.objects[key]
        return "akidb-grpc"

    def unserve(self, before: Mapping[str, Json]) -> Callable[[str], bool] | None:
        """The CustomResourceDefinitions."""
        changed = {name.split()[0] for name, body in self.state().items() if before.get(name) != body}
        kinds = changed & {
            *("NodePool", "EC2NodeClass", "ScaledObject", "PrometheusRule", "VerticalPodAutoscaler", "HTTPRoute")
        }
        for key in [key for key in self.objects if key[0] in kinds]:
            del self.objects[key]
        self.cluster.unserved |= {KINDS[kind].plural for kind in kinds}
        return (lambda name: name.split()[0] not in kinds) if kinds else None


def _changed_by_somebody(kind: str, thing: dict[str, Any]) -> dict[str, Any]:
    """A field that the lever owns, with somebody else's value."""
    if kind == "ConfigMap":
        return {"data": {sorted(thing["data"])[0]: "theirs"}}
    if kind == "NodePool":
        return {"spec": {"limits": {"cpu": "64"}}}
    if kind == "ScaledObject":
        return {"spec": {"maxReplicaCount": 19}}
    if kind == "VerticalPodAutoscaler":
        return {"spec": {"updatePolicy": {"updateMode": "Off"}}}
    return {"spec": {"template": {"metadata": {"annotations": {"team": "search"}}}}}


def contains(thing: Any, part: Any) -> bool:
    """Whether every field of ``part`` is in ``thing``."""
    if not isinstance(part, dict):
        return bool(thing == part)
    return all(key in thing and contains(thing[key], value) for key, value in part.items())


def _is_of(pod: dict[str, Any], workload: str) -> bool:
    return bool(pod["metadata"].get("labels", {}).get("app") == workload)


class SizingScene(ClusterScene):
    """A region whose pods are sized: what they request is part of its state."""

    def state(self) -> dict[str, Json]:
        """With the requests of each pod that runs."""
        return {**super().state(), **{f"requests of {pod}": size for pod, size in self.cluster.sizes().items()}}


class AccountScene(Scene):
    """An account, a bucket or devices, whose world tells its own state. ``world`` has to be closed where it can be."""

    def __init__(self, world: Any, lever: Lever) -> None:
        super().__init__(lever, world.target)
        self.world = world

    def close(self) -> None:
        self.world.close()

    def state(self) -> dict[str, Json]:
        """What its world tells."""
        state: dict[str, Json] = self.world.state()
        return state


class DnsScene(AccountScene):
    """An account with a zone, record sets and their health checks."""

    def __init__(self) -> None:
        super().__init__(dns_world.World("us-east-1"), dns_world.LEVER)

    def disturb(self, before: Mapping[str, Json]) -> dict[str, Callable[[], bool]]:
        """One record set's TTL, and another one's health check."""
        del before
        records = self.world.records()
        slow, theirs = "api.akidb.example. us-east-1", "edge.akidb.example."
        made = self.world.route53.create_health_check(CallerReference="theirs", HealthCheckConfig=THEIR_CHECK)
        check = made["HealthCheck"]["Id"]
        self.world.upsert({**records[slow], "TTL": 300})
        self.world.upsert({**records[theirs], "HealthCheckId": check})
        return {
            slow: lambda: bool(self.world.records()[slow]["TTL"] == 300),
            theirs: lambda: bool(self.world.records()[theirs]["HealthCheckId"] == check),
        }

    def lose(self) -> str:
        """A record set."""
        self.world.upsert(self.world.records()["edge.akidb.example."], "DELETE")
        return "edge"


class StorageScene(AccountScene):
    """The models' bucket of one region's models, with others' objects and rules."""

    def __init__(self) -> None:
        super().__init__(storage_world.World("us-east-1"), storage_world.LEVER)

    def disturb(self, before: Mapping[str, Json]) -> dict[str, Callable[[], bool]]:
        """A rule of the lever's is switched off, one of others' is new, and one of theirs is changed."""
        rules = self.world.rules()
        ours = next(rule for rule in rules if f"rule {rule['ID']}" not in before)
        ours["Status"], rules[0]["AbortIncompleteMultipartUpload"] = "Disabled", {"DaysAfterInitiation": 3}
        new = {"ID": "theirs", "Status": "Enabled", "Filter": {"Prefix": "exports/"}, "Expiration": {"Days": 400}}
        self.world.put_rules([*rules, new])
        return {rule["ID"]: lambda rule=rule: rule in self.world.rules() for rule in (ours, rules[0], new)}

    def lose(self) -> str:
        """The whole lifecycle."""
        self.world.s3.delete_bucket_lifecycle(Bucket=self.world.bucket)
        return "rule"


class CdnScene(AccountScene):
    """An account with the estate's distribution."""

    def __init__(self) -> None:
        world = cdn_world.World(begins=time.time(), cdn_price_class="PriceClass_200")
        super().__init__(world, world.lever)

    def disturb(self, before: Mapping[str, Json]) -> dict[str, Callable[[], bool]]:
        """Another price class, and another field of the same document."""
        del before
        self.world.change(PriceClass="PriceClass_100", Comment="theirs")
        return {
            "price class": lambda: self.world.price_class() == "PriceClass_100",
            "comment": lambda: bool(self.world.config()["Comment"] == "theirs"),
        }

    def lose(self) -> str:
        """The distribution."""
        self.world.delete()
        return "distribution"


class RoutingScene(ClusterScene):
    """A region with a Gateway, backends, and a weighted record set in Route 53."""

    def __init__(self) -> None:
        self.world = routing_world.World()
        super().__init__(routing_world.LEVER, self.world.target)

    def close(self) -> None:
        self.world.close()

    def state(self) -> dict[str, Json]:
        """With the record sets; their checks' ids are others in each world."""
        found = self.world.records().items()
        kept = {name: {k: v for k, v in record.items() if k != "HealthCheckId"} for name, record in found}
        return {**super().state(), **{f"record {name}": record for name, record in kept.items()}}

    def disturb(self, before: Mapping[str, Json]) -> dict[str, Callable[[], bool]]:
        """The route's rules, which go with it, and the record set's weight."""
        touched = super().disturb(before)
        self.world.set_weight(7)
        return {**touched, "the region's weight": lambda: self.world.weight() == 7}

    def lose(self) -> str:
        """The route, and with it the note of which weight was the lever's."""
        del self.objects[routing_world.ROUTE]
        return "HTTPRoute"


class LambdaScene(AccountScene):
    """A distribution that runs a function, which gets a version of another size, and an alias in each region."""

    def __init__(self) -> None:
        super().__init__(lambda_world.World(function_durations=["256:5000:40:49"]), lambda_world.LEVER)

    def disturb(self, before: Mapping[str, Json]) -> dict[str, Callable[[], bool]]:
        """Another size of $LATEST, a version of theirs associated, more units in a region."""
        del before
        self.world.update(Timeout=7, MemorySize=640)
        theirs = self.world.publish()
        self.world.associate(theirs)
        self.world.provide("eu-central-1", 5)
        return {
            "latest MB": lambda: bool(self.world.latest()["MemorySize"] == 640),
            "distribution": lambda: self.world.running() == theirs,
            "units eu-central-1": lambda: self.world.units().get("eu-central-1") == 5,
        }

    def lose(self) -> str:
        """The function of a region."""
        self.world.lambdas["eu-central-1"].delete_function(FunctionName=lambda_world.REGIONAL)
        return "eu-central-1"


class PowerScene(Scene):
    """Five Jetson devices in their fastest mode, without an agent."""

    def __init__(self, folder: Path) -> None:
        self.world = power_world.World(folder)
        super().__init__(power_world.LEVER, self.world.target)

    def state(self) -> dict[str, Json]:
        """Mode, unit, agent and what is asked of each device."""
        return self.world.state()

    def disturb(self, before: Mapping[str, Json]) -> dict[str, Callable[[], bool]]:
        """A mode that somebody sets by hand, after stopping the agent."""
        del before
        device = self.world.devices["jetson02"]
        device.active, device.mode = False, "25W"
        return {"jetson02": lambda: device.mode == "25W"}

    def lose(self) -> str:
        """The agent of a device."""
        self.world.devices["jetson03"].remove(paths.AGENT)
        return "nothing: it is put there again, and goes with the rest"


def _content(thing: Mapping[str, Any]) -> Object:
    body = {key: value for key, value in thing.items() if key not in ("status", "apiVersion")}
    metadata = {k: value for k, value in thing["metadata"].items() if k not in COUNTERS and value not in ({}, None)}
    return copy.deepcopy({**_without_empty(body), "metadata": metadata})


def _without_empty(value: Json) -> Json:
    """An API server omits what is empty: ``{"limits": {}}`` and no limits are the same."""
    if not isinstance(value, Mapping):
        return value
    inner = {key: _without_empty(part) for key, part in value.items()}
    return {key: part for key, part in inner.items() if part not in ({}, [], None)}


def spot(folder: Path) -> Scene:
    """Five on-demand nodes, thirty pods."""
    return ClusterScene(SpotCapacity(now=lambda: spot_world.NOW), spot_world.World().target)


def scaling(folder: Path) -> Scene:
    """Two workloads and a champion."""
    return ClusterScene(scaling_world.LEVER, scaling_world.World(folder).target)


def sizing(folder: Path) -> Scene:
    """Two workloads of 15 pods, a week of use, and a VPA that knows it."""
    return SizingScene(sizing_world.LEVER, sizing_world.World().target)


def monitoring(folder: Path) -> Scene:
    """A cluster in which nothing of it is installed."""
    return ClusterScene(monitoring_world.LEVER, monitoring_world.World().target)


def packing(folder: Path) -> Scene:
    """Two nodes a domain, and recommendations to be held."""
    world = packing_world.World()
    return ClusterScene(world.lever, world.target)


def cap(folder: Path) -> Scene:
    """A pool that the spot lever made, with a limit of 200 vCPU."""
    world = monitoring_world.World()
    pool = {"apiVersion": "karpenter.sh/v1", "kind": "NodePool", "metadata": {"name": "akidb-spot"}}
    requirements = [{"key": spot_world.SPREAD, "operator": "In", "values": []}]
    spec = {"limits": {"cpu": "200", "memory": "400Gi"}, "template": {"spec": {"requirements": requirements}}}
    world.cluster.apply({**pool, "spec": spec}, "akidb-rollout")
    settings = CapSettings(pool="akidb-spot", new_cpu="120", old_cpu="200")
    return ClusterScene(CostCap(now=lambda: spot_world.NOW), replace(world.target, settings=settings))


def routing(folder: Path) -> Scene:
    """Everything goes to the pods."""
    return RoutingScene()


def dns(folder: Path) -> Scene:
    """Two checks at their dearest settings."""
    return DnsScene()


def storage(folder: Path) -> Scene:
    """24 versions of one region's model."""
    return StorageScene()


def functions(folder: Path) -> Scene:
    """The edge and three regions."""
    return LambdaScene()


def power(folder: Path) -> Scene:
    """Five devices, and the canary's measurement."""
    return PowerScene(folder)


def edge_watch(folder: Path) -> Scene:
    """The canary region, in which nothing of the edge is watched."""
    return ClusterScene(edge_watch_world.LEVER, edge_watch_world.World().target)


class NonprodScene(ClusterScene):
    """A staging namespace, whose world has its own controllers."""

    def __init__(self) -> None:
        world = nonprod_world.World()
        super().__init__(world.lever, world.target)


def nonprod(folder: Path) -> Scene:
    """A staging namespace with a workload of each kind."""
    return NonprodScene()


def cdn(folder: Path) -> Scene:
    """A distribution with every edge location."""
    return CdnScene()


class GameScene(ClusterScene):
    """A region that is not production, with a predictor to take away."""

    def __init__(self) -> None:
        world = game_world.World(drill="forecast-outage", fault_seconds=1)
        super().__init__(world.lever, world.target)


def game(folder: Path) -> Scene:
    """The drill that takes the predictor's pods."""
    return GameScene()


SCENES: dict[str, Callable[[Path], Scene]] = {
    "spot_capacity": spot,
    "predictive_scaling": scaling,
    "consolidation": packing,
    "right_sizing": sizing,
    "cost_monitoring": monitoring,
    "cost_cap": cap,
    "nonprod_hours": nonprod,
    "request_routing": routing,
    "dns_health_checks": dns,
    "cdn_price_class": cdn,
    "edge_power": power,
    "storage_tiering": storage,
    "lambda_edge": functions,
    "edge_monitoring": edge_watch,
    "game_day": game,
}
# Settings of a run that resumes the one before; None where a lever has nothing to choose.
OTHER_SETTINGS: dict[str, Mapping[str, Any] | None] = {
    "spot_capacity": {"steps_percent": (50,)},
    "predictive_scaling": {"use_forecast": False},
    "right_sizing": {"canary": "akidb-rest"},
    "cost_monitoring": {"known_usd_day": {"s3": "4.00"}, "known_as_of": "2026-11-23"},
    "consolidation": {"consolidate_after_seconds": 10},
    "cost_cap": None,
    "nonprod_hours": None,
    "request_routing": {"weigh_region": False},
    "dns_health_checks": {"keep_string_matching": False},
    "cdn_price_class": {"cdn_price_class": "PriceClass_100"},
    "edge_power": {"power_mode": "25W"},
    "lambda_edge": {"function_durations": (), "provisioned_units": 3},
    "edge_monitoring": None,
    "game_day": None,
    "storage_tiering": {"models_older_than_days": 90, "models_longest_restore_hours": 0},
}
