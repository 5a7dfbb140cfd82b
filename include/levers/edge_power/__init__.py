"""Power modes of the Jetson devices: measured, planned a day ahead, followed by the agent on the device."""

from include.levers.edge_power.lever import EdgePower

__all__ = ["EdgePower"]
