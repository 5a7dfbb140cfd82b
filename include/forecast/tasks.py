"""Tasks of the forecast's recurring DAGs: traffic_export, forecast_retrain, forecast_watch.

The decisions are in export.py, retrain.py, watch.py and registry.py; the tasks only bring them their clients. Places:
the Airflow Variables ``akidb_traffic`` and ``akidb_models``.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import logging
import os
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from airflow.sdk import (
    Asset,
    AssetAlias,
    AssetAll,
    AssetOrTimeSchedule,
    CronTriggerTimetable,
    TriggerRule,
    get_current_context,
    task,
    task_group,
)
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from include.estate import Estate, EstateError, load_estate
from include.forecast import outcomes
from include.forecast.settings import ExportSettings, RetrainSettings, WatchSettings
from include.notices import champion_demoted
from include.wiring.connections import SettingMissingError, prometheus_of, show_dry_run, storage_at
from include.wiring.notify import notify_of
from include.wiring.parameters import settings_of_run

if TYPE_CHECKING:
    from include.clients.storage import Storage
    from include.forecast.registry import Registry
    from include.forecast.traffic.table import TrafficTable
    from include.forecast.trainer import Trainer
    from include.forecast.watch import Watched

log = logging.getLogger(__name__)

TRAFFIC_VARIABLE = "akidb_traffic"
MODELS_VARIABLE = "akidb_models"
# The image that trains: set, training goes to a pod; unset, it runs in the task. Read at parse, since the kind of a
# task can't change afterwards.
TRAIN_IN_POD = "AKIDB_TRAIN_IN_POD"
POD_NAMESPACE = "AKIDB_TRAINING_NAMESPACE"
POD_RESOURCES = {"requests": {"cpu": "2", "memory": "3Gi"}, "limits": {"memory": "4Gi"}}
TRAIN_TIMEOUT = dt.timedelta(minutes=45)
BY_REGION = "{{ task.op_kwargs['region'] }}"
TRAFFIC_ALIAS = AssetAlias("traffic")
CHAMPION_ALIAS = AssetAlias("forecast/champion")


def traffic_asset(region: str) -> Asset:
    """The exported traffic of a region."""
    return Asset(f"traffic/{region}")


def champion_asset(region: str) -> Asset:
    """Which model forecasts a region's traffic."""
    return Asset(f"forecast/champion/{region}")


# --- What the tasks share ---------------------------------------------------------------------------------------------


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """No retry for what a retry can't cure."""
    from include.forecast.registry import RegistryError
    from include.forecast.traffic.series import DatasetError
    from include.forecast.traffic.table import TrafficError
    from include.forecast.trainer import RetrainError

    known = (TrafficError, RegistryError, RetrainError, DatasetError, SettingMissingError, EstateError)
    try:
        yield
    except known as error:
        raise AirflowFailException(str(error)) from error


def trainer(profile: str = "fast") -> Trainer:
    """The models, trained by ``profile``; tests put their own in its place."""
    from include.forecast.trainer import CandidateTrainer

    return CandidateTrainer(profile)


def clock() -> float:
    """Unix seconds."""
    return time.time()


def open_traffic(storage: Storage | None = None) -> TrafficTable:
    """The traffic table, in ``storage`` if given."""
    from include.forecast.traffic.table import TrafficTable

    return TrafficTable(storage or storage_at(TRAFFIC_VARIABLE))


def open_registry(region: str, storage: Storage | None = None) -> Registry:
    """The registry of a region, in ``storage`` if given."""
    from include.forecast.registry import Registry

    return Registry(storage or storage_at(MODELS_VARIABLE), region)


def run_date(context: Mapping[str, Any]) -> dt.date:
    """The date that the run stands for: of its logical time, else of when it was triggered."""
    moment = context.get("logical_date") or context["dag_run"].run_after
    return dt.date.fromisoformat(moment.astimezone(dt.UTC).date().isoformat())


def own_day(context: Mapping[str, Any], given: dt.date | None) -> dt.date:
    """The day that an export is for: ``given`` by the form, else the day of the data interval, else yesterday."""
    if given:
        return given
    start = context.get("data_interval_start")
    if start and start != context.get("data_interval_end"):
        return dt.date.fromisoformat(start.astimezone(dt.UTC).date().isoformat())
    return run_date(context) - dt.timedelta(days=1)


