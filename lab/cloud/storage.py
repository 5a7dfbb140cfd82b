"""The estate's models in S3 before the rollout: the registry's layout, as old and as large as the bill says.

What S3 alone decides (LastModified, and a size that nobody uploads here) is asked for in the object's metadata;
:mod:`lab.cloud.moto_s3` grants it.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Iterator, Sequence
from typing import Any

from include.estate import Estate
from include.forecast.registry import MANIFEST, Action, ChampionDecision, Manifest

MODIFIED, BYTES = "lab-modified", "lab-bytes"  # metadata: ISO 8601 time, whole bytes
VERSIONS, EVERY = 24, dt.timedelta(days=7)  # of each region; the newest is three days old
YOUNGEST = dt.timedelta(days=3)
# Which version is each region's champion, counted from the newest; the last one is an old version that still serves.
CHAMPIONS = (0, 1, 6)
FORMER = 10  # each region's champion before, counted likewise
CHECKPOINT_BYTES = 83_333_333_333  # 72 of them are the 6,000 GB of the plan's $150 a month
MODEL_BYTES, CARD_BYTES = 2_400_000, 3_000
FOREIGN_BYTES = 5_000_000_000
FOREIGN_RULES: list[dict[str, Any]] = [
    {
        "ID": "platform-abort-uploads",
        "Status": "Enabled",
        "Filter": {"Prefix": ""},
        "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 7},
    },
    {
        "ID": "data-team-exports",
        "Status": "Enabled",
        "Filter": {"And": {"Prefix": "exports/", "Tags": [{"Key": "keep", "Value": "no"}]}},
        "Expiration": {"Days": 90},
    },
]


def seed_models(s3: Any, estate: Estate, now: dt.datetime) -> dict[str, str]:
    """Make the bucket in us-east-1 with models, others' objects and others' lifecycle rules.

    Returns the champion of each region: its version, such as ``000024-0f3b9c1d2e4a``.
    """
    bucket = estate.edge.models.bucket
    s3.create_bucket(Bucket=bucket)
    champions = {}
    for number, region in enumerate(estate.regions):
        root = f"{estate.edge.models.prefix}models/{region}"
        versions = [_seed_version(s3, bucket, root, region, order, now) for order in range(1, VERSIONS + 1)]
        back = CHAMPIONS[number % len(CHAMPIONS)]
        champions[region] = versions[-1 - back]
        _seed_moves(s3, bucket, root, [(versions[-1 - FORMER], FORMER), (champions[region], back)], now)
    for month in range(1, 5):
        _put(s3, bucket, f"exports/2026-{month:02d}.parquet", b"export", now - dt.timedelta(days=60), FOREIGN_BYTES)
    s3.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": FOREIGN_RULES})
    return champions


def _seed_moves(s3: Any, bucket: str, root: str, moves: Sequence[tuple[str, int]], now: dt.datetime) -> None:
    """The history of champions, each a version and how many are newer, and the pointer to the last one."""
    previous, body, made = "", b"", now
    for serial, (version, back) in enumerate(moves, 1):
        made = now - YOUNGEST - EVERY * back
        as_of = f"{made:%Y-%m-%dT%H:%M:%SZ}"
        decision = ChampionDecision(Action.PROMOTED, version, previous, "seeded", as_of, serial=serial)
        body, previous = json.dumps(decision.to_json(), sort_keys=True).encode(), version
        _put(s3, bucket, f"{root}/history/{serial:06d}-0-{decision.action}.json", body, made)
    _put(s3, bucket, f"{root}/champion.json", body, made)


def _seed_version(s3: Any, bucket: str, root: str, region: str, order: int, now: dt.datetime) -> str:
    made = now - YOUNGEST - EVERY * (VERSIONS - order)
    version = f"{order:06d}-{hashlib.sha256(f'{region}/{order}'.encode()).hexdigest()[:12]}"
    for name, body, size in _files(region, version, made):
        _put(s3, bucket, f"{root}/versions/{version}/{name}", body, made, size)
    return version


def _files(region: str, version: str, made: dt.datetime) -> Iterator[tuple[str, bytes, int | None]]:
    """Name, body and claimed size of each file of a version, the manifest last."""
    yield "checkpoint.tar", b"weights of every epoch", CHECKPOINT_BYTES
    yield "model.onnx", b"the network", MODEL_BYTES
    yield "card.md", b"# Model card", CARD_BYTES
    as_of = f"{made:%Y-%m-%dT%H:%M:%SZ}"
    yield MANIFEST, Manifest(version, region, "lstm", as_of, {"last": as_of}, {}, "lab", {}).to_bytes(), None


def _put(s3: Any, bucket: str, key: str, body: bytes, modified: dt.datetime, size: int | None = None) -> None:
    told = {MODIFIED: modified.isoformat(), **({BYTES: str(size)} if size else {})}
    s3.put_object(Bucket=bucket, Key=key, Body=body, Metadata=told)
