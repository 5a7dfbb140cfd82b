"""The lever that leaves alert rules and a dashboard of the edge: latency, cache hit rate, device watts."""

from include.levers.edge_monitoring.lever import EdgeMonitoring, WatchSettings

__all__ = ["EdgeMonitoring", "WatchSettings"]