def check_wanted(region: str, settings: ExportSettings | RetrainSettings) -> None:
    """Skip a region that the run was not asked for."""
    if region not in settings.regions:
        raise AirflowSkipException(f"{region}: the run was asked for {', '.join(settings.regions)} only")


def _announce(alias: AssetAlias, asset: Asset, key: str) -> None:
    """Emit the asset's event; it carries the key of what was written and nothing else."""
    get_current_context()["outlet_events"][alias].add(asset, extra={"key": key})


def _returned(task_id: str) -> list[dict[str, Any]]:
    """What the instances of a mapped task returned; Airflow hands a single one over bare."""
    found = get_current_context()["ti"].xcom_pull(task_ids=task_id) or []
    return [one for one in ([found] if isinstance(found, dict) else found) if one]


def _states() -> dict[str, str | None]:
    """The state of each task of this run so far; instances of mapped tasks end with ``_<index>``."""
    ti = get_current_context()["ti"]
    states: dict[str, str | None] = ti.get_task_states(dag_id=ti.dag_id, run_ids=[ti.run_id]).get(ti.run_id, {})
    return states


# --- traffic_export ---------------------------------------------------------------------------------------------------


@task(outlets=[TRAFFIC_ALIAS], map_index_template=BY_REGION)
def export_traffic(region: str) -> list[dict[str, object]]:
    """Bring the days that are missing or have gaps from Prometheus into the traffic table; judge each day."""
    from include.forecast.traffic.export import DayState, days_to_export, failures

    settings = settings_of_run(ExportSettings)
    check_wanted(region, settings)
    last = own_day(get_current_context(), settings.day)
    with explained():
        storage = storage_at(TRAFFIC_VARIABLE, dry_run=settings.dry_run)
        outcomes = exporter_of(region, storage).export(days_to_export(last, settings.days), settings.force)
    log.info("%s%s", "dry run: " if settings.dry_run else "", "\n".join(map(str, outcomes)))
    show_dry_run(storage)
    written = [outcome.key for outcome in outcomes if outcome.state == DayState.WRITTEN]
    if problems := failures(outcomes, last):
        stored = "Dry run: nothing is stored" if settings.dry_run else "What passed is stored"
        raise AirflowFailException(f"{'; '.join(map(str, problems))}. {stored}; see docs: traffic_export")
    if written and not settings.dry_run:
        _announce(TRAFFIC_ALIAS, traffic_asset(region), written[-1])
    return [outcome.to_json() for outcome in outcomes]


def exporter_of(region: str, storage: Storage) -> Any:
    """The exporter of a region, with its clients and the gate."""
    from include.forecast.traffic.export import Exporter
    from include.quality.traffic import judge_days

    estate = load_estate()
    return Exporter(prometheus_of(region, estate), estate, region, open_traffic(storage), judge_days, clock())


# --- forecast_retrain -------------------------------------------------------------------------------------------------


def nightly_and_after_every_export(estate: Estate) -> AssetOrTimeSchedule:
    """When new traffic of every region is there, and in any case at night."""
    nightly = CronTriggerTimetable("30 3 * * *", timezone="UTC")
    return AssetOrTimeSchedule(timetable=nightly, assets=AssetAll(*map(traffic_asset, estate.ordered_regions())))


@task(multiple_outputs=False, map_index_template=BY_REGION)
def load_window(region: str) -> dict[str, Any]:
    """Find the newest whole days; skip the region when the same data and code were judged before."""
    from include.forecast import retrain

    settings = settings_of_run(RetrainSettings)
    check_wanted(region, settings)
    with explained():
        window = retrain.load_window(open_traffic(), region, settings.last, settings.days)
        before = None if settings.force else retrain.decided_before(open_registry(region), window)
    if before:
        raise AirflowSkipException(f"{region}: nothing new since {before.as_of}: {before.action}: {before.reason}")
    return window.to_json()


