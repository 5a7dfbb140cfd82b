"""Recording and alerting rules of one region, generated from the estate: pure functions.

Live in PromQL are the nodes, by OpenCost's price of each. Every other component is a constant with its basis and date:
its contract, what the caller read from the bill, or its week-13 figure. The total is there only while every region
reports and every component has a figure: it is never a smaller sum.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, NamedTuple

from include.cost.targets import goal_of
from include.estate import Estate
from include.levers.alert_rules import Rule, alert, named, record
from include.levers.manifests import filled
from include.prices import DAYS_PER_MONTH, AwsBook, PlanBook, load_aws_book

LIVE_COMPONENT = "central_dc"
CONTRACTS = "contracts"
HOURS = 24
ALERTS = "cost_monitoring/alerts.yaml"


class Constant(NamedTuple):
    """USD a day of a component that has no live series; ``basis`` says where it comes from, ``as_of`` from when."""

    usd_day: Decimal
    basis: str
    as_of: str


class Scrape(NamedTuple):
    """What the rules need to know of Prometheus: OpenCost's job, and USD a day by component as the bill last had it."""

    job: str
    known_usd_day: Mapping[str, Decimal]
    known_as_of: str


def number(value: Decimal) -> str:
    """A constant of PromQL, to the hundredth of a cent."""
    return f"{value:.4f}"


def constants(estate: Estate, book: AwsBook, scrape: Scrape) -> dict[str, Constant]:
    """The components without a live series; one of which nothing is known is left out, and so is then the total."""
    found = {name: _constant(name, estate, book, scrape) for name in estate.cost.components if name != LIVE_COMPONENT}
    return {name: constant for name, constant in found.items() if constant is not None}


def _constant(name: str, estate: Estate, book: AwsBook, scrape: Scrape) -> Constant | None:
    if name in scrape.known_usd_day:
        return Constant(scrape.known_usd_day[name], "bill", scrape.known_as_of)
    patterns = [p for rule in estate.cost.components[name].rules if CONTRACTS in rule.sources for p in rule.resources]
    signed = [c for c in estate.cost.contracts if any(fnmatch.fnmatchcase(c.name, p) for p in patterns)]
    if signed:
        usd = sum((contract.usd_month for contract in signed), Decimal(0))
        return Constant(usd / DAYS_PER_MONTH, "contract", str(max(contract.begins for contract in signed)))
    baseline = goal_of(name, estate, book, list(estate.regions)).baseline
    return None if baseline is None else Constant(baseline / DAYS_PER_MONTH, "baseline", "week 13")


def of_region(estate: Estate, region: str, scrape: Scrape) -> list[Rule]:
    """What is recorded and watched of one region."""
    mine = f'job="{scrape.job}",region="{region}"'
    cost = f"node_total_hourly_cost{{{mine}}}"
    # OpenCost knows a spot node by its price list; the node's labels know it always.
    spot = (
        f'(kube_node_labels{{{mine},label_karpenter_sh_capacity_type="spot"}}'
        f' or kube_node_labels{{{mine},label_eks_amazonaws_com_capacityType="SPOT"}}'
        f" or kubecost_node_is_spot{{{mine}}} == 1)"
    )
    split = {"spot": f"{cost} and on (node) {spot}", "on_demand": f"{cost} unless on (node) {spot}"}
    goal = goal_of(LIVE_COMPONENT, estate, load_aws_book(estate), [region])
    rules = []
    for kind, nodes in split.items():
        labels = {"capacity_type": kind}
        rules.append(record("akidb:nodes:count", f"count by (region) ({nodes})", labels))
        rules.append(record("akidb:cost_usd_day:nodes", f"sum by (region) ({nodes}) * {HOURS}", labels))
    rules.append(record("akidb:cost_usd_day:region", f"sum by (region) ({cost}) * {HOURS}", {}))
    if goal.target is not None:
        target = f"vector({number(goal.target / DAYS_PER_MONTH)})"
        rules.append(record("akidb:cost_usd_day:region_target", target, {"region": region, "book": goal.book}))
    return [*rules, *_interruptions(estate, region), *_alerts_of_region(estate, region, cost)]


