"""What the drill tells the programs of the lab, by exact values."""

from __future__ import annotations

from pathlib import Path

import yaml

from include.estate import load_estate
from include.forecast.server.__main__ import options
from lab.cluster import telemetry
from lab.surge.champion import history_span
from lab.surge.pace import pace_of
from lab.surge.scenario import morning
from lab.surge.stage import at_pace, timeline_arguments

PACE = pace_of(load_estate())


def test_the_predictor_learns_how_time_passes() -> None:
    arguments = timeline_arguments(PACE, 1_764_237_600.0, 1_764_061_200.0)
    assert arguments == ["--minute-seconds", "5", "--begins", "1764237600", "--begins-as", "1764061200"]
    read = options(["--registry", "/models", "--regions", "us-east-1", *arguments])
    assert (read.minute_seconds, read.begins, read.begins_as) == (5, 1_764_237_600, 1_764_061_200)


def test_prometheus_scrapes_what_the_drill_reads_every_second() -> None:
    ports = {name: {"us-east-1": 2} for name in ("karpenter", "opencost", "kubecost", telemetry.PREDICTOR)}
    found = yaml.safe_load(at_pace(telemetry.configuration(telemetry.ScrapeTargets(1, ports), Path("rules")), PACE))
    assert [job["job_name"] for job in found["scrape_configs"]] == ["akidb", "kubernetes-cadvisor", "traffic-predictor"]
    assert not [job for job in found["scrape_configs"] if "scrape_interval" in job]
    assert found["global"] == {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
    assert found["scrape_configs"][2]["honor_labels"]


def test_training_ends_the_day_before_the_surge() -> None:
    first, days = history_span(morning())
    assert (first.isoformat(), days) == ("2026-10-22", 33)  # to 23 November; four nights of 30 days each
