"""The week rehearsed end to end: ``python -m lab.rehearsal`` (``make rehearsal``).

Boots the lab and a real Airflow, triggers each day's rollout through the public REST API, answers its approval like a
person, prints a line for each record of the ledger, then the day's table, and writes ``.lab/report.json``. The next
day begins when the one before is promoted. Exits 0 only when the verdict of every day is "promoted"; dollars that miss
their target don't change that. Everything is taken down at the end, also on Ctrl-C.

Environment: REGIONS and DAYS (comma-separated), FAULT (gate | ice; day 1 alone), KEEP (0 | 1), TRACE (CSV), LAB_DIR.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import platform
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import yaml

from include.clients.storage import Folder
from include.estate import ESTATE_FILE, Estate, EstateError, load_estate
from include.forecast.registry import Registry
from include.prices import AwsBook, load_aws_book
from include.rollout.ledger import WHOLE_RUN, Chain, FolderStore, Ledger, Record, Step, last
from include.rollout.lever import differences
from lab import airflow as airflows
from lab import report as texts
from lab import world as worlds
from lab.cloud.notices import ALL_SPOT_DRY, set_dry_pools
from lab.evidence import Figures, Reader, readers
from lab.history import DAYS as HISTORY_DAYS
from lab.processes import Crashed, tail
from lab.programs import BuildError

PROMOTED = "promoted"
SECOND_STEP = "step_2"
GATE_FAULT = {"extra_latency_ms": 80}  # far beyond the 30 ms that the P95 gate allows
COST_REPORT = "cost_report"
# What has to be there before a day: recurring DAGs, in their order, which run beside the days before it.
BEFORE: dict[int, tuple[str, ...]] = {2: ("traffic_export", "forecast_retrain"), 5: (COST_REPORT,)}
RUN_SECONDS = 45 * 60  # a run that takes longer hangs
PARSE_SECONDS = 90
BESIDE_SECONDS = 900
RESTORE_SECONDS = 90  # nodes that a rollback has emptied may still be leaving
POLL_SECONDS = 1.0
# Airflow 3.3 fails a task that is answered before the scheduler has heard of its process's end. People are slower.
HANDED_OVER = (
    "Received executor event with state success for task instance "
    "TaskInstanceKey(dag_id='{}', task_id='{}', run_id='{}'"
)
LONGEST_HAND_OVER_SECONDS = 15.0
LOG_TAIL = 5  # lines of a failed task's log
LOG_NOISE = ("::", "Worker startup", "Task failed with exception")
FOLDERS = (airflows.ledger_folder, airflows.costs_folder, worlds.traffic_folder, worlds.models_folder)
RESULTS = worlds.REPOSITORY / "benchmarks" / "results"
FINAL = {"success", "failed"}


class RehearsalError(RuntimeError):
    """The rehearsal can't go on; the message says what happened and what to do."""


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
    keep: bool = False
    trace: Path | None = None


def settings_from(environment: Mapping[str, str], on_terminal: bool) -> Settings:
    """Read and check REGIONS, DAYS, FAULT, KEEP, TRACE and LAB_DIR. Raises RehearsalError naming the wrong one."""
    estate = load_estate()
    names = tuple(environment.get("REGIONS", "").replace(",", " ").split())
    chosen = tuple(worlds.chosen_regions(estate, names))
    fault, keep, trace = (environment.get(name, "") for name in ("FAULT", "KEEP", "TRACE"))
    if fault not in {"", "gate", "ice"}:
        raise RehearsalError(f"FAULT={fault} is not known: use gate or ice, or leave it out")
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


def run_conf(day: Day, regions: Sequence[str], prometheus: str) -> dict[str, Any]:
    """What the run of ``day`` is triggered with; in the lab KEDA reaches Prometheus at its URL, ``prometheus``."""
    found = {"regions": list(regions), "dry_run": False, "reason": "rehearsal", **day.conf}
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


