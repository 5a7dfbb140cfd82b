"""What the live objects of a workload say against a rollout: a finding with its remedy for each."""

from include.levers.pods import own_pods, replicas_of
from include.levers.workloads.budgets import budget_findings, budgets_of, template_budgets, unbudgeted_findings
from include.levers.workloads.resources import live_requests, quota_findings, quota_needs, request_findings
from include.levers.workloads.state import (
    Finding,
    disruption_findings,
    listed,
    max_surge,
    max_unavailable,
    pending_findings,
    replica_findings,
    rollout_findings,
    slow_findings,
    strategy_findings,
)
from include.levers.workloads.ties import architecture_findings, tie_findings, volume_findings

__all__ = [
    "Finding",
    "architecture_findings",
    "budget_findings",
    "budgets_of",
    "disruption_findings",
    "listed",
    "live_requests",
    "max_surge",
    "max_unavailable",
    "own_pods",
    "pending_findings",
    "quota_findings",
    "quota_needs",
    "replica_findings",
    "replicas_of",
    "request_findings",
    "rollout_findings",
    "slow_findings",
    "strategy_findings",
    "template_budgets",
    "tie_findings",
    "unbudgeted_findings",
    "volume_findings",
]
