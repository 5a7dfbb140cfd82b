"""The consolidation lever: fewer and cheaper nodes for the same pods, and a floor of the right size."""

from include.levers.consolidation.lever import Consolidation

__all__ = ["Consolidation"]
