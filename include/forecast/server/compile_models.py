"""Makes a version ready to be served: ``python -m include.forecast.server.compile_models FOLDER``.

It runs in a process of its own. A damaged model that crashes LightGBM takes down this process, not the server; and the
server needs neither LightGBM's libraries nor the half second of work that would hold up requests.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from include.forecast.candidates.blend import Blend, Model
from include.forecast.candidates.candidate import Candidate, CandidateError
from include.forecast.candidates.trees import Trees
from include.forecast.server.fast_candidate import PROBES, TREES
from include.forecast.traffic.series import Array

HOURS = 4  # of the saved tail on which the server must agree with the candidate
TIMEOUT_SECONDS = 180.0
ROOT = Path(__file__).parents[3]


def compile_apart(folder: Path) -> None:
    """Run ``compile_version`` in a process of its own. Raises CandidateError when the version is unusable."""
    command = [sys.executable, "-m", "include.forecast.server.compile_models", str(folder)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    try:
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise CandidateError(f"it could not be prepared within {TIMEOUT_SECONDS:.0f} s: train again") from None
    if done.returncode:
        reported = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        raise CandidateError(reported[-1])


def compile_version(folder: Path) -> None:
    """Write what the server needs beside the candidate in ``folder``. Raises CandidateError."""
    candidate = Candidate.load(folder)
    if candidate.step != 1:
        raise CandidateError(f"it forecasts every {candidate.step} minutes, the server every minute: train on 1 minute")
    for trees in trees_of(candidate.model):
        (folder / TREES).write_bytes(trees_as_onnx(trees))
    answers = [_answer(candidate, window, end) for window, end in probes(candidate)]
    (folder / PROBES).write_text(json.dumps(answers), encoding="utf-8")


def trees_of(model: Model) -> list[Trees]:
    """The boosted trees in ``model``: one or none."""
    if isinstance(model, Trees):
        return [model]
    return [part for part in model.parts if isinstance(part, Trees)] if isinstance(model, Blend) else []


def probes(candidate: Candidate) -> list[tuple[Array, datetime]]:
    """Hours to try a candidate on, with the start of their last step: flat, and the newest whole ones of its tail."""
    tail, size = candidate.tail, candidate.lookback
    found = [(np.full(size, max(candidate.floor, 1.0)), tail.at(len(tail) - 1))]
    for end in range(len(tail), size - 1, -size):
        window = tail.values[end - size : end]
        if len(found) <= HOURS and np.isfinite(window).all():
            found.append((window, tail.at(end - 1)))
    return found


def _answer(candidate: Candidate, window: Array, end: datetime) -> dict[str, Any]:
    seconds = [end.timestamp() + 60 * candidate.step * number for number in range(1 - len(window), 1)]
    p50, p90 = candidate.predict(window, [datetime.fromtimestamp(second, UTC) for second in seconds])
    if not np.isfinite([p50, p90]).all():
        raise CandidateError("it gives no number for an hour of its own training data: train again")
    return {"window": window.tolist(), "end": end.isoformat(), "p50": p50.tolist(), "p90": p90.tolist()}


# --- Trees as ONNX ----------------------------------------------------------------------------------------------------


@dataclass
class Nodes:
    """The attributes of ONNX' TreeEnsembleRegressor, one list each; a leaf is a node without a split."""

    lists: dict[str, list[Any]] = field(default_factory=dict)

    def add(self, **values: Any) -> int:
        """One node more; returns its place."""
        for name, value in values.items():
            self.lists.setdefault(name, []).append(value)
        return len(self.lists["nodes_treeids"]) - 1


