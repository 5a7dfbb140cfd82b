"""Requests asked and served, counted from the plant's series."""

from __future__ import annotations

from include.estate import load_estate
from lab.rehearsal import served
from lab.rehearsal.served import Moment, Served

ESTATE = load_estate()
AP, US = "ap-northeast-1", "us-east-1"
TEXT = f"""# TYPE akidb_http_requests_total counter
akidb_http_requests_total{{region="{AP}",namespace="akidb",status="200"}} 990.000000
akidb_http_requests_total{{region="{AP}",namespace="akidb",status="503"}} 10.000000
akidb_grpc_requests_total{{region="{AP}",namespace="akidb",status="200"}} 1000.000000
akidb_grpc_requests_total{{region="{US}",namespace="akidb",status="200"}} 7.000000
akidb_http_request_duration_seconds_bucket{{region="{AP}",le="+Inf"}} 1000.0
"""


def routed(backend: str, status: str, count: float) -> str:
    routing = ESTATE.edge.routing
    labels = f'region="{AP}",namespace="akidb",{routing.backend_label}="{backend}",status="{status}"'
    return f"{routing.requests_metric}{{{labels}}} {count:.6f}\n"


def test_both_protocols_count_and_only_status_200_is_served() -> None:
    assert served.counted(TEXT, ESTATE) == {AP: Served(2000.0, 1990.0), US: Served(7.0, 7.0)}


def test_what_a_route_sends_out_of_the_cluster_counts_and_what_it_sends_to_pods_does_not_count_twice() -> None:
    text = TEXT + routed("jetson", "200", 50) + routed("lambda", "503", 2) + routed("spot", "200", 400)
    assert served.counted(text, ESTATE)[AP] == Served(2052.0, 2040.0)


def test_availability_is_of_what_came_between_two_moments_by_region_and_of_the_estate() -> None:
    before = Moment(0.0, {AP: Served(100.0, 100.0)})
    after = Moment(60.0, {AP: Served(1100.0, 1099.0), US: Served(1000.0, 1000.0)})
    assert served.report(served.availability(before, after)) == {
        AP: {"asked": 1000.0, "served": 999.0, "ratio": 0.999},
        US: {"asked": 1000.0, "served": 1000.0, "ratio": 1.0},
        "estate": {"asked": 2000.0, "served": 1999.0, "ratio": 0.9995},
    }


def test_without_requests_there_is_no_ratio() -> None:
    assert served.report({"estate": Served()}) == {"estate": {"asked": 0.0, "served": 0.0, "ratio": None}}
