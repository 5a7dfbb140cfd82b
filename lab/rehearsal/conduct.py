"""A rehearsal from boot to report: each day followed and reported, then its end (``ending.py``)."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from include.estate import Estate
from include.rollout.ledger import WHOLE_RUN
from lab.cloud import bill
from lab.machine.speed import Speed
from lab.rehearsal import budgets, day3, day4, edge_dollars, live, occupancy, routed_dollars, undo
from lab.rehearsal import strikes as all_strikes
from lab.rehearsal.beside import EDGE_DAY, Beside, around_edge, needed
from lab.rehearsal.drive import WEEK_DAG, ByDay, ByWeek, Driver, Trigger
from lab.rehearsal.ending import Ending
from lab.rehearsal.evidence import P95_SECONDS, EvidenceFigures, first_figures
from lab.rehearsal.faults import LEVER_OF, judged
from lab.rehearsal.memory import PeakMemory
from lab.rehearsal.results import COST_DAY, PACKING_DAY, PROMOTED, SCALING_DAY, DayResult, Results
from lab.rehearsal.run import TriggeredRun, verdict_of
from lab.rehearsal.scene import Scene
from lab.rehearsal.served import Moment
from lab.rehearsal.settings import RehearsalSettings
from lab.rehearsal.strikes import Strike
from lab.rehearsal.week import POWER_PLAN, WEEK, RehearsedRun, without_champion

SLOW = 2.0  # a stretch from which on nothing is left to chance
FIRST_SAMPLES_SECONDS = 45  # two scrapes of a service that has just opened
Figures = Mapping[str, EvidenceFigures]


@dataclass(frozen=True)
class Beginning:
    """How a day finds the world: what must be back where it is rolled back, and the edge for day 3."""

    specs: Mapping[str, Any]
    started: float  # time.monotonic()
    at: dt.datetime
    edge: tuple[day3.Dollars, day3.Latency] | None = None


@dataclass
class Rehearsal:
    """One rehearsal from boot to report."""

    settings: RehearsalSettings
    estate: Estate
    speed: Speed
    begun: float = field(default_factory=time.monotonic)
    beside: Beside = field(default_factory=Beside)
    later: tuple[int, ...] = ()  # days whose recurring DAGs wait for day 3
    unpacked: dict[str, occupancy.Occupancy] = field(default_factory=dict)  # as day 2 leaves it, or day 4 finds it
    strike: Strike | None = None

    def __post_init__(self) -> None:
        self.results = Results(self.settings, self.estate)
        self.board = live.Board(self.settings.regions, self.settings.days, self.begun)

    def run(self) -> int:
        """Everything; returns the exit status."""
        scene = self.scene = Scene.boot(self.settings, self.estate, self.speed)
        self.memory = PeakMemory(scene.pids)
        try:
            self._say_ready()
            self.memory.start()
            with live.shown(self.board, self._look, self.settings.on_terminal):
                good = self._rehearse()
            if self.settings.keep:
                print("Ctrl-C ends it and takes everything down.", flush=True)
                scene.keep()
            return 0 if good else 1
        finally:
            self.memory.stop()
            self.beside.stop()
            scene.take_down()

    def _say_ready(self) -> None:
        booted = self.results.seconds["boot"] = round(time.monotonic() - self.begun, 1)
        print(
            f"ready after {booted:.0f} s; Airflow was after {self.scene.airflow.seconds['healthy']:.0f} s", flush=True
        )

    def _look(self) -> Figures:
        return {region: reader.figures(live.WINDOW_SECONDS) for region, reader in self.scene.lab.items()}

    def _rehearse(self) -> bool:
        """Whether all came as it must: every day, or the fault, and the undo."""
        scene = self.scene
        self._connect()
        first, self.later = around_edge(self.settings.days)
        self.beside.start(scene.airflow, first, self.settings.regions)
        before = first_figures(scene.lab, P95_SECONDS, FIRST_SAMPLES_SECONDS * scene.speed.stretch)
        counted, start = scene.counters(), scene.specs()
        self.driver = self._driver()
        verdict = ""
        for number in self.settings.days:
            verdict = self._one_day(number, before)
            if verdict != PROMOTED:
                break
        return self._end(verdict, counted, start)

    def _connect(self) -> None:
        dags = {run.dag for number in self.settings.days for run in WEEK[number]}
        dags |= {undo.DAG} if self.settings.undo else set()
        dags |= {WEEK_DAG} if self.settings.by_week else set()
        self.scene.connect(dags | set(needed(self.settings.days)))

    def _driver(self) -> Driver:
        self.trigger = Trigger(self.scene, self.begun, self.board)
        return ByWeek(self.trigger, self.settings.days) if self.settings.by_week else ByDay(self.trigger)

    # A day -----------------------------------------------------------------------------------------------------------

    def _one_day(self, number: int, before: Figures) -> str:
        """Roll out one day and report it; returns its verdict."""
        lab = self.scene.lab
        for built_on in self._waits_for(number):
            self.results.seconds |= self.beside.wait_for(self.scene.airflow, built_on)
        self.scene.measure_speed()
        self.board.begin(number)
        found = self._find(number)
        with ExitStack() as stack:
            watches = stack.enter_context(self._watched_budgets()) if number == PACKING_DAY else {}
            runs, verdict, message = self._follow(number)
            seconds = self.results.seconds[f"day {number}"] = round(time.monotonic() - found.started, 1)
            changes = self.scene.changes(found.specs, wait=verdict != PROMOTED)
            packed = self._packed(runs, found.at, watches) if number == PACKING_DAY else {}
        since = time.monotonic() - found.started
        after = {region: reader.figures(since) for region, reader in lab.items()}
        costs = self._costs(runs[0]) if number == COST_DAY else None
        edge_day = self._edge_day(runs[0], found.edge) if found.edge else None
        day = DayResult(number, runs, verdict, seconds, changes, before, after, costs, packed, edge_day)
        self.results.day_is_over(day, time.monotonic() - self.begun)
        self.board.end(verdict)
        self._after(number, verdict, day)
        print(f"\n{message}  ({seconds:.0f} s)", flush=True)
        return verdict

    def _waits_for(self, number: int) -> list[int]:
        """The days whose recurring DAGs must be over now. The week starts day 2 by itself, at once after day 1: a slow
        machine, where the training may take longer than day 1, waits before the first day.
        """
        early = self.settings.by_week and number == self.settings.days[0] and self.scene.speed.stretch > SLOW
        first, _ = around_edge(self.settings.days)
        return sorted({number, *(first if early else ())})

    def _find(self, number: int) -> Beginning:
        """How the day finds the world; what day 4 compares with is what day 2 has left."""
        if number == PACKING_DAY and not self.unpacked:
            self.unpacked = occupancy.occupancies(self.scene.lab, P95_SECONDS, self.scene.speed.stretch)
        edge_before = self._edge_now() if number == EDGE_DAY else None
        return Beginning(self.scene.specs(), time.monotonic(), dt.datetime.now(dt.UTC), edge_before)

    def _after(self, number: int, verdict: str, day: DayResult) -> None:
        """What follows a day: the fault is judged, and what later days build on is begun."""
        if self.strike is not None and self.settings.fault and number == self.settings.days[-1]:
            self._judge(day)
        if number == EDGE_DAY:
            self._bill_the_edge()
            if verdict == PROMOTED:
                self.beside.add(self.scene.airflow, POWER_PLAN, self.settings.regions)
        self.results.memory = self.memory.to_json()
        self.results.write(self.scene.world, self.scene.airflow, self.scene.speed)
        if number == SCALING_DAY and verdict == PROMOTED and PACKING_DAY in self.settings.days:
            self.unpacked = occupancy.occupancies(self.scene.lab, P95_SECONDS, self.scene.speed.stretch)

    def _follow(self, number: int) -> tuple[list[TriggeredRun], str, str]:
        """The day's runs, each once the one before is promoted; with them the day's verdict and its message."""
        runs: list[TriggeredRun] = []
        verdict = message = ""
        for one in WEEK[number]:
            run, verdict, message = self._one_run(one, self._more(number))
            runs.append(run)
            if verdict != PROMOTED:
                break
            figures = {region: reader.figures(P95_SECONDS) for region, reader in self.scene.lab.items()}
            self.results.run_is_over(run, figures)
        return runs, verdict, message

    def _one_run(self, one: RehearsedRun, more: Mapping[str, Any]) -> tuple[TriggeredRun, str, str]:
        """Start a run and follow it to its end; with it its verdict and the message."""
        strike = self._strike(one)
        run = self.driver.start(one, more, strike)
        try:
            state = run.follow()
        finally:
            if strike is not None:
                strike.end()
        if one.rollout:
            return run, *verdict_of(run.records(WHOLE_RUN), state, [PROMOTED])
        return run, PROMOTED if state == "success" else "unfinished", f"{one.dag} ended {state}"

    def _strike(self, one: RehearsedRun) -> Strike | None:
        """The fault, in the run that it belongs to."""
        name = self.settings.fault
        if not name or LEVER_OF[name] != one.lever or not one.rollout:
            return None
        emulator = Path(self.scene.world.state["emulator_folder"])
        kind = all_strikes.STRIKES[name]
        folder, regions = self.settings.folder, self.settings.regions
        self.strike = kind(name, self.estate.canary_region, regions, folder, emulator, self.scene.hands())
        return self.strike

    def _judge(self, day: DayResult) -> None:
        """What came of the fault, by the day that it struck."""
        assert self.strike is not None
        struck, run = self.strike.struck, day.runs[0]
        own = [record for lever in run.levers for record in run.records(struck.place, lever)] if struck.place else []
        mine = [record for record in own if not struck.lever or record.lever == struck.lever]
        self.results.fault = judged(self.settings.fault, struck, day.verdict, not day.changes, mine)
        print(f"\n{self.results.fault}", flush=True)

    def _more(self, number: int) -> dict[str, Any]:
        """The setting of a day 2 without a champion in every region, after saying so; else none."""
        if number != SCALING_DAY:
            return {}
        refused = without_champion(self.settings.folder, self.settings.regions)
        for region, reason in refused.items():
            print(f"{region} has no champion, so that day 2 goes without the forecast: {reason}", flush=True)
        return {"use_forecast": False} if refused else {}

    # What belongs to single days -------------------------------------------------------------------------------------

    def _watched_budgets(self) -> AbstractContextManager[dict[str, budgets.BudgetWatch]]:
        regions = self.scene.world.state["regions"]
        kubeconfigs = {region: Path(entry["kubeconfig"]) for region, entry in regions.items()}
        return budgets.watched(kubeconfigs, self.estate.namespace)

    def _packed(
        self, runs: Sequence[TriggeredRun], begun: dt.datetime, watches: Mapping[str, budgets.BudgetWatch]
    ) -> dict[str, day4.PackedRegion]:
        """Day 4 in each region; what was predicted is the last run's."""
        after = occupancy.occupancies(self.scene.lab, P95_SECONDS, self.scene.speed.stretch)
        now = dt.datetime.now(dt.UTC)
        return {
            region: day4.PackedRegion(
                self.unpacked[region],
                after[region],
                day4.predicted_of(runs[-1].records(region)),
                occupancy.oom_kills(reader, begun, now),
                watches[region].count(),
            )
            for region, reader in self.scene.lab.items()
        }

    def _edge_now(self) -> tuple[day3.Dollars, day3.Latency]:
        """Dollars by component and P95 by probe, as the lab reads them now."""
        at_edge = self.scene.at_edge
        dollars = edge_dollars.usd_month(at_edge.client, self.estate)
        routed = routed_dollars.usd_month(self.scene.lab, self.estate, str(self.scene.world.state["plant"]))
        return {**dollars, "request_routing": routed}, at_edge.latency()

    def _edge_day(self, run: TriggeredRun, before: tuple[day3.Dollars, day3.Latency]) -> day3.EdgeDay:
        """Day 3, by the plans of the run and by the lab's own reading."""
        chains = {lever: run.records(WHOLE_RUN, lever) for lever in run.levers[1:]}
        dollars, latency = self._edge_now()
        predicted, endings = day3.predicted_of(chains), day3.endings_of(chains)
        return day3.EdgeDay(before[0], dollars, predicted, before[1], latency, endings)

    def _bill_the_edge(self) -> None:
        """The bill of the edge as it stands now, and then what later days build on: the costs of yesterday."""
        bill.refresh_of(str(self.scene.world.state["aws_endpoint"]), self.estate, dt.datetime.now(dt.UTC))
        self.beside.start(self.scene.airflow, self.later, self.settings.regions)

    def _costs(self, run: TriggeredRun) -> dict[str, Any] | None:
        return self.scene.costs(run.value("validate_costs"), run.value("write_completion_report", "report") or {})

    # The end ---------------------------------------------------------------------------------------------------------

    def _end(self, verdict: str, counted: Moment, start: Mapping[str, Any]) -> bool:
        """Whether all came as it must, once everything is undone and told."""
        good = self.results.fault.as_expected if self.results.fault else verdict == PROMOTED
        if verdict == PROMOTED:
            for problem in (self.driver.end(), self.beside.failure(self.scene.airflow, POWER_PLAN)):
                if problem:
                    print(problem, flush=True)
                    good = False
        return Ending(self.scene, self.trigger, self.results, self.memory).tell(verdict, counted, start) and good
