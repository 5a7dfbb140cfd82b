"""Typed description of the estate: regions, clusters, workloads, targets, windows and governance.

``include/estate.yaml`` is the one file that is read at DAG parse. Everything else that a task needs comes from
connections, variables and the DAG's parameters. Unknown keys, wrong types and impossible combinations raise
:class:`EstateError` with the field, the value and the remedy.
"""

from __future__ import annotations

from include.estate.capacity import PredictiveScalingOptions, Predictor, Spot
from include.estate.cost import Component, ComponentRule, Contract, Cost, EdgeDevices, Export
from include.estate.edge import Cdn, DevicePower, Edge, Functions, ModelStore
from include.estate.fields import Age, Cpu, EstateError, Hour, Matchers, Memory, Seconds, Share
from include.estate.file import ESTATE_FILE, load_estate
from include.estate.governance import ChangeWindow, Governance, Lead, Windows
from include.estate.nonprod import Calendar, Nonprod
from include.estate.notices import Notice
from include.estate.regions import Connections, EstateConnections, NodeGroup, Region, SystemGroup
from include.estate.routing import BackendName, LatencyShape, Routing, RoutingBackend
from include.estate.service import Dns, Metrics, Resources, Targets, Traffic, Use, Workload
from include.estate.whole import Estate

__all__ = [
    "ESTATE_FILE",
    "Age",
    "BackendName",
    "Calendar",
    "Cdn",
    "ChangeWindow",
    "Component",
    "ComponentRule",
    "Connections",
    "Contract",
    "Cost",
    "Cpu",
    "DevicePower",
    "Dns",
    "Edge",
    "EdgeDevices",
    "Estate",
    "EstateConnections",
    "EstateError",
    "Export",
    "Functions",
    "Governance",
    "Hour",
    "LatencyShape",
    "Lead",
    "Matchers",
    "Memory",
    "Metrics",
    "ModelStore",
    "NodeGroup",
    "Nonprod",
    "Notice",
    "PredictiveScalingOptions",
    "Predictor",
    "Region",
    "Resources",
    "Routing",
    "RoutingBackend",
    "Seconds",
    "Share",
    "Spot",
    "SystemGroup",
    "Targets",
    "Traffic",
    "Use",
    "Windows",
    "Workload",
    "load_estate",
]
