"""What levers share: paths of fields."""

from __future__ import annotations

import pytest

from include.rollout.lever import within


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
