"""Replicas of Deployments that an autoscaler has moved: how many there are, and how those of a snapshot come back."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping

from include.clients.kubernetes import DEPLOYMENT
from include.levers.autoscalers import keda_autoscaler
from include.levers.workloads import replicas_of
from include.levers.world import Object, World, deployments, unavailable
from include.rollout.lever import Difference


def all_replicas(world: World) -> dict[str, int]:
    """Wanted replicas of each workload at this moment."""
    return {name: replicas_of(found) for name, found in deployments(world).items()}


def restore_replicas(world: World, wanted: Mapping[str, int], requests: Callable[[str], float | None]) -> list[str]:
    """Set the replicas of Deployments back to ``wanted``, but not to fewer than their requests need now.

    ``requests`` gives the requests a second of a workload, None while they are not known. Returns what was done.
    """
    steps = []
    for name, found in _standing(world, wanted).items():
        now, was = replicas_of(found), wanted[name]
        back, why = (was, "") if now <= was else _enough(world, name, now, was, requests(name))
        if back != now:
            world.target.fence()
            change = {"spec": {"replicas": back}}
            world.cluster.patch(DEPLOYMENT, name, change, world.estate.namespace, manager=world.manager)
            steps.append(f"{name} from {now} back to {back} replicas{why}")
        elif why:
            steps.append(f"{name} stays at {now} replicas{why}")

    def missing() -> list[str]:
        return [line for found in _standing(world, wanted).values() for line in unavailable(found)]

    if steps:
        world.await_all(missing, "getting the replicas back", world.estate.namespace)
    return steps


def _enough(world: World, workload: str, now: int, was: int, qps: float | None) -> tuple[int, str]:
    """Replicas to go down to from ``now``, and why those of the snapshot (``was``) are not enough.

    No more than run now; all of them while the requests are not known, because an undo must not cost an answer.
    """
    need = now if qps is None else math.ceil(qps / world.estate.qps_per_replica())
    back = max(was, min(now, need))
    if back == was:
        return was, ""
    known = "how many requests come is not known" if qps is None else f"{qps:.0f} requests a second need {need}"
    by_hand = f"kubectl -n {world.estate.namespace} scale deployment/{workload} --replicas={was}"
    return back, f": {known}, the snapshot has {was}; set it back when they are fewer: {by_hand}"


def replicas_missing(world: World, wanted: Mapping[str, int]) -> list[Difference]:
    """Replicas that are fewer than ``wanted``, those of a snapshot, and KEDA's autoscalers that still move them.

    More replicas than the snapshot's are none of it: a rollback leaves what the requests need, and says so.
    """
    found = []
    for name, deployment in _standing(world, wanted).items():
        now = replicas_of(deployment)
        if now < wanted[name]:
            found.append(Difference(f"Deployment {world.estate.namespace}/{name} replicas", now, wanted[name]))
    scaled = [name for name in wanted if keda_autoscaler(world, name) is not None]
    return found + [Difference(f"HorizontalPodAutoscaler of {name}", "exists", None) for name in scaled]


def _standing(world: World, names: Iterable[str]) -> dict[str, Object]:
    """The Deployments of ``names`` that stand, whether or not the estate still has them."""
    found = {name: world.cluster.get(DEPLOYMENT, name, world.estate.namespace) for name in names}
    return {name: deployment for name, deployment in found.items() if deployment is not None}
