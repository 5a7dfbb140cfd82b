"""What lies in the models' bucket: versions with their sizes and classes, who serves, and what others do with them.

Keys are the registry's (:mod:`include.forecast.registry`). Whatever lies elsewhere is no version and is left alone.
"""

from __future__ import annotations

import datetime as dt
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

from include.clients.aws import guarded
from include.clients.storage import S3
from include.forecast.registry import Registry
from include.levers.fields import Object
from include.levers.storage_tiering.decide import STANDARD, Sizes
from include.levers.storage_tiering.lifecycle import is_ours, prefix_of
from include.levers.world import World
from include.prices import DAYS_PER_MONTH
from include.rollout.lever import Check, Json, Refused

UNREADABLE = ("GLACIER", "DEEP_ARCHIVE")  # until a copy is restored
VERSION = re.compile(r"models/(?P<region>[^/]+)/versions/(?P<version>\d{6}-[0-9a-f]{12})/")
NEVER_DAYS = 365 * 200  # S3 takes up to 2^31 - 1, for which no calendar has a date
MEASURED_DAYS, LEAST_DAYS = 30, 14  # of request metrics: looked at, needed


def reachable(world: World) -> Iterator[Check]:
    """Does S3 answer for the bucket, and where does it lie?"""
    models = world.estate.edge.models
    yield Check("models' bucket reachable", True, f"S3 answers, {models.bucket} lies in {location(world)}")


def location(world: World) -> str:
    """The bucket's region."""
    answer = world.aws.call("s3", "get_bucket_location", Bucket=world.estate.edge.models.bucket)
    return str(answer.get("LocationConstraint") or "us-east-1")


def objects(world: World, prefix: str = "") -> Iterator[Object]:
    """Every object below a prefix, that of the models without one."""
    models = world.estate.edge.models
    where = {"Bucket": models.bucket, "Prefix": prefix or models.prefix}
    return world.aws.pages("s3", "list_objects_v2", "Contents", **where)


# Versions ------------------------------------------------------------------------------------------------------------


def versions(world: World) -> dict[str, Json]:
    """Every version by its prefix, oldest first: region, version, when its last object was written, and the sizes.

    ``sizes`` has bytes and number of the objects by class, smallest first.
    """
    root = world.estate.edge.models.prefix
    found: dict[str, dict[str, Any]] = {}
    for thing in objects(world):
        match = VERSION.match(thing["Key"].removeprefix(root))
        if match is None:
            continue
        one = found.setdefault(root + match[0], {**match.groupdict(), "modified": "", "counts": {}})
        one["modified"] = max(one["modified"], thing["LastModified"].astimezone(dt.UTC).isoformat())
        counts = one["counts"].setdefault(thing.get("StorageClass") or STANDARD, Counter())
        counts[int(thing["Size"])] += 1
    return {prefix: _plain(one) for prefix, one in sorted(found.items())}


def _plain(one: dict[str, Any]) -> Json:
    sizes = {name: [[size, count] for size, count in sorted(c.items())] for name, c in sorted(one["counts"].items())}
    return {"region": one["region"], "version": one["version"], "modified": one["modified"], "sizes": sizes}


def regions(found: Mapping[str, Json]) -> list[str]:
    """The regions that have versions."""
    return sorted({one["region"] for one in found.values()})


def sizes_in(one: Mapping[str, Json], storage_class: str) -> Sizes:
    """Bytes and number of a version's objects of a class."""
    return [(size, count) for size, count in one["sizes"].get(storage_class, [])]


