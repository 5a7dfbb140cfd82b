"""Shares and dollars of the report from plain nodes."""

from __future__ import annotations

from decimal import Decimal
from types import SimpleNamespace
from typing import Any, cast

import pytest
from kubernetes.client import ApiException
from urllib3.exceptions import ProtocolError

from include.clients import kubernetes as k8s
from include.prices import AwsBook
from lab.rehearsal.evidence import (
    EvidenceError,
    EvidenceFigures,
    EvidenceReader,
    Node,
    first_figures,
    lasting_kinds,
    node_of,
    object_name,
    places,
    requests_by_app,
    shares,
    usd_hour,
)

OLD = [Node(f"old{n}", "akidb-on-demand", "c7g.2xlarge", "a", "on-demand", 8, True) for n in range(5)]
SPOT = [Node(f"spot{n}", "akidb-spot", "c7g.xlarge", "a", "spot", 4, False) for n in range(3)]
REST = [Node("rest", "akidb-on-demand", "c7g.xlarge", "a", "on-demand", 4, False)]


def test_before_the_rollout_nothing_is_on_spot() -> None:
    assert shares(OLD, ["old0"] * 30, floor=2) == (0.0, 0.0)


def test_the_floor_of_the_node_group_does_not_count() -> None:
    pods = ["spot0"] * 8 + ["spot1"] * 7 + ["spot2"] * 7 + ["rest"] * 8
    assert shares([*OLD[:2], *SPOT, *REST], pods, floor=2) == (0.7333, 0.75)


def test_nodes_beyond_the_floor_count() -> None:
    assert shares([*OLD[:3], *SPOT, *REST], ["spot0"], floor=2) == (1.0, 0.5)


def test_without_pods_or_nodes_the_share_is_zero() -> None:
    assert shares([], [], floor=2) == (0.0, 0.0)


def test_the_group_that_day_4_makes_for_the_system_does_not_count() -> None:
    system = [Node(f"system{n}", "akidb-system", "c7g.large", "a", "on-demand", 2, True) for n in range(3)]
    assert shares([*system, *SPOT, *REST], ["spot0"], floor=2) == (1.0, 0.75)


class Book:
    def on_demand(self, region: str, instance_type: str) -> Decimal | None:
        return {"c7g.2xlarge": Decimal("0.29"), "c7g.xlarge": Decimal("0.145")}.get(instance_type)

    def spot(self, region: str, instance_type: str, zone: str) -> Decimal | None:
        return {"c7g.xlarge": Decimal("0.0493")}.get(instance_type)


def test_dollars_are_the_sum_of_the_live_nodes() -> None:
    book = cast("AwsBook", Book())
    assert usd_hour(OLD, book, "us-east-1") == 1.45
    assert usd_hour([*OLD[:2], *SPOT, *REST], book, "us-east-1") == 0.8729


def test_one_unknown_price_makes_the_sum_unknown() -> None:
    unknown = Node("x", "akidb-spot", "m9g.large", "a", "spot", 2, False)
    assert usd_hour([*OLD, unknown], cast("AwsBook", Book()), "us-east-1") is None


@pytest.mark.parametrize(
    ("labels", "owner", "capacity", "in_group"),
    [
        (
            {"eks.amazonaws.com/nodegroup": "g", "eks.amazonaws.com/capacityType": "ON_DEMAND"},
            "g",
            "on-demand",
            True,
        ),
        ({"karpenter.sh/nodepool": "akidb-spot", "karpenter.sh/capacity-type": "spot"}, "akidb-spot", "spot", False),
    ],
)
def test_a_node_is_read_from_its_labels(labels: dict[str, str], owner: str, capacity: str, in_group: bool) -> None:
    labels |= {"node.kubernetes.io/instance-type": "c7g.xlarge", "topology.kubernetes.io/zone": "us-east-1a"}
    raw: dict[str, Any] = {"metadata": {"name": "n", "labels": labels}, "status": {"capacity": {"cpu": "4"}}}
    assert node_of(raw) == Node("n", owner, "c7g.xlarge", "us-east-1a", capacity, 4.0, in_group)


def group(name: str, *resources: tuple[str, str, str, list[str]]) -> dict[str, Any]:
    shown = [
        {"resource": plural, "responseKind": {"kind": kind}, "scope": scope, "verbs": verbs}
        for plural, kind, scope, verbs in resources
    ]
    older = {"version": "v0", "resources": [*shown, *shown]}
    return {"metadata": {"name": name} if name else {}, "versions": [{"version": "v1", "resources": shown}, older]}


def test_everything_that_lasts_is_listed_in_its_preferred_version_whoever_made_it() -> None:
    every = ["create", "get", "list"]
    discovery = {
        "items": [
            group("", ("namespaces", "Namespace", "Cluster", every), ("pods", "Pod", "Namespaced", every)),
            group("apps", ("deployments", "Deployment", "Namespaced", every)),
            group("keda.sh", ("scaledobjects", "ScaledObject", "Namespaced", every)),
            group("authorization.k8s.io", ("subjectaccessreviews", "SubjectAccessReview", "Cluster", ["create"])),
            group("external.metrics.k8s.io", ("externalmetrics", "ExternalMetricValueList", "Namespaced", every)),
            {"metadata": {"name": "empty.io"}, "versions": []},
        ]
    }
    assert lasting_kinds(discovery) == [
        k8s.Kind("v1", "Namespace", "namespaces", namespaced=False),
        k8s.Kind("apps/v1", "Deployment", "deployments"),
        k8s.Kind("keda.sh/v1", "ScaledObject", "scaledobjects"),
    ]


