"""1,000 pods in one region of the lab, scaled out by Karpenter, then 1,000 -> 700 packed by it: ``make bench`` runs it.

Limits, pods and pool are those of Karpenter's own performance suite (kubernetes-sigs/karpenter,
test/suites/performance/basic_test.go and suite_test.go): 500 small and 500 large pods, the same share of each taken
away, nodes below 32 vCPU that may be packed 30 s after their last pod, all at once; out in 2 minutes, packed in 20,
CPU requested above 53 % and memory above 65 % of what the nodes can allocate, here after both. Packing has ended when
no node has come or gone for 3 minutes, which the suite counts and this one doesn't; what hasn't ended by then is
published so. Karpenter's own cost is published beside the suite's bounds: 260 MB (P95), 0.5 core scaling out, 0.25
packing. The pods have no load; the nodes are on demand, of the estate's architecture, and as in the suite of every
family that the price book has: its large pods ask for 8 GiB a core. The lab's kubelets start a pod in 4 s and a node
in 8 s. Writes benchmarks/results/scale.json. Nothing but the lab may run on the machine meanwhile.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from benchmarks.bench_lab_boot import machine
from include.clients import kubernetes as k8s
from include.estate import Estate
from include.levers.spot_capacity.wanted import node_class
from include.quantities import quantity
from lab import world as worlds
from lab.cluster.workloads import api_client
from lab.machine.processes import Processes

RESULTS = Path(__file__).parent / "results"
REGION = "ap-northeast-1"
NAME, NAMESPACE, POOL_LABEL = "scale", "default", "karpenter.sh/nodepool"
PODS, FEWER = 1000, 700
REQUESTS = {"small": {"cpu": "900m", "memory": "3100Mi"}, "large": {"cpu": "3500m", "memory": "28Gi"}}
FAMILIES = ["c", "m", "r"]
BELOW_CPUS = 32
OUT_SECONDS, PACKED_SECONDS = 120, 20 * 60
CPU_SHARE, MEMORY_SHARE = 0.53, 0.65
BOUNDS = {"memory_mb": 260, "cores_out": 0.5, "cores_packing": 0.25}
QUIET_SECONDS = 180  # so long without a node coming or going, and the packing has ended, as in the suite
LOOK_SECONDS = 1.0


@dataclass
class Cost:
    """What one process takes, looked at once a second: resident MB, and CPU seconds since the beginning."""

    process: psutil.Process
    megabytes: list[float] = field(default_factory=list)
    started: float = field(default_factory=time.monotonic)
    cpu_at_start: float = 0.0

    def begin(self) -> None:
        """Count from here."""
        self.megabytes.clear()
        self.started, self.cpu_at_start = time.monotonic(), self._cpu()
        self.look()

    def look(self) -> None:
        """Take one sample."""
        self.megabytes.append(self.process.memory_info().rss / 1e6)

    def figures(self) -> dict[str, float]:
        """P95 of memory in MB, and mean cores, since the beginning."""
        cores = (self._cpu() - self.cpu_at_start) / (time.monotonic() - self.started)
        return {"memory_p95_mb": round(percentile_95(self.megabytes), 1), "cores": round(cores, 3)}

    def _cpu(self) -> float:
        times = self.process.cpu_times()
        return float(times.user + times.system)


def percentile_95(values: Sequence[float]) -> float:
    """The 95th percentile; the value itself where there is one."""
    return statistics.quantiles(values, n=20)[-1] if len(values) > 1 else values[0]


def deployment(profile: str, replicas: int) -> dict[str, Any]:
    """The pods of a profile of REQUESTS to place: no load, and no node but the pool's."""
    labels = {"app": f"{NAME}-{profile}"}
    container = {"name": "pause", "image": "pause:rehearsal", "resources": {"requests": dict(REQUESTS[profile])}}
    spec = {"nodeSelector": {POOL_LABEL: NAME}, "terminationGracePeriodSeconds": 0, "containers": [container]}
    template = {"metadata": {"labels": labels}, "spec": spec}
    wanted = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
    metadata = {"name": labels["app"], "namespace": NAMESPACE}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": wanted}


def node_pool(estate: Estate) -> dict[str, Any]:
    """A pool of on-demand nodes of the estate's architecture, otherwise as the suite has it."""
    requirements = [
        {"key": "karpenter.sh/capacity-type", "operator": "In", "values": ["on-demand"]},
        {"key": "kubernetes.io/arch", "operator": "In", "values": [estate.spot.architecture]},
        {"key": "karpenter.k8s.aws/instance-category", "operator": "In", "values": FAMILIES},
        {"key": "karpenter.k8s.aws/instance-cpu", "operator": "Lt", "values": [str(BELOW_CPUS)]},
    ]
    reference = {"group": "karpenter.k8s.aws", "kind": "EC2NodeClass", "name": "akidb"}
    template = {"spec": {"nodeClassRef": reference, "expireAfter": "Never", "requirements": requirements}}
    budgets = [{"nodes": "100%"}]
    disruption = {"consolidationPolicy": "WhenEmptyOrUnderutilized", "consolidateAfter": "30s", "budgets": budgets}
    spec = {"template": template, "disruption": disruption}
    return {"apiVersion": "karpenter.sh/v1", "kind": "NodePool", "metadata": {"name": NAME}, "spec": spec}


