"""What the page reads, and from where: the ledger's and the costs' storage, the registry of models, Prometheus."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TypeVar

from include import levers
from include.clients.storage import Storage, open_storage
from include.estate import Estate, EstateError, load_estate
from include.overview.costs import CostCopy, Costs
from include.overview.forecasts import ForecastState
from include.overview.latest import Answer, Latest
from include.overview.ledger_copy import LedgerContent, LedgerCopy
from include.overview.odd import OF_SHAPE, without_odd
from include.overview.planned import Planned
from include.overview.runs import Search
from include.overview.score import Evidence, read_evidence
from include.overview.view import Overview, Sources, view_of
from include.rollout.safety import Reading as Proofs
from include.rollout.safety import SafetyRecords
from include.wiring.clients import LEDGER_VARIABLE
from include.wiring.connections import location_of

COSTS_VARIABLE = "akidb_costs"
PATIENCE = 3.0  # seconds that a request waits for a reading
FULL_EVERY = 300.0  # seconds after which every record is read again, also those that were read before
Told = Callable[[str], None]
Value = TypeVar("Value")


@dataclass
class Reading:
    """Everything that the page reads, each kept in memory between requests. Nothing here writes.

    ``open_variable`` opens the storage that an Airflow Variable names.
    """

    open_variable: Callable[[str], Storage]
    forecasts: Callable[[], tuple[ForecastState, ...]] = tuple
    planned: Callable[[], Planned] = Planned
    estate: Callable[[], Estate] = load_estate
    patience: float = PATIENCE
    search: Search = field(default_factory=Search)
    _copies: dict[str, LedgerCopy | CostCopy] = field(default_factory=dict)
    _seen: tuple[object, Overview] | None = None
    _full_at: float = field(default_factory=time.monotonic)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.ledger = Latest[LedgerContent](f"the ledger (Airflow Variable {LEDGER_VARIABLE})", self._read_ledger)
        name = f"the costs (Airflow Variable {COSTS_VARIABLE})"
        self.costs = Latest[tuple[Costs, Evidence]](name, self._read_costs, every=15.0)
        self.forecast = Latest[tuple[ForecastState, ...]]("the forecasts", lambda _told: self.forecasts(), every=60.0)
        self.plan = Latest[Planned]("the planner", lambda _told: self.planned(), every=3600.0)
        self.safety = Latest[Proofs]("the safety records beside the ledger", self._read_safety, every=30.0)

    def sources(self) -> Sources:
        """What is known now. A reading that takes longer than the patience goes on in the background."""
        for one in (self.costs, self.safety, self.forecast, self.plan):  # they begin while the ledger is read
            one.get(0)
        ledger, costs = self.ledger.get(self.patience), self.costs.get(self.patience)
        safety = self.safety.get(self.patience)
        return Sources(ledger, costs, _quiet(self.forecast), _quiet(self.plan), safety)

    def overview(self) -> Overview:
        """The first page, computed anew only when something of it has changed. Raises EstateError."""
        sources, estate = self.sources(), self.estate()
        key = (_known(sources), estate.name)
        with self._lock:
            if self._seen is None or self._seen[0] != key:
                self._seen = (key, _view(estate, sources))
            return self._seen[1]

    def _read_ledger(self, told: Told) -> LedgerContent:
        copy = self._copies.get("ledger")
        if not isinstance(copy, LedgerCopy):
            copy = LedgerCopy(self.open_variable(LEDGER_VARIABLE))
            self._copies["ledger"] = copy
        full = time.monotonic() - self._full_at > FULL_EVERY
        content = copy.refresh(full=full, progress=lambda done, of: told(f"{done:,} of {of:,} records"))
        self._full_at = time.monotonic() if full else self._full_at
        return content

    def _read_safety(self, _told: Told) -> Proofs:
        return SafetyRecords(self.open_variable(LEDGER_VARIABLE)).read()

    def _read_costs(self, told: Told) -> tuple[Costs, Evidence]:
        copy = self._copies.get("costs")
        if not isinstance(copy, CostCopy):
            copy = CostCopy(self.open_variable(COSTS_VARIABLE))
            self._copies["costs"] = copy
        told("reports of days")
        return copy.refresh(), read_evidence(copy.store)


def _view(estate: Estate, sources: Sources) -> Overview:
    """The first page, if need be without the chains of which it can't be made."""
    names = list(levers.LEVERS)

    def made(content: LedgerContent) -> Overview:
        return view_of(estate, names, replace(sources, ledger=replace(sources.ledger, value=content)))

    try:
        return view_of(estate, names, sources)
    except OF_SHAPE:  # rare: the usual way costs nothing
        return made(without_odd(ledger_of(sources.ledger), made))


def _quiet(latest: Latest[Value]) -> Answer[Value]:
    """What is known of something that the page can be shown without: its first reading is no problem yet."""
    answer = latest.get(0)
    return Answer() if answer.at is None and answer.problem.startswith(f"{latest.name} is still") else answer


def _known(sources: Sources) -> tuple[object, ...]:
    """What decides how the page looks, but for the moments at which it was read."""
    ledger, costs = sources.ledger, sources.costs
    version = ledger.value.version if ledger.value else ""
    days = tuple((day.day, day.key) for day in costs.value[0].days) if costs.value else ()
    evidence = (costs.value[1].validation_key, costs.value[1].commitments_key) if costs.value else ()
    beside = (sources.forecasts, sources.planned, sources.safety)
    problems = tuple(answer.problem for answer in (ledger, costs, *beside))
    return version, days, evidence, problems, tuple(answer.at for answer in beside)


def estate_name(load: Callable[[], Estate] = load_estate) -> str:
    """The estate's name; what can't be read has none."""
    try:
        return load().name
    except EstateError:
        return "estate"


def ledger_of(answer: Answer[LedgerContent]) -> LedgerContent:
    """The ledger as far as it is known."""
    return answer.value or LedgerContent({})


def open_for_reading(variable: str) -> Storage:
    """The storage that an Airflow Variable names, with limits that suit a page. Raises SettingMissingError."""
    return open_storage(location_of(variable), _s3_client)


def _s3_client(conn_id: str | None) -> object:
    from airflow.providers.amazon.aws.hooks.s3 import S3Hook
    from botocore.config import Config

    # A page must say soon that a store is dead; 32 chains are read at the same time.
    limits = Config(connect_timeout=2, read_timeout=5, retries={"max_attempts": 2}, max_pool_connections=32)
    return S3Hook(conn_id or S3Hook.default_conn_name, config=limits).get_conn()
