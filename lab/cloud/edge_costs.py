"""What the edge costs by the lab's own arithmetic, as the emulated AWS stands: the bill's lines of it, and their sums.

Unit prices are list prices of November 2026, first tiers. In week 13 each component comes to the plan's figure: that
fixes the quantities, of which only ratios follow from what stands. Nothing here is shared with a lever.
"""

from __future__ import annotations

import datetime as dt
import fnmatch
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from include.estate import Estate
from include.prices import HOURS_PER_MONTH, PlanBook
from lab.cloud.bill_line import BillLine, made_up_id
from lab.cloud.cdn import PRICE_CLASS, VIEWERS
from lab.cloud.figures import duration_ms
from lab.cloud.functions import EDGE_REGION, MEMORY_MB
from lab.cloud.lifecycle import DEFAULT_MINIMUM, storage_class
from lab.cloud.notices import ACCOUNT

ClientOf = Callable[[str, str], Any]  # (region, service) -> boto3 client
COMPONENTS = {
    "cloudfront": "AmazonCloudFront",
    "lambda_edge": "AWSLambda",
    "s3": "AmazonS3",
    "route_53": "AmazonRoute53",
}
# CloudFront: by price region USD a GB and its viewers' countries; and which region serves another one's in a class.
GIGABYTE = {
    "US": ("0.085", "US"),
    "EU": ("0.085", "DE GB FR NL ES"),
    "JP": ("0.114", "JP"),
    "AP": ("0.120", "KR SG"),
    "AU": ("0.114", "AU"),
    "IN": ("0.109", "IN"),
    "SA": ("0.110", "BR"),
    "ME": ("0.110", "AE SA"),
    "ZA": ("0.110", "ZA"),
}
SERVED_FROM: dict[str, dict[str, str]] = {
    "PriceClass_All": {},
    "PriceClass_200": {"SA": "US", "AU": "AP"},
    "PriceClass_100": {"SA": "US", "AU": "US", "JP": "US", "AP": "US", "IN": "EU", "ME": "EU", "ZA": "EU"},
}
# S3: meter and USD a GB-month by storage class.
STORAGE = {
    "STANDARD": ("TimedStorage-ByteHrs", "0.023"),
    "STANDARD_IA": ("TimedStorage-SIA-ByteHrs", "0.0125"),
    "ONEZONE_IA": ("TimedStorage-ZIA-ByteHrs", "0.01"),
    "INTELLIGENT_TIERING": ("TimedStorage-INT-FA-ByteHrs", "0.023"),
    "GLACIER_IR": ("TimedStorage-GIR-ByteHrs", "0.004"),
    "GLACIER": ("TimedStorage-GlacierByteHrs", "0.0036"),
    "DEEP_ARCHIVE": ("TimedStorage-GDA-ByteHrs", "0.00099"),
}
# Route 53: USD a month of a check and of each of its options, and how many checks are free; AWS's endpoints and others.
CHECK, OPTION, FREE = {"aws": "0.50", "other": "0.75"}, {"aws": "1.00", "other": "2.00"}, {"aws": 50, "other": 0}
CHECKS_WEEK_13 = Decimal("18.75")  # what the checks of lab.cloud.dns cost
PROVISIONED_GB_SECOND = Decimal("0.0000033334")  # arm64
SECONDS = 3600


@dataclass(frozen=True)
class EdgeState:
    """What the emulated AWS holds that costs money. Memory in MB; ``None`` where nothing runs at the edge."""

    price_class: str = PRICE_CLASS
    memory_mb: int | None = MEMORY_MB
    provisioned: Mapping[str, Decimal] = field(default_factory=dict)  # GB that stand ready, by region
    storage: Mapping[str, Decimal] = field(default_factory=lambda: {"STANDARD": Decimal(1)})  # shares of bytes
    checks_usd: Decimal = CHECKS_WEEK_13


WEEK_13 = EdgeState()


def usd_month(clients: ClientOf, estate: Estate, now: dt.datetime) -> dict[str, Decimal]:
    """USD a month of each component of the edge, as it stands; the bill's own lines. Raises what boto3 raises."""
    return usd_of(read_edge(clients, estate, now))


def usd_of(state: EdgeState) -> dict[str, Decimal]:
    """USD a month of each component in a state, to the cent."""
    sums = {name: Decimal(0) for name in COMPONENTS}
    names = {code: name for name, code in COMPONENTS.items()}
    for line in lines(state):
        sums[names[line.code]] += line.quantity * line.price * HOURS_PER_MONTH
    return {name: usd.quantize(Decimal("0.01")) for name, usd in sums.items()}


def clients_at(endpoint: str) -> ClientOf:
    """Clients of the emulator at ``endpoint``."""
    from lab.cloud.seed import CloudClients, lab_session

    session = lab_session()
    return lambda region, service: getattr(CloudClients(endpoint, region, session), service)


# Lines ---------------------------------------------------------------------------------------------------------------


