"""Memory of the function at the edge, and provisioned concurrency of the regional one."""

from include.levers.lambda_edge.lever import LambdaEdge

__all__ = ["LambdaEdge"]
