"""How many requests a large ledger costs: ``make bench`` runs it.

Three levers, three regions, 300 runs each, in a store that counts its requests and answers each after 20 ms; a LIST is
one request for every 1,000 keys, as on S3. Measured are `touched` (asked several times in every rollout) and the plan
of a rollback of everything (limit of the issue: 10 s), once with one change standing in each place and once with all of
them; both beside reading every record. Then what signing costs: requests and seconds of a run's records behind that
network, with and without a key, and the seconds of computing alone. Writes benchmarks/results/ledger.json.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import BaseModel

from benchmarks.bench_lab_boot import machine
from include import levers
from include.clients.storage import Storage
from include.estate import load_estate
from include.rollout import rollback
from include.rollout.ledger import FIRST_LINK, Chain, Ledger, Record, Signer, Step, digest
from include.rollout.lever import Difference, Levers, Plan, Target, Undo
from include.rollout.rollback import RollbackRun

RESULTS = Path(__file__).parent / "results"
RUNS = 300
REQUEST_SECONDS = 0.02
PAGE = 1000  # keys that one LIST of S3 returns
STAGES = 5
LIMIT_SECONDS = 10


class Still:
    """A lever whose live state costs nothing to read: the ledger is what is measured."""

    name = "still"
    undo_after: tuple[str, ...] = ()
    settings_type = BaseModel

    def verify_restored(self, _target: Target, _snapshot: Mapping[str, Any]) -> list[Difference]:
        """One field to set back."""
        return [Difference("still size", 2, 1)]


class CountingStore:
    """Objects in memory behind a network of ``REQUEST_SECONDS``."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.requests = {"list": 0, "get": 0, "put": 0}
        self.waits = True
        self._lock = threading.Lock()

    def create(self, key: str, data: bytes) -> None:
        """Put an object, once."""
        self._request("put")
        if key in self.objects:
            raise FileExistsError(key)
        self.objects[key] = data

    def put(self, key: str, data: bytes) -> None:
        """Put an object, whether one is there or not."""
        self._request("put")
        self.objects[key] = data

    def read(self, key: str) -> bytes:
        """Get an object."""
        self._request("get")
        return self.objects[key]

    def keys(self, prefix: str) -> list[str]:
        """List, a request a page."""
        found = sorted(key for key in self.objects if key.startswith(prefix))
        for _ in range(0, max(len(found), 1), PAGE):
            self._request("list")
        return found

    def _request(self, kind: str) -> None:
        with self._lock:
            self.requests[kind] += 1
        if self.waits:
            time.sleep(REQUEST_SECONDS)


def fill(store: CountingStore, names: list[str], regions: list[str], standing: int) -> None:
    """The records of ``RUNS`` promoted runs in every place, of which the last ``standing`` were not undone since."""
    for name in names:
        for region in regions:
            for number in range(1, RUNS + 1):
                chain = Chain(name, region, f"{name}_rollout", f"r{number}")
                write(store, chain, steps_of(chain, number, closed=number <= RUNS - standing))


def steps_of(chain: Chain, number: int, *, closed: bool) -> Iterator[tuple[str, dict[str, Any], dict[str, str]]]:
    """(step, figures, links) of one run."""
    plan = Plan(chain.lever, chain.place, {}, (), (), None, None, "plan", Undo.MINUTES)
    yield Step.PLAN, {"hash": plan.hash(), "plan": plan.to_json()}, {}
    yield Step.SNAPSHOT, {"settings": {}, "snapshot": {"size": 1}, "order": number}, {}
    for _ in range(STAGES):
        yield from ((step, {}, {}) for step in (Step.TOUCH, Step.APPLIED, Step.GATE))
    yield Step.PROMOTED, {}, {}
    if closed:
        yield Step.RESTORED, {"complete": True}, {"restores": chain.path}


