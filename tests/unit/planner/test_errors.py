import json
from pathlib import Path

import pytest

from include.estate import load_estate
from include.planner import errors
from include.planner.errors import LIMIT, RehearsalError, by_lever, predicted, rehearsed_error, rows_of

RESULTS = Path(__file__).parents[3] / "benchmarks" / "results"
ESTATE = load_estate()


@pytest.fixture(scope="module")
def rehearsed():
    return rows_of(json.loads((RESULTS / "rehearsal_3_regions.json").read_text(encoding="utf-8")))


LEVERS = ("spot_capacity", "predictive_scaling", "right_sizing", "consolidation")


@pytest.mark.parametrize("lever", LEVERS)
def test_each_lever_is_predicted_within_ten_per_cent_of_what_was_rehearsed(rehearsed, lever):
    (one,) = [one for one in by_lever(predicted(ESTATE, rehearsed)) if one.lever == lever]
    assert abs(one.usd_error or 1) <= LIMIT, one
    assert abs(one.nodes_error) <= LIMIT, one


@pytest.mark.parametrize("lever", LEVERS)
def test_so_is_each_region_in_dollars(rehearsed, lever):
    (one,) = [one for one in by_lever(predicted(ESTATE, rehearsed)) if one.lever == lever]
    assert abs(one.worst_usd or 1) <= LIMIT, one
    assert 0 < rehearsed_error(lever) <= LIMIT


def test_the_first_row_is_compared_with_day_1_alone(rehearsed):
    found = predicted(ESTATE, rehearsed)
    assert (found[0].lever, found[0].nodes, found[0].nodes_predicted) == ("spot_capacity", 12.0, 12.0)
    assert {one.lever for one in found} == {"spot_capacity", "predictive_scaling", "right_sizing", "consolidation"}


def test_what_is_published_is_what_the_published_rehearsal_gives(rehearsed):
    found = errors.to_json(by_lever(predicted(ESTATE, rehearsed)), errors.published()["source"])
    assert found == errors.published()


def test_a_lever_that_was_never_compared_has_no_error():
    assert rehearsed_error("storage_tiering") is None
    assert rehearsed_error("spot_capacity") == pytest.approx(0.0898, abs=1e-4)


def test_a_file_without_rows_is_refused():
    with pytest.raises(RehearsalError, match="no field realised with a row for each lever and region"):
        rows_of({"days": {}})


def test_a_region_that_the_estate_lacks_is_refused():
    row = {"lever": "spot_capacity", "region": "mars-1", "nodes": 12, "usd_hour": 1.0}
    with pytest.raises(RehearsalError, match="realised names mars-1, not in the estate"):
        predicted(ESTATE, [row])


def test_an_unknown_price_is_no_error_of_zero():
    row = {"lever": "spot_capacity", "region": "us-east-1", "nodes": 10, "usd_hour": None}
    (found,) = by_lever(predicted(ESTATE, [row]))
    assert (found.usd_error, found.worst_usd) == (None, None)
    assert found.nodes_error == pytest.approx(0.2)
