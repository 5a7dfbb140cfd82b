"""What levers share: paths of fields, and the hash of a plan."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest

from include.rollout.canonical import canonical
from include.rollout.gates import Comparison, Gate
from include.rollout.lever import Difference, Plan, Stage, Undo, within


@pytest.mark.parametrize(
    ("path", "others", "inside"),
    [
        ("NodeGroup maxSize", ["NodeGroup maxSize"], True),
        ("Deployment akidb/rest spec.replicas", ["Deployment akidb/rest"], True),
        ("Deployment akidb/rest spec.replicas", ["Deployment akidb/rest spec"], True),
        ("Deployment akidb/rest-2 spec", ["Deployment akidb/rest"], False),
        ("NodePool/spot spec.limitsOfOthers", ["NodePool/spot spec.limits"], False),
        ("NodePool/spot spec", ["NodePool/spot spec.limits"], False),
        ("NodePool/spot spec", [], False),
    ],
)
def test_a_path_is_within_another_that_it_equals_or_goes_below(path: str, others: list[str], inside: bool) -> None:
    assert within(path, others) is inside


def test_a_plan_that_went_through_the_ledger_has_the_hash_that_was_approved() -> None:
    gate = Gate("availability", Comparison.AT_LEAST, 1.0, "ratio", 1, "the estate")
    stage = Stage("step_1", "all", (gate,), {"share": 1.0, "seconds": 30})
    difference = Difference("NodePool/spot spec.weight", 1.0, 2)
    plan = Plan("toy", "here", {"ratio": 3.0}, (difference,), (stage,), Decimal(1), Decimal(1), "aws", Undo.INSTANT)
    assert Plan.from_json(json.loads(canonical(plan.to_json()))).hash() == plan.hash()
