"""The weekly proposal of new bounds: its figures, and what keeps the bounds as they are."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from include.levers.right_sizing.recommendation import DAY, Bounds, ContainerUse, Requests, Samples
from include.levers.right_sizing.tune import (
    Observed,
    Offer,
    estate_part,
    next_steps,
    propose,
    share_above,
    text_of,
    to_record,
    usd_month,
)

NOW = 1_764_417_600.0
GIB, MIB = 2**30, 2**20
BEFORE = Bounds(Requests(250, 512 * MIB), Requests(2000, 8 * GIB))
WHEN = "2025-11-29T12:00:00+00:00"
OFFERS = (Offer(4, 8, 0.145), Offer(4, 16, 0.16))


def steady(cpu: float, memory: float) -> ContainerUse:
    times = np.arange(NOW - 7 * DAY, NOW, 300)
    return ContainerUse(Samples(times, np.full(len(times), cpu)), Samples(times, np.full(len(times), memory)))


def observed(cpu: float = 0.5, memory: float = 1.2 * GIB, **changes: Any) -> Observed:
    """Ten pods that request 1 CPU and 2 GiB."""
    one = Observed(
        region="tokyo",
        workload="akidb-rest",
        container="main",
        pods=10,
        requests=Requests(1000, 2 * GIB),
        use=(steady(cpu, memory),) * 10,
        now=NOW,
        throttled=0.01,
        offers=OFFERS,
    )
    return dataclasses.replace(one, **changes)


def test_the_least_is_the_quietest_regions_lower_bound_and_the_most_the_busiest_ones_upper() -> None:
    found = propose([observed(0.5), observed(0.3, GIB, region="virginia")], BEFORE, 0.05)
    # 0.3 cores: bucket 18 ends at 0.3054: 350m, of which a week leaves 349m; 0.5 cores widen up to 670m.
    assert found.after.min_allowed.cpu_millicores == 350
    assert found.after.max_allowed.cpu_millicores == 670
    assert found.changes


def test_what_it_comes_to_is_said_for_each_region_in_dollars_a_month() -> None:
    (effect,) = propose([observed()], BEFORE, 0.05).effects
    assert effect.requests_before == Requests(1000, 2 * GIB)
    assert effect.requests_after.cpu_millicores == 590
    # 2 GiB of 16 are more than 1 of 4 CPU only on the smaller machine: 0.25 x 0.145 x 10 x 730.
    assert effect.usd_month_before == 264.62
    assert effect.usd_month_after is not None
    assert effect.usd_month_after < effect.usd_month_before
    assert (effect.cpu_above, effect.memory_above) == (0, 0)


def test_an_autoscaled_pod_keeps_the_cpu_that_its_target_takes() -> None:
    found = propose([observed(cpu_floor=950)], BEFORE, 0.05)
    assert found.after.min_allowed.cpu_millicores == 950
    assert found.effects[0].requests_after.cpu_millicores == 950


def test_an_oom_kill_raises_the_least_memory_above_what_the_container_had() -> None:
    found = propose([observed(oom_kills=2)], BEFORE, 0.05)
    assert found.after.min_allowed.memory_bytes == 2464 * MIB  # 1.2 x 2 GiB, rounded up to 16 MiB
    assert "tokyo: 2 OOM kill(s): least memory a fifth above what it had" in found.reasons


def test_throttling_forbids_a_lower_cpu_request() -> None:
    found = propose([observed(throttled=0.2)], BEFORE, 0.05)
    assert found.after.min_allowed.cpu_millicores == 1000
    assert "tokyo: throttled in 20.0% of periods: least CPU is not lowered" in found.reasons


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"missing": ("2025-11-24",)}, "tokyo: akidb-rest has too little history on 2025-11-24: wait for these days"),
        ({"use": ()}, "tokyo: akidb-rest has no use on record: check that it runs and that cAdvisor is scraped"),
        (
            {"cpu_floor": None},
            "tokyo: akidb-rest is autoscaled, and no VPA has a least CPU of its own for it: "
            "run day 4 first, or unpin it",
        ),
        (
            {"throttled": None},
            "tokyo: akidb-rest has no CFS periods on record: check container_cpu_cfs_periods_total",
        ),
    ],
)
def test_what_is_not_known_changes_nothing(changes: dict[str, Any], reason: str) -> None:
    found = propose([observed(), observed(**changes)], BEFORE, 0.05)
    assert (found.changes, found.reasons, found.effects) == (False, (reason,), ())


def test_bounds_that_would_hardly_move_stay() -> None:
    first = propose([observed()], BEFORE, 0.05)
    again = propose([observed(0.505)], first.after, 0.05)
    assert again.after == first.after
    assert not again.changes


def test_a_share_above_the_request_is_of_all_samples() -> None:
    use = [steady(0.5, GIB), steady(1.5, 3 * GIB)]
    assert share_above(use, Requests(1000, 2 * GIB)) == (0.5, 0.5)
    assert share_above([], Requests(1000, 2 * GIB)) == (0, 0)


def test_dollars_without_an_offer_are_not_known() -> None:
    assert usd_month(Requests(1000, GIB), 10, ()) is None


def test_a_record_names_what_of_the_estate_it_replaces_and_its_hash_follows_its_figures() -> None:
    proposals = [propose([observed()], BEFORE, 0.05), propose([observed(missing=("2025-11-24",))], BEFORE, 0.05)]
    record = to_record(proposals, WHEN)
    assert list(estate_part(record)) == ["akidb-rest"]
    part = estate_part(record)["akidb-rest"]
    assert (part["least"]["cpu"], part["most"]["cpu"]) == ("590m", "670m")
    assert record["hash"] == to_record(proposals, WHEN)["hash"]
    assert record["hash"] != to_record(proposals[:1], WHEN)["hash"]


def test_the_text_says_what_changes_what_stays_and_what_it_costs() -> None:
    kept = propose([observed(missing=("2025-11-24",), workload="akidb-grpc")], BEFORE, 0.05)
    text = text_of(to_record([propose([observed()], BEFORE, 0.05), kept], WHEN))
    assert "- akidb-rest: least 250m and 512Mi -> 590m and" in text
    assert "- akidb-grpc: stays as it is. tokyo: akidb-grpc has too little history on 2025-11-24" in text
    assert "| akidb-rest | tokyo | 10 | 1000m and 2048Mi | 590m and" in text
    assert "| 0.0% / 0.0% | 0 | 1.0% |" in text


def test_the_next_steps_are_an_entry_in_the_estate_and_a_run_of_day_4() -> None:
    text = next_steps(to_record([propose([observed()], BEFORE, 0.05)], WHEN), ["tokyo"])
    assert text == (
        "1. In estate.yaml replace these entries:\n"
        "    right_sizing:\n"
        "      bounds:\n"
        "        akidb-rest:\n"
        "          least:\n"
        "            cpu: 590m\n"
        "            memory: 1488Mi\n"
        "          most:\n"
        "            cpu: 670m\n"
        "            memory: 1696Mi\n"
        "2. Trigger day 4; its plan shows the difference once more and waits for an approval of its own:\n"
        '    airflow dags trigger day4_right_sizing --conf \'{"regions": ["tokyo"], "dry_run": false}\''
    )
