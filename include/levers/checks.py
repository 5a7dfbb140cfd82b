"""Preflight checks that several levers make: each gives one line, with the remedy if it failed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

from include.clients.aws import AwsError
from include.clients.kubernetes import KubernetesError
from include.clients.prometheus import PrometheusError
from include.cost.focus import CostError
from include.forecast.registry import RegistryError
from include.levers.common import Object, World, node_facts, owner_of, refusals, usd_hour
from include.prices import PriceBookError, TooFewInstanceTypesError
from include.rollout.lever import Check, Refused

REPAIR = "repair what the message names, then start again"
SCRAPE = "have Prometheus scrape it with the label region"
EXPECTED = (
    KubernetesError,
    AwsError,
    PrometheusError,
    RegistryError,
    CostError,
    PriceBookError,
    TooFewInstanceTypesError,
    Refused,
)
AnyWorld = TypeVar("AnyWorld", bound=World)


def guarded(name: str, world: AnyWorld, check: Callable[[AnyWorld], Iterator[Check]]) -> list[Check]:
    """What ``check`` gives; what a client or a file is to blame for becomes a failed check called ``name``."""
    try:
        with refusals(world):
            return list(check(world))
    except EXPECTED as error:
        return [Check(name, False, str(error), REPAIR)]


def reachable(world: World) -> Iterator[Check]:
    """Does the cluster answer?"""
    yield Check("cluster reachable", True, f"{world.cluster.name} answers, {world.cluster.version()}")


def owners(world: World, things: Mapping[str, Object | None], harm: str, first: str) -> Iterator[Check]:
    """Nobody but those whom the estate names may manage what a lever writes.

    ``things`` are by what messages call them, None where absent. ``harm`` is what the owner would do; ``first`` is what
    comes before adding it to the estate, or spares that, with ``{owner}`` in it.
    """
    allowed, managed = world.estate.governance.may_change_objects_of, False
    for what, thing in things.items():
        owner = owner_of(thing) if thing else None
        if owner is None:
            continue
        managed = True
        if owner in allowed:
            yield Check(f"owner of {what}", True, f"{what} is managed by {owner}, which the estate allows to change")
        else:
            reason = f"{what} is managed by {owner}, which would {harm}"
            remedy = f"{first.format(owner=owner)} add {owner} to governance.may_change_objects_of in estate.yaml"
            yield Check(f"owner of {what}", False, reason, remedy)
    if not managed:
        yield Check("objects' owners", True, "no object to write is managed by Argo CD, Flux, Helm or Terraform")


def prices(world: World) -> Iterator[Check]:
    """Is every live node's price known?"""
    nodes = node_facts(world)
    usd, unknown = usd_hour(world, nodes)
    if usd is None:
        remedy = (
            "add the types to the price book with `python -m lab.derive_prices`, or see that EC2 quotes spot prices"
        )
        yield Check("prices", False, f"no price for {', '.join(unknown) or 'any node'}", remedy)
    else:
        yield Check("prices", True, f"{len(nodes)} nodes cost {usd:.4f} USD/h by price book and EC2")


def request_series(world: World) -> dict[str, str]:
    """What AkiDB's requests, errors and latencies are read from, by field of the estate's metrics."""
    metrics, region = world.estate.metrics, f'region="{world.target.region}"'
    return {
        "http_requests": f"{metrics.http_requests}{{{region}}}",
        "http_status_label": f'{metrics.http_requests}{{{region},{metrics.http_status_label}!=""}}',
        "http_duration": f"{metrics.http_duration}_bucket{{{region}}}",
        "grpc_requests": f"{metrics.grpc_requests}{{{region}}}",
        "grpc_status_label": f'{metrics.grpc_requests}{{{region},{metrics.grpc_status_label}!=""}}',
        "grpc_duration": f"{metrics.grpc_duration}_bucket{{{region}}}",
    }


def series_exist(world: World, selectors: Mapping[str, str]) -> Iterator[Check]:
    """Has every series, by its name, a sample? Names that are fields of the estate's metrics may be wrong there."""
    for name, series in selectors.items():
        if world.prometheus.series_exists(series):
            yield Check(f"metric {name}", True, f"{series} has samples")
            continue
        reason = f"Prometheus {world.prometheus.url} has no sample of {series} in the last 5 minutes"
        known = name in type(world.estate.metrics).model_fields
        remedy = f"correct metrics.{name} in estate.yaml, or {SCRAPE}" if known else SCRAPE
        yield Check(f"metric {name}", False, reason, remedy)