@task(multiple_outputs=False, map_index_template="{{ task.op_kwargs['window']['region'] }}")
def judge_data(window: dict[str, Any]) -> dict[str, Any]:
    """Refuse thin, dirty or old data, with the reason on record; the champion stays."""
    from include.forecast import retrain

    settings = settings_of_run(RetrainSettings)
    found = retrain.TrainingWindow.from_json(window)
    # A run for a chosen last day may be about the past: age says nothing there.
    today = found.last if settings.last else run_date(get_current_context())
    with explained():
        models = storage_at(MODELS_VARIABLE, dry_run=settings.dry_run)
        return retrain.judge_data(open_traffic(), open_registry(found.region, models), found, today)


@task(
    multiple_outputs=False,
    execution_timeout=TRAIN_TIMEOUT,
    map_index_template="{{ task.op_kwargs['judged']['region'] }}",
)
def train(judged: dict[str, Any]) -> dict[str, Any]:
    """Train the candidates and keep them as immutable versions; a dry run keeps none, and judges them here."""
    from include.forecast import retrain

    settings, window = settings_of_run(RetrainSettings), retrain.TrainingWindow.from_json(judged)
    step = retrain.rehearse if settings.dry_run else retrain.train
    with explained():
        models = storage_at(MODELS_VARIABLE, dry_run=settings.dry_run)
        made = step(open_traffic(), open_registry(window.region, models), window, trainer(settings.profile))
    show_dry_run(models)
    return made


def train_in_pod(image: str, group: str = "retrain_region") -> Any:
    """The same step in a pod of ``image``, whose service account may read the traffic and add to the models."""
    # 3 s to import: only where it is used.
    from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
    from kubernetes.client import V1ResourceRequirements

    judged = f"ti.xcom_pull(task_ids='{group}.judge_data', map_indexes=ti.map_index)"
    return KubernetesPodOperator(
        task_id="train",
        name="akidb-train",
        image=image,
        namespace=os.environ.get(POD_NAMESPACE, "airflow"),
        service_account_name="akidb-train",
        cmds=["python", "-m", "include.forecast.retrain"],
        arguments=[
            *("--region", f"{{{{ {judged}['region'] }}}}"),
            *("--window", f"{{{{ {judged} | tojson }}}}"),
            *("--traffic", f"{{{{ var.value.{TRAFFIC_VARIABLE} }}}}"),
            *("--models", f"{{{{ var.value.{MODELS_VARIABLE} }}}}"),
            *("--profile", "{{ params.profile }}"),
            *("--dry-run", "{{ params.dry_run | tojson }}"),
        ],
        container_resources=V1ResourceRequirements(**POD_RESOURCES),
        env_vars={"KERAS_BACKEND": "jax"},
        labels={"app": "akidb-train"},
        do_xcom_push=True,
        execution_timeout=TRAIN_TIMEOUT,
    )


@task(multiple_outputs=False, map_index_template="{{ task.op_kwargs['trained']['region'] }}")
def evaluate(trained: dict[str, Any]) -> dict[str, Any]:
    """Judge the candidate against every naive and the champion on the newest data."""
    from include.forecast import retrain

    region = str(trained["region"])
    if settings_of_run(RetrainSettings).dry_run:
        return trained  # judged where it was trained: its versions are kept nowhere
    with explained():
        return retrain.evaluate(open_traffic(), open_registry(region), trained, trainer())


@task(
    multiple_outputs=False, outlets=[CHAMPION_ALIAS], map_index_template="{{ task.op_kwargs['evaluated']['region'] }}"
)
def promote(evaluated: dict[str, Any]) -> dict[str, Any]:
    """Make the candidate champion if it passed the gate and nobody changed the champion meanwhile."""
    from include.forecast import retrain
    from include.forecast.registry import MOVES

    region = str(evaluated["region"])
    if settings_of_run(RetrainSettings).dry_run:
        return _rehearsed(region, evaluated["decision"])
    with explained():
        decision = retrain.promote(open_registry(region), evaluated)
    log.info("%s: %s: %s", region, decision.action, decision.reason)
    if decision.action in MOVES:
        _announce(CHAMPION_ALIAS, champion_asset(region), f"models/{region}/versions/{decision.version}")
    return {"region": region, **json.loads(json.dumps(decision.to_json()))}


