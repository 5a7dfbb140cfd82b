"""A week as rollouts leave it in the ledger: days 1 and 2 promoted, day 3 partly rolled back, day 4 going on."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from include.rollout.ledger import FIRST_LINK, WHOLE_RUN, Chain, Record, Step, digest

REGIONS = ("ap-northeast-1", "us-east-1", "eu-central-1")
BEGIN = dt.datetime(2026, 11, 23, 8, tzinfo=dt.UTC)
NODES = {"ap-northeast-1": 5, "us-east-1": 5, "eu-central-1": 5}
Entry = tuple[str, dict[str, Any], dict[str, str]]


@dataclass
class Scribe:
    """Writes chains as the ledger does, one after the other, without reading them back; each entry a minute later."""

    folder: Path
    now: dt.datetime = BEGIN
    heads: dict[str, str] = field(default_factory=dict)
    numbers: dict[str, int] = field(default_factory=dict)

    def write(self, chain: Chain, step: str, figures: Mapping[str, Any] | None = None, **links: str) -> str:
        """Append a record and its mark; returns the record's hash."""
        number = self.numbers.get(chain.path, 0) + 1
        record = Record(
            chain.lever, chain.place, chain.dag_id, chain.run_id, number, self.heads.get(chain.path, FIRST_LINK),
            step, self.now.isoformat(), dict(figures or {}), links,
        )  # fmt: skip
        data = record.encode()
        path = self.folder / chain.path / f"{number:06}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        (path.parent / record.mark.name).touch()
        self.heads[chain.path], self.numbers[chain.path] = digest(data), number
        self.now += dt.timedelta(minutes=1)
        return digest(data)

    def verdict(self, chain: Chain, word: str, message: str, chains: Iterable[Chain]) -> None:
        """The verdict of a run, which joins its chains."""
        links = {f"head {one.lever} {one.place}": self.heads[one.path] for one in chains if one.path in self.heads}
        figures = {"verdict": word, "message": message, "left_behind": []}
        self.write(chain.of(WHOLE_RUN), Step.VERDICT, figures, **links)


def plan(lever: str, place: str, undo: str, saving: float | None, types: int = 12) -> dict[str, Any]:
    """A plan as the ledger keeps it."""
    before = None if saving is None else "1343.55"
    after = None if saving is None else f"{1343.55 - saving:.2f}"
    stage = {"slot": "step_1", "title": "first", "gates": [], "settings": {"instance_types": ["t"] * types}}
    return {
        "lever": lever, "region": place, "undo": undo, "usd_month_before": before, "usd_month_after": after,
        "price_book": "aws (2026-07-20)", "stages": [stage], "differences": [], "live": {}, "notes": [],
    }  # fmt: skip


def gate(outcome: str, name: str = "p95_ms", value: float | None = 21.5, reason: str = "") -> dict[str, Any]:
    """The figures of a gate's record."""
    result = {"gate": name, "outcome": outcome, "value": value, "reason": reason or f"{name} {value}: {outcome}"}
    return {"slot": "step_1", "title": "stage", "outcome": outcome, "results": [result]}


def begin(scribe: Scribe, chain: Chain, places: Iterable[str], undo: str, saving: float | None) -> None:
    """Preflight, plan, answer and approval of a run."""
    plans = {place: plan(chain.lever, place, undo, saving) for place in places}
    whole = chain.of(WHOLE_RUN)
    scribe.write(whole, Step.PREFLIGHT, {"checks": []})
    scribe.write(whole, Step.PLAN, {"hash": "89a7a1af48b0", "dry_run": False, "reason": "", "plans": plans})
    scribe.write(whole, Step.ANSWER, {"approved": True, "user": "platform-lead", "hash": "89a7a1af48b0"})
    scribe.write(whole, Step.APPROVAL, {"approved_by": "platform-lead", "hash": "89a7a1af48b0"})


