"""Route 53 as AWS answers it, where moto is laxer: health checks' references and versions, record sets' change batches.

:func:`as_aws` changes moto's classes, so that the emulator and an in-process ``mock_aws`` are repaired alike.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

# Domain names and addresses whose checks fail: what a test or a fault puts here.
UNHEALTHY: set[str] = set()
_FIELDS = ("ttl", "records", "weight", "region", "health_check_id", "alias_target", "failover", "geo_location")


def as_aws() -> None:
    """Repair moto's Route 53 in this process; a second call changes nothing."""
    from moto.route53.models import Route53Backend
    from moto.route53.responses import Route53

    if getattr(Route53Backend, "as_aws", False):
        return
    Route53Backend.as_aws = True  # type: ignore[attr-defined]
    _repair(Route53Backend, "create_health_check", _create)
    _repair(Route53, "update_health_check", _update)
    _repair(Route53, "get_health_check_status", _status)
    _repair(Route53Backend, "delete_health_check", lambda _, backend, check: _delete(backend, check))
    _repair(Route53Backend, "change_resource_record_sets", lambda _, *batch: _change(*batch))


def _repair(kind: Any, name: str, repaired: Callable[..., Any]) -> None:
    """Put ``repaired`` in a method's place; it gets moto's own first."""
    original = getattr(kind, name)

    def method(*arguments: Any, **named: Any) -> Any:
        return repaired(original, *arguments, **named)

    setattr(kind, name, method)


def _create(made: Callable[..., Any], backend: Any, caller_reference: str, health_check_args: Any) -> Any:
    from moto.route53.models import HealthCheck

    same = [check for check in backend.health_checks.values() if check.caller_reference == caller_reference]
    if same and _content(same[0]) == _content(_new(HealthCheck, "", caller_reference, health_check_args)):
        return same[0]
    if same or caller_reference in _deleted(backend):
        raise _refusal("HealthCheckAlreadyExists", f"A health check with caller reference {caller_reference} exists")
    return made(backend, caller_reference, health_check_args)


def _update(updated: Callable[..., Any], response: Any) -> Any:
    check = response.backend.get_health_check(_parameter(response, "HealthCheckId"))
    version = _parameter(response, "HealthCheckVersion")
    if version is not None and int(version) != check.health_check_version:
        said = f"version {version} is not the health check's version {check.health_check_version}"
        raise _refusal("HealthCheckVersionMismatch", said)
    answer = updated(response)
    check.health_check_version += 1
    return answer


def _status(answered: Callable[..., Any], response: Any) -> Any:
    check = response.backend.get_health_check(_parameter(response, "HealthCheckId"))
    answer = answered(response)
    if {check.fqdn, check.ip_address} & UNHEALTHY:
        report = answer.result["HealthCheckObservations"][0]["StatusReport"]
        report["Status"] = "Failure: the health checker could not connect"
    return answer


def _parameter(response: Any, name: str) -> Any:
    return response._get_param(name)  # noqa: SLF001 - moto's own way to a parameter


def _delete(backend: Any, health_check_id: str) -> None:
    _deleted(backend).add(backend.get_health_check(health_check_id).caller_reference)
    del backend.health_checks[health_check_id]


def _deleted(backend: Any) -> set[str]:
    """The caller references of deleted checks."""
    found: set[str] = backend.__dict__.setdefault("references_of_deleted", set())
    return found


def _change(self: Any, zoneid: str, change_list: Sequence[Mapping[str, Any]]) -> None:
    """All changes of a batch, or none. A deletion must name the record set exactly as it is."""
    zone = self.get_hosted_zone(zoneid)
    before = list(zone.rrsets)
    try:
        for change in change_list:
            _change_one(self, zone, change["Action"], copy.deepcopy(dict(change["ResourceRecordSet"])))
    except Exception:
        zone.rrsets = before
        raise


def _change_one(backend: Any, zone: Any, action: str, raw: dict[str, Any]) -> None:
    from moto.route53.exceptions import DnsNameInvalidForZone, InvalidActionValue, NoSuchHealthCheck
    from moto.route53.models import RecordSet

    raw["Name"] = raw["Name"].rstrip(".") + "."
    if not raw["Name"].endswith(zone.name.rstrip(".") + "."):
        raise DnsNameInvalidForZone(name=raw["Name"], zone_name=zone.name)
    raw["ResourceRecords"] = [record["Value"] for record in raw.get("ResourceRecords") or []]
    wanted = _new(RecordSet, raw)
    same = [found for found in zone.rrsets if _identity(found) == _identity(wanted)]
    shown = f"[name='{wanted.name}', type='{wanted.type}']"
    if action == "DELETE":
        if not same or _values(same[0]) != _values(wanted):
            said = "it was not found" if not same else "the values provided do not match the current values"
            raise _refusal("InvalidChangeBatch", f"Tried to delete resource record set {shown} but {said}")
        zone.rrsets = [found for found in zone.rrsets if found is not same[0]]
        return
    if action not in ("CREATE", "UPSERT"):
        raise InvalidActionValue(action)
    if wanted.health_check_id and wanted.health_check_id not in backend.health_checks:
        raise NoSuchHealthCheck(wanted.health_check_id)
    if action == "CREATE" and same:
        raise _refusal("InvalidChangeBatch", f"Tried to create resource record set {shown} but it already exists")
    zone.rrsets = [found for found in zone.rrsets if found not in same] + [wanted]


def _new(kind: Any, *arguments: Any) -> Any:
    return kind(*arguments)  # moto's classes leave methods of their base abstract


def _identity(record: Any) -> tuple[str, str, str | None]:
    return record.name, record.type, record.set_identifier


def _values(record: Any) -> list[str]:
    return [str(getattr(record, name) or "") for name in _FIELDS]


def _content(check: Any) -> dict[str, Any]:
    config: dict[str, Any] = check.health_check_config
    return {key: value for key, value in config.items() if value}


def _refusal(code: str, message: str) -> Exception:
    from moto.route53.exceptions import Route53ClientError

    return Route53ClientError(code, message)
