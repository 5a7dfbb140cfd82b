"""The whole path on every trace of a folder: ``python -m include.forecast.benchmark FOLDER --json``.

One JSON line a trace. The test part is looked at once, after the champion was chosen.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from include.forecast.candidates.lstm import PROFILES, Lstm
from include.forecast.traffic.series import DatasetError, load_series
from include.forecast.training import Tested, Trained, TrainingSettings, look_at_test, train_candidates

FIELDS = (
    "trace",
    "champion",
    "wape15",
    "lstm_wape15",
    "lightgbm_wape15",
    "best_naive",
    "best_naive_wape15",
    "train_seconds",
    "refused",
)


def traces(folder: Path) -> Iterator[Path]:
    """The CSV and Parquet files of a folder, by name."""
    for path in sorted(folder.iterdir()):
        if path.name.endswith((".csv", ".csv.gz", ".parquet")):
            yield path


def run(path: Path, settings: TrainingSettings, cards: Path | None = None) -> dict[str, Any]:
    """The result of one trace, its page written into ``cards``; a file that is no series is refused with the reason."""
    name = path.name.removesuffix(".gz").removesuffix(".csv").removesuffix(".parquet")
    begun = time.monotonic()
    try:
        series = load_series(path)
    except DatasetError as error:
        return {**dict.fromkeys(FIELDS), "trace": name, "refused": str(error)}
    trained = train_candidates(series, settings)
    if trained.choice is None:
        return {**dict.fromkeys(FIELDS), "trace": name, "refused": trained.quality.refused}
    seconds = time.monotonic() - begun
    tested = look_at_test(trained)
    if cards is not None:
        from include.forecast.card import model_card

        cards.mkdir(parents=True, exist_ok=True)
        (cards / f"{name}.html").write_text(model_card(trained, tested), encoding="utf-8")
    return result_line(name, trained, tested, seconds)


def result_line(name: str, trained: Trained, tested: Tested, seconds: float) -> dict[str, Any]:
    """The line of a trace: FIELDS, and what explains them."""
    results, champion = tested.results, trained.chosen.name
    own, naive, lstm = results[champion], results[tested.best_naive], results.get("lstm")
    against = own.against_best_naive
    return {
        "trace": name,
        "champion": champion,
        "wape15": rounded(own.wape),
        "lstm_wape15": rounded(lstm.wape) if lstm else None,
        "lightgbm_wape15": rounded(results["lightgbm"].wape),
        "best_naive": tested.best_naive,
        "best_naive_wape15": rounded(naive.wape),
        "train_seconds": round(seconds, 1),
        "refused": None,
        "metric": trained.quality.metric,
        "mae15": rounded(own.mae),
        "median_mae15": rounded(results["median"].mae),
        "wape15_error": rounded(own.error),
        "difference": rounded(against.difference),
        "difference_error": rounded(against.error),
        "tie_with_best_naive": against.tie,
        "p90_coverage": rounded(own.horizons[-1].coverage_p90),
        "extra_node_share": rounded(own.operational.extra_share),
        "lstm_beats_best_naive": lstm.against_best_naive.difference < 0 if lstm else None,
        "choice": trained.choice.reason if trained.choice else None,
        "promotion": tested.promotion.reason,
        "blend": {part: round(weight, 2) for part, weight in trained.weights.items()},
        "lstm_stopped": stopped(trained),
    }


def stopped(trained: Trained) -> str | None:
    """Why the LSTM's training ended: epochs, early stopping or the wall cap."""
    candidate = trained.candidates.get(Lstm.name)
    return candidate.model.progress.stopped if candidate and isinstance(candidate.model, Lstm) else None


def rounded(value: float | None) -> float | None:
    """Four digits are more than the noise allows."""
    return None if value is None else round(value, 4)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run every trace; 1 when the folder has none."""
    parser = argparse.ArgumentParser(prog="python -m include.forecast.benchmark", description=__doc__)
    parser.add_argument("folder", type=Path, help="folder with traces: timestamp and requests_per_minute or qps")
    parser.add_argument("--json", action="store_true", help="one JSON line a trace (the default is the same)")
    parser.add_argument("--profile", choices=[*PROFILES, "none"], default="fast", help="how the LSTM is trained")
    parser.add_argument("--cards", type=Path, help="folder for a page about each trace's model")
    parser.add_argument("--country", help="country of the public holidays, such as US")
    options = parser.parse_args(arguments)
    settings = replace(TrainingSettings(), lstm=PROFILES.get(options.profile), country=options.country)
    count = 0
    for path in traces(options.folder):
        print(json.dumps(run(path, settings, options.cards)), flush=True)
        count += 1
    if not count:
        print(f"{options.folder} has no .csv, .csv.gz or .parquet file", file=sys.stderr)
    return 0 if count else 1


if __name__ == "__main__":
    sys.exit(main())
