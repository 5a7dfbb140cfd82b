"""The lab's router: shares by the HTTPRoute that stands, what each backend serves, and what the route's status says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from include.estate import load_estate
from lab.service.akidb_service import Plant
from lab.service.faults import ServiceFaults
from lab.service.gateway import gateway_status, timed
from lab.service.routing import Backends, Routes, mean_seconds, share_within
from tests.unit.lab.service.test_akidb_service import REGION, Steady, region, values

ESTATE = load_estate()
SERVICES = ("akidb-rest", "akidb-jetson", "akidb-lambda")
REST_QPS = 2940.0


def service(name: str) -> Any:
    return {"metadata": {"name": name}}


def route(generation: int = 1, **weights: int) -> Any:
    refs = [{"name": name.replace("_", "-"), "weight": weight} for name, weight in weights.items()]
    spec = {"parentRefs": [{"name": "akidb"}], "rules": [{"backendRefs": refs}]}
    return {"metadata": {"name": "akidb", "generation": generation}, "spec": spec}


def routes(*found: Any, accept: Any = lambda *_: None) -> Routes:
    made = Routes(ESTATE, accept)
    made.replace_services([service(name) for name in SERVICES])
    made.replace_routes(found)
    return made


# Whom requests go to --------------------------------------------------------------------------------------------------


def test_shares_are_in_proportion_to_the_weights_and_0_is_none() -> None:
    assert routes(route(akidb_rest=8504, akidb_jetson=1496, akidb_lambda=0)).shares() == {
        "akidb-rest": 0.8504, "akidb-jetson": 0.1496, "akidb-lambda": 0.0,
    }  # fmt: skip


def test_without_a_route_of_the_gateway_there_are_no_shares() -> None:
    assert routes().shares() == {}
    other = route(akidb_rest=1)
    other["spec"]["parentRefs"] = [{"name": "another"}]
    assert routes(other).shares() == {}
    going = route(akidb_rest=1)
    going["metadata"]["deletionTimestamp"] = "2027-01-15T08:00:00Z"
    assert routes(going).shares() == {}


def test_a_backend_that_does_not_exist_keeps_its_share_and_a_weight_left_out_is_1() -> None:
    found = routes(route(akidb_rest=1, nobody=1))
    assert found.shares() == {"akidb-rest": 0.5, "invalid": 0.5}
    bare = route(akidb_rest=1)
    bare["spec"]["rules"][0]["backendRefs"] = [{"name": "akidb-rest"}, {"name": "akidb-jetson", "weight": 3}]
    assert routes(bare).shares() == {"akidb-rest": 0.25, "akidb-jetson": 0.75}
    assert routes(route(akidb_rest=0)).shares() == {"invalid": 1.0}


def test_events_change_the_shares() -> None:
    made = routes()
    made.route_event("ADDED", route(akidb_rest=1))
    assert made.shares() == {"akidb-rest": 1.0}
    made.service_event("DELETED", service("akidb-rest"))
    assert made.shares() == {"invalid": 1.0}
    made.service_event("ADDED", service("akidb-rest"))
    made.route_event("DELETED", route(akidb_rest=1))
    assert made.shares() == {}


# What a gateway says --------------------------------------------------------------------------------------------------


def test_the_status_says_once_what_was_taken_and_which_service_is_missing() -> None:
    told: list[Any] = []

    def accept(name: str, parents: Any) -> None:
        told.append(
            (name, {c["type"]: (c["status"], c["reason"], c["observedGeneration"]) for c in parents[0]["conditions"]})
        )

    made = routes(accept=accept)
    made.route_event("ADDED", route(2, akidb_rest=1, nobody=1))
    assert told == [
        ("akidb", {"Accepted": ("True", "Accepted", 2), "ResolvedRefs": ("False", "BackendNotFound", 2)})
    ]  # fmt: skip
    made.service_event("ADDED", service("nobody"))
    assert told[-1][1]["ResolvedRefs"] == ("True", "ResolvedRefs", 2)
    stands = route(2, akidb_rest=1, nobody=1)
    stands["status"] = {"parents": timed(made._parents(stands))}
    count = len(told)
    made.route_event("MODIFIED", stands)
    assert len(told) == count


def test_a_gateway_is_programmed_once_for_each_generation() -> None:
    gateway: Any = {"metadata": {"name": "akidb", "generation": 3}}
    status = gateway_status(gateway)
    assert status is not None
    assert [(c["type"], c["status"], c["observedGeneration"]) for c in status["conditions"]] == [
        ("Accepted", "True", 3), ("Programmed", "True", 3),
    ]  # fmt: skip
    assert gateway_status({**gateway, "status": status}) is None
    assert gateway_status({"metadata": {"name": "akidb", "generation": 4}, "status": status}) is not None


# What is served -------------------------------------------------------------------------------------------------------


def test_modelled_backends_have_the_plans_p95() -> None:
    jetson, cloud = ESTATE.edge.routing.backends["jetson"], ESTATE.edge.routing.backends["lambda"]
    assert [round(share_within(jetson, ms), 3) for ms in (9, 18, 25)] == [0.5, 0.95, 0.992]
    assert round(share_within(cloud, 45), 3) == 0.95
    assert mean_seconds(jetson) == pytest.approx(0.00983, abs=1e-5)


def test_what_goes_elsewhere_is_counted_there_and_the_rest_is_left_for_the_pods() -> None:
    made = Backends(ESTATE, (0.025, 0.05), routes(route(akidb_rest=80, akidb_jetson=15, akidb_lambda=5)))
    assert made.left(10, 2000) == pytest.approx(1600)
    assert made.counters["jetson"].requests["200"] == pytest.approx(3000)
    assert made.counters["jetson"].buckets == pytest.approx([2976.8, 3000], abs=0.2)
    assert made.counters["lambda"].duration_count == pytest.approx(1000)


def test_a_backend_outside_serves_no_more_than_its_capacity() -> None:
    made = Backends(ESTATE, (0.025,), routes(route(akidb_jetson=1)))
    assert made.left(1, 1000) == 0
    assert {status: round(n) for status, n in made.counters["jetson"].requests.items() if n} == {"200": 550, "503": 450}


def test_the_share_of_a_backend_that_does_not_exist_fails_with_500() -> None:
    made = Backends(ESTATE, (0.025,), routes(route(akidb_rest=3, nobody=1)))
    assert made.left(10, 100) == pytest.approx(75)
    assert made.counters["invalid"].requests["500"] == pytest.approx(250)


# In the plant ---------------------------------------------------------------------------------------------------------


def plant(folder: Path, followed: Routes | None) -> Plant:
    regions = {REGION: region(15, 15)}
    faults = ServiceFaults(folder / "plant_faults.json", regions)
    made = Plant(ESTATE, regions, Steady(), faults, routes={REGION: followed} if followed else None)
    made.tick(1, 0)
    return made


def test_without_a_route_the_plants_series_are_as_without_a_router(tmp_path: Path) -> None:
    plain, followed = plant(tmp_path, None), plant(tmp_path, routes())
    for made in (plain, followed):
        made.tick(10, 1)
    assert followed.metrics() == plain.metrics()
    assert "akidb_backend" not in plain.metrics()


def test_with_a_route_each_backend_has_its_series_and_the_pods_serve_less(tmp_path: Path) -> None:
    made = plant(tmp_path, routes(route(akidb_rest=85, akidb_jetson=15)))
    made.tick(10, 1)
    found = values(made.metrics())
    labels = f'region="{REGION}",namespace="akidb"'
    of = {
        name: found[f'akidb_backend_requests_total{{{labels},backend="{name}",status="200"}}']
        for name in ("jetson", "on_demand", "spot")
    }
    assert of == pytest.approx({"jetson": REST_QPS * 1.5, "on_demand": REST_QPS * 8.5, "spot": 0})
    assert found[f'akidb_http_requests_total{{{labels},status="200"}}'] == pytest.approx(REST_QPS * 8.5)
    assert found[f'akidb_grpc_requests_total{{{labels},status="200"}}'] == pytest.approx(REST_QPS * 10)
    bucket = f'akidb_backend_request_duration_seconds_bucket{{{labels},backend="jetson",le="0.025"}}'
    assert found[bucket] == pytest.approx(REST_QPS * 1.5 * 0.99228, rel=1e-3)
    assert made.health()[1]["regions"][REGION]["routed"] == {"akidb-rest": 0.85, "akidb-jetson": 0.15}


def test_pods_on_spot_nodes_are_counted_apart(tmp_path: Path) -> None:
    regions = {REGION: region(15, 15)}
    spot = {"metadata": {"name": "n1", "labels": {"karpenter.sh/capacity-type": "spot"}}}
    regions[REGION].replace_nodes([spot])
    followed = {REGION: routes(route(akidb_rest=1))}
    made = Plant(ESTATE, regions, Steady(), ServiceFaults(tmp_path / "plant_faults.json", regions), routes=followed)
    made.tick(1, 0)
    made.tick(10, 1)
    found = values(made.metrics())
    labels = f'region="{REGION}",namespace="akidb"'
    assert found[f'akidb_backend_requests_total{{{labels},backend="spot",status="200"}}'] == pytest.approx(
        REST_QPS * 10
    )
    assert found[f'akidb_backend_requests_total{{{labels},backend="on_demand",status="200"}}'] == 0
