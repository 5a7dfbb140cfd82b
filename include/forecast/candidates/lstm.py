"""The LSTM candidate: it learns the change against a simple forecast, in units of the recent level.

Training keeps the best weights, stops early, ends at a wall cap, and goes on after a kill from the last whole epoch.
Under one seed two trainings give the same weights, an interrupted one included. Forecasts are made by ONNX Runtime.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from include.forecast.candidates.baselines import Naive, Seasonal, total_error
from include.forecast.traffic.features import DAY, HORIZON_MINUTES, WEEK, TrainingWindows, minute_of_week, rest_days
from include.forecast.traffic.series import Array

Tensor = NDArray[np.float32]
INPUT_LIMITS = (-2.0, 4.0)
TARGET_LIMITS = (-4.0, 8.0)
VALIDATION_WINDOWS = 2000


@dataclass(frozen=True)
class LstmSettings:
    """How the network is trained. ``schedule``: ``cosine`` falls every epoch, ``plateau`` halves after 3 idle ones."""

    profile: str = "fast"
    units: tuple[int, ...] = (128, 64, 32)
    batch: int = 128
    epochs: int = 10
    patience: int = 5
    learning_rate: float = 2e-3
    schedule: str = "cosine"
    loss: str = "mae"
    windows: int | None = 6000
    wall_cap_seconds: float = 600.0
    seed: int = 0


PROFILES = {
    "fast": LstmSettings(),
    # For a rehearsal or CI: under a minute of one core.
    "quick": LstmSettings(profile="quick", epochs=5, windows=2000),
    "seed": LstmSettings(
        profile="seed", batch=32, epochs=50, learning_rate=1e-3, schedule="plateau", loss="mae", windows=None
    ),
}


@dataclass
class Progress:
    """How far a training is: what a checkpoint keeps beside the weights."""

    epoch: int = 0
    seconds: float = 0.0
    best: float = math.inf
    best_epoch: int = -1
    losses: list[float] = field(default_factory=list)
    stopped: str = ""


@dataclass(frozen=True)
class Examples:
    """Network inputs with targets and weights."""

    inputs: Tensor
    targets: Tensor
    weights: Tensor


def learning_rate(settings: LstmSettings, losses: list[float]) -> float:
    """The rate of the next epoch after epochs with these validation losses."""
    if settings.schedule == "cosine":
        return settings.learning_rate * 0.5 * (1.0 + math.cos(math.pi * len(losses) / settings.epochs))
    halvings, best, waited = 0, math.inf, 0
    for loss in losses:
        best, waited = (loss, 0) if loss < best else (best, waited + 1)
        if waited == 3:
            halvings, waited = halvings + 1, 0
    return settings.learning_rate * 0.5**halvings


def stop_reason(settings: LstmSettings, progress: Progress) -> str:
    """Why no further epoch is trained: ``epochs``, ``early stopping``, ``wall cap``; or '' to go on."""
    if progress.epoch >= settings.epochs:
        return "epochs"
    if progress.epoch - 1 - progress.best_epoch >= settings.patience and progress.epoch:
        return "early stopping"
    longest = progress.seconds / progress.epoch if progress.epoch else 0.0
    if progress.epoch and progress.seconds + longest > settings.wall_cap_seconds:
        return "wall cap"
    return ""


def train_network(
    train: Examples,
    validation: Examples,
    settings: LstmSettings,
    checkpoint: Path | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> tuple[Any, Progress]:
    """The network with its best weights. With ``checkpoint`` a killed training goes on from its last whole epoch."""
    origin = made_from(train, settings) if checkpoint is not None else {}
    model, progress, best = _begin(train, settings, checkpoint)
    while not (reason := stop_reason(settings, progress)):
        begun = clock()
        model.optimizer.learning_rate = learning_rate(settings, progress.losses)
        seed_epoch(model, settings.seed, progress.epoch)
        order = np.random.default_rng([settings.seed, progress.epoch]).permutation(len(train.inputs))
        model.fit(
            train.inputs[order],
            train.targets[order],
            sample_weight=train.weights[order],
            batch_size=settings.batch,
            shuffle=False,
            verbose=0,
        )
        loss = _loss(model, validation)
        progress.losses.append(loss)
        if loss < progress.best:
            progress.best, progress.best_epoch, best = loss, progress.epoch, model.get_weights()
        progress.epoch += 1
        progress.seconds += clock() - begun
        if checkpoint is not None:
            _keep(checkpoint, model, best, progress, origin)
    progress.stopped = reason
    model.set_weights(best)
    return model, progress


def seed_epoch(model: Any, seed: int, epoch: int) -> None:
    """Let dropout draw by the number of the epoch, however often training was killed before it."""
    layers = [layer for layer in model.layers if layer.name.startswith("dropout_")]
    for number, layer in enumerate(layers):
        layer.seed_generator.state.assign(np.array([seed + 1000 * epoch + number, 0], np.uint32))


def _begin(train: Examples, settings: LstmSettings, checkpoint: Path | None) -> tuple[Any, Progress, list[Any]]:
    from models.lstm import build_lstm, keras_module

    keras = keras_module()
    state = kept_state(checkpoint, made_from(train, settings))
    if checkpoint is not None and state is not None:
        model = keras.saving.load_model(checkpoint / f"latest_{state['epoch']}.keras")
        with np.load(checkpoint / f"best_{state['epoch']}.npz") as kept:
            best = [kept[f"arr_{number}"] for number in range(len(kept.files))]
        return model, Progress(**state), best
    model = build_lstm(train.inputs.shape[1], train.targets.shape[1], settings.units, settings.seed)
    loss = "mae" if settings.loss == "mae" else keras.losses.Huber(delta=0.2)
    model.compile(keras.optimizers.Adam(settings.learning_rate, clipnorm=1.0), loss=loss)
    return model, Progress(), model.get_weights()


def made_from(train: Examples, settings: LstmSettings) -> dict[str, Any]:
    """What a checkpoint belongs to: other data or settings must not go on from it."""
    data = hashlib.sha256(train.inputs.tobytes() + train.targets.tobytes()).hexdigest()
    return {"settings": json.loads(json.dumps(asdict(settings))), "data": data}


def kept_state(checkpoint: Path | None, origin: dict[str, Any]) -> dict[str, Any] | None:
    """The progress in ``checkpoint`` if it belongs to this data and these settings."""
    try:
        kept = json.loads((checkpoint / "state.json").read_text()) if checkpoint else {}
    except (OSError, ValueError):
        return None
    state: dict[str, Any] | None = kept["progress"] if kept.get("made_from") == origin else None
    return state


def _keep(checkpoint: Path, model: Any, best: list[Any], progress: Progress, origin: dict[str, Any]) -> None:
    """The state file is replaced last and names the others: a kill leaves the old epoch or the new one."""
    checkpoint.mkdir(parents=True, exist_ok=True)
    model.save(checkpoint / f"latest_{progress.epoch}.keras")
    np.savez(checkpoint / f"best_{progress.epoch}.npz", *best)
    fresh = checkpoint / "state.json.new"
    fresh.write_text(json.dumps({"made_from": origin, "progress": asdict(progress)}))
    fresh.replace(checkpoint / "state.json")
    for old in checkpoint.glob(f"*_{progress.epoch - 1}.*"):
        old.unlink()


def _loss(model: Any, examples: Examples) -> float:
    errors = np.abs(model.predict(examples.inputs, batch_size=1024, verbose=0) - examples.targets).mean(axis=1)
    return float((errors * examples.weights).sum() / examples.weights.sum())


@dataclass
class Lstm:
    """The network behind the interface of every candidate; ``base`` is the simple forecast that it corrects.

    ``trust`` is the share of the correction that is used, chosen on the validation part.
    """

    settings: LstmSettings = field(default_factory=LstmSettings)
    checkpoint: Path | None = None
    base: Naive | Seasonal = field(default_factory=lambda: Naive(0, scaled=True, minutes=15))
    onnx: bytes = b""
    keras: bytes = b""
    progress: Progress = field(default_factory=Progress)
    trust: float = 1.0
    name: ClassVar[str] = "lstm"

    def fit(self, train: TrainingWindows, validation: TrainingWindows) -> None:
        """Choose the simple forecast on the training part, then learn what it misses."""
        from models.onnx_export import export_lstm

        self.base = best_base(train)
        model, self.progress = train_network(
            self.examples(train, self.settings.windows),
            self.examples(validation, VALIDATION_WINDOWS),
            self.settings,
            self.checkpoint,
        )
        self.onnx = export_lstm(model)
        self.keras = keras_bytes(model)
        self.__dict__.pop("session", None)
        self.trust = 1.0
        self.trust = best_trust(self.base.predict(validation), self.predict(validation), validation)

    def examples(self, windows: TrainingWindows, most: int | None) -> Examples:
        """Inputs, targets and weights of at most ``most`` windows, evenly spread; those across gaps are dropped."""
        whole: NDArray[np.bool_] = np.asarray(np.isfinite(windows.targets()).all(axis=1))
        windows = windows.take(whole)
        if most is not None and most < len(windows):
            windows = windows.take(np.linspace(0, len(windows) - 1, most).astype(np.int64))
        scale = windows.scale()
        change = (windows.targets() - self.base.predict(windows)) / scale[:, None]
        targets = np.clip(change, *TARGET_LIMITS).astype(np.float32)
        return Examples(self.inputs(windows), targets, (scale / scale.mean()).astype(np.float32))

    def inputs(self, windows: TrainingWindows) -> Tensor:
        """[n, lookback, 5]: values and the seasonal shape against the level, the time on a circle, days of rest."""
        ahead = np.arange(1 - windows.lookback, 1) + windows.past.steps(HORIZON_MINUTES)
        seen = windows.origins[:, None] + np.arange(1 - windows.lookback, 1)
        value = windows.past.values[seen] / windows.scale()[:, None] - 1.0
        angle = 2.0 * np.pi * minute_of_week(windows, ahead) / DAY
        around = self.base.around if isinstance(self.base, Seasonal) else 7
        channels = [
            np.clip(value, *INPUT_LIMITS),
            np.clip(seasonal_shape(windows, ahead, around), *INPUT_LIMITS),
            np.sin(angle),
            np.cos(angle),
            rest_days(windows, ahead),
        ]
        return np.stack(channels, axis=-1).astype(np.float32)

    @cached_property
    def session(self) -> Any:
        """The network in ONNX Runtime."""
        return onnx_session(self.onnx)

    def predict(self, windows: TrainingWindows) -> Array:
        """[n, horizon] values."""
        forecasts = [np.empty((0, windows.horizon))]
        for first in range(0, len(windows), 4096):
            part = windows.take(slice(first, first + 4096))
            change = self.session.run(None, {"window": self.inputs(part)})[0].astype(float)
            correction = self.trust * change * part.scale()[:, None]
            forecasts.append(np.maximum(self.base.predict(part) + correction, 0.0))
        return np.concatenate(forecasts)

    def save(self, folder: Path) -> None:
        """Write the network (ONNX for serving, Keras for training on) and how it was trained."""
        (folder / "lstm.onnx").write_bytes(self.onnx)
        (folder / "lstm.keras").write_bytes(self.keras)
        about: dict[str, Any] = {
            "settings": asdict(self.settings),
            "progress": asdict(self.progress),
            "base": base_record(self.base),
        }
        about["trust"] = self.trust
        (folder / "lstm.json").write_text(json.dumps(about, indent=1), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Lstm:
        """What ``save`` wrote."""
        about = json.loads((folder / "lstm.json").read_text(encoding="utf-8"))
        settings = replace(LstmSettings(**about["settings"]), units=tuple(about["settings"]["units"]))
        network = (folder / "lstm.onnx").read_bytes()
        kept = (folder / "lstm.keras").read_bytes() if (folder / "lstm.keras").exists() else b""
        lstm = cls(
            settings, None, base_from(about["base"]), network, kept, Progress(**about["progress"]), about["trust"]
        )
        # A damaged network must show now, not at the first request.
        _ = lstm.session
        return lstm


def onnx_session(network: bytes) -> Any:
    """ONNX Runtime on one thread: a request must not take every core."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(network, options, providers=["CPUExecutionProvider"])