def _rehearsed(region: str, decision: Mapping[str, Any]) -> dict[str, Any]:
    """A decision that a dry run came to, told as one that was not carried out."""
    reason = f"dry run, nothing was written: {decision['version']} would be {decision['action']}: {decision['reason']}"
    log.info("%s: %s", region, reason)
    return {**decision, "region": region, "reason": reason}


@task_group
def retrain_region(region: str) -> None:
    """One region from its data to its champion; a region that fails stops no other."""
    # Typed as what they become: a call gives the result only when the run gets there.
    window: Any = load_window(region=region)
    judged: Any = judge_data(window=window)
    image = os.environ.get(TRAIN_IN_POD)
    if image:
        trained = train_in_pod(image)
        judged >> trained
        result: Any = trained.output
    else:
        result = train(judged=judged)
    evaluated: Any = evaluate(trained=result)
    promote(evaluated=evaluated)


@task(trigger_rule=TriggerRule.ALL_DONE, retries=0)
def report_retraining(regions: list[str]) -> list[str]:
    """Say what became of each region; fail the run when one of them failed."""
    failed = outcomes.failed_regions(_states(), "retrain_region", regions)
    lines = [f"{one['region']}: {one['reason']}" for one in _returned("retrain_region.promote")]
    log.info("\n".join(lines) or "no region was judged: there is nothing new")
    if failed:
        raise AirflowFailException(
            f"{'; '.join(failed)}. The champions of these regions stay. Correct what the log names, then clear the "
            f"task. The others: {'; '.join(lines) or 'nothing new'}"
        )
    return lines


# --- forecast_watch ---------------------------------------------------------------------------------------------------


@task(multiple_outputs=False, outlets=[CHAMPION_ALIAS], map_index_template=BY_REGION)
def watch_forecast(region: str) -> dict[str, Any]:
    """Compare the live forecasts of the last day with what came; demote a champion that has decayed."""
    from include.forecast.registry import MOVES

    dry_run = settings_of_run(WatchSettings).dry_run
    with explained():
        watched = look_at(region, storage_at(MODELS_VARIABLE, dry_run=dry_run))
    decision = watched.decision
    if decision and dry_run:
        rehearsed = _rehearsed(region, decision.to_json())
        # Nobody is told of a demotion that was not made; what is unknown alerts as ever.
        return watched.to_json() | {"alert": "", "reason": rehearsed["reason"]}
    if decision and decision.action in MOVES:
        _announce(CHAMPION_ALIAS, champion_asset(region), f"models/{region}/versions/{decision.version}")
    return watched.to_json()


def look_at(region: str, models: Storage | None = None) -> Watched:
    """What the watch finds in a region now, and does about it in ``models``. Skips a region without champion."""
    from include.forecast import watch

    registry = open_registry(region, models)
    pointer = registry.pointer()
    if not pointer.version:
        if pointer.etag or registry.history():
            raise AirflowFailException(f"{region}: champion.json is damaged or gone: run forecast_retrain")
        raise AirflowSkipException(f"{region} has no champion yet: there is nothing to watch")
    estate, now = load_estate(), clock()
    prometheus = prometheus_of(region, estate)
    live = watch.recent_forecasts(prometheus, region, pointer.version, now)
    series = watch.recent_traffic(prometheus, estate, region, now)
    return watch.watch_region(registry, live, series, pointer.version, trainer().replay)


@task(trigger_rule=TriggerRule.ALL_DONE, retries=0)
def report_watch(regions: list[str]) -> None:
    """Fail the run, which alerts somebody, for each region that was demoted, is unknown or could not be looked at."""
    seen = _returned("watch_forecast")
    log.info("\n".join(f"{one['region']}: {one['status']}: {one['reason']}" for one in seen) or "no region has one")
    alerts = [one["alert"] for one in seen if one["alert"]]
    alerts += outcomes.failed_regions(_states(), "watch_forecast", regions)
    if (lost := outcomes.demoted(seen)) and not settings_of_run(WatchSettings).dry_run:
        context = get_current_context()
        notify_of(champion_demoted(context["ti"].run_id, "\n".join(lost)), context)
    if alerts:
        raise AirflowFailException("; ".join(alerts) + ". See docs/how-to/forecast_operations.md")
