"""The forecast server: ``python -m include.forecast.server --registry PLACE --regions a,b [--prometheus URL] ...``.

One process, one thread for requests; champions and forecasts are kept up to date by threads beside it. Credentials
are those of the environment: boto3's own search for the registry, PROMETHEUS_USERNAME and PROMETHEUS_PASSWORD.
"""

from __future__ import annotations

import argparse
import gc
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace

from include.clients.access import Access
from include.clients.prometheus import Prometheus
from include.clients.storage import StorageError
from include.estate import Estate, EstateError, load_estate
from include.forecast.pod_storage import pod_storage
from include.forecast.registry import Registry
from include.forecast.replicas import MAX_SPREAD, ReplicaRule, replica_rule_of
from include.forecast.server.app import ServedRegion, Service, create_app
from include.forecast.server.champions import Champions
from include.forecast.server.compile_models import compile_apart
from include.forecast.server.forecaster import Forecaster, ForecasterSettings, Timeline

PROMETHEUS_TIMEOUT = 20.0
GRACE_SECONDS = 10  # for requests that are on their way when the process is told to end
KEEP_ALIVE_SECONDS = 75  # longer than proxies and clients keep one: they close it, and no request meets a closed one
# A thread that reads history must not hold up a request for Python's usual 5 ms.
SWITCH_SECONDS = 0.0005


class ServingError(ValueError):
    """The server can't be started as asked; the message names the option, its value and the remedy."""


def options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="include.forecast.server", description="Serve traffic forecasts.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--registry", required=True, help="absolute path or s3://bucket/prefix of the models")
    parser.add_argument("--regions", required=True, help="regions of the estate, separated by commas")
    parser.add_argument("--prometheus", help="URL; without it nothing is forecast but what clients ask for")
    parser.add_argument("--interval", type=float, help="seconds between forecasts (a quarter of a minute)")
    parser.add_argument("--poll", type=float, default=10.0, help="seconds between looks at the champion")
    parser.add_argument("--settle", type=float, help="seconds after its end at which a minute is read (15)")
    parser.add_argument("--max-age", type=float, help="seconds after which a forecast is not shown any more (180)")
    parser.add_argument("--max-spread", type=float, default=MAX_SPREAD, help="share of P90 above P50 that is sure")
    parser.add_argument("--min-replicas", type=int, help="of a region; by default the estate's for each workload")
    parser.add_argument("--max-replicas", type=int, help="of a region; by default the estate's for each workload")
    parser.add_argument("--minute-seconds", type=float, default=60.0, help="length of a minute of the model")
    parser.add_argument("--begins", type=float, default=0.0, help="Unix seconds from which minutes have that length")
    parser.add_argument("--begins-as", type=float, default=0.0, help="what the model's clock shows then")
    return parser.parse_args(arguments)


def rule_from(chosen: argparse.Namespace, estate: Estate) -> ReplicaRule:
    """The estate's rule with the bounds of the command line. Raises ServingError."""
    rule = replica_rule_of(estate)
    minimum = rule.minimum if chosen.min_replicas is None else chosen.min_replicas
    maximum = rule.maximum if chosen.max_replicas is None else chosen.max_replicas
    try:
        return replace(rule, minimum=minimum, maximum=maximum)
    except ValueError as error:
        raise ServingError(f"--min-replicas, --max-replicas: {error}") from error


def service_from(chosen: argparse.Namespace, estate: Estate, environment: Mapping[str, str]) -> Service:
    """Everything that is served, from the command line. Raises ServingError, StorageError."""
    names = list(dict.fromkeys(name.strip() for name in chosen.regions.split(",") if name.strip()))
    unknown = [name for name in names if name not in estate.regions]
    if unknown or not names:
        raise ServingError(f"--regions {chosen.regions!r}: use regions of the estate: {', '.join(estate.regions)}")
    try:
        timeline = Timeline(chosen.minute_seconds, chosen.begins, chosen.begins_as)
    except ValueError as error:
        raise ServingError(f"--minute-seconds, --begins, --begins-as: {error}") from error
    settings = ForecasterSettings(timeline, chosen.settle, chosen.max_age, chosen.max_spread)
    storage = pod_storage(chosen.registry)
    regions = {}
    for name in names:
        champions = Champions(Registry(storage, name), compile_apart)
        live = None
        if chosen.prometheus:
            access = Access(chosen.prometheus, credentials(environment))
            client = Prometheus(chosen.prometheus, PROMETHEUS_TIMEOUT, access=access)
            live = Forecaster(name, client, estate, champions, settings)
        regions[name] = ServedRegion(champions, live)
    interval = chosen.minute_seconds / 4 if chosen.interval is None else chosen.interval
    return Service(
        regions,
        rule_from(chosen, estate),
        poll_seconds=chosen.poll,
        forecast_seconds=interval,
        max_spread=chosen.max_spread,
    )


def credentials(environment: Mapping[str, str]) -> tuple[str, str] | None:
    """Login and password for Prometheus, if there are any."""
    name = environment.get("PROMETHEUS_USERNAME")
    return (name, environment.get("PROMETHEUS_PASSWORD", "")) if name else None


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM; requests that are on their way are answered."""
    import uvicorn

    chosen = options(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        service = service_from(chosen, load_estate(), os.environ)
    except (ServingError, StorageError, EstateError) as error:
        print(error, file=sys.stderr)
        return 2
    sys.setswitchinterval(SWITCH_SECONDS)
    # What was imported stays for good: no collection has to look at it again.
    gc.freeze()
    uvicorn.run(
        create_app(service),
        host=chosen.host,
        port=chosen.port,
        access_log=False,
        log_config=None,
        timeout_graceful_shutdown=GRACE_SECONDS,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
