"""A rehearsal from boot to report: each day triggered, followed and reported, then everything undone and proved."""

from __future__ import annotations

import datetime as dt
import json
import shutil
import signal
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from include.clients.storage import Folder
from include.estate import Estate
from include.levers import LEVERS
from include.prices import load_aws_book
from include.rollout.ledger import WHOLE_RUN, Ledger, OpenRun
from lab import world as worlds
from lab.cloud import bill
from lab.machine import speed as speeds
from lab.machine.processes import Processes
from lab.machine.speed import Speed
from lab.rehearsal import airflow as airflows
from lab.rehearsal import budgets, day3, day4, edge, edge_dollars, occupancy, undo
from lab.rehearsal import report as texts
from lab.rehearsal.airflow_api import Client
from lab.rehearsal.airflow_settings import connect
from lab.rehearsal.beside import EDGE_DAY, Beside, around_edge, needed
from lab.rehearsal.evidence import P95_SECONDS, EvidenceError, EvidenceFigures, EvidenceReader, first_figures, readers
from lab.rehearsal.faults import LEVER_OF, Faults
from lab.rehearsal.folders import costs_folder, ledger_folder
from lab.rehearsal.results import COST_DAY, PACKING_DAY, PROMOTED, SCALING_DAY, DayResult, Results
from lab.rehearsal.run import RehearsalError, TriggeredRun, verdict_of
from lab.rehearsal.settings import RehearsalSettings
from lab.rehearsal.week import WEEK, RehearsedRun, run_conf, run_id_of, without_champion

PARSE_SECONDS = 90
FIRST_SAMPLES_SECONDS = 45  # two scrapes of a service that has just opened
RESTORE_SECONDS = 90  # nodes that a rollback has emptied may still be leaving
UNDONE = ("rolled back", "nothing to undo")  # green verdicts of the rollback DAG
FOLDERS = (ledger_folder, costs_folder, worlds.traffic_folder, worlds.models_folder)


def await_dags(airflow: airflows.Airflow, client: Client, dags: set[str]) -> None:
    """Wait until the DAGs are parsed. Raises RehearsalError with the import errors."""

    def parsed() -> bool:
        errors = client.import_errors()
        if errors:
            shown = "\n".join(f"{e['filename']}:\n{e['stack_trace']}" for e in errors)
            raise RehearsalError(f"DAG files do not load:\n{shown}\nFix them; `make test` finds the same")
        return dags <= client.dag_ids()

    airflow.processes.wait_until(parsed, f"{', '.join(sorted(dags))} being parsed", PARSE_SECONDS)