def handed_over(scheduler_log: str, dag_id: str, task_id: str, run_id: str) -> bool:
    """Whether the scheduler has heard that the process of a task that waits for an answer has ended."""
    return HANDED_OVER.format(dag_id, task_id, run_id) in scheduler_log


@dataclass
class Run:
    """The triggered run of a day, followed to its end: answers, faults and one line for each new record."""

    day: Day
    airflow: airflows.Airflow
    client: airflows.Client
    approver: airflows.Client
    ledger: Ledger
    regions: Sequence[str]
    run_id: str
    begun: float
    check_alive: Callable[[], None]
    faults: Faults
    said: dict[str, int] = field(default_factory=dict)
    failed_tasks: set[tuple[str, int, int]] = field(default_factory=set)
    asked_since: float | None = None
    answered: bool = False

    def records(self, region: str) -> list[Record]:
        """The run's records of one region so far."""
        return self.ledger.records(Chain(self.day.lever, region, self.day.dag, self.run_id))

    def value(self, task_id: str, key: str = "return_value") -> Any:
        """What a task of the run has returned; None when it has not."""
        try:
            return self.client.xcom(self.day.dag, self.run_id, task_id, key=key)
        except airflows.ApiError as error:
            if error.status == airflows.NOT_FOUND:
                return None
            raise

    def follow(self) -> str:
        """Until the run has ended; returns Airflow's state of it. Raises RehearsalError when it takes too long."""
        pause = threading.Event()
        started = time.monotonic()
        while True:
            self.check_alive()
            state = self.client.run_state(self.day.dag, self.run_id)
            self._say_new()
            self._answer()
            self._say_failed_tasks()
            if state in FINAL:
                return state
            if time.monotonic() - started > RUN_SECONDS:
                raise RehearsalError(
                    f"{self.day.dag} has not ended within {RUN_SECONDS // 60} minutes; see {self.airflow.url}"
                )
            pause.wait(POLL_SECONDS)

    def _say_new(self) -> None:
        chains = {region: self.records(region) for region in [WHOLE_RUN, *self.regions]}
        self.faults.react(chains)
        fresh = []
        for region, records in chains.items():
            fresh += [(r, texts.seconds_of(r, records[: r.sequence - 1])) for r in records[self.said.get(region, 0) :]]
            self.said[region] = len(records)
        for record, seconds in sorted(fresh, key=lambda pair: pair[0].time):
            if line := texts.line_of(record, time.monotonic() - self.begun, seconds):
                print(line, flush=True)

    def _answer(self) -> None:
        if self.answered:
            return
        waiting = [q for q in self.client.questions(self.day.dag, self.run_id) if not q["response_received"]]
        waiting = [q for q in waiting if q["task_instance"]["state"] in {"awaiting_input", "deferred"}]
        if not waiting:
            return
        if self.asked_since is None:
            self.asked_since = time.monotonic()
            print(f"\n{waiting[0]['subject']}\n\n{waiting[0].get('body') or ''}\n", flush=True)
        if not self._handed_over(waiting[0]) and time.monotonic() - self.asked_since < LONGEST_HAND_OVER_SECONDS:
            return
        self.approver.answer(waiting[0], "Approve")
        self.answered = True
        print(f"[{time.monotonic() - self.begun:6.0f} s] {self.approver.user} approves\n", flush=True)

    def _handed_over(self, question: Mapping[str, Any]) -> bool:
        """Whether the scheduler knows that the asking task has ended its process; only its log tells."""
        log = self.airflow.processes.logs / "scheduler.log"
        text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
        return handed_over(text, self.day.dag, str(question["task_instance"]["task_id"]), self.run_id)

    def _say_failed_tasks(self) -> None:
        for task in self.client.troubled_tasks(self.day.dag, self.run_id):
            key = (str(task["task_id"]), int(task["map_index"]), int(task["try_number"]))
            if key in self.failed_tasks:
                continue
            self.failed_tasks.add(key)
            again = "; it is tried again" if task["state"] == "up_for_retry" else ""
            print(f"[{time.monotonic() - self.begun:6.0f} s] task {key[0]} failed{again}", flush=True)
            for line in self._log_tail(key):
                print(f"             {line}", flush=True)

    def _log_tail(self, key: tuple[str, int, int]) -> list[str]:
        try:
            lines = self.client.log(self.day.dag, self.run_id, *key)
            return [line[:300] for line in lines if line.strip() and not line.startswith(LOG_NOISE)][-LOG_TAIL:]
        except airflows.ApiError as error:
            return [str(error)]


