"""How many interruptions there were, and on how many nodes: drills are shown and never counted."""

from __future__ import annotations

import pytest

from include.levers.nodes.interruptions import interruption_rate, unplanned_notices


def test_interruption_rate_leaves_drills_out_and_shows_them() -> None:
    figure = interruption_rate(notices=3, drills=1, instances=40, source="query")
    assert figure is not None
    assert (figure.value, figure.unit, figure.samples) == (0.05, "ratio", 40)
    assert figure.note == "2 notices on 40 spot instances in 24 h, 1 drill notice not counted"


def test_interruption_rate_without_instances_is_no_data() -> None:
    assert interruption_rate(0, 0, 0, "query") is None


def test_unplanned_notices_are_a_count() -> None:
    figure = unplanned_notices(notices=2, drills=2, samples=5, source="query")
    assert (figure.value, figure.samples, figure.note) == (0, 5, "0 unplanned, 2 drill notices not counted")


def test_more_drills_than_notices_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="2 drills of 1 notices"):
        unplanned_notices(notices=1, drills=2, samples=1, source="query")
