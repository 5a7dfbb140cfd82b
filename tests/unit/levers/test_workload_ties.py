"""What ties a workload's pods to the nodes that they run on."""

from __future__ import annotations

from typing import Any

import pytest

from include.levers import workloads
from include.levers.workloads import Finding
from tests.unit.levers.spot_world import Object
from tests.unit.levers.workload_objects import deployment, only, templated, term

GROUP = "eks.amazonaws.com/nodegroup"


POOLS: dict[str, list[dict[str, str]]] = {
    "akidb-spot": [
        {
            "kubernetes.io/arch": "arm64", "karpenter.sh/capacity-type": "spot", "kubernetes.io/hostname": "new",
            "node.kubernetes.io/instance-type": kind, "karpenter.k8s.aws/instance-cpu": cpu,
            "topology.kubernetes.io/zone": zone,
        }
        for kind, cpu in (("c7g.xlarge", "4"), ("c7g.2xlarge", "8")) for zone in ("a", "b")
    ]
}  # fmt: skip
POOLS["akidb-on-demand"] = [{**labels, "karpenter.sh/capacity-type": "on-demand"} for labels in POOLS["akidb-spot"]]


def required(*expressions: Object, **more: Any) -> Object:
    terms = {"nodeSelectorTerms": [{"matchExpressions": [*expressions]}]} | more
    return templated(affinity={"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}})


def ties(made: Object) -> list[Finding]:
    return list(workloads.tie_findings(made, POOLS, ["akidb.io/capacity-spread"]))


@pytest.mark.parametrize(
    "made",
    [
        templated(),
        templated(nodeSelector={"kubernetes.io/arch": "arm64"}),
        templated(nodeSelector={"topology.kubernetes.io/zone": "a"}),
        required(term(GROUP, "NotIn", "gpu")),
        required(term(GROUP, "DoesNotExist")),
        required(term("karpenter.k8s.aws/instance-cpu", "Gt", "4")),
        required(term("karpenter.k8s.aws/instance-cpu", "Lt", "8"), term("kubernetes.io/hostname", "NotIn", "i-1")),
        required(term("node.kubernetes.io/instance-type", "In", "c7g.2xlarge", "m5.large")),
        # Any one of the terms is enough.
        required(
            nodeSelectorTerms=[
                {"matchExpressions": [term(GROUP, "In", "akidb-on-demand")]},
                {"matchExpressions": [term("karpenter.sh/capacity-type", "Exists")]},
            ]
        ),
        templated(
            affinity={
                "nodeAffinity": {
                    "preferredDuringSchedulingIgnoredDuringExecution": [
                        {"weight": 1, "preference": {"matchExpressions": [term(GROUP, "In", "akidb-on-demand")]}}
                    ]
                }
            }
        ),
        templated(
            topologySpreadConstraints=[
                {"topologyKey": key, "whenUnsatisfiable": "DoNotSchedule"}
                for key in ("akidb.io/capacity-spread", "topology.kubernetes.io/zone", "kubernetes.io/hostname")
            ]
        ),
        templated(topologySpreadConstraints=[{"topologyKey": GROUP, "whenUnsatisfiable": "ScheduleAnyway"}]),
    ],
)
def test_pods_that_nodes_of_both_pools_may_take_are_not_tied(made: Object) -> None:
    assert ties(made) == []


ON = "which no node of NodePool akidb-spot would"


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (
            templated(nodeSelector={GROUP: "akidb-on-demand"}),
            "is tied to node group akidb-on-demand by its nodeSelector",
        ),
        (required(term(GROUP, "In", "akidb-on-demand")), "is tied to node group akidb-on-demand by its node affinity"),
        (required(term(GROUP, "In", "a", "b")), "is tied to node group a or b by its node affinity"),
        (required(term(GROUP, "Exists")), f"requires {GROUP} Exists by its node affinity, {ON} fulfil"),
        (templated(nodeSelector={"disk": "nvme"}), f"asks for disk=nvme in its nodeSelector, {ON} have"),
        (
            templated(nodeSelector={"eks.amazonaws.com/capacityType": "ON_DEMAND"}),
            f"asks for eks.amazonaws.com/capacityType=ON_DEMAND in its nodeSelector, {ON} have",
        ),
        (
            required(term("node.kubernetes.io/instance-type", "In", "m5.large")),
            f"requires node.kubernetes.io/instance-type In m5.large by its node affinity, {ON} fulfil",
        ),
        (
            required(term("topology.kubernetes.io/zone", "NotIn", "a", "b")),
            f"requires topology.kubernetes.io/zone NotIn a, b by its node affinity, {ON} fulfil",
        ),
        (
            required(term("kubernetes.io/hostname", "In", "i-1")),
            f"requires kubernetes.io/hostname In i-1 by its node affinity, {ON} fulfil",
        ),
        (
            required(nodeSelectorTerms=[{"matchFields": [term("metadata.name", "In", "i-1")]}]),
            f"requires metadata.name In i-1 by its node affinity, {ON} fulfil",
        ),
        (
            required(term("karpenter.k8s.aws/instance-cpu", "Gt", "8")),
            f"requires karpenter.k8s.aws/instance-cpu Gt 8 by its node affinity, {ON} fulfil",
        ),
        # Each holds somewhere, but never both on one node.
        (
            required(
                term("node.kubernetes.io/instance-type", "In", "c7g.xlarge"),
                term("karpenter.k8s.aws/instance-cpu", "In", "8"),
            ),
            "requires node.kubernetes.io/instance-type In c7g.xlarge; karpenter.k8s.aws/instance-cpu In 8 by its node",
        ),
        (required(nodeSelectorTerms=[{}]), f"requires an empty term by its node affinity, {ON} fulfil"),
        (
            templated(nodeSelector={"karpenter.sh/capacity-type": "spot"}),
            "asks for karpenter.sh/capacity-type=spot in its nodeSelector, which no node of NodePool akidb-on-demand",
        ),
        (templated(nodeName="i-1"), "is tied to node i-1 by nodeName"),
        (
            templated(topologySpreadConstraints=[{"topologyKey": GROUP, "whenUnsatisfiable": "DoNotSchedule"}]),
            f"is spread hard over {GROUP}, a label that nodes of akidb-spot and akidb-on-demand don't have",
        ),
        (
            templated(
                affinity={
                    "podAffinity": {
                        "requiredDuringSchedulingIgnoredDuringExecution": [
                            {
                                "topologyKey": "kubernetes.io/hostname",
                                "labelSelector": {"matchLabels": {"app": "cache"}},
                            }
                        ]
                    }
                }
            ),
            "must stand beside other pods (kubernetes.io/hostname) by its pod affinity",
        ),
    ],
)
def test_pods_that_could_not_be_on_a_new_node_are_tied(made: Object, reason: str) -> None:
    assert only(ties(made)).reason.startswith(f"Deployment akidb-rest {reason}")


