"""The week rehearsed end to end: ``python -m lab.rehearsal`` (``make rehearsal``).

Boots the lab and a real Airflow, triggers each day's rollout through the public REST API, answers its approval like a
person, prints a line for each record of the ledger, then the day's table, and writes ``.lab/report.json``. The next
day begins when the one before is promoted. At the end everything is undone through the ``rollback`` DAG, and the lab
proves by its own evidence that nothing remains. Exits 0 only when the verdict of every day is "promoted" and nothing
remained; dollars that miss their target don't change that. Everything is taken down at the end, also on Ctrl-C.

Environment: REGIONS and DAYS (comma-separated), FAULT (gate | ice; day 1 alone), UNDO (0 | 1; 1 without a FAULT),
KEEP (0 | 1), TRACE (CSV), LAB_DIR.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import platform
import secrets
import shutil
import signal
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import yaml

from include.clients.storage import Folder
from include.estate import ESTATE_FILE, Estate, EstateError, load_estate
from include.forecast.registry import Registry
from include.levers import LEVERS
from include.prices import AwsBook, load_aws_book
from include.rollout.ledger import WHOLE_RUN, Ledger, OpenRun
from lab import world as worlds
from lab.machine import speed as speeds
from lab.machine.processes import Crashed, Processes, tail
from lab.machine.programs import BuildError
from lab.machine.speed import Speed
from lab.rehearsal import airflow as airflows
from lab.rehearsal import report as texts
from lab.rehearsal import undo
from lab.rehearsal.airflow_api import AirflowError, Client
from lab.rehearsal.evidence import EvidenceError, Figures, Reader, readers
from lab.rehearsal.faults import Faults
from lab.rehearsal.run import RehearsalError, Run, verdict_of
from lab.service.history import DAYS as HISTORY_DAYS

PROMOTED = "promoted"
COST_REPORT = "cost_report"
# What has to be there before a day: recurring DAGs, in their order, which run beside the days before it.
BEFORE: dict[int, tuple[str, ...]] = {2: ("traffic_export", "forecast_retrain"), 5: (COST_REPORT,)}
PARSE_SECONDS = 90
BESIDE_SECONDS = 900
RESTORE_SECONDS = 90  # nodes that a rollback has emptied may still be leaving
# Settings of a run that are limits of a wait: a slower machine gets longer ones.
WAITS = ("gate_wait_seconds", "converge_timeout_seconds")
UNDONE = ("rolled back", "nothing to undo")  # green verdicts of the rollback DAG
FOLDERS = (airflows.ledger_folder, airflows.costs_folder, worlds.traffic_folder, worlds.models_folder)


@dataclass(frozen=True)
class Day:
    """One day of the week: its DAG, its lever, and what the run is triggered with beside regions and reason."""

    dag: str
    lever: str
    conf: Mapping[str, Any]


# The rehearsal shortens windows and skips nothing.
WEEK: dict[int, Day] = {
    1: Day(
        "day1_spot",
        "spot_capacity",
        {
            "drill": True,
            "soak_seconds": 20,
            "gate_window_seconds": 20,
            "gate_wait_seconds": 120,
            "converge_timeout_seconds": 300,
        },
    ),
    2: Day(
        "day2_predictive_scaling",
        "predictive_scaling",
        {
            "polling_seconds": 5,
            "rate_window_seconds": 20,
            "scale_down_seconds": 15,
            "soak_seconds": 5,
            "gate_window_seconds": 15,
            "gate_wait_seconds": 120,
            "converge_timeout_seconds": 180,
        },
    ),
    5: Day(
        "day5_cost_monitoring",
        "cost_monitoring",
        {
            # Nothing that day 5 writes can show itself late: its gates read series that are there or not.
            "soak_seconds": 1,
            "gate_window_seconds": 10,
            "gate_wait_seconds": 90,
            "converge_timeout_seconds": 120,
            "validation_window_seconds": 6,
        },
    ),
}


@dataclass(frozen=True)
class Settings:
    """What the environment asks for."""

    folder: Path
    regions: tuple[str, ...] = ()
    days: tuple[int, ...] = tuple(WEEK)
    fault: str = ""
    undo: bool = True
    keep: bool = False
    trace: Path | None = None


def settings_from(environment: Mapping[str, str], on_terminal: bool) -> Settings:
    """Read and check REGIONS, DAYS, FAULT, UNDO, KEEP, TRACE and LAB_DIR. Raises RehearsalError for a wrong one."""
    estate = load_estate()
    names = tuple(environment.get("REGIONS", "").replace(",", " ").split())
    chosen = tuple(worlds.chosen_regions(estate, names))
    fault, undo, keep, trace = (environment.get(name, "") for name in ("FAULT", "UNDO", "KEEP", "TRACE"))
    if fault not in {"", "gate", "ice"}:
        raise RehearsalError(f"FAULT={fault} is not known: use gate or ice, or leave it out")
    if undo not in {"", "0", "1"}:
        raise RehearsalError(f"UNDO={undo} is not known: 1 undoes everything at the end, 0 leaves the changes standing")
    if keep not in {"", "0", "1"}:
        raise RehearsalError(f"KEEP={keep} is not known: 1 keeps the UI up until Ctrl-C, 0 does not")
    if len(chosen) > 1 and estate.canary_region not in chosen:
        raise RehearsalError(f"REGIONS={','.join(names)} leaves out the canary: add {estate.canary_region}")
    if fault == "gate" and len(chosen) < 2:
        raise RehearsalError(f"FAULT=gate fails a gate after the canary: add a region to REGIONS={','.join(names)}")
    if trace and not Path(trace).is_file():
        raise RehearsalError(f"TRACE={trace} does not exist: name a CSV file of traffic")
    return Settings(
        folder=Path(environment.get("LAB_DIR") or worlds.DEFAULT_FOLDER).resolve(),
        regions=chosen,
        days=_days(environment.get("DAYS", ""), fault),
        fault=fault,
        undo=undo == "1" or (undo == "" and not fault),
        keep=keep == "1" or (keep == "" and on_terminal),
        trace=Path(trace).resolve() if trace else None,
    )


def _days(text: str, fault: str) -> tuple[int, ...]:
    """The days to rehearse, in the week's order; a fault is one of day 1."""
    known = {str(number): number for number in WEEK}
    asked = text.replace(",", " ").split()
    if unknown := [word for word in asked if word not in known]:
        raise RehearsalError(f"DAYS={text} has no day {', '.join(unknown)}: use {', '.join(known)}")
    if fault:
        if asked and "1" not in asked:
            raise RehearsalError(f"FAULT={fault} is a fault of day 1: add it to DAYS={text}")
        return (1,)
    return tuple(number for word, number in known.items() if word in asked or not asked)