def trees_as_onnx(trees: Trees) -> bytes:
    """One ONNX file for both boosters of every member: [steps, columns] features in, [steps, 1] mean changes out.

    The last row goes to the boosters of the last step, the rows above it to the others. Double precision but for the
    sum.
    """
    from onnx import TensorProto, helper

    early, last = [member.early for member in trees.members], [member.last for member in trees.members]
    nodes = [
        helper.make_node("Slice", ["features", "begin", "last"], ["rows_early"]),
        helper.make_node("Slice", ["features", "last", "end"], ["rows_last"]),
        mean_of_boosters(early, "rows_early", "changes_early"),
        mean_of_boosters(last, "rows_last", "changes_last"),
        helper.make_node("Concat", ["changes_early", "changes_last"], ["changes"], axis=0),
    ]
    places = {"begin": 0, "last": -1, "end": 2**31 - 1}
    graph = helper.make_graph(
        nodes,
        "trees",
        [helper.make_tensor_value_info("features", TensorProto.DOUBLE, ["n", early[0].num_feature()])],
        [helper.make_tensor_value_info("changes", TensorProto.FLOAT, ["n", 1])],
        [helper.make_tensor(name, TensorProto.INT64, [1], [place]) for name, place in places.items()],
    )
    opsets = [helper.make_opsetid("ai.onnx.ml", 3), helper.make_opsetid("", 17)]
    return bytes(helper.make_model(graph, opset_imports=opsets, ir_version=9).SerializeToString())


def mean_of_boosters(boosters: Sequence[Any], rows: str, changes: str) -> Any:
    """LightGBM boosters as one ONNX node from ``rows`` to ``changes``: the mean of theirs."""
    from onnx import TensorProto, helper

    nodes, leaves, tree = Nodes(), Nodes(), 0
    for booster in boosters:
        for information in booster.dump_model()["tree_info"]:
            _add_tree(nodes, leaves, tree, information["tree_structure"], 1.0 / len(boosters))
            tree += 1
    attributes: dict[str, Any] = nodes.lists | {
        f"target_{name.removeprefix('nodes_')}": got for name, got in leaves.lists.items()
    }
    for name in ("nodes_values", "target_weights"):
        got = attributes.pop(name)
        attributes[f"{name}_as_tensor"] = helper.make_tensor(name, TensorProto.DOUBLE, [len(got)], got)
    return helper.make_node("TreeEnsembleRegressor", [rows], [changes], domain="ai.onnx.ml", n_targets=1, **attributes)


def _add_tree(nodes: Nodes, leaves: Nodes, tree: int, root: dict[str, Any], share: float) -> None:
    """Add one tree of ``dump_model``; its leaves count ``share`` times."""
    first = len(nodes.lists.get("nodes_treeids", []))

    def add(node: dict[str, Any]) -> int:
        split = "split_feature" in node
        place = nodes.add(
            nodes_treeids=tree,
            nodes_nodeids=len(nodes.lists.get("nodes_treeids", [])) - first,
            nodes_featureids=node["split_feature"] if split else 0,
            nodes_values=float(node["threshold"]) if split else 0.0,
            nodes_modes="BRANCH_LEQ" if split else "LEAF",
            nodes_truenodeids=0,
            nodes_falsenodeids=0,
            nodes_missing_value_tracks_true=int(split and _missing_goes_left(node)),
        )
        if split:
            nodes.lists["nodes_truenodeids"][place] = add(node["left_child"])
            nodes.lists["nodes_falsenodeids"][place] = add(node["right_child"])
        else:
            leaves.add(
                nodes_treeids=tree, nodes_nodeids=place - first, nodes_ids=0, nodes_weights=node["leaf_value"] * share
            )
        return place - first

    add(root)


def _missing_goes_left(node: dict[str, Any]) -> bool:
    if node["decision_type"] != "<=" or node["missing_type"] not in {"None", "NaN"}:
        raise CandidateError(f"a split by {node['decision_type']} ({node['missing_type']}) can't be served")
    # Where training saw no missing value, LightGBM takes a later one for zero.
    return bool(node["default_left"]) if node["missing_type"] == "NaN" else float(node["threshold"]) >= 0.0


def main(arguments: Sequence[str] | None = None) -> int:
    """``compile_version`` for the folder that is named; 1 with the reason on stderr when the version is unusable."""
    (folder,) = sys.argv[1:] if arguments is None else arguments
    try:
        compile_version(Path(folder))
    except CandidateError as error:
        print(" ".join(str(error).split()), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
