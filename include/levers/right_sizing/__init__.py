"""The right-sizing lever: requests that follow use, recommended by the VerticalPodAutoscaler and checked by a twin."""

from include.levers.right_sizing.lever import RightSizing

__all__ = ["RightSizing"]