def _interruptions(estate: Estate, region: str) -> list[Rule]:
    """Notices of 24 h by the spot nodes of 24 h; with Karpenter scraped and no such node the rate is 0."""
    none = f'max by (region) (up{{job="karpenter",region="{region}"}}) * 0'
    notices = f'{estate.metrics.interruptions}{{region="{region}",message_type="spot_interrupted"}}'
    nodes = f'karpenter_nodes_allocatable{{region="{region}",capacity_type="spot",resource_type="cpu"}}'
    seen = f"count by (region) (count by (region, node_name) (last_over_time({nodes}[24h]))) or {none}"
    got = f"sum by (region) (increase({notices}[24h])) or {none}"
    mine = f'{{region="{region}"}}'
    rate = f"akidb:spot_notices:24h{mine} / on (region) clamp_min(akidb:spot_nodes:24h{mine}, 1)"
    found = {"spot_notices": got, "spot_nodes": seen, "interruption_rate": rate}
    return [record(f"akidb:{name}:24h", expression, {}) for name, expression in found.items()]


def _alerts_of_region(estate: Estate, region: str, cost: str) -> list[Rule]:
    limit = estate.targets.interruption_rate
    values = {"region": region, "cost": cost, "interruption_rate": f"{limit:g}", "interruption_limit": f"{limit:.0%}"}
    return [alert(raw) for raw in filled(ALERTS, values, "region")]


def of_estate(estate: Estate, scrape: Scrape) -> list[Rule]:
    """What is recorded and watched of the whole estate; loaded with the canary's rules, so that it exists once."""
    book, plan = load_aws_book(estate), PlanBook()
    found = constants(estate, book, scrape)
    rules = []
    for name, constant in sorted(found.items()):
        labels = {"component": name, "basis": constant.basis, "as_of": constant.as_of}
        rules.append(record("akidb:cost_usd_day:component", f"vector({number(constant.usd_day)})", labels))
    fixed = len(estate.cost.components) - 1
    # Without every region and every component there is no total at all.
    total = (
        "sum(akidb:cost_usd_day:region) + sum(akidb:cost_usd_day:component)"
        f" and on () count(akidb:cost_usd_day:region) == {len(estate.regions)}"
        f" and on () count(akidb:cost_usd_day:component) == {fixed}"
    )
    rules.append(record("akidb:cost_usd_day:total", total, {}))
    goals = [goal_of(name, estate, book, list(estate.regions)) for name in estate.cost.components]
    for name, figures in {"week_13": [g.baseline for g in goals], "target": [g.target for g in goals]}.items():
        known = [figure for figure in figures if figure is not None]
        if len(known) == len(figures):
            month = number(sum(known, Decimal(0)))
            rules.append(record(f"akidb:cost_usd_month:{name}", f"vector({month})", {"book": "components"}))
    for name, week in {"week_8": 8, "week_13": 13, "target": 14}.items():
        rules.append(record(f"akidb:cost_usd_month:{name}", f"vector({number(plan.total(week))})", {"book": "plan"}))
    return [*rules, *_alerts_of_estate(estate, plan)]


def _alerts_of_estate(estate: Estate, plan: PlanBook) -> list[Rule]:
    plan_day, alert_day = plan.total(14) / DAYS_PER_MONTH, estate.cost.daily_alert_usd
    values = {
        "days": str(DAYS_PER_MONTH),
        "plan_day": number(plan_day),
        "plan_day_cents": f"{plan_day:.2f}",
        "plan_month": str(plan.total(14)),
        "alert_day": number(alert_day),
        "alert_usd": str(alert_day),
        "alert_month": f"{alert_day * DAYS_PER_MONTH:.0f}",
    }
    return [alert(raw) for raw in filled(ALERTS, values, "estate")]


def groups(estate: Estate, region: str, scrape: Scrape) -> list[dict[str, Any]]:
    """The rule groups of a region, the canary's with the estate's."""
    parts = [(region, of_region(estate, region, scrape))]
    if region == estate.canary_region:
        parts.append(("estate", of_estate(estate, scrape)))
    return named("akidb-cost", parts)
