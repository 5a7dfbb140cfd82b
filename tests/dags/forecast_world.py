"""What the forecast DAGs meet in tests: a Prometheus of numbers, a trainer of simple models, folders as storage."""

from __future__ import annotations

import importlib.util
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from include.clients.prometheus import Sample, Series

ROOT = Path(__file__).parents[2]
RECURRING = ROOT / "dags" / "recurring"
US, EU, AP = "us-east-1", "eu-central-1", "ap-northeast-1"  # AP is the canary and comes first


def load(name: str) -> Any:
    """A fresh module of a DAG file; calling its factory makes a fresh DAG."""
    spec = importlib.util.spec_from_file_location(f"dag_{name}", RECURRING / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return getattr(module, name)()


def demand(minute: int) -> float:
    """A daily wave with noise that depends on the minute only."""
    noise = ((minute // 60 * 2654435761) % 1000) / 1000 - 0.5
    return (1000 + 800 * math.sin(2 * math.pi * minute / 86400)) * (1 + 0.05 * noise)


class FakePrometheus:
    """Demand for every minute; ``gone`` regions have nothing, ``live`` gives the served forecast of a moment."""

    def __init__(self, region: str, gone: Sequence[str] = (), live: Callable[[int], float] | None = None) -> None:
        self.region, self.gone, self.live = region, gone, live

    def query_range(self, expression: str, start: float, end: float, step: float) -> list[Series]:
        times = range(round(start), round(end) + 1, round(step))
        labels = {"region": self.region, "instance": "predictor"}
        if "akidb_forecast" in expression:
            if not self.live or "model_info" in expression:
                return []
            value: Callable[[int], float] = float if "timestamp" in expression else self.live
            return [Series(labels, tuple((float(at), value(at)) for at in times))]
        if self.region in self.gone or "up[" in expression:
            return []
        return [Series({}, tuple((float(at), demand(at - 60)) for at in times))]

    def query(self, expression: str, at: float | None = None) -> list[Sample]:
        return [] if self.region in self.gone else [Sample({}, 0.0, 1.0)]


class FakeTrainer:
    """A "model" is a number: its forecast is what really comes, times that number."""

    def __init__(self, factor: float = 1.001, broken: Sequence[str] = ()) -> None:
        self.factor, self.broken = factor, broken

    def train(self, series: Any, folder: Path) -> list[Any]:
        from include.forecast.trainer import SavedCandidate

        if series.name in self.broken:
            raise RuntimeError("the training process died")
        made = []
        for model, factor in (("blend", self.factor), ("last_week_scaled", 1.05)):
            (folder / model).mkdir()
            (folder / model / "model.json").write_text(json.dumps({"factor": factor}))
            made.append(SavedCandidate(model, folder / model, {"validation_wape15": 0.01}))
        return made

    def replay(self, folder: Path, windows: Any) -> Any:
        return windows.targets() * json.loads((folder / "model.json").read_text())["factor"]


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The two storages as folders, named by their Airflow Variables."""
    for name in ("traffic", "models"):
        monkeypatch.setenv(f"AIRFLOW_VAR_AKIDB_{name.upper()}", str(tmp_path / name))
    return tmp_path


def errors_of(run_id: str, dag_id: str, caplog: Any) -> str:
    """Everything that was logged."""
    return "\n".join(record.getMessage() for record in caplog.records)
