"""One night's training of one region, step by step: window, gate, training, evaluation, promotion.

Each step takes and gives plain JSON, so that it may run in another process or pod than the one before; what is large
lies in the traffic table and the registry. ``python -m include.forecast.retrain`` is the training step for a pod.
"""

from __future__ import annotations

import argparse
import datetime as dt
import hashlib
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from include.clients.overlay import Overlay
from include.forecast.pod_storage import pod_storage
from include.forecast.registry import Action, ChampionDecision, ChampionPointer, NoChampionError, Registry
from include.forecast.traffic.table import TrafficTable
from include.forecast.trainer import PROFILE, CandidateTrainer, RetrainError, Trainer, country_of

if TYPE_CHECKING:
    from include.forecast.evaluation import WapeDifference
    from include.forecast.traffic.series import Array, TrafficSeries

WINDOW_DAYS = 30
SOURCES = (Path(__file__).parent, Path(__file__).parents[2] / "models")  # what decides a trained model's bytes
MAX_AGE_DAYS = 2  # the newest stored day may be this old when a run starts
POD_RESULT = Path("/airflow/xcom/return.json")  # where KubernetesPodOperator looks for what a pod returns
Json = dict[str, Any]


@dataclass(frozen=True)
class TrainingWindow:
    """The days that a run works with. ``fingerprint`` names their content."""

    region: str
    first: dt.date
    last: dt.date
    stored: int
    fingerprint: str

    @property
    def as_of(self) -> str:
        """The end of the window."""
        return f"{self.last + dt.timedelta(days=1)}T00:00:00Z"

    def to_json(self) -> Json:
        """For XCom."""
        return asdict(self) | {"first": str(self.first), "last": str(self.last)}

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> TrainingWindow:
        """The window that :meth:`to_json` wrote; other keys are left out."""
        fields = {name: raw[name] for name in ("region", "stored", "fingerprint")}
        return cls(first=dt.date.fromisoformat(raw["first"]), last=dt.date.fromisoformat(raw["last"]), **fields)


