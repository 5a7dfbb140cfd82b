"""The gates of the storage-tiering lever, its evidence, and whether the champions can be read. No data is None."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from include.levers.probes import GateWindow, Probe
from include.levers.storage_tiering import bucket, choices
from include.levers.storage_tiering.decide import ClassPrice
from include.levers.storage_tiering.lifecycle import LIFECYCLES, is_as_written, ours, prefix_of
from include.levers.storage_tiering.settings import World
from include.rollout.gates import Comparison, Figure, Gate
from include.rollout.lever import Check, Json, Refused

RESTORE = "restore it (aws s3api restore-object), copy it onto itself with --storage-class STANDARD, then start again"


def probes() -> list[Probe]:
    """All gates."""
    most = Comparison.AT_MOST
    rules = Gate("rules_not_as_wanted", most, 0, "rules", 1, "every rule must stand as it was written")
    readable = Gate("champion_objects_unreadable", most, 0, "objects", 1, "every champion must load", safety=True)
    under = Gate("kept_under_a_rule", most, 0, "versions", 1, "what is kept must not be moved", safety=True)
    return [Probe(rules, rules_not_as_wanted), Probe(readable, champions_unreadable), Probe(under, kept_under_a_rule)]


def rules_not_as_wanted(world: World, window: GateWindow) -> Figure | None:
    """Rules that the stage has written and S3 does not show so, and those of ours that it has not written."""
    name = world.estate.edge.models.bucket
    document, _ = LIFECYCLES.read(world, name)
    if document is None or "rules" not in window.applied:
        return None
    standing, wanted = ours(document), {*window.applied["rules"]}
    right = {name for name, rule in standing.items() if is_as_written(rule)}
    wrong = sorted((wanted - right) | ({*standing} - wanted))
    return Figure(len(wrong), "rules", max(1, len(wanted)), f"lifecycle of {name}", ", ".join(wrong))


def champions_unreadable(world: World, window: GateWindow) -> Figure | None:
    """Objects of the champions that have to be restored first."""
    del window
    try:
        found = dict(_champions(world))
    except Refused:
        return None
    if not found or not all(count for _, count in found.values()):
        return None
    ill = [line for lines, _ in found.values() for line in lines]
    return Figure(len(ill), "objects", sum(count for _, count in found.values()), "HeadObject", "; ".join(ill))


def _champions(world: World) -> Iterator[tuple[str, tuple[list[str], int]]]:
    """For each region that has versions: what can't be read of its champion, and of how many objects."""
    versions = bucket.versions(world)
    for region in bucket.regions(versions):
        name = bucket.champion(world, region)
        prefix = next((p for p, one in versions.items() if (one["region"], one["version"]) == (region, name)), None)
        yield region, bucket.unreadable(world, prefix) if prefix else ([], 0)


def kept_under_a_rule(world: World, window: GateWindow) -> Figure | None:
    """Versions that are to stay, by who serves now, and that one of our rules would move all the same."""
    del window
    document, _ = LIFECYCLES.read(world, world.estate.edge.models.bucket)
    versions = bucket.versions(world)
    try:
        names = {region: bucket.champion(world, region) for region in bucket.regions(versions)}
        stay = choices.kept(versions, names, world.settings)
    except Refused:
        return None
    if document is None:
        return None
    under = sorted({prefix_of(rule) for rule in ours(document).values()} & {*stay})
    return Figure(len(under), "versions", len(stay), "lifecycle and registry", ", ".join(under))


def champions_readable(world: World) -> Iterator[Check]:
    """Is it known who serves each region, and can it be loaded?"""
    for region, (ill, count) in _champions(world):
        if not count:
            remedy = "run forecast_retrain, or set another one with python -m include.forecast.set_champion"
            yield Check(f"champion of {region}", False, "its version has no object in the bucket", remedy)
            continue
        reason = "; ".join(ill) or f"{bucket.champion(world, region)}: {count} objects can be read"
        yield Check(f"champion of {region}", not ill, reason, RESTORE if ill else "")


def evidence(world: World, prices: Mapping[str, ClassPrice]) -> dict[str, Json]:
    """Versions, objects and bytes by class, and USD a month by list price; None where a class has no price."""
    versions = bucket.versions(world)
    stored: dict[str, int] = {}
    for one in versions.values():
        for name, sizes in one["sizes"].items():
            stored[name] = stored.get(name, 0) + sum(size * count for size, count in sizes)
    before, _ = choices.months(versions, [], prices)
    document, _ = LIFECYCLES.read(world, world.estate.edge.models.bucket)
    return {
        "versions": len(versions),
        "bytes_by_class": stored,
        "rules": len(ours(document or {"Rules": []})),
        "usd_month": None if before is None else float(before),
    }
