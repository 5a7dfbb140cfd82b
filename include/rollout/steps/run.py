"""One run of a DAG, and what its steps raise."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

from include.estate import Estate
from include.rollout.decisions import Outlook
from include.rollout.ledger import WHOLE_RUN, Chain, Ledger, Record, without_secrets
from include.rollout.lever import Json, Lever, Refused, Target, acts_in
from include.rollout.lock import Lock
from include.rollout.place import Place
from include.rollout.settings import RolloutSettings, build, build_on_record, rollout_settings

Result = TypeVar("Result")


class NotWanted(Exception):  # noqa: N818 - not an error: the step has nothing to do in this run
    """The step is not part of this run: its place is not selected, or its slot is not in the plan."""


class OnRecord(Refused):
    """A refusal that the step has already put on record itself."""


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


def _no_outlook(lever: str) -> Outlook:
    return Outlook(problem=f"nothing that simulates {lever} is connected")


@dataclass(frozen=True)
class Run:
    """One run of a DAG: what its steps need. ``clients`` makes a place's clients, ``params`` are the form's values.

    ``outlook`` says what a simulation of the month expects of a lever.
    """

    lever: Lever
    estate: Estate
    params: Mapping[str, Any]
    dag_id: str
    run_id: str
    ledger: Ledger
    clients: Callable[[Place], Any]
    run_ended: Callable[[str], bool | None]
    links: Mapping[str, str] = field(default_factory=dict)
    clock: Callable[[], dt.datetime] = _now
    outlook: Callable[[str], Outlook] = _no_outlook

    @property
    def holder(self) -> str:
        """How the run names itself on a lock."""
        return f"{self.dag_id}/{self.run_id}"

    @property
    def settings(self) -> RolloutSettings:
        """The engine's settings. Raises Refused naming the field that is wrong."""
        settings = build(rollout_settings(acts_in(self.lever)), self.params, self.estate)
        settings.check_against(self.estate)
        return settings

    @property
    def places(self) -> list[str]:
        """The names of the selected places, the canary first."""
        return self.settings.places(acts_in(self.lever), self.estate)

    def chain(self, place: str = WHOLE_RUN) -> Chain:
        """The run's chain in a place, or its own."""
        return Chain(self.lever.name, place, self.dag_id, self.run_id)

    def beside(self, chain: Chain) -> bool:
        """Whether another run's change is of the same part of the place as this run's; here the whole place is one."""
        del chain
        return True

    def record(self, place: str, step: str, figures: Mapping[str, Json], **links: str) -> Record:
        """Append a record to a place's chain."""
        return self.ledger.append(self.chain(place), step, figures, {**self.links, **links})

    def records(self, place: str) -> list[Record]:
        """The run's records in a place."""
        return self.ledger.records(self.chain(place))

    def lock(self, place: str) -> Lock:
        """The place's lock as this run sees it."""
        return Lock(self.clients(Place.named(place)).leases, place, self.holder, self.clock)

    def begin(self, place: str, step: str) -> Lock:
        """The place's lock, on which ``step`` alone writes from now on: an older try or step of this run does not."""
        lock = self.lock(place)
        lock.begin(f"{step} {uuid.uuid4().hex}")
        return lock

    def target(self, place: str, lock: Lock | None = None) -> Target:
        """Where the lever acts, with the settings of the form; ``lock`` is that of a step that writes."""
        settings = build(self.lever.settings_type, self.params, self.estate)
        fence = (lock or self.lock(place)).assert_held
        at = Place.named(place)
        return Target(at, self.estate, self.run_id, settings, self.clients(at), fence)

    def target_of(self, snapshot: Record, lock: Lock | None = None) -> Target:
        """Where the lever acts to undo: settings and slice of the estate are those that the snapshot was taken with."""
        place = Place.named(snapshot.place)
        kept = snapshot.figures.get("estate")
        estate = Estate.from_slice(kept, self.estate) if kept else self.estate
        settings = build_on_record(self.lever.settings_type, snapshot.figures["settings"], estate)
        fence = (lock or self.lock(snapshot.place)).assert_held
        return Target(place, estate, self.run_id, settings, self.clients(place), fence)

    def seconds_since(self, start: dt.datetime) -> float:
        """Seconds since ``start``, to the tenth."""
        return round((self.clock() - start).total_seconds(), 1)


def each_place(run: Run, step: Callable[[Target], Result]) -> list[Result]:
    """``step`` in all selected places at once (it waits for networks), results in the places' order."""
    targets = [run.target(place) for place in run.places]
    with ThreadPoolExecutor(max_workers=len(targets)) as pool:
        return list(pool.map(step, targets))


def evidence(run: Run, target: Target) -> dict[str, Json]:
    """The lever's figures, or why there are none: a report must not stop a promotion or a rollback."""
    try:
        return run.lever.evidence(target)
    except Exception as error:  # noqa: BLE001 - see above; the reason is put on record
        return {"problem": without_secrets(f"{type(error).__name__}: {error}")}
