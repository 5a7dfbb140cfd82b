"""The end of a rehearsal: a load step, the undo of everything and its proof, what goes on record, and what is told."""

from __future__ import annotations

import datetime as dt
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from include.levers import LEVERS
from include.rollout.ledger import WHOLE_RUN
from lab import world as worlds
from lab.rehearsal import airflow as airflows
from lab.rehearsal import load, on_record, served, told, undo
from lab.rehearsal import report as texts
from lab.rehearsal.drive import Trigger
from lab.rehearsal.evidence import P95_SECONDS, EvidenceError
from lab.rehearsal.faults import PROMOTED
from lab.rehearsal.folders import ledger_folder
from lab.rehearsal.memory import PeakMemory
from lab.rehearsal.results import Results
from lab.rehearsal.run import verdict_of
from lab.rehearsal.scene import Scene

UNDONE = ("rolled back", "nothing to undo")  # green verdicts of the rollback DAG
COMPLETION_SECONDS = 120
SCORECARD, STOOD = "Scorecard", "before_undo"


@dataclass
class Ending:
    """What follows the days."""

    scene: Scene
    trigger: Trigger
    results: Results
    memory: PeakMemory

    def tell(self, verdict: str, counted: served.Moment, start: Mapping[str, Any]) -> bool:
        """Everything; ``counted`` and ``start`` are from before the first day. Whether the undo left nothing."""
        if table := self.results.week_table():
            print(f"\npredicted and realised, lever by lever\n{table}", flush=True)
        includes = ["days", "drills"]
        if verdict == PROMOTED and not self.scene.settings.fault:
            self._load_step()
            includes.append("load")
        good, stood = True, list[str]()
        if self.scene.settings.undo:
            # Judged while it stands: what is undone proves nothing any more, and its items read unknown.
            self._availability(counted, includes)
            stood = scorecard(self.scene, STOOD)
            good = self._undo_everything(start)
            includes.append("undo")
        self._availability(counted, includes)
        self._keep()
        self._show(stood)
        return good

    def _load_step(self) -> None:
        """More than the plan's requests in each region, and what of it was served."""
        scene, wanted = self.scene, load.wanted_qps(self.scene.estate)
        print(f"\nload step: {load.factor(scene.estate):.2f} times the demand", flush=True)
        with load.stepped(scene.settings.folder, scene.settings.regions, load.factor(scene.estate)):
            before, after = load.measured(scene.counters, scene.check_alive)
            p95 = {region: reader.figures(P95_SECONDS).p95_ms for region, reader in scene.lab.items()}
        found = load.throughputs(before, after, wanted, p95)
        print(load.table(found), flush=True)
        self.results.ended["throughput"] = {
            name: one.figures() | {"reached": one.reached} for name, one in found.items()
        }
        on_record.measured(scene, {name: {"kind": "throughput", **one.figures()} for name, one in found.items()})

    def _availability(self, counted: served.Moment, includes: list[str]) -> None:
        """Served by asked since before the first day."""
        now = self.scene.counters()
        found = served.report(served.availability(counted, now))
        span = {"since": _iso(counted.at), "until": _iso(now.at), "includes": includes}
        self.results.ended["availability"] = found
        on_record.measured(self.scene, {name: {"kind": "availability", **one, **span} for name, one in found.items()})
        ratio = found["estate"]["ratio"]
        shown = "unknown" if ratio is None else f"{ratio:.4%}"
        print(f"\navailability over {', '.join(includes)}: {shown}", flush=True)

    def _undo_everything(self, start: Mapping[str, Any]) -> bool:
        """Undo all that stands through the rollback DAG, and prove it; returns whether nothing remained."""
        scene = self.scene
        scene.measure_speed()
        stood = scene.standing()
        run = self.trigger.start(undo.DAG, [undo.EVERYTHING, *LEVERS], undo.conf(scene.places))
        triggered = time.monotonic()
        state = run.follow()
        seconds = time.monotonic() - (run.answered_at or triggered)
        verdict, message = verdict_of(run.records(WHOLE_RUN), state, UNDONE)
        records = {(lever, place): run.records(place, lever) for lever in LEVERS for place in scene.places}
        try:
            evidence = scene.changes(start, wait=True)
        except EvidenceError as error:
            evidence = [undo.Remains(error.region, undo.NOT_KNOWN, str(error))]
        unfinished = "" if verdict in UNDONE else message
        found = undo.judge(seconds, stood, records, scene.standing(), evidence, unfinished)
        self.results.seconds["undo"] = round(seconds, 1)
        self.results.steps["undo"] = {" ".join(place): texts.step_seconds(of) for place, of in records.items() if of}
        self.results.ended["undo"] = found.to_json()
        self._write()
        print(f"\n{message}\n\n{found}", flush=True)
        return found.restored

    def _keep(self) -> None:
        """What outlives this lab. That it can't be kept is told, and changes nothing of what was rehearsed."""
        for keep in (on_record.keep_safety, on_record.keep_predictions):
            try:
                keep(self.scene, self.results)
            except (OSError, RuntimeError, ValueError) as error:
                print(f"\nnot kept: {error}", flush=True)

    def _write(self) -> None:
        self.results.write(self.scene.world, self.scene.airflow, self.scene.speed)

    def _show(self, stood: Sequence[str]) -> None:
        """The scorecard, the waterfall, the page, and how to log in; none of them decides anything.

        ``stood`` is the scorecard from before the undo, empty without one.
        """
        scene = self.scene
        after = scorecard(scene)
        lines = ["as the week stood, before its undo", *stood, f"after the undo: {after[-1]}"] if stood else after
        print("\n".join(["", *lines]), flush=True)
        told.waterfall()
        self.results.ended["page"] = told.page(scene.airflow.url)
        self.memory.look()
        self.results.memory = self.memory.to_json()
        self._write()
        memory = self.results.memory
        print(f"\nmemory at most: {memory.get('total', 0):,} MiB of {memory.get('limit', 0):,}", flush=True)
        print(f"page {scene.airflow.url}{told.PAGE}", flush=True)
        password = scene.airflow.passwords[airflows.ADMIN]
        print(f"UI {scene.airflow.url}   login {airflows.ADMIN} / {password}", flush=True)


def _iso(at: float) -> str:
    return dt.datetime.fromtimestamp(at, dt.UTC).isoformat(timespec="seconds")


def scorecard(scene: Scene, name: str = "") -> list[str]:
    """The completion report written again with all that is on record by now, as anybody could from the ledger alone.

    Returns its scorecard's lines and where the report lies, in the folder ``completion`` or below it in ``name``; or
    one line that says why there is none.
    """
    folder = scene.settings.folder / "completion" / name
    places = (ledger_folder(scene.settings.folder), "--out", folder)
    command = [sys.executable, "-m", "include.completion", *map(str, places), "--regions", *scene.settings.regions]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=COMPLETION_SECONDS * scene.speed.stretch, check=False,
            cwd=worlds.REPOSITORY,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return ["the completion report took too long and is not written again"]
    report = folder / "report.md"
    if done.returncode or not report.exists():
        return [f"the completion report was not written again: {done.stderr.strip()[-800:]}"]
    return [*told.section(report.read_text(encoding="utf-8"), SCORECARD), f"completion report: {report}"]
