"""Preflight: whether CloudFront and Lambda are as the change needs them, before anything is written."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Mapping

from include.levers import edge_gates
from include.levers.cloudfront import deployed_check, fields_check
from include.levers.lambda_edge import live
from include.levers.lambda_edge.associations import event_of, function_of
from include.levers.lambda_edge.choose import units_refusal, version_refusal
from include.levers.lambda_edge.functions import (
    EDGE_REGION,
    LATEST,
    alias_version,
    aws_in,
    configuration,
    shape,
)
from include.levers.lambda_edge.money import load_book
from include.levers.lambda_edge.settings import World
from include.rollout.lever import Check

NO_MEMORY = "or set change_edge_memory off, to change provisioned concurrency alone"


def reachable(world: World) -> Iterator[Check]:
    """Do CloudFront and Lambda answer, and is the function there?"""
    distribution, associations = live.all_associations(world)
    function = world.settings.edge_function
    found = configuration(world.aws, function)
    said = f"distribution {distribution} has {len(associations)} associations; {function} is "
    remedy = "" if found else "correct edge_function, or the account of the AWS connection"
    yield Check("CloudFront and Lambda reachable", found is not None, said + ("there" if found else "missing"), remedy)


def checks() -> Mapping[str, Callable[[World], Iterator[Check]]]:
    """In the order in which a person would repair them: the event type decides first."""
    return {
        "event type": _event_type,
        "numbered version": _numbered,
        "distribution deployed": deployed_check,
        "distribution's fields": fields_check,
        "unpublished changes": _unpublished,
        "memory sizes": _sizes,
        "provisioned concurrency": _provisioned,
        "prices": _prices,
        "probes": _probes,
    }


def _associated(world: World) -> dict[str, str]:
    """The ARN of each association with the function, by name."""
    found, function = live.all_associations(world)[1], world.settings.edge_function
    return {name: arn for name, arn in found.items() if function_of(arn) == function}


def _event_type(world: World) -> Iterator[Check]:
    events = sorted({event_of(name) for name in _associated(world)})
    refused = live.event_reason(world, events)
    said = refused or f"{', '.join(events) or 'no event at all'}: sizes up to Lambda's own limit"
    yield Check("event type", not refused, said, f"associate it with an origin event, {NO_MEMORY}" if refused else "")


def _numbered(world: World) -> Iterator[Check]:
    arns = sorted({*_associated(world).values()})
    wrong = [refused for arn in arns if (refused := version_refusal(arn, EDGE_REGION))]
    yield Check(
        "numbered version", not wrong, "; ".join(wrong or arns), "associate a numbered version" if wrong else ""
    )


def _unpublished(world: World) -> Iterator[Check]:
    edge, function = live.look(world), world.settings.edge_function
    now, running = shape(configuration(world.aws, function) or {}), shape(edge.current)
    other = sorted(key for key in {*now, *running} if now.get(key) != running.get(key))
    version = edge.current["Version"]
    if not other or not world.settings.change_edge_memory:
        yield Check("unpublished changes", True, f"{LATEST} has code and settings of version {version}, which runs")
        return
    remedy = f"publish and associate them first, or take them back, {NO_MEMORY}"
    yield Check("unpublished changes", False, f"{LATEST} differs from version {version} in {', '.join(other)}", remedy)


def _sizes(world: World) -> Iterator[Check]:
    choice, _ = live.decide(world, live.look(world))
    stays = "" if choice.memory_mb else "; the size stays: wait for production, or fill in function_durations"
    yield Check("memory sizes", True, choice.reason + stays)


def _provisioned(world: World) -> Iterator[Check]:
    chosen = world.settings
    if not chosen.provisioned_units:
        yield Check("provisioned concurrency", True, "provisioned_units is 0: it is left as it is")
        return
    refused = units_refusal(chosen.regional_function, live.all_associations(world)[1].values())
    if refused:
        yield Check("provisioned concurrency", False, refused, "name the function of the regions in regional_function")
        return
    for region in world.estate.regions:
        version = alias_version(aws_in(world, region), chosen.regional_function, chosen.regional_alias)
        what = f"{chosen.regional_function}:{chosen.regional_alias} in {region}"
        said = f"{what} leads to {f'version {version}' if version else 'nothing: it does not exist'}"
        good = version is not None and version.isdigit()
        remedy = "" if good else "make the alias lead to a numbered version, or set provisioned_units to 0"
        yield Check("provisioned concurrency", good, said, remedy)


def _prices(world: World) -> Iterator[Check]:
    book = load_book()
    warning = book.warning(dt.datetime.fromtimestamp(world.now(), dt.UTC).date())
    yield Check("prices", True, f"WARNING: {warning}" if warning else f"{book.name}, from {book.source}")


def _probes(world: World) -> Iterator[Check]:
    if not world.settings.watch_global_latency:
        yield Check("probes", True, "watch_global_latency is off: they are no gate")
        return
    yield from edge_gates.probes_answer(world)