@lru_cache(maxsize=1)
def code_version() -> str:
    """A hash of the forecast's own sources and the network's: the same code and data need not be trained twice."""
    digest = hashlib.sha256()
    for folder in SOURCES:
        for path in sorted(folder.rglob("*.py")):
            digest.update(path.relative_to(folder).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()[:12]


# --- Window and gate --------------------------------------------------------------------------------------------------


def load_window(
    table: TrafficTable, region: str, last: dt.date | None = None, days: int = WINDOW_DAYS
) -> TrainingWindow:
    """The newest ``days`` that are over, up to ``last``. Raises RetrainError when no day is stored."""
    stored = [day for day in table.days(region) if last is None or day <= last]
    newest = next((day for day in reversed(stored) if (f := table.facts(region, day)) and f.complete), None)
    if newest is None:
        raise RetrainError(f"{region}: no whole day of traffic is stored: run traffic_export")
    known = [day for day in stored if newest - dt.timedelta(days=days) < day <= newest]
    facts = [found for day in known if (found := table.facts(region, day)) and found.complete]
    text = json.dumps([[str(found.day), found.content] for found in facts])
    return TrainingWindow(region, facts[0].day, newest, len(facts), hashlib.sha256(text.encode()).hexdigest()[:16])


def decided_before(registry: Registry, window: TrainingWindow) -> ChampionDecision | None:
    """The decision that this data and this code led to already, or None."""
    ended = {Action.PROMOTED, Action.KEPT}
    for decision in reversed(registry.history()):
        figures = decision.figures
        same = figures.get("window") == window.fingerprint and figures.get("code_version") == code_version()
        if decision.action in ended and same:
            return decision
    return None


def series_of(table: TrafficTable, window: TrainingWindow) -> TrafficSeries:
    """The window's minutes as the models take them."""
    from include.forecast.traffic.series import TrafficSeries

    values = table.series(window.region, window.first, window.last)
    start = dt.datetime.combine(window.first, dt.time(), dt.UTC)
    return TrafficSeries(window.region, start, 1, values.to_numpy())


def judge_data(table: TrafficTable, registry: Registry, window: TrainingWindow, today: dt.date) -> Json:
    """The window with what the gate saw. Raises RetrainError, with the reason on record, for thin or old data."""
    from include.forecast.traffic import series as dataset

    series = series_of(table, window)
    found = dataset.judge(series, dataset.split(len(series)))
    age = (today - window.last).days
    reason = found.refused
    if age > MAX_AGE_DAYS:
        reason = f"too old: the newest day is {window.last}, {age} days before {today}: run traffic_export"
    if reason:
        refuse(registry, window, reason)
        raise RetrainError(f"{window.region}: nothing is trained and the champion stays: {reason}")
    seen = {"metric": found.metric, "missing_share": found.missing_share, "zero_share": found.zero_share}
    return window.to_json() | {"gate": seen}


def refuse(registry: Registry, window: TrainingWindow, reason: str, version: str = "") -> ChampionDecision:
    """Put on record that nothing came of this night."""
    previous = registry.pointer().version
    figures = {"window": window.fingerprint, "code_version": code_version()}
    return registry.record(ChampionDecision(Action.REFUSED, version, previous, reason, window.as_of, figures))


# --- Training, evaluation, promotion ----------------------------------------------------------------------------------


def train(table: TrafficTable, registry: Registry, window: TrainingWindow, trainer: Trainer) -> Json:
    """Train, keep every candidate as a version; returns the window with the id of the first, the chosen one."""
    series = series_of(table, window)
    span = {"first": f"{window.first}T00:00:00Z", "last": window.as_of, "fingerprint": window.fingerprint}
    with tempfile.TemporaryDirectory(prefix="akidb-") as folder:
        made = trainer.train(series, Path(folder))
        if not made:
            raise RetrainError(f"{window.region}: training made no candidate; its log says why")
        versions = [
            registry.add(
                one.folder, model=one.model, window=span, metrics=dict(one.metrics), code_version=code_version()
            )
            for one in made
        ]
    return window.to_json() | {"version": versions[0], "model": made[0].model, "others": versions[1:]}


def evaluate(table: TrafficTable, registry: Registry, trained: Mapping[str, Any], trainer: Trainer) -> Json:
    """Judge the candidate against every naive and the champion on the newest 15 % of the window.

    The answer carries the pointer as it was read, so that a champion changed meanwhile is noticed.
    """
    from include.forecast.choose import promote as gate

    window = TrainingWindow.from_json(trained)
    pointer = registry.pointer()
    series = series_of(table, window)
    name, version = str(trained["model"]), str(trained["version"])
    with tempfile.TemporaryDirectory(prefix="akidb-") as folder:
        forecasts, problem = _forecasts(registry, version, series, trainer, Path(folder))
    wapes, rivals = compared(forecasts, series)
    promotion = gate(name, rivals)
    figures = {
        "window": window.fingerprint,
        "code_version": code_version(),
        "wape15": {who: round(value, 6) for who, value in wapes.items()},
        "differences": {who: [round(c.difference, 6), round(c.error, 6)] for who, c in rivals.items()},
    }
    reason = f"{promotion.reason}{f'; {problem}' if problem else ''}"
    place = {"version": pointer.version, "serial": pointer.serial, "etag": pointer.etag}
    return dict(trained) | {"promote": promotion.promoted, "reason": reason, "figures": figures, "pointer": place}


def _forecasts(
    registry: Registry, version: str, series: TrafficSeries, trainer: Trainer, folder: Path
) -> tuple[dict[str, Array], str]:
    """What the candidate, every naive and the champion say to the test part, 15 minutes ahead."""
    from include.forecast.candidates.baselines import naive_models
    from include.forecast.candidates.candidate import CandidateError
    from include.forecast.training import parts_of, together

    parts = parts_of(series, country_of(series.name))
    rolling, test = together(parts.fold, parts.validation), parts.test
    registry.fetch(version, folder / "candidate")
    forecasts = {"candidate": trainer.replay(folder / "candidate", test)[:, -1]}
    for naive in naive_models():
        naive.fit(parts.train, rolling)
        forecasts[naive.name] = naive.predict(test)[:, -1]
    try:
        champion = registry.load_champion(folder / "champion")
    except NoChampionError as error:
        return forecasts, str(error) if registry.pointer().etag else "it is the first champion"
    if champion.version == version:
        return forecasts, champion.problem
    try:
        forecasts[f"champion {champion.version}"] = trainer.replay(champion.folder, test)[:, -1]
    except CandidateError as error:
        # Whole, but not for this code: it can't be served either, so it can't hold its place.
        return forecasts, f"champion {champion.version} can't be used: {error}"
    return forecasts, champion.problem


def compared(
    forecasts: Mapping[str, Array], series: TrafficSeries
) -> tuple[dict[str, float], dict[str, WapeDifference]]:
    """WAPE of each forecast of the test part, and the candidate against each of the others."""
    from include.forecast import evaluation
    from include.forecast.training import parts_of

    truth = parts_of(series, None).test.targets()[:, -1]
    own = forecasts["candidate"]
    wapes = {name: evaluation.wape(values, truth) for name, values in forecasts.items()}
    rivals = {
        name: evaluation.wape_difference(own, values, truth, series.step)
        for name, values in forecasts.items()
        if name != "candidate"
    }
    return {name: value for name, value in wapes.items() if value is not None}, rivals


def promote(registry: Registry, evaluated: Mapping[str, Any]) -> ChampionDecision:
    """Move the pointer to the candidate, or put on record why not."""
    window = TrainingWindow.from_json(evaluated)
    place = evaluated["pointer"]
    expected = ChampionPointer(place["version"], place["serial"], None, place["etag"])
    version, reason, figures = str(evaluated["version"]), str(evaluated["reason"]), evaluated["figures"]
    if version == expected.version:
        why = f"the candidate is the champion already; {reason}"
        return registry.record(ChampionDecision(Action.KEPT, version, version, why, window.as_of, figures))
    if not evaluated["promote"]:
        return registry.record(ChampionDecision(Action.KEPT, version, expected.version, reason, window.as_of, figures))
    decision = ChampionDecision(Action.PROMOTED, version, expected.version, reason, window.as_of, figures)
    return registry.move(expected, decision)


def rehearse(table: TrafficTable, registry: Registry, window: TrainingWindow, trainer: Trainer) -> Json:
    """Train, evaluate and decide in one go, for a dry run whose ``registry`` keeps what is written to itself.

    The answer is that of :func:`evaluate` with the decision that :func:`promote` comes to.
    """
    evaluated = evaluate(table, registry, train(table, registry, window, trainer), trainer)
    return evaluated | {"decision": json.loads(json.dumps(promote(registry, evaluated).to_json()))}


# --- In a pod ---------------------------------------------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None, trainer: Trainer | None = None, result: Path = POD_RESULT) -> int:
    """The training step outside Airflow: credentials come from the pod's own role."""
    parser = argparse.ArgumentParser(prog="include.forecast.retrain", description="Train one region.")
    for name in ("region", "traffic", "models", "window"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--profile", default=PROFILE)
    parser.add_argument("--dry-run", choices=["true", "false"], default="false")
    options = parser.parse_args(arguments)
    window = TrainingWindow.from_json(json.loads(options.window))
    models, step = pod_storage(options.models), train
    if options.dry_run == "true":
        models, step = Overlay(models), rehearse
    made_by = trainer or CandidateTrainer(options.profile)
    table = TrafficTable(pod_storage(options.traffic))
    trained = step(table, Registry(models, options.region), window, made_by)
    if result.parent.is_dir():
        result.write_text(json.dumps(trained))
    print(json.dumps(trained))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
