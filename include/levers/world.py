"""A target with its clients typed: what levers read and write, what they wait for, and which errors are final."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic

from typing_extensions import TypeVar

from include.clients.aws import Aws
from include.clients.kubernetes import (
    DEPLOYMENT,
    POD,
    Cluster,
    ConflictError,
    CredentialsError,
    ForbiddenError,
    InvalidError,
    NotServedError,
    TimedOutError,
)
from include.clients.prometheus import Prometheus
from include.estate import Estate, Region
from include.rollout.lever import NotConverged, Refused, Target

Object = dict[str, Any]
Settings = TypeVar("Settings", default=Any)


@dataclass(frozen=True)
class World(Generic[Settings]):
    """A target with its clients typed and its region looked up; ``World[SomeSettings]`` has typed settings too.

    ``now`` gives Unix seconds, ``manager`` is the field manager that the lever writes as.
    """

    target: Target
    now: Callable[[], float] = time.time
    manager: str = ""
    sleep: Callable[[float], None] = time.sleep

    @property
    def cluster(self) -> Cluster:
        """The region's Kubernetes cluster."""
        cluster: Cluster = self.target.clients.kubernetes
        return cluster

    @property
    def aws(self) -> Aws:
        """The region's AWS clients."""
        aws: Aws = self.target.clients.aws
        return aws

    @property
    def prometheus(self) -> Prometheus:
        """The region's Prometheus."""
        prometheus: Prometheus = self.target.clients.prometheus
        return prometheus

    @property
    def settings(self) -> Settings:
        """The lever's settings of this run."""
        settings: Settings = self.target.settings
        return settings

    @property
    def place(self) -> str:
        """What messages call the place."""
        return self.target.place.name

    @property
    def estate(self) -> Estate:
        """The estate."""
        return self.target.estate

    @property
    def region(self) -> Region:
        """The target's region in the estate."""
        return self.estate.region(self.target.region)

    @property
    def timeout(self) -> float:
        """Longest wait for a step to converge, in seconds."""
        return float(self.target.settings.converge_timeout_seconds)

    def wait_for(self, missing: Callable[[], Sequence[str]], what: str, timeout: float | None = None) -> float:
        """Wait for the cluster; returns seconds. Raises NotConverged with ``what`` and what is missing."""
        try:
            return self.cluster.wait_for(missing, timeout or self.timeout, POD, self.estate.namespace)
        except TimedOutError as error:
            raise NotConverged(f"{self.place}: {what}: {error}") from error

    def await_all(self, missing: Callable[[], Sequence[str]], what: str, namespace: str | None = None) -> float:
        """Like ``wait_for``, for what pods don't show (Prometheus): looked at every second."""
        try:
            return self.cluster.wait_for(missing, self.timeout, POD, namespace, recheck=1.0)
        except TimedOutError as error:
            raise NotConverged(f"{self.place}: {what}: {error}") from error

    def await_cloud(self, missing: Callable[[], Sequence[str]], what: str, pause: float = 5.0) -> None:
        """Wait for what no cluster shows, looked at every ``pause`` seconds. Raises NotConverged like ``wait_for``."""
        end = self.now() + self.timeout
        while left := missing():
            if self.now() >= end:
                raise NotConverged(f"{self.place}: {what}: not reached within {self.timeout:.0f} s: {'; '.join(left)}")
            self.sleep(pause)


@contextlib.contextmanager
def refusals(world: World) -> Iterator[None]:
    """Errors that no second attempt cures become Refused."""
    try:
        yield
    except (ConflictError, CredentialsError, ForbiddenError, InvalidError, NotServedError) as error:
        raise Refused(f"{world.place}: {error}") from error


def readable(read: Callable[[], Any]) -> Any:
    """What ``read`` gives, None where the credentials lack the right: for what helps but is not needed."""
    try:
        return read()
    except ForbiddenError:
        return None


def name_of(thing: Mapping[str, Any]) -> str:
    """The name in an object's metadata."""
    return str(thing["metadata"]["name"])


def condition(thing: Mapping[str, Any], kind: str) -> str:
    """``True``, ``False`` or ``Unknown`` of a status condition; ``Unknown`` when it is absent."""
    conditions = thing.get("status", {}).get("conditions") or []
    return next((str(c["status"]) for c in conditions if c["type"] == kind), "Unknown")


def unavailable(deployment: Mapping[str, Any], called: str = "") -> list[str]:
    """Pods that a Deployment's current template lacks, one line; none when it is available.

    ``called`` is what the line calls it, without it its name.
    """
    status, name = deployment.get("status", {}), called or name_of(deployment)
    seen = status.get("observedGeneration", 0) >= deployment["metadata"].get("generation", 0)
    wanted = int(deployment["spec"].get("replicas", 1))
    ready = min(status.get("updatedReplicas", 0), status.get("availableReplicas", 0)) if seen else 0
    # Most pods of a Deployment make it Available; here all have to be there.
    if ready >= wanted and condition(deployment, "Available") != "False":
        return []
    return [f"Deployment {name}: {ready} of {wanted} pods of the current template available"]


# Workloads -----------------------------------------------------------------------------------------------------------


def deployments(world: World) -> dict[str, Object]:
    """The Deployments of the estate's workloads, by name. Raises Refused naming one that doesn't exist."""
    found = {}
    for name in world.estate.workloads:
        deployment = world.cluster.get(DEPLOYMENT, name, world.estate.namespace)
        if deployment is None:
            raise Refused(
                f"{world.place}: Deployment {world.estate.namespace}/{name} does not exist: correct "
                "namespace or workloads in estate.yaml, or deploy it"
            )
        found[name] = deployment
    return found


def standing(world: World, names: Iterable[str]) -> dict[str, Object]:
    """Those of the Deployments of the estate's namespace that exist, by name."""
    read = {name: world.cluster.get(DEPLOYMENT, name, world.estate.namespace) for name in names}
    return {name: deployment for name, deployment in read.items() if deployment is not None}