def best_trust(base: Array, corrected: Array, validation: TrainingWindows) -> float:
    """The share of the correction with the smallest error at the last step of the validation part: 0, 0.1 ... 1."""
    shares = [round(0.1 * tenth, 1) for tenth in range(11)]
    errors = [total_error(base + share * (corrected - base), validation) for share in shares]
    return shares[int(np.argmin(errors))]


def seasonal_shape(windows: TrainingWindows, ahead: NDArray[np.int64], around: int) -> Array:
    """Yesterday's and last week's values at ``ahead`` against their level then, less one; 0 where both are missing."""
    shapes = []
    for period in (DAY, WEEK):
        before = windows.origins - windows.past.steps(period)
        level = np.fmax(windows.past.level(before, 15), windows.floor)[:, None]
        shapes.append(windows.past.around(before[:, None] + ahead, around) / level - 1.0)
    known = np.isfinite(shapes)
    total: Array = np.where(known, shapes, 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    return total


def best_base(train: TrainingWindows) -> Naive | Seasonal:
    """The simple forecast with the smallest error on the training part."""
    bases: list[Naive | Seasonal] = [Naive(0, scaled=True), Seasonal(DAY), Seasonal(WEEK)]
    for base in bases:
        base.fit(train, train)
    return min(bases, key=lambda base: total_error(base.predict(train), train))


def base_record(base: Naive | Seasonal) -> dict[str, Any]:
    """A simple forecast as JSON."""
    return {"kind": type(base).__name__, **asdict(base)}


def base_from(record: dict[str, Any]) -> Naive | Seasonal:
    """The simple forecast that ``base_record`` wrote."""
    settings = {key: value for key, value in record.items() if key != "kind"}
    return Naive(**settings) if record["kind"] == "Naive" else Seasonal(**settings)


def keras_bytes(model: Any) -> bytes:
    """The Keras file of a network."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "lstm.keras"
        model.save(path)
        return path.read_bytes()
