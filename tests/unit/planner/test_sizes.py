import numpy as np
import pytest

from include.estate import load_estate
from include.planner.sizes import Size, cores_per_qps, requested, right_sized
from include.planner.traffic import planned

ESTATE = load_estate()
HALF = planned(ESTATE).of_minutes()[0] / 2


def test_before_a_pod_requests_what_the_estate_says():
    assert requested(ESTATE.workloads["akidb-rest"]) == Size(1000, 2 * 2**30)


def test_a_request_a_second_takes_the_peaks_cpu_by_the_peaks_requests_of_a_pod():
    assert cores_per_qps(ESTATE, "akidb-rest") == pytest.approx(0.6 / 196)


def test_an_autoscaled_pod_gets_what_its_target_takes_and_the_margin():
    # As rehearsed: 0.99 CPU and 1.45 Gi (docs/measurements.md).
    replicas = np.maximum(2, np.ceil(HALF / 280))
    assert right_sized(ESTATE, "akidb-rest", HALF, replicas, scaled=True) == Size(990, 1555165137)


def test_a_pod_of_fixed_replicas_gets_the_percentile_of_its_use():
    found = right_sized(ESTATE, "akidb-rest", HALF, np.full(len(HALF), 15.0), scaled=False)
    assert found == Size(716, 1555165137)
