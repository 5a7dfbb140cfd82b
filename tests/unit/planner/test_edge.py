from decimal import Decimal

import numpy as np
import pytest

from include.estate import load_estate
from include.planner import edge
from include.planner.usage import load_usage

ESTATE = load_estate()
CENT = Decimal("0.01")


@pytest.fixture(scope="module")
def parts():
    return {one.component: one for one in edge.parts(ESTATE, load_usage(), 800.0)}


def _usd(value: Decimal) -> str:
    return str(value.quantize(CENT))


def test_cloudfront_at_list_prices_is_the_cheapest_class_within_the_limits(parts):
    found = parts["cloudfront"]
    assert _usd(found.before_usd) == "4985.03"
    assert found.saved == {"cdn_price_class": Decimal("0.00")}


def test_the_function_gets_the_cheaper_of_the_sizes_that_were_measured(parts):
    # 20.1 M requests x (0.0000006 + 30.5 ms x 0.5 GB x 0.00005001); 384 MB: 34.5 ms x 0.375 GB
    assert _usd(parts["lambda_edge"].before_usd) == "27.39"
    # ... less what two units of the regional functions cost that are kept ready: 2.32 - 30.60
    assert _usd(parts["lambda_edge"].saved["lambda_edge"]) == "-28.28"


def test_old_models_move_to_the_class_that_pays_best(parts):
    assert _usd(parts["s3"].before_usd) == "128.53"
    assert _usd(parts["s3"].saved["storage_tiering"]) == "99.87"


def test_three_checks_of_regions_and_one_of_the_devices_lose_two_options(parts):
    # (3 x HTTPS, text, fast, graphs at 1.00) + 0.75 + 3 x 2.00; fast and graphs go: 3 x 2.00 + 2 x 2.00
    assert _usd(parts["route_53"].before_usd) == "18.75"
    assert _usd(parts["route_53"].saved["dns_health_checks"]) == "10.00"


def test_devices_save_watts_and_pay_for_what_is_routed_to_them(parts):
    saved = parts["jetson"].saved
    assert saved["edge_power"] > 0
    assert _usd(-saved["request_routing"]) == "8.19"  # 800/s x 2,626,560 s x 0.0039 a million


def test_the_platform_costs_what_the_estates_contract_says(parts):
    assert parts["cost_platform"].saved == {"cost_monitoring": Decimal(-620)}
    assert parts["monitoring"].before_usd == Decimal(50)


@pytest.mark.parametrize(
    ("durations", "before", "saved"),
    [
        # The size of today is assumed where the estate has measured others alone; 256 MB: 60.5 ms x 0.25 GB.
        (("256:20000:60:80",), "27.39", "-30.60"),
        (("512:20000:60:80",), "42.47", "-30.60"),
    ],
)
def test_what_the_estate_has_measured_comes_first_and_todays_size_is_always_known(durations, before, saved):
    functions = ESTATE.edge.functions.model_copy(update={"durations": durations})
    estate = ESTATE.model_copy(update={"edge": ESTATE.edge.model_copy(update={"functions": functions})})
    found = next(one for one in edge.parts(estate, load_usage(), 0.0) if one.component == "lambda_edge")
    assert (_usd(found.before_usd), _usd(found.saved["lambda_edge"])) == (before, saved)


def test_weights_send_the_devices_what_they_can_take_at_the_peak():
    assert edge.routed_share(ESTATE, np.array([100.0, 5880.0])) == pytest.approx(550 / 2940)


def test_devices_that_miss_the_budget_get_nothing():
    routing = ESTATE.edge.routing.model_copy(update={"budget_ms": 10.0})
    estate = ESTATE.model_copy(update={"edge": ESTATE.edge.model_copy(update={"routing": routing})})
    assert edge.routed_share(estate, np.array([5880.0])) == 0
