"""What the spot lever's gates and report say, from Prometheus, pods and nodes."""

from __future__ import annotations

import math

import pytest

from include.clients.prometheus import Series
from include.levers.pods import pending_seconds, unix
from include.rollout.gates import Figure, Outcome, judge_all
from tests.unit.levers.spot_steps import LEVER, apply_all, observed, stage_of
from tests.unit.levers.spot_world import NOW, REGION, World, made_pod


@pytest.fixture
def world() -> World:
    return World()


def test_every_gate_of_every_stage_has_its_figure(world: World) -> None:
    world.prometheus.spot_nodes_of_the_day = ("n1", "n2")
    drill = {"cordon_s": 0.3, "node": "n1", "drill_id": "x", "evicted_from": []}
    for stage in LEVER.plan(world.target).stages:
        results = judge_all(stage.gates, LEVER.observe(world.target, stage, 20, {"started_at": NOW - 60, **drill}))
        assert [r.outcome for r in results] == [Outcome.PASS] * len(stage.gates)
    assert {gate.name for gate in stage_of(world, "interruption_drill").gates} - {
        gate.name for gate in stage_of(world, "step_1").gates
    } == {"cordon_seconds"}


def test_no_data_is_no_figure(world: World) -> None:
    world.prometheus.up = ()
    world.prometheus.requests = None
    world.prometheus.buckets = None
    figures = observed(world, "interruption_drill")
    absent = {name for name, figure in figures.items() if figure is None}
    assert absent == set(figures) - {"pods_pending_too_long", "zones"}  # those are read from the API server


def test_a_spot_share_of_nothing_has_no_interruption_rate(world: World) -> None:
    assert observed(world)["interruption_rate_24h"] is None


def test_the_first_notice_of_all_counts(world: World) -> None:
    world.prometheus.notices = ((NOW - 10, 1.0), (NOW, 1.0))
    world.prometheus.spot_nodes_of_the_day = tuple(f"n{n}" for n in range(10))
    figures = observed(world)
    assert figures["unplanned_notices"] == Figure(
        1, "notices", 3, "karpenter_interruption_received_messages_total", "1 unplanned", coverage=1.0
    )
    rate = figures["interruption_rate_24h"]
    assert rate is not None
    assert (rate.value, rate.samples) == (0.1, 10)


def test_a_drill_is_shown_and_not_counted(world: World) -> None:
    for slot in ("step_1", "step_2", "step_3", "interruption_drill"):
        LEVER.apply(world.target, stage_of(world, slot))
    world.prometheus.notices = ((NOW - 20, 3.0), (NOW, 5.0))
    notices = observed(world, "old_node_group")["unplanned_notices"]
    assert notices is not None
    assert (notices.value, notices.note) == (1, "1 unplanned, 1 drill notice not counted")


def test_errors_and_availability(world: World) -> None:
    world.prometheus.errors = 4.0
    world.prometheus.failing_slots = {NOW - 6: 4.0, NOW: 10.0}
    figures = observed(world)
    errors, availability = figures["error_ratio"], figures["availability"]
    assert errors == Figure(0.004, "ratio", 2000, "requests by status", "8 of 2000 requests in 60 s", coverage=1.0)
    # Ten slots of six seconds with 100 requests each; ten errors are a tenth of the last one.
    assert availability is not None
    assert (availability.value, availability.samples) == (0.9, 10)
    assert availability.note == "1 of 10 slots of 6 s with 5% errors or more"


@pytest.mark.parametrize(("minutes", "share", "outcome"), [(3, 0.1, "unknown"), (26, 26 / 30, "unknown"),
                                                           (27, 0.9, "pass"), (30, 1.0, "pass")])  # fmt: skip
