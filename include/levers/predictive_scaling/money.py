"""What the estate's week takes in replicas, and what the nodes cost that follow them. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from include.estate import Estate
from include.forecast.replicas import need
from include.levers.node_costs import NodeFact, node_price, total
from include.levers.predictive_scaling.wanted import PredictiveSettings
from include.prices import AwsBook

WEEKDAYS, DAYS = 5, 7


def replicas_of_week(estate: Estate, settings: PredictiveSettings) -> list[int]:
    """Replicas of all workloads together in each of the week's 168 hours, by the estate's shape of demand."""
    traffic, scale = estate.traffic, estate.demand_scale()
    start = sum(workload.replicas for workload in estate.workloads.values())
    shares = [workload.replicas / start for workload in estate.workloads.values()]
    hours = [traffic.planned_qps(hour, weekend=day >= WEEKDAYS) for day in range(DAYS) for hour in range(24)]
    unit, least, most = estate.qps_per_replica(), settings.min_replicas, settings.max_replicas
    return [sum(need(qps * scale * share, unit, least, most) for share in shares) for qps in hours]


def usd_hours(
    book: AwsBook, region: str, nodes: Sequence[NodeFact], replicas: int, mean: Decimal
) -> tuple[Decimal | None, Decimal | None]:
    """USD an hour now and on average after; only Karpenter's nodes follow the replicas."""
    before = total(node_price(book, region, node) for node in nodes)
    follow = total(node_price(book, region, node) for node in nodes if node.node_pool)
    if before is None or follow is None or not replicas:
        return before, None
    return before, before - follow + follow * mean / replicas
