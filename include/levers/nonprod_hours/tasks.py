"""The tasks of the DAG ``nonprod_hours``."""

from __future__ import annotations

import datetime as dt
import logging
from typing import Any

from airflow.sdk import TriggerRule, get_current_context, task
from airflow.sdk.exceptions import AirflowFailException

from include import levers
from include.estate import load_estate
from include.levers.nonprod_hours import hours
from include.levers.nonprod_hours.settings import HoursSettings
from include.wiring.clients import clients_for
from include.wiring.parameters import settings_of_run
from include.wiring.tasks import Engine, failed_tasks, recorded, write_timeout

log = logging.getLogger(__name__)
ACT = "sleep_and_wake"
LIMIT = write_timeout(3600)


@task
def list_regions() -> list[str]:
    """The regions of the form, for one task each."""
    return list(settings_of_run(HoursSettings).regions)


@task(multiple_outputs=False, task_id=ACT, execution_timeout=LIMIT, map_index_template="{{ region }}")
def sleep_and_wake(region: str) -> dict[str, Any]:
    """Put to sleep and wake the namespaces of one region by their calendars; a dry run only says what it would do."""
    get_current_context()["region"] = region  # type: ignore[typeddict-unknown-key]
    settings = settings_of_run(HoursSettings)
    estate = load_estate()
    engine = Engine(estate, levers.lever("nonprod_hours"), lambda place, estate: clients_for(place, estate))
    run = engine.run()
    asked = hours.Hours(
        run,
        region,
        settings.at or dt.datetime.now(dt.UTC),
        settings.converge_timeout_seconds,
        settings.nodes_wait_seconds,
        settings.wake,
        dt.timedelta(hours=settings.keep_hours),
    )
    if settings.dry_run:
        return {"region": region, "outcomes": [outcome.to_json() for outcome in hours.preview(asked)]}
    with recorded(run, region):
        return {"region": region, "outcomes": [outcome.to_json() for outcome in hours.carry_out(asked)]}


@task(trigger_rule=TriggerRule.ALL_DONE, retries=0)
def give_verdict() -> str:
    """Say what was done. A namespace that could not be woken, or of which nobody knows what it should do, is red."""
    # A list of names: of one name Airflow gives the only region's value itself, not a list of one.
    found = [each for each in get_current_context()["ti"].xcom_pull(task_ids=[ACT]) if each]
    lines = [f"{each['region']} {one['line']}" for each in found for one in each["outcomes"]]
    problems = [one["line"] for each in found for one in each["outcomes"] if one["problem"]]
    text = "\n".join(lines) or "no namespace is in nonprod.namespaces of estate.yaml"
    if problems or failed_tasks():
        failed = f"failed: {', '.join(failed_tasks())}\n" if failed_tasks() else ""
        raise AirflowFailException(f"{failed}{text}\nNext: mend what the lines name; the next look tries again")
    log.info(text)
    return text
