"""What the forecast server answers and refuses, and what it shows of itself."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from include.forecast.candidates.baselines import Naive
from include.forecast.registry import Registry
from include.forecast.server import app, request
from include.forecast.server.champions import Champions
from include.forecast.server.metrics import BUCKETS, RequestCounts, labels
from include.forecast.traffic.features import DAY
from tests.unit.forecast.serving_world import (
    AS_OF,
    FLAT,
    NOW,
    REGION,
    RULE,
    World,
    body,
    candidate,
    crown,
    followed,
    keep,
    now_scaled,
    series,
    service,
    with_value,
)

# --- POST /predict ----------------------------------------------------------------------------------------------------


def test_an_hour_gets_fifteen_minutes_with_replicas_and_the_version(champions: Champions) -> None:
    status, answer = service(champions).predict(body(values=[1000.0] * 45 + [2800.0] * 15))
    assert status == 200
    assert champions.served is not None
    assert {key: value for key, value in answer.items() if not key.endswith("_qps")} == {
        "region": REGION,
        "max": 2800.0,
        "recommended_replicas": 10,
        "reason": "the need of 2800 QPS; not compared with what runs",
        "confident": True,
        "doubt": "",
        "model_version": champions.served.version,
        "model": "now_scaled",
        "generated_at": "2026-11-24T09:00:20.000Z",
    }
    assert answer["predicted_qps"] == [2800.0] * 15
    assert answer["p90_qps"] == pytest.approx([3360.0] * 15)


def test_what_runs_now_limits_the_recommendation(champions: Champions) -> None:
    answer = service(champions).predict(body(values=[2800] * 60, current_replicas=4))[1]
    assert answer["recommended_replicas"] == 8


def test_an_unsure_forecast_says_so_and_asks_for_nothing(registry: Registry, tmp_path: Path) -> None:
    crown(registry, keep(registry, candidate(now_scaled(), above=0.51), tmp_path / "unsure"))
    answer = service(followed(registry)).predict(body(values=[2800.0] * 60, current_replicas=4))[1]
    assert (answer["confident"], answer["recommended_replicas"]) == (False, 4)
    assert answer["doubt"] == "P90 lies 51% above P50 1 minutes ahead, at most 50% is sure"


def test_timestamps_say_where_the_hour_lies(registry: Registry, tmp_path: Path) -> None:
    data = series()
    crown(registry, keep(registry, candidate(Naive(DAY, scaled=False)), tmp_path / "yesterday"))
    end = data.start + timedelta(days=8, hours=12)
    times = [(end + timedelta(minutes=minute - 59)).isoformat() for minute in range(60)]
    answer = service(followed(registry)).predict(body(timestamps=times))[1]
    first = 7 * DAY + 12 * 60 + 1
    assert answer["predicted_qps"] == pytest.approx(data.values[first : first + 15].tolist())


def test_an_hour_ends_with_the_last_whole_minute_unless_timestamps_say_otherwise() -> None:
    now = datetime(2026, 11, 24, 9, 0, 20, tzinfo=UTC)
    assert request.last_minute(request.read_hour(body(), (REGION,)), now) == datetime(2026, 11, 24, 8, 59, tzinfo=UTC)
    times = [f"2026-11-24T10:{minute:02}:00+02:00" for minute in range(60)]
    hour = request.read_hour(body(timestamps=times), (REGION,))
    assert request.last_minute(hour, now) == datetime(2026, 11, 24, 8, 59, tzinfo=UTC)


NUMBER = "use a number of at least 0 and at most 1e12; what was not observed can't be sent"
TIMES = [f"2026-11-24T08:{minute:02}:00Z" for minute in range(60)]


@pytest.mark.parametrize(
    ("sent", "field", "value", "remedy"),
    [
        (body(values=FLAT[1:]), "values", "59 values", "send exactly 60 values, one a minute"),
        (body(values=FLAT * 2), "values", "120 values", "send exactly 60 values, one a minute"),
        (body(values=[]), "values", "0 values", "send exactly 60 values, one a minute"),
        (with_value(3, "NaN"), "values[3]", "nan", NUMBER),
        (with_value(3, "Infinity"), "values[3]", "inf", NUMBER),
        (with_value(3, "1e999"), "values[3]", "inf", NUMBER),
        (with_value(59, "-0.1"), "values[59]", "-0.1", NUMBER),
        (with_value(0, "1e13"), "values[0]", "10000000000000.0", NUMBER),
        (with_value(0, '"12"'), "values[0]", "12", NUMBER),
        (with_value(0, "true"), "values[0]", "True", NUMBER),
        (with_value(0, "null"), "values[0]", "None", NUMBER),
        (with_value(0, "[1]"), "values[0]", "[1]", NUMBER),
        (body(region="mars"), "region", "mars", "use one that is served: us-east-1"),
        (body(region=7), "region", "7", "input should be a valid string"),
        (body(current_replicas=-1), "current_replicas", "-1", "input should be greater than or equal to 0"),
        (
            body(qps=1),
            "qps",
            "1",
            "remove it: region, values, timestamps, current_replicas are known",
        ),
        (b'{"region": "us-east-1"}', "values", "nothing", "add it"),
        (b"[]", "body", "[]", "input should be an object"),
        (b"", "body", "EOF while parsing a value at line 1 column 0", "send a JSON object with region and values"),
        (body(timestamps=TIMES[1:]), "timestamps", "59 timestamps", "send 60, or leave them out"),
        (
            body(timestamps=["yesterday", *TIMES[1:]]),
            "timestamps[0]",
            "yesterday",
            "use an ISO 8601 text such as 2026-11-24T09:00:00Z",
        ),
        (
            body(timestamps=[1764000000, *TIMES[1:]]),
            "timestamps[0]",
            "1764000000",
            "use an ISO 8601 text such as 2026-11-24T09:00:00Z",
        ),
        (
            body(timestamps=[*TIMES[:5], TIMES[4], *TIMES[6:]]),
            "timestamps[5]",
            "2026-11-24T08:04:00+00:00",
            "use the minute after timestamps[4] (2026-11-24T08:04:00+00:00)",
        ),
        (
            body(timestamps=TIMES[::-1]),
            "timestamps[1]",
            "2026-11-24T08:58:00+00:00",
            "use the minute after timestamps[0] (2026-11-24T08:59:00+00:00)",
        ),
        (
            body(timestamps=["1999-12-31T23:59:00", *TIMES[1:]]),
            "timestamps[0]",
            "1999-12-31T23:59:00",
            "use a time between the years 2000 and 2100",
        ),
    ],
)
def test_a_wrong_request_is_refused_with_field_value_and_remedy(
    champions: Champions, sent: bytes, field: str, value: str, remedy: str
) -> None:
    status, answer = service(champions).predict(sent)
    assert (status, answer["detail"][0]) == (422, {"field": field, "value": value, "remedy": remedy})


def test_no_more_problems_are_shown_than_can_be_read(champions: Champions) -> None:
    status, answer = service(champions).predict(body(values=[-1.0] * 60))
    assert (status, len(answer["detail"])) == (422, 10)
    long = service(champions).predict(body(region="x" * 1000))[1]["detail"][0]["value"]
    assert (len(long), long[-5:]) == (80, "xx...")


def test_without_a_champion_the_answer_is_503_and_says_so(registry: Registry) -> None:
    status, answer = service(followed(registry)).predict(body())
    assert status == 503
    assert answer["detail"] == (
        "us-east-1: no champion: models/us-east-1/champion.json does not exist: run forecast_retrain"
    )


# --- /health and /metrics ---------------------------------------------------------------------------------------------


def test_health_lists_version_age_and_forecast(world: World, champions: Champions) -> None:
    world.tick()
    assert champions.served is not None
    assert service(champions, world.live).health() == (
        200,
        {
            "status": "ok",
            "regions": {
                REGION: {
                    "version": champions.served.version,
                    "model": "now_scaled",
                    "problem": "",
                    "data_until": AS_OF,
                    "data_age_hours": 9.01,
                    "loaded_seconds_ago": 0.0,
                    "forecast": {"seen_until": "2026-11-24T09:00:00.000Z", "confident": True, "doubt": ""},
                    "forecast_problem": "",
                }
            },
        },
    )


def test_health_fails_while_one_region_has_no_champion(champions: Champions, registry: Registry) -> None:
    other = followed(Registry(registry._storage, "eu-central-1"))
    both = app.Service(
        {REGION: app.ServedRegion(champions), "eu-central-1": app.ServedRegion(other)}, RULE, clock=lambda: NOW
    )
    status, answer = both.health()
    assert (status, answer["status"]) == (503, "no champion")
    assert answer["regions"]["eu-central-1"] == {
        "version": None,
        "problem": "models/eu-central-1/champion.json does not exist",
    }


def test_metrics_have_every_minute_and_quantile_and_vanish_with_the_input(world: World, champions: Champions) -> None:
    world.tick()
    assert champions.served is not None
    shown = service(champions, world.live)
    text = shown.metrics()
    found = re.findall(r'akidb_forecast_qps\{region="us-east-1",horizon="(\d+)",quantile="([\d.]+)"\} (\S+)', text)
    assert found == [(str(m), q, v) for q, v in (("0.5", "1000.0"), ("0.9", "1200.0")) for m in range(1, 16)]
    lines = text.splitlines()
    assert f'akidb_forecast_generated_timestamp_seconds{{region="us-east-1"}} {NOW - 20!r}' in lines
    assert 'akidb_forecast_confident{region="us-east-1"} 1' in lines
    info = f'akidb_forecast_model_info{{region="us-east-1",version="{champions.served.version}",model="now_scaled"}} 1'
    assert info in lines
    world.now += 300
    gone = shown.metrics()
    assert not re.search(r"^akidb_forecast_(qps|generated_timestamp_seconds|confident)\{", gone, re.MULTILINE)
    assert info in gone.splitlines()


def test_the_model_of_a_forecast_is_the_one_that_made_it(
    world: World, registry: Registry, champions: Champions, tmp_path: Path
) -> None:
    made_by = world.tick()
    assert made_by is not None
    crown(registry, keep(registry, candidate(Naive(0, scaled=False)), tmp_path / "second"))
    champions.refresh()
    assert f'version="{made_by.version}",model="now_scaled"' in service(champions, world.live).metrics()


def test_requests_are_counted_with_their_time() -> None:
    requests = RequestCounts()
    for seconds in (0.0004, 0.001, 0.7):
        requests.add("/predict", 200, seconds)
    requests.add("/predict", 422, 0.0001)
    lines = list(requests.lines())
    assert 'akidb_forecast_requests_total{path="/predict",code="200"} 3' in lines
    counts = [int(line.rsplit(" ", 1)[1]) for line in lines if "_bucket{" in line]
    assert counts == [2, 3, *[3] * (len(BUCKETS) - 2), 4]
    assert 'akidb_forecast_request_duration_seconds_count{path="/predict"} 4' in lines


def test_labels_are_escaped() -> None:
    assert labels(a='say "no" \\ never', b="two\nlines") == r'{a="say \"no\" \\ never",b="two lines"}'
