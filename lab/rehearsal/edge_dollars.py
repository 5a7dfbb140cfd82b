"""What the edge costs a month as it stands, by the lab's own arithmetic: beside what the levers predict.

It repeats on purpose what levers compute. Prices are list prices of us-east-1 in USD, read on 2026-11-29: CloudFront,
Lambda, S3 and Route 53 from AWS's pages, the features of health checks as third-party pages quote them. How much is
used is the lab's own model (``lab/cloud/figures.py``, ``lab/cloud/storage.py``).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Any

from include.estate import Estate
from include.levers.cdn_price_class import latency
from lab.cloud import cdn, figures, lifecycle

Client = Callable[[str, str], Any]
GLOBAL_REGION = "us-east-1"
GB = Decimal(2**30)
CHECK, FREE_CHECKS, OPTION = Decimal("0.50"), 50, Decimal("1.00")  # of an endpoint within AWS
OTHER_CHECK, OTHER_OPTION = Decimal("0.75"), Decimal("2.00")
STORAGE = {"STANDARD": "0.023", "STANDARD_IA": "0.0125", "GLACIER_IR": "0.004", "GLACIER": "0.0036"}
STORAGE_GB = {name: Decimal(usd) for name, usd in {**STORAGE, "DEEP_ARCHIVE": "0.00099"}.items()}
EDGE_REQUEST, EDGE_GB_SECOND = Decimal("0.0000006"), Decimal("0.00005001")
PROVISIONED_GB_SECOND = Decimal("0.0000033334")  # arm64
MONTH_SECONDS = Decimal(730 * 3600)
TIER_GB = (10 * 1024, 40 * 1024)  # the first tiers of egress; the lab serves less than both
EGRESS_GB: Mapping[str, tuple[str, str]] = {
    latency.NORTH_AMERICA: ("0.085", "0.080"),
    latency.EUROPE: ("0.085", "0.080"),
    latency.MIDDLE_EAST_AFRICA: ("0.110", "0.105"),
    latency.SOUTH_AMERICA: ("0.110", "0.105"),
    latency.JAPAN: ("0.114", "0.089"),
    latency.AUSTRALIA: ("0.114", "0.098"),
    latency.ASIA_PACIFIC: ("0.120", "0.100"),
    latency.INDIA: ("0.109", "0.085"),
}
HTTPS_REQUEST = Decimal("0.0000012")  # Europe's and Asia's; the USA's differ by a tenth of all requests' dollars
CHEAP_REQUEST, DEAR_REQUEST = Decimal("0.0000010"), Decimal("0.0000022")


def usd_month(client: Client, estate: Estate, now: dt.datetime | None = None) -> dict[str, Decimal | None]:
    """USD a month by component; None where the emulated AWS lacks what it takes."""
    config = distribution(client, estate)
    return {
        "cloudfront": None if config is None else cloudfront(str(config["PriceClass"])),
        "lambda_edge": None if config is None else functions(client, estate, config),
        "s3": storage(client, estate, now or dt.datetime.now(dt.UTC)),
        "route_53": health_checks(client, estate),
    }


def distribution(client: Client, estate: Estate) -> Mapping[str, Any] | None:
    """The document of the estate's distribution; None without one."""
    cloudfront = client("cloudfront", GLOBAL_REGION)
    items = cloudfront.list_distributions()["DistributionList"].get("Items", [])
    ours = [item["Id"] for item in items if estate.edge.cdn.alias in item["Aliases"].get("Items", [])]
    found: Mapping[str, Any] = cloudfront.get_distribution_config(Id=ours[0])["DistributionConfig"] if ours else {}
    return found or None


def cloudfront(price_class: str) -> Decimal:
    """Egress by the price region that serves each country, and HTTPS requests."""
    served: dict[str, int] = {}
    for country, _, per_mille in cdn.VIEWERS:
        region = latency.served(country, price_class).edge.price_region
        served[region] = served.get(region, 0) + per_mille
    monthly = Decimal(figures.REQUESTS * figures.MONTH)
    return sum((_served(region, monthly * share / 1000) for region, share in served.items()), Decimal(0))


def _served(region: str, requests: Decimal) -> Decimal:
    left, total = requests * cdn.MEAN_BYTES / GB, Decimal(0)
    for size, usd in zip(TIER_GB, EGRESS_GB[region], strict=True):
        taken = min(left, Decimal(size))
        total, left = total + taken * Decimal(usd), left - taken
    special = {latency.NORTH_AMERICA: CHEAP_REQUEST, latency.SOUTH_AMERICA: DEAR_REQUEST}
    return total + requests * special.get(region, HTTPS_REQUEST)


