"""A storm's share and moments, from prices by exact values."""

from __future__ import annotations

from pathlib import Path

from lab.rehearsal import storm
from lab.rehearsal.storm import MADE_UP, Storm

HEAD = "az_id,instance_type,price_usd_hour,timestamp"


def event(zone: str, pool: str, usd: str, clock: str) -> str:
    return f"{zone},{pool},{usd},2022-05-31T{clock}:00+00:00"


LINES = [
    HEAD,
    event("use1-az1", "a", "0.10", "08:00"),
    event("use1-az1", "a", "0.20", "10:00"),
    event("use1-az1", "b", "0.10", "08:00"),
    event("use1-az1", "b", "0.30", "10:30"),
    event("use1-az2", "a", "0.10", "08:00"),
    event("use1-az2", "a", "0.05", "10:10"),
    event("use1-az2", "b", "0.10", "08:00"),
    event("use1-az2", "b", "0.20", "14:00"),
    event("euc1-az1", "a", "9.99", "10:00"),
]


def test_the_storm_is_the_hour_in_which_most_pools_of_the_region_rose() -> None:
    events = storm.events_of(LINES, "use1")
    assert len(events) == 8
    assert storm.storm_of(events, "a day") == Storm(0.5, (0.0, 0.5), "a day")


def test_a_quiet_day_is_made_up_and_a_mild_one_is_felt_all_the_same() -> None:
    quiet = storm.events_of([HEAD, LINES[1], event("use1-az1", "a", "0.05", "10:00")], "use1")
    assert storm.storm_of(quiet, "a day") == MADE_UP
    pools = [event("use1-az3", str(n), "0.1", "08:00") for n in range(18)]
    assert storm.storm_of(storm.events_of([*LINES, *pools], "use1"), "a day").share == 0.3


def test_nodes_get_their_notices_at_the_hours_moments_in_the_labs_seconds() -> None:
    found = Storm(0.5, (0.0, 0.2, 1.0), "a day")
    assert found.notices(["d", "c", "b", "a"], seconds=20) == [(0.0, "a"), (20.0, "b")]
    assert found.notices(["a"], seconds=20) == [(0.0, "a")]
    assert found.notices([]) == []


def test_without_the_file_or_for_a_region_that_it_does_not_name_the_storm_is_made_up(tmp_path: Path) -> None:
    assert storm.storm_in("us-east-1", tmp_path / "absent.csv.gz") == MADE_UP
    assert storm.storm_in("us-west-9") == MADE_UP
