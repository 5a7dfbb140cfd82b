"""DAGs of the toy lever, and what the tests look at afterwards."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from include.estate import Estate, load_estate
from include.rollout.ledger import Chain, Ledger, Record
from include.rollout.place import Place
from tests.dags.toy import World, clients_of

US, EU, AP = "us-east-1", "eu-central-1", "ap-northeast-1"  # AP is the canary
QUICK = {"soak_seconds": 1, "gate_window_seconds": 1, "gate_wait_seconds": 0, "dry_run": False, "size": 2}
START = {US: 1, EU: 1, AP: 1}
Runner = Callable[..., Any]


def estate_of(*regions: str, lead: str = "rollout", **windows: int) -> Estate:
    """The estate with fewer regions, another lead of the canary and other windows: fewer tasks to run."""
    estate = load_estate()
    raw = estate.model_dump(mode="json")
    raw["regions"] = {name: region for name, region in raw["regions"].items() if name in regions}
    raw["windows"] |= windows
    raw["governance"]["canary_lead"] = lead
    return Estate.model_validate(raw)


def rollout_dag(world: World, estate: Estate | None = None, clients: Any = None) -> Any:
    from airflow.sdk import DAG

    from include.wiring.conventions import Tag
    from include.wiring.dag import rollout_arguments
    from include.wiring.rollout import rollout

    with DAG("toy_rollout", schedule=None, **rollout_arguments("toy", __doc__, [Tag.ROLLOUT], estate)) as dag:
        rollout("toy", clients or clients_of(world), estate)
    return dag


def when_task_begins(world: World, task: str, action: Callable[[], Any]) -> Any:
    """Clients of the world; ``action`` happens once, as soon as a task whose id begins so reaches for them."""
    make, left = clients_of(world), [action]

    def clients(place: Place, estate: Estate) -> Any:
        from airflow.sdk import get_current_context

        if left and get_current_context()["ti"].task_id.startswith(task):
            left.pop()()
        return make(place, estate)

    return clients


def rollback_dag(world: World | None, estate: Estate | None = None, clients: Any = None) -> Any:
    from airflow.sdk import DAG

    from include.wiring.dag import rollback_arguments
    from include.wiring.rollback import roll_back

    with DAG("rollback", schedule=None, **rollback_arguments(__doc__, estate)) as dag:
        roll_back(clients or (world and clients_of(world)), estate)
    return dag


def set_fault(world: World, name: str, value: Any = True) -> None:
    world.change(lambda w: w["faults"].update({name: value}))


def records(ledger: Ledger, run: Any, region: str, dag_id: str = "toy_rollout") -> list[Record]:
    return ledger.records(Chain("toy", region, dag_id, run.run_id))


def steps(ledger: Ledger, run: Any, region: str, dag_id: str = "toy_rollout") -> list[str]:
    return [record.step for record in records(ledger, run, region, dag_id)]


def holders(world: World) -> dict[str, str | None]:
    return {region: lease["spec"].get("holderIdentity") for region, lease in world.read()["leases"].items()}