def functions(client: Client, estate: Estate, config: Mapping[str, Any]) -> Decimal | None:
    """The function that the distribution runs on misses, and what is kept ready of the regions' functions."""
    runs = config["DefaultCacheBehavior"]["LambdaFunctionAssociations"].get("Items", [])
    memories = [_memory(client, GLOBAL_REGION, *named(one["LambdaFunctionARN"])) for one in runs]
    kept = [_kept_ready(client, region, estate) for region in estate.regions]
    if None in memories or None in kept:
        return None
    at_edge = sum((_edge(memory or 0) for memory in memories), Decimal(0))
    return at_edge + sum((usd or Decimal(0) for usd in kept), Decimal(0))


def named(arn: str) -> tuple[str, str]:
    """A function's name and the version, from the version's ARN."""
    *_, name, number = arn.split(":")
    return name, number


def _edge(memory_mb: int) -> Decimal:
    invocations = Decimal(figures.REQUESTS * figures.MONTH) * Decimal(str(cdn.MISSES))
    seconds = Decimal(str(figures.duration_ms(memory_mb))) / 1000
    return invocations * (EDGE_REQUEST + seconds * memory_mb / 1024 * EDGE_GB_SECOND)


def _memory(client: Client, region: str, name: str, number: str) -> int | None:
    versions = client("lambda", region).list_versions_by_function(FunctionName=name)["Versions"]
    return next((int(one["MemorySize"]) for one in versions if one["Version"] == number), None)


def _kept_ready(client: Client, region: str, estate: Estate) -> Decimal | None:
    """Provisioned concurrency of a region's function."""
    aws, name = client("lambda", region), estate.edge.functions.regional
    configs = aws.list_provisioned_concurrency_configs(FunctionName=name)["ProvisionedConcurrencyConfigs"]
    units = sum(int(config["RequestedProvisionedConcurrentExecutions"]) for config in configs)
    aliases = aws.list_aliases(FunctionName=name)["Aliases"]
    numbers = [one["FunctionVersion"] for one in aliases if one["Name"] == estate.edge.functions.regional_alias]
    memory = _memory(client, region, name, numbers[0]) if numbers else None
    return None if memory is None else units * Decimal(memory) / 1024 * MONTH_SECONDS * PROVISIONED_GB_SECOND


def storage(client: Client, estate: Estate, now: dt.datetime) -> Decimal:
    """The bucket's objects, each in the class where its rules will have brought it."""
    s3, bucket = client("s3", GLOBAL_REGION), estate.edge.models.bucket
    document = rules_of(s3, bucket)
    minimum = document.get("TransitionDefaultMinimumObjectSize", lifecycle.DEFAULT_MINIMUM)
    total = Decimal(0)
    for one in _objects(s3, bucket):
        kind = lifecycle.storage_class(document["Rules"], one["Key"], one["Size"], now - one["LastModified"], minimum)
        total += Decimal(one["Size"]) / GB * STORAGE_GB[kind]
    return total


def _objects(s3: Any, bucket: str) -> Iterator[Mapping[str, Any]]:
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket)
    yield from (one for page in pages for one in page.get("Contents", []))


def rules_of(s3: Any, bucket: str) -> Mapping[str, Any]:
    """The bucket's lifecycle configuration; without rules where it has none."""
    from botocore.exceptions import ClientError

    try:
        found: Mapping[str, Any] = s3.get_bucket_lifecycle_configuration(Bucket=bucket)
    except ClientError as error:
        if error.response["Error"]["Code"] != "NoSuchLifecycleConfiguration":
            raise
        return {"Rules": []}
    return found


def health_checks(client: Client, estate: Estate) -> Decimal:
    """All checks of the account; the first FREE_CHECKS of endpoints within AWS are free, their options are not."""
    pages = client("route53", GLOBAL_REGION).get_paginator("list_health_checks").paginate()
    checks = [check["HealthCheckConfig"] for page in pages for check in page["HealthChecks"]]
    within = [check for check in checks if _is_within_aws(check, estate)]
    others = [check for check in checks if check not in within]
    basic = max(0, len(within) - FREE_CHECKS) * CHECK + len(others) * OTHER_CHECK
    return basic + _options(within) * OPTION + _options(others) * OTHER_OPTION


def _is_within_aws(check: Mapping[str, Any], estate: Estate) -> bool:
    """Whether it asks a name below the estate's own zone, as the seed's regions are, and no bare address."""
    name = str(check.get("FullyQualifiedDomainName", ""))
    return name.endswith(f".{estate.dns.hosted_zone}") and "IPAddress" not in check


def _options(checks: Iterable[Mapping[str, Any]]) -> int:
    """How many options are paid for: HTTPS, a text to look for, every 10 s, latency graphs."""
    return sum(sum(map(bool, _chosen(check))) for check in checks)


def _chosen(check: Mapping[str, Any]) -> tuple[Any, ...]:
    kind = check["Type"]
    return (
        kind.startswith("HTTPS"), kind.endswith("STR_MATCH"), check.get("RequestInterval") == 10,
        check.get("MeasureLatency"),
    )  # fmt: skip