def lines(state: EdgeState) -> list[BillLine]:
    """CloudFront, Lambda, S3 and Route 53 in an hour."""
    return [*_cloudfront(state), *_lambda(state), *_s3(state), *_route53(state)]


def _monthly(component: str, share: str, price: Decimal) -> Decimal:
    """The quantity an hour that makes ``share`` of the component's week 13 of ``price``."""
    return PlanBook().component(component).week_13 * Decimal(share) / HOURS_PER_MONTH / price


def _cloudfront(state: EdgeState) -> Iterator[BillLine]:
    edge: dict[str, Any] = {"busy": True, "resource": "E2AKIDBLAB0001", "kind": "Distribution"}
    cdn = ("Amazon CloudFront", "AmazonCloudFront", "Networking", "Content Delivery")
    served = served_from(state.price_class)
    mean = sum((share * Decimal(GIGABYTE[where][0]) for where, share in served_from(PRICE_CLASS).items()), Decimal(0))
    gigabytes = _monthly("cloudfront", "0.90", mean)
    for where, share in served.items():
        price = Decimal(GIGABYTE[where][0])
        yield BillLine(*(*cdn, f"{where}-DataTransfer-Out-Bytes", "GB", price, gigabytes * share), **edge)
    price = Decimal("0.000001")
    yield BillLine(*(*cdn, "US-Requests-Tier2-HTTPS", "Requests", price, _monthly("cloudfront", "0.10", price)), **edge)


def served_from(price_class: str) -> dict[str, Decimal]:
    """The share of bytes that each price region serves in a class."""
    moved, found = SERVED_FROM[price_class], Counter[str]()
    region_of = {country: region for region, (_, countries) in GIGABYTE.items() for country in countries.split()}
    for country, _, of_thousand in VIEWERS:
        region = region_of[country]
        found[moved.get(region, region)] += of_thousand
    return {region: Decimal(count) / 1000 for region, count in found.items()}


def _lambda(state: EdgeState) -> Iterator[BillLine]:
    function = f"arn:aws:lambda:us-east-1:{ACCOUNT}:function:akidb-edge-inference"
    work: dict[str, Any] = {"busy": True, "resource": function, "region": "us-east-1", "kind": "Function"}
    code = ("AWS Lambda", "AWSLambda", "Compute", "Serverless Compute")
    if state.memory_mb is not None:
        price = Decimal("0.00005001")
        seconds = _monthly("lambda_edge", "0.80", price) * gigabyte_seconds(state.memory_mb)
        yield BillLine(*(*code, "Lambda-Edge-GB-Second", "Lambda-GB-Second", price, seconds), **work)
        price = Decimal("0.0000006")
        requests = _monthly("lambda_edge", "0.20", price)
        yield BillLine(*(*code, "Lambda-Edge-Request", "Requests", price, requests), **work)
    for region, gigabytes in state.provisioned.items():
        ready = (PROVISIONED_GB_SECOND, gigabytes * SECONDS)
        yield BillLine(
            *(*code, f"{region}-Lambda-Provisioned-Concurrency-ARM", "Lambda-GB-Second", *ready),
            resource=f"arn:aws:lambda:{region}:{ACCOUNT}:function:akidb-inference",
            region=region,
            kind="Function",
        )


def gigabyte_seconds(memory_mb: int) -> Decimal:
    """Of an invocation, against week 13's memory: less memory takes longer."""
    return Decimal(memory_mb * duration_ms(memory_mb)) / Decimal(MEMORY_MB * duration_ms(MEMORY_MB))


def _s3(state: EdgeState) -> Iterator[BillLine]:
    bucket: dict[str, Any] = {"resource": "akidb-ml-models", "region": "us-east-1", "kind": "Bucket"}
    store = ("Amazon Simple Storage Service", "AmazonS3", "Storage", "Object Storage")
    gigabytes = _monthly("s3", "0.92", Decimal(STORAGE["STANDARD"][1]))
    for kind, share in state.storage.items():
        meter, price = STORAGE[kind]
        yield BillLine(*(*store, meter, "GB-Mo", Decimal(price), gigabytes * share), **bucket)
    price = "0.000005"
    requests = _monthly("s3", "0.08", Decimal(price))
    yield BillLine(*(*store, "Requests-Tier1", "Requests", Decimal(price), requests), busy=True, **bucket)


def _route53(state: EdgeState) -> Iterator[BillLine]:
    zone: dict[str, Any] = {"resource": f"arn:aws:route53:::hostedzone/{made_up_id('Z', 'akidb')[:14].upper()}"}
    names = ("Amazon Route 53", "AmazonRoute53", "Networking", "Network Connectivity")
    price = Decimal("0.50")
    checks = _monthly("route_53", "0.60", price) * state.checks_usd / CHECKS_WEEK_13
    yield BillLine(
        *(*names, "Health-Check-AWS", "HealthChecks", price, checks),
        resource=f"arn:aws:route53:::healthcheck/{made_up_id('', 'akidb')}",
        kind="HealthCheck",
    )
    price = Decimal("0.0000004")
    queries = _monthly("route_53", "0.40", price)
    yield BillLine(*(*names, "DNS-Queries", "Queries", price, queries), busy=True, **zone)


