"""The predictive-scaling lever: autoscaling by requests, with capacity added ahead of the traffic by a forecast."""

from include.levers.predictive_scaling.lever import PredictiveScaling

__all__ = ["PredictiveScaling"]
