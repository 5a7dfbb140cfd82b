"""A ledger with a week in it, for the tests of the completion report."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

from include.clients.storage import Folder
from include.completion.report import build
from include.completion.scorecard import Inputs
from include.completion.store import from_ledger
from include.estate import load_estate
from include.prices import PlanBook
from include.rollout.ledger import Chain, Ledger, Signer, Step

US, AP = "us-east-1", "ap-northeast-1"
SPOT, COST = "spot_capacity", "cost_monitoring"
DAYS = {SPOT: "day1_spot", COST: "day5_cost_monitoring"}


class Book:
    """A ledger whose clock moves a minute with each record."""

    def __init__(self, folder: Path, signer: Signer | None = None) -> None:
        self.now = dt.datetime(2026, 11, 23, 9, 0, tzinfo=dt.UTC)
        self.folder = folder
        self.ledger = Ledger(Folder(folder), self._tick, signer)

    def _tick(self) -> dt.datetime:
        self.now += dt.timedelta(minutes=1)
        return self.now

    def add(self, lever: str, region: str, run_id: str, step: str, **figures: Any) -> None:
        self.ledger.append(Chain(lever, region, DAYS.get(lever, "day"), run_id), step, figures)

    def measured(self, region: str, **figures: Any) -> None:
        self.ledger.append(Chain("service", region, "rehearsal", "r"), Step.MEASURED, figures)

    def counted(self, region: str, asked: int, served: int, *includes: str) -> None:
        """Requests of all days."""
        window = {"since": "2026-11-23T09:00:00+00:00", "until": "2026-11-27T18:00:00+00:00"}
        self.measured(region, kind="availability", asked=asked, served=served, includes=includes, **window)

    def validated(self, found: dict[str, Any] | None = None, commitments: str = "") -> None:
        figures = {"key": "validations/x.json", "cost_report": "reports/y", "commitments": commitments}
        chain = Chain("completion", "estate", "day5_cost_monitoring", "r5")
        self.ledger.append(chain, Step.VALIDATED, figures | (found or {}))

    def inputs(self, *regions: str) -> Inputs:
        return from_ledger(self.ledger, load_estate(), regions)

    def report(self, *regions: str) -> dict[str, Any]:
        return build(self.inputs(*regions))


def result(gate: str, value: float | None, outcome: str = "pass", reason: str = "") -> dict[str, Any]:
    return {"gate": gate, "outcome": outcome, "reason": reason or f"{gate}: {value}", "value": value}


def spot_run(book: Book, region: str, run: str = "r1", share: float = 0.75, p95: float = 12.0) -> None:
    types = [f"c{n}.xlarge" for n in range(12)]
    before = {"p95_ms": 10.0, "nodes": 5, "usd_hour": 1.45}
    book.add(SPOT, region, run, Step.PLAN, hash="h", plan={"stages": [{"settings": {"instance_types": types}}]})
    book.add(SPOT, region, run, Step.SNAPSHOT, snapshot={}, settings={}, before=before)
    book.add(SPOT, region, run, Step.TOUCH, slot="step_3", title="70 % spot")
    book.add(SPOT, region, run, Step.APPLIED, slot="step_3", title="70 % spot")
    results = [result("availability", 1.0)]
    book.add(SPOT, region, run, Step.GATE, slot="step_3", title="70 % spot", outcome="pass", results=results)
    drill = [result("availability", 0.99995), result("cordon_seconds", 1.5)]
    book.add(SPOT, region, run, Step.GATE, slot="interruption_drill", title="drill", outcome="pass", results=drill)
    after = {"p95_ms": p95, "spot_share_pods": share, "nodes": 6, "usd_hour": 0.9, "error_ratio": 0.0}
    book.add(SPOT, region, run, Step.PROMOTED, after=after)


def cost_run(book: Book, region: str) -> None:
    book.add(COST, region, "r5", Step.PLAN, hash="h", plan={"stages": []})
    book.add(COST, region, "r5", Step.SNAPSHOT, snapshot={}, settings={}, before={})
    book.add(COST, region, "r5", Step.TOUCH, slot="kubecost", title="kubecost")
    for slot, gates in {
        "kubecost": ("kubecost_up",),
        "dashboard_and_alerts": ("dashboard_queries_without_data", "rules_not_loaded", "rules_with_errors"),
    }.items():
        results = [result(gate, 0.0) for gate in gates]
        book.add(COST, region, "r5", Step.GATE, slot=slot, title=slot, outcome="pass", results=results)
    book.add(COST, region, "r5", Step.PROMOTED, after={})


def line(component: str, usd: str | None, target: str, verdict: str, reason: str = "") -> dict[str, Any]:
    return {
        "component": component,
        "baseline_usd_month": "100",
        "target_usd_month": target,
        "usd_month": usd,
        "book": "plan",
        "verdict": verdict,
        "source": "bill",
        "reason": reason,
    }


def validation(usd_month: str | None = "3000.10", verdict: str = "fail") -> dict[str, Any]:
    lines = [line(c.name, "42.5", str(c.week_14), "pass") for c in PlanBook.components]
    lines[1] = line("cloudfront", usd_month and "500", "420", verdict, "" if usd_month else "no bill day")
    total = {
        "usd_month": usd_month,
        "known_usd_month": "2500.00",
        "target_usd_month": "2970",
        "verdict": verdict,
        "settling": "provisional",
        "unknown": [] if usd_month else ["cloudfront"],
    }
    return {"lines": lines, "total": total}
