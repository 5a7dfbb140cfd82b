"""The forecast server as a process: over HTTP, and from its command line."""

from __future__ import annotations

import json
import math
import re
import runpy
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import uvicorn

from include.estate import load_estate
from include.forecast.candidates.baselines import Naive
from include.forecast.registry import Registry
from include.forecast.replicas import ReplicaRule
from include.forecast.server import __main__ as serving
from include.forecast.server import app
from include.forecast.server.champions import Champions
from tests.unit.forecast.serving_world import AS_OF, NOW, REGION, body, candidate, crown, keep, service, with_value

# --- Over HTTP --------------------------------------------------------------------------------------------------------


@pytest.fixture
def address(champions: Champions) -> Iterator[str]:
    served = app.create_app(replace(service(champions), poll_seconds=0.05))
    server = uvicorn.Server(uvicorn.Config(served, log_config=None, access_log=False, timeout_keep_alive=75))
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


def call(url: str, data: bytes | None = None) -> tuple[int, Any]:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data), timeout=30) as answer:
            content = answer.read()
            return answer.status, json.loads(content) if "json" in answer.headers["Content-Type"] else content.decode()
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def ready(address: str) -> None:
    for _ in range(300):
        try:
            if call(f"{address}/health")[0] == 200:
                return
        except urllib.error.URLError:
            pass
        time.sleep(0.05)
    pytest.fail("the server is not up after 15 s")


def test_every_path_answers(address: str) -> None:
    ready(address)
    assert call(f"{address}/predict", body())[0] == 200
    assert call(f"{address}/predict", with_value(0, "NaN"))[0] == 422
    status, answer = call(f"{address}/predict", body(region="x" * 70_000))
    assert (status, answer["detail"][0]["remedy"]) == (413, "send at most 65536 bytes")
    assert call(f"{address}/live", b"") == (200, "alive")
    assert call(f"{address}/nothing")[0] == 404
    schema = call(f"{address}/openapi.json")[1]
    assert schema["paths"]["/predict"]["post"]["requestBody"]["content"]["application/json"]["schema"]["required"] == [
        "region",
        "values",
    ]
    text = call(f"{address}/metrics")[1]
    assert 'akidb_forecast_requests_total{path="/predict",code="413"} 1' in text
    assert 'akidb_forecast_requests_total{path="other",code="404"} 1' in text


def test_a_change_of_champion_under_load_drops_nothing(address: str, registry: Registry, tmp_path: Path) -> None:
    ready(address)
    seen: list[tuple[int, str]] = []
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            status, answer = call(f"{address}/predict", body())
            seen.append((status, answer["model_version"]))

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    second = keep(registry, candidate(Naive(0, scaled=False)), tmp_path / "second")
    crown(registry, second)
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and (not seen or seen[-1][1] != second):
        stop.wait(0.02)
    stop.set()
    for thread in threads:
        thread.join()
    assert {status for status, _ in seen} == {200}
    assert seen[-1][1] == second
    assert len({version for _, version in seen}) == 2


# --- The command ------------------------------------------------------------------------------------------------------


def built(*arguments: str, **environment: str) -> app.Service:
    given = ["--registry", "/tmp/models", "--regions", REGION, *arguments]
    return serving.service_from(serving.options(given), load_estate(), environment)


def test_the_command_line_says_what_is_served() -> None:
    plain = built()
    assert (list(plain.regions), plain.regions[REGION].forecaster, len(plain.loops())) == ([REGION], None, 1)
    assert plain.rule == ReplicaRule(350, 0.8, 4, 40, 1.2, 2.0)
    full = built("--prometheus", "http://p:9090", "--min-replicas", "2", "--max-age", "90", "--minute-seconds", "5")
    assert (full.rule.minimum, full.rule.maximum, full.forecast_seconds, len(full.loops())) == (2, 40, 1.25, 2)
    shown = full.regions[REGION].forecaster
    assert shown is not None
    assert shown._settings.max_age_seconds == 90


def test_credentials_come_from_the_environment() -> None:
    assert serving.credentials({}) is None
    given = {"PROMETHEUS_USERNAME": "reader", "PROMETHEUS_PASSWORD": "secret"}
    assert serving.credentials(given) == ("reader", "secret")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--regions", "mars"], "--regions 'mars': use regions of the estate: us-east-1, eu-central-1, ap-northeast-1"),
        (["--regions", ","], "--regions ',': use regions of the estate"),
        (["--min-replicas", "50"], "needs 1 <= minimum <= maximum replicas, not 50 and 40"),
        (["--begins", "7"], "--minute-seconds, --begins, --begins-as: needs minute_seconds above 0"),
    ],
)
def test_a_wrong_option_is_named(arguments: list[str], message: str) -> None:
    with pytest.raises(serving.ServingError, match=re.escape(message)):
        built(*arguments)


def test_a_wrong_place_ends_the_command_with_the_reason(capsys: pytest.CaptureFixture[str]) -> None:
    assert serving.main(["--registry", "models", "--regions", REGION]) == 2
    assert "location 'models' can't be used" in capsys.readouterr().err


def test_the_command_of_an_earlier_releases_deployment_still_starts_the_server(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["serving", "--registry", "models", "--regions", REGION])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("include.forecast.serving", run_name="__main__")
    assert ended.value.code == 2
    assert "location 'models' can't be used" in capsys.readouterr().err


def test_the_server_imports_nothing_that_trains() -> None:
    import subprocess
    import sys

    code = (
        "import sys, include.forecast.server.__main__; "
        "heavy = {'keras', 'jax', 'tensorflow', 'lightgbm', 'pandas', 'airflow'}; "
        "print(sorted(heavy & sys.modules.keys()))"
    )
    root = Path(__file__).parents[3]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_ages_are_unknown_without_a_time() -> None:
    assert app.age_hours("", NOW) is None
    assert math.isclose(app.age_hours(AS_OF, NOW) or 0, 9.01)


def test_the_image_holds_the_versions_of_production() -> None:
    root = Path(__file__).parents[3]
    image, production = (
        dict(re.findall(r"^([a-z0-9-]+)==([^\s;]+)", (root / name).read_text(), re.MULTILINE))
        for name in ("include/manifests/predictive_scaling/requirements-serving.txt", "requirements.txt")
    )
    assert {name: version for name, version in image.items() if production.get(name) != version} == {}
    assert not {"keras", "jax", "pandas", "apache-airflow"} & image.keys()


def test_the_first_forecast_waits_for_the_first_look_at_the_registry() -> None:
    order: list[str] = []
    looked = threading.Event()
    champions = SimpleNamespace(looked=looked)
    ticking = SimpleNamespace(tick=lambda: order.append("tick"))
    thread = threading.Thread(target=app.first_look, args=(champions, ticking))
    thread.start()
    order.append("champion")
    looked.set()
    thread.join(10)
    assert order == ["champion", "tick"]