def spot_stages(scribe: Scribe, chain: Chain, undo: str = "node wave", saving: float = 310.0) -> None:
    """A region's four stages of spot, promoted at the end."""
    nodes = NODES[chain.place]
    scribe.write(chain, Step.PLAN, {"hash": "1", "plan": plan(chain.lever, chain.place, undo, saving)})
    before = {"nodes": nodes, "nodes_by_kind": {"group a: c7g.2xlarge on-demand": nodes}, "p95_ms": 21.5,
              "spot_share_pods": 0.0, "usd_hour": 1.8415, "error_ratio": 0.0}  # fmt: skip
    scribe.write(chain, Step.SNAPSHOT, {"before": before, "snapshot": {}, "settings": {}, "order": 1})
    for share in (1, 2, 3):
        title = f"{share * 25} % spot: {share} of 4 domains"
        scribe.write(chain, Step.TOUCH, {"slot": f"step_{share}", "title": title})
        figures = {"nodes": nodes + 4, "spot_nodes": 3 * share, "converged_seconds": 49.9, "spot_share_vcpu": 0.2}
        scribe.write(chain, Step.APPLIED, {"slot": f"step_{share}", "title": title, "seconds": 54.2,
                                           "soak_until": scribe.now.isoformat(), "figures": figures})  # fmt: skip
        scribe.write(chain, Step.GATE, gate("pass") | {"title": title})
    scribe.write(chain, Step.GATE, gate("pass", "availability", 1.0) | {"slot": "step_3"})
    after = {"nodes": 8, "spot_nodes": 6, "spot_share_pods": 0.7333, "usd_hour": 1.4202, "p95_ms": 22.1,
             "error_ratio": 0.0}  # fmt: skip
    scribe.write(chain, Step.PROMOTED, {"after": after})


def simple_rollout(scribe: Scribe, chain: Chain, undo: str, saving: float | None, *, passes: bool = True) -> None:
    """A place's one stage; where its gate fails it is undone and proved restored."""
    scribe.write(chain, Step.PLAN, {"hash": "2", "plan": plan(chain.lever, chain.place, undo, saving)})
    scribe.write(chain, Step.SNAPSHOT, {"before": {}, "snapshot": {}, "settings": {}, "order": 1})
    scribe.write(chain, Step.TOUCH, {"slot": "all", "title": "all of it"})
    scribe.write(chain, Step.APPLIED, {"slot": "all", "title": "all of it", "seconds": 12.0, "figures": {}})
    scribe.write(chain, Step.GATE, gate("pass" if passes else "fail", "edge_p95_ms", 24.0 if passes else 47.5))
    if passes:
        scribe.write(chain, Step.PROMOTED, {"after": {}})
        return
    scribe.write(chain, Step.UNDO, {"run": f"{chain.dag_id}/{chain.run_id}"}, restores=chain.path)
    scribe.write(chain, Step.UNDONE, {"seconds": 30.1, "steps": ["set back"]}, restores=chain.path)
    done = {"complete": True, "remaining": [], "others": [], "accepted": False, "seconds": 41.3, "after": {}}
    scribe.write(chain, Step.RESTORED, done, restores=chain.path)


def write_week(folder: Path) -> Scribe:
    """The whole week. Day 4's canary is unfinished."""
    scribe = Scribe(folder)
    earlier = Chain("spot_capacity", REGIONS[0], "day1_spot", "manual__2026-11-20")
    scribe.now = BEGIN - dt.timedelta(days=3)
    simple_rollout(scribe, earlier, "node wave", 310.0, passes=False)
    scribe.now = BEGIN
    for day, (lever, dag, undo, saving) in enumerate((
        ("spot_capacity", "day1_spot", "node wave", 310.0),
        ("predictive_scaling", "day2_predictive_scaling", "minutes", 96.4),
    )):  # fmt: skip
        scribe.now = BEGIN + dt.timedelta(days=day)
        run = Chain(lever, WHOLE_RUN, dag, f"manual__{scribe.now.isoformat()}")
        begin(scribe, run, REGIONS, undo, saving)
        for place in REGIONS:
            (spot_stages if day == 0 else simple_rollout)(scribe, run.of(place), undo, saving)
        scribe.verdict(run, "promoted", "promoted in 3 regions", [run.of(place) for place in REGIONS])
    _day_3(scribe)
    _day_4(scribe)
    return scribe


def _day_3(scribe: Scribe) -> None:
    scribe.now = BEGIN + dt.timedelta(days=2)
    runs = [
        Chain(lever, "estate-wide", "day3_edge", "manual__day3")
        for lever in ("dns_health_checks", "storage_tiering", "cdn_price_class")
    ]
    for run, undo, saving in zip(runs, ("instant", "copy back", "minutes"), (20.0, 31.5, None), strict=True):
        begin(scribe, run, ("estate-wide",), undo, saving)
        simple_rollout(scribe, run, undo, saving, passes=run.lever != "cdn_price_class")
    scribe.verdict(Chain("day3_edge", WHOLE_RUN, "day3_edge", "manual__day3"), "rolled back",
                   "cdn_price_class: edge_p95_ms 47.5 is over 30", [])  # fmt: skip