@pytest.mark.parametrize(
    ("modes", "told"),
    [
        (["ReadWriteOnce"], "ReadWriteOnce"),
        (["ReadWriteOncePod"], "ReadWriteOncePod"),
        (None, "access modes not known"),
    ],
)
def test_a_volume_of_one_node_ties_a_deployment(modes: list[str] | None, told: str) -> None:
    made = templated(volumes=[{"emptyDir": {}}, {"persistentVolumeClaim": {"claimName": "data"}}])
    claims = {"data": {"spec": {"accessModes": modes}}} if modes else {}
    assert only(workloads.volume_findings(made, claims)).reason == (
        f"Deployment akidb-rest mounts PersistentVolumeClaim data ({told}): its pods can't change node freely"
    )
    assert list(workloads.volume_findings(made, {"data": {"spec": {"accessModes": ["ReadWriteMany"]}}})) == []


def test_an_architecture_that_the_pools_will_not_have_is_refused() -> None:
    x86: dict[str, str | None] = {"node i-1": "amd64"}
    found = only(workloads.architecture_findings(deployment(), x86, "arm64", False))
    assert found.reason == "Deployment akidb-rest runs on node i-1, which is amd64; spot.architecture is arm64"
    assert found.remedy == (
        "set spot.architecture to amd64 in estate.yaml, or set multi_arch_images if its images have both"
    )
    assert list(workloads.architecture_findings(deployment(), x86, "arm64", True)) == []
    assert list(workloads.architecture_findings(deployment(), x86, "amd64", False)) == []
    unknown = only(workloads.architecture_findings(deployment(), {"node i-1": None}, "arm64", False))
    assert unknown.reason.startswith("the architecture of node i-1 is not known")


@pytest.mark.parametrize(
    "made",
    [
        templated(nodeSelector={"kubernetes.io/arch": "amd64"}),
        required(term("kubernetes.io/arch", "In", "amd64")),
    ],
)
def test_an_architecture_that_the_template_names_is_refused_whatever_is_confirmed(made: Object) -> None:
    found = only(workloads.architecture_findings(made, {}, "arm64", True))
    assert found.reason == "Deployment akidb-rest asks for kubernetes.io/arch amd64, spot.architecture is arm64"
    assert found.remedy == "set spot.architecture to amd64, or have it take arm64"


def test_a_template_that_takes_both_architectures_confirms_its_images() -> None:
    both = required(term("kubernetes.io/arch", "In", "amd64", "arm64"))
    assert list(workloads.architecture_findings(both, {"node i-1": "amd64"}, "arm64", False)) == []