# What stands ---------------------------------------------------------------------------------------------------------


def read_edge(clients: ClientOf, estate: Estate, now: dt.datetime) -> EdgeState:
    """The edge of the account behind ``clients``. No request here counts as a look at a change that is under way."""
    found = _distribution(clients(EDGE_REGION, "cloudfront"), estate.edge.cdn.alias)
    others = found["CacheBehaviors"].get("Items", [])
    runs = [part["LambdaFunctionAssociations"] for part in (found["DefaultCacheBehavior"], *others)]
    arns = [each["LambdaFunctionARN"] for part in runs for each in part.get("Items", [])]
    return EdgeState(
        price_class=found["PriceClass"],
        memory_mb=_memory(clients(EDGE_REGION, "lambda"), arns[0]) if arns else None,
        provisioned={name: ready for name in estate.regions if (ready := _provisioned(clients, estate, name))},
        storage=_storage(clients(EDGE_REGION, "s3"), estate.edge.models.bucket, now),
        checks_usd=_checks(clients(EDGE_REGION, "route53"), estate.dns.aws_endpoints),
    )


def _distribution(cloudfront: Any, alias: str) -> dict[str, Any]:
    pages = cloudfront.get_paginator("list_distributions").paginate()
    for page in pages:
        for found in page["DistributionList"].get("Items", []):
            if alias in found["Aliases"].get("Items", []):
                return dict(found)
    raise LookupError(f"no distribution has the alias {alias!r}: was the lab's cloud seeded?")


def _memory(aws: Any, arn: str) -> int:
    """The memory of a version, in MB."""
    name, version = arn.split(":function:")[1].split(":")
    every = aws.get_paginator("list_versions_by_function").paginate(FunctionName=name)
    sizes = {found["Version"]: found["MemorySize"] for page in every for found in page["Versions"]}
    return int(sizes[version])


def _provisioned(clients: ClientOf, estate: Estate, region: str) -> Decimal:
    """GB of a region's function that stand ready."""
    aws, name = clients(region, "lambda"), estate.edge.functions.regional
    ready = Decimal(0)
    for found in aws.list_provisioned_concurrency_configs(FunctionName=name)["ProvisionedConcurrencyConfigs"]:
        qualifier = found["FunctionArn"].rsplit(":", 1)[1]
        version = qualifier
        if not qualifier.isdigit():
            version = aws.get_alias(FunctionName=name, Name=qualifier)["FunctionVersion"]
        memory = _memory(aws, f"x:function:{name}:{version}")
        ready += Decimal(found["RequestedProvisionedConcurrentExecutions"] * memory) / 1024
    return ready


def _storage(s3: Any, bucket: str, now: dt.datetime) -> dict[str, Decimal]:
    """The share of bytes in each storage class, once S3 has carried out the rules that stand."""
    rules, minimum = _lifecycle(s3, bucket)
    sizes = Counter[str]()
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket):
        for found in page.get("Contents", []):
            kind = found.get("StorageClass", "STANDARD")
            if kind == "STANDARD":
                age = now - found["LastModified"]
                kind = storage_class(rules, found["Key"], found["Size"], age, minimum)
            sizes[kind] += found["Size"]
    return {kind: Decimal(size) / sizes.total() for kind, size in sorted(sizes.items())}


def _lifecycle(s3: Any, bucket: str) -> tuple[list[dict[str, Any]], str]:
    from botocore.exceptions import ClientError

    try:
        found = s3.get_bucket_lifecycle_configuration(Bucket=bucket)
    except ClientError as error:
        if error.response["Error"]["Code"] != "NoSuchLifecycleConfiguration":
            raise
        return [], DEFAULT_MINIMUM
    return list(found["Rules"]), str(found.get("TransitionDefaultMinimumObjectSize", DEFAULT_MINIMUM))


def _checks(route53: Any, aws_endpoints: tuple[str, ...]) -> Decimal:
    """USD a month of the account's health checks."""
    count, total = Counter[str](), Decimal(0)
    for page in route53.get_paginator("list_health_checks").paginate():
        for config in (check["HealthCheckConfig"] for check in page["HealthChecks"]):
            name = config.get("FullyQualifiedDomainName", config.get("IPAddress", ""))
            kind = "aws" if not name or any(fnmatch.fnmatchcase(name, one) for one in aws_endpoints) else "other"
            count[kind] += 1
            total += _options(config) * Decimal(OPTION[kind])
    return total + sum(
        (max(0, number - FREE[kind]) * Decimal(CHECK[kind]) for kind, number in count.items()), Decimal(0)
    )


def _options(config: Mapping[str, Any]) -> int:
    fast, latency = config.get("RequestInterval") == 10, bool(config.get("MeasureLatency"))
    kind = str(config["Type"])
    return sum((kind.startswith("HTTPS"), kind.endswith("_STR_MATCH"), fast, latency))