def filled(nodes: Sequence[Mapping[str, Any]], pods: int) -> dict[str, float]:
    """Requested by allocatable of the pool's nodes, 0..1, with ``pods`` on them, of each profile as many."""
    shares = {}
    for name in ("cpu", "memory"):
        whole = sum(float(quantity(node["status"]["allocatable"][name])) for node in nodes)
        each = sum(float(quantity(profile[name])) for profile in REQUESTS.values()) / len(REQUESTS)
        shares[name] = round(each * pods / whole, 4) if whole else 0.0
    return shares


def verdicts(found: Mapping[str, Any]) -> dict[str, bool]:
    """Each limit by name, and whether it was kept."""
    out, packed = found["out"], found["packed"]
    return {
        f"out within {OUT_SECONDS} s": out["at_rest"] and out["seconds"] <= OUT_SECONDS,
        f"packed within {PACKED_SECONDS} s": packed["at_rest"] and packed["seconds"] <= PACKED_SECONDS,
        f"CPU requested above {CPU_SHARE:.0%}": min(one["requested"]["cpu"] for one in (out, packed)) > CPU_SHARE,
        f"memory requested above {MEMORY_SHARE:.0%}": min(one["requested"]["memory"] for one in (out, packed))
        > MEMORY_SHARE,
    }


class Scale:
    """The measurement in one region of a running lab."""

    def __init__(self, world: worlds.LabWorld) -> None:
        self.world = world
        kubeconfig = Path(world.state["regions"][REGION]["kubeconfig"])
        self.cluster = k8s.Cluster(api_client(kubeconfig), REGION, patience=60.0)
        self.cost = Cost(psutil.Process(Processes(world.options.folder).started(f"{REGION}-karpenter").pid))

    def measure(self) -> dict[str, Any]:
        """Scale out, scale in, and what each took."""
        self._apply(node_class(self.world.estate, REGION))
        self._apply(node_pool(self.world.estate))
        out = self._timed(PODS, lambda: self.ready() == PODS, 10 * OUT_SECONDS)
        if not out["at_rest"]:
            raise TimeoutError(f"{PODS} pods were not in place within {10 * OUT_SECONDS} s: {self.ready()} are ready")
        quiet, limit = Quiet(), PACKED_SECONDS + QUIET_SECONDS
        packed = self._timed(FEWER, lambda: self.ready() == FEWER and quiet.now(self.names()), limit)
        packed["seconds"] = round(packed["seconds"] - QUIET_SECONDS, 1)  # it had ended when the quiet began
        found = {"out": out, "packed": packed, "karpenter_bounds": BOUNDS}
        return {"machine": machine(), "region": REGION, **found, "kept": verdicts(found)}

    def ready(self) -> int:
        """Replicas that are ready, once the controller has seen what is wanted."""
        found = (self.cluster.get(k8s.DEPLOYMENT, f"{NAME}-{profile}", NAMESPACE) for profile in REQUESTS)
        statuses = [(one or {}).get("status", {}) for one in found]
        settled = all(status.get("replicas") == status.get("readyReplicas") for status in statuses)
        return sum(int(status.get("readyReplicas", 0)) for status in statuses) if settled else 0

    def names(self) -> frozenset[str]:
        """The pool's nodes."""
        return frozenset(node["metadata"]["name"] for node in self._nodes())

    def _nodes(self) -> list[dict[str, Any]]:
        return self.cluster.list(k8s.NODE, labels=f"{POOL_LABEL}={NAME}")

    def _timed(self, replicas: int, done: Callable[[], bool], limit: float) -> dict[str, Any]:
        pause, begun = threading.Event(), time.monotonic()
        self.cost.begin()
        for profile in REQUESTS:
            self._apply(deployment(profile, replicas // len(REQUESTS)))
        while not (at_rest := done()) and time.monotonic() - begun <= limit:
            self.cost.look()
            pause.wait(LOOK_SECONDS)
        nodes = self._nodes()
        seconds = round(time.monotonic() - begun, 1)
        found = {"at_rest": at_rest, "seconds": seconds, "nodes": len(nodes), "requested": filled(nodes, replicas)}
        return {**found, "karpenter": self.cost.figures()}

    def _apply(self, thing: dict[str, Any]) -> None:
        self.cluster.apply(thing, "akidb-bench")


class Quiet:
    """Whether a set has stayed the same for a while."""

    def __init__(self, seconds: float = QUIET_SECONDS, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds, self._clock = seconds, clock
        self._last: frozenset[str] | None = None
        self._since = 0.0

    def now(self, found: frozenset[str]) -> bool:
        """Take a look; True once nothing has changed for the whole time."""
        if found != self._last:
            self._last, self._since = found, self._clock()
        return self._clock() - self._since >= self._seconds


def main() -> int:
    """Boot one region, measure, take it down; 0 when every limit was kept."""
    with tempfile.TemporaryDirectory() as folder:
        world = worlds.up([REGION], worlds.Options(folder=Path(folder)))
        try:
            result = Scale(world).measure()
        finally:
            world.down()
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "scale.json").write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))
    return 0 if all(result["kept"].values()) else 1


if __name__ == "__main__":
    sys.exit(main())
