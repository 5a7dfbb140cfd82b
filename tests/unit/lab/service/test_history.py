"""The metric history: exact samples, and how promtool is called and its failures are told."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from include.estate import load_estate
from lab.service.history import HistoryError, backfill, minutes, samples
from lab.service.queueing import load_of
from lab.service.serving import EDGES

ESTATE = load_estate()
REGION = "us-east-1"
LABELS = 'region="us-east-1",namespace="akidb",job="akidb",instance="akidb"'
NOW = 1_764_000_090.0  # half a minute after a full one


class Steady:
    """The weekday peak without noise."""

    def qps(self, region: str, plant_time: float) -> float:
        return 5880.0


class Rising:
    """As many requests a second as minutes of plant time."""

    def qps(self, region: str, plant_time: float) -> float:
        return plant_time / 60


def series(lines: list[str], prefix: str) -> list[tuple[float, int]]:
    found = [line.rsplit(" ", 2) for line in lines if line.startswith(prefix)]
    return [(float(value), int(moment)) for _, value, moment in found]


def program(folder: Path, body: str) -> Path:
    path = folder / "promtool"
    path.write_text(f"#!{sys.executable}\nimport shutil, sys\n{body}\n")
    path.chmod(0o755)
    return path


def test_the_last_sample_is_the_last_full_minute() -> None:
    times = minutes(NOW, days=30)
    assert len(times) == 43_200
    assert (times[0], times[-1]) == (1_764_000_060 - 43_199 * 60, 1_764_000_060)


def test_counters_rise_by_the_demand_of_each_minute() -> None:
    lines = list(samples(ESTATE, Steady(), REGION, minutes(NOW, 1), shift=0))
    for protocol in ("http", "grpc"):
        counter = series(
            lines,
            f'akidb_{protocol}_requests_total{{{LABELS},status="200"}} ',
        )
        assert len(counter) == 1440
        assert counter[0] == (2940 * 60, 1_764_000_060 - 1439 * 60)
        assert counter[-1] == (2940 * 86_400, 1_764_000_060)


def test_demand_is_taken_at_plant_time() -> None:
    # At the middle of the minute that ends at the sample: 100 minutes less 30 s of plant time.
    lines = list(samples(ESTATE, Rising(), REGION, range(60, 61, 60), shift=99 * 60))
    assert series(lines, "akidb_http_requests_total") == [(round(99.5 / 2 * 60), 60)]


def test_histograms_are_the_queues_distribution() -> None:
    lines = list(samples(ESTATE, Steady(), REGION, minutes(NOW, 1), shift=0))
    load = load_of(2940, 15, 350)
    for protocol in ("http", "grpc"):
        name = f"akidb_{protocol}_request_duration_seconds"
        assert len(series(lines, f"{name}_bucket")) == 288 * (len(EDGES[protocol]) + 1)
        within = series(lines, f'{name}_bucket{{{LABELS},le="0.025"}} ')
        assert within[0] == (pytest.approx(2940 * 300 * load.share_within(0.025), abs=0.001), 1_764_000_060 - 1435 * 60)
        assert series(lines, f'{name}_bucket{{{LABELS},le="+Inf"}} ')[-1][0] == 2940 * 86_400
        assert series(lines, f"{name}_count")[-1] == (2940 * 86_400, 1_764_000_060)
        mean = series(lines, f"{name}_sum")[-1][0] / (2940 * 86_400)
        assert mean == pytest.approx(load.mean_seconds)


def test_edges_are_written_as_prometheus_keeps_them() -> None:
    lines = list(samples(ESTATE, Steady(), REGION, minutes(NOW, 1), shift=0))
    assert series(
        lines,
        f'akidb_http_request_duration_seconds_bucket{{{LABELS},le="1.0"}}',
    )


def test_backfill_hands_promtool_all_regions_and_leaves_no_file(tmp_path: Path) -> None:
    promtool = program(
        tmp_path, "shutil.copy(sys.argv[-2], sys.argv[-1]); print(sys.argv, file=open(sys.argv[-1] + '/argv', 'w'))"
    )
    data = tmp_path / "prometheus" / "data"
    seconds = backfill(promtool, data, ESTATE, ["us-east-1", "eu-central-1"], NOW, days=1)
    assert seconds > 0
    assert [path.name for path in data.parent.iterdir()] == ["data"]
    assert "'openmetrics', '--max-block-duration=1500h', '--quiet'" in (data / "argv").read_text()
    lines = (data / "history.txt").read_text().splitlines()
    assert lines[-1] == "# EOF"
    assert len(series(lines, 'akidb_http_requests_total{region="eu-central-1"')) == 1440
    # The default start is the plant's: the last minute is at the weekday peak, whatever the clock says.
    last, before = series(lines, 'akidb_http_requests_total{region="us-east-1"')[-1:-3:-1]
    assert (last[0] - before[0]) / 60 == pytest.approx(2940, rel=0.07)


def test_start_now_follows_the_clock(tmp_path: Path) -> None:
    promtool = program(tmp_path, "shutil.copy(sys.argv[-2], sys.argv[-1])")
    night = 1_764_000_000 // 86_400 * 86_400 + 3 * 3600  # 03:00 UTC
    backfill(promtool, tmp_path / "data", ESTATE, [REGION], night, days=1, start="now")
    lines = (tmp_path / "data" / "history.txt").read_text().splitlines()
    last, before = series(lines, "akidb_http_requests_total")[-1:-3:-1]
    assert (last[0] - before[0]) / 60 == pytest.approx(50 * ESTATE.demand_scale() / 2, rel=0.07)


def test_a_number_is_the_plant_time_at_which_the_history_ends(tmp_path: Path) -> None:
    promtool = program(tmp_path, "shutil.copy(sys.argv[-2], sys.argv[-1])")
    night = 1_764_000_000.0 // 86_400 * 86_400 + 3 * 3600  # 03:00 UTC
    backfill(promtool, tmp_path / "data", ESTATE, [REGION], NOW, days=1, start=night)
    lines = (tmp_path / "data" / "history.txt").read_text().splitlines()
    last, before = series(lines, "akidb_http_requests_total")[-1:-3:-1]
    assert last[1] == 1_764_000_060  # by the clock, as ever
    assert (last[0] - before[0]) / 60 == pytest.approx(50 * ESTATE.demand_scale() / 2, rel=0.07)


def test_a_failed_promtool_is_told_in_its_own_words(tmp_path: Path) -> None:
    promtool = program(tmp_path, "sys.exit('no space left on device')")
    with pytest.raises(HistoryError, match="into data: no space left on device"):
        backfill(promtool, tmp_path / "data", ESTATE, [REGION], NOW, days=1)


def test_a_missing_promtool_names_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(HistoryError, match="run `make setup`"):
        backfill(tmp_path / "absent", tmp_path / "data", ESTATE, [REGION], NOW, days=1)
