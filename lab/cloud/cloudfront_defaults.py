"""What CloudFront adds to a configuration that it is given, and what it insists on getting back in an update."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

NONE = {"Quantity": 0}
READS = {"Quantity": 2, "Items": ["HEAD", "GET"]}
CONFIG: dict[str, Any] = {
    "Aliases": NONE,
    "DefaultRootObject": "",
    "OriginGroups": NONE,
    "CacheBehaviors": NONE,
    "CustomErrorResponses": NONE,
    "Comment": "",
    "Logging": {"Enabled": False, "IncludeCookies": False, "Bucket": "", "Prefix": ""},
    "PriceClass": "PriceClass_All",
    "ViewerCertificate": {
        "CloudFrontDefaultCertificate": True,
        "SSLSupportMethod": "vip",
        "MinimumProtocolVersion": "TLSv1",
        "CertificateSource": "cloudfront",
    },
    "Restrictions": {"GeoRestriction": {"RestrictionType": "none", "Quantity": 0}},
    "WebACLId": "",
    "HttpVersion": "http2",
    "IsIPV6Enabled": True,
    "ContinuousDeploymentPolicyId": "",
    "Staging": False,
}
ORIGIN: dict[str, Any] = {
    "OriginPath": "",
    "CustomHeaders": NONE,
    "ConnectionAttempts": 3,
    "ConnectionTimeout": 10,
    "OriginShield": {"Enabled": False},
    "OriginAccessControlId": "",
}
CUSTOM_ORIGIN: dict[str, Any] = {"OriginReadTimeout": 30, "OriginKeepaliveTimeout": 5}
BEHAVIOUR: dict[str, Any] = {
    "TrustedSigners": {"Enabled": False, "Quantity": 0},
    "TrustedKeyGroups": {"Enabled": False, "Quantity": 0},
    "AllowedMethods": {**READS, "CachedMethods": READS},
    "SmoothStreaming": False,
    "Compress": False,
    "LambdaFunctionAssociations": NONE,
    "FunctionAssociations": NONE,
    "FieldLevelEncryptionId": "",
    "GrpcConfig": {"Enabled": False},
}
# Members without which an update is refused (IllegalUpdate), in the order in which they are looked for.
REQUIRED = (
    *("Aliases", "DefaultRootObject", "CacheBehaviors", "CustomErrorResponses", "Comment", "Logging", "PriceClass"),
    *("ViewerCertificate", "Restrictions", "WebACLId", "HttpVersion"),
)
REQUIRED_OF_ORIGIN = ("OriginPath", "CustomHeaders", "ConnectionAttempts", "ConnectionTimeout")
REQUIRED_OF_CUSTOM_ORIGIN = ("OriginReadTimeout", "OriginKeepaliveTimeout")
REQUIRED_OF_BEHAVIOUR = ("AllowedMethods", "SmoothStreaming", "Compress", "LambdaFunctionAssociations")


def completed(given: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration with every member that CloudFront answers with; what was given stays as it is."""
    config = {**copy.deepcopy(CONFIG), **copy.deepcopy(dict(given))}
    for origin in config["Origins"].get("Items") or []:
        _fill(origin, ORIGIN)
        if "CustomOriginConfig" in origin:
            _fill(origin["CustomOriginConfig"], CUSTOM_ORIGIN)
    for behaviour in _behaviours(config):
        _fill(behaviour, BEHAVIOUR)
    bare: dict[str, Any] = _without_empty_items(config)
    return bare


def _fill(part: dict[str, Any], defaults: Mapping[str, Any]) -> None:
    for key, value in defaults.items():
        part.setdefault(key, copy.deepcopy(value))


def _without_empty_items(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {k: _without_empty_items(v) for k, v in value.items() if k != "Items" or v}
    return [_without_empty_items(inner) for inner in value] if isinstance(value, list) else value


def _behaviours(config: Mapping[str, Any]) -> list[dict[str, Any]]:
    others = (config.get("CacheBehaviors") or {}).get("Items") or []
    return [part for part in (config.get("DefaultCacheBehavior"), *others) if part]


def missing_for_update(config: Mapping[str, Any]) -> str:
    """The first member that an update must have and lacks; empty when it has all."""
    origins = (config.get("Origins") or {}).get("Items") or []
    customs = [origin["CustomOriginConfig"] for origin in origins if "CustomOriginConfig" in origin]
    wanted = (
        ([config], REQUIRED),
        (origins, REQUIRED_OF_ORIGIN),
        (customs, REQUIRED_OF_CUSTOM_ORIGIN),
        (_behaviours(config), REQUIRED_OF_BEHAVIOUR),
    )
    lacking = (key for parts, keys in wanted for part in parts for key in keys if key not in part)
    return next(lacking, "")