@pytest.mark.parametrize(
    ("metadata", "name"), [({"name": "monitoring"}, "monitoring"), ({"name": "a", "namespace": "akidb"}, "akidb/a")]
)
def test_an_object_is_named_with_its_namespace(metadata: dict[str, str], name: str) -> None:
    assert object_name({"metadata": metadata}) == name


def pod(name: str, app: str, node: str, *requests: dict[str, str], **more: Any) -> dict[str, Any]:
    containers = [{"name": f"c{n}", "resources": {"requests": asked}} for n, asked in enumerate(requests)]
    metadata = {"name": name, "namespace": "kube-system", "labels": {"app": app}}
    spec = {"nodeName": node, "containers": containers}
    return {"metadata": {**metadata, **more}, "spec": spec, "status": {"phase": "Running"}}


def test_requests_are_those_of_the_running_pods_however_they_are_written() -> None:
    pods = [
        pod("a", "akidb-rest", "n", {"cpu": "1", "memory": "2Gi"}, {"cpu": "50m"}),
        pod("b", "akidb-rest", "n", {"cpu": "1000m", "memory": "2048Mi"}, {"cpu": "50m"}),
        pod("c", "akidb-grpc", "n", {"cpu": "860m", "memory": "1342177280"}),
        pod("d", "akidb-grpc", "n", {}),
    ]
    assert requests_by_app(pods) == {
        "akidb-grpc/c0": ["0m 0Mi", "860m 1280Mi"],
        "akidb-rest/c0": ["1000m 2048Mi"],
        "akidb-rest/c1": ["50m 0Mi"],
    }


def test_system_pods_are_where_their_controllers_pods_run() -> None:
    replica_set = {
        "ownerReferences": [{"name": "coredns-5f4", "controller": True}],
        "labels": {"pod-template-hash": "5f4"},
    }
    daemon_set = {"ownerReferences": [{"name": "kube-proxy", "controller": True}]}
    gone = {"deletionTimestamp": "2026-11-29T06:00:00Z", **replica_set}
    pods = [
        pod("coredns-5f4-a", "", "n1", **replica_set),
        pod("coredns-5f4-b", "", "n2", **gone),
        pod("kube-proxy-a", "", "n1", **daemon_set),
        pod("kube-proxy-b", "", "n2", **daemon_set),
        pod("alone", "", "n3"),
    ]
    assert places(pods, {"n1": "akidb-on-demand", "n2": "akidb-spot"}) == {
        "kube-system/alone": ["nobody"],
        "kube-system/coredns": ["akidb-on-demand"],
        "kube-system/kube-proxy": ["akidb-on-demand", "akidb-spot"],
    }


def reader(served: Any) -> EvidenceReader:
    parts = cast("Any", SimpleNamespace())
    return EvidenceReader(parts, "us-east-1", parts, parts, parts, parts, served, patience=0.0, longest_pause=0.0)


def test_a_region_that_nobody_answers_for_is_an_error_that_names_it_and_never_an_empty_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def cut_off() -> Any:
        raise ProtocolError("Connection broken")

    unread = reader(list)
    monkeypatch.setattr(unread, "_all_specs", cut_off)
    with pytest.raises(EvidenceError) as error:
        unread.specs()
    assert str(error.value) == (
        "us-east-1 could not be read for 0 s (ProtocolError: Connection broken): see the log of its API server"
    )


def test_a_region_is_read_again_while_nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([ProtocolError("Connection broken"), ApiException(503), {"nodes": {}}])

    def read() -> Any:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    slow = reader(list)
    slow.patience = 60.0
    monkeypatch.setattr(slow, "_all_specs", read)
    assert slow.specs() == {"nodes": {}}


class Opening:
    """A region whose latency has samples from the ``later``-th look on."""

    def __init__(self, later: int) -> None:
        self.later, self.looks = later, 0

    def figures(self, since_seconds: float) -> EvidenceFigures:
        assert since_seconds == 60
        self.looks += 1
        return EvidenceFigures(5, 30, 0.0, 0.0, 1.45, 11.5 if self.looks >= self.later else None, 0.0)


def test_the_figures_before_the_first_day_wait_for_the_first_samples_of_every_region() -> None:
    regions = {"us-east-1": Opening(1), "eu-central-1": Opening(3)}
    found = first_figures(cast("Any", regions), 60, limit_seconds=30, pause_seconds=0)
    assert {name: figures.p95_ms for name, figures in found.items()} == {"us-east-1": 11.5, "eu-central-1": 11.5}
    assert {name: region.looks for name, region in regions.items()} == {"us-east-1": 3, "eu-central-1": 3}


def test_a_region_without_samples_stays_unknown_when_the_limit_is_reached() -> None:
    found = first_figures(cast("Any", {"us-east-1": Opening(99)}), 60, limit_seconds=0, pause_seconds=0)
    assert found["us-east-1"].p95_ms is None
    assert found["us-east-1"].pods == 30
