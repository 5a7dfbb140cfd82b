"""Which nodes a storm hits and when, and what a drill's timeline says: pure."""

from __future__ import annotations

import gzip
from dataclasses import replace
from pathlib import Path

import pytest

from include.levers.game_day.storm import COLUMNS, HistoryError, Hit, PriceEvent, read_events, scarce, storm
from include.levers.game_day.timeline import Sample, least_ready, on_record, recovered_after, stop_reason
from include.levers.node_costs import NodeFact

DATA = Path(__file__).parents[4] / "shared" / "data" / "ec2" / "spot_price_events_2022-05-31_linux.csv.gz"


def spot(name: str, kind: str = "c7g.xlarge", zone: str = "ap-northeast-1a", capacity: str = "spot") -> NodeFact:
    return NodeFact(name, kind, zone, capacity, 4, None, "akidb-spot", None)


def event(at: float, price: float, kind: str = "c7g.xlarge", zone: str = "apne1-az1") -> PriceEvent:
    return PriceEvent(at, zone, kind, price)


def test_capacity_is_short_when_a_price_rises_by_more_than_two_per_cent_or_begins_above_its_types_median() -> None:
    rises = [event(0, 1.0), event(10, 1.02), event(20, 1.05), event(30, 1.0), event(40, 2.0, zone="apne1-az2")]
    assert scarce(rises) == [event(20, 1.05), event(40, 2.0, zone="apne1-az2")]


def test_a_node_is_hit_when_the_price_of_its_type_and_zone_jumps_and_another_of_its_family_after() -> None:
    nodes = [spot("a", "c7g.xlarge"), spot("b", "c7g.2xlarge"), spot("c", "m7g.large"), spot("d", capacity="on-demand")]
    events = [event(0, 1.0), event(50, 2.0), event(100, 3.0)]
    assert storm(events, nodes, 1.0, 90) == [
        Hit(0.0, "a", "c7g.xlarge rose in apne1-az1"),
        Hit(0.0, "b", "c7g.xlarge rose in apne1-az1"),
        Hit(0.0, "c", "wave 1"),
    ]


def test_the_history_is_compressed_into_the_storms_length() -> None:
    nodes = [spot("a"), spot("b"), spot("c")]
    events = [event(0, 1.0), event(100, 1.9), event(150, 2.0), event(300, 3.0)]
    assert [(hit.after, hit.node) for hit in storm(events, nodes, 1.0, 60)] == [(0.0, "a"), (15.0, "b"), (60.0, "c")]


def test_no_more_than_the_share_is_hit_rounded_up() -> None:
    nodes = [spot(f"n{n}") for n in range(5)]
    assert len(storm([], nodes, 0.5, 60)) == 3
    assert storm([], [spot("d", capacity="on-demand")], 1.0, 60) == []


def test_without_a_history_there_are_three_waves_the_same_at_every_call() -> None:
    nodes = [spot(f"n{n}") for n in range(6)]
    found = storm([], nodes, 1.0, 90)
    assert [(hit.after, hit.why) for hit in found] == [
        (0.0, "wave 1"), (0.0, "wave 1"), (30.0, "wave 2"), (30.0, "wave 2"), (60.0, "wave 3"), (60.0, "wave 3"),
    ]  # fmt: skip
    assert storm([], list(reversed(nodes)), 1.0, 90) == found
    assert {hit.node for hit in found} == {node.name for node in nodes}


def test_a_history_is_read_plain_or_packed_and_sorted(tmp_path: Path) -> None:
    text = f"{','.join(COLUMNS)}\napne1-az1,c7g.xlarge,0.5,2022-05-31T20:00:10+00:00\n"
    text += "apne1-az2,c7g.xlarge,0.4,2022-05-31T20:00:00+00:00\n"
    plain, packed = tmp_path / "events.csv", tmp_path / "events.csv.gz"
    plain.write_text(text)
    packed.write_bytes(gzip.compress(text.encode()))
    assert read_events(plain) == read_events(packed)
    assert [(found.zone, found.usd_hour) for found in read_events(plain)] == [("apne1-az2", 0.4), ("apne1-az1", 0.5)]


