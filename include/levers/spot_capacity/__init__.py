"""The spot lever: moves AkiDB's pods from a managed node group of on-demand nodes to Karpenter's spot nodes."""

from include.levers.spot_capacity.lever import SpotCapacity

__all__ = ["SpotCapacity"]