def open_window(estate: Estate, folder: Path, now: dt.datetime) -> Path | None:
    """A copy of the estate that allows a change now, or None when it does anyway.

    A rehearsal changes nothing real, so it must run on a freeze day too; every other rule of the estate stays.
    """
    if estate.governance.refusal(now) is None:
        return None
    source = Path(os.environ.get("AKIDB_ESTATE") or ESTATE_FILE)
    raw = yaml.safe_load(source.read_text(encoding="utf-8"))
    raw["governance"]["freeze_days"] = []
    raw["governance"]["change_window"] = {"weekdays": list(range(7)), "from_hour": 0, "to_hour": 24}
    copy = folder / "estate.yaml"
    copy.parent.mkdir(parents=True, exist_ok=True)
    copy.write_text(yaml.safe_dump(raw, sort_keys=False), encoding="utf-8")
    return copy


def results_file(settings: Settings) -> Path:
    """Where the measurements go: a file for each number of regions and fault, so that none replaces another's."""
    fault = f"_{settings.fault}" if settings.fault else ""
    return worlds.results_folder(settings.folder) / f"rehearsal_{len(settings.regions)}_regions{fault}.json"


def run_id_of(now: dt.datetime) -> str:
    """A run id of this rehearsal alone: chosen here, so that a trigger whose answer was lost can be sent again."""
    return f"rehearsal_{now:%Y%m%dT%H%M%S}_{secrets.token_hex(3)}"


