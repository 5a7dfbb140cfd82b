"""The estate's DNS before the rollout: a zone, two records of each region, one of the devices, their checks."""

from __future__ import annotations

from typing import Any

from include.estate import Estate

TTL = 60
REGION_WEIGHT = 100  # of each region's weighted record set
DEVICE_ADDRESS = "203.0.113.10"


def seed_dns(route53: Any, estate: Estate) -> str:
    """Make zone, checks and record sets with the boto3 client ``route53``; the zone's id.

    The checks are as the plan found them: every 10 s, with latency graphs, and a text to look for.
    """
    zone_name = f"{estate.dns.hosted_zone}."
    made = route53.create_hosted_zone(Name=zone_name, CallerReference=f"{estate.name}-zone")["HostedZone"]
    zone = str(made["Id"]).rpartition("/")[2]
    for number, region in enumerate(estate.regions):
        host = f"rest.{region}.{estate.dns.hosted_zone}"
        check = _check(route53, f"rest-{region}", Type="HTTPS_STR_MATCH", FullyQualifiedDomainName=host, Port=443)
        record = {"SetIdentifier": region, "Region": region, "HealthCheckId": check}
        address = f"198.51.100.{number + 10}"
        _record(route53, zone, f"api.{zone_name}", address, **record)
        weighted = {"SetIdentifier": region, "Weight": REGION_WEIGHT}
        _record(route53, zone, f"{estate.edge.routing.record}.{zone_name}", address, **weighted)
    device = _check(route53, "jetson", Type="HTTP_STR_MATCH", IPAddress=DEVICE_ADDRESS, Port=8080)
    _record(route53, zone, f"edge.{zone_name}", DEVICE_ADDRESS, HealthCheckId=device)
    _record(route53, zone, f"www.{zone_name}", "198.51.100.9")
    return zone


def _check(route53: Any, name: str, **settings: Any) -> str:
    how = {"ResourcePath": "/health", "SearchString": "ok", "RequestInterval": 10, "FailureThreshold": 3}
    config = {**how, "MeasureLatency": True, **settings}
    made = route53.create_health_check(CallerReference=f"seed-{name}", HealthCheckConfig=config)["HealthCheck"]
    return str(made["Id"])


def _record(route53: Any, zone: str, name: str, address: str, **more: Any) -> None:
    record = {"Name": name, "Type": "A", "TTL": TTL, "ResourceRecords": [{"Value": address}], **more}
    changes = [{"Action": "CREATE", "ResourceRecordSet": record}]
    route53.change_resource_record_sets(HostedZoneId=zone, ChangeBatch={"Changes": changes})
