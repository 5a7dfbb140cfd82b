"""What is wanted and not so: compared field by field, whatever else is live."""

from __future__ import annotations

from typing import Any

import pytest

from include.levers.unmet import unmet
from include.rollout.lever import Difference


@pytest.mark.parametrize(
    ("live", "wanted", "found"),
    [
        ({"a": 1, "b": 2}, {"a": 1}, []),
        ({"a": {"b": 1}}, {"a": {"b": 2}}, [Difference("X a.b", 1, 2)]),
        (None, {"a": 1}, [Difference("X", None, {"a": 1})]),
        ([1, 2], [2, 1], [Difference("X", [1, 2], [2, 1])]),
        ([{"key": "a", "values": ["1"]}, {"key": "b"}], [{"key": "a", "values": ["1"]}], []),
        ([{"key": "a", "values": ["1"]}], [{"key": "a", "values": ["2"]}], [Difference("X a.values", ["1"], ["2"])]),
        ('{"a": 1, "b": 2}', '{"b":2,"a":1}', []),
        ("{not json", "{nor this", [Difference("X", "{not json", "{nor this")]),
    ],
)
def test_only_wanted_fields_count(live: Any, wanted: Any, found: list[Difference]) -> None:
    assert unmet("X", live, wanted) == found