def test_a_window_without_samples_for_most_of_it_is_unknown(
    world: World, minutes: int, share: float, outcome: str
) -> None:
    """Prometheus was away for the rest of the half hour; what it has seen since is spotless."""
    whole = world.prometheus.query_range

    def seen_since(expression: str, start: float, end: float, step: float) -> list[Series]:
        series = whole(expression, start, end, step)
        return [Series(s.labels, tuple(p for p in s.points if p[0] > NOW - minutes * 60)) for s in series]

    world.prometheus.query_range = seen_since  # type: ignore[method-assign]
    world.prometheus.up = tuple((NOW - n * 30, 1.0) for n in range(2 * minutes - 2, -1, -1))
    world.prometheus.spot_nodes_of_the_day = ("n1", "n2")
    stage = stage_of(world, "step_1")
    figures = LEVER.observe(world.target, stage, 1800, {"started_at": NOW - 1800})
    results = {r.gate.name: r for r in judge_all(stage.gates, figures)}
    coverage = {name: f.coverage for name, f in figures.items() if f is not None and f.coverage is not None}
    over_time = {"unplanned_notices", "interruption_rate_24h", "p95_ms", "p95_ms_grpc", "error_ratio", "availability"}
    assert coverage == {name: pytest.approx(share) for name in over_time}
    assert {results[name].outcome.value for name in coverage} == {outcome}


def test_the_time_before_the_first_write_thins_nothing_out(world: World) -> None:
    """A window longer than the stage begins where the stage begins; the whole stage counts for the errors."""
    asked: list[str] = []
    value = world.prometheus.value
    world.prometheus.value = lambda expression: (asked.append(expression), value(expression))[1]  # type: ignore[method-assign]
    LEVER.observe(world.target, stage_of(world, "step_1"), 1800, {"started_at": NOW - 60})
    assert {part.split("s]")[0] for expression in asked for part in expression.split("[")[1:]} == {"60"}
    asked.clear()
    LEVER.observe(world.target, stage_of(world, "step_1"), 60, {"started_at": NOW - 1800})
    assert {part.split("s]")[0] for expression in asked for part in expression.split("[")[1:]} == {"1800"}


def test_latency_says_how_sure_it_is(world: World) -> None:
    world.prometheus.buckets = {0.025: 900.0, 0.05: 1000.0, math.inf: 1000.0}
    figure = observed(world)["p95_ms"]
    assert figure is not None
    assert (round(figure.value, 2), figure.samples) == (37.5, 1000)
    assert figure.note == "interpolated between 25 and 50 ms: there is no edge at 30 ms"


def test_pods_that_waited_too_long_count_also_when_they_run_now(world: World) -> None:
    late = made_pod("late", "akidb-rest", "akidb", "i-1", created="2027-01-15T07:58:40Z")  # 70 s, as STAMP says
    world.cluster.put(late)
    figure = observed(world)["pods_pending_too_long"]
    assert figure == Figure(1, "pods", 31, "conditions of the pods", "longest wait for a node 70 s")


def test_pending_seconds_of_waiting_placed_and_old_pods() -> None:
    now = unix("2027-01-15T08:00:00Z")
    waiting = made_pod("w", "a", "n", "", created="2027-01-15T07:59:00Z")
    placed = made_pod("p", "a", "n", "x", created="2027-01-15T07:59:20Z")
    assert pending_seconds([waiting, placed], now, now - 60) == [60.0, 30.0]
    assert pending_seconds([placed], now, now - 5) == []


def test_evidence_before_and_after(world: World) -> None:
    before = LEVER.evidence(world.target)
    assert before["nodes_by_kind"] == {"group akidb-on-demand: c7g.2xlarge on-demand": 5}
    assert (before["nodes"], before["spot_share_pods"], before["spot_share_vcpu"]) == (5, 0.0, 0.0)
    assert before["usd_hour"] == pytest.approx(5 * 0.29 * 1.27)
    assert (before["error_ratio"], before["p95_ms"]) == (0.0, pytest.approx(23.78, abs=0.01))
    apply_all(world)
    after = LEVER.evidence(world.target)
    assert after["nodes_by_kind"] == {
        "group akidb-on-demand: c7g.2xlarge on-demand": 2,
        "pool akidb-on-demand: c6g.xlarge on-demand": 2,
        "pool akidb-spot: c6g.xlarge spot": 6,
    }
    assert after["usd_hour"] == pytest.approx(2 * 0.29 * 1.27 + 2 * 0.136 * 1.27 + 6 * 0.1)


def test_a_node_without_a_price_leaves_the_cost_unknown(world: World) -> None:
    LEVER.apply(world.target, stage_of(world, "step_1"))
    world.aws.spot_price = ""
    evidence = LEVER.evidence(world.target)
    assert evidence["usd_hour"] is None
    assert evidence["usd_hour_unknown"] == [f"d1-akidb-spot-{n} (c6g.xlarge spot in {REGION}a)" for n in (1, 2)]
