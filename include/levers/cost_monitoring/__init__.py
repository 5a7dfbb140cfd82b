"""The cost-truth lever: OpenCost and Kubecost in every cluster, a Grafana dashboard and the budget alerts."""

from include.levers.cost_monitoring.lever import CostMonitoring

__all__ = ["CostMonitoring"]