@dataclass
class Faults:
    """The fault of the rehearsal, planted and lifted as the run goes on."""

    kind: str
    canary: str
    regions: Sequence[str]
    folder: Path
    emulator_folder: Path
    planted: str = ""
    lifted: bool = False
    dry: tuple[str, ...] = ()

    def react(self, chains: Mapping[str, Sequence[Record]]) -> None:
        """Look at the run's records and plant or lift what is due."""
        if self.kind == "gate":
            self._fail_a_gate(chains)
        elif self.kind == "ice":
            self._dry_out(chains)

    def _fail_a_gate(self, chains: Mapping[str, Sequence[Record]]) -> None:
        # The engine writes to a second region only after the canary has passed every gate.
        touched = [r for r in self.regions if r != self.canary and last(chains[r], Step.TOUCH)]
        if touched and not self.planted:
            self.planted = touched[0]
            self._plant({self.planted: GATE_FAULT})
            print(
                f"FAULT=gate: requests in {touched[0]} now take {GATE_FAULT['extra_latency_ms']} ms longer", flush=True
            )
        elif self.planted and not self.lifted and last(chains[self.planted], Step.UNDO):
            self.lifted = True
            self._plant({})
            print(f"FAULT=gate: lifted, {self.planted} is being rolled back", flush=True)

    def _plant(self, faults: Mapping[str, Any]) -> None:
        partial = self.folder / "plant_faults.partial"
        partial.write_text(json.dumps(faults), encoding="utf-8")
        partial.replace(self.folder / "plant_faults.json")

    def _dry_out(self, chains: Mapping[str, Sequence[Record]]) -> None:
        dry = tuple(region for region in self.regions if in_or_before_second_step(chains[region]))
        if dry != self.dry:
            self.dry = dry
            set_dry_pools(self.emulator_folder, [f"{region}/{pool}" for region in dry for pool in ALL_SPOT_DRY])
            print(f"FAULT=ice: no spot capacity in {', '.join(dry) or 'no region: it is back everywhere'}", flush=True)


def in_or_before_second_step(records: Sequence[Record]) -> bool:
    """Whether a region stands between the passed gate of its first step and the gate of its second."""
    gates = [str(record.figures.get("slot")) for record in records if record.step == Step.GATE]
    return bool(gates) and SECOND_STEP not in gates