def run_conf(day: Day, regions: Sequence[str], prometheus: str, stretch: float = 1.0) -> dict[str, Any]:
    """What the run of ``day`` is triggered with; in the lab KEDA reaches Prometheus at its URL, ``prometheus``.

    ``stretch`` multiplies the limits of waits, and neither soaks nor what gates compare with.
    """
    own = {name: round(value * stretch) if name in WAITS else value for name, value in day.conf.items()}
    found = {"regions": list(regions), "dry_run": False, "reason": "rehearsal", **own}
    return found | ({"prometheus_endpoint": prometheus} if day.lever == "predictive_scaling" else {})


def beside_conf(dag: str, regions: Sequence[str]) -> dict[str, Any]:
    """What a recurring DAG that runs beside a day is given; it runs for yesterday."""
    if dag == "traffic_export":
        return {"regions": list(regions), "days": HISTORY_DAYS}
    if dag == "forecast_retrain":
        # Trees and naives: minutes of networks for each region would be the longest part of the rehearsal.
        return {"regions": list(regions), "days": HISTORY_DAYS, "profile": "none"}
    return {}


def without_champion(folder: Path, regions: Sequence[str]) -> dict[str, str]:
    """The regions whose traffic no model forecasts better than the naives, each with the newest reason."""
    found = {}
    for region in regions:
        registry = Registry(Folder(worlds.models_folder(folder)), region)
        if not registry.pointer().version:
            history = registry.history()
            found[region] = history[-1].reason if history else "nothing was trained"
    return found


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

    settings: Settings
    estate: Estate
    speed: Speed
    begun: float = field(default_factory=time.monotonic)
    seconds: dict[str, float] = field(default_factory=dict)
    airflow: airflows.Airflow | None = None
    world: worlds.World | None = None
    beside: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(max_workers=1))
    prepared: dict[str, Future[float]] = field(default_factory=dict)
    drills: dict[str, texts.Drill] = field(default_factory=dict)
    days: dict[str, Any] = field(default_factory=dict)
    steps: dict[str, Any] = field(default_factory=dict)
    report: dict[str, Any] = field(default_factory=dict)

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
        self._prepare()
        lab = readers(self.estate, self.world.state, load_aws_book(self.estate), boto3.client, self.speed.stretch)
        before = {region: reader.figures(60) for region, reader in lab.items()}
        start = {region: reader.specs() for region, reader in lab.items()}
        verdict = ""
        for number in self.settings.days:
            verdict = self._one_day(client, number, lab, before)
            if verdict != PROMOTED:
                break
        good = verdict == PROMOTED
        if self.settings.undo:
            good = self._undo_everything(client, lab, start) and good
        print(f"UI {self.airflow.url}   login {airflows.ADMIN} / {self.airflow.passwords[airflows.ADMIN]}", flush=True)
        return good

    def _one_day(self, client: Client, number: int, lab: Mapping[str, Reader], before: Mapping[str, Figures]) -> str:
        """Roll out one day and report it; returns its verdict."""
        specs = {region: reader.specs() for region, reader in lab.items()}
        self._await_prepared(number)
        refused = without_champion(self.settings.folder, self.settings.regions) if number == 2 else {}
        for region, reason in refused.items():
            print(f"{region} has no champion, so that day 2 goes without the forecast: {reason}", flush=True)
        self._measure_speed()
        run = self._trigger_day(client, WEEK[number], {"use_forecast": False} if refused else {})
        started = time.monotonic()
        state = run.follow()
        self.seconds[f"day {number}"] = round(time.monotonic() - started, 1)
        verdict, message = verdict_of(run.records(WHOLE_RUN), state, [PROMOTED])
        changes = self._changes(specs, lab, wait=verdict != PROMOTED)
        since = time.monotonic() - started
        after = {region: reader.figures(since) for region, reader in lab.items()}
        costs = self._costs(run) if number == 5 else None
        self._report(run, number, verdict, changes, before, after, costs)
        print(f"\n{message}  ({self.seconds[f'day {number}']:.0f} s)", flush=True)
        return verdict

    def _boot(self) -> None:
        stretch = self.speed.stretch
        options = worlds.Options(folder=self.settings.folder, trace=self.settings.trace, stretch=stretch)
        if (self.settings.folder / "state.json").exists():
            raise RehearsalError(f"a lab is already up in {self.settings.folder.name}: run `make lab-down` first")
        for old in FOLDERS:  # of a lab that is gone
            shutil.rmtree(old(self.settings.folder), ignore_errors=True)
        print(f"booting {', '.join(self.settings.regions)} and Airflow", flush=True)
        self.airflow, self.world = airflows.start_beside(
            self.settings.folder,
            self.estate.governance.approvers,
            lambda: worlds.up(self.settings.regions, options),
            stretch,
        )
        self.seconds["boot"] = round(time.monotonic() - self.begun, 1)
        print(f"ready after {self.seconds['boot']:.0f} s; Airflow was after {self.airflow.seconds['healthy']:.0f} s")

    def _connect(self) -> Client:
        """Load the settings and wait for the DAGs of the chosen days."""
        assert self.world is not None
        assert self.airflow is not None
        airflows.connect(self.airflow, self.world.state, self.settings.folder)
        client = self.airflow.client()
        dags = {WEEK[number].dag for number in self.settings.days} | ({undo.DAG} if self.settings.undo else set())
        await_dags(self.airflow, client, dags | set(self._before()))
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

    def _before(self) -> list[str]:
        """The recurring DAGs that the chosen days build on, in their order."""
        return [dag for number in self.settings.days for dag in BEFORE.get(number, ())]

    def _prepare(self) -> None:
        """Run them for yesterday, as the schedule would have in the night, one after the other beside the days."""
        for dag in self._before():
            self.prepared[dag] = self.beside.submit(self._run_beside, dag)

    def _run_beside(self, dag: str) -> float:
        assert self.airflow is not None
        started = time.monotonic()
        yesterday = dt.datetime.now(dt.UTC).date() - dt.timedelta(days=1)
        process = self.airflow.run_at_once(dag, yesterday, beside_conf(dag, self.settings.regions))
        if process.wait():
            log = self.airflow.processes.logs / f"{dag}.log"
            raise RehearsalError(f"{dag} failed; the end of {log}:\n{tail(log)}")
        return round(time.monotonic() - started, 1)

    def _await_prepared(self, number: int) -> None:
        """Until what a day builds on is there. Raises RehearsalError when it failed."""
        assert self.airflow is not None
        started = time.monotonic()
        for dag in BEFORE.get(number, ()):
            self.airflow.processes.wait_until(self.prepared[dag].done, f"the end of {dag}", BESIDE_SECONDS)
            self.seconds[f"{dag} beside"] = self.prepared[dag].result()
        if number in BEFORE:
            self.seconds[f"waited before day {number}"] = round(time.monotonic() - started, 1)

    def _trigger_day(self, client: Client, day: Day, more: Mapping[str, Any]) -> Run:
        assert self.world is not None
        conf = run_conf(day, self.settings.regions, str(self.world.state["prometheus"]), self.speed.stretch)
        faults = Faults(
            self.settings.fault,
            self.estate.canary_region,
            self.settings.regions,
            self.settings.folder,
            Path(self.world.state["emulator_folder"]),
        )
        return self._trigger(client, day.dag, [day.lever], {**conf, **more}, faults)

    def _trigger(
        self, client: Client, dag: str, levers: Sequence[str], conf: Mapping[str, Any], faults: Faults | None = None
    ) -> Run:
        assert self.airflow is not None
        client.unpause(dag)
        run_id = run_id_of(dt.datetime.now(dt.UTC))
        client.trigger(dag, run_id, conf)
        print(f"\ntriggered {dag}: {self.airflow.url}/dags/{dag}/runs/{run_id}", flush=True)
        approvers = self.estate.governance.approvers

        def check_alive() -> None:
            for processes in self._processes():
                processes.check()

        return Run(
            dag=dag,
            run_id=run_id,
            levers=levers,
            regions=self.settings.regions,
            airflow=self.airflow,
            client=client,
            approver=self.airflow.client(approvers[0]) if approvers else client,
            ledger=self._ledger(),
            begun=self.begun,
            check_alive=check_alive,
            faults=faults,
            stretch=self.speed.stretch,
        )

    def _ledger(self) -> Ledger:
        return Ledger(Folder(airflows.ledger_folder(self.settings.folder)))

    def _standing(self) -> dict[undo.Place, list[OpenRun]]:
        """The changes that stand by lever and region, in the ledger's words."""
        ledger = self._ledger()
        places = [(lever, region) for lever in LEVERS for region in self.settings.regions]
        found = {place: ledger.standing(*place) for place in places}
        return {place: runs for place, runs in found.items() if runs}

    def _undo_everything(self, client: Client, lab: Mapping[str, Reader], start: Mapping[str, Any]) -> bool:
        """Undo all that stands through the rollback DAG, and prove it; returns whether nothing remains."""
        self._measure_speed()
        stood = self._standing()
        run = self._trigger(client, undo.DAG, [undo.EVERYTHING, *LEVERS], undo.conf(self.settings.regions))
        triggered = time.monotonic()
        state = run.follow()
        seconds = time.monotonic() - (run.answered_at or triggered)
        verdict, message = verdict_of(run.records(WHOLE_RUN), state, UNDONE)
        records = {(lever, region): run.records(region, lever) for lever in LEVERS for region in self.settings.regions}
        try:
            evidence = self._changes(start, lab, wait=True)
        except EvidenceError as error:
            evidence = [undo.Remains(error.region, undo.NOT_KNOWN, str(error))]
        unfinished = "" if verdict in UNDONE else message
        found = undo.judge(seconds, stood, records, self._standing(), evidence, unfinished)
        self.seconds["undo"] = round(seconds, 1)
        self.steps["undo"] = {" ".join(place): texts.step_seconds(of) for place, of in records.items() if of}
        self.report |= {"undo": found.to_json()}
        self._write_report()
        print(f"\n{message}\n\n{found}", flush=True)
        return found.restored

    def _costs(self, run: Run) -> dict[str, Any] | None:
        """The validation's record and where the completion report lies; None when the run did not get there."""
        folder = airflows.costs_folder(self.settings.folder)
        validated = run.value("validate_costs")
        if validated is None:
            return None
        written = run.value("write_completion_report", "report") or {}
        record = json.loads((folder / validated["key"]).read_text(encoding="utf-8"))
        return {"validation": record, "completion": str(folder / written["key"]) if written else None}

    def _changes(self, specs: Mapping[str, Any], lab: Mapping[str, Reader], wait: bool) -> list[undo.Remains]:
        """How the live world differs from ``specs``, read earlier; empty when everything is as it was."""
        pause = threading.Event()
        limit = time.monotonic() + (RESTORE_SECONDS * self.speed.stretch if wait else 0)
        while True:
            found = undo.of_evidence(specs, {region: reader.specs() for region, reader in lab.items()})
            if not found or time.monotonic() >= limit:
                return found
            pause.wait(2)

    def _report(
        self,
        run: Run,
        number: int,
        verdict: str,
        changes: Sequence[undo.Remains],
        before: Mapping[str, Figures],
        after: Mapping[str, Figures],
        costs: Mapping[str, Any] | None,
    ) -> None:
        total = time.monotonic() - self.begun
        if number == 1 or not self.drills:
            self.drills = {region: texts.drill_of(run.records(region)) for region in after}
        regions = {region: texts.region_report(before[region], after[region], self.drills[region]) for region in after}
        self.days[str(number)] = texts.day_report(verdict, self.seconds[f"day {number}"], costs)
        scaling = {region: texts.scaling_of(run.records(region)) for region in after}
        if number == 2:
            self.days[str(number)]["scaling"] = {region: asdict(found) for region, found in scaling.items()}
        self.report = texts.full_report(verdict, not changes, total, regions, self.days)
        self.steps[str(number)] = {region: texts.step_seconds(run.records(region)) for region in after}
        self._write_report()
        if number == 5:
            print(f"\n{texts.costs_text(costs)}", flush=True)
        else:
            if number == 2:
                print("\n" + texts.scaling_table(scaling), flush=True)
            print("\n" + texts.table(before, after, self.drills), flush=True)
            print(
                f"demand_scale {self.estate.demand_scale():.1f}; {prices_line(load_aws_book(self.estate))}", flush=True
            )
        if verdict != PROMOTED:
            print("live state equals the start" if not changes else "live state differs from the start:", flush=True)
            print("\n".join(f"  {change}" for change in changes[:40]))

    def _write_report(self) -> None:
        """The report, and the measurements around it."""
        text = json.dumps(self.report, indent=2) + "\n"
        (self.settings.folder / "report.json").write_text(text, encoding="utf-8")
        file = results_file(self.settings)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(self._measured(), indent=2, sort_keys=True) + "\n", encoding="utf-8")

    def _measured(self) -> dict[str, Any]:
        assert self.world is not None
        assert self.airflow is not None
        asked = {"REGIONS": self.settings.regions, "DAYS": map(str, self.settings.days), "FAULT": [self.settings.fault]}
        return {
            "command": "make rehearsal " + " ".join(f"{name}={','.join(values)}" for name, values in asked.items()),
            "cpus": os.cpu_count(),
            "machine": platform.machine(),
            "speed": {"share_of_reference": round(self.speed.share, 2), "stretch": round(self.speed.stretch, 2)},
            "seconds": {**self.seconds, "airflow_healthy": self.airflow.seconds["healthy"]},
            "boot": self.world.seconds,
            "memory_mib": {
                "lab": round(sum(self.world.processes.memory_bytes().values()) / 2**20),
                "airflow": self.airflow.memory_mib(),
            },
            "steps": self.steps,
            "report": self.report,
        }

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
        self.beside.shutdown(wait=False, cancel_futures=True)
        if self.airflow is not None:
            self.airflow.stop()
        if self.world is not None:
            self.world.down()


def prices_line(book: AwsBook) -> str:
    """Which prices the dollars came from, with the assumptions in them."""
    return "; ".join([f"prices: book {book.name} of {book.date}", *book.assumptions])


def _end_like_ctrl_c(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


def main() -> int:
    signal.signal(signal.SIGTERM, _end_like_ctrl_c)
    try:
        settings = settings_from(os.environ, sys.stdout.isatty())
        estate = load_estate()
        copy = open_window(estate, settings.folder, dt.datetime.now(dt.UTC))
        if copy is not None:
            print(f"{estate.governance.refusal(dt.datetime.now(dt.UTC))}: the rehearsal opens the window in a copy")
            os.environ["AKIDB_ESTATE"] = str(copy)
            estate = load_estate()
        measured = speeds.measure()
        print(measured, flush=True)
        return Rehearsal(settings, estate, measured).run()
    except KeyboardInterrupt:
        print("rehearsal: stopped; everything is taken down", file=sys.stderr)
        return 130
    except (
        AirflowError,
        BuildError,
        Crashed,
        EstateError,
        RehearsalError,
        RuntimeError,
        TimeoutError,
    ) as error:
        print(f"rehearsal: {error}", file=sys.stderr)
        return 1
