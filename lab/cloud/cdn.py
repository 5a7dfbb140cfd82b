"""The estate's CloudFront distribution before the rollout, and its standard logs (v2) of some days.

The logs are a sample, as CloudFront's are no complete account of requests either: they say who asks for how much;
totals of a month are CloudWatch's (:mod:`lab.cloud.figures`).
"""

from __future__ import annotations

import datetime as dt
import gzip
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from include.estate import Estate
from lab.cloud.notices import ACCOUNT

PRICE_CLASS = "PriceClass_All"
CERTIFICATE = {
    "ACMCertificateArn": f"arn:aws:acm:us-east-1:{ACCOUNT}:certificate/0d2f9a4c-5b1e-4f6d-9c38-7e1a2b3c4d5e",
    "SSLSupportMethod": "sni-only",
    "MinimumProtocolVersion": "TLSv1.2_2021",
}
LOG_BUCKET = "akidb-cdn-logs"
LOG_FOLDER = f"AWSLogs/{ACCOUNT}/CloudFront/"
MEAN_BYTES = 74_627  # of a response: 50 TB a month in 670 M requests
MISSES = 0.03  # of requests; the plan wants more than 95 % to hit
# Viewers' country, the edge that serves it in PriceClass_All, and its requests of a thousand: the plan's user shares
# (US 45 %, EU 30, Asia Pacific 18, India 4, South America 2, Middle East 0.8, Africa 0.2), split by country.
VIEWERS = (
    *(("US", "IAD89-P2", 450), ("DE", "FRA60-P4", 100), ("GB", "LHR61-P3", 80), ("FR", "CDG52-P1", 70)),
    *(("NL", "AMS58-P5", 30), ("ES", "MAD51-P1", 20), ("JP", "NRT57-P3", 80), ("KR", "ICN57-P2", 40)),
    *(("AU", "SYD62-P1", 35), ("SG", "SIN52-P3", 25), ("IN", "BOM54-P2", 40), ("BR", "GRU3-P4", 20)),
    *(("AE", "DXB52-P1", 5), ("SA", "JED50-P1", 3), ("ZA", "JNB50-C1", 2)),
)
Form = Literal["json", "w3c"]
FIELDS = (
    *("date", "time", "x-edge-location", "sc-bytes", "cs-method", "cs(Host)", "cs-uri-stem", "sc-status"),
    *("x-edge-result-type", "x-edge-request-id", "cs-protocol", "time-taken", "c-country"),
)


def seed_distribution(cloudfront: Any, estate: Estate, function_version: str) -> str:
    """Make the distribution with the client ``cloudfront``; ``function_version`` is the ARN of the edge function's.

    Returns the distribution's id.
    """
    config = distribution(estate, function_version)
    tags = {"Items": [{"Key": "CostCenter", "Value": estate.name}]}
    wanted = {"DistributionConfig": config, "Tags": tags}
    made = cloudfront.create_distribution_with_tags(DistributionConfigWithTags=wanted)
    return str(made["Distribution"]["Id"])


def distribution(estate: Estate, function_version: str) -> dict[str, Any]:
    """What CreateDistribution is given: two behaviours, of which the default one runs the function at the origin."""
    runs = [{"LambdaFunctionARN": function_version, "EventType": "origin-request", "IncludeBody": False}]
    return {
        "CallerReference": f"{estate.name}-cdn",
        "Comment": "AkiDB: search results and models",
        "Enabled": True,
        "Aliases": _listed([estate.edge.cdn.alias]),
        "PriceClass": PRICE_CLASS,
        "HttpVersion": "http2and3",
        "ViewerCertificate": CERTIFICATE,
        "DefaultRootObject": "index.html",
        "Origins": _listed([_origin(estate)]),
        "DefaultCacheBehavior": {**_behaviour(), "LambdaFunctionAssociations": _listed(runs)},
        "CacheBehaviors": _listed([{**_behaviour(), "PathPattern": "/models/*"}]),
        "CustomErrorResponses": _listed([{"ErrorCode": 503, "ErrorCachingMinTTL": 5}]),
    }