def write(store: CountingStore, chain: Chain, steps: Iterator[tuple[str, dict[str, Any], dict[str, str]]]) -> None:
    """A chain's records and marks, as the ledger writes them."""
    previous = FIRST_LINK
    for number, (step, figures, links) in enumerate(steps, start=1):
        record = Record(chain.lever, chain.place, chain.dag_id, chain.run_id, number, previous, step,
                        "2026-11-24T10:00:00+00:00", figures, links)  # fmt: skip
        data = record.encode()
        store.objects[f"{chain.path}/{number:06}.json"] = data
        store.objects[f"{chain.path}/{record.mark.name}"] = b""
        previous = digest(data)


def measured(store: CountingStore, ask: Any) -> dict[str, Any]:
    """Requests and seconds of one question."""
    store.requests = dict.fromkeys(store.requests, 0)
    begun = time.monotonic()
    ask()
    return {**store.requests, "seconds": round(time.monotonic() - begun, 2)}


def measure(standing: int) -> dict[str, Any]:
    """One ledger, each question on it, and how many requests reading all of it would be."""
    estate = load_estate()
    regions, names = estate.ordered_regions(), [f"lever_{letter}" for letter in "abc"]
    for name in names:
        levers.LEVERS[name] = "benchmarks.bench_ledger:Still"
    store = CountingStore()
    fill(store, names, regions, standing)
    records = sum(key.endswith(".json") for key in store.objects)
    ledger = Ledger(cast("Storage", store))
    params = {"lever": "everything", "regions": [], "run": "", "dry_run": True, "emergency": False, "reason": ""}
    clients = SimpleNamespace(leases=None)
    run = RollbackRun(cast("Any", SimpleNamespace(name="everything")), estate, params, "rollback", "bench", ledger,
                      lambda _: clients, lambda _: None, levers=cast("Levers", levers))  # fmt: skip
    last_run = Chain(names[0], "estate", f"{names[0]}_rollout", f"r{RUNS}")
    touched = measured(store, lambda: ledger.touched(last_run, regions))
    plan = measured(store, lambda: rollback.find_changes(run))
    asked = plan["list"] + plan["get"] + plan["put"]
    return {
        "records": records,
        "standing": standing * len(names) * len(regions),
        "touched": touched,
        "plan_of_everything": plan,
        "share_of_reading_everything": round(asked / records, 4),
    }


def signing(*, waits: bool) -> dict[str, Any]:
    """What the records of one run cost, with a key and without: requests and seconds."""
    found = {}
    for name, signer in {"unsigned": None, "signed": Signer(Ed25519PrivateKey.generate())}.items():
        store = CountingStore()
        store.waits = waits
        ledger = Ledger(cast("Storage", store), signer=signer)
        chain = Chain("lever_a", "us-east-1", "day1", "r1")
        found[name] = measured(store, lambda ledger=ledger, chain=chain: append_all(ledger, chain))
    records = sum(1 for _ in steps_of(chain, 1, closed=False))
    return {"records": records, **found}


def append_all(ledger: Ledger, chain: Chain) -> None:
    """Every record of a promoted run."""
    for step, figures, links in steps_of(chain, 1, closed=False):
        ledger.append(chain, step, figures, links)


def main() -> int:
    """Measure both ledgers, print and keep the figures; 1 when planning takes longer than the limit."""
    cases = {"one_stands": measure(1), "all_stand": measure(RUNS)}
    report = {"machine": machine(), "runs_a_region_and_lever": RUNS, "request_seconds": REQUEST_SECONDS, **cases}
    report["signing"] = {"behind_the_network": signing(waits=True), "computing_alone": signing(waits=False)}
    text = json.dumps(report, indent=1)
    (RESULTS / "ledger.json").write_text(text + "\n", encoding="utf-8")
    print(text)
    return int(any(case["plan_of_everything"]["seconds"] > LIMIT_SECONDS for case in cases.values()))


if __name__ == "__main__":
    sys.exit(main())
