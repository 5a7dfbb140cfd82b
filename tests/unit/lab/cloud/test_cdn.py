"""The lab's CloudFront logs: the plan's users, exactly, in both forms that a log may have."""

from __future__ import annotations

import datetime as dt
import gzip
import json
from collections import Counter

from lab.cloud import cdn
from tests.unit.lab.cloud.edge_world import EdgeWorld

END = dt.datetime(2026, 11, 24, 12, 34, tzinfo=dt.UTC)


def rows_of(world: EdgeWorld, keys: list[str]) -> list[dict[str, str]]:
    found = []
    for key in keys:
        body = gzip.decompress(world.s3.get_object(Bucket=cdn.LOG_BUCKET, Key=key)["Body"].read())
        found += [json.loads(line) for line in body.decode().splitlines()]
    return found


def test_a_day_has_exactly_the_plans_users(world: EdgeWorld) -> None:
    keys = cdn.seed_logs(world.s3, world.estate, world.distribution, END, days=1)
    assert len(keys) == 24
    assert keys[0].startswith(f"AWSLogs/123456789012/CloudFront/{world.distribution}.2026-11-23-12.")
    rows = rows_of(world, keys)
    assert Counter(row["c-country"] for row in rows) == {country: count for country, _, count in cdn.VIEWERS}
    assert sum(int(row["sc-bytes"]) for row in rows) / len(rows) == cdn.MEAN_BYTES
    assert Counter(row["x-edge-result-type"] for row in rows) == {"Hit": 970, "Miss": 30}
    times = [f"{row['date']} {row['time']}" for row in rows]
    assert min(times) == "2026-11-23 12:00:00"
    assert max(times).startswith("2026-11-24 11:5")
    assert len({row["x-edge-request-id"] for row in rows}) == 1000


def test_shares_are_the_plans() -> None:
    share = {country: count for country, _, count in cdn.VIEWERS}
    assert share["US"] == 450
    assert sum(share[country] for country in ("DE", "GB", "FR", "NL", "ES")) == 300
    assert sum(share[country] for country in ("JP", "KR", "AU", "SG")) == 180
    assert (share["IN"], share["BR"], share["AE"] + share["SA"], share["ZA"]) == (40, 20, 8, 2)


def test_the_other_form_is_tab_separated_under_its_fields(world: EdgeWorld) -> None:
    keys = cdn.seed_logs(world.s3, world.estate, world.distribution, END, days=1, form="w3c")
    body = gzip.decompress(world.s3.get_object(Bucket=cdn.LOG_BUCKET, Key=keys[0])["Body"].read()).decode()
    version, fields, *lines = body.splitlines()
    assert version == "#Version: 1.0"
    assert fields == f"#Fields: {' '.join(cdn.FIELDS)}"
    assert {len(line.split("\t")) for line in lines} == {len(cdn.FIELDS)}