def _listed(items: Sequence[Any]) -> dict[str, Any]:
    return {"Quantity": len(items), "Items": [*items]}


def _origin(estate: Estate) -> dict[str, Any]:
    protocols = {"OriginProtocolPolicy": "https-only", "OriginSslProtocols": _listed(["TLSv1.2"])}
    ports = {"HTTPPort": 80, "HTTPSPort": 443, "OriginReadTimeout": 30, "OriginKeepaliveTimeout": 5}
    return {
        "Id": "api",
        "DomainName": f"api.{estate.dns.hosted_zone}",
        "CustomHeaders": _listed([{"HeaderName": "x-akidb-edge", "HeaderValue": "1"}]),
        "CustomOriginConfig": {**protocols, **ports},
        "ConnectionAttempts": 2,
    }


def _behaviour() -> dict[str, Any]:
    methods = {**_listed(["HEAD", "GET"]), "CachedMethods": _listed(["HEAD", "GET"])}
    return {
        "TargetOriginId": "api",
        "ViewerProtocolPolicy": "redirect-to-https",
        "AllowedMethods": methods,
        "Compress": True,
        "CachePolicyId": "658327ea-f89d-4fab-a63d-7e88639e58f6",  # AWS's own CachingOptimized
    }


# Logs ----------------------------------------------------------------------------------------------------------------


def seed_logs(
    s3: Any, estate: Estate, distribution_id: str, end: dt.datetime, days: int = 7, form: Form = "json"
) -> list[str]:
    """Put a file an hour into LOG_BUCKET, a thousand requests a day, up to the full hour before ``end`` (UTC).

    Every day has exactly the plan's shares of requests by country. Returns the keys, oldest first.
    """
    s3.create_bucket(Bucket=LOG_BUCKET)
    written, last = [], end.replace(minute=0, second=0, microsecond=0)
    host, every = estate.edge.cdn.alias, _day()
    for hours in range(days * 24, 0, -1):
        hour = last - dt.timedelta(hours=hours)
        some = every[hour.hour :: 24]
        rows = [_request(hour, number, len(some), viewer, host) for number, viewer in enumerate(some)]
        unique = hashlib.sha256(f"{distribution_id}{hour}".encode()).hexdigest()[:8]
        key = f"{LOG_FOLDER}{distribution_id}.{hour:%Y-%m-%d-%H}.{unique}.gz"
        s3.put_object(Bucket=LOG_BUCKET, Key=key, Body=gzip.compress(render(rows, form), mtime=0))
        written.append(key)
    return written


def _day() -> list[tuple[str, str, int]]:
    """A day's thousand requests, mixed: country, edge and number."""
    ordered = [(country, edge) for country, edge, count in VIEWERS for _ in range(count)]
    numbered = [(country, edge, number) for number, (country, edge) in enumerate(ordered)]
    return sorted(numbered, key=lambda row: hashlib.sha256(str(row[2]).encode()).digest())


def _request(hour: dt.datetime, order: int, count: int, viewer: tuple[str, str, int], host: str) -> dict[str, str]:
    country, edge, number = viewer
    moment = hour + dt.timedelta(seconds=order * 3600 // count)
    missed = number % 100 < MISSES * 100
    values = (
        *(f"{moment:%Y-%m-%d}", f"{moment:%H:%M:%S}", edge, str(MEAN_BYTES + number % 10 * 2 - 9), "GET", host),
        *("/search", "200", "Miss" if missed else "Hit"),
        hashlib.sha256(f"{moment}{number}".encode()).hexdigest()[:52],
        *("https", "0.041" if missed else "0.004", country),
    )
    return dict(zip(FIELDS, values, strict=True))


def render(rows: Sequence[Mapping[str, str]], form: Form) -> bytes:
    """A log file as CloudFront writes it, not yet packed."""
    if form == "json":
        lines = [json.dumps(row, separators=(",", ":")) for row in rows]
    else:
        lines = ["#Version: 1.0", f"#Fields: {' '.join(FIELDS)}", *("\t".join(row.values()) for row in rows)]
    return ("\n".join(lines) + "\n").encode()
