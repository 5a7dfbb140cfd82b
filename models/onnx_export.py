"""The trained network as ONNX, written node by node from the Keras weights: serving needs no Keras.

Keras keeps the gates of an LSTM in the order input, forget, cell, output; ONNX wants input, output, forget, cell.
Dropout does nothing outside training and is left out.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

OPSET = 17
IR_VERSION = 9
Weights = NDArray[np.float32]


def onnx_gates(kernel: Weights) -> Weights:
    """Keras' last axis (4 x units: i, f, c, o) in the order of ONNX (i, o, f, c)."""
    entry, forget, cell, output = np.split(kernel, 4, axis=-1)
    return np.concatenate([entry, output, forget, cell], axis=-1)


def export_lstm(model: Any) -> bytes:
    """The ONNX file of a network of ``models.lstm.build_lstm``."""
    from onnx import TensorProto, checker, helper

    lookback, channels = model.input_shape[1:]
    nodes = [helper.make_node("Transpose", ["window"], ["time_first"], perm=[1, 0, 2])]
    tensors: list[Any] = []
    layers = [layer for layer in model.layers if layer.name.startswith("lstm_")]
    state = "time_first"
    for layer in layers:
        made, kept, state = _lstm_nodes(layer, state, last=layer is layers[-1])
        nodes, tensors = nodes + made, tensors + kept
    for name, activation in (("dense", "Relu"), ("forecast", None)):
        made, kept, state = _dense_nodes(model.get_layer(name), state, activation)
        nodes, tensors = nodes + made, tensors + kept
    graph = helper.make_graph(
        nodes,
        "traffic_lstm",
        [helper.make_tensor_value_info("window", TensorProto.FLOAT, ["n", lookback, channels])],
        [helper.make_tensor_value_info(state, TensorProto.FLOAT, ["n", model.output_shape[1]])],
        tensors,
    )
    made_model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    checker.check_model(made_model)
    return bytes(made_model.SerializeToString())


def _lstm_nodes(layer: Any, state: str, *, last: bool) -> tuple[list[Any], list[Any], str]:
    from onnx import helper, numpy_helper

    kernel, recurrent, bias = (np.asarray(weight, np.float32) for weight in layer.get_weights())
    tensors = [
        numpy_helper.from_array(np.ascontiguousarray(onnx_gates(kernel).T[None]), f"{layer.name}_w"),
        numpy_helper.from_array(np.ascontiguousarray(onnx_gates(recurrent).T[None]), f"{layer.name}_r"),
        numpy_helper.from_array(np.concatenate([onnx_gates(bias), np.zeros_like(bias)])[None], f"{layer.name}_b"),
        numpy_helper.from_array(np.array([0 if last else 1], np.int64), f"{layer.name}_axis"),
    ]
    outputs = ["", f"{layer.name}_end"] if last else [f"{layer.name}_all"]
    inputs = [state, *(tensor.name for tensor in tensors[:3])]
    nodes = [
        helper.make_node("LSTM", inputs, outputs, hidden_size=layer.units),
        helper.make_node("Squeeze", [outputs[-1], f"{layer.name}_axis"], [f"{layer.name}_out"]),
    ]
    return nodes, tensors, f"{layer.name}_out"


def _dense_nodes(layer: Any, state: str, activation: str | None) -> tuple[list[Any], list[Any], str]:
    from onnx import helper, numpy_helper

    kernel, bias = (np.asarray(weight, np.float32) for weight in layer.get_weights())
    tensors = [numpy_helper.from_array(kernel, f"{layer.name}_w"), numpy_helper.from_array(bias, f"{layer.name}_b")]
    nodes = [helper.make_node("Gemm", [state, tensors[0].name, tensors[1].name], [f"{layer.name}_sum"])]
    if activation is None:
        return nodes, tensors, f"{layer.name}_sum"
    nodes.append(helper.make_node(activation, [f"{layer.name}_sum"], [f"{layer.name}_out"]))
    return nodes, tensors, f"{layer.name}_out"