def _day_4(scribe: Scribe) -> None:
    scribe.now = BEGIN + dt.timedelta(days=3)
    run = Chain("right_sizing", REGIONS[0], "day4_right_sizing", "manual__day4")
    begin(scribe, run, REGIONS, "minutes", 120.0)
    scribe.write(run, Step.PLAN, {"hash": "4", "plan": plan(run.lever, run.place, "minutes", 120.0)})
    scribe.write(run, Step.SNAPSHOT, {"before": {}, "snapshot": {}, "settings": {}, "order": 1})
    scribe.write(run, Step.TOUCH, {"slot": "first", "title": "first workload"})


# --- Costs ------------------------------------------------------------------------------------------------------------

COMPONENTS = {"central_dc": 34.6, "cloudfront": 13.9, "lambda_edge": 11.5, "jetson": 9.2, "s3": 3.9, "route53": 2.7,
              "monitoring": 1.6, "cost_management": 20.4}  # fmt: skip


def report_json(day: dt.date, factor: float = 1.0, extra: int = 0) -> dict[str, Any]:
    """A cost report's facts; ``extra`` more drivers make it as large as a real one."""
    figures: list[dict[str, Any]] = []

    def row(section: str, key: str, metric: str, value: float | None, status: str = "settled") -> None:
        text = None if value is None else f"{value:.6f}"
        figures.append({"section": section, "key": key, "metric": metric, "value": text, "unit": "USD",
                        "status": status, "sources": [f"aws/{day}#0123456789ab"]})  # fmt: skip

    for name, usd in COMPONENTS.items():
        for metric, share in (("usd", factor), ("judged_usd", factor), ("target_usd", 1.0), ("week_13_usd", 1.6)):
            row("component", name, metric, usd * share)
        row("component", name, "over_target_usd", usd * (factor - 1), "pass" if factor <= 1 else "fail")
    total = sum(COMPONENTS.values())
    for metric, share in (("usd", factor), ("known_usd", factor), ("target_usd", 1.0), ("week_13_usd", 1.17)):
        row("total", "", metric, total * share)
    row("total", "", "over_target_usd", total * (factor - 1), "pass" if factor <= 1 else "fail")
    for number in range(extra):
        row("driver", f"AmazonEC2 | us-east-1 | sku {number} | i-{number:08x}", "change_usd", number / 100)
    return {
        "day": str(day), "status": "settled", "complete": True, "since": None, "unknown": {}, "inputs": [],
        "requests": None, "targets": {name: {"book": "plan", "derived": "the plan's"} for name in COMPONENTS},
        "figures": figures,
    }  # fmt: skip


def write_costs(folder: Path, days: int, end: dt.date = dt.date(2026, 11, 26), extra: int = 0) -> None:
    """Published reports of ``days`` days up to ``end``, cheaper from the week of the rollout on."""
    for number in range(days):
        day = end - dt.timedelta(days=number)
        wave = 0.03 * ((day.toordinal() * 7919) % 11 - 5)
        factor = (0.97 if day >= BEGIN.date() else 1.16) + wave * 0.4
        path = folder / f"reports/day={day}"
        revision = {"number": 1, "content": "0123456789abcdef", "status": "settled", "as_of": None}
        (path / "revision=001-0123456789ab").mkdir(parents=True)
        text = json.dumps(report_json(day, factor, extra), indent=1)
        (path / "revision=001-0123456789ab/report.json").write_text(text)
        pointer = {"current": f"reports/day={day}/revision=001-0123456789ab", "revisions": [revision]}
        (path / "current.json").write_text(json.dumps(pointer))


def many_records(folder: Path, records: int) -> Iterator[int]:
    """Old runs, promoted and undone again, until the ledger holds ``records``; yields how many it holds."""
    scribe = Scribe(folder)
    scribe.now = BEGIN - dt.timedelta(days=200)
    written, number = 0, 0
    while written < records:
        for place in REGIONS:
            chain = Chain("spot_capacity", place, "day1_spot", f"old_{number}")
            before = sum(scribe.numbers.values())
            spot_stages(scribe, chain)
            done = {"complete": True, "remaining": [], "others": [], "accepted": False, "seconds": 40.0 + number % 7}
            scribe.write(chain, Step.RESTORED, done, restores=chain.path)
            written += sum(scribe.numbers.values()) - before
        number += 1
        yield written
