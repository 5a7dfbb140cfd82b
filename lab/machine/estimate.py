"""How long the rest of a build takes, at the pace of what is built already. Pure functions; seconds throughout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

FASTEST = 0.25  # of the reference's seconds; what looks faster was compiled before, by a set-up that was stopped


def pace(reference: Mapping[str, float], taken: Mapping[str, float]) -> float:
    """How many times longer than the reference machine this one takes; 1 before anything is built."""
    known = sum(reference[name] for name in taken)
    return max(FASTEST, sum(taken.values()) / known) if known else 1.0


def to_go(reference: Mapping[str, float], taken: Mapping[str, float], running: Sequence[float], at_once: int) -> float:
    """Seconds until all of ``reference`` is built.

    ``taken`` are the seconds of what is built, ``running`` those that the programs under way have had so far, and
    ``at_once`` how many are built side by side.
    """
    left = [seconds for name, seconds in reference.items() if name not in taken]
    if not left:
        return 0.0
    speed = pace(reference, taken)
    work = sum(left) * speed - sum(running)
    # What is under way takes a while yet, however long it has taken; the longest one alone is a lower bound.
    return max(work / min(at_once, len(left)), min(left) * speed * 0.1)