def await_dags(airflow: airflows.Airflow, client: airflows.Client, dags: set[str]) -> None:
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
    """One rehearsal from boot to report."""

    settings: Settings
    estate: Estate
    begun: float = field(default_factory=time.monotonic)
    seconds: dict[str, float] = field(default_factory=dict)
    airflow: airflows.Airflow | None = None
    world: worlds.World | None = None
    beside: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(max_workers=1))
    prepared: dict[str, Future[float]] = field(default_factory=dict)
    drills: dict[str, texts.Drill] = field(default_factory=dict)
    days: dict[str, Any] = field(default_factory=dict)
    steps: dict[str, Any] = field(default_factory=dict)

    def run(self) -> int:
        """Everything; returns the exit status."""
        try:
            verdict = self._rehearse()
            if self.settings.keep:
                print("Ctrl-C ends it and takes everything down.", flush=True)
                self._keep()
            return 0 if verdict == PROMOTED else 1
        finally:
            self._take_down()

    def _rehearse(self) -> str:
        self._boot()
        assert self.world is not None
        assert self.airflow is not None
        import boto3

        client = self._connect()
        self._prepare()
        lab = readers(self.estate, self.world.state, load_aws_book(self.estate), boto3.client)
        before = {region: reader.figures(60) for region, reader in lab.items()}
        verdict = ""
        for number in self.settings.days:
            verdict = self._one_day(client, number, lab, before)
            if verdict != PROMOTED:
                break
        print(f"UI {self.airflow.url}   login {airflows.ADMIN} / {self.airflow.passwords[airflows.ADMIN]}", flush=True)
        return verdict

    def _one_day(
        self, client: airflows.Client, number: int, lab: Mapping[str, Reader], before: Mapping[str, Figures]
    ) -> str:
        """Roll out one day and report it; returns its verdict."""
        specs = {region: reader.specs() for region, reader in lab.items()}
        self._await_prepared(number)
        refused = without_champion(self.settings.folder, self.settings.regions) if number == 2 else {}
        for region, reason in refused.items():
            print(f"{region} has no champion, so that day 2 goes without the forecast: {reason}", flush=True)
        run = self._trigger(client, WEEK[number], {"use_forecast": False} if refused else {})
        started = time.monotonic()
        state = run.follow()
        self.seconds[f"day {number}"] = round(time.monotonic() - started, 1)
        verdict, message = verdict_of(run.records(WHOLE_RUN), state)
        changes = self._changes(specs, lab, wait=verdict != PROMOTED)
        since = time.monotonic() - started
        after = {region: reader.figures(since) for region, reader in lab.items()}
        costs = self._costs(run) if number == 5 else None
        self._report(run, number, verdict, changes, before, after, costs)
        print(f"\n{message}  ({self.seconds[f'day {number}']:.0f} s)", flush=True)
        return verdict

    def _boot(self) -> None:
        options = worlds.Options(folder=self.settings.folder, trace=self.settings.trace)
        if (self.settings.folder / "state.json").exists():
            raise RehearsalError(f"a lab is already up in {self.settings.folder.name}: run `make lab-down` first")
        for old in FOLDERS:  # of a lab that is gone
            shutil.rmtree(old(self.settings.folder), ignore_errors=True)
        print(f"booting {', '.join(self.settings.regions)} and Airflow", flush=True)
        self.airflow, self.world = airflows.start_beside(
            self.settings.folder,
            self.estate.governance.approvers,
            lambda: worlds.up(self.settings.regions, options),
        )
        self.seconds["boot"] = round(time.monotonic() - self.begun, 1)
        print(f"ready after {self.seconds['boot']:.0f} s; Airflow was after {self.airflow.seconds['healthy']:.0f} s")

    def _connect(self) -> airflows.Client:
        """Load the settings and wait for the DAGs of the chosen days."""
        assert self.world is not None
        assert self.airflow is not None
        airflows.connect(self.airflow, self.world.state, self.settings.folder)
        client = self.airflow.client()
        await_dags(self.airflow, client, {WEEK[number].dag for number in self.settings.days} | set(self._before()))
        return client

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

    def _trigger(self, client: airflows.Client, day: Day, more: Mapping[str, Any]) -> Run:
        assert self.world is not None
        assert self.airflow is not None
        airflow, world = self.airflow, self.world
        client.unpause(day.dag)
        conf = run_conf(day, self.settings.regions, str(world.state["prometheus"]))
        run_id = client.trigger(day.dag, {**conf, **more})
        print(f"\ntriggered {day.dag}: {airflow.url}/dags/{day.dag}/runs/{run_id}", flush=True)
        approvers = self.estate.governance.approvers

        def check_alive() -> None:
            world.processes.check()
            airflow.processes.check()

        return Run(
            day=day,
            airflow=airflow,
            client=client,
            approver=airflow.client(approvers[0]) if approvers else client,
            ledger=Ledger(FolderStore(airflows.ledger_folder(self.settings.folder))),
            regions=self.settings.regions,
            run_id=run_id,
            begun=self.begun,
            check_alive=check_alive,
            faults=Faults(
                self.settings.fault,
                self.estate.canary_region,
                self.settings.regions,
                self.settings.folder,
                Path(world.state["emulator_folder"]),
            ),
        )

    def _costs(self, run: Run) -> dict[str, Any] | None:
        """The validation's record and where the completion report lies; None when the run did not get there."""
        folder = airflows.costs_folder(self.settings.folder)
        validated = run.value("validate_costs")
        if validated is None:
            return None
        written = run.value("write_completion_report", "report") or {}
        record = json.loads((folder / validated["key"]).read_text(encoding="utf-8"))
        return {"validation": record, "completion": str(folder / written["key"]) if written else None}

    def _changes(self, specs: Mapping[str, Any], lab: Mapping[str, Reader], wait: bool) -> list[str]:
        """How the live specs differ from those at the day's start; empty when everything is as it was."""
        pause = threading.Event()
        limit = time.monotonic() + (RESTORE_SECONDS if wait else 0)
        while True:
            found = [
                str(difference)
                for region, reader in lab.items()
                for difference in differences(specs[region], reader.specs(), region)
            ]
            if not found or time.monotonic() >= limit:
                return found
            pause.wait(2)

    def _report(
        self,
        run: Run,
        number: int,
        verdict: str,
        changes: Sequence[str],
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
        whole = texts.full_report(verdict, not changes, total, regions, self.days)
        (self.settings.folder / "report.json").write_text(json.dumps(whole, indent=2) + "\n", encoding="utf-8")
        self.steps[str(number)] = {region: texts.step_seconds(run.records(region)) for region in after}
        self._record_measurements(whole)
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

    def _record_measurements(self, whole: Mapping[str, Any]) -> None:
        assert self.world is not None
        assert self.airflow is not None
        # One file for each number of regions: a fault test's single region must not replace the whole week's figures.
        name = f"rehearsal_{len(self.settings.regions)}_regions" + (
            f"_{self.settings.fault}" if self.settings.fault else ""
        )
        asked = {"REGIONS": self.settings.regions, "DAYS": map(str, self.settings.days), "FAULT": [self.settings.fault]}
        measured = {
            "command": "make rehearsal " + " ".join(f"{name}={','.join(values)}" for name, values in asked.items()),
            "cpus": os.cpu_count(),
            "machine": platform.machine(),
            "seconds": {**self.seconds, "airflow_healthy": self.airflow.seconds["healthy"]},
            "boot": self.world.seconds,
            "memory_mib": {
                "lab": round(sum(self.world.processes.memory_bytes().values()) / 2**20),
                "airflow": self.airflow.memory_mib(),
            },
            "steps": self.steps,
            "report": whole,
        }
        RESULTS.mkdir(parents=True, exist_ok=True)
        (RESULTS / f"{name}.json").write_text(json.dumps(measured, indent=2, sort_keys=True) + "\n", encoding="utf-8")

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


def verdict_of(records: Sequence[Record], state: str) -> tuple[str, str]:
    """Name and message of the verdict from the run's own chain; without one the run is unfinished."""
    record = last(records, Step.VERDICT)
    if record is None:
        return "unfinished", f"the run ended {state} without a verdict: read the log of its last failed task"
    name = str(record.figures["verdict"])
    if name == PROMOTED and state != "success":
        return "unfinished", f"the verdict says promoted but the run ended {state}: read the log of its failed task"
    return name, str(record.figures["message"])


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
        return Rehearsal(settings, estate).run()
    except KeyboardInterrupt:
        print("rehearsal: stopped; everything is taken down", file=sys.stderr)
        return 130
    except (
        airflows.AirflowError,
        BuildError,
        Crashed,
        EstateError,
        RehearsalError,
        RuntimeError,
        TimeoutError,
    ) as error:
        print(f"rehearsal: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
