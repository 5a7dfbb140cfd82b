"""The predictive-scaling lever's queries in a real Prometheus, and those that others share with it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import yaml

from include.estate import load_estate
from include.forecast.server.forecaster import short_expression
from include.forecast.traffic.export import lost_expression, request_expression
from include.levers.cost_monitoring.dashboard import panels
from include.levers.predictive_scaling import queries
from include.levers.predictive_scaling.wanted import forecast_query, scaled_object
from tests.unit.levers.monitoring_world import promtool
from tests.unit.levers.scaling_world import REGION, settings_of
from tests.unit.levers.spot_world import Object

PODS = "container_cpu_usage_seconds_total"
MINE = f'region="{REGION}"'
PREDICTOR_A = f'{MINE},job="traffic-predictor",instance="a"'
# 1,200 + 400 requests/s and 10 pods of akidb-rest; the highest forecast of the next minutes is 4,000.
HEALTHY = {
    f'akidb_http_requests_total{{{MINE},namespace="akidb"}}': "0+72000x30",
    f'akidb_grpc_requests_total{{{MINE},namespace="akidb"}}': "0+24000x30",
    'akidb_http_requests_total{region="eu-central-1",namespace="akidb"}': "0+9000000x30",
    f'akidb_http_requests_total{{{MINE},namespace="akidb-staging"}}': "0+9000000x30",
    **{f'{PODS}{{{MINE},namespace="akidb",pod="akidb-rest-5d-{n}",container="c"}}': "0+1x30" for n in range(10)},
    f'{PODS}{{{MINE},namespace="akidb",pod="akidb-rest-5d-0",container="sidecar"}}': "0+1x30",
    f'{PODS}{{{MINE},namespace="akidb",pod="akidb-rest-canary-5d-x",container="c"}}': "0+1x30",
    f'akidb_forecast_qps{{{PREDICTOR_A},horizon="1",quantile="0.5"}}': "1700x30",
    f'akidb_forecast_qps{{{PREDICTOR_A},horizon="15",quantile="0.5"}}': "4000x30",
    f'akidb_forecast_qps{{{PREDICTOR_A},horizon="15",quantile="0.9"}}': "9000x30",
    f"akidb_forecast_generated_timestamp_seconds{{{PREDICTOR_A}}}": "0+60x30",
    f"akidb_forecast_confident{{{PREDICTOR_A}}}": "1x30",
}


def series_of(series: Mapping[str, str], name: str) -> str:
    return next(key for key in series if key.startswith(name))


def without(name: str, text: str = "") -> dict[str, str]:
    return {key: values for key, values in HEALTHY.items() if not (key.startswith(name) and text in key)}


def changed(name: str, values: str, text: str = "") -> dict[str, str]:
    return {key: values if key.startswith(name) and text in key else old for key, old in HEALTHY.items()}


FORECASTS = [key for key in HEALTHY if key.startswith("akidb_forecast")]
SECOND = f'{MINE},job="traffic-predictor",instance="b"'
CASES: dict[str, tuple[dict[str, str], float]] = {
    # 4,000 x 1,200 / 1,600, which is less than 2 x 10 x 280
    "a rise is added in the workload's share": (HEALTHY, 3000),
    "capped at twice what the pods serve": (changed("akidb_forecast_qps", "40000x30", '"15",quantile="0.5"'), 5600),
    "a rise of less than 20 % is left to the requests": (changed("akidb_forecast_qps", "1900x30", 'horizon="15"'), 0),
    "stale": (changed("akidb_forecast_generated", "0+60x10 600x20"), 0),
    "from the future": (changed("akidb_forecast_generated", "9000+60x30"), 0),
    "not sure": (changed("akidb_forecast_confident", "0x30"), 0),
    "the predictor is down": (without("akidb_forecast"), 0),
    "the predictor has just died": (HEALTHY | dict.fromkeys(FORECASTS, "1x10 stale"), 0),
    "no time of birth": (without("akidb_forecast_generated"), 0),
    "own requests are lost, staging's are not": (without("akidb_http_requests_total", 'namespace="akidb"'), 0),
    "the others' requests are lost": (without("akidb_grpc_requests_total"), 0),
    "no requests at all": (changed("akidb_", "0x30", "requests_total"), 0),
    "the number of pods is lost": (without(PODS), 0),
    "a second predictor that is stale counts for nothing": (
        HEALTHY
        | {f'akidb_forecast_qps{{{SECOND},horizon="15",quantile="0.5"}}': "5000x30"}
        | {f"akidb_forecast_generated_timestamp_seconds{{{SECOND}}}": "0x30"}
        | {f"akidb_forecast_confident{{{SECOND}}}": "1x30"},
        3000,
    ),
    "nothing is there": ({"up": "1x30"}, 0),
}  # fmt: skip


def one(number: float) -> Object:
    return {"labels": "{}", "value": number}


def test_the_forecasts_trigger_always_gives_one_number_and_only_adds(tmp_path: Path) -> None:
    estate = load_estate()
    query = forecast_query(estate, REGION, settings_of(estate), "akidb-rest")
    tests = [
        {
            "name": name,
            "interval": "1m",
            "input_series": [{"series": key, "values": values} for key, values in series.items()],
            "promql_expr_test": [{"expr": query, "eval_time": "20m", "exp_samples": [one(number)]}],
        }
        for name, (series, number) in CASES.items()
    ]  # fmt: skip
    suite = tmp_path / "suite.yaml"
    # A rate of the last minute needs two scrapes: here one a minute.
    suite.write_text(yaml.safe_dump({"rule_files": [], "tests": tests}).replace("[60s]", "[180s]"))
    result = promtool("test", "rules", suite)
    assert result.returncode == 0, result.stdout + result.stderr


def test_lead_time_and_freshness_are_settings() -> None:
    estate = load_estate()
    query = forecast_query(estate, REGION, settings_of(estate, lead_minutes=2, freshness_seconds=20), "akidb-grpc")
    assert 'quantile="0.5",horizon=~"1|2"' in query
    assert "< 20)" in query
    assert "horizon=" not in forecast_query(estate, REGION, settings_of(estate), "akidb-grpc")


def test_a_workload_follows_its_own_counter() -> None:
    estate = load_estate()
    own = queries.own_demand(estate, REGION, "akidb-grpc", 30)
    assert own == f'sum(rate(akidb_grpc_requests_total{{region="{REGION}",namespace="akidb"}}[30s]))'


def test_workloads_that_share_a_counter_count_their_own_requests_by_their_matchers() -> None:
    estate = load_estate()
    workloads = {
        name: workload.model_copy(update={"matchers": f'service="{name}"'})
        for name, workload in estate.workloads.items()
    }
    scaling = estate.predictive_scaling.model_copy(update={"requests": dict.fromkeys(workloads, "http")})
    shared = estate.model_copy(update={"workloads": workloads, "predictive_scaling": scaling})
    own = [queries.own_demand(shared, REGION, name, 30) for name in workloads]
    assert own == [
        f'sum(rate(akidb_http_requests_total{{region="{REGION}",namespace="akidb",service="{name}"}}[30s]))'
        for name in workloads
    ]
    assert queries.demand(shared, REGION, 30) == " + ".join(own)
    for name, query in zip(workloads, own, strict=True):
        body = scaled_object(shared, REGION, settings_of(shared), name, with_forecast=True)
        reactive, forecast = (trigger["metadata"]["query"] for trigger in body["spec"]["triggers"])
        window = settings_of(shared).rate_window_seconds
        assert reactive == query.replace("[30s]", f"[{window}s]")
        assert f"* ({reactive}) / (" in forecast


def test_every_query_of_akidbs_series_takes_the_estates_matchers() -> None:
    estate = load_estate()
    theirs = estate.metrics.model_copy(update={"matchers": 'tenant="a"'})
    estate = estate.model_copy(update={"metrics": theirs})
    asked = [
        queries.demand(estate, REGION, 30),
        request_expression(estate, REGION),
        lost_expression(estate, REGION),
        short_expression(estate, REGION, 60),
        *(
            query.expression
            for panel in panels(estate)
            for query in panel.queries
            if "requests_total" in query.expression
        ),
    ]
    assert len(asked) == 5
    for query in asked:
        selectors = re.findall(r"akidb_\w+_total\{([^}]*)\}", query)
        assert selectors
        assert all('tenant="a"' in selector and "namespace" not in selector for selector in selectors)
