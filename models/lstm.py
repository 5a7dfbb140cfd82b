"""The forecast network in Keras: three LSTM layers, dropout after each, a dense layer, one output a minute ahead."""

from __future__ import annotations

import os
from typing import Any

CHANNELS = ("value", "shape", "sin", "cos", "rest")
UNITS = (128, 64, 32)
DROPOUT = 0.2
DENSE = 16


def keras_module() -> Any:
    """Keras on JAX: the backend is chosen before the first import."""
    os.environ.setdefault("KERAS_BACKEND", "jax")
    import keras

    return keras


def build_lstm(lookback: int, horizon: int, units: tuple[int, ...] = UNITS, seed: int = 0) -> Any:
    """The untrained network: [n, lookback, 5] in, [n, horizon] out. It begins with zeros out: no change."""
    keras = keras_module()
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((lookback, len(CHANNELS)), name="window")
    state = inputs
    for number, size in enumerate(units):
        more = number < len(units) - 1
        state = keras.layers.LSTM(size, return_sequences=more, name=f"lstm_{number}")(state)
        state = keras.layers.Dropout(DROPOUT, seed=seed + number, name=f"dropout_{number}")(state)
    state = keras.layers.Dense(DENSE, activation="relu", name="dense")(state)
    outputs = keras.layers.Dense(horizon, kernel_initializer="zeros", name="forecast")(state)
    return keras.Model(inputs, outputs, name="traffic_lstm")
