"""The sizes that a node group gets back: the snapshot's or what the pods need, never less than it has."""

from __future__ import annotations

import pytest

from include.levers.nodes.group_size import Before, Need
from include.rollout.lever import Difference

WAS = {"minSize": 5, "maxSize": 8, "desiredSize": 5}


def before(moved: bool = False) -> Before:
    return Before(WAS, {"c7g.2xlarge on-demand": 5}, 2, frozenset(), moved)


def size(name: str, was: int, now: int) -> Difference:
    return Difference(f"NodeGroup {name}", was, now)


@pytest.mark.parametrize(
    ("live", "needed", "moved", "wanted", "left"),
    [
        ((2, 8, 2), 2, False, {"minSize": 5, "desiredSize": 5}, []),
        ((5, 8, 5), 5, False, {}, []),
        ((2, 8, 2), 7, False, {"minSize": 5, "desiredSize": 7}, [size("desiredSize", 5, 7)]),
        # Somebody else's: below the floor that a rollout sets, above the snapshot's, a largest size that changed.
        ((1, 8, 2), 2, False, {"desiredSize": 5}, [size("minSize", 5, 1)]),
        ((6, 8, 6), 2, False, {}, [size("minSize", 5, 6), size("desiredSize", 5, 6)]),
        ((2, 12, 2), 2, False, {"minSize": 5, "desiredSize": 5}, [size("maxSize", 8, 12)]),
        (
            (2, 4, 2),
            3,
            False,
            {"desiredSize": 4},
            [size("minSize", 5, 2), size("maxSize", 8, 4), size("desiredSize", 5, 4)],
        ),
        # An autoscaler's size is not set back; its least is, and what the pods need comes first.
        ((2, 8, 3), 2, True, {"minSize": 5, "desiredSize": 5}, []),
        ((2, 8, 3), 6, True, {"minSize": 5, "desiredSize": 6}, []),
        ((5, 8, 7), 2, True, {}, []),
    ],
)
def test_capacity_is_the_snapshots_or_the_needs_and_never_less(
    live: tuple[int, int, int], needed: int, moved: bool, wanted: dict[str, int], left: list[Difference]
) -> None:
    sizes = dict(zip(("minSize", "maxSize", "desiredSize"), live, strict=True))
    assert before(moved).sizes(sizes, Need(ready=needed, idle=0, more=0)) == (wanted, left)