def days_old(one: Mapping[str, Json], now: float) -> int:
    """Whole days since the last object of a version was written."""
    return int((now - dt.datetime.fromisoformat(one["modified"]).timestamp()) // 86400)


# Who serves ----------------------------------------------------------------------------------------------------------


def registry(world: World, region: str) -> Registry:
    """The registry of a region in the bucket."""
    models = world.estate.edge.models
    return Registry(S3(world.aws.client("s3"), models.bucket, models.prefix), region)


def champion(world: World, region: str) -> str:
    """The version that serves a region. Raises Refused when nobody knows it."""
    pointer = guarded("s3", "get_object", registry(world, region).pointer)
    if pointer.version:
        return str(pointer.version)
    raise Refused(
        f"{region}: {pointer.problem or 'no champion.json in the bucket'}: without it nobody knows which model serves; "
        "run forecast_retrain, or set it with python -m include.forecast.set_champion"
    )


def former_champions(world: World, region: str) -> list[str] | None:
    """The versions that were champion before, newest first; None when the history does not tell of every one."""
    known = registry(world, region)
    pointer = guarded("s3", "get_object", known.pointer)
    moves = guarded("s3", "get_object", lambda: known.history(moves_only=True))
    if pointer.version and {*range(1, pointer.serial + 1)} == {move.serial for move in moves}:
        return list(dict.fromkeys(move.version for move in reversed(moves)))[1:]
    return None


def unreadable(world: World, prefix: str) -> tuple[list[str], int]:
    """The objects of a version that can't be read at once, and how many were asked for."""
    keys, bucket = [thing["Key"] for thing in objects(world, prefix)], world.estate.edge.models.bucket
    found = []
    for key in keys:
        head = world.aws.call("s3", "head_object", Bucket=bucket, Key=key)
        is_restored = 'ongoing-request="false"' in head.get("Restore", "")
        if head.get("StorageClass") in UNREADABLE and not is_restored:
            found.append(f"{key} is in {head['StorageClass']}")
    return found, len(keys)


# What others do ------------------------------------------------------------------------------------------------------


def others_of(document: Object, prefix: str) -> list[Object]:
    """Others' enabled rules that may apply to objects of a version, whatever tags or sizes they ask for besides."""
    return [
        rule
        for rule in document["Rules"]
        if not is_ours(rule) and rule["Status"] == "Enabled" and _touches(prefix_of(rule), prefix)
    ]


def _touches(one: str, other: str) -> bool:
    return one.startswith(other) or other.startswith(one)


def deleted_at(rules: Sequence[Object], modified: str) -> str | None:
    """When the first of others' rules deletes an object that was written at ``modified``; None when none does."""
    written, found = dt.datetime.fromisoformat(modified), []
    for expiration in (rule.get("Expiration") or {} for rule in rules):
        if "Days" in expiration:
            found.append(written + dt.timedelta(days=min(int(expiration["Days"]), NEVER_DAYS)))
        if "Date" in expiration:
            found.append(expiration["Date"])
    return min(found).isoformat() if found else None


def mover(rules: Sequence[Object]) -> str | None:
    """The ID of one of others' rules that moves objects itself."""
    return next((str(rule["ID"]) for rule in rules if rule.get("Transitions")), None)


# How often they are read ---------------------------------------------------------------------------------------------


def measured_share(world: World) -> Decimal:
    """Which share of the models' bytes was read a month, by the bucket's request metrics of the last days.

    Raises Refused while they tell of too few days: unknown is not zero.
    """
    bucket, name, end = world.estate.edge.models.bucket, world.settings.models_metrics_filter, world.now()
    asked = {
        "Namespace": "AWS/S3",
        "MetricName": "BytesDownloaded",
        "Dimensions": [{"Name": "BucketName", "Value": bucket}, {"Name": "FilterId", "Value": name}],
        "StartTime": dt.datetime.fromtimestamp(end, dt.UTC) - dt.timedelta(days=MEASURED_DAYS),
        "EndTime": dt.datetime.fromtimestamp(end, dt.UTC),
        "Period": 86400,
        "Statistics": ["Sum"],
    }
    points = world.aws.call("cloudwatch", "get_metric_statistics", **asked)["Datapoints"]
    stored = sum(int(thing["Size"]) for thing in objects(world))
    if len(points) < LEAST_DAYS or not stored:
        raise Refused(
            f"models_metrics_filter: {name!r} of {bucket} has BytesDownloaded of {len(points)} days, {LEAST_DAYS} are "
            "needed: correct the name, wait, or leave it empty and give models_retrieved_share_month"
        )
    read = sum((Decimal(str(point["Sum"])) for point in points), Decimal(0))
    return read / len(points) * DAYS_PER_MONTH / stored
