"""Route 53 as AWS answers it, where moto is laxer: health checks' references and versions, record sets' change batches.

:func:`as_aws` changes moto's classes, so that the emulator and an in-process ``mock_aws`` are repaired alike.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

# Domain names and addresses whose checks fail: what a test or a fault puts here.
UNHEALTHY: set[str] = set()
MOST_WEIGHT = 255
FIXED = ("Type", "RequestInterval", "MeasureLatency")  # of a health check
_FIELDS = ("ttl", "records", "weight", "region", "health_check_id", "alias_target", "failover", "geo_location")


def as_aws() -> None:
    """Repair moto's Route 53 in this process; a second call changes nothing."""
    from moto.route53.models import HealthCheck, Route53Backend
    from moto.route53.responses import Route53

    if getattr(Route53Backend, "as_aws", False):
        return
    Route53Backend.as_aws = True  # type: ignore[attr-defined]
    create = _creating(HealthCheck, Route53Backend.create_health_check)
    Route53Backend.create_health_check = create  # type: ignore[method-assign]
    Route53.update_health_check = _updating(Route53.update_health_check)  # type: ignore[method-assign]
    Route53Backend.delete_health_check = _delete  # type: ignore[method-assign]
    status = _with_status(Route53.get_health_check_status)
    Route53.get_health_check_status = status  # type: ignore[method-assign]
    Route53Backend.change_resource_record_sets = _change  # type: ignore[method-assign]


def _creating(kind: Any, made: Callable[..., Any]) -> Callable[..., Any]:
    def create(self: Any, caller_reference: str, health_check_args: dict[str, Any]) -> Any:
        same = [check for check in self.health_checks.values() if check.caller_reference == caller_reference]
        wanted = _new(kind, "", caller_reference, health_check_args)
        if same and _content(same[0]) == _content(wanted):
            return same[0]
        if same or caller_reference in self.__dict__.setdefault("references_of_deleted", set()):
            raise _refusal(
                "HealthCheckAlreadyExists", f"A health check with caller reference {caller_reference} exists"
            )
        return made(self, caller_reference, health_check_args)

    return create


def _updating(updated: Callable[..., Any]) -> Callable[..., Any]:
    def update(self: Any) -> Any:
        check = self.backend.get_health_check(self._get_param("HealthCheckId"))
        body = self.body if isinstance(self.body, bytes) else str(self.body).encode()
        if given := [name for name in FIXED if f"<{name}>".encode() in body]:
            raise _refusal("InvalidInput", f"{given[0]} can't be changed after a health check was created")
        version = self._get_param("HealthCheckVersion")
        if version is not None and int(version) != check.health_check_version:
            said = f"version {version} is not the health check's version {check.health_check_version}"
            raise _refusal("HealthCheckVersionMismatch", said)
        answer = updated(self)
        check.health_check_version += 1
        return answer

    return update


def _delete(self: Any, health_check_id: str) -> None:
    check = self.get_health_check(health_check_id)
    self.__dict__.setdefault("references_of_deleted", set()).add(check.caller_reference)
    del self.health_checks[health_check_id]


def _with_status(answered: Callable[..., Any]) -> Callable[..., Any]:
    def status(self: Any) -> Any:
        check = self.backend.get_health_check(self._get_param("HealthCheckId"))
        if check.type_ == "CALCULATED":
            raise _refusal("InvalidInput", "the status of a calculated health check can't be got")
        answer: Any = answered(self)
        if {check.fqdn, check.ip_address} & UNHEALTHY:
            report = answer.result["HealthCheckObservations"][0]["StatusReport"]
            report["Status"] = "Failure: the health checker could not connect"
        return answer

    return status


def _change(self: Any, zoneid: str, change_list: Sequence[Mapping[str, Any]]) -> None:
    """All changes of a batch, or none. A deletion must name the record set exactly as it is."""
    zone = self.get_hosted_zone(zoneid)
    before = list(zone.rrsets)
    try:
        for change in change_list:
            _change_one(self, zone, change["Action"], copy.deepcopy(dict(change["ResourceRecordSet"])))
        _check_policies(zone)
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


def _check_policies(zone: Any) -> None:
    """The record sets of one name and type have one routing policy, and each of them its identifier."""
    every: dict[tuple[str, str], list[Any]] = {}
    for record in zone.rrsets:
        every.setdefault((record.name, record.type), []).append(record)
    for (name, kind), records in every.items():
        policies = [_policy(record) for record in records]
        for record, policy in zip(records, policies, strict=True):
            if policy and not record.set_identifier:
                raise _refusal("InvalidInput", f"Missing field 'SetIdentifier' in Change with Name={name}, Type={kind}")
            if record.weight is not None and not 0 <= int(record.weight) <= MOST_WEIGHT:
                raise _refusal("InvalidInput", f"Weight {record.weight} is not between 0 and {MOST_WEIGHT}")
        if len(set(policies)) > 1 or (len(records) > 1 and not policies[0]):
            shown = f"RRSet with DNS name {name}, type {kind} cannot be created"
            raise _refusal("InvalidChangeBatch", f"{shown} as other RRSets exist with the same name and type")


def _policy(record: Any) -> str:
    """How Route 53 chooses the record set among those of its name; empty for the only one."""
    return next((name for name in ("weight", "region", "failover", "geo_location") if _given(record, name)), "")


def _given(record: Any, name: str) -> bool:
    return getattr(record, name) not in (None, "", {})


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
