"""Tasks of the DAGs ``edge_power`` (the schedule of each day) and ``measure_devices``."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from airflow.sdk import TriggerRule, get_current_context, task
from airflow.sdk.exceptions import AirflowFailException

from include import levers
from include.estate import load_estate
from include.levers.edge_power.settings import MeasureSettings, ScheduleSettings
from include.levers.edge_power.wanted import CANARY, COSTS, REST, devices_of
from include.rollout import once
from include.rollout.place import DEVICES
from include.wiring.clients import clients_for
from include.wiring.connections import show_dry_run, storage_at
from include.wiring.parameters import settings_of_run
from include.wiring.tasks import Engine, failed_tasks, recorded, write_timeout

if TYPE_CHECKING:
    from include.levers.edge_power.wanted import World
    from include.rollout.steps import Run

log = logging.getLogger(__name__)
LEVER = "edge_power"
PLAN, WRITE_CANARY, WRITE_REST = "plan_schedules", "write_canary", "write_rest"
LIMIT = write_timeout(600)
LONGEST = dt.timedelta(hours=6)


def _run() -> Run:
    engine = Engine(load_estate(), levers.lever(LEVER), lambda place, estate: clients_for(place, estate))
    return once.acting(engine.run(), {})


@contextlib.contextmanager
def _world(step: str, *, locked: bool = True) -> Iterator[World]:
    """The devices under their lock, which no rollout holds meanwhile; without it for a look."""
    from include.levers.world import World as Looked

    run = _run()
    with recorded(run, DEVICES), once.locked(run, DEVICES) if locked else contextlib.nullcontext():
        yield Looked(run.target(DEVICES, run.begin(DEVICES, step) if locked else None))


# The schedule of a day -----------------------------------------------------------------------------------------------


@task(multiple_outputs=False, task_id=PLAN)
def plan_schedules() -> dict[str, Any]:
    """Plan the day for each device from the days before, by the measured table; keeps the plans.

    Fails without a measurement, and while Prometheus can't be asked.
    """
    from include.levers.edge_power.daily import load_days, plan_day, text_of
    from include.levers.edge_power.modes import rows_of
    from include.levers.edge_power.wanted import load_region, measured

    settings, power = settings_of_run(ScheduleSettings), load_estate().edge.power
    day = (settings.at or dt.datetime.now(dt.UTC)).date()
    with _world("plan", locked=False) as world:
        _, table = measured(world)
        prometheus = world.target.clients.of(load_region(world)).prometheus
        plans = [one.to_json() for one in plan_day(load_days(prometheus, power, day), table, power)]
    storage = storage_at(COSTS, dry_run=settings.dry_run)
    found = {"day": day.isoformat(), "table": rows_of(table), "devices": plans}
    storage.put(f"devices/schedules/{day}.json", json.dumps(found, sort_keys=True, indent=1).encode())
    text = text_of(plans, day)
    log.info(text)
    return found | {"text": text, "dry_run": show_dry_run(storage)}


@task.short_circuit(ignore_downstream_trigger_rules=False)
def is_real_run() -> bool:
    """A dry run stops here; a real one writes."""
    return not settings_of_run(ScheduleSettings).dry_run


@task(task_id=WRITE_CANARY, execution_timeout=LIMIT)
def write_canary(found: dict[str, Any]) -> list[str]:
    """Write the canary's schedule, and judge it: as asked, and no request above its mode's capacity."""
    from include.levers.edge_power.daily import refuse_offline_canary

    lines = _write(found, CANARY)
    refuse_offline_canary(lines)
    return lines


@task(task_id=WRITE_REST, execution_timeout=LIMIT)
def write_rest(found: dict[str, Any]) -> list[str]:
    """Write the schedules of the other devices, each judged like the canary's."""
    return _write(found, REST)


def _write(found: dict[str, Any], slot: str) -> list[str]:
    from include.levers.edge_power.daily import write_schedule
    from include.levers.edge_power.modes import Mode, table_of

    table = table_of(Mode(**row) for row in found["table"])
    with _world(f"schedule of {slot}") as world:
        names = devices_of(world.estate.edge.power, slot)
        lines = [write_schedule(world, one, table) for one in found["devices"] if one["device"] in names]
    log.info("\n".join(lines))
    return lines


@task(trigger_rule=TriggerRule.ALL_DONE, retries=0)
def give_verdict() -> str:
    """Say what was written. A device that is pending makes the run red."""
    from include.levers.edge_power.daily import is_pending

    ti = get_current_context()["ti"]
    lines = [line for name in (WRITE_CANARY, WRITE_REST) for line in ti.xcom_pull(task_ids=name) or []]
    text = "\n".join(lines) or "nothing was written"
    failed = failed_tasks()
    if failed or any(map(is_pending, lines)):
        head = f"failed: {', '.join(failed)}\n" if failed else ""
        raise AirflowFailException(f"{head}{text}\nNext: bring back what is pending, mend what failed, trigger again")
    log.info(text)
    return text


# Measuring -----------------------------------------------------------------------------------------------------------


@task(multiple_outputs=False, execution_timeout=LONGEST, retries=0)
def measure() -> dict[str, Any]:
    """Measure each mode on one device, which its bench program takes out of service, and keep what was found.

    It is not tried again by itself: the device was out of service meanwhile. A dry run only shows the command.
    """
    from include.levers.edge_power.measuring import Measuring
    from include.levers.edge_power.measuring import measure as measured
    from include.levers.edge_power.modes import rows_of

    settings = settings_of_run(MeasureSettings)
    asked = Measuring(settings.seconds, settings.settle_seconds, settings.bench, settings.modes)
    device = settings.device or load_estate().edge.power.devices[0]
    if settings.dry_run:
        return {"device": device, "command": asked.command}
    with _world("measure") as world:
        found, table = measured(world, device, asked)
    return {"device": device, "table": rows_of(table), "skipped": found.get("skipped", [])}
