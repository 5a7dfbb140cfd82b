"""A month's usage of a distribution: the viewers' shares from its logs, the totals from CloudWatch.

CloudFront's logs are best effort and no complete account of all requests, so they aren't added up to a bill; CloudWatch
counts every request, but not by country. Both are AWS's own advice.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Sequence
from typing import Any

from include.clients.aws import AwsError
from include.levers.cdn_price_class.settings import CdnSettings
from include.levers.cdn_price_class.usage import Traffic, Usage, UsageError, merged, read_bytes
from include.levers.world import World as AnyWorld
from include.prices import DAYS_PER_MONTH
from include.rollout.lever import Refused

World = AnyWorld[CdnSettings]
DAY = 24 * 3600
TOTAL_DAYS = 30
MOST_FILES = 48  # of the logs are read: shares of countries need no more, and a plan has to be made in minutes
METRICS = {"requests": "Requests", "bytes": "BytesDownloaded"}


def usage(world: World, distribution: str) -> Usage:
    """A month's traffic by country. Raises Refused when logs or totals are missing, naming the remedy."""
    total = totals(world, distribution)
    return logged(world, distribution).scaled(total.bytes, total.requests)


# Totals --------------------------------------------------------------------------------------------------------------


def totals(world: World, distribution: str) -> Traffic:
    """Bytes and requests of a month of 30.4 days, from the last complete days that CloudWatch knows, at most 30."""
    midnight = int(world.now() // DAY * DAY)
    answer = list(
        world.aws.pages(
            "cloudwatch",
            "get_metric_data",
            "MetricDataResults",
            MetricDataQueries=[_query(key, name, distribution) for key, name in METRICS.items()],
            StartTime=_moment(midnight - TOTAL_DAYS * DAY),
            EndTime=_moment(midnight),
        )
    )
    sums = {key: _monthly(answer, key, midnight) for key in METRICS}
    missing = [METRICS[key] for key, value in sums.items() if value is None]
    if missing:
        raise Refused(
            f"{world.place}: CloudWatch (us-east-1) has no {' and no '.join(missing)} of distribution {distribution} "
            f"in {TOTAL_DAYS} days: without totals no saving is known; check the account, or wait for a full day"
        )
    return Traffic(sums["bytes"] or 0, sums["requests"] or 0)


def _query(key: str, name: str, distribution: str) -> dict[str, Any]:
    dimensions = [{"Name": "DistributionId", "Value": distribution}, {"Name": "Region", "Value": "Global"}]
    metric = {"Namespace": "AWS/CloudFront", "MetricName": name, "Dimensions": dimensions}
    return {"Id": key, "MetricStat": {"Metric": metric, "Period": DAY, "Stat": "Sum"}}


def _moment(seconds: float) -> dt.datetime:
    return dt.datetime.fromtimestamp(seconds, dt.UTC)


def _monthly(answer: Sequence[Any], key: str, midnight: int) -> int | None:
    """What the days since the first known one make of a month; a day without requests has no data point."""
    parts = [part for part in answer if part["Id"] == key]
    times = [time.timestamp() for part in parts for time in part["Timestamps"]]
    if not times:
        return None
    days: int = max(1, round((midnight - min(times)) / DAY))
    total: float = sum(float(value) for part in parts for value in part["Values"])
    return round(total * float(DAYS_PER_MONTH) / days)


# Shares --------------------------------------------------------------------------------------------------------------


def logged(world: World, distribution: str) -> Usage:
    """What some of the newest days' log files hold. Raises Refused naming file, line and field that can't be used."""
    bucket, prefix = world.settings.cdn_log_bucket, world.settings.cdn_log_prefix
    keys = _chosen(world, [one["Key"] for one in _objects(world, bucket, prefix)], distribution)
    if not keys:
        days = world.settings.cdn_log_days
        raise Refused(
            f"{world.place}: s3://{bucket}/{prefix} has no log of distribution {distribution} of the last {days} days: "
            "have CloudFront write standard logs (v2) with c-country there, or correct edge.cdn in estate.yaml"
        )
    return merged([_file(world, bucket, key) for key in keys])


def _objects(world: World, bucket: str, prefix: str) -> list[Any]:
    return list(world.aws.pages("s3", "list_objects_v2", "Contents", Bucket=bucket, Prefix=prefix))


def _chosen(world: World, keys: Sequence[str], distribution: str) -> list[str]:
    """The distribution's files of the last days, evenly some of them where there are many."""
    name = re.compile(rf"(?:^|/){re.escape(distribution)}\.(\d{{4}}-\d\d-\d\d)-\d\d\.")
    oldest = f"{_moment(world.now() - world.settings.cdn_log_days * DAY):%Y-%m-%d}"
    found = sorted(key for key in keys if (match := name.search(key)) and match[1] >= oldest)
    step = max(1, -(-len(found) // MOST_FILES))
    return found[::step]


def _file(world: World, bucket: str, key: str) -> Usage:
    body = world.aws.call("s3", "get_object", Bucket=bucket, Key=key)["Body"]
    try:
        return read_bytes(body.read())
    except UsageError as error:
        raise Refused(f"{world.place}: s3://{bucket}/{key}: {error}") from error
    except OSError as error:
        raise AwsError(f"AWS s3.get_object: s3://{bucket}/{key}: {error}: try again") from error
