"""Who serves a viewer in a price class, how far that is, and what probes make of the model."""

from __future__ import annotations

from pathlib import Path

import pytest

from include.levers.cdn_price_class import latency
from include.levers.cdn_price_class.latency import ALL, CLASS_100, CLASS_200, EdgeTableError, UnknownCountryError

SHARED = Path(__file__).parents[3] / "../shared/data/ec2/cloudfront_edge_locations.csv"
HEAD = "code,city,country_code,latitude,longitude,pricing_region\n"


@pytest.mark.parametrize(
    ("country", "every", "two_hundred", "hundred"),
    [
        ("US", "EWR", "EWR", "EWR"),
        ("DE", "TXL", "TXL", "TXL"),
        ("JP", "NRT", "NRT", "YVR"),
        ("SG", "SIN", "SIN", "TLV"),
        ("IN", "CCU", "CCU", "TLV"),
        ("AU", "SYD", "CGK", "SFO"),
        ("BR", "GRU", "CPT", "MIA"),
        ("ZA", "JNB", "JNB", "TLV"),
        ("TR", "IST", "IST", "OTP"),  # priced as Europe, and still not in class 100
        ("IL", "TLV", "TLV", "TLV"),
    ],
)
def test_a_country_is_served_from_the_nearest_edge_that_its_class_has(
    country: str, every: str, two_hundred: str, hundred: str
) -> None:
    found = [latency.served(country, name).edge.code for name in (ALL, CLASS_200, CLASS_100)]
    assert found == [every, two_hundred, hundred]


def test_a_class_has_the_price_regions_that_aws_names() -> None:
    regions = {
        name: {edge.price_region for edge in latency.allowed(latency.edges(), name)} for name in (ALL, CLASS_200)
    }
    assert regions[ALL] - regions[CLASS_200] == {"south_america", "australia"}
    assert {edge.price_region for edge in latency.allowed(latency.edges(), CLASS_100)} == {"north_america", "europe"}
    assert regions[ALL] == set(latency.PRICE_REGIONS)


def test_a_distance_is_the_great_circle_and_a_km_takes_15_us() -> None:
    assert latency.km_between((0, 0), (0, 180)) == pytest.approx(20015.09, abs=0.01)
    assert latency.km_between((51.48, 0), (51.48, 0)) == 0
    assert latency.km_between((35.76, 140.39), (49.19, -123.18)) == pytest.approx(7504.0, abs=0.1)  # Tokyo to Vancouver
    served = latency.served("JP", CLASS_100)
    assert latency.p95_ms("jp", CLASS_100) == served.p95_ms == pytest.approx(10 + served.km * 0.015)
    assert round(latency.p95_ms("JP", CLASS_100), 1) == 123.3
    assert round(latency.p95_ms("JP", ALL), 1) == 10.9


def test_what_was_measured_counts_and_the_model_adds_the_difference() -> None:
    further = (latency.served("JP", CLASS_100).km - latency.served("JP", ALL).km) * latency.MS_PER_KM
    assert latency.calibrated("JP", ALL, ALL, {"JP": 17.5}) == 17.5
    assert latency.calibrated("JP", CLASS_100, ALL, {"JP": 17.5}) == pytest.approx(17.5 + further)
    assert latency.calibrated("KR", ALL, ALL, {"JP": 17.5, "apac": 20.0}) == 20.0  # no probe of its own
    assert latency.calibrated("KR", ALL, ALL, {"eu": 12.0}) == latency.p95_ms("KR", ALL)
    assert latency.calibrated("JP", ALL, CLASS_100, {"JP": 130.0}) == pytest.approx(130.0 - further)


def test_every_iso_country_has_a_place_and_a_part_of_the_world() -> None:
    known = latency.countries()
    assert len(known) == 250
    parts = {"us", "eu", "apac", "india", "south_america", "middle_east", "africa"}
    assert {country.part for country in known.values()} == parts
    assert all(-90 <= one.at[0] <= 90 and -180 <= one.at[1] <= 180 for one in known.values())
    with pytest.raises(UnknownCountryError, match=r"country 'ZZ' is no ISO 3166-1 code of two letters"):
        latency.p95_ms("ZZ", ALL)


def test_a_table_of_others_is_read_without_what_contradicts_itself(tmp_path: Path) -> None:
    table = tmp_path / "edges.csv"
    rows = [
        'FRA,Frankfurt,DE,50.0,8.6,"Europe"',
        'BLA,Barcelona,VE,10.1,-64.7,"Europe"',  # the coordinates of another Barcelona
        'PVG,Shanghai,CN,31.1,121.8,"China"',
        'HKG,Hong Kong,CN,22.3,113.9,"China"',
        'ICN,Seoul,KR,37.5,126.5,""',
    ]
    table.write_text("\ufeff" + HEAD + "\n".join(rows) + "\n", encoding="utf-8")
    found = {edge.code: (edge.country, edge.price_region) for edge in latency.edges(table)}
    assert found == {"FRA": ("DE", "europe"), "HKG": ("HK", "asia_pacific"), "ICN": ("KR", "asia_pacific")}
    assert latency.served("JP", CLASS_100, latency.edges(table)).edge.code == "FRA"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (HEAD + "FRA,Frankfurt,DE,north,8.6,Europe\n", "edges.csv line 2: ValueError could not convert"),
        (HEAD, "no edge city in it"),
        ("code,city\nFRA,Frankfurt\n", "edges.csv line 2: KeyError 'country_code'"),
    ],
)
def test_a_table_that_cant_be_used_names_its_line(tmp_path: Path, text: str, said: str) -> None:
    table = tmp_path / "edges.csv"
    table.write_text(text, encoding="utf-8")
    with pytest.raises(EdgeTableError, match=said):
        latency.edges(table)
    with pytest.raises(EdgeTableError, match="can be read"):
        latency.edges(tmp_path / "none.csv")


@pytest.mark.skipif(not SHARED.exists(), reason="the shared edge locations are not there")
def test_our_table_has_every_edge_of_the_shared_one_where_the_shared_one_has_it() -> None:
    ours = {edge.code: edge for edge in latency.edges()}
    theirs = latency.edges(SHARED)
    assert {edge.code for edge in theirs} == {*ours} - {"BCN"}
    for edge in theirs:
        mine = ours[edge.code]
        assert (mine.country, mine.price_region) == (edge.country, edge.price_region)
        assert latency.km_between(mine.at, edge.at) < 2
