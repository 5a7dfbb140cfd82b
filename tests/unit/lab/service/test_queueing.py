"""The queue behind the plant: textbook values, and what the gates of the rehearsal rely on."""

from __future__ import annotations

import math

import pytest

from include.estate import load_estate
from lab.service.queueing import Load, load_of, wait_probability

ESTATE = load_estate()
REPLICA_QPS = ESTATE.traffic.replica_qps
REPLICAS = ESTATE.workloads["akidb-rest"].replicas
PEAK_QPS = max(ESTATE.traffic.weekday_qps) * ESTATE.demand_scale() / 2  # REST and gRPC take one half each
NOISE = (0.95, 1.0, 1.05)  # two and a half deviations of the plant's noise


def peak(replicas: int, factor: float = 1.0) -> Load:
    return load_of(PEAK_QPS * factor, replicas, REPLICA_QPS)


def test_erlang_c_textbook_values() -> None:
    assert wait_probability(1, 0.5) == 0.5  # M/M/1: the share that waits is the utilisation
    assert wait_probability(2, 1.0) == pytest.approx(1 / 3)
    assert wait_probability(3, 2.0) == pytest.approx(4 / 9)
    assert wait_probability(2, 0.0) == 0


@pytest.mark.parametrize("busy", [2.0, 2.5, -0.1])
def test_no_steady_state_is_refused(busy: float) -> None:
    with pytest.raises(ValueError, match="busy must be at least 0 and below the 2 servers"):
        wait_probability(2, busy)


def test_one_server_is_the_m_m_1_queue() -> None:
    load = Load(offered_qps=50, accepted_qps=50, servers=1, service_seconds=0.01, wait_probability=0.5)
    assert load.mean_seconds == pytest.approx(0.02)  # S / (1 - rho)
    assert load.share_within(0.02) == pytest.approx(1 - math.exp(-1))
    assert load.quantile_seconds(0.95) == pytest.approx(0.02 * math.log(20), abs=2e-6)


def test_the_formula_is_continuous_where_one_server_is_spare() -> None:
    shares = [
        Load(0, busy * 100, 2, 0.01, wait_probability(2, busy)).share_within(0.02) for busy in (0.999999, 1.0, 1.000001)
    ]
    assert shares[0] == pytest.approx(shares[1], abs=1e-5)
    assert shares[2] == pytest.approx(shares[1], abs=1e-5)
    assert shares[1] == pytest.approx(1 - math.exp(-2) * (1 + 2 / 3))


def test_all_replicas_at_the_peak() -> None:
    load = peak(REPLICAS)
    assert load.utilisation == pytest.approx(0.56)
    assert load.refused_qps == 0
    assert load.share_within(0.025) == pytest.approx(0.98741, abs=1e-5)
    assert load.quantile_seconds(0.95) * 1000 == pytest.approx(17.12, abs=0.01)
    assert load.mean_seconds * 1000 == pytest.approx(5.716, abs=0.001)


@pytest.mark.parametrize("factor", NOISE)
def test_all_replicas_pass_the_gate_for_certain(factor: float) -> None:
    load = peak(REPLICAS, factor)
    assert load.share_within(0.025) > 0.95
    assert load.quantile_seconds(0.95) < 0.025


@pytest.mark.parametrize("factor", NOISE)
def test_a_rolling_update_passes_the_gate_for_certain(factor: float) -> None:
    # maxUnavailable 25 % of 15 rounds up to 4
    load = peak(REPLICAS - math.ceil(REPLICAS * 0.25), factor)
    assert load.refused_qps == 0
    assert load.share_within(0.025) > 0.95
    assert load.quantile_seconds(0.95) < 0.025


@pytest.mark.parametrize("factor", NOISE)
def test_half_of_the_replicas_fail_the_gate_for_certain(factor: float) -> None:
    load = peak(REPLICAS // 2, factor)
    assert load.share_within(0.025) < 0.95
    assert load.share_within(0.05) < 0.95
    assert load.quantile_seconds(0.95) > 0.05
    assert load.refused_qps > 0


def test_overload_refuses_what_exceeds_the_capacity() -> None:
    load = load_of(2000, 2, 350)
    assert load.utilisation == pytest.approx(2000 / 700)
    assert load.accepted_qps == pytest.approx(700 - 1 / 0.25)  # one request fewer for each mean wait of 0.25 s
    assert load.refused_qps == pytest.approx(1304)
    assert load.mean_seconds == pytest.approx(0.25 * load.wait_probability + 2 / 350)


def test_without_replicas_all_is_refused() -> None:
    load = load_of(100, 0, 350)
    assert (load.accepted_qps, load.refused_qps, load.utilisation, load.mean_seconds) == (0, 100, 0, 0)
    assert load.share_within(10) == 0
    assert math.isnan(load.quantile_seconds(0.95))


def test_extra_latency_shifts_every_request() -> None:
    plain, slow = peak(REPLICAS), load_of(PEAK_QPS, REPLICAS, REPLICA_QPS, extra_seconds=0.08)
    assert slow.share_within(0.08) == 0
    assert slow.share_within(0.105) == pytest.approx(plain.share_within(0.025))
    assert slow.mean_seconds == pytest.approx(plain.mean_seconds + 0.08)
    assert slow.quantile_seconds(0.95) == pytest.approx(plain.quantile_seconds(0.95) + 0.08, abs=2e-6)


def test_no_load_is_the_bare_service_time() -> None:
    load = load_of(0, 15, 350)
    assert load.share_within(2 / 350) == pytest.approx(1 - math.exp(-1))
    assert load.mean_seconds == pytest.approx(2 / 350)
