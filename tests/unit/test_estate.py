"""The estate's description: what it yields, and one clear message for every way to get it wrong."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

import pytest

from include.estate import ESTATE_FILE, Estate, EstateError, load_estate


def _altered(tmp_path: Path, old: str, new: str) -> Path:
    text = ESTATE_FILE.read_text()
    assert old in text
    path = tmp_path / "estate.yaml"
    path.write_text(text.replace(old, new, 1))
    return path


def test_demand_scale_puts_the_weekday_peak_at_70_percent_of_the_start_capacity() -> None:
    # 30 replicas x 350 QPS x 0.8 x 0.7 = 5,880 QPS, over the plan's 550
    assert load_estate().demand_scale() == pytest.approx(5880 / 550)


def test_the_canary_comes_first() -> None:
    assert load_estate().ordered_regions() == ["ap-northeast-1", "us-east-1", "eu-central-1"]


def test_a_start_node_holds_six_pods_by_memory_so_that_thirty_fit() -> None:
    estate = load_estate()
    replicas = sum(w.replicas for w in estate.workloads.values())
    assert replicas == 30
    assert {r.node_group.size * (14103 // 2048) for r in estate.regions.values()} == {30}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("canary_region: ap", "canary_regoin: ap", "estate.yaml: canary_region is missing: add it"),
        ("canary_region: ap", "canary_regoin: ap", "canary_regoin is not a known setting: remove it or correct"),
        ("p95_ms: 30", "p95_ms: fast", "targets.p95_ms Input should be a valid number, unable to parse"),
        ("p95_ms: 30", "p95_ms: .inf", "targets.p95_ms Input should be a finite number (value inf)"),
        ("error_ratio: 0.005", "error_ratio: 5", "Input should be less than or equal to 1 (value 5)"),
        ("floor: 2 ", "floor: 9 ", "needs floor <= size <= max_size, not 9, 5, 8"),
        ("canary_region: ap-northeast-1", "canary_region: mars-1", "canary_region 'mars-1' is not one of us-east-1"),
        ("steps_percent: [30, 50, 70]", "steps_percent: [50, 30]", "steps_percent must rise, not [50, 30]"),
        ("regions:\n", "regions: {\n", "is not valid YAML"),
        (
            "    floor: 2 ",
            "    size: 4\n      floor: 2 ",
            "has a key twice, and only one can count: size in lines 18",
        ),
        (
            "weekday_qps: [50, 50, 50, 50, 50, 50, 200, 200, 200, 550, 550, 550, 550, 550, 550, 550, 550, 550, "
            "300, 300, 300, 300, 100, 100]",
            f"weekday_qps: {[0] * 24}",
            "weekday_qps is 0 in every hour: give the requests a second of at least one",
        ),
        ("weekday_qps: [50, ", "weekday_qps: [-50, ", "Input should be greater than or equal to 0 (value -50)"),
        ("weekday_qps: [50, ", "weekday_qps: [.inf, ", "weekday_qps.0 Input should be a finite number (value inf)"),
        ("replica_qps: 350", "replica_qps: .inf", "traffic.replica_qps Input should be a finite number (value inf)"),
        ("factor: 1.0\n", "factor: .inf\n", "on_demand_price_factor Input should be a finite number (value inf)"),
        ("of_capacity: 0.7", "of_capacity: 0", "peak_share_of_capacity Input should be greater than 0 (value 0)"),
        (
            "regional_alias: live",
            "regional_alias: live, durations: ['512 MB in 30 ms']",
            "edge.functions.durations.0 Value error, can't be read: write MB:samples:mean:P95, such as",
        ),
    ],
)
def test_a_wrong_estate_is_refused_with_field_and_remedy(tmp_path: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(EstateError) as refusal:
        load_estate(_altered(tmp_path, old, new))
    assert message in str(refusal.value)


def test_a_missing_file_names_the_setting_that_points_to_it(tmp_path: Path) -> None:
    with pytest.raises(EstateError, match="set AKIDB_ESTATE to the estate's file"):
        load_estate(tmp_path / "none.yaml")


def test_the_routed_share_is_that_of_the_workloads_replicas_and_another_workload_is_refused() -> None:
    estate = load_estate()
    assert estate.routed_share() == 0.5
    renamed = {"api" if name == "akidb-rest" else name: one for name, one in estate.workloads.items()}
    with pytest.raises(
        EstateError, match=r"edge.routing.workload: 'akidb-rest' is none of the workloads api, akidb-gr"
    ):
        estate.model_copy(update={"workloads": renamed}).routed_share()


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "binary.yaml").write_bytes(b"name: \xff")
    with pytest.raises(EstateError, match=r"binary.yaml is not UTF-8 text \(invalid start byte at byte 6\)"):
        load_estate(tmp_path / "binary.yaml")


def test_an_unknown_region_is_refused_with_those_that_exist() -> None:
    with pytest.raises(EstateError, match="region 'us-east-2' is not in the estate; it has us-east-1, eu-central-1"):
        load_estate().region("us-east-2")


def test_freeze_days_and_change_windows_refuse_with_the_setting(tmp_path: Path) -> None:
    governance = load_estate().governance
    assert governance.refusal(dt.datetime(2026, 11, 24, 12, tzinfo=dt.UTC)) is None
    frozen = governance.refusal(dt.datetime(2026, 12, 24, 12, tzinfo=dt.UTC))
    assert frozen == "2026-12-24 is a freeze day (governance.freeze_days)"
    narrow = load_estate(_altered(tmp_path, "from_hour: 0", "from_hour: 9")).governance
    early = narrow.refusal(dt.datetime(2026, 11, 24, 8, 59, tzinfo=dt.UTC))
    assert early == "08:59 UTC is outside the change window 9-24 h"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("memory: 2Gi}", "memory: 2GB}", "workloads.akidb-rest.requests.memory Value error, '2GB' is no Kubernetes"),
        ("memory: 2Gi}", "memory: 100m}", "requests.memory Value error, is 0.1 bytes: m means thousandths, write M or"),
        ('{cpu: "1",', "{cpu: yes,", "workloads.akidb-rest.requests.cpu Input should be a valid string (value True)"),
        ('{cpu: "1",', '{cpu: "0",', "requests.cpu Value error, must be more than zero (value '0')"),
        ('{cpu: "1",', '{cpu: "3",', "requests.cpu 3 is more than limits.cpu 2"),
        (
            "memory_limit: 400Gi",
            "memory_limit: lots",
            "spot.memory_limit Value error, 'lots' is no Kubernetes quantity",
        ),
        (
            "expire_after: Never",
            "expire_after: 7d",
            "must be Never or an age that Karpenter reads, such as 720h or 1h30m",
        ),
        (
            "port: 8080",
            "port: 8080\n    matchers: service",
            "workloads.akidb-rest.matchers Value error, must be PromQL",
        ),
    ],
)
def test_a_quantity_an_age_or_a_matcher_that_cannot_be_read_names_its_field(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    with pytest.raises(EstateError) as refusal:
        load_estate(_altered(tmp_path, old, new))
    assert message in str(refusal.value)


@pytest.mark.parametrize("memory", ["2G", "512M", "1500000k", "2e9", "2147483648"])
def test_every_way_in_which_kubernetes_writes_memory_is_taken_as_it_stands(tmp_path: Path, memory: str) -> None:
    assert load_estate(_altered(tmp_path, "memory: 2Gi}", f"memory: {memory}}}")).workloads[
        "akidb-rest"
    ].requests.memory == (memory)


@pytest.mark.parametrize(("cpu", "read"), [("1", "1"), ("0.5", "0.5"), ("500m", "500m")])
def test_a_bare_number_is_a_quantity_too(tmp_path: Path, cpu: str, read: str) -> None:
    assert load_estate(_altered(tmp_path, '{cpu: "1",', f"{{cpu: {cpu},")).workloads["akidb-rest"].requests.cpu == read


def test_the_interruption_queue_has_the_clusters_name_unless_the_estate_says_otherwise(tmp_path: Path) -> None:
    assert load_estate().region("us-east-1").queue == "akidb-us-east-1"
    named = "cluster: akidb-us-east-1\n    interruption_queue: Karpenter-akidb"
    assert load_estate(_altered(tmp_path, "cluster: akidb-us-east-1", named)).region("us-east-1").queue == (
        "Karpenter-akidb"
    )


def test_series_are_those_of_the_namespace_or_of_the_estates_matchers(tmp_path: Path) -> None:
    assert load_estate().matchers("us-east-1") == 'region="us-east-1",namespace="akidb"'
    matchers = "matchers: 'job=\"akidb\"'"
    named = load_estate(_altered(tmp_path, "metrics:\n", f"metrics:\n  {matchers}\n"))
    assert named.matchers("us-east-1") == 'region="us-east-1",job="akidb"'
    none = load_estate(_altered(tmp_path, "metrics:\n", "metrics:\n  matchers: ''\n"))
    assert none.matchers("us-east-1", "akidb-rest") == 'region="us-east-1"'


SHARED = "requests: {akidb-rest: http, akidb-grpc: http}"


def _sharing(tmp_path: Path, rest: str, grpc: str) -> Path:
    """An estate whose two workloads have one counter, with these matchers."""
    text = ESTATE_FILE.read_text().replace("requests: {akidb-rest: http, akidb-grpc: grpc}", SHARED)
    text = text.replace("port: 8080\n", f"port: 8080\n    matchers: '{rest}'\n", 1)
    path = tmp_path / "estate.yaml"
    path.write_text(text.replace("port: 9090\n", f"port: 9090\n    matchers: '{grpc}'\n", 1))
    return path


@pytest.mark.parametrize(("rest", "grpc"), [("", ""), ('a="b"', ""), ("", 'a="b"'), ('a="b"', 'a="b"')])
def test_workloads_that_would_scale_with_the_same_requests_are_refused(tmp_path: Path, rest: str, grpc: str) -> None:
    with pytest.raises(EstateError) as refusal:
        load_estate(_sharing(tmp_path, rest, grpc))
    assert (
        "akidb-rest and akidb-grpc would both scale with all of akidb_http_requests_total: set "
        "workloads.akidb-rest.matchers and workloads.akidb-grpc.matchers to what tells their requests apart"
    ) in str(refusal.value)


def test_workloads_with_one_counter_are_told_apart_by_their_matchers(tmp_path: Path) -> None:
    estate = load_estate(_sharing(tmp_path, 'service="rest"', 'service=~"grpc.*", api!="x"'))
    assert estate.matchers("us-east-1", "akidb-grpc") == (
        'region="us-east-1",namespace="akidb",service=~"grpc.*", api!="x"'
    )


def kept_slice(region: str) -> dict[str, Any]:
    """What a snapshot's record holds."""
    raw: dict[str, Any] = json.loads(json.dumps(load_estate().slice(region).model_dump(mode="json")))
    return raw


