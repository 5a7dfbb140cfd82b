"""Tasks of the DAG ``savings_baseline``."""

from __future__ import annotations

from typing import Any

from airflow.sdk import get_current_context, task
from airflow.sdk.exceptions import AirflowFailException

from include.cost.tasks import COSTS_VARIABLE, window_end
from include.estate import load_estate
from include.forecast.tasks import TRAFFIC_VARIABLE
from include.planner.settings import BaselineSettings
from include.wiring.connections import show_dry_run, storage_at
from include.wiring.parameters import settings_of_run


@task(multiple_outputs=False)
def publish_savings() -> dict[str, Any]:
    """Compute a month's saving and keep page and record; a month with missing days fails the task with their names."""
    from include.cost.table.columns import CostError
    from include.cost.table.store import CostTable
    from include.forecast.traffic.table import TrafficError, TrafficTable
    from include.planner.baseline import publish
    from include.planner.baseline.month import BaselineError, month_before, month_named

    settings, estate = settings_of_run(BaselineSettings), load_estate()
    costs = storage_at(COSTS_VARIABLE, dry_run=settings.dry_run)
    traffic = TrafficTable(storage_at(TRAFFIC_VARIABLE))
    try:
        asked = month_named(settings.month) if settings.month else month_before(window_end(get_current_context(), None))
        found = publish.publish(estate, asked, traffic, CostTable(costs))
    except (BaselineError, CostError, TrafficError) as error:
        raise AirflowFailException(str(error)) from error
    return {**found, "dry_run": show_dry_run(costs)}
