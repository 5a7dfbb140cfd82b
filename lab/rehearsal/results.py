"""What a rehearsal has found so far: printed after each day, and written into report.json and the measurements."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from include.estate import Estate
from include.prices import AwsBook, load_aws_book
from lab import world as worlds
from lab.machine.speed import Speed
from lab.rehearsal import against, day3, day4, undo
from lab.rehearsal import airflow as airflows
from lab.rehearsal import report as texts
from lab.rehearsal.day4 import PackedRegion, Realised
from lab.rehearsal.evidence import EvidenceFigures
from lab.rehearsal.faults import FaultResult
from lab.rehearsal.run import TriggeredRun
from lab.rehearsal.settings import RehearsalSettings, results_file

PROMOTED = "promoted"
SCALING_DAY, EDGE_DAY, PACKING_DAY, COST_DAY = 2, 3, 4, 5


@dataclass(frozen=True)
class DayResult:
    """One day when its runs are over; ``changes`` is how the live world differs from the day's beginning.

    ``costs`` belong to day 5, ``packed`` to day 4, ``edge`` to day 3.
    """

    number: int
    runs: Sequence[TriggeredRun]
    verdict: str
    seconds: float
    changes: Sequence[undo.Remains]
    before: Mapping[str, EvidenceFigures]
    after: Mapping[str, EvidenceFigures]
    costs: Mapping[str, Any] | None = None
    packed: Mapping[str, PackedRegion] = field(default_factory=dict)
    edge: day3.EdgeDay | None = None


@dataclass
class Results:
    """Everything that was found; ``seconds`` by what took them."""

    settings: RehearsalSettings
    estate: Estate
    seconds: dict[str, float] = field(default_factory=dict)
    drills: dict[str, texts.Drill] = field(default_factory=dict)
    days: dict[str, Any] = field(default_factory=dict)
    steps: dict[str, Any] = field(default_factory=dict)
    realised: list[Realised] = field(default_factory=list)
    levers: dict[str, against.Row] = field(default_factory=dict)
    memory: dict[str, Any] = field(default_factory=dict)
    fault: FaultResult | None = None
    ended: dict[str, Any] = field(default_factory=dict)  # what comes after the days: load, undo, availability, page
    report: dict[str, Any] = field(default_factory=dict)

    def run_is_over(self, run: TriggeredRun, figures: Mapping[str, EvidenceFigures]) -> None:
        """Keep what a promoted run has predicted beside what the lab has read."""
        if run.levers[0] not in against.OF_NODES:
            return
        for region, now in figures.items():
            told = day4.predicted_of(run.records(region))
            self.realised.append(
                Realised(run.levers[0], region, told, now.nodes, now.karpenter_nodes, now.usd_hour),
            )

    def day_is_over(self, day: DayResult, total_seconds: float) -> None:
        """Take a day into the report and print its tables."""
        first = day.runs[0]
        if day.number == 1 or not self.drills:
            self.drills = {region: texts.drill_of(first.records(region)) for region in day.after}
        regions = {
            region: texts.region_report(day.before[region], after, self.drills[region])
            for region, after in day.after.items()
        }
        self.days[str(day.number)] = self._of_day(day)
        self._compare(day)
        self.report = texts.full_report(day.verdict, not day.changes, total_seconds, regions, self.days)
        for run in day.runs:
            key = str(day.number) if len(day.runs) == 1 else f"{day.number} {run.levers[0]}"
            self.steps[key] = _step_seconds(run)
        print(f"\n{self._tables(day)}", flush=True)
        if day.verdict != PROMOTED:
            print(
                "live state equals the start" if not day.changes else "live state differs from the start:", flush=True
            )
            print("\n".join(f"  {change}" for change in day.changes[:40]))

    def _compare(self, day: DayResult) -> None:
        """Each promoted lever's prediction beside what came."""
        routed = str(EDGE_DAY) in self.days and self.days[str(EDGE_DAY)]["verdict"] == PROMOTED
        self.levers |= against.of_nodes(self.estate, self.realised, routed)
        if day.edge is not None:
            self.levers |= against.of_edge(day.edge)
        if day.costs is not None:
            self.levers |= against.of_costs(
                day.costs["validation"], day.runs[0].records, list(day.after), len(day.after) / len(self.estate.regions)
            )

    def _of_day(self, day: DayResult) -> dict[str, Any]:
        found = texts.day_report(day.verdict, day.seconds, day.costs)
        if day.number == SCALING_DAY:
            found["scaling"] = {region: asdict(texts.scaling_of(day.runs[0].records(region))) for region in day.after}
        if day.edge is not None:
            found |= day3.report(day.edge)
        if day.number == PACKING_DAY:
            found["regions"] = {region: day4.region_report(one) for region, one in day.packed.items()}
        return found

    def _tables(self, day: DayResult) -> str:
        if day.number == COST_DAY:
            return texts.costs_text(day.costs)
        tables = [texts.table(day.before, day.after, self.drills)]
        if day.number == SCALING_DAY:
            scaling = {region: texts.scaling_of(day.runs[0].records(region)) for region in day.after}
            tables.insert(0, texts.scaling_table(scaling))
        if day.edge is not None:
            tables.insert(0, day3.table(day.edge))
        if day.number == PACKING_DAY:
            tables.insert(0, day4.table(day.packed))
        prices = prices_line(load_aws_book(self.estate))
        return "\n\n".join(tables) + f"\ndemand_scale {self.estate.demand_scale():.1f}; {prices}"

    def week_table(self) -> str:
        """Predicted against realised for each lever that was promoted; empty without any."""
        of_nodes = [one for one in self.realised if one.predicted.usd_hour is not None]
        tables = [day4.week_table(of_nodes)] if of_nodes else []
        return "\n\n".join([*tables, *([against.table(self.levers)] if self.levers else [])])

    def full(self) -> dict[str, Any]:
        """report.json as it stands."""
        found = {**self.report, **self.ended, "levers": self.levers, "memory_mib": self.memory}
        return found | ({"fault": self.fault.to_json()} if self.fault else {})

    def write(self, world: worlds.LabWorld, airflow: airflows.Airflow, speed: Speed) -> None:
        """Write report.json, and the measurements around it."""
        text = json.dumps(self.full(), indent=2) + "\n"
        (self.settings.folder / "report.json").write_text(text, encoding="utf-8")
        file = results_file(self.settings)
        file.parent.mkdir(parents=True, exist_ok=True)
        measured = self._measured(world, airflow, speed)
        # Measurements are published: they name files as seen from the project, not where this machine has it.
        text = json.dumps(measured, indent=2, sort_keys=True).replace(f"{self.settings.folder.parent}/", "")
        file.write_text(text + "\n", encoding="utf-8")

    def _measured(self, world: worlds.LabWorld, airflow: airflows.Airflow, speed: Speed) -> dict[str, Any]:
        asked = {
            "REGIONS": self.settings.regions,
            "DAYS": map(str, self.settings.days),
            "FAULT": [self.settings.fault],
            "DATABASE": [self.settings.database],
        }
        return {
            "command": "make rehearsal " + " ".join(f"{name}={','.join(values)}" for name, values in asked.items()),
            "cpus": os.cpu_count(),
            "machine": platform.machine(),
            "speed": {"share_of_reference": round(speed.share, 2), "stretch": round(speed.stretch, 2)},
            "seconds": {**self.seconds, "airflow_healthy": airflow.seconds["healthy"]},
            "boot": world.seconds,
            "memory_mib": {
                "lab": round(sum(world.processes.memory_bytes().values()) / 2**20),
                "airflow": airflow.memory_mib(),
            },
            "steps": self.steps,
            "realised": [asdict(one) for one in self.realised],
            "report": self.full(),
        }


def _step_seconds(run: TriggeredRun) -> dict[str, dict[str, float]]:
    """Seconds of each step by place; of a run of several levers by lever and place."""
    places = [(lever, place) for lever in run.levers for place in run.regions]
    alone = len(run.levers) == 1
    found = {place if alone else f"{lever} {place}": run.records(place, lever) for lever, place in places}
    return {name: texts.step_seconds(records) for name, records in found.items() if records}


def prices_line(book: AwsBook) -> str:
    """Which prices the dollars came from, with the assumptions in them."""
    return "; ".join([f"prices: book {book.name} of {book.date}", *book.assumptions])