@pytest.mark.parametrize("text", ["a,b\n1,2\n", "az_id,instance_type,price_usd_hour,timestamp\nx,y,much,2022\n"])
def test_a_history_that_can_not_be_read_is_refused_with_its_name_and_columns(tmp_path: Path, text: str) -> None:
    path = tmp_path / "events.csv"
    path.write_text(text)
    with pytest.raises(HistoryError, match=rf"^price_history {path}: .*give a CSV file with the columns az_id, inst"):
        read_events(path)
    with pytest.raises(HistoryError, match="FileNotFoundError"):
        read_events(tmp_path / "none.csv")


@pytest.mark.parametrize(
    "data",
    [
        gzip.compress(b"az_id,instance_type\n" * 99)[:-9],
        gzip.compress(b"az_id,instance_type\n" * 99).replace(b"\x00\x03", b"\x00\x03\xff\xff", 1),
        gzip.compress(f"{','.join(COLUMNS)}\nx,y,nan,2022-05-31T20:00:00+00:00\n".encode()),
        gzip.compress(f"{','.join(COLUMNS)}\nx,{'y' * 200_000},1,2022-05-31T20:00:00+00:00\n".encode()),
    ],
    ids=["cut off", "damaged", "NaN", "too long a field"],
)
def test_a_packed_history_that_is_damaged_is_refused_too(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "events.csv.gz"
    path.write_bytes(data)
    with pytest.raises(HistoryError, match=rf"^price_history {path}: "):
        read_events(path)


def test_a_time_without_a_zone_is_utc_and_lines_may_end_as_windows_ends_them(tmp_path: Path) -> None:
    path = tmp_path / "events.csv"
    path.write_bytes(f"{','.join(COLUMNS)}\r\napne1-az1,c7g.xlarge,0.5,2022-05-31 20:00:10\r\n".encode())
    assert [(found.at, found.usd_hour) for found in read_events(path)] == [(1654027210.0, 0.5)]


@pytest.mark.skipif(not DATA.exists(), reason="the real price history is not here (../shared/data/ec2)")
def test_the_real_evening_of_2022_hits_nodes_over_the_whole_storm() -> None:
    pools = [(kind, zone) for kind in ("c6g.xlarge", "m6g.xlarge", "c5.xlarge") for zone in "acd"]
    nodes = [spot(f"n{n}", kind, f"ap-northeast-1{zone}") for n, (kind, zone) in enumerate(pools)]
    found = storm(read_events(DATA), nodes, 1.0, 120)
    assert len(found) == len(nodes)
    assert all("rose in" in hit.why for hit in found)
    assert 0 <= found[0].after <= found[-1].after <= 120


WELL = Sample(at=0, nodes=5, spot_nodes=0, ready=30, wanted=30, waiting=0)


def test_recovery_is_the_first_look_after_which_all_stays_well() -> None:
    ill = replace(WELL, ready=20)
    looks = [replace(one, at=at) for at, one in ((0, WELL), (10, ill), (20, WELL), (30, ill), (45, WELL), (60, WELL))]
    assert recovered_after(looks, 5) == 40.0
    assert recovered_after(looks[:4], 5) is None
    assert recovered_after(looks[:1], 5) == 0.0


def test_what_is_still_missing_or_waits_is_not_well() -> None:
    assert WELL.well
    assert not replace(WELL, waiting=1).well
    assert not replace(WELL, missing=("2 pods are still on a",)).well


def test_the_least_share_of_ready_pods() -> None:
    assert least_ready([WELL, replace(WELL, ready=24), replace(WELL, ready=33)]) == 0.8
    assert replace(WELL, ready=0, wanted=0).ready_share == 1.0


def test_the_stop_condition_says_what_it_saw() -> None:
    assert stop_reason(replace(WELL, ready=15), 0.5) is None
    assert stop_reason(replace(WELL, at=12.4, ready=14), 0.5) == (
        "stop condition met 12 s after the drill began: 14 of 30 pods are ready, less than 50%"
    )


def test_a_long_timeline_keeps_240_looks_with_its_first_and_last() -> None:
    kept = on_record([replace(WELL, at=float(at)) for at in range(1000)])
    assert (len(kept), kept[0]["at"], kept[-1]["at"]) == (240, 0.0, 999.0)
    assert on_record([WELL]) == [WELL.to_json()]
