"""Three toy levers for one run: alpha and beta once for the estate, gamma in regions; each has a world of its own."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from include.estate import Estate
from include.rollout.ledger import Chain, Ledger
from include.rollout.lever import Plan, Target
from include.rollout.place import ESTATE_WIDE, PlaceKind
from tests.dags.toy import Toy, World, clients_of
from tests.dags.toy_dags import AP, estate_of

DAG_ID = "toys"
LEVERS = ("alpha", "beta", "gamma")
QUICK = {"soak_seconds": 1, "gate_window_seconds": 1, "gate_wait_seconds": 0, "dry_run": False, "size": 2}


class OfWorld(Toy):
    """Its world lies beside that of the locks, under its own name; one slot, so that a run has few tasks."""

    slots = ("step_1",)

    def world(self, target: Target) -> World:
        return World(target.clients.world.path.with_name(f"{self.name}.json"))

    def plan(self, target: Target) -> Plan:
        plan = super().plan(target)
        assert plan.usd_month_after is not None
        dearer = self.world(target).read()["faults"].get("dearer", 0)  # dollars a month
        return replace(plan, usd_month_after=plan.usd_month_after + dearer)


class Alpha(OfWorld):
    name, acts_in = "alpha", PlaceKind.ESTATE


class Beta(OfWorld):
    name, acts_in = "beta", PlaceKind.ESTATE


class Gamma(OfWorld):
    name = "gamma"


def make_worlds(folder: Path) -> World:
    """The world of each lever, and that of the locks, which is returned."""
    for name in LEVERS:
        places = (AP,) if name == "gamma" else (ESTATE_WIDE,)
        _write(folder / f"{name}.json", {place: {"size": 1} for place in places})
    return World(_write(folder / "world.json", {}))


def _write(path: Path, places: dict[str, Any]) -> Path:
    path.write_text(json.dumps({"regions": places, "faults": {}, "leases": {}, "events": []}))
    return path


def world_of(locks: World, lever: str) -> World:
    return World(locks.path.with_name(f"{lever}.json"))


def sizes(locks: World) -> dict[str, list[int]]:
    """The size of each lever in each of its places."""
    return {lever: [*world_of(locks, lever).sizes().values()] for lever in LEVERS}


def set_fault(locks: World, lever: str, name: str, value: Any = True) -> None:
    world_of(locks, lever).change(lambda world: world["faults"].update({name: value}))


def set_size(locks: World, lever: str, place: str, size: int) -> None:
    world_of(locks, lever).change(lambda world: world["regions"][place].update(size=size))


def several_dag(locks: World, estate: Estate | None = None, clients: Any = None) -> Any:
    from airflow.sdk import DAG

    from include.wiring.conventions import Tag
    from include.wiring.dag import rollout_arguments
    from include.wiring.rollout import rollouts

    estate = estate or estate_of(AP)
    with DAG(DAG_ID, schedule=None, **rollout_arguments(LEVERS, __doc__, [Tag.ROLLOUT], estate)) as dag:
        rollouts(LEVERS, clients or clients_of(locks), estate)
    return dag


def steps(ledger: Ledger, run: Any, lever: str, place: str = "estate") -> list[str]:
    return [record.step for record in records(ledger, run, lever, place)]


def records(ledger: Ledger, run: Any, lever: str, place: str = "estate") -> list[Any]:
    return ledger.records(Chain(lever, place, DAG_ID, run.run_id))