@dataclass
class Rehearsal:
    """One rehearsal from boot to report. ``speed`` is the slowest that was measured so far."""

    settings: RehearsalSettings
    estate: Estate
    speed: Speed
    begun: float = field(default_factory=time.monotonic)
    airflow: airflows.Airflow | None = None
    world: worlds.LabWorld | None = None
    at_edge: edge.EdgeReader | None = None
    beside: Beside = field(default_factory=Beside)
    later: tuple[int, ...] = ()  # days whose recurring DAGs wait for day 3
    unpacked: dict[str, occupancy.Occupancy] = field(default_factory=dict)  # as day 2 leaves it, or day 4 finds it

    def __post_init__(self) -> None:
        self.results = Results(self.settings, self.estate)

    def run(self) -> int:
        """Everything; returns the exit status."""
        try:
            good = self._rehearse()
            if self.settings.keep:
                print("Ctrl-C ends it and takes everything down.", flush=True)
                self._keep()
            return 0 if good else 1
        finally:
            self._take_down()

    def _rehearse(self) -> bool:
        """Whether every day was promoted, and nothing remained where everything was undone."""
        self._boot()
        assert self.world is not None
        assert self.airflow is not None
        import boto3

        client = self._connect()
        first, self.later = around_edge(self.settings.days)
        self.beside.start(self.airflow, first, self.settings.regions)
        lab = readers(self.estate, self.world.state, load_aws_book(self.estate), boto3.client, self.speed.stretch)
        self.at_edge = edge.reader(self.estate, self.world.state, boto3.client, self.speed.stretch)
        before = first_figures(lab, P95_SECONDS, FIRST_SAMPLES_SECONDS * self.speed.stretch)
        start = self._specs(lab)
        verdict = ""
        for number in self.settings.days:
            verdict = self._one_day(client, number, lab, before)
            if verdict != PROMOTED:
                break
        good = verdict == PROMOTED
        if table := self.results.week_table():
            print(f"\npredicted and realised, lever by lever\n{table}", flush=True)
        if self.settings.undo:
            good = self._undo_everything(client, lab, start) and good
        print(f"UI {self.airflow.url}   login {airflows.ADMIN} / {self.airflow.passwords[airflows.ADMIN]}", flush=True)
        return good

    def _one_day(
        self, client: Client, number: int, lab: Mapping[str, EvidenceReader], before: Mapping[str, EvidenceFigures]
    ) -> str:
        """Roll out one day and report it; returns its verdict."""
        assert self.airflow is not None
        specs = self._specs(lab)
        self.results.seconds |= self.beside.wait_for(self.airflow, number)
        more = self._without_forecast() if number == SCALING_DAY else {}
        self._measure_speed()
        if number == PACKING_DAY and not self.unpacked:
            self.unpacked = occupancy.occupancies(lab, P95_SECONDS, self.speed.stretch)
        edge_before = self._edge_now() if number == EDGE_DAY else None
        begun, started = dt.datetime.now(dt.UTC), time.monotonic()
        with ExitStack() as stack:
            watches = stack.enter_context(self._watched_budgets()) if number == PACKING_DAY else {}
            runs, verdict, message = self._follow(client, number, lab, more)
            seconds = self.results.seconds[f"day {number}"] = round(time.monotonic() - started, 1)
            changes = self._changes(specs, lab, wait=verdict != PROMOTED)
            packed = self._packed(lab, runs, begun, watches) if number == PACKING_DAY else {}
        since = time.monotonic() - started
        after = {region: reader.figures(since) for region, reader in lab.items()}
        costs = self._costs(runs[0]) if number == COST_DAY else None
        edge_day = self._edge_day(runs[0], edge_before) if edge_before else None
        day = DayResult(number, runs, verdict, seconds, changes, before, after, costs, packed, edge_day)
        self.results.day_is_over(day, time.monotonic() - self.begun)
        if number == EDGE_DAY:
            self._bill_the_edge()
        self._write_report()
        print(f"\n{message}  ({seconds:.0f} s)", flush=True)
        if number == SCALING_DAY and verdict == PROMOTED and PACKING_DAY in self.settings.days:
            self.unpacked = occupancy.occupancies(lab, P95_SECONDS, self.speed.stretch)
        return verdict

    def _follow(
        self, client: Client, number: int, lab: Mapping[str, EvidenceReader], more: Mapping[str, Any]
    ) -> tuple[list[TriggeredRun], str, str]:
        """The day's runs, each once the one before is promoted; with them the day's verdict and its message."""
        runs: list[TriggeredRun] = []
        verdict = message = ""
        for one in WEEK[number]:
            run = self._trigger_run(client, one, more)
            runs.append(run)
            state = run.follow()
            verdict, message = verdict_of(run.records(WHOLE_RUN), state, [PROMOTED])
            if verdict != PROMOTED:
                break
            self.results.run_is_over(run, {region: reader.figures(P95_SECONDS) for region, reader in lab.items()})
        return runs, verdict, message

    def _without_forecast(self) -> dict[str, Any]:
        """The setting of a day 2 without a champion in every region, after saying so; else none."""
        refused = without_champion(self.settings.folder, self.settings.regions)
        for region, reason in refused.items():
            print(f"{region} has no champion, so that day 2 goes without the forecast: {reason}", flush=True)
        return {"use_forecast": False} if refused else {}

    def _watched_budgets(self) -> AbstractContextManager[dict[str, budgets.BudgetWatch]]:
        assert self.world is not None
        kubeconfigs = {region: Path(entry["kubeconfig"]) for region, entry in self.world.state["regions"].items()}
        return budgets.watched(kubeconfigs, self.estate.namespace)

    def _packed(
        self,
        lab: Mapping[str, EvidenceReader],
        runs: Sequence[TriggeredRun],
        begun: dt.datetime,
        watches: Mapping[str, budgets.BudgetWatch],
    ) -> dict[str, day4.PackedRegion]:
        """Day 4 in each region; what was predicted is the last run's."""
        after = occupancy.occupancies(lab, P95_SECONDS, self.speed.stretch)
        now = dt.datetime.now(dt.UTC)
        return {
            region: day4.PackedRegion(
                self.unpacked[region],
                after[region],
                day4.predicted_of(runs[-1].records(region)),
                occupancy.oom_kills(reader, begun, now),
                watches[region].count(),
            )
            for region, reader in lab.items()
        }

    def _specs(self, lab: Mapping[str, EvidenceReader]) -> dict[str, Any]:
        """What a rollback must bring back, by place."""
        assert self.at_edge is not None
        return {**{region: reader.specs() for region, reader in lab.items()}, edge.PLACE: self.at_edge.specs()}

    def _edge_now(self) -> tuple[day3.Dollars, day3.Latency]:
        """Dollars by component and P95 by probe, as the lab reads them now."""
        assert self.at_edge is not None
        return edge_dollars.usd_month(self.at_edge.client, self.estate), self.at_edge.latency()

    def _edge_day(self, run: TriggeredRun, before: tuple[day3.Dollars, day3.Latency]) -> day3.EdgeDay:
        """Day 3, by the plans of the run and by the lab's own reading."""
        chains = {lever: run.records(WHOLE_RUN, lever) for lever in run.levers[1:]}
        dollars, latency = self._edge_now()
        predicted, endings = day3.predicted_of(chains), day3.endings_of(chains)
        return day3.EdgeDay(before[0], dollars, predicted, before[1], latency, endings)

    def _bill_the_edge(self) -> None:
        """The bill of the edge as it stands now, and then what later days build on: the costs of yesterday."""
        assert self.world is not None
        assert self.airflow is not None
        bill.refresh_of(str(self.world.state["aws_endpoint"]), self.estate, dt.datetime.now(dt.UTC))
        self.beside.start(self.airflow, self.later, self.settings.regions)

    def _boot(self) -> None:
        stretch = self.speed.stretch
        options = worlds.Options(folder=self.settings.folder, trace=self.settings.trace, stretch=stretch)
        if (self.settings.folder / "state.json").exists():
            raise RehearsalError(f"a lab is already up in {self.settings.folder.name}: run `make lab-down` first")
        for old in FOLDERS:  # of a lab that is gone
            shutil.rmtree(old(self.settings.folder), ignore_errors=True)
        print(f"booting {', '.join(self.settings.regions)} and Airflow", flush=True)
        approvers = self.estate.governance.approvers
        airflow = airflows.Airflow(self.settings.folder, approvers, stretch, self.settings.database)
        self.airflow, self.world = airflows.start_beside(airflow, lambda: worlds.up(self.settings.regions, options))
        self.results.seconds["boot"] = round(time.monotonic() - self.begun, 1)
        booted, healthy = self.results.seconds["boot"], self.airflow.seconds["healthy"]
        print(f"ready after {booted:.0f} s; Airflow was after {healthy:.0f} s")

    def _connect(self) -> Client:
        """Load the settings and wait for the DAGs of the chosen days."""
        assert self.world is not None
        assert self.airflow is not None
        connect(self.airflow, self.world.state, self.settings.folder)
        client = self.airflow.client()
        dags = {run.dag for number in self.settings.days for run in WEEK[number]}
        dags |= {undo.DAG} if self.settings.undo else set()
        await_dags(self.airflow, client, dags | set(needed(self.settings.days)))
        return client

    def _measure_speed(self) -> None:
        """Once more, since neighbours come and go; a machine that was slow once may be so again."""
        assert self.airflow is not None
        now = speeds.measure()
        if now > self.speed:
            self.speed = now
            self.airflow.stretch = now.stretch
            for processes in self._processes():
                processes.stretch = now.stretch
            print(f"with all that runs now, {now}", flush=True)

    def _processes(self) -> tuple[Processes, Processes]:
        assert self.world is not None
        assert self.airflow is not None
        return self.world.processes, self.airflow.processes

    def _trigger_run(self, client: Client, one: RehearsedRun, more: Mapping[str, Any]) -> TriggeredRun:
        assert self.world is not None
        conf = run_conf(one, self.settings.regions, str(self.world.state["prometheus"]), self.speed.stretch)
        kind = self.settings.fault if LEVER_OF.get(self.settings.fault) == one.lever else ""
        faults = Faults(
            kind,
            self.estate.canary_region,
            self.settings.regions,
            self.settings.folder,
            Path(self.world.state["emulator_folder"]),
        )
        levers = [one.lever, *LEVERS] if one.several else [one.lever]
        return self._trigger(client, one.dag, levers, {**conf, **more}, faults)

    def _trigger(
        self, client: Client, dag: str, levers: Sequence[str], conf: Mapping[str, Any], faults: Faults | None = None
    ) -> TriggeredRun:
        assert self.airflow is not None
        client.unpause(dag)
        run_id = run_id_of(dt.datetime.now(dt.UTC))
        client.trigger(dag, run_id, conf)
        print(f"\ntriggered {dag}: {self.airflow.url}/dags/{dag}/runs/{run_id}", flush=True)
        approvers = self.estate.governance.approvers

        def check_alive() -> None:
            for processes in self._processes():
                processes.check()

        return TriggeredRun(
            dag=dag,
            run_id=run_id,
            levers=levers,
            regions=self._places,
            airflow=self.airflow,
            client=client,
            approver=self.airflow.client(approvers[0]) if approvers else client,
            ledger=self._ledger(),
            begun=self.begun,
            check_alive=check_alive,
            faults=faults,
            stretch=self.speed.stretch,
        )

    @property
    def _places(self) -> tuple[str, ...]:
        """Where a lever may act in the lab."""
        return (*self.settings.regions, edge.PLACE)

    def _ledger(self) -> Ledger:
        return Ledger(Folder(ledger_folder(self.settings.folder)))

    def _standing(self) -> dict[undo.Place, list[OpenRun]]:
        """The changes that stand by lever and place, in the ledger's words."""
        ledger = self._ledger()
        places = [(lever, place) for lever in LEVERS for place in self._places]
        found = {place: ledger.standing(*place) for place in places}
        return {place: runs for place, runs in found.items() if runs}

    def _undo_everything(self, client: Client, lab: Mapping[str, EvidenceReader], start: Mapping[str, Any]) -> bool:
        """Undo all that stands through the rollback DAG, and prove it; returns whether nothing remains."""
        self._measure_speed()
        stood = self._standing()
        run = self._trigger(client, undo.DAG, [undo.EVERYTHING, *LEVERS], undo.conf(self._places))
        triggered = time.monotonic()
        state = run.follow()
        seconds = time.monotonic() - (run.answered_at or triggered)
        verdict, message = verdict_of(run.records(WHOLE_RUN), state, UNDONE)
        records = {(lever, place): run.records(place, lever) for lever in LEVERS for place in self._places}
        try:
            evidence = self._changes(start, lab, wait=True)
        except EvidenceError as error:
            evidence = [undo.Remains(error.region, undo.NOT_KNOWN, str(error))]
        unfinished = "" if verdict in UNDONE else message
        found = undo.judge(seconds, stood, records, self._standing(), evidence, unfinished)
        self.results.seconds["undo"] = round(seconds, 1)
        self.results.steps["undo"] = {" ".join(place): texts.step_seconds(of) for place, of in records.items() if of}
        self.results.report |= {"undo": found.to_json()}
        self._write_report()
        print(f"\n{message}\n\n{found}", flush=True)
        return found.restored

    def _costs(self, run: TriggeredRun) -> dict[str, Any] | None:
        """The validation's record and where the completion report lies; None when the run did not get there."""
        folder = costs_folder(self.settings.folder)
        validated = run.value("validate_costs")
        if validated is None:
            return None
        written = run.value("write_completion_report", "report") or {}
        record = json.loads((folder / validated["key"]).read_text(encoding="utf-8"))
        return {"validation": record, "completion": str(folder / written["key"]) if written else None}

    def _changes(self, specs: Mapping[str, Any], lab: Mapping[str, EvidenceReader], wait: bool) -> list[undo.Remains]:
        """How the live world differs from ``specs``, read earlier; empty when everything is as it was."""
        pause = threading.Event()
        limit = time.monotonic() + (RESTORE_SECONDS * self.speed.stretch if wait else 0)
        while True:
            found = undo.of_evidence(specs, self._specs(lab))
            if not found or time.monotonic() >= limit:
                return found
            pause.wait(2)

    def _write_report(self) -> None:
        assert self.world is not None
        assert self.airflow is not None
        self.results.write(self.world, self.airflow, self.speed)

    def _keep(self) -> None:
        assert self.world is not None
        assert self.airflow is not None
        pause = threading.Event()
        try:
            while True:
                self.world.processes.check()
                self.airflow.processes.check()
                pause.wait(5)
        except KeyboardInterrupt:
            print()

    def _take_down(self) -> None:
        # A second Ctrl-C must not leave half a lab behind.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        self.beside.stop()
        if self.airflow is not None:
            self.airflow.stop()
        if self.world is not None:
            self.world.down()
