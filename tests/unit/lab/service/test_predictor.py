"""The predictor's command line: what is deployed, with the lab's own addresses, then what a drill asks for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from include.forecast.server.__main__ import options
from lab.service import predictor

REGION = "us-east-1"


def state(folder: Path) -> dict[str, Any]:
    return {
        "folder": str(folder),
        "prometheus": "http://127.0.0.1:21000",
        "models": (folder / "the models").as_uri(),
        "predictor_arguments": ["--minute-seconds", "30"],
        "regions": {REGION: {"predictor": "http://127.0.0.1:21003"}},
    }


def test_the_labs_own_addresses_win_and_the_rest_is_as_deployed(tmp_path: Path) -> None:
    deployed = ["--host", "0.0.0.0", "--port", "8080", "--registry", "s3://models/x", "--max-age", "30"]
    deployed += ["--prometheus", "http://prometheus.monitoring.svc", "--regions", "eu-central-1", "--min-replicas", "4"]
    asked = options([*deployed, *predictor.added(state(tmp_path), REGION)])
    assert (asked.host, asked.port, asked.regions) == ("127.0.0.1", 21003, REGION)
    assert (asked.registry, asked.prometheus) == (str(tmp_path / "the models"), "http://127.0.0.1:21000")
    assert (asked.max_age, asked.min_replicas, asked.minute_seconds) == (30, 4, 30)


def test_arguments_that_are_written_later_stand_for_those_of_the_boot(tmp_path: Path) -> None:
    predictor.write_arguments(tmp_path, ["--begins", "120"])
    assert predictor.added(state(tmp_path), REGION)[-2:] == ("--begins", "120")
    assert "--minute-seconds" not in predictor.added(state(tmp_path), REGION)
    assert [path.name for path in tmp_path.iterdir()] == ["predictor_arguments.json"]


@pytest.mark.parametrize("text", ["{", "{}", "[1]"])
def test_a_file_that_is_no_list_of_texts_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "predictor_arguments.json").write_text(text)
    with pytest.raises(predictor.ArgumentsError, match=r"predictor_arguments\.json is no list of texts: write it with"):
        predictor.added(state(tmp_path), REGION)