def test_a_slice_is_the_estate_of_one_region_and_survives_json() -> None:
    piece = load_estate().slice("eu-central-1")
    assert (piece.ordered_regions(), piece.canary_region) == (["eu-central-1"], "eu-central-1")
    assert Estate.from_slice(kept_slice("eu-central-1"), None) == piece
    with pytest.raises(EstateError, match="region 'mars' is not in the estate"):
        load_estate().slice("mars")


def test_a_slice_of_another_release_is_read_as_far_as_it_is_understood() -> None:
    raw = kept_slice("eu-central-1")
    raw["spot"]["forgotten"] = 1
    raw["forgotten"] = {"a": 1}
    del raw["windows"]["soak_seconds"]
    del raw["regions"]["eu-central-1"]["node_role"]
    raw["targets"]["p95_ms"] = -1
    raw["regions"]["eu-central-1"]["cluster"] = "as it was"
    read = Estate.from_slice(raw, load_estate())
    piece = load_estate().slice("eu-central-1")
    assert read.region("eu-central-1").cluster == "as it was"
    assert read.region("eu-central-1").node_role == piece.region("eu-central-1").node_role
    assert (read.windows, read.spot, read.targets) == (piece.windows, piece.spot, piece.targets)


def test_a_slice_that_nothing_can_complete_says_what_is_missing() -> None:
    raw = kept_slice("eu-central-1")
    del raw["spot"]
    with pytest.raises(EstateError, match="snapshot of eu-central-1: spot is missing"):
        Estate.from_slice(raw, None)


def test_a_slice_is_reached_by_the_connections_of_today() -> None:
    raw = kept_slice("eu-central-1")
    raw["regions"]["eu-central-1"]["connections"]["kubernetes"] = "of last year"
    today = Estate.from_slice(raw, load_estate()).region("eu-central-1").connections.kubernetes
    assert today == "kubernetes_eu_central_1"
    present = load_estate().slice("us-east-1")  # the region has left the estate: as it was is all there is
    assert Estate.from_slice(raw, present).region("eu-central-1").connections.kubernetes == "of last year"
